"""The demo's table: redrawn in place on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from hack.demo.samples import STEPS, Object, Seen

_COLOURS = {"Completed": 32, "Running": 36, "Pending": 33, "Failed": 31, "Skipped": 35}
_CLEAR_SCREEN = "\x1b[H\x1b[J"


class View:
    """Shows what was seen last; ``note`` adds a line to the story."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._notes: list[str] = []
        self._told: dict[str, str] = {}
        self._drawn = False

    def note(self, text: str) -> None:
        self._notes.append(text)
        if not (self._live and self._drawn):  # before there is a table, the story is all there is to see
            print(f"# {text}", flush=True)

    def show(self, seen: Seen) -> None:
        if self._live:
            self._drawn = True
            print(_CLEAR_SCREEN + "\n".join(self._screen(seen)), flush=True)
            return
        for row in _executions(seen):
            self._tell("wfe", row)
        for row in _locks(seen):
            self._tell("tlock", row)

    def _tell(self, kind: str, row: Sequence[str]) -> None:
        text = "  ".join(cell for cell in row if cell)
        if self._told.get(f"{kind}/{row[0]}") != text:
            self._told[f"{kind}/{row[0]}"] = text
            print(f"{kind:<6} {text}", flush=True)

    def _screen(self, seen: Seen) -> Iterable[str]:
        yield from _table(("WORKFLOWEXECUTION", "PHASE", "TARGET", "REASON", "PROGRESS"), _executions(seen))
        yield ""
        yield from _table(("TARGETLOCK", "HOLDER", "BLOCKED", "LAST"), _locks(seen))
        yield ""
        yield from (f"  {note}" for note in self._notes[-8:])


def _executions(seen: Seen) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for step in STEPS:
        if (found := seen.executions.get(step.name)) is not None:
            status: Object = found.get("status") or {}
            progress = f"{status['progress']} %" if "progress" in status else ""
            phase = status.get("phase", "")
            rows.append((step.name, phase, found["spec"]["targetResource"], status.get("reason", ""), progress))
    return rows


def _locks(seen: Seen) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for target, lock in sorted(seen.locks.items()):
        status: Object = lock.get("status") or {}
        holder = (status.get("holder") or {}).get("name", "(free)")
        block = (status.get("block") or {}).get("reason", "")
        rows.append((target, holder, block, (status.get("lastExecution") or {}).get("outcome", "")))
    return rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(row[n]) for row in [header, *rows]) for n in range(len(header))]
    for row in [header, *rows]:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(_coloured(cell) for cell in cells).rstrip()


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell.strip())
    return f"\x1b[{colour}m{cell}\x1b[0m" if colour else cell

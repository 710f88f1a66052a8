"""What a sandbox looks like: redrawn in place on a terminal, one plain line for each change elsewhere.

The tables say less than those of ``kubectl wfe get`` and ``locks``, so that nothing is cut at 80 columns. Neighbours:
``sandbox.run`` calls it, ``cli.sandbox`` makes it. Pure but for ``write``, which gets finished text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tables import Column, elided, table
from wfe_controller.cli.kubectl.views import shown_phase
from wfe_controller.cli.kubectl.words import age, one_line
from wfe_controller.kube.clock import Clock, parse_rfc3339
from wfe_controller.kube.objects import Json, key_of, mapping, metadata, name_of, namespace_of, spec, status, text
from wfe_controller.locking.record import LockRecord, LockUnreadable
from wfe_controller.sandbox.director import Ending
from wfe_controller.sandbox.run import Scene

ABOUT = (
    "Each request (a WorkflowExecution) names a workflow and a target. The controller locks the target, runs the "
    "workflow as a Tekton pipeline, and remembers in the target's lock (a TargetLock) what the next request must know. "
    "What is not safe to run is skipped, with a reason."
)
EVENTS = 4
"""How many of the last are shown."""
LEAST_STORY = 3
NOTHING = "-"
HINT = "ctrl-C ends the sandbox"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
_END_OF_LINE, _BELOW = "\x1b[K", "\x1b[J"


class Stage:
    """An Audience. ``live`` draws a screen; ``write`` takes text as it is, ``rows`` is the terminal's height."""

    def __init__(
        self,
        write: Callable[[str], object],
        style: Style,
        *,
        clock: Clock,
        about: str = "",
        live: bool = False,
        stays: bool = False,
        rows: Callable[[], int] = lambda: 50,
    ) -> None:
        self._write, self._style, self._clock, self._about = write, style, clock, about
        self._live, self._stays, self._rows = live, stays, rows
        self._story: list[tuple[datetime, str]] = []
        self._said: dict[str, str] = {}
        self._drawn = 0
        self._footer = HINT if stays else ""
        self._hidden = False
        self._ending: Ending | None = None

    # -- the Audience of sandbox.run

    def starts(self, what: str) -> None:
        self._line(f"# Starting {what} ...")

    def ready(self, kubeconfig: Path) -> None:
        self._line("# Ready. To look at it from another terminal, with kubectl or kubectl wfe:")
        self._line(f"export KUBECONFIG={kubeconfig}")
        self._line("")
        for line in textwrap.wrap(ABOUT, self._style.width - 2):
            self._line(f"# {line}")
        if self._about:
            self._line(f"# The story: {self._about}")
        if self._stays:
            self._line(f"# It stays when the story is over: {HINT}.")
        self._line("")
        if self._live:
            self._hidden = True
            self._write(HIDE)

    def note(self, text: str) -> None:
        self._story.append((self._clock.now(), text))
        if not self._live:
            self._line(f"# {text}")

    def show(self, scene: Scene) -> None:
        if self._live:
            if self._ending is None or self._stays:  # else the summary stands below, and would be drawn over
                rows = self._rows()
                self._draw(screen(scene, self._story, self._style, rows=rows, footer=self._footer), rows)
            return
        for name, said in changes(scene):
            if self._said.get(name) != said:
                self._said[name] = said
                self._line(said)

    def ended(self, ending: Ending) -> None:
        self._ending = ending
        self._footer = f"{closing(ending)}; {HINT}"
        if not (self._live and self._stays):
            self._line(f"\n{summary(ending, self._style)}")

    def close(self) -> None:
        """The cursor is shown again; what was drawn stays."""
        if self._hidden:
            self._write(SHOW)
            self._hidden = False
        if self._ending is not None and self._live and self._stays:
            self._line(f"\n{summary(self._ending, self._style)}")

    # -- drawing

    def _line(self, text: str) -> None:
        self._write(f"{text}\n")

    def _draw(self, lines: Sequence[str], rows: int) -> None:
        # What is higher than the terminal cannot be redrawn: the cursor does not leave the window.
        lines = lines[: max(rows - 1, 5)]
        up = f"\x1b[{self._drawn}A\r" if self._drawn else ""
        self._write(up + "".join(f"{line}{_END_OF_LINE}\n" for line in lines) + _BELOW)
        self._drawn = len(lines)


def screen(
    scene: Scene, story: Sequence[tuple[datetime, str]], style: Style, *, rows: int = 50, footer: str = ""
) -> list[str]:
    """The lines of one picture: none wider than the style's width, and not more than ``rows`` where that can be.

    Of the story the end stays; when even that is too much the events go.
    """
    below = ["", style.bold("TARGETS, one lock each"), *_targets(scene, style)]
    below += ["", style.bold("REQUESTS"), *_requests(scene, style)]
    events = ["", style.bold("LAST EVENTS")]
    events += [_event(event, scene.now, style) for event in scene.events[-EVENTS:]] or ["  none yet"]
    last = ["", style.dim(footer)] if footer else []
    told = _story(scene.now, story, style)
    left = rows - 2 - len(below) - len(events) - len(last)  # one for the heading, one for the cursor
    if left < min(len(told), LEAST_STORY):
        events, left = [], left + len(events)
    return [style.bold("WHAT HAPPENS"), *told[-max(left, 1) :], *below, *events, *last]


def _story(now: datetime, story: Sequence[tuple[datetime, str]], style: Style) -> list[str]:
    lines = []
    for number, (at, told) in enumerate(story, 1):
        head = f"{number:>3} {age((now - at).total_seconds()):>5}  "
        for line in textwrap.wrap(told, style.width - len(head), initial_indent="") or [""]:
            shown = style.bold(line) if number == len(story) else line
            lines.append(f"{head}{shown}")
            head = " " * len(head)
    return lines or ["  nothing was asked for yet: create a WorkflowExecution"]


def _targets(scene: Scene, style: Style) -> list[str]:
    columns = [
        Column("TARGET", 24, 1),
        Column("STATE", 0, 0, _state),
        Column("HELD OR BLOCKED BY", 18),
        Column("NEXT MAY RUN"),
    ]
    rows = []
    for obj in sorted(scene.locks, key=lambda obj: text(spec(obj).get("target"))):
        rows.append([text(spec(obj).get("target")), *_lock_cells(obj, scene.now)])
    return table(columns, rows, style).splitlines() if rows else ["  none yet"]


def _lock_cells(obj: Json, now: datetime) -> list[str]:
    """STATE, who is the cause of it, and when the next execution may run."""
    try:
        record = LockRecord.from_object(obj)
    except LockUnreadable:
        return ["Unreadable", NOTHING, "when repaired"]
    if record.holder is not None:
        return ["Held", record.holder.name, "when released"]
    if record.block is not None:
        return ["Blocked", record.block.by_name or record.block.by_uid, "when cleared"]
    times = [at for entry in record.workflows for at in (entry.next_allowed, entry.cooldown_until) if at and at > now]
    if times:
        return ["Cooling", NOTHING, f"in {age((min(times) - now).total_seconds())}"]
    return ["Free", NOTHING, "now"]


def _state(style: Style, state: str, cell: str) -> str:
    return style.alarm(cell) if state in ("Blocked", "Unreadable") else cell


def _requests(scene: Scene, style: Style) -> list[str]:
    columns = [
        Column("REQUEST", 20, 2),
        Column("TARGET", 9, 1),
        Column("PHASE", 0, 0, lambda style, phase, cell: style.phase(phase, cell)),
        Column("DONE"),
        Column("REASON"),
    ]
    several = len({namespace_of(obj) for obj in scene.executions}) > 1
    rows = []
    for obj in sorted(scene.executions, key=lambda obj: (text(metadata(obj).get("creationTimestamp")), name_of(obj))):
        rows.append(
            [
                str(key_of(obj)) if several else name_of(obj),
                text(spec(obj).get("targetResource")).rpartition("/")[2],
                shown_phase(obj),
                done(obj),
                text(status(obj).get("reason")) or NOTHING,
            ]
        )
    return table(columns, rows, style).splitlines() if rows else ["  none yet"]


def done(obj: Json) -> str:
    """Steps, or the part of the work, that are done."""
    found = status(obj)
    if isinstance(total := found.get("totalSteps"), int) and total:
        return f"{found.get('completedSteps') or 0}/{total}"
    return f"{found['progress']}%" if isinstance(found.get("progress"), int) else NOTHING


def _cut(said: str, width: int, style: Style) -> str:
    """Sentences are cut at their end, names (``elided``) in their middle."""
    return said if len(said) <= width else said[: max(0, width - 1)].rstrip() + style.ellipsis


def _event(event: Json, now: datetime, style: Style) -> str:
    at = parse_rfc3339(event.get("lastTimestamp")) or now
    name = elided(text(mapping(event.get("involvedObject")).get("name")), 22, style)
    said = one_line(text(event.get("message")))
    line = _cut(f"{age((now - at).total_seconds()):>5}  {name:<22}  {event.get('reason')}: {said}", style.width, style)
    return style.alarm(line) if event.get("type") == "Warning" else line


def changes(scene: Scene) -> list[tuple[str, str]]:
    """One plain sentence an object, with what identifies it: said again only when it differs."""
    out = []
    for obj in sorted(scene.locks, key=name_of):
        found = status(obj)
        holder, block = mapping(found.get("holder")), mapping(found.get("block"))
        state = f"held by {text(holder.get('name'))}" if holder else "free"
        if block:
            state += f", blocked: {text(block.get('reason'))}"
        out.append((f"lock/{name_of(obj)}", f"target   {text(spec(obj).get('target'))}  {state}"))
    for obj in sorted(scene.executions, key=lambda obj: (namespace_of(obj), name_of(obj))):
        found = status(obj)
        progress = found.get("progress")
        done = f"{progress}%" if isinstance(progress, int) and shown_phase(obj) == "Running" else ""
        cells = [name_of(obj), shown_phase(obj), done, text(found.get("reason"))]
        out.append((f"wfe/{namespace_of(obj)}/{name_of(obj)}", "request  " + "  ".join(filter(None, cells))))
    return out


def summary(ending: Ending, style: Style) -> str:
    """What came of everything that the scenario expects, then one closing line."""
    columns = [Column("AS EXPECTED", 0, 0, _verdict), Column("REQUEST OR TARGET", 20, 1), Column("ENDED AS")]
    rows = []
    for verdict in ending.verdicts:
        if verdict.ok or not verdict.open:
            found = verdict.found if verdict.ok else f"{verdict.found}, not {verdict.expected}"
            rows.append(["yes" if verdict.ok else "NO", verdict.name, found])
        else:
            rows.append([NOTHING, verdict.name, f"not waited for, was {verdict.found}"])
    return f"{table(columns, rows, style)}\n\n{style.bold(closing(ending))}"


def closing(ending: Ending) -> str:
    good = sum(verdict.ok for verdict in ending.verdicts)
    return f"{good} of {len(ending.verdicts)} ended as expected, after {ending.seconds:.1f} s"


def _verdict(style: Style, verdict: str, cell: str) -> str:
    return {"NO": style.alarm(cell), "yes": style.phase("Completed", cell)}.get(verdict, cell)

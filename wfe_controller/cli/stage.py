"""What a sandbox looks like: redrawn in place on a terminal, one plain line for each change elsewhere.

The tables say less than those of ``kubectl wfe get`` and ``locks``, so that nothing is cut at 80 columns. Neighbours:
``sandbox.run`` calls it, ``cli.sandbox`` makes it. Pure but for ``write``, which gets finished text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wfe_controller.api.phases import TERMINAL
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tables import Column, elided, table
from wfe_controller.cli.kubectl.views import shown_phase
from wfe_controller.cli.kubectl.words import age, one_line
from wfe_controller.kube.clock import Clock, parse_rfc3339
from wfe_controller.kube.objects import Json, key_of, mapping, metadata, name_of, namespace_of, spec, status, text
from wfe_controller.locking.record import LockRecord, LockUnreadable
from wfe_controller.sandbox.director import Ending
from wfe_controller.sandbox.run import Scene

TITLE = "One remediation of a target at a time; what is not safe to run is skipped."
ABOUT = (
    "Each request (a WorkflowExecution) names a workflow and a target. The controller locks the target, runs the "
    "workflow as a Tekton pipeline, and remembers in the target's lock (a TargetLock) what the next request must know. "
    "What is not safe to run is skipped, with a reason."
)
TARGETS = "TARGETS, one lock each: who works on it, and when the next request may"
REQUESTS = "REQUESTS, each runs a workflow on its target, or says why it does not"
EVENTS = 4
"""How many of the last are shown, and on a low terminal half of them."""
LEAST_STORY = 3
LEAST_REQUESTS = 4
WIDE, WIDER = 100, 110
"""From here on a table has room for what is nice to know."""
NARROWEST, ROWS = 60, 50
"""Below the one lines are clipped; the other is taken when there is no terminal to ask."""
BAR = 10
NOTHING = "-"
HINT = "ctrl-C ends the sandbox"
AFTERWARDS = "# Look around: make demo SANDBOX=--keep. Step by step: docs/tutorial.md"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
CLIP, WRAP = "\x1b[?7l", "\x1b[?7h"
"""Lines longer than a narrow terminal are cut there: what wraps could not be redrawn in place."""
_GOES_ON = " " * 11
_END_OF_LINE, _BELOW = "\x1b[K", "\x1b[J"


class Stage:
    """An Audience. ``live`` draws a screen; ``write`` takes text as it is, ``size``: columns and rows of now."""

    def __init__(
        self,
        write: Callable[[str], object],
        style: Style,
        *,
        clock: Clock,
        about: str = "",
        live: bool = False,
        stays: bool = False,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._write, self._style, self._clock, self._about = write, style, clock, about
        self._live, self._stays, self._size = live, stays, size
        self._story: list[tuple[datetime, str]] = []
        self._said: dict[str, str] = {}
        self._drawn = 0
        self._footer = [HINT] if stays else []
        self._kubeconfig = ""
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
            for line in textwrap.wrap(f"The story: {self._about}", self._style.width - 2):
                self._line(f"# {line}")
        if self._stays:
            self._line(f"# It stays: {HINT}.")
            self._kubeconfig = f"export KUBECONFIG={kubeconfig}"
            self._footer = [self._kubeconfig, HINT]
        self._line("")
        if self._live:
            self._hidden = True
            self._write(HIDE + CLIP)

    def note(self, text: str) -> None:
        self._story.append((self._clock.now(), text))
        if not self._live:
            self._line(f"# {text}")

    def show(self, scene: Scene) -> None:
        if self._live:
            if self._ending is None or self._stays:  # else the summary stands below, and would be drawn over
                columns, rows = (self._style.width, ROWS) if self._size is None else self._size()
                style = replace(self._style, width=max(columns, NARROWEST))
                self._draw(screen(scene, self._story, style, rows=rows, footer=self._footer), rows)
            return
        for name, said in changes(scene):
            if self._said.get(name) != said:
                self._said[name] = said
                self._line(said)

    def ended(self, ending: Ending) -> None:
        self._ending = ending
        self._footer = [*filter(None, [self._kubeconfig]), f"{closing(ending)}; {HINT}"]
        if not (self._live and self._stays):
            self._line(f"\n{summary(ending, self._style)}")
        if self._live and not self._stays and ending.ok:
            self._line(self._style.dim(AFTERWARDS))

    def close(self) -> None:
        """The terminal is as it was; what was drawn stays."""
        if self._hidden:
            self._write(SHOW + WRAP)
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
        # Wiped before it is written: behind a line that is full the cursor stands on its last character.
        self._write(up + "".join(f"{_END_OF_LINE}{line}\n" for line in lines) + _BELOW)
        self._drawn = len(lines)


def screen(
    scene: Scene, story: Sequence[tuple[datetime, str]], style: Style, *, rows: int = ROWS, footer: Sequence[str] = ()
) -> list[str]:
    """The lines of one picture: none wider than the style's width, and fewer than ``rows`` where that can be.

    On a low terminal first the story loses its beginning, then headings and blank lines go, then half of the events,
    then requests that have ended. Targets, the last requests and events are always there.
    """
    told, targets, order = _story(scene.now, story, style), _targets(scene, style), _in_order(scene.executions)
    requests = _requests(scene, order, style)
    events = [_event(event, scene.now, style) for event in scene.events[-EVENTS:]] or ["  none yet"]
    last = [style.dim(line) for line in footer]
    room = rows - 1  # one for the cursor
    least = min(len(told), LEAST_STORY)
    look = {"heads": True, "gaps": True}

    def bold(head: str) -> str:
        return style.bold(_cut(head, style.width, style))

    def picture(told: Sequence[str], *, heads: bool, gaps: bool) -> list[str]:
        blocks = [
            [bold(TITLE)],
            [*([bold("WHAT HAPPENS")] if heads else []), *told],
            [*([bold(TARGETS)] if heads else []), *targets],
            [*([bold(REQUESTS)] if heads else []), *requests],
            [bold("LAST EVENTS"), *events],
            last,
        ]
        lines: list[str] = []
        for block in filter(None, blocks):
            lines += [""] if gaps and lines else []
            lines += block
        return lines

    def height() -> int:
        """Without the story."""
        return len(picture([""], **look)) - 1

    for change in ({}, {"heads": False}, {"gaps": False}):
        look |= change
        if not look["heads"]:
            events = events[-(EVENTS // 2) :]
        if height() + least <= room:
            break
    else:
        over = height() + least - room
        requests = _requests(scene, order, style, most=max(len(order) - over - 1, LEAST_REQUESTS))
    return picture(_end_of(told, max(room - height(), 1)), **look)


def _end_of(told: list[str], most: int) -> list[str]:
    """The last lines, but none that only goes on with what stood before them."""
    end = told[-most:]
    while len(end) > 1 and end[0].startswith(_GOES_ON):
        end = end[1:]
    return end


def _story(now: datetime, story: Sequence[tuple[datetime, str]], style: Style) -> list[str]:
    lines = []
    for number, (at, told) in enumerate(story, 1):
        head = f"{number:>3} {age((now - at).total_seconds()):>5}  "
        for line in textwrap.wrap(told, style.width - len(head), initial_indent="") or [""]:
            shown = style.bold(line) if number == len(story) else line
            lines.append(f"{head}{shown}")
            head = _GOES_ON
    return lines or ["  nothing was asked for yet: create a WorkflowExecution"]


def _targets(scene: Scene, style: Style) -> list[str]:
    columns = [
        Column("TARGET", 24, 1),
        Column("STATE", 0, 0, _state),
        Column("BECAUSE OF", 15),
        Column("NEXT MAY RUN"),
    ]
    rows = []
    for obj in sorted(scene.locks, key=lambda obj: text(spec(obj).get("target"))):
        rows.append([text(spec(obj).get("target")), *_lock_cells(obj, scene.now, wide=style.width >= WIDE)])
    return table(columns, rows, style).splitlines() if rows else ["  no target yet"]


def _lock_cells(obj: Json, now: datetime, *, wide: bool) -> list[str]:
    """STATE, who is the cause of it, and when the next execution may run."""
    try:
        record = LockRecord.from_object(obj)
    except LockUnreadable:
        return ["Unreadable", NOTHING, "when repaired"]
    if record.holder is not None:
        return ["Held", record.holder.name, "when released"]
    if record.block is not None:
        return ["Blocked", record.block.by_name or record.block.by_uid, "when cleared"]
    if (waits := next_allowed(record, now)) is not None:
        workflow, at = waits
        last = record.last_execution  # of another workflow it is not the cause
        by = last.name if last is not None and last.workflow_id == workflow else NOTHING
        return ["Waits", by, f"in {age((at - now).total_seconds())}" + (f" for {workflow}" if wide else "")]
    return ["Free", NOTHING, "now"]


def next_allowed(record: LockRecord, now: datetime) -> tuple[str, datetime] | None:
    """The workflow that may run again first, and when; None when none has to wait."""
    times = [
        (at, entry.workflow_id)
        for entry in record.workflows
        for at in [max(filter(None, (entry.next_allowed, entry.cooldown_until)), default=None)]
        if at is not None and at > now
    ]
    return (min(times)[1], min(times)[0]) if times else None


def _state(style: Style, state: str, cell: str) -> str:
    return style.alarm(cell) if state in ("Blocked", "Unreadable") else cell


def _in_order(executions: Sequence[Json]) -> list[Json]:
    """As they were created; those of one second as they came."""
    return sorted(executions, key=lambda obj: text(metadata(obj).get("creationTimestamp")))


def _requests(scene: Scene, order: Sequence[Json], style: Style, *, most: int | None = None) -> list[str]:
    """With ``most``, those that have ended first go first, and are counted."""
    wide, wider = style.width >= WIDE, style.width >= WIDER
    columns = [
        Column("REQUEST", 20, 2),
        *([Column("WORKFLOW", 12, 1)] if wider else []),
        Column("TARGET", 9, 1),
        Column("PHASE", 0, 0, lambda style, phase, cell: style.phase(phase, cell)),
        Column("PROGRESS"),
        Column("REASON"),
    ]
    left = list(order)
    while most is not None and len(left) > most:
        left.remove(next((obj for obj in left if shown_phase(obj) in TERMINAL), left[0]))
    several = len({namespace_of(obj) for obj in scene.executions}) > 1
    rows = []
    for obj in left:
        rows.append(
            [
                str(key_of(obj)) if several else name_of(obj),
                *([text(mapping(spec(obj).get("workflowRef")).get("workflowId"))] if wider else []),
                text(spec(obj).get("targetResource")).rpartition("/")[2],
                shown_phase(obj),
                done(obj, bar=wide),
                text(status(obj).get("reason")) or NOTHING,
            ]
        )
    lines = table(columns, rows, style).splitlines() if rows else ["  no request yet"]
    return lines if len(left) == len(order) else [*lines, f"  and {len(order) - len(left)} before them"]


def done(obj: Json, *, bar: bool = False) -> str:
    """Steps, or the part of the work, that are done."""
    found = status(obj)
    if isinstance(total := found.get("totalSteps"), int) and total:
        said, part = f"{found.get('completedSteps') or 0}/{total}", (found.get("completedSteps") or 0) / total
    elif isinstance(found.get("progress"), int):
        said, part = f"{found['progress']}%", found["progress"] / 100
    else:
        return NOTHING
    full = round(min(max(part, 0), 1) * BAR)
    return f"{said} [{'#' * full}{'-' * (BAR - full)}]" if bar else said


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
        elif not holder and (waits := _waits(obj, scene.now)):
            state += f", {waits}"
        out.append((f"lock/{name_of(obj)}", f"target   {text(spec(obj).get('target'))}  {state}"))
    for obj in sorted(scene.executions, key=lambda obj: (namespace_of(obj), name_of(obj))):
        found = status(obj)
        progress = done(obj) if shown_phase(obj) == "Running" else NOTHING
        cells = [name_of(obj), shown_phase(obj), "" if progress == NOTHING else progress, text(found.get("reason"))]
        out.append((f"wfe/{namespace_of(obj)}/{name_of(obj)}", "request  " + "  ".join(filter(None, cells))))
    for event in scene.events:
        about = text(mapping(event.get("involvedObject")).get("name"))
        said = f"{event.get('reason')}: {one_line(text(event.get('message')))}"
        out.append((f"event/{metadata(event).get('uid')}", f"event    {about}  {said}"))
    return out


def _waits(obj: Json, now: datetime) -> str:
    try:
        waits = next_allowed(LockRecord.from_object(obj), now)
    except LockUnreadable:
        return "its record cannot be read"
    return f"{waits[0]} not before {waits[1]:%H:%M:%SZ}" if waits else ""


def summary(ending: Ending, style: Style) -> str:
    """What came of everything that the scenario expects, then one closing line."""
    columns = [Column("AS EXPECTED", 0, 0, _verdict), Column("REQUEST OR TARGET", 20, 1), Column("ENDED AS")]
    rows = []
    for verdict in ending.verdicts:
        if verdict.ok or not verdict.open:
            found = verdict.found if verdict.ok else f"{verdict.found}, not {verdict.expected}"
            rows.append(["yes" if verdict.ok else "NO", verdict.name, found])
        else:
            found = "not asked for any more" if verdict.found == "nothing" else f"not waited for, was {verdict.found}"
            rows.append([NOTHING, verdict.name, found])
    return f"{table(columns, rows, style)}\n\n{style.bold(closing(ending))}"


def closing(ending: Ending) -> str:
    good = sum(verdict.ok for verdict in ending.verdicts)
    return f"{good} of {len(ending.verdicts)} ended as expected, after {ending.seconds:.1f} s"


def _verdict(style: Style, verdict: str, cell: str) -> str:
    return {"NO": style.alarm(cell), "yes": style.phase("Completed", cell)}.get(verdict, cell)

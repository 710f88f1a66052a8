"""The tables of WorkflowExecutions and TargetLocks. Pure: objects in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from wfe_controller.api.phases import Phase
from wfe_controller.cli.kubectl.explain.facts import Facts
from wfe_controller.cli.kubectl.explain.obstacle import AS_STORED
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tables import Column, elided, table
from wfe_controller.cli.kubectl.words import age, between, cells, head, one_line
from wfe_controller.kube.objects import (
    Json,
    ObjectKey,
    is_deleting,
    key_of,
    mapping,
    metadata,
    name_of,
    namespace_of,
    spec,
    status,
    text,
)
from wfe_controller.locking.record import LockRecord, LockUnreadable

NOTHING = "-"
KEEP = 28
"""Columns of a name that is not cut as long as something else can be."""
LONGEST_PHASE = max(map(len, Phase))


def facts_of(obj: Json, now: datetime) -> Facts:
    """Only what the object itself says."""
    return Facts(key_of(obj), now, obj, "", "")


def executions_table(objs: Sequence[Json], now: datetime, style: Style, *, wide: bool, namespaces: bool) -> str:
    """NAME PHASE PROGRESS TARGET REASON AGE; wide: WORKFLOW, ENGINE, HOLDER, DURATION."""
    columns = [
        Column("NAME", 12, 1, keep=KEEP),
        Column("PHASE", LONGEST_PHASE, 0, _phase),
        Column("DONE", 7),
        Column("TARGET", 12, 3),
        Column("REASON", 8, 2),
    ]
    if wide:
        columns += [Column("WORKFLOW"), Column("ENGINE"), Column("HOLDER"), Column("DURATION")]
    columns.append(Column("AGE"))
    if namespaces:
        columns.insert(0, Column("NAMESPACE", 9, 2))
    rows = []
    for obj in sorted(objs, key=lambda o: (namespace_of(o), _created(o), name_of(o))):
        facts = facts_of(obj, now)
        row = [name_of(obj), shown_phase(obj), _progress(obj), facts.target or NOTHING, facts.reason or NOTHING]
        if wide:
            holder = mapping(mapping(facts.status.get("skipDetails")).get("conflictingWorkflow")).get("name")
            row += [facts.workflow_id or NOTHING, facts.engine, text(holder) or NOTHING, duration(obj, now) or NOTHING]
        row.append(between(metadata(obj).get("creationTimestamp"), now) or NOTHING)
        rows.append([namespace_of(obj), *row] if namespaces else row)
    return table(columns, rows, style if not wide else _uncut(style))


def shown_phase(obj: Json) -> str:
    """The phase; ``New`` without one; ``Terminating`` while a deleted object still runs."""
    phase = text(status(obj).get("phase"))
    return "Terminating" if is_deleting(obj) else phase or "New"


def duration(obj: Json, now: datetime) -> str:
    """How long it ran, or has been running."""
    start, end = status(obj).get("startTime"), status(obj).get("completionTime")
    return text(status(obj).get("duration")) or between(start, end or now)


def _progress(obj: Json) -> str:
    done, total, percent = (status(obj).get(key) for key in ("completedSteps", "totalSteps", "progress"))
    if isinstance(total, int) and total:
        return f"{done or 0}/{total}"
    return f"{percent}%" if isinstance(percent, int) else NOTHING


def _created(obj: Json) -> str:
    return text(metadata(obj).get("creationTimestamp"))


def _phase(style: Style, phase: str, cell: str) -> str:
    return style.phase(phase, cell)


def _uncut(style: Style) -> Style:
    return Style(style.width, style.colour, style.unicode, cut=False)


def locks_table(objs: Sequence[Json], now: datetime, style: Style, *, wide: bool) -> str:
    """TARGET STATE BY SINCE NEXT AGE; wide: the lock's name, the last execution, failures."""
    columns = [
        Column("TARGET", 20, 2, keep=KEEP),
        Column("STATE", 0, 0, _state),
        Column("BY", 12, 1),
        Column("SINCE"),
        Column("ALLOWED"),
        Column("FAILS"),
    ]
    if wide:
        columns += [Column("LOCK"), Column("LAST"), Column("OUTCOME")]
    columns.append(Column("AGE"))
    rows = []
    for obj in sorted(objs, key=lambda o: text(spec(o).get("target"))):
        row = [text(spec(obj).get("target")), *_lock_cells(obj, now)]
        if wide:
            last = mapping(status(obj).get("lastExecution"))
            row += [name_of(obj), text(last.get("name")) or NOTHING, text(last.get("outcome")) or NOTHING]
        row.append(between(metadata(obj).get("creationTimestamp"), now) or NOTHING)
        rows.append(row)
    return table(columns, rows, style if not wide else _uncut(style))


def needs_clearing(obj: Json) -> bool:
    """Whether only clear-block lets every workflow run there again: a block, an exhausted streak, a broken record."""
    try:
        record = LockRecord.from_object(obj)
    except LockUnreadable:
        return True
    return record.block is not None or _exhausted(record)


def _exhausted(record: LockRecord) -> bool:
    return any(entry.consecutive_failures >= AS_STORED.max_failures for entry in record.workflows)


def _state(style: Style, state: str, cell: str) -> str:
    return style.alarm(cell) if state in ("Blocked", "Exhausted", "Unreadable") else cell


def _lock_cells(obj: Json, now: datetime) -> list[str]:
    """STATE, BY, SINCE, ALLOWED, FAILS."""
    try:
        record = LockRecord.from_object(obj)
    except LockUnreadable:
        return ["Unreadable", NOTHING, NOTHING, NOTHING, NOTHING]
    fails = max((entry.consecutive_failures for entry in record.workflows), default=0)
    waits = list(_waits(record, now))
    allowed = age((min(waits) - now).total_seconds()) if waits else NOTHING
    state, by, at = "Free", NOTHING, None
    if record.holder is not None:
        state, by, at = "Held", str(ObjectKey(record.holder.namespace, record.holder.name)), record.holder.acquired_at
    elif record.block is not None:
        state, by, at = "Blocked", record.block.by_name or record.block.by_uid, record.block.since
    elif _exhausted(record):
        state, allowed = "Exhausted", "never"
        if record.last_execution is not None:
            by, at = record.last_execution.name, record.last_execution.completed_at
    elif waits:
        state = "Waits"
        if record.last_execution is not None:
            by, at = record.last_execution.name, record.last_execution.completed_at
    if state == "Held" and record.block is not None:
        state = "Blocked"
    shown = age((now - at).total_seconds()) if at is not None else NOTHING
    return [state, by, shown, "never" if record.block is not None else allowed, str(fails) if fails else NOTHING]


def _waits(record: LockRecord, now: datetime) -> Iterator[datetime]:
    for entry in record.workflows:
        for at in (entry.next_allowed, entry.cooldown_until):
            if at is not None and at > now:
                yield at


def event_line(obj: Json, at: datetime, style: Style, *, namespaces: bool = False) -> str:
    """One line of ``watch``: time, name, phase, progress, reason and message."""
    phase = shown_phase(obj)
    shown, name = one_line(phase), one_line(str(key_of(obj)) if namespaces else name_of(obj))
    if style.cut:
        shown, name = elided(shown, style.width // 4, style), elided(name, style.width // 2, style)
    start = f"{at:%H:%M:%S}  {name}  "
    reason, message = one_line(text(status(obj).get("reason"))), one_line(text(status(obj).get("message")))
    told = [_progress(obj)] if _progress(obj) != NOTHING else []
    told += [reason] if reason else []
    rest = f"{'  '.join(told)}{': ' if told and message else ''}{message}"
    room = style.width - cells(start) - cells(shown) - 2
    if style.cut and cells(rest) > room:
        rest = head(rest, max(0, room - 1)) + style.ellipsis
    return f"{start}{style.phase(phase, shown)}  {rest}".rstrip()

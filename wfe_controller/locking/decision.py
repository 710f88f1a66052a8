"""May this execution act on this target now? One pure function over live-read inputs (SPEC 2.1).

Neighbours: the phase handlers read the record and the holder live, ask here, and act once; transitions writes what
was decided. Invariants: the order of the questions is the specification's; the instant at which a wait ends counts as
allowed; a stored time never makes anybody wait for longer than the window configured now (TH24); a holder that has
ended is never taken over here, its own cleanup has to write the history first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from wfe_controller.api.durations import format_duration
from wfe_controller.api.names import ANNOTATION_CLEAR_BLOCK, by, reason
from wfe_controller.api.reasons import LockOutcome, SkipReason
from wfe_controller.api.targetlock import MAX_WORKFLOWS
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Holder, LastExecution, LockRecord, WorkflowEntry

UNKNOWN = "unknown"
"""Stands where the API wants a name and there is none to be known."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The execution that asks."""

    uid: str
    name: str
    namespace: str
    workflow_id: str
    engine: str


class HolderState(StrEnum):
    """What a live GET of the holder said. When it could not be read there is no decision to ask for."""

    LIVE = "live"
    TERMINAL = "terminal"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """A run under our run name that is not ours to touch. Empty strings where it carries no label to tell.

    ``finished``: somebody else made it, so it is not deleted to make room either.
    """

    owner_name: str
    owner_uid: str
    started_at: datetime
    workflow_id: str
    owner_namespace: str = ""
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Mine:
    """Adopt and go on. ``holder`` is who the record names: the claim itself, None (assert the hold again), or another
    execution although the run is ours (LockConflict: launch nothing)."""

    holder: Holder | None


@dataclass(frozen=True, slots=True)
class Acquire:
    """Free and allowed."""


@dataclass(frozen=True, slots=True)
class AwaitHolderCleanup:
    """The holder has ended and not yet been settled: enqueue it and come back within a second. Never a skip."""

    holder: Holder


@dataclass(frozen=True, slots=True)
class Skip:
    """Refused. ``skip_details`` is the JSON of status.skipDetails; ``remaining``: seconds until asking again helps."""

    reason: SkipReason
    message: str
    skip_details: Json
    remaining: float | None = None


@dataclass(frozen=True, slots=True)
class SkipBlocked(Skip):
    """The target's state is unknown until a person clears it."""


@dataclass(frozen=True, slots=True)
class SkipExhausted(Skip):
    """Too many failures in a row, or no room left to remember another workflow's."""


@dataclass(frozen=True, slots=True)
class SkipCooling(Skip):
    """Inside a backoff or a cooldown."""


@dataclass(frozen=True, slots=True)
class SkipBusy(Skip):
    """Another execution is acting on the target."""


Decision = Mine | Acquire | SkipBlocked | SkipExhausted | SkipCooling | SkipBusy | AwaitHolderCleanup


def live_entry(entry: WorkflowEntry, now: datetime, limits: Limits) -> WorkflowEntry | None:
    """What of ``entry`` still has an effect at ``now``; None when nothing has.

    A streak lives until ``streak_retention`` after its last failure (and at least until its own backoff is over); an
    exhausted one, or one without a date, for ever.
    """
    failures, last, allowed = entry.consecutive_failures, entry.last_failure_at, entry.next_allowed
    if failures < 1:
        failures, last, allowed = 0, None, None
    elif failures < limits.max_failures and last is not None:
        end = last + timedelta(seconds=limits.streak_retention)
        if now >= max(end, allowed or end):
            failures, last, allowed = 0, None, None
    cooldown = entry.cooldown_until if entry.cooldown_until is not None and now < entry.cooldown_until else None
    if not failures and cooldown is None:
        return None
    return WorkflowEntry(entry.workflow_id, failures, last, allowed, cooldown)


def live_entries(record: LockRecord, now: datetime, limits: Limits) -> tuple[WorkflowEntry, ...]:
    """All entries that still have an effect."""
    return tuple(live for entry in record.workflows if (live := live_entry(entry, now, limits)) is not None)


def decide(
    record: LockRecord | None,
    claim: Claim,
    *,
    holder_state: HolderState | None,
    foreign_run: ForeignRun | None,
    now: datetime,
    limits: Limits,
    target: str = "",
    holder_workflow_id: str = "",
) -> Decision:
    """Answer for one target.

    ``holder_state`` is needed when the record has a holder other than the claim; None then counts as live.
    ``foreign_run`` is an unfinished run under our run name, our own included. ``target`` names the canonical target
    when there is no record yet; ``holder_workflow_id`` is for the message only.
    """
    target = record.target if record is not None else target
    holder = record.holder if record is not None else None
    if (holder is not None and holder.uid == claim.uid) or (
        foreign_run is not None and foreign_run.owner_uid == claim.uid
    ):
        return Mine(holder)
    if record is not None:
        refused = _history(record, claim, now, limits)
        if refused is not None:
            return refused
    if holder is not None:
        if holder_state in (HolderState.TERMINAL, HolderState.GONE):
            return AwaitHolderCleanup(holder)
        return _busy_holder(target, holder, holder_workflow_id, now)
    if foreign_run is not None:
        return _busy_run(target, foreign_run, now)
    return Acquire()


def _history(record: LockRecord, claim: Claim, now: datetime, limits: Limits) -> Decision | None:
    """Questions 2 to 5: block, exhaustion, backoff, cooldown."""
    if record.block is not None:
        return _blocked(record, now)
    entries = {entry.workflow_id: entry for entry in live_entries(record, now, limits)}
    mine = entries.get(claim.workflow_id)
    if mine is None:
        return _table_full(record, claim, now) if len(entries) >= MAX_WORKFLOWS else None
    if mine.consecutive_failures >= limits.max_failures:
        return _exhausted(record, mine, now)
    if mine.next_allowed is not None and now < mine.next_allowed:
        window = limits.backoff(mine.consecutive_failures)
        return _cooling(record, mine, mine.next_allowed, window, now, failed=True)
    if mine.cooldown_until is not None and limits.success_cooldown > 0:
        return _cooling(record, mine, mine.cooldown_until, limits.success_cooldown, now, failed=False)
    return None


def _blocked(record: LockRecord, now: datetime) -> SkipBlocked:
    block = record.block
    assert block is not None
    message = (
        f"{record.target} is blocked since {rfc3339(block.since)} ({block.reason}) by {block.by_name or block.by_uid}: "
        f"{_short(block.message) or 'its state is unknown'}. Manual intervention required: check the target, then "
        f"{_how_to_clear(record, block.by_uid)}"
    )
    last = record.last_execution
    same = last is not None and last.uid == block.by_uid
    return SkipBlocked(
        *_skip(
            SkipReason.PREVIOUS_EXECUTION_FAILED,
            message,
            now,
            recentRemediation=_recent(
                record.target,
                name=block.by_name,
                workflow_id=last.workflow_id if last is not None and same else "",
                completed_at=last.completed_at if last is not None and same else block.since,
                outcome=last.outcome if last is not None and same else LockOutcome.FAILED,
            ),
        )
    )


def _table_full(record: LockRecord, claim: Claim, now: datetime) -> SkipExhausted:
    message = (
        f"{record.target} already remembers {MAX_WORKFLOWS} workflows that failed or cool down, there is no room for "
        f"{claim.workflow_id}. Manual intervention required: find out why so many workflows act on this target; room "
        f"comes back as their waits end"
    )
    last = record.last_execution
    return SkipExhausted(
        *_skip(
            SkipReason.EXHAUSTED_RETRIES, message, now, recentRemediation=_recent_of(record.target, last, claim, now)
        )
    )


def _exhausted(record: LockRecord, entry: WorkflowEntry, now: datetime) -> SkipExhausted:
    expected = record.last_execution.uid if record.last_execution is not None else UNKNOWN
    message = (
        f"workflow {entry.workflow_id} failed {entry.consecutive_failures} times in a row before it could start on "
        f"{record.target}. Manual intervention required: remove the cause, then {_how_to_clear(record, expected)}"
    )
    recent = _recent_of_entry(record, entry, entry.last_failure_at or now, LockOutcome.FAILED)
    return SkipExhausted(*_skip(SkipReason.EXHAUSTED_RETRIES, message, now, recentRemediation=recent))


def _cooling(
    record: LockRecord, entry: WorkflowEntry, until: datetime, window: float, now: datetime, *, failed: bool
) -> SkipCooling | None:
    remaining = min((until - now).total_seconds(), window)
    if remaining <= 0:
        return None
    allowed_at = rfc3339(now + timedelta(seconds=remaining))
    left = format_duration(remaining)
    if failed:
        times = "once" if entry.consecutive_failures == 1 else f"{entry.consecutive_failures} times in a row"
        message = (
            f"workflow {entry.workflow_id} failed {times} before it could start on {record.target}; "
            f"{left} left, next allowed at {allowed_at}. Create the execution again then"
        )
        ended = entry.last_failure_at or until - timedelta(seconds=window)
        outcome = LockOutcome.FAILED
    else:
        message = (
            f"workflow {entry.workflow_id} completed recently on {record.target}; {left} of the cooldown left, next "
            f"allowed at {allowed_at}. Another workflow may run now; create this one again then if it is still needed"
        )
        ended = until - timedelta(seconds=window)
        outcome = LockOutcome.COMPLETED
    recent = _recent_of_entry(record, entry, min(ended, now), outcome)
    recent["cooldownRemaining"] = left
    return SkipCooling(
        *_skip(SkipReason.RECENTLY_REMEDIATED, message, now, recentRemediation=recent),
        remaining=remaining,
    )


def _busy_holder(target: str, holder: Holder, workflow_id: str, now: datetime) -> SkipBusy:
    message = (
        f"{target} is being remediated by {holder.namespace}/{holder.name} (uid {holder.uid}) since "
        f"{rfc3339(holder.acquired_at)}. Create the execution again when that one has ended, or cancel it first"
    )
    conflicting = _conflicting(target, holder.name, workflow_id, holder.acquired_at)
    return SkipBusy(*_skip(SkipReason.RESOURCE_BUSY, message, now, conflictingWorkflow=conflicting))


def _busy_run(target: str, run: ForeignRun, now: datetime) -> SkipBusy:
    name = f"{run.owner_namespace}/{run.owner_name}" if run.owner_namespace and run.owner_name else run.owner_name
    message = (
        f"a finished PipelineRun under the name of {target}, which this controller did not make and does not delete, "
        f"stands there since {rfc3339(run.started_at)}. Delete it, then create the execution again"
        if run.finished
        else f"an unfinished PipelineRun under the name of {target} belongs to {name or 'an unknown owner'} since "
        f"{rfc3339(run.started_at)}. Wait for it to end, or cancel and delete it, then create the execution again"
    )
    conflicting = _conflicting(target, run.owner_name, run.workflow_id, run.started_at)
    return SkipBusy(*_skip(SkipReason.RESOURCE_BUSY, message, now, conflictingWorkflow=conflicting))


def _skip(reason_: SkipReason, message: str, now: datetime, **detail: Json) -> tuple[SkipReason, str, Json]:
    message = message if len(message) <= 1024 else message[:1021] + "..."
    return reason_, message, {"reason": reason_.value, "message": message, "skippedAt": rfc3339(now), **detail}


def _conflicting(target: str, name: str, workflow_id: str, started_at: datetime) -> Json:
    return {
        "name": name or UNKNOWN,
        "workflowId": workflow_id or UNKNOWN,
        "startedAt": rfc3339(started_at),
        "targetResource": target,
    }


def _recent(target: str, *, name: str, workflow_id: str, completed_at: datetime, outcome: str) -> Json:
    return {
        "name": name or UNKNOWN,
        "workflowId": workflow_id or UNKNOWN,
        "completedAt": rfc3339(completed_at),
        "outcome": str(outcome),
        "targetResource": target,
    }


def _recent_of(target: str, last: LastExecution | None, claim: Claim, now: datetime) -> Json:
    if last is None:
        return _recent(target, name="", workflow_id=claim.workflow_id, completed_at=now, outcome=LockOutcome.UNKNOWN)
    return _recent(
        target, name=last.name, workflow_id=last.workflow_id, completed_at=last.completed_at, outcome=last.outcome
    )


def _recent_of_entry(record: LockRecord, entry: WorkflowEntry, ended: datetime, outcome: LockOutcome) -> Json:
    """The last execution when it is this workflow's, else what the entry itself remembers (it keeps no name)."""
    last = record.last_execution
    if last is not None and last.workflow_id == entry.workflow_id:
        return _recent(
            record.target,
            name=last.name,
            workflow_id=last.workflow_id,
            completed_at=last.completed_at,
            outcome=last.outcome,
        )
    return _recent(record.target, name="", workflow_id=entry.workflow_id, completed_at=ended, outcome=outcome)


def _short(message: str) -> str:
    message = message.rstrip(".")
    return message if len(message) <= 300 else message[:297] + "..."


def _how_to_clear(record: LockRecord, uid: str) -> str:
    lock = f"{record.namespace}/{record.name}" if record.namespace else record.name
    return (
        f"annotate TargetLock {lock} with {ANNOTATION_CLEAR_BLOCK}={uid}, {by(ANNOTATION_CLEAR_BLOCK)} and "
        f"{reason(ANNOTATION_CLEAR_BLOCK)} (at least 10 characters)"
    )

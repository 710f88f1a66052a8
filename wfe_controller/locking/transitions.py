"""Every change of a TargetLock record, as pure functions (SPEC 1.3, 2.1 end, 2.2, 2.3 end, 7).

Neighbours: ledger turns one transition into one compare-and-swap. Invariants: only the holder writes history; a hold is
cleared together with the record of what it was for, or (``drop_hold``) when it never acted; doing a transition again
changes nothing; every stored instant is a whole second, a wait rounded up, a fact rounded down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wfe_controller.api.reasons import BlockReason, LockOutcome
from wfe_controller.api.targetlock import MAX_CLEARANCES, MAX_WORKFLOWS
from wfe_controller.locking.decision import Claim, live_entries
from wfe_controller.locking.limits import Limits, whole_second_down, whole_second_up
from wfe_controller.locking.record import Block, Clearance, Holder, LastExecution, LockRecord, WorkflowEntry

MESSAGE_MAX = 1024
"""Longest ``block.message`` and ``clearances[].reason``; people may write more into an annotation."""

BY_MAX = 256
"""Longest ``clearances[].by``."""

_SEVERITY = {
    BlockReason.EXECUTION_FAILED: 0,
    BlockReason.DEGRADED: 1,
    BlockReason.ORPHANED_RUN: 2,
    BlockReason.CANCEL_INCOMPLETE: 3,
}


class HeldByAnother(Exception):
    """The record has another holder: the decision was made on older data."""

    def __init__(self, target: str, holder: Holder) -> None:
        super().__init__(f"{target} is held by {holder.namespace}/{holder.name} (uid {holder.uid})")
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to write, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one execution ended.

    ``was_execution_failure``: a step may have started, so the target's state is unknown. ``counts``: a failure that
    never started and lengthens the streak (not a cancellation, not a missed start deadline). ``block``: what to write
    when the default (ExecutionFailed, or OrphanedRun for an unknown outcome) would say too little.
    """

    outcome: LockOutcome
    was_execution_failure: bool
    counts: bool
    completed_at: datetime
    block: Block | None = None


def acquire(record: LockRecord, claim: Claim, now: datetime) -> LockRecord | Unchanged:
    """Put the claim in as the holder. Raises ``HeldByAnother``; the own hold stays as it is.

    Asks nothing else: whether the target may be acted on is ``decide``'s answer, and a lost hold is asserted again
    whatever the history says.
    """
    if record.holder is not None:
        if record.holder.uid == claim.uid:
            return Unchanged("the hold is already mine")
        raise HeldByAnother(record.target, record.holder)
    holder = Holder(claim.uid, claim.name, claim.namespace, claim.engine, whole_second_down(now))
    return replace(record, holder=holder)


def drop_hold(record: LockRecord, uid: str) -> LockRecord | Unchanged:
    """Give the hold back without history: nothing was launched under it (SPEC 2.1 end)."""
    if record.holder is None or record.holder.uid != uid:
        return Unchanged("the hold is not mine")
    return replace(record, holder=None)


def block(record: LockRecord, uid: str, block: Block) -> LockRecord | Unchanged:
    """Block the target and keep the hold: what the holder started is not over, whatever its status says."""
    if record.holder is None or record.holder.uid != uid:
        return Unchanged("the hold is not mine")
    return replace(record, block=_combined(record.block, replace(block, message=block.message[:MESSAGE_MAX])))


def settle(
    record: LockRecord, claim: Claim, settlement: Settlement, now: datetime, limits: Limits
) -> LockRecord | Unchanged:
    """The one end write: outcome, streak, cooldown and block, and the holder cleared.

    Writes only while the claim is the holder, so a repeat after a crash, or by a paused old leader, is ``Unchanged``.
    """
    holder = record.holder
    if holder is None:
        return Unchanged("nobody holds the target: already settled")
    if holder.uid != claim.uid:
        return Unchanged(f"the target is held by {holder.namespace}/{holder.name}, only the holder writes history")
    # Tekton's clock is not ours (TH24): an end lies between the acquire and now.
    completed_at = whole_second_down(min(max(settlement.completed_at, holder.acquired_at), now))
    record = prune(record, now, limits)
    return replace(
        record,
        holder=None,
        last_execution=LastExecution(
            claim.uid, claim.name, claim.workflow_id, str(settlement.outcome), completed_at, whole_second_down(now)
        ),
        workflows=_with_result(record.workflows, claim.workflow_id, settlement, completed_at, now, limits),
        block=_combined(record.block, _block_of(settlement, claim, now)),
    )


def clear(
    record: LockRecord, *, by: str, at: datetime, reason: str, verified: bool, limits: Limits
) -> LockRecord | Unchanged:
    """A person lifts the block: clearance appended, block and ALL streaks removed. Success cooldowns stay, and so does
    the last execution: evidence is never erased."""
    streak = any(entry.consecutive_failures for entry in record.workflows)
    if record.block is None and not streak:
        return Unchanged("no block and no failure streak to clear")
    clearance = Clearance(by[:BY_MAX], whole_second_down(at), reason[:MESSAGE_MAX], verified)
    cleared = replace(
        record,
        block=None,
        workflows=tuple(
            WorkflowEntry(entry.workflow_id, cooldown_until=entry.cooldown_until)
            for entry in record.workflows
            if entry.cooldown_until is not None
        ),
        clearances=(*record.clearances, clearance)[-MAX_CLEARANCES:],
    )
    return prune(cleared, at, limits)


def prune(record: LockRecord, now: datetime, limits: Limits) -> LockRecord:
    """Drop what has no effect any more, and bring times that lie beyond their window back to it (clock skew, TH24)."""
    entries = tuple(_within_window(entry, now, limits) for entry in live_entries(record, now, limits))
    return record if entries == record.workflows else replace(record, workflows=entries)


def is_empty(record: LockRecord, now: datetime, limits: Limits) -> bool:
    """Free, unblocked and without a live workflows entry: deciding with it is the same as deciding without it."""
    return record.holder is None and record.block is None and not live_entries(record, now, limits)


def _within_window(entry: WorkflowEntry, now: datetime, limits: Limits) -> WorkflowEntry:
    def capped(instant: datetime | None, window: float) -> datetime | None:
        return None if instant is None else min(instant, whole_second_up(now + timedelta(seconds=window)))

    return replace(
        entry,
        last_failure_at=capped(entry.last_failure_at, 0.0),
        next_allowed=capped(entry.next_allowed, limits.backoff(entry.consecutive_failures)),
        cooldown_until=capped(entry.cooldown_until, limits.success_cooldown),
    )


def _with_result(
    entries: tuple[WorkflowEntry, ...],
    workflow_id: str,
    settlement: Settlement,
    completed_at: datetime,
    now: datetime,
    limits: Limits,
) -> tuple[WorkflowEntry, ...]:
    old = next((e for e in entries if e.workflow_id == workflow_id), WorkflowEntry(workflow_id))
    new: WorkflowEntry | None
    if settlement.outcome is LockOutcome.COMPLETED:
        until = whole_second_up(completed_at + timedelta(seconds=limits.success_cooldown))
        new = WorkflowEntry(workflow_id, cooldown_until=until) if now < until else None
    elif settlement.counts and not settlement.was_execution_failure:
        failures = old.consecutive_failures + 1
        new = WorkflowEntry(
            workflow_id,
            failures,
            last_failure_at=completed_at,
            next_allowed=whole_second_up(completed_at + timedelta(seconds=limits.backoff(failures))),
            cooldown_until=old.cooldown_until,
        )
    else:
        return entries
    kept = [e for e in entries if e.workflow_id != workflow_id]
    if new is None:
        return tuple(kept)
    position = next((i for i, e in enumerate(entries) if e.workflow_id == workflow_id), len(kept))
    kept.insert(position, new)
    if len(kept) > MAX_WORKFLOWS:
        kept.remove(min(kept, key=lambda entry: _end(entry, now, limits)))
    return tuple(kept)


def _end(entry: WorkflowEntry, now: datetime, limits: Limits) -> tuple[bool, datetime]:
    """Sorts entries by how little would be lost without them: exhausted ones last, else by when their effect ends.

    A table can only overflow here when the limits were changed while its holder was running: ``decide`` lets no
    workflow in that has no room. The workflow that is dropped meets a full table and is refused all the same.
    """
    ends = [i for i in (entry.next_allowed, entry.cooldown_until) if i is not None]
    return entry.consecutive_failures >= limits.max_failures, max(ends, default=now)


def _block_of(settlement: Settlement, claim: Claim, now: datetime) -> Block | None:
    """The block this end leaves behind; a caller that forgot one gets one all the same."""
    if settlement.block is not None:
        block = settlement.block
        return replace(block, since=whole_second_down(block.since), message=block.message[:MESSAGE_MAX])
    if settlement.outcome is LockOutcome.UNKNOWN:
        kind, what = BlockReason.ORPHANED_RUN, "its outcome is unknown"
    elif settlement.was_execution_failure:
        kind, what = BlockReason.EXECUTION_FAILED, "it failed after a step may have started"
    else:
        return None
    return Block(
        str(kind),
        claim.uid,
        claim.name,
        whole_second_down(now),
        f"{claim.namespace}/{claim.name}: {what}"[:MESSAGE_MAX],
    )


def _combined(old: Block | None, new: Block | None) -> Block | None:
    """The block of a target that already has one (a hold asserted again on a blocked target, or a second end write).

    Of one execution: the first ``since`` stays, the graver reason wins. Of two: the newer execution is the one to
    clear, because a clearance a person prepared for the older must not lift the newer; the graver reason and both
    messages stay.
    """
    if old is None or new is None:
        return new or old
    graver = max((new, old), key=lambda block: _SEVERITY.get(BlockReason(block.reason), 99) if _known(block) else 99)
    if old.by_uid == new.by_uid:
        return replace(graver, since=min(old.since, new.since))
    both = f"{new.message}; before that, since {old.since.isoformat()}, {old.by_name or old.by_uid}: {old.message}"
    return replace(new, reason=graver.reason, message=both[:MESSAGE_MAX])


def _known(block: Block) -> bool:
    return block.reason in {str(reason) for reason in BlockReason}

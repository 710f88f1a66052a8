"""After the end: settle the ledger, take the finalizer off, keep the finished run for its retention (SPEC 2.4-2.6).

Terminal is final: nothing here writes status. Every step is repeatable, because a crash may come between any two.
"""

from __future__ import annotations

from datetime import timedelta

from wfe_controller.api.reasons import EventReason
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.objects import is_deleting, name_of
from wfe_controller.locking.record import LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.phases import doubt
from wfe_controller.workflows.plan import (
    Acquire,
    Act,
    BlockTarget,
    DeleteRun,
    DropHold,
    Input,
    Note,
    Read,
    RemoveFinalizer,
    Settle,
    Step,
    Stop,
)
from wfe_controller.workflows.snapshot import Snapshot, Unread


def terminal(snapshot: Snapshot) -> Step:
    """The next step of an object that has ended."""
    run = snapshot.cached_run
    if run is not None and launch.is_pending(run) and not is_deleting(run):
        return Act(DeleteRun(run, "its WorkflowExecution has ended and it was never started"))
    if not snapshot.has_finalizer and not snapshot.cached_hold:
        return _retain(snapshot)
    if snapshot.canonical is not None and isinstance(snapshot.inputs.lock, Unread):
        return Read(Input.LOCK)
    lock = snapshot.inputs.lock
    if isinstance(lock, LockUnreadable | TargetCollision):
        return Stop(RequeueAfter(30.0))
    if not isinstance(lock, Unread) and snapshot.canonical is not None and doubt.lost(snapshot, lock):
        why = "the record of the target was removed before this end was written into it; it is written again"
        return Act(Acquire(lock), (Note("Warning", EventReason.LOCK_CONFLICT, why),))
    holding = lock if isinstance(lock, LockRecord) and snapshot.holds is True else None
    left = doubt.still_there(snapshot) if holding is not None else ()
    if isinstance(left, Read):
        return left
    if left and holding is not None and not doubt.accused(snapshot, holding):
        block = doubt.accusation(snapshot, left)
        return Act(BlockTarget(holding, block), (Note("Warning", EventReason.ORPHANED_RUN, block.message),))
    if snapshot.deleting:
        step = _delete_run_first(snapshot)
        if step is not None:
            return step
    if holding is not None:
        if left and not _waited_enough(snapshot):
            return Stop(RequeueAfter(snapshot.settings.poll_interval))
        if doubt.recorded(snapshot, holding):
            return Act(DropHold(holding))
        note = Note("Normal", EventReason.LOCK_RELEASED, f"target {holding.target} released")
        return Act(Settle(holding, doubt.settlement(snapshot, holding, left)), (note,))
    return Act(RemoveFinalizer(), deletion_note(snapshot)) if snapshot.has_finalizer else _retain(snapshot)


def deletion_note(snapshot: Snapshot) -> tuple[Note, ...]:
    if not snapshot.deleting:
        return ()
    message = f"deleted in phase {snapshot.phase or 'Pending'}; nothing is rolled back on deletion"
    return (Note("Normal", EventReason.WORKFLOW_EXECUTION_DELETED, message),)


def _delete_run_first(snapshot: Snapshot) -> Step | None:
    """A deleted object takes its run along before it lets the target go; bounded by the cancel deadline."""
    run = snapshot.cached_run
    if run is None or _waited_enough(snapshot):
        return None
    if not is_deleting(run):
        return Act(DeleteRun(run, "its WorkflowExecution is being deleted"))
    return Stop(RequeueAfter(1.0))


def _waited_enough(snapshot: Snapshot) -> bool:
    """Whether a deletion has waited out the cancel deadline (T56): what is still there then is named in a block."""
    since = snapshot.deletion_time
    return since is not None and snapshot.now >= since + timedelta(seconds=snapshot.settings.cancel_deadline)


def _retain(snapshot: Snapshot) -> Step:
    """Delete the finished run when its retention is over; no decision depends on it."""
    run = snapshot.cached_run
    if run is None or is_deleting(run):
        return Stop(Done())
    if not launch.is_done(run):
        # A survivor of an incomplete cancellation: the block speaks for it, the lock keeper watches it.
        return Stop(Done())
    ended = parse_rfc3339(snapshot.status.get("completionTime")) or snapshot.now
    left = (ended + timedelta(seconds=snapshot.settings.run_retention) - snapshot.now).total_seconds()
    if left > 0:
        return Stop(RequeueAfter(left))
    return Act(DeleteRun(run, f"retention of finished run {name_of(run)} is over"))

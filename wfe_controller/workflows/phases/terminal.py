"""After the end: settle the ledger, take the finalizer off, keep the finished run for its retention (SPEC 2.4-2.6).

Terminal is final: nothing here writes status. Every step is repeatable, because a crash may come between any two.
"""

from __future__ import annotations

from datetime import timedelta

from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import ConditionType, EventReason
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.objects import is_deleting, name_of
from wfe_controller.locking.record import LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.draft import condition_since
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.phases import ending
from wfe_controller.workflows.plan import (
    Act,
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

_SKEW = timedelta(seconds=30)
"""How far the clocks of two replicas may be apart: one acquired, the other wrote the end."""


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
    if snapshot.deleting:
        step = _delete_run_first(snapshot)
        if step is not None:
            return step
    if isinstance(lock, LockRecord) and snapshot.holds is True:
        if _recorded(snapshot, lock):
            return Act(DropHold(lock))
        settlement = ending.settlement_of(snapshot, snapshot.status)
        note = Note("Normal", EventReason.LOCK_RELEASED, f"target {lock.target} released")
        return Act(Settle(lock, settlement), (note,))
    return Act(RemoveFinalizer(), deletion_note(snapshot)) if snapshot.has_finalizer else _retain(snapshot)


def _recorded(snapshot: Snapshot, lock: LockRecord) -> bool:
    """Whether the hold has nothing to tell: taken after the end, by a request that landed late or on a stale look.

    A second settlement would count the same end twice, or block the target for an execution that never was.
    """
    if snapshot.phase == Phase.SKIPPED or (lock.last_execution is not None and lock.last_execution.uid == snapshot.uid):
        return True
    # By our own clock: completionTime is that of Tekton, and a run that ends within the skew of the two clocks would
    # leave no history at all.
    ended = condition_since(snapshot.status, ConditionType.FINISHED)
    return ended is not None and lock.holder is not None and lock.holder.acquired_at > ended + _SKEW


def deletion_note(snapshot: Snapshot) -> tuple[Note, ...]:
    if not snapshot.deleting:
        return ()
    message = f"deleted in phase {snapshot.phase or 'Pending'}; nothing is rolled back on deletion"
    return (Note("Normal", EventReason.WORKFLOW_EXECUTION_DELETED, message),)


def _delete_run_first(snapshot: Snapshot) -> Step | None:
    """A deleted object takes its run along before it lets the target go; bounded by the cancel deadline."""
    run = snapshot.cached_run
    since = snapshot.deletion_time or snapshot.now
    if run is None or snapshot.now >= since + timedelta(seconds=snapshot.settings.cancel_deadline):
        return None
    if not is_deleting(run):
        return Act(DeleteRun(run, "its WorkflowExecution is being deleted"))
    return Stop(RequeueAfter(1.0))


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

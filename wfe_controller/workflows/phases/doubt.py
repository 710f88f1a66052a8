"""May a terminal status be believed? Anybody with rights on status can write one while the run goes on (SPEC 2.3, 2.6).

Neighbour: terminal asks before it settles. Pure. Where our own verdict was written in this reconcile, everything asked
for here was read for it, so the normal end costs no request.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from wfe_controller.api import names
from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import BlockReason, ConditionReason, ConditionType, LockOutcome
from wfe_controller.failure.tekton import observe
from wfe_controller.kube.objects import Json, finalizers_of, mapping, uid_of
from wfe_controller.locking.record import Block, LockRecord
from wfe_controller.locking.transitions import Settlement
from wfe_controller.workflows.draft import condition_reason, condition_since, shorten
from wfe_controller.workflows.engines.tekton import follow, launch, verdict
from wfe_controller.workflows.phases import ending
from wfe_controller.workflows.plan import Input, Read
from wfe_controller.workflows.snapshot import Snapshot, Unread

_SKEW = timedelta(seconds=30)
"""How far the clocks of two replicas may be apart: one acquired, the other wrote the end."""


def still_there(snapshot: Snapshot) -> Read | tuple[str, ...]:
    """What of mine may still act although my status has ended: a run that is not done, pods. Live.

    Nothing when no run was ever named, and when the end itself says that a cancellation was left incomplete.
    """
    wanted = _wanted(snapshot)
    gave_up = condition_reason(snapshot.status, ConditionType.CANCELLING) == ConditionReason.CANCEL_INCOMPLETE
    lock = snapshot.inputs.lock
    if gave_up or not (wanted or (isinstance(lock, LockRecord) and accused(snapshot, lock))):
        return ()
    run = _run(snapshot)
    if isinstance(snapshot.inputs.own_run, Unread) and (run is None or not launch.is_done(run)):
        return Read(Input.OWN_RUN)  # the cache may be behind, and a missing run may never have been seen
    if isinstance(snapshot.inputs.pods, Unread):
        return Read(Input.PODS)
    left = [] if run is None or _over(run) else [launch.described(run)]
    return (*left, *(f"pod {name}" for name in verdict.survivors(snapshot.inputs.pods)))


def accusation(snapshot: Snapshot, left: tuple[str, ...]) -> Block:
    """The block for a target whose execution ended in its status only."""
    why = f"the status of {snapshot.key} says {snapshot.phase}, but there is still {', '.join(left[:5])}"
    return Block(BlockReason.ORPHANED_RUN, snapshot.uid, snapshot.key.name, snapshot.now, shorten(why))


def accused(snapshot: Snapshot, lock: LockRecord) -> bool:
    """Whether the record says so already."""
    return lock.block is not None and lock.block.by_uid == snapshot.uid


def settlement(snapshot: Snapshot, lock: LockRecord, left: tuple[str, ...] = ()) -> Settlement:
    """What the ledger learns: the status' word, unless the run was found alive after it, or says otherwise itself.

    ``left``: what is still there although a deletion has waited for it as long as it may (SPEC 2.5).
    """
    said = ending.settlement_of(snapshot, snapshot.status)
    unknown = Settlement(LockOutcome.UNKNOWN, True, False, said.completed_at)
    if left:
        block = replace(accusation(snapshot, left), reason=BlockReason.CANCEL_INCOMPLETE)
        return replace(unknown, block=block)
    if accused(snapshot, lock) and lock.block is not None and lock.block.reason == BlockReason.ORPHANED_RUN:
        return replace(unknown, block=lock.block)
    run = _run(snapshot)
    if run is None:
        return said
    seen = observe(run, list(snapshot.cached_task_runs), list(snapshot.cached_pods))
    belied = (
        seen.done and seen.succeeded != "True" if snapshot.phase == Phase.COMPLETED else _acted(said, seen.step_started)
    )
    if not belied:
        return said
    why = f"the status of {snapshot.key} says {snapshot.phase}, its {launch.described(run)} says {seen.reason}"
    block = Block(BlockReason.ORPHANED_RUN, snapshot.uid, snapshot.key.name, said.completed_at, shorten(why))
    # An incomplete cancellation stays one: that block is not cleared while what it names goes on.
    return replace(unknown, block=said.block or block)


def recorded(snapshot: Snapshot, lock: LockRecord) -> bool:
    """Whether the hold has nothing to tell: taken after the end, by a request that landed late or on a stale look.

    A second settlement would count the same end twice, or block the target for an execution that never was.
    """
    last = lock.last_execution
    if last is not None and last.uid == snapshot.uid:
        return True
    if snapshot.run_uid and (snapshot.phase == Phase.SKIPPED or _says_nothing(snapshot, lock)):
        return False
    if snapshot.phase == Phase.SKIPPED:
        return True
    # By our own clock: completionTime is that of Tekton, and a run that ends within the skew of the two clocks would
    # leave no history at all.
    ended = condition_since(snapshot.status, ConditionType.FINISHED)
    return ended is not None and lock.holder is not None and lock.holder.acquired_at > ended + _SKEW


def lost(snapshot: Snapshot, lock: LockRecord | None) -> bool:
    """Whether the record went away between the terminal status and its settlement: a run was named, so there was a
    hold; our finalizer is on, so it was not let go; and what stands there now, if anything, remembers no end at all.

    Not the finalizer of earlier releases: they kept it on everything that had ended, and had no records.
    """
    if not snapshot.run_uid or names.FINALIZER not in finalizers_of(snapshot.wfe):
        return False
    return (lock is None or lock.holder is None) and _says_nothing(snapshot, lock)


def _says_nothing(snapshot: Snapshot, lock: LockRecord | None) -> bool:
    """A record that an end was ever written into says so, and so does an execution whose block was cleared."""
    if mapping(snapshot.status.get("blockClearance")):
        return False
    return lock is None or (lock.last_execution is None and not lock.clearances)


def _acted(said: Settlement, started: bool | None) -> bool:
    """True when the status says that no step ever started, and one did."""
    return not said.was_execution_failure and started is True


def _wanted(snapshot: Snapshot) -> str:
    return snapshot.run_uid or (uid_of(snapshot.cached_run) if snapshot.cached_run is not None else "")


def _run(snapshot: Snapshot) -> Json | None:
    """My run as read live in this reconcile, else as cached; None = gone, or not looked for yet."""
    wanted, live = _wanted(snapshot), snapshot.inputs.own_run
    found = snapshot.cached_run if isinstance(live, Unread) else live
    return found if found is not None and uid_of(found) == wanted else None


def _over(run: Json) -> bool:
    """Done, or never released: what is pending, or was cancelled while it was, cannot start."""
    return launch.is_done(run) or launch.is_pending(run) or follow.never_started(run)

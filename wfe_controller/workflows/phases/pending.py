"""Pending (or no phase yet): may this object act on its target? SPEC 2.1, in its order.

Whatever already carries my UID - the hold or a run - is adopted first, even when the spec would be refused today
(TH9). Nothing is decided on an input that could not be read: such an object waits with LockUnknown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from wfe_controller.api.phases import Engine
from wfe_controller.api.reasons import EventReason, SkipReason, WaitReason
from wfe_controller.api.targets import TargetError
from wfe_controller.api.workflowexecution import InvalidSpec
from wfe_controller.failure.model import FailureDetails
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.locking.decision import AwaitHolderCleanup, HolderState, Mine, Skip, decide
from wfe_controller.locking.record import Holder, LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.draft import Draft
from wfe_controller.workflows.engines.tekton import build, follow, launch
from wfe_controller.workflows.phases import ending
from wfe_controller.workflows.plan import Acquire, Act, AddFinalizer, Commit, Input, Note, Read, Step, Stop
from wfe_controller.workflows.snapshot import UNREAD, Snapshot, Unread

HOLDER_CLEANUP = 1.0
"""Seconds until a holder that ended should have been cleaned up by its own worker (SPEC 2.1, step 6)."""
UNKNOWN_LOCK = 30.0


def pending(snapshot: Snapshot) -> Step:
    """The next step of an object that has not started."""
    if snapshot.run_uid:
        # Only another writer takes the phase back. A run was named, so one may have run: it is never created again.
        return follow.follow(snapshot.as_running())
    if isinstance(snapshot.target, TargetError):
        return refuse(snapshot, ending.misconfigured(snapshot, _target_problem(snapshot)))
    if isinstance(snapshot.inputs.lock, Unread):
        return Read(Input.LOCK)
    if snapshot.holds is True:
        return launch.launch(snapshot)
    if snapshot.cached_run is not None:
        if isinstance(snapshot.inputs.named_run, Unread):
            return Read(Input.NAMED_RUN)
        if launch.is_mine(snapshot):
            return launch.launch(snapshot)
        # What the cache shows is gone or going, perhaps for long (finalizers of others): decide from the start.
    return _wish(snapshot) or _fit(snapshot) or _claim(snapshot)


def refuse(snapshot: Snapshot, details: FailureDetails) -> Commit:
    """Failed before anything was started; nothing is recorded in the ledger because nothing is held."""
    return ending.failed(snapshot, details)


def _target_problem(snapshot: Snapshot) -> str:
    """All problems of the spec when it is refused as a whole, else the one of the target."""
    if isinstance(snapshot.parsed, InvalidSpec):
        return str(snapshot.parsed)
    return f"spec.targetResource: {snapshot.target}"


def start_deadline(snapshot: Snapshot) -> datetime:
    """When an object that never started gives up (SPEC 2.1)."""
    return snapshot.created + timedelta(seconds=snapshot.settings.start_deadline)


def wait(snapshot: Snapshot, reason: WaitReason, message: str, seconds: float) -> Step:
    """Say why in status (once), then come back in ``seconds`` or at the deadline, whichever is first."""
    deadline = start_deadline(snapshot)
    draft = Draft(snapshot)
    draft.waiting(reason, message, deadline)
    if not snapshot.committed and draft.status != snapshot.status:
        said = snapshot.status.get("reason") == reason
        notes = () if said or reason not in _TOLD else (Note(*_TOLD[reason], message),)
        return Commit(draft.status, Lane.PROGRESS, notes)
    left = (deadline - snapshot.now).total_seconds()
    return Stop(RequeueAfter(max(min(seconds, left), 0.05)))


_TOLD: dict[WaitReason, tuple[Literal["Normal", "Warning"], EventReason]] = {
    WaitReason.PAUSED: ("Normal", EventReason.PAUSED),
    WaitReason.ENGINE_UNAVAILABLE: ("Warning", EventReason.ENGINE_UNAVAILABLE),
}
"""Waits that somebody has to end, so they get an Event too."""


def _wish(snapshot: Snapshot) -> Step | None:
    """What an operator or the clock decided already."""
    if snapshot.cancel_reason is not None:
        return refuse(snapshot, ending.cancelled_early(snapshot))
    if isinstance(snapshot.parsed, InvalidSpec):
        return refuse(snapshot, ending.misconfigured(snapshot, str(snapshot.parsed)))
    if snapshot.now >= start_deadline(snapshot):
        return refuse(snapshot, ending.never_started(snapshot))
    if snapshot.paused:
        return wait(
            snapshot,
            WaitReason.PAUSED,
            "paused by the kubernaut.ai/pause annotation: nothing is started; remove the annotation to go on",
            snapshot.settings.start_deadline,
        )
    return None


def _fit(snapshot: Snapshot) -> Step | None:
    """Engine, registry and runner account, before the lock is taken."""
    parsed = snapshot.parsed
    if isinstance(parsed, InvalidSpec):
        raise AssertionError("an invalid spec is refused before it is fitted")
    # The create may learn that Tekton is gone before the watch does; acquiring again at once would be a loop of writes.
    if snapshot.engine is Engine.STEPS or not snapshot.engine_available or launch.type_missing(snapshot):
        why = snapshot.engine_why or f"the {snapshot.engine} engine is not available in this installation"
        return wait(snapshot, WaitReason.ENGINE_UNAVAILABLE, why, snapshot.settings.start_deadline)
    if parsed.workflow_ref is not None:
        trouble = build.registry_trouble(parsed.workflow_ref.container_image, snapshot.settings)
        if trouble:
            return refuse(snapshot, ending.misconfigured(snapshot, trouble))
    if isinstance(snapshot.inputs.runner_account, Unread):
        return Read(Input.RUNNER_ACCOUNT)
    if not snapshot.inputs.runner_account:
        account, _ = build.service_account(parsed, snapshot.settings)
        problem = (
            f"service account {account!r} does not exist in namespace {snapshot.settings.execution_namespace!r}: "
            f"create it (the manifests ship kubernaut-workflow-runner); the run never falls back to 'default'"
        )
        return refuse(snapshot, ending.misconfigured(snapshot, problem))
    return None


def _claim(snapshot: Snapshot) -> Step:
    """Blocks, streak, backoff, cooldown and holder; then finalizer and acquire."""
    lock = snapshot.inputs.lock
    if isinstance(lock, TargetCollision):
        return refuse(snapshot, ending.misconfigured(snapshot, str(lock)))
    if isinstance(lock, LockUnreadable | Unread):
        why = f"the lock of the target cannot be understood, so nothing is started: {lock}"
        return wait(snapshot, WaitReason.LOCK_UNKNOWN, why, UNKNOWN_LOCK)
    collision = launch.collision(snapshot)
    if collision:
        return refuse(snapshot, ending.misconfigured(snapshot, collision))
    holder = snapshot.inputs.holder
    decision = decide(
        lock,
        snapshot.claim,
        holder_state=HolderState.LIVE if isinstance(holder, Unread) else holder,
        foreign_run=launch.foreign_run(snapshot),
        now=snapshot.now,
        limits=snapshot.settings.limits,
        target=snapshot.canonical or "",
        holder_workflow_id=snapshot.inputs.holder_workflow,
    )
    match decision:
        case Skip(reason=SkipReason.RESOURCE_BUSY) if holder is UNREAD and _held(lock):
            return Read(Input.HOLDER)
        case Skip():
            return ending.skipped(snapshot, decision)
        case AwaitHolderCleanup(holder=ended):
            return wait(
                snapshot,
                WaitReason.WAITING_FOR_RELEASE,
                f"the target is still held by {ended.namespace}/{ended.name}{_how_it_ended(ended, holder)}",
                HOLDER_CLEANUP,
            )
        case Mine():
            return launch.launch(snapshot)
        case _:
            return Act(Acquire(lock)) if snapshot.has_finalizer else Act(AddFinalizer())


def _how_it_ended(ended: Holder, state: HolderState | Unread) -> str:
    """A holder that is gone may have had the name of the one that waits: its UID tells them apart."""
    if state is HolderState.GONE:
        return f" (uid {ended.uid}), which does not exist any more; what it left behind is being ended first"
    return ", which has ended; it is being released"


def _held(lock: LockRecord | None) -> bool:
    return lock is not None and lock.holder is not None

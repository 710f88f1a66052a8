"""Following a run that is named in status, to its end (SPEC 2.3, 2.4 step 5, 3).

The run is the one with the UID in status and no other: a run of the same name with another UID is not mine (TH3).
It ends for us only when it is done AND a live LIST shows no pod of its WorkflowExecution that still runs.
"""

from __future__ import annotations

from datetime import timedelta

from wfe_controller.api.reasons import ConditionReason, ConditionType, EventReason, WaitReason
from wfe_controller.failure.tekton import RunObservation, observe
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json, annotations_of, is_deleting, items, metadata, spec, status, text, uid_of
from wfe_controller.locking.record import LockRecord
from wfe_controller.workflows.draft import Draft
from wfe_controller.workflows.engines.tekton import build, cancel, launch, verdict
from wfe_controller.workflows.engines.tekton.summary import summarise
from wfe_controller.workflows.plan import Acquire, Act, AddFinalizer, Commit, Input, Note, Read, StartRun, Step, Stop
from wfe_controller.workflows.snapshot import Snapshot, Unread

DRAIN_POLL = 2.0
RESOLVING = "ResolvingPipelineRef"
RESOLVING_AFTER = 5.0
"""Tekton's own reason, shown when fetching the bundle takes this many seconds: a registry that does not answer."""

_ASSERTED = (Note("Warning", EventReason.LOCK_CONFLICT, "the hold was lost and is asserted again"),)


def follow(snapshot: Snapshot) -> Step:
    """The next step of an object in phase Running."""
    if not snapshot.run_uid:
        step = _name_run(snapshot)
        if step is not None:
            return step
    run = own_run(snapshot)
    if isinstance(run, Unread):
        return Read(Input.OWN_RUN)
    seen = observe(run, list(snapshot.cached_task_runs), list(snapshot.cached_pods))
    found = cancel.cancellation(snapshot, run, seen)
    if found is None and run is not None and launch.is_pending(run):
        return _start(snapshot, run, seen)
    if run is None or seen.done or (found is not None and never_started(run)):
        return _end(snapshot, run, found)
    if found is not None:
        step = _hold_again(snapshot)
        if step is not None:
            return step
        if snapshot.now >= cancel.give_up_at(snapshot, found):
            return _give_up(snapshot, run, found)
        return cancel.pursue(snapshot, found, run, seen)
    return _progress(snapshot, run, seen)


def _name_run(snapshot: Snapshot) -> Step | None:
    """Running without a reference, which only other writers leave behind: found by name and owner, or gone (TH45)."""
    if isinstance(snapshot.inputs.named_run, Unread):
        return Read(Input.NAMED_RUN)
    if not launch.is_mine(snapshot):
        return None
    return Read(Input.LOCK) if isinstance(snapshot.inputs.lock, Unread) else launch.launch(snapshot)


def own_run(snapshot: Snapshot) -> Json | Unread | None:
    """The run with the UID in status: from the cache, else live; None = the server does not have it any more."""
    live = snapshot.inputs.own_run
    if not isinstance(live, Unread):
        return live if live is not None and uid_of(live) == snapshot.run_uid else None
    made = snapshot.inputs.named_run
    if not isinstance(made, Unread) and made is not None and uid_of(made) == snapshot.run_uid:
        return made  # created or read live earlier in this reconcile
    cached = snapshot.cached_run
    return cached if cached is not None and uid_of(cached) == snapshot.run_uid else live


def never_started(run: Json) -> bool:
    """Cancelled while pending, which the same write recorded, and never looked at by Tekton: nothing will start it.

    Without that record a Tekton that was frozen in the middle of a reconcile could still create its TaskRuns.
    """
    cancelled = text(spec(run).get("status")) == "Cancelled" and build.CANCELLED_WHILE_PENDING in annotations_of(run)
    return cancelled and not status(run).get("startTime") and not items(status(run).get("childReferences"))


def _start(snapshot: Snapshot, run: Json, seen: RunObservation) -> Step:
    """Take the run out of pending, holding the lock, which is read live first (SPEC 1.3)."""
    if is_deleting(run):
        # Tekton starts nothing that is being deleted; released now, its last state would not prove that any more.
        since = parse_rfc3339(metadata(run).get("deletionTimestamp"))
        if since is not None and (snapshot.now - since).total_seconds() < launch.SAY_AFTER:
            return Stop(RequeueAfter(DRAIN_POLL))
        draft = Draft(snapshot)
        message = f"{launch.described(run)} was deleted before it was started, and is not gone yet"
        draft.say(WaitReason.WAITING_FOR_RELEASE, message)
        return _commit_or_stop(snapshot, draft, DRAIN_POLL)
    if isinstance(snapshot.inputs.lock, Unread):
        return Read(Input.LOCK)
    lock = snapshot.inputs.lock
    if snapshot.holds is not True:
        if lock is None or (isinstance(lock, LockRecord) and lock.holder is None):
            return Act(Acquire(lock))
        if isinstance(lock, LockRecord):
            holder = lock.holder
            who = f"{holder.namespace}/{holder.name}" if holder is not None else "nobody"
            lost = cancel.Cancellation(
                cancel.Cause.LOCK_LOST,
                snapshot.now,
                f"the target is held by {who}; the run is not started",
                recorded=False,
            )
            return cancel.pursue(snapshot, lost, run, seen)
        draft = Draft(snapshot)
        message = f"the lock of the target cannot be understood, so nothing is started: {lock}"
        draft.say(WaitReason.LOCK_UNKNOWN, message)
        return _commit_or_stop(snapshot, draft, 30.0)
    if not snapshot.has_finalizer and not snapshot.deleting:
        return Act(AddFinalizer())
    if snapshot.paused:
        draft = Draft(snapshot)
        message = "paused before the start of the run; remove the kubernaut.ai/pause annotation to go on"
        draft.say(WaitReason.PAUSED, message)
        draft.paused(True, message)
        return _commit_or_stop(snapshot, draft, snapshot.settings.poll_interval)
    return Act(StartRun(run))


def _end(snapshot: Snapshot, run: Json | None, found: cancel.Cancellation | None) -> Step:
    """Done, gone, or never started: wait for its pods, then the verdict."""
    if run is None and snapshot.cached_run is not None and isinstance(snapshot.inputs.own_run, Unread):
        return Read(Input.OWN_RUN)
    if isinstance(snapshot.inputs.pods, Unread):
        return Read(Input.PODS)
    survivors = verdict.survivors(snapshot.inputs.pods)
    step = _hold_again(snapshot)
    if step is not None:
        return step
    if survivors:
        seen = observe(run, list(snapshot.cached_task_runs), list(snapshot.inputs.pods))
        found = found or cancel.cancellation(snapshot, run, seen)
        if found is not None:
            if found.recorded and snapshot.now >= cancel.give_up_at(snapshot, found):
                return _give_up(snapshot, run, found)
            return cancel.pursue(snapshot, found, run, seen)
        draft = Draft(snapshot)
        message = f"the pipeline has ended; waiting for its pods: {', '.join(survivors[:5])}"
        draft.say(WaitReason.WAITING_FOR_RELEASE, message)
        summarise(draft, seen)
        return _commit_or_stop(snapshot, draft, DRAIN_POLL)
    return _ending_inputs(snapshot) or verdict.verdict(snapshot, run, found)


def _give_up(snapshot: Snapshot, run: Json | None, found: cancel.Cancellation) -> Step:
    if isinstance(snapshot.inputs.pods, Unread):
        return Read(Input.PODS)
    return _ending_inputs(snapshot) or verdict.incomplete(snapshot, run, found)


def _ending_inputs(snapshot: Snapshot) -> Step | None:
    """Live TaskRuns and lock before the verdict, which itself asks for evidence when there is a failure."""
    if isinstance(snapshot.inputs.task_runs, Unread):
        return Read(Input.TASK_RUNS)
    if isinstance(snapshot.inputs.lock, Unread) and snapshot.canonical is not None:
        return Read(Input.LOCK)
    return _take_back(snapshot)


def _hold_again(snapshot: Snapshot) -> Step | None:
    """A run that is being ended, or whose pods go on, needs the hold as much as one that makes progress."""
    if not snapshot.lock_conflict_with:
        return None
    return Read(Input.LOCK) if isinstance(snapshot.inputs.lock, Unread) else _take_back(snapshot)


def _take_back(snapshot: Snapshot) -> Step | None:
    """The hold again when nobody has it: only a holder writes history, so without it the end would leave no block."""
    lock = snapshot.inputs.lock
    if snapshot.canonical is not None and (lock is None or (isinstance(lock, LockRecord) and lock.holder is None)):
        return Act(Acquire(lock), _ASSERTED)
    return None


def _progress(snapshot: Snapshot, run: Json, seen: RunObservation) -> Step:
    draft = Draft(snapshot)
    notes: list[Note] = []
    summarise(draft, seen)
    draft.paused(snapshot.paused, "the run has started and goes on; pausing stops only what has not started")
    if seen.step_started or seen.completed_tasks:
        draft.condition(
            ConditionType.TEKTON_PIPELINE_RUNNING, True, ConditionReason.PIPELINE_STARTED, "the first step has started"
        )
    if seen.waiting:
        first = seen.waiting[0]
        message = f"{first.pod or first.task}: {first.reason}: {first.message}".rstrip(": ")
        draft.say(first.reason, message)
        draft.unready(first.reason, message)
        if text(snapshot.status.get("reason")) != first.reason:
            notes.append(Note("Warning", EventReason.POD_WAITING, f"{first.reason}: {first.message}".rstrip(": ")))
    elif not launch.is_resolved(run) and seen.reason == RESOLVING and _silent(snapshot, seen):
        draft.say(RESOLVING, "Tekton is fetching the bundle of the workflow")
    elif snapshot.paused and not seen.start_time:
        draft.say(WaitReason.PAUSED, "paused")
    else:
        draft.say(None, None)
        draft.unready("Running", "the pipeline is running")
    step = _reassert(snapshot, draft, notes)
    if step is not None:
        return step
    if _news(snapshot, draft):
        return Commit(draft.status, Lane.PROGRESS, tuple(notes))
    return Stop(RequeueAfter(_next_look(snapshot, run, seen)))


def _silent(snapshot: Snapshot, seen: RunObservation) -> bool:
    """Whether the bundle takes longer than it should, so that it is worth a write."""
    since = seen.start_time or snapshot.start_time or snapshot.now
    return (snapshot.now - since).total_seconds() >= RESOLVING_AFTER


def _reassert(snapshot: Snapshot, draft: Draft, notes: list[Note]) -> Step | None:
    """A hold that the cache does not show any more: look live, take it back, or say who has it (SPEC 1.3)."""
    if not snapshot.lock_conflict_with:
        draft.drop_condition(ConditionType.LOCK_CONFLICT)
        return None
    if isinstance(snapshot.inputs.lock, Unread):
        return Read(Input.LOCK)
    lock = snapshot.inputs.lock
    if snapshot.holds is True:
        draft.drop_condition(ConditionType.LOCK_CONFLICT)
    elif (step := _take_back(snapshot)) is not None:
        return step
    else:
        holder = lock.holder if isinstance(lock, LockRecord) else None
        who = f"{holder.namespace}/{holder.name} (uid {holder.uid})" if holder is not None else f"unreadable: {lock}"
        message = f"this run is live, but its target is held by {who}; nothing new is launched"
        draft.condition(ConditionType.LOCK_CONFLICT, True, ConditionReason.HELD_BY_ANOTHER, message)
        notes.append(Note("Warning", EventReason.LOCK_CONFLICT, message))
    return None


def _next_look(snapshot: Snapshot, run: Json, seen: RunObservation) -> float:
    """Seconds to the next thing that happens by time alone, at most the poll interval."""
    settings = snapshot.settings
    start = snapshot.start_time or snapshot.now
    launched = seen.start_time or start
    moments = [launch.watchdog(snapshot, start)]
    if not launch.is_resolved(run):
        moments.append(launched + timedelta(seconds=settings.resolution_timeout))
    if not cancel.has_started(snapshot, seen):
        moments.append(launched + timedelta(seconds=settings.start_timeout))
    nearest = min((m - snapshot.now).total_seconds() for m in moments)
    return max(0.05, min(settings.poll_interval, nearest))


def _commit_or_stop(snapshot: Snapshot, draft: Draft, seconds: float) -> Step:
    if _news(snapshot, draft):
        return Commit(draft.status, Lane.PROGRESS)
    return Stop(RequeueAfter(seconds))


def _news(snapshot: Snapshot, draft: Draft) -> bool:
    return not snapshot.committed and (snapshot.restated or draft.status != snapshot.status)

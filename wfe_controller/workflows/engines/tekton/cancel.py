"""Ending a run on purpose: who asked, since when, and how hard by now (SPEC 2.5, 3).

The cause and its start stand in the condition Cancelling, so a restart goes on where the last leader was. Escalation
by time since then: CancelledRunFinally, 60 s Cancelled, 120 s delete, 180 s give up with a block that names the
survivors. A pending run is cancelled outright by a guarded patch, which makes every late start patch fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from wfe_controller.api.conditions import is_true
from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import ConditionReason, ConditionType, EventReason, FailureReason
from wfe_controller.failure.tekton import RunObservation
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json, is_deleting, spec, text
from wfe_controller.workflows.draft import Draft, condition_reason, condition_since, shorten
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.engines.tekton.summary import summarise
from wfe_controller.workflows.plan import Act, CancelRun, Commit, DeleteRun, Note, Step, Stop
from wfe_controller.workflows.snapshot import Snapshot

UNRESOLVED_DELETE = 3.0
"""Seconds between cancelling and deleting a run that never resolved: longer than any reconcile of Tekton in flight."""


class Cause(StrEnum):
    """Why a run is being ended; the reason of the condition Cancelling."""

    DELETED = "Deleted"
    CANCELLED = "Cancelled"
    DEADLINE = "DeadlineExceeded"
    RESOLUTION = "ResolutionTimeout"
    START = "StartTimeout"
    LOCK_LOST = "LockLost"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """One decision to end the run. ``recorded`` = it stands in status already."""

    cause: Cause
    since: datetime
    message: str
    recorded: bool

    @property
    def failure_reason(self) -> FailureReason | None:
        """The reason a failure gets from its cause; None lets the evidence speak (StartTimeout: the pod's reason)."""
        match self.cause:
            case Cause.DELETED | Cause.CANCELLED | Cause.LOCK_LOST:
                return FailureReason.CANCELLED
            case Cause.DEADLINE:
                return FailureReason.DEADLINE_EXCEEDED
            case Cause.RESOLUTION:
                return FailureReason.CONFIGURATION_ERROR
            case Cause.START:
                return None


def cancellation(snapshot: Snapshot, run: Json | None, seen: RunObservation) -> Cancellation | None:
    """The recorded cancellation, else a new one when there is cause for it; ``seen`` is the run as observed."""
    since = condition_since(snapshot.status, ConditionType.CANCELLING)
    if since is not None:
        reason = condition_reason(snapshot.status, ConditionType.CANCELLING)
        cause = Cause(reason) if reason in set(Cause) else Cause.CANCELLED
        message = _recorded_message(snapshot)
        return Cancellation(cause, since, message, recorded=True)
    found = _new_cause(snapshot, run, seen)
    return None if found is None else Cancellation(found[0], snapshot.now, found[1], recorded=False)


def _recorded_message(snapshot: Snapshot) -> str:
    for entry in snapshot.status.get("conditions") or []:
        if isinstance(entry, dict) and entry.get("type") == ConditionType.CANCELLING:
            return text(entry.get("message"))
    return ""


def _new_cause(snapshot: Snapshot, run: Json | None, seen: RunObservation) -> tuple[Cause, str] | None:
    settings, now = snapshot.settings, snapshot.now
    if snapshot.deleting:
        return Cause.DELETED, "the WorkflowExecution is being deleted; no rollback is attempted on deletion"
    if snapshot.cancel_reason is not None:
        by = f" by {snapshot.cancel_by}" if snapshot.cancel_by else ""
        return Cause.CANCELLED, f"cancelled{by}: {snapshot.cancel_reason or 'no reason given'}"
    # Also for a run that is done while its pods go on: the watchdog bounds that wait like every other.
    start = snapshot.start_time or now
    end = launch.watchdog(snapshot, start)
    if now >= end:
        limit = (end - start).total_seconds()
        return Cause.DEADLINE, f"the run did not end within {limit:.0f} s (time-out, finally and grace together)"
    if run is None or seen.done or launch.is_pending(run):
        return None
    launched = seen.start_time or start
    if not launch.is_resolved(run) and now >= launched + timedelta(seconds=settings.resolution_timeout):
        return Cause.RESOLUTION, _resolution_message(run, settings.resolution_timeout)
    if not has_started(snapshot, seen) and now >= launched + timedelta(seconds=settings.start_timeout):
        what = "; ".join(f"{w.pod or w.task}: {w.reason} {w.message}".strip() for w in seen.waiting[:3])
        return Cause.START, f"no step started within {settings.start_timeout:.0f} s: {what or 'no pod says why'}"
    return None


def has_started(snapshot: Snapshot, seen: RunObservation) -> bool:
    """Whether a step was seen to start, now or before: TaskRuns that are pruned meanwhile do not undo it."""
    return bool(seen.step_started) or is_true(snapshot.status.get("conditions"), ConditionType.TEKTON_PIPELINE_RUNNING)


def _resolution_message(run: Json, seconds: float) -> str:
    params = spec(run).get("pipelineRef", {}).get("params") or []
    bundle = next((p.get("value") for p in params if isinstance(p, dict) and p.get("name") == "bundle"), "?")
    return (
        f"the bundle {bundle!r} was not resolved within {seconds:.0f} s: check that the image exists, holds a Pipeline "
        f"named 'workflow', and that the registry can be reached from Tekton's resolvers"
    )


def give_up_at(snapshot: Snapshot, found: Cancellation) -> datetime:
    return found.since + timedelta(seconds=snapshot.settings.cancel_deadline)


def record(snapshot: Snapshot, found: Cancellation, seen: RunObservation) -> Commit:
    """Write the decision down, with what was seen then, before acting on it."""
    draft = Draft(snapshot)
    summarise(draft, seen)
    draft.condition(ConditionType.CANCELLING, True, found.cause, found.message)
    if snapshot.phase == Phase.RUNNING:
        draft.say(found.cause, found.message)
        draft.deadline(give_up_at(snapshot, found))
    note = Note("Normal", EventReason.CANCEL_REQUESTED, shorten(found.message))
    return Commit(draft.status, Lane.PROGRESS, (note,))


def pursue(snapshot: Snapshot, found: Cancellation, run: Json | None, seen: RunObservation) -> Step:
    """The next nudge, or when to come back. The caller has handled the give-up time and the clean end."""
    if not found.recorded:
        return Stop(RequeueAfter(0.05)) if snapshot.committed else record(snapshot, found, seen)
    settings = snapshot.settings
    elapsed = (snapshot.now - found.since).total_seconds()
    steps = (settings.cancel_timeout, settings.delete_timeout, settings.cancel_deadline)
    rest = min([t - elapsed for t in steps if t > elapsed] or [1.0])
    if run is None or is_deleting(run):
        return Stop(RequeueAfter(min(rest, 2.0)))
    # Seen on Tekton 1.12: a run that is being resolved does not react to CancelledRunFinally. It has no task to finish,
    # so it is cancelled outright; one that never resolved in its time is deleted soon after, bound to a version without
    # TaskRuns.
    unresolved = not launch.is_resolved(run) and not launch.is_pending(run)
    hopeless = unresolved and found.cause is Cause.RESOLUTION
    if elapsed >= (UNRESOLVED_DELETE if hopeless else settings.delete_timeout):
        return Act(DeleteRun(run, f"still there {elapsed:.0f} s after the cancellation"))
    if not seen.done:
        mode: Literal["CancelledRunFinally", "Cancelled"] = (
            "Cancelled"
            if unresolved or launch.is_pending(run) or elapsed >= settings.cancel_timeout
            else "CancelledRunFinally"
        )
        asked = text(spec(run).get("status"))
        if asked != mode and asked != "Cancelled":
            return Act(CancelRun(run, mode))
    return Stop(RequeueAfter(max(0.05, min(rest, 2.0))))


def incomplete(draft: Draft, survivors: tuple[str, ...]) -> None:
    """Mark the end of the road: the ledger derives the CancelIncomplete block from this condition."""
    names = ", ".join(survivors[:10]) or "nobody visible, but the run itself is not done"
    more = f" and {len(survivors) - 10} more" if len(survivors) > 10 else ""
    draft.condition(
        ConditionType.CANCELLING,
        False,
        ConditionReason.CANCEL_INCOMPLETE,
        f"cancellation incomplete, still there: {names}{more}",
    )


def drained(draft: Draft) -> None:
    draft.condition(ConditionType.CANCELLING, False, ConditionReason.DRAINED, "everything the run started has ended")

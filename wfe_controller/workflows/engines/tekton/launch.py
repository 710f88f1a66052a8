"""From the hold to a pending run and the status that names it (SPEC 2.4 "Start", steps 3 and 4; SPEC 3).

Called with the lock in my hands, or with a run that carries my UID. The name of the run is the second, independent
barrier: whoever stands there is looked at live, after the acquire, before anything is created.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wfe_controller.api import names
from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import ConditionReason, ConditionType, EventReason, FailureReason, WaitReason
from wfe_controller.api.targets import TargetError
from wfe_controller.api.workflowexecution import InvalidSpec
from wfe_controller.failure.model import FailureDetails
from wfe_controller.failure.tekton import observe
from wfe_controller.failure.unstarted import create_failed, create_refusal
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.errors import ApiError, KubeError, NotFound
from wfe_controller.kube.objects import (
    annotations_of,
    finalizers_of,
    is_deleting,
    items,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.decision import ForeignRun
from wfe_controller.locking.record import LockRecord
from wfe_controller.workflows.draft import Draft
from wfe_controller.workflows.engines.tekton import build
from wfe_controller.workflows.phases import ending
from wfe_controller.workflows.plan import (
    Acquire,
    Act,
    AddFinalizer,
    Commit,
    CreateRun,
    DeleteRun,
    DropHold,
    Input,
    Note,
    Read,
    Step,
    Stop,
)
from wfe_controller.workflows.snapshot import Snapshot, Unread

RELEASE_POLL = 2.0
"""Backstop while the old run drains; the watches of runs, TaskRuns and pods normally wake us earlier."""
SAY_AFTER = 5.0
"""Seconds of waiting for the name before it is worth a status write."""


def owner_uid(run: Mapping[str, Any]) -> str:
    """The UID of the WorkflowExecution a run belongs to; "" when it is not one of ours."""
    return text(annotations_of(run).get(names.OWNER_UID)) or text(labels_of(run).get(names.OWNER_UID))


def is_pending(run: Mapping[str, Any]) -> bool:
    return spec(run).get("status") == build.PENDING


def is_done(run: Mapping[str, Any]) -> bool:
    return observe(dict(run), [], []).done


def is_resolved(run: Mapping[str, Any]) -> bool:
    """Whether Tekton has fetched the pipeline of the run."""
    return bool(status(run).get("pipelineSpec")) or bool(items(status(run).get("childReferences")))


def is_mine(snapshot: Snapshot) -> bool:
    """Whether the run under my name, as read live, carries my UID and is there to stay."""
    run = snapshot.inputs.named_run
    return not isinstance(run, Unread) and run is not None and owner_uid(run) == snapshot.uid and not is_deleting(run)


def type_missing(snapshot: Snapshot) -> bool:
    """Whether the create of this reconcile learned that the server has no PipelineRuns (any more)."""
    return isinstance(snapshot.create_error, NotFound) and snapshot.create_error.type_missing


def collision(snapshot: Snapshot) -> str:
    """Why the run under my name belongs to another target ("" = it does not): a hash collision (TH41)."""
    run = snapshot.inputs.named_run
    if isinstance(run, Unread) or run is None or isinstance(snapshot.target, TargetError):
        return ""
    theirs = text(annotations_of(run).get(names.TARGET_RESOURCE))
    if not theirs or theirs == snapshot.target.canonical:
        return ""
    return (
        f"PipelineRun {namespace_of(run)}/{name_of(run)} belongs to target {theirs!r}, whose hash equals that of "
        f"{snapshot.target.canonical!r}: both cannot run in one execution namespace; wait until it is gone"
    )


def foreign_run(snapshot: Snapshot) -> ForeignRun | None:
    """The run under my name that is not mine and must not be touched: live, or not made by this controller."""
    run = snapshot.inputs.named_run
    if isinstance(run, Unread) or run is None or owner_uid(run) == snapshot.uid:
        return None
    ours = bool(owner_uid(run))
    if ours and (is_pending(run) or is_done(run) or is_deleting(run)):
        return None
    return ForeignRun(
        owner_name=text(annotations_of(run).get(names.OWNER_NAME)) if ours else "",
        owner_uid=owner_uid(run),
        started_at=parse_rfc3339(metadata(run).get("creationTimestamp")) or snapshot.now,
        workflow_id=text(annotations_of(run).get(names.WORKFLOW_ID)),
        owner_namespace=text(annotations_of(run).get(names.OWNER_NAMESPACE)),
        finished=is_done(run),
    )


def launch(snapshot: Snapshot) -> Step:
    """The next step towards a run that is named in status."""
    named = snapshot.inputs.named_run
    if isinstance(named, Unread):
        return Read(Input.NAMED_RUN)
    if named is not None and is_mine(snapshot):
        return _adopt(snapshot, dict(named))
    lock = snapshot.inputs.lock
    if snapshot.holds is not True or not isinstance(lock, LockRecord):
        raise AssertionError("only a holder, or the owner of the run, launches")
    if foreign_run(snapshot) is not None or collision(snapshot):
        return Act(DropHold(lock))
    given_up = _given_up(snapshot, lock)
    if given_up is not None:
        return given_up
    if not snapshot.has_finalizer and not snapshot.deleting:
        return Act(AddFinalizer())
    if named is not None:
        if not is_deleting(named):
            return Act(DeleteRun(dict(named), "finished run of an earlier WorkflowExecution makes room"))
        return _room(snapshot, lock, f"PipelineRun {name_of(named)} is being deleted{_held_by(named)}")
    if isinstance(snapshot.inputs.name_users, Unread):
        return Read(Input.NAME_USERS)
    if snapshot.inputs.name_users:
        return _room(snapshot, lock, f"still there: {', '.join(snapshot.inputs.name_users[:5])}")
    return _create(snapshot, lock)


def described(run: Mapping[str, Any]) -> str:
    """A run that does not go away, with whose finalizers hold it."""
    return f"PipelineRun {namespace_of(run)}/{name_of(run)}{_held_by(run)}"


def _held_by(run: Mapping[str, Any]) -> str:
    others = [f for f in finalizers_of(run) if f != "foregroundDeletion"]
    return f", held by finalizers {', '.join(others)}" if others else ""


def _given_up(snapshot: Snapshot, lock: LockRecord) -> Step | None:
    """Cancelled, out of time, or a spec this version refuses, before a run exists: end, and settle as the holder."""
    details: FailureDetails
    if snapshot.deleting or snapshot.cancel_reason is not None:
        details = ending.cancelled_early(snapshot)
    elif isinstance(snapshot.parsed, InvalidSpec):
        details = ending.misconfigured(snapshot, str(snapshot.parsed))
    elif snapshot.now >= snapshot.created + timedelta(seconds=snapshot.settings.start_deadline):
        details = ending.never_started(snapshot)
    else:
        return None
    return ending.failed(snapshot, details)


def _bound(snapshot: Snapshot, lock: LockRecord) -> datetime:
    """Until when a create is tried again: persisted, because it counts from the acquire (SPEC 3)."""
    acquired = lock.holder.acquired_at if lock.holder is not None else snapshot.now
    return acquired + timedelta(seconds=snapshot.settings.create_retry_timeout)


def _room(snapshot: Snapshot, lock: LockRecord, what: str) -> Step:
    """Wait for the name: TaskRuns and pods of the old run must be gone, or Tekton would take over their results."""
    if snapshot.now >= _bound(snapshot, lock):
        error = KubeError(f"its name did not become free in {snapshot.settings.create_retry_timeout:.0f} s: {what}")
        return ending.failed(snapshot, _create_failed(snapshot, lock, error))
    acquired = lock.holder.acquired_at if lock.holder is not None else snapshot.now
    if (snapshot.now - acquired).total_seconds() >= SAY_AFTER:
        return _say(
            snapshot, WaitReason.WAITING_FOR_RELEASE, f"waiting for the previous run to go: {what}", RELEASE_POLL
        )
    return Stop(RequeueAfter(0.25))


def _say(snapshot: Snapshot, reason: WaitReason, message: str, seconds: float) -> Step:
    draft = Draft(snapshot)
    draft.waiting(reason, message, snapshot.created + timedelta(seconds=snapshot.settings.start_deadline))
    if not snapshot.committed and draft.status != snapshot.status:
        return Commit(draft.status, Lane.PROGRESS)
    return Stop(RequeueAfter(seconds))


def _create(snapshot: Snapshot, lock: LockRecord) -> Step:
    parsed, target = snapshot.parsed, snapshot.target
    if isinstance(parsed, InvalidSpec) or isinstance(target, TargetError):
        raise AssertionError("an invalid spec ends before the create")
    if snapshot.create_error is None:
        return Act(
            CreateRun(build.pipeline_run(snapshot.wfe, parsed, target, snapshot.settings)), _account_note(snapshot)
        )
    error = snapshot.create_error
    if type_missing(snapshot):
        return Act(DropHold(lock))
    refusal, details = create_refusal(error), _create_failed(snapshot, lock, error)
    draft = Draft(snapshot)
    condition_reason = _NOT_CREATED.get(refusal.reason, ConditionReason.PIPELINE_CREATION_FAILED)
    if refusal.final or snapshot.now >= _bound(snapshot, lock):
        draft.condition(ConditionType.TEKTON_PIPELINE_CREATED, False, condition_reason, details.message)
        return ending.failed(snapshot, details, draft)
    left = (_bound(snapshot, lock) - snapshot.now).total_seconds()
    draft.waiting(WaitReason.CREATE_RETRYING, details.message, _bound(snapshot, lock))
    draft.condition(ConditionType.TEKTON_PIPELINE_CREATED, False, condition_reason, details.message)
    if not snapshot.committed and draft.status != snapshot.status:
        return Commit(draft.status, Lane.PROGRESS, (Note("Warning", EventReason.CREATE_FAILED, details.message),))
    after = error.retry_after if isinstance(error, ApiError) and error.retry_after else 2.0
    return Stop(RequeueAfter(min(max(after, 2.0), max(left, 0.05))))


_NOT_CREATED = {
    FailureReason.RESOURCE_EXHAUSTED: ConditionReason.QUOTA_EXCEEDED,
    FailureReason.PERMISSION_DENIED: ConditionReason.RBAC_DENIED,
}


def _create_failed(snapshot: Snapshot, lock: LockRecord, error: KubeError) -> FailureDetails:
    since = lock.holder.acquired_at if lock.holder is not None else snapshot.now
    return create_failed(error, since=since, now=snapshot.now, subject=ending.subject(snapshot))


def _account_note(snapshot: Snapshot) -> tuple[Note, ...]:
    if isinstance(snapshot.parsed, InvalidSpec):
        return ()
    used, refused = build.service_account(snapshot.parsed, snapshot.settings)
    if refused is None:
        return ()
    message = (
        f"spec.executionConfig.serviceAccountName {refused!r} is not in execution.allowedServiceAccounts and is "
        f"ignored; the run uses {used!r}"
    )
    return (Note("Warning", EventReason.SERVICE_ACCOUNT_IGNORED, message),)


def _adopt(snapshot: Snapshot, run: dict[str, Any]) -> Step:
    """A run of mine exists: name it in status. No ref in status means nothing of mine was ever started (SPEC 2.4)."""
    if snapshot.holds is not True:
        lock = snapshot.inputs.lock
        if lock is None or (isinstance(lock, LockRecord) and lock.holder is None):
            return Act(Acquire(lock))
        if is_pending(run):
            return Act(DeleteRun(run, "its WorkflowExecution does not hold the target"))
        # Held by another while mine already runs: fall through, follow it to its end and say LockConflict.
    if not snapshot.has_finalizer and not snapshot.deleting:
        return Act(AddFinalizer())
    if is_pending(run) and isinstance(snapshot.inputs.lock, LockRecord):
        given_up = _given_up(snapshot, snapshot.inputs.lock)
        if given_up is not None:
            return Act(DeleteRun(run, "its WorkflowExecution ends before it was started"))
    created = parse_rfc3339(metadata(run).get("creationTimestamp")) or snapshot.now
    draft = Draft(snapshot)
    draft.enter(Phase.RUNNING)
    draft.say(None, None)
    draft.status["startTime"] = rfc3339(created)
    draft.status["pipelineRunRef"] = {"name": name_of(run), "namespace": namespace_of(run), "uid": uid_of(run)}
    draft.deadline(watchdog(snapshot, created))
    draft.condition(
        ConditionType.TEKTON_PIPELINE_CREATED,
        True,
        ConditionReason.PIPELINE_CREATED,
        f"PipelineRun {namespace_of(run)}/{name_of(run)} created",
    )
    draft.unready("Running", "the pipeline is running")
    note = Note("Normal", EventReason.PIPELINE_RUN_CREATED, f"PipelineRun {namespace_of(run)}/{name_of(run)} created")
    return Commit(draft.status, Lane.START, (note,))


def watchdog(snapshot: Snapshot, start: datetime) -> datetime:
    """When we stop waiting for Tekton's own time-outs: T + finally + grace after ``start``."""
    settings = snapshot.settings
    parsed = snapshot.parsed
    timeout = settings.default_timeout if isinstance(parsed, InvalidSpec) else build.workflow_timeout(parsed, settings)
    return start + timedelta(seconds=timeout + settings.finally_timeout + settings.watchdog_grace)

"""What a finished, vanished or abandoned run means (SPEC 2.3, 3). Pure; reads only live inputs.

Succeeded=True is Completed, even after a cancel, but only when the TaskRuns prove it: Tekton finds TaskRuns by name
without an owner check, so a run can inherit the result of a former one. Everything that is not proven to have never
started is an execution failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wfe_controller.api.conditions import is_true
from wfe_controller.api.reasons import ConditionReason, ConditionType, EventReason, FailureReason
from wfe_controller.failure.model import FailureDetails
from wfe_controller.failure.tekton import RunObservation, classify, completion, observe, verify_success
from wfe_controller.failure.unstarted import run_deleted
from wfe_controller.kube.objects import Json, name_of, status, text, uid_of
from wfe_controller.workflows.draft import Draft
from wfe_controller.workflows.engines.tekton import cancel, launch
from wfe_controller.workflows.engines.tekton.summary import summarise, waited_for
from wfe_controller.workflows.phases import ending
from wfe_controller.workflows.plan import Commit, Input, Note, Read, Step
from wfe_controller.workflows.snapshot import Snapshot, Unread

POD_ENDED = ("Succeeded", "Failed")


def survivors(pods: Iterable[Json]) -> tuple[str, ...]:
    """Names of pods that may still act: every phase but Succeeded and Failed, unknown ones included."""
    return tuple(sorted(name_of(pod) for pod in pods if text(status(pod).get("phase")) not in POD_ENDED))


def verdict(snapshot: Snapshot, run: Json | None, found: cancel.Cancellation | None) -> Step:
    """The terminal status of a run whose pods have all ended."""
    task_runs, pods = _live(snapshot)
    judged = run
    last = snapshot.last_seen_run
    if judged is None and last is not None and uid_of(last) == snapshot.run_uid:
        # Deleted, but we saw its last state. It counts as a verdict when it was done, and as evidence of what had been
        # started when it was us who ended it.
        judged = last if found is not None or observe(last, [], []).done else None
        task_runs = task_runs or list(snapshot.cached_task_runs)
    seen = observe(judged, task_runs, pods)
    if judged is None and found is None:
        return _failed(snapshot, seen, _vanished(snapshot), found)
    if judged is not None and seen.succeeded == "True":
        doubt = verify_success(judged, task_runs)
        if doubt is None:
            return _completed(snapshot, seen)
        details = classify(
            seen,
            judged,
            task_runs,
            pods,
            cause=FailureReason.UNKNOWN,
            now=snapshot.now,
            subject=ending.subject(snapshot),
            message=f"Tekton says the run succeeded, which cannot be believed: {doubt}",
        )
        return _failed(snapshot, seen, details, found)
    if isinstance(snapshot.inputs.evidence, Unread):
        return Read(Input.EVIDENCE)
    return _failed(snapshot, seen, judge(snapshot, judged, found), found)


def judge(snapshot: Snapshot, run: Json | None, found: cancel.Cancellation | None) -> FailureDetails:
    """Why the run failed, from live TaskRuns and pods; also asked for where the failing container's log is."""
    task_runs, pods = _live(snapshot)
    pods += [pod for pod in snapshot.last_seen_pods if uid_of(pod) not in {uid_of(live) for live in pods}]
    cause = found.failure_reason if found is not None else None
    if found is not None and found.cause is cancel.Cause.RESOLUTION and task_runs:
        cause = FailureReason.DEADLINE_EXCEEDED
    if found is not None and found.cause is cancel.Cause.START:
        # We ended it because its pods did not start; what they waited for, as last seen, is the reason (P:T2).
        cause = waited_for(snapshot.status)
    return classify(
        observe(run, task_runs, pods),
        run,
        task_runs,
        pods,
        cause=cause,
        now=snapshot.now,
        subject=ending.subject(snapshot),
        message=found.message if found is not None else "",
        seen_started=is_true(snapshot.status.get("conditions"), ConditionType.TEKTON_PIPELINE_RUNNING),
    )


def incomplete(snapshot: Snapshot, run: Json | None, found: cancel.Cancellation) -> Step:
    """180 s after the cancellation something still runs: end all the same, blocked, naming the survivors."""
    task_runs, pods = _live(snapshot)
    left = survivors(pods) or ((launch.described(run),) if run is not None else ())
    details = judge(snapshot, run, found)
    said = f"{found.message}; the cancellation is incomplete, still there: {', '.join(left[:10]) or 'the run itself'}"
    details = replace(details, message=said, reason=found.failure_reason or details.reason)
    draft = _draft(snapshot, observe(run, task_runs, pods), details)
    cancel.incomplete(draft, left)
    commit = ending.failed(snapshot, details, draft)
    return replace(commit, notes=(*commit.notes, Note("Warning", EventReason.CANCEL_INCOMPLETE, said)))


def _live(snapshot: Snapshot) -> tuple[list[Json], list[Json]]:
    task_runs, pods = snapshot.inputs.task_runs, snapshot.inputs.pods
    return (
        [] if isinstance(task_runs, Unread) else list(task_runs),
        [] if isinstance(pods, Unread) else list(pods),
    )


def never_released(snapshot: Snapshot) -> bool:
    """Whether the run that is gone provably never ran: the watch saw it being deleted, and it was pending to the last.

    A start would have changed the run before its deletion, so the last state shows it; a state that the watch did not
    see is no proof (``Graveyard`` keeps none of a run that was not done), and neither is one with any sign of Tekton,
    of a TaskRun or of a pod, now or before.
    """
    last, (task_runs, pods) = snapshot.last_seen_run, _live(snapshot)
    return (
        last is not None
        and uid_of(last) == snapshot.run_uid
        and launch.is_pending(last)
        and not status(last).get("startTime")
        and not launch.is_resolved(last)
        and not observe(last, [], []).done
        and not is_true(snapshot.status.get("conditions"), ConditionType.TEKTON_PIPELINE_RUNNING)
        and not (task_runs or pods or snapshot.cached_task_runs or snapshot.cached_pods or snapshot.last_seen_pods)
    )


def _vanished(snapshot: Snapshot) -> FailureDetails:
    steps = snapshot.status.get("completedSteps"), snapshot.status.get("totalSteps")
    done, total = (value if isinstance(value, int) else 0 for value in steps)
    return run_deleted(
        str(snapshot.run_key),
        started=snapshot.start_time,
        now=snapshot.now,
        subject=ending.subject(snapshot),
        completed_tasks=done,
        tasks=total,
        never_released=never_released(snapshot),
    )


def _completed(snapshot: Snapshot, seen: RunObservation) -> Commit:
    draft = _draft(snapshot, seen, None)
    message = seen.message or "the pipeline succeeded"
    draft.status["progress"] = 100
    draft.condition(ConditionType.TEKTON_PIPELINE_COMPLETE, True, ConditionReason.PIPELINE_SUCCEEDED, message)
    return ending.completed(snapshot, draft, completion(seen, snapshot.now), message)


def _failed(
    snapshot: Snapshot, seen: RunObservation, details: FailureDetails, found: cancel.Cancellation | None
) -> Commit:
    draft = _draft(snapshot, seen, details)
    if found is not None:
        cancel.drained(draft)
    return ending.failed(snapshot, details, draft, _evidence(snapshot, details))


def _evidence(snapshot: Snapshot, details: FailureDetails) -> Json | None:
    facts, saved = details.facts, snapshot.inputs.evidence
    if not facts.pod and not facts.container:
        return None
    body: Json = {"pod": facts.pod, "container": facts.container, "podReason": facts.raw_reason}
    if details.exit_code is not None:
        body["exitCode"] = details.exit_code
    if not isinstance(saved, Unread) and saved.log_tail:
        body["logTail"] = saved.log_tail
    return {key: value for key, value in body.items() if value != ""}


def _draft(snapshot: Snapshot, seen: RunObservation, details: FailureDetails | None) -> Draft:
    draft = Draft(snapshot)
    summarise(draft, seen)
    draft.drop_condition(ConditionType.LOCK_CONFLICT)
    running = ConditionType.TEKTON_PIPELINE_RUNNING
    if not is_true(draft.status.get("conditions"), running):
        if details is None or details.was_execution_failure:
            draft.condition(running, True, ConditionReason.PIPELINE_STARTED, "the run has started steps")
        else:
            draft.condition(running, False, ConditionReason.PIPELINE_FAILED_TO_START, "no step ever started")
    if details is not None:
        reason = str(details.reason)
        draft.condition(ConditionType.TEKTON_PIPELINE_COMPLETE, False, reason, details.message or reason)
    return draft

"""A PipelineRun read for us: how far it is, whether its success can be believed, why it failed (SPEC 3, 2.3; T-4).

Neighbours: the tekton engine feeds live LISTs in and writes what comes out; evidence answers whether a step started,
vocabulary what a reason means, waiting what keeps a run from going on, summary puts it into words. Invariants: pure
and total, whatever other writers put into these objects; the reason comes from structured fields, a message may refine
the code and nothing else (TH11); a failure is an execution failure unless the opposite is proven (TH14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from wfe_controller.api.reasons import FailureReason
from wfe_controller.failure import evidence, vocabulary
from wfe_controller.failure.evidence import Started, child_references, condition_reason, condition_status, is_task_run
from wfe_controller.failure.model import FailureDetails, FailureFacts, Subject
from wfe_controller.failure.redaction import shorten
from wfe_controller.failure.summary import summarised
from wfe_controller.failure.waiting import Waiting, cleaned, has_ended, pod_name, waiting_for
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import (
    Json,
    condition,
    items,
    mapping,
    metadata,
    name_of,
    status,
    text,
    uid_of,
)

_MAX_WAITING = 10
"""Entries of ``pipelineRunStatus.waiting``."""


@dataclass(frozen=True, slots=True)
class RunObservation:
    """One look at a run. ``succeeded`` is "True", "False" or "Unknown"; times are as the run says, not clamped.

    ``step_started`` None means that it cannot be told. ``live_pods`` are the names of pods that have not ended, whoever
    they belong to: while there is one, the run has not ended for us (SPEC 2.3).
    """

    done: bool
    succeeded: str
    reason: str
    message: str
    completed_tasks: int
    total_tasks: int
    step_started: Started
    start_time: datetime | None
    completion_time: datetime | None
    waiting: tuple[Waiting, ...] = ()
    live_pods: tuple[str, ...] = ()

    def status_json(self) -> Json:
        """``status.pipelineRunStatus``: the same content for the same look, so that an unchanged run writes nothing."""
        out: Json = {
            "status": self.succeeded,
            "reason": self.reason,
            "message": self.message,
            "completedTasks": self.completed_tasks,
            "totalTasks": self.total_tasks,
        }
        # A TaskRun whose pod could not be made (a quota) waits too; its entry has no pod.
        waiting = [
            {"pod": w.pod[:253], "task": w.task[:253], "reason": w.reason[:64], "message": w.message}
            for w in self.waiting
        ][:_MAX_WAITING]
        if waiting:
            out["waiting"] = [{key: value for key, value in entry.items() if value} for entry in waiting]
        return {key: value for key, value in out.items() if value != ""}


def observe(run: Json | None, task_runs: list[Json], pods: list[Json]) -> RunObservation:
    """What run, TaskRuns and pods say together. ``run`` None: it is gone, the rest may still be there."""
    mine = evidence.own_task_runs(run, task_runs)
    own_pods = evidence.own_pods(run, mine, pods)
    current = status(run or {})
    succeeded = condition_status(run or {})
    verdict = condition(run or {}, "Succeeded")
    done = succeeded != "Unknown"
    children = child_references(run)
    completion = parse_rfc3339(current.get("completionTime"))
    if completion is None and done:
        completion = parse_rfc3339(verdict.get("lastTransitionTime"))
    return RunObservation(
        done=done,
        succeeded=succeeded,
        reason=shorten(text(verdict.get("reason")), 256) or ("" if run is None else "Running" if not done else ""),
        message=cleaned(text(verdict.get("message"))),
        completed_tasks=sum(1 for t in mine if condition_status(t) == "True"),
        total_tasks=max(sum(map(len, _tasks(run))), len(children), len(mine)),
        step_started=evidence.run_started(run, mine, own_pods),
        start_time=parse_rfc3339(current.get("startTime")),
        completion_time=completion,
        waiting=waiting_for(run, mine, own_pods),
        live_pods=tuple(sorted(pod_name(p) for p in pods if isinstance(p, Mapping) and not has_ended(p))),
    )


def verify_success(run: Json, task_runs: list[Json]) -> str | None:
    """None when Succeeded=True may be believed, else what contradicts it (then Failed/Unknown, execution failure).

    Tekton finds TaskRuns by name without looking at their owner, so a run can succeed on an earlier run's result
    (SPEC 3): every referenced TaskRun has to exist and be owned by this run, and no step may be older than the run.
    """
    uid = uid_of(run)
    created = parse_rfc3339(metadata(run).get("creationTimestamp"))
    if not uid or created is None:
        return "the PipelineRun carries no UID or creation time"
    by_name = {name_of(t): t for t in task_runs if isinstance(t, Mapping)}
    for reference in child_references(run):
        if not is_task_run(reference):
            continue
        name = text(reference.get("name"))
        task_run = by_name.get(name)
        if task_run is None:
            return f"TaskRun {name or '(unnamed)'}, on which the success rests, does not exist"
        if not evidence.owned_by(task_run, uid):
            return f"TaskRun {name} belongs to another PipelineRun"
        for state in evidence.step_states(task_run):
            began = evidence.started_at(state, task_run)
            if began is not None and began < created:
                step = text(state.get("name")) or "(unnamed)"
                return f"step {step} of TaskRun {name} started before the PipelineRun was created"
    return None


def classify(
    observation: RunObservation,
    run: Json | None,
    task_runs: list[Json],
    pods: list[Json],
    *,
    cause: FailureReason | None,
    now: datetime,
    subject: Subject | None = None,
    message: str = "",
    seen_started: bool = False,
) -> FailureDetails:
    """Why the run failed.

    ``cause``: why WE ended it (cancel, deadline, start or resolution timeout, success that cannot be believed,
    vanished); the run's own verdict wins over it, unless that is only the echo of our cancel. ``message`` is put before
    Tekton's. ``seen_started``: an earlier look saw a step start, even if nothing shows it any more.
    """
    mine = evidence.own_task_runs(run, task_runs)
    own_pods = evidence.own_pods(run, mine, pods)
    failed = _first_failed(run, mine)
    own_code = _code(run, failed)
    code = _with_cause(own_code, cause, observation)
    start = observation.start_time
    ended = _clamped(observation.completion_time, start, now)
    started = True if seen_started else observation.step_started
    facts = FailureFacts(
        task_count=observation.total_tasks,
        completed_tasks=observation.completed_tasks,
        never_resolved=_never_resolved(run, mine),
        waiting=_waiting_words(observation),
        raw_reason=observation.reason,
    )
    details = FailureDetails(
        reason=code,
        message=_message(observation, failed, message, unstarted=started is False),
        failed_at=ended,
        execution_time=(ended - start).total_seconds() if start is not None else 0.0,
        was_execution_failure=_was_execution_failure(code, cause, started),
        facts=facts,
    )
    if failed is not None:
        details = _with_task(details, run, failed, own_pods)
    return summarised(details, subject or Subject())


def completion(observation: RunObservation, now: datetime) -> datetime:
    """When the run ended, by its own word, clamped to [its start, now] (TH24, TH30); ``now`` when it does not say."""
    return _clamped(observation.completion_time, observation.start_time, now)


def _was_execution_failure(code: FailureReason, cause: FailureReason | None, started: Started) -> bool:
    """By evidence (T-4.4): a vanished run or an unbelievable success always, a reason only a step can cause; else True
    unless it is proven that no step started."""
    if cause in (FailureReason.PIPELINE_RUN_DELETED, FailureReason.UNKNOWN):
        return True
    if code in (FailureReason.TASK_FAILED, FailureReason.OOM_KILLED):
        return True
    return started is not False


def _with_cause(own: FailureReason, cause: FailureReason | None, observation: RunObservation) -> FailureReason:
    if cause is None:
        return own
    if cause in (FailureReason.PIPELINE_RUN_DELETED, FailureReason.UNKNOWN) or observation.succeeded != "False":
        return cause
    return cause if own in (FailureReason.CANCELLED, FailureReason.UNKNOWN) else own


def _code(run: Json | None, failed: Json | None) -> FailureReason:
    """The run's own reason if it says something, else the failed TaskRun's, else its steps'."""
    run_reason = condition_reason(run or {})
    code = vocabulary.code_of(run_reason)
    if code is not None:
        return code
    if failed is None:
        if run_reason in vocabulary.CREATION:
            return vocabulary.refine_creation(text(condition(run or {}, "Succeeded").get("message")))
        return FailureReason.UNKNOWN
    reason = condition_reason(failed)
    if reason in vocabulary.CREATION:
        return vocabulary.refine_creation(text(condition(failed, "Succeeded").get("message")))
    from_steps = _code_of_steps(failed)
    code = vocabulary.code_of(reason)
    if code in (None, FailureReason.TASK_FAILED) and from_steps is not None:
        return from_steps
    if code is not None:
        return code
    return FailureReason.TASK_FAILED if reason == "Failed" else FailureReason.UNKNOWN


def _code_of_steps(task_run: Json) -> FailureReason | None:
    """OOM and step timeouts hide behind a TaskRun that is plainly Failed; an exit code not 0 is a failed task."""
    failed = False
    for state in map(mapping, items(status(task_run).get("steps"))):
        terminated = mapping(state.get("terminated"))
        if not terminated or text(terminated.get("reason")) in vocabulary.MADE_BY_TEKTON:
            continue
        if text(terminated.get("reason")) == "OOMKilled":
            return FailureReason.OOM_KILLED
        if text(state.get("terminationReason")) == "TimeoutExceeded":
            return FailureReason.DEADLINE_EXCEEDED
        failed = failed or _exit_code(terminated) not in (None, 0)
    return FailureReason.TASK_FAILED if failed else None


def _first_failed(run: Json | None, task_runs: list[Json]) -> Json | None:
    """The TaskRun that failed first, by completion time, then by the run's order; a cancelled one only if no other."""
    order = {text(c.get("name")): i for i, c in enumerate(child_references(run))}
    failed = [t for t in task_runs if condition_status(t) == "False" and condition_reason(t) != "FailureIgnored"]

    def rank(task_run: Json) -> tuple[bool, str, int]:
        ended = parse_rfc3339(status(task_run).get("completionTime"))
        echo = condition_reason(task_run) == "TaskRunCancelled"
        return echo, ended.isoformat() if ended is not None else "9999", order.get(name_of(task_run), len(order))

    return min(failed, key=rank, default=None)


def _with_task(details: FailureDetails, run: Json | None, failed: Json, pods: list[Json]) -> FailureDetails:
    name = evidence.pipeline_task(run, failed)
    main, finally_ = _tasks(run)
    order = [*main, *finally_] or [text(c.get("pipelineTaskName")) for c in child_references(run) if is_task_run(c)]
    index = order.index(name) if name and name in order else None
    steps = [mapping(s) for s in items(status(failed).get("steps"))]
    step, exit_code = _failed_step(failed, steps)
    step_name = text(steps[step].get("name")) if step is not None else ""
    facts = replace(
        details.facts,
        task_position=index + 1 if index is not None else 0,
        task_count=max(details.facts.task_count, len(order)),
        step_position=step + 1 if step is not None else 0,
        step_count=len(steps),
        in_finally=bool(name) and name in finally_ and name not in main,
        pod=text(status(failed).get("podName")),
        container=text(steps[step].get("container")) if step is not None else "",
    )
    return replace(
        details,
        failed_task_index=index,
        failed_task_name=(name or name_of(failed))[:253] or None,
        failed_step_name=step_name[:253] or None,
        exit_code=exit_code,
        facts=facts,
    )


def _failed_step(task_run: Json, steps: list[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """Index and exit code of the first step that ended badly by itself; else the step that was cut off, without a code
    (Tekton's exit code 1 for a step it ended is made up)."""
    cut_off: int | None = None
    for index, state in enumerate(steps):
        terminated = mapping(state.get("terminated"))
        if text(terminated.get("reason")) in vocabulary.MADE_BY_TEKTON:
            if cut_off is None and not evidence.made_up(state, task_run):
                cut_off = index
            continue
        code = _exit_code(terminated)
        if code not in (None, 0):
            return index, code
        if cut_off is None and state.get("running") is not None:
            cut_off = index
    return cut_off, None


def _exit_code(terminated: Mapping[str, Any]) -> int | None:
    code = terminated.get("exitCode")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _tasks(run: Json | None) -> tuple[list[str], list[str]]:
    """Names of the pipeline's tasks and finally tasks, in order; empty while the pipeline is not resolved."""
    pipeline = mapping(status(run or {}).get("pipelineSpec"))
    main, finally_ = ([text(mapping(t).get("name")) for t in items(pipeline.get(f))] for f in ("tasks", "finally"))
    return main, finally_


def _never_resolved(run: Json | None, task_runs: list[Json]) -> bool:
    return (
        run is not None
        and not task_runs
        and not child_references(run)
        and not mapping(status(run).get("pipelineSpec"))
        and bool(status(run))
    )


def _message(observation: RunObservation, failed: Json | None, ours: str, *, unstarted: bool) -> str:
    parts = [ours]
    if failed is not None:
        own = text(condition(failed, "Succeeded").get("message"))
        parts.append(f"TaskRun {name_of(failed)} ({condition_reason(failed) or 'no reason'}): {own}")
    if unstarted and observation.start_time is None and not observation.message:
        parts.append("Tekton never took up the run, so no step of it ever started")
    elif observation.message or observation.reason:
        parts.append(f"PipelineRun ({observation.reason or 'no reason'}): {observation.message}")
    return cleaned("; ".join(part.strip().rstrip(";.: ") for part in parts if part.strip())) or "no message"


def _clamped(instant: datetime | None, start: datetime | None, now: datetime) -> datetime:
    """Another clock wrote the instant: it lies neither in the future nor before the start (TH24)."""
    if instant is None:
        return now
    return min(max(instant, start) if start is not None else instant, now)


def _waiting_words(observation: RunObservation) -> str:
    if not observation.waiting:
        return ""
    first = observation.waiting[0]
    return f"{first.reason}{': ' + first.message if first.message else ''}"

"""The one paragraph a person reads first: what failed, where, after how long, what remains, what to do (T-4.6).

Neighbours: tekton and unstarted call it last, with the finished details. Invariants: never longer than 1024 characters,
never with a secret, never empty; the advice survives when the text has to be cut, the quoted message gives way.
"""

from __future__ import annotations

from dataclasses import replace

from wfe_controller.api.durations import format_duration
from wfe_controller.api.names import ANNOTATION_CLEAR_BLOCK
from wfe_controller.api.reasons import FailureReason
from wfe_controller.failure.model import MESSAGE_MAX, FailureDetails, Subject
from wfe_controller.failure.redaction import redact, shorten

_ADVICE: dict[FailureReason, str] = {
    FailureReason.OOM_KILLED: "raise the memory limit of the step, or make it work on less data at once.",
    FailureReason.DEADLINE_EXCEEDED: "Investigate whether the work hangs or is only slow; raise "
    "executionConfig.timeout if it is slow.",
    FailureReason.FORBIDDEN: "check the RBAC permissions of the runner service account and the admission policies of "
    "the execution namespace.",
    FailureReason.RESOURCE_EXHAUSTED: "check quotas of the execution namespace and free capacity of the nodes.",
    FailureReason.CONFIGURATION_ERROR: "correct the workflow or the spec named in the message; running it again as it "
    "is ends the same way.",
    FailureReason.IMAGE_PULL_BACK_OFF: "check that the bundle and the step images exist and that the registry lets the "
    "runner pull them.",
    FailureReason.TASK_FAILED: "read the log of the failed step and correct its cause.",
    FailureReason.PIPELINE_RUN_DELETED: "Verify what the run had already done before anything is retried, and find out "
    "who deletes PipelineRuns.",
    FailureReason.CANCELLED: "it was ended on request; create a new execution if it is still needed.",
    FailureReason.PIPELINE_RUN_CREATION_FAILED: "check that the API server and Tekton's webhook answer.",
    FailureReason.PERMISSION_DENIED: "grant the controller create on pipelineruns in the execution namespace "
    "(wfe-controller manifests rbac).",
    FailureReason.UNKNOWN: "read the status and the pod logs of the PipelineRun.",
}


def natural_language_summary(details: FailureDetails | None, subject: Subject) -> str:
    """The summary of those details; without details it still says what failed and where to look."""
    workflow = f"Workflow {shorten(subject.workflow_id, 128) or '(unnamed)'}"
    on = f" on {shorten(subject.target, 256)}" if subject.target else ""
    if details is None:
        return redact(f"{workflow} failed{on} for an unknown reason: check the logs of its PipelineRun.")
    head = f"{workflow} failed{on}: {details.reason.value}{_where(details)}{_timing(details, subject)}."
    tail = f"{_state(details)} Next: {_ADVICE[details.reason]}"
    head, tail = redact(head), redact(tail)
    message = redact(details.message).strip()
    room = MESSAGE_MAX - len(head) - len(tail) - 2
    middle = f" {_sentence(shorten(message, room - 2))}" if message and room > 20 else ""
    return shorten(f"{head}{middle} {tail}", MESSAGE_MAX)


def summarised(details: FailureDetails, subject: Subject) -> FailureDetails:
    """The details with their summary filled in."""
    return replace(details, natural_language_summary=natural_language_summary(details, subject))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _where(details: FailureDetails) -> str:
    facts = details.facts
    parts: list[str] = []
    if details.failed_task_name:
        kind = "finally task" if facts.in_finally else "task"
        of = f" ({facts.task_position} of {facts.task_count})" if facts.task_position and facts.task_count else ""
        parts.append(f"{kind} {shorten(details.failed_task_name, 128)}{of}")
    if details.failed_step_name:
        of = f" ({facts.step_position} of {facts.step_count})" if facts.step_position and facts.step_count else ""
        parts.append(f"step {shorten(details.failed_step_name, 128)}{of}")
    if details.exit_code is not None:
        parts.append(f"exit code {details.exit_code}")
    where = f" in {', '.join(parts)}" if parts else ""
    if facts.in_finally and details.failed_task_name:
        where += ", after all main tasks had ended"
    if facts.never_resolved:
        where += ", the workflow bundle was never resolved"
    if facts.waiting:
        where += f", last seen waiting: {shorten(facts.waiting, 160)}"
    return where


def _timing(details: FailureDetails, subject: Subject) -> str:
    timing = f" after {format_duration(details.execution_time)}"
    if details.reason is FailureReason.DEADLINE_EXCEEDED and subject.timeout:
        timing += f" (limit {format_duration(subject.timeout)})"
    return timing


def _state(details: FailureDetails) -> str:
    if not details.was_execution_failure:
        retry = "a later execution may run once the backoff is over" if details.counts else "another may run now"
        return f"No step started, so nothing was changed; {retry}."
    facts = details.facts
    done = (
        f"{facts.completed_tasks} of {facts.task_count} tasks had completed and were not undone"
        if facts.completed_tasks and facts.task_count
        else "nothing was undone"
    )
    return (
        f"A step may have started: {done}, the target's state is unknown and it is blocked. Check it, then clear the "
        f"block ({ANNOTATION_CLEAR_BLOCK})."
    )

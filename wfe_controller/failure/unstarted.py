"""Failures that no PipelineRun can tell about: refused specs and creations, deadlines, cancels, vanished runs (SPEC 3).

Neighbours: the tekton engine builds these and writes ``to_json``; the reason codes are those of tekton.classify.
Invariant: the same evidence rule holds here. What never had a run is pre-execution by proof; a run that had been
released and vanished is an execution failure always.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wfe_controller.api.durations import format_duration
from wfe_controller.api.reasons import FailureReason
from wfe_controller.failure.model import MESSAGE_MAX, FailureDetails, FailureFacts, Subject
from wfe_controller.failure.redaction import redact, shorten
from wfe_controller.failure.summary import summarised
from wfe_controller.kube.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound, TooLarge


@dataclass(frozen=True, slots=True)
class CreateRefusal:
    """What a failed creation of a run means. ``final``: no retry helps, fail at once; else retry by time (SPEC 3)."""

    reason: FailureReason
    final: bool


def create_refusal(error: Exception) -> CreateRefusal:
    """The meaning of an error of create. A missing type (Tekton not installed) is the caller's to see before: it is no
    failure but EngineUnavailable."""
    if isinstance(error, Invalid | BadRequest | TooLarge):
        return CreateRefusal(FailureReason.CONFIGURATION_ERROR, final=True)
    if isinstance(error, Forbidden):
        # Both are 403 Forbidden without any structured difference: the words choose the code, and only the code.
        quota = "exceeded quota" in error.message.lower()
        return CreateRefusal(
            FailureReason.RESOURCE_EXHAUSTED if quota else FailureReason.PERMISSION_DENIED, final=False
        )
    if isinstance(error, NotFound):
        return CreateRefusal(FailureReason.CONFIGURATION_ERROR, final=False)
    return CreateRefusal(FailureReason.PIPELINE_RUN_CREATION_FAILED, final=False)


def create_failed(error: Exception, *, since: datetime, now: datetime, subject: Subject) -> FailureDetails:
    """The run could not be created; ``since`` is the first try."""
    said = error.message if isinstance(error, ApiError) else str(error)
    status = f" ({error.status} {error.reason})" if isinstance(error, ApiError) else ""
    message = f"the PipelineRun could not be created{status}: {said or type(error).__name__}"
    return _details(create_refusal(error).reason, message, since, now, False, subject)


def configuration_error(problem: str, *, now: datetime, subject: Subject) -> FailureDetails:
    """The spec, or what it refers to, is not usable; ``problem`` names the field, the rule and the remedy."""
    return _details(FailureReason.CONFIGURATION_ERROR, problem, now, now, False, subject)


def start_deadline_exceeded(waited_for: str, *, since: datetime, now: datetime, subject: Subject) -> FailureDetails:
    """It waited in Pending past execution.startDeadline; ``waited_for`` says for what. Not counted."""
    message = f"not started within {format_duration(now - since)}: {waited_for}"
    return _details(FailureReason.DEADLINE_EXCEEDED, message, since, now, False, subject)


def cancelled_before_start(by_reason: str, *, now: datetime, subject: Subject) -> FailureDetails:
    """Cancelled, or deleted, while nothing had been started. Not counted."""
    message = f"cancelled before it started: {by_reason}" if by_reason else "cancelled before it started"
    return _details(FailureReason.CANCELLED, message, now, now, False, subject)


def run_deleted(
    run_name: str,
    *,
    started: datetime | None,
    now: datetime,
    subject: Subject,
    completed_tasks: int = 0,
    tasks: int = 0,
    never_released: bool = False,
) -> FailureDetails:
    """A started run vanished before it had ended: an execution failure, whatever was last seen of it (TH13).

    ``never_released``: it is proven that the run was pending until it was deleted, so it was never a started one.
    """
    said = "while it was still pending: nothing of it ever ran"
    message = f"PipelineRun {run_name} was deleted " + (
        said if never_released else "before it had ended, not found any more; what it had done is not known"
    )
    facts = FailureFacts(completed_tasks=completed_tasks, task_count=tasks)
    executed = not never_released
    return _details(FailureReason.PIPELINE_RUN_DELETED, message, started or now, now, executed, subject, facts)


def _details(
    reason: FailureReason,
    message: str,
    since: datetime,
    now: datetime,
    was_execution_failure: bool,
    subject: Subject,
    facts: FailureFacts | None = None,
) -> FailureDetails:
    return summarised(
        FailureDetails(
            reason=reason,
            message=shorten(redact(message), MESSAGE_MAX),
            failed_at=now,
            execution_time=max((now - since).total_seconds(), 0.0),
            was_execution_failure=was_execution_failure,
            facts=facts or FailureFacts(),
        ),
        subject,
    )

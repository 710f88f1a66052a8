"""What a failure is for the rest of the program: ``status.failureDetails`` and the facts its summary is told from.

Neighbours: tekton and unstarted make it, summary words it, the phase handlers write ``to_json``. Invariant: a failure
is an execution failure unless it was proven that no step ever started (SPEC 2.3, TH14).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from wfe_controller.api.durations import format_duration
from wfe_controller.api.reasons import FailureReason
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json

MESSAGE_MAX = 1024
"""Longest ``message`` and ``naturalLanguageSummary``, in characters."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What failed, for the summary: workflow id, target as the spec spells it, configured limits in seconds."""

    workflow_id: str = ""
    target: str = ""
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class FailureFacts:
    """What the summary tells and the evidence collector needs (pod and container of the failed step).

    Counts are 0 when not known; positions count from 1; texts are "" when not known.
    """

    task_position: int = 0
    task_count: int = 0
    completed_tasks: int = 0
    step_position: int = 0
    step_count: int = 0
    in_finally: bool = False
    never_resolved: bool = False
    waiting: str = ""
    raw_reason: str = ""
    pod: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True)
class FailureDetails:
    """``status.failureDetails`` (T-4.1). Absent task, step and exit code are None; the index counts from 0."""

    reason: FailureReason
    message: str
    failed_at: datetime
    execution_time: float
    was_execution_failure: bool
    failed_task_index: int | None = None
    failed_task_name: str | None = None
    failed_step_name: str | None = None
    exit_code: int | None = None
    natural_language_summary: str = ""
    facts: FailureFacts = field(default=FailureFacts(), compare=False)

    @property
    def counts(self) -> bool:
        """True when this end lengthens the failure streak: nothing started, and neither a person nor the clock ended
        it (SPEC 2.3 end)."""
        return not self.was_execution_failure and self.reason not in (
            FailureReason.CANCELLED,
            FailureReason.DEADLINE_EXCEEDED,
        )

    def to_json(self) -> Json:
        out: Json = {
            "reason": self.reason.value,
            "message": self.message,
            "failedAt": rfc3339(self.failed_at),
            "executionTimeBeforeFailure": format_duration(self.execution_time),
            "naturalLanguageSummary": self.natural_language_summary,
            "wasExecutionFailure": self.was_execution_failure,
            "requiresManualReview": self.was_execution_failure,
        }
        optional = {
            "failedTaskIndex": self.failed_task_index,
            "failedTaskName": self.failed_task_name,
            "failedStepName": self.failed_step_name,
            "exitCode": self.exit_code,
        }
        out.update({key: value for key, value in optional.items() if value is not None})
        return out

"""``WorkflowExecution.status``: what the controller reports, for both engines (S-13.2 merged with T-1.4).

These models are the source of the schema. The controller writes status as plain JSON; a unit test validates what it
writes against the generated schema, so that a field the server would prune or refuse is found early (TH26).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wfe_controller.api.phases import Engine, Phase
from wfe_controller.api.reasons import FailureReason, SkipReason
from wfe_controller.api.schema import (
    Conditions,
    Count,
    Generation,
    GoDuration,
    Instant,
    LongMessage,
    Message,
    Name,
    Namespace,
    Percent,
    ShortText,
    StatusModel,
    Uid,
    extra,
)

_ATOMIC = extra(list_type="atomic")

Reason = Annotated[str, Field(max_length=64)]


class PipelineRunRef(StatusModel):
    """The run this execution started; its UID decides what is ours."""

    api_version: Annotated[str, Field(max_length=64)] | None = None
    kind: Annotated[str, Field(max_length=63)] | None = None
    name: Name
    namespace: Namespace
    uid: Uid


class WaitingPod(StatusModel):
    """A pod of the run that does not get on; without ``pod``: one that could not even be made."""

    pod: Name | None = None
    task: Name | None = None
    reason: Reason
    message: Message | None = None


class PipelineRunStatus(StatusModel):
    """Summary of the run as last seen."""

    status: Literal["True", "False", "Unknown"]
    """The run's Succeeded condition."""
    reason: ShortText | None = None
    """Tekton's own reason, unchanged."""
    message: LongMessage | None = None
    completed_tasks: Count | None = None
    total_tasks: Count | None = None
    waiting: Annotated[list[WaitingPod], Field(max_length=10, json_schema_extra=_ATOMIC)] | None = None


class Evidence(StatusModel):
    """What was left of the failing container, stored before anything is cleaned up."""

    pod: Name | None = None
    container: Name | None = None
    pod_reason: ShortText | None = None
    exit_code: Annotated[int, Field(json_schema_extra={"format": "int32"})] | None = None
    log_tail: Annotated[str, Field(max_length=4096)] | None = None
    """At most the last 4 KiB of the log, redacted."""


class FailedStep(StatusModel):
    name: Name
    reason: Reason | None = None
    message: Message | None = None


class FailureDetails(StatusModel):
    """Why the execution failed, and whether it may have changed anything (T-4.1, S-13.4)."""

    failed_task_index: Count | None = None
    """0-based; absent when no task failed."""
    failed_task_name: Name | None = None
    failed_step_name: Name | None = None
    reason: FailureReason
    sub_reason: Reason | None = None
    message: LongMessage
    exit_code: Annotated[int, Field(json_schema_extra={"format": "int32"})] | None = None
    failed_at: Instant
    execution_time_before_failure: GoDuration
    natural_language_summary: Message
    was_execution_failure: bool
    """True unless it is proven that no step ever started: the target is then in an unknown state and is blocked."""
    requires_manual_review: bool | None = None
    step_name: Name | None = None
    failed_steps: Annotated[list[FailedStep], Field(max_length=100, json_schema_extra=_ATOMIC)] | None = None
    evidence: Evidence | None = None


class ConflictingWorkflow(StatusModel):
    """Who holds the target."""

    name: Name
    workflow_id: Annotated[str, Field(max_length=256)]
    started_at: Instant
    target_resource: Annotated[str, Field(max_length=512)]


class RecentRemediation(StatusModel):
    """The earlier execution that stands in the way."""

    name: Name
    workflow_id: Annotated[str, Field(max_length=256)]
    completed_at: Instant
    outcome: Reason
    target_resource: Annotated[str, Field(max_length=512)]
    cooldown_remaining: GoDuration | None = None


class SkipDetails(StatusModel):
    """Why nothing was done (T-5)."""

    reason: SkipReason
    message: LongMessage
    skipped_at: Instant
    conflicting_workflow: ConflictingWorkflow | None = None
    recent_remediation: RecentRemediation | None = None


class BlockClearance(StatusModel):
    """The decision by which an operator lifted this execution's block."""

    cleared_at: Instant
    cleared_by: ShortText
    clear_reason: Message
    clear_method: Literal["Annotation", "APIEndpoint", "StatusField"]
    verified: bool | None = None
    """Whether admission proved that the name is the requester's."""


class LockInfo(StatusModel):
    """The holds this execution took."""

    targets: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=101, json_schema_extra=_ATOMIC)]
    lock_names: Annotated[list[Name], Field(max_length=101, json_schema_extra=_ATOMIC)] | None = None
    acquired_at: Instant | None = None


class ExecutionPlan(StatusModel):
    """Names only."""

    levels: Annotated[
        list[Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=100)]],
        Field(max_length=100, json_schema_extra=_ATOMIC),
    ]
    parallel_limit: Count | None = None


class ConditionResult(StatusModel):
    """One evaluation of a pre- or postcondition."""

    condition_type: Annotated[str, Field(max_length=128)]
    stage: Literal["pre", "post", "when"] | None = None
    level: Literal["step", "action"] | None = None
    severity: Literal["blocking", "warning"] | None = None
    evaluated: bool
    passed: bool | None = None
    error_message: Annotated[str, Field(max_length=512)] | None = None
    evaluation_time: Instant | None = None
    overridden: bool | None = None
    overridden_by: ShortText | None = None
    policy_ref: ShortText | None = None
    policy_hash: Annotated[str, Field(max_length=71)] | None = None
    input_digest: Annotated[str, Field(max_length=71)] | None = None
    attempts: Count | None = None
    duration_ms: Count | None = None


class AffectedResource(StatusModel):
    kind: Annotated[str, Field(max_length=63)]
    namespace: Namespace | None = None
    name: Name
    action: Annotated[str, Field(max_length=64)] | None = None
    before: Message | None = None
    after: Message | None = None


Warnings = Annotated[list[Message], Field(max_length=5, json_schema_extra=_ATOMIC)]


class StepResult(StatusModel):
    success: bool
    execution_time: GoDuration | None = None
    message: Message | None = None
    resources_affected: Annotated[list[AffectedResource], Field(max_length=20, json_schema_extra=_ATOMIC)] | None = None
    warnings: Warnings | None = None


class StepAttempt(StatusModel):
    execution_ref: Name
    phase: Reason
    reason: Reason | None = None
    exit_code: Annotated[int, Field(json_schema_extra={"format": "int32"})] | None = None


class StepRollback(StatusModel):
    phase: Literal["None", "Pending", "Running", "RolledBack", "Failed", "Blocked", "NotApplicable"]
    execution_ref: Name | None = None
    source: Literal["Captured", "Declared", "None"] | None = None
    attempts: Count | None = None
    start_time: Instant | None = None
    completion_time: Instant | None = None
    message: Message | None = None


ConditionResults = Annotated[list[ConditionResult], Field(max_length=20, json_schema_extra=_ATOMIC)]


class StepStatus(StatusModel):
    """One step; the list has one entry per step of the spec, in its order, from planning on."""

    name: Annotated[str, Field(max_length=63)]
    step_number: Count | None = None
    action: Annotated[str, Field(max_length=64)] | None = None
    phase: Literal[
        "Pending", "Blocked", "Skipped", "Validating", "Running", "Verifying", "Completed", "Failed", "Cancelled"
    ]
    reason: Reason | None = None
    message: Message | None = None
    execution_ref: Name | None = None
    attempts: Count | None = None
    next_attempt_at: Instant | None = None
    start_time: Instant | None = None
    completion_time: Instant | None = None
    warnings: Warnings | None = None
    mutation_possible: bool | None = None
    """Whether the step may have changed the cluster."""
    pre_condition_results: ConditionResults | None = None
    post_condition_results: ConditionResults | None = None
    result: StepResult | None = None
    last_attempts: Annotated[list[StepAttempt], Field(max_length=5, json_schema_extra=_ATOMIC)] | None = None
    rollback: StepRollback | None = None


class Approval(StatusModel):
    required: bool
    reasons: Annotated[list[Message], Field(max_length=10, json_schema_extra=_ATOMIC)] | None = None
    definition_hash: Annotated[str, Field(max_length=64)] | None = None
    requested_at: Instant | None = None
    expires_at: Instant | None = None
    decision: Literal["Pending", "Approved", "Rejected", "Expired"] | None = None
    decided_by: ShortText | None = None
    decided_at: Instant | None = None
    message: Message | None = None
    verified: bool | None = None


class RollbackFailure(StatusModel):
    step: Annotated[str, Field(max_length=63)]
    message: Message


class Rollback(StatusModel):
    decision: Literal["Automatic", "Manual", "None"] | None = None
    trigger: Reason | None = None
    failed_step: Annotated[str, Field(max_length=63)] | None = None
    phase: Literal["Draining", "Executing", "Done"] | None = None
    steps_total: Count | None = None
    steps_done: Count | None = None
    failures: Annotated[list[RollbackFailure], Field(max_length=20, json_schema_extra=_ATOMIC)] | None = None


class AdaptiveAdjustment(StatusModel):
    timestamp: Instant
    adjustment: Message
    reason: Message


class WorkflowResult(StatusModel):
    outcome: Literal["success", "partial_success", "failed", "unknown"]
    message: Message | None = None


class WorkflowExecutionStatus(StatusModel):
    """What the controller knows about this execution. Only the controller writes it."""

    observed_generation: Generation | None = None
    phase: Phase | None = None
    """Terminal phases are final: Completed, Failed, RolledBack, RollbackFailed, Skipped."""
    reason: Reason | None = None
    """Why it failed, was skipped, or waits; absent while it plainly runs."""
    message: LongMessage | None = None
    execution_engine: Engine | None = None
    definition_hash: Annotated[str, Field(max_length=64)] | None = None
    start_time: Instant | None = None
    """When the run, or the first step, was launched."""
    completion_time: Instant | None = None
    duration: GoDuration | None = None
    deadline_at: Instant | None = None
    """When the present phase ends by itself."""
    planning_start_time: Instant | None = None
    planning_complete_time: Instant | None = None
    execution_start_time: Instant | None = None
    execution_complete_time: Instant | None = None
    rollback_start_time: Instant | None = None
    rollback_complete_time: Instant | None = None
    pipeline_run_ref: PipelineRunRef | None = None
    pipeline_run_status: PipelineRunStatus | None = None
    total_steps: Count | None = None
    completed_steps: Count | None = None
    failed_steps: Count | None = None
    skipped_steps: Count | None = None
    active_steps: Count | None = None
    queued_steps: Count | None = None
    progress: Percent | None = None
    """Percent, never decreasing."""
    execution_plan: ExecutionPlan | None = None
    steps: (
        Annotated[
            list[StepStatus], Field(max_length=100, json_schema_extra=extra(list_type="map", list_map_keys=["name"]))
        ]
        | None
    ) = None
    approval: Approval | None = None
    lock: LockInfo | None = None
    rollback: Rollback | None = None
    adaptive_adjustments: (
        Annotated[list[AdaptiveAdjustment], Field(max_length=20, json_schema_extra=_ATOMIC)] | None
    ) = None
    failure_reason: FailureReason | None = None
    """Mirrors failureDetails.reason."""
    failure_details: FailureDetails | None = None
    skip_details: SkipDetails | None = None
    consecutive_failures: Count | None = None
    """Streak of pre-execution failures of this workflow on this target, this execution included."""
    next_allowed_execution: Instant | None = None
    block_clearance: BlockClearance | None = None
    result: WorkflowResult | None = None
    conditions: Conditions | None = None

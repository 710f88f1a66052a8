"""Closed vocabularies: failure, skip, waiting and block reasons, condition types and reasons, event reasons.

They are API: the CRD enums are generated from these classes (TH26, T16), so a constant the server refuses cannot exist.
"""

from __future__ import annotations

from enum import StrEnum


class FailureReason(StrEnum):
    """``status.failureDetails.reason`` (T-4.2). Finer detail goes to the message and to pipelineRunStatus.reason."""

    OOM_KILLED = "OOMKilled"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    FORBIDDEN = "Forbidden"
    RESOURCE_EXHAUSTED = "ResourceExhausted"
    CONFIGURATION_ERROR = "ConfigurationError"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    TASK_FAILED = "TaskFailed"
    PIPELINE_RUN_DELETED = "PipelineRunDeleted"
    CANCELLED = "Cancelled"
    PIPELINE_RUN_CREATION_FAILED = "PipelineRunCreationFailed"
    PERMISSION_DENIED = "PermissionDenied"
    UNKNOWN = "Unknown"


class SkipReason(StrEnum):
    """``status.skipDetails.reason`` (T-5); consumers switch on these strings."""

    RESOURCE_BUSY = "ResourceBusy"
    RECENTLY_REMEDIATED = "RecentlyRemediated"
    EXHAUSTED_RETRIES = "ExhaustedRetries"
    PREVIOUS_EXECUTION_FAILED = "PreviousExecutionFailed"


class WaitReason(StrEnum):
    """``status.reason`` of an object that waits (SPEC 1.1)."""

    ENGINE_UNAVAILABLE = "EngineUnavailable"
    LOCK_UNKNOWN = "LockUnknown"
    PAUSED = "Paused"
    WAITING_FOR_RELEASE = "WaitingForRelease"
    CREATE_RETRYING = "CreateRetrying"


class BlockReason(StrEnum):
    """``status.block.reason`` of a TargetLock (SPEC 1.3)."""

    EXECUTION_FAILED = "ExecutionFailed"
    CANCEL_INCOMPLETE = "CancelIncomplete"
    ORPHANED_RUN = "OrphanedRun"
    DEGRADED = "Degraded"


class LockOutcome(StrEnum):
    """``status.lastExecution.outcome`` of a TargetLock (SPEC 1.3)."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """Condition types of a WorkflowExecution (T-6, S-13.11, SPEC 12)."""

    READY = "Ready"
    FINISHED = "Finished"
    TEKTON_PIPELINE_CREATED = "TektonPipelineCreated"
    TEKTON_PIPELINE_RUNNING = "TektonPipelineRunning"
    TEKTON_PIPELINE_COMPLETE = "TektonPipelineComplete"
    AUDIT_RECORDED = "AuditRecorded"
    LOCK_ACQUIRED = "LockAcquired"
    LOCK_CONFLICT = "LockConflict"
    CANCELLING = "Cancelling"
    STALLED = "Stalled"
    STATUS_TRUNCATED = "StatusTruncated"
    PAUSED = "Paused"
    PLANNED = "Planned"
    APPROVAL_GRANTED = "ApprovalGranted"
    EXECUTING = "Executing"
    STEPS_DRAINED = "StepsDrained"
    STEP_WARNINGS = "StepWarnings"
    ROLLED_BACK = "RolledBack"
    UNKNOWN_CHILD_PHASE = "UnknownChildPhase"


class ConditionReason(StrEnum):
    """Reasons of our conditions. A failed run's reason is its FailureReason, a waiting object's its WaitReason."""

    READY = "Ready"
    NOT_READY = "NotReady"
    PIPELINE_CREATED = "PipelineCreated"
    PIPELINE_CREATION_FAILED = "PipelineCreationFailed"
    QUOTA_EXCEEDED = "QuotaExceeded"
    RBAC_DENIED = "RBACDenied"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    PIPELINE_STARTED = "PipelineStarted"
    PIPELINE_FAILED_TO_START = "PipelineFailedToStart"
    PIPELINE_SUCCEEDED = "PipelineSucceeded"
    PIPELINE_FAILED = "PipelineFailed"
    AUDIT_SUCCEEDED = "AuditSucceeded"
    AUDIT_FAILED = "AuditFailed"
    LOCK_ACQUIRED = "LockAcquired"
    LOCK_RELEASED = "LockReleased"
    HELD_BY_ANOTHER = "HeldByAnother"
    REASSERTED = "Reasserted"
    STATUS_TOO_LARGE = "StatusTooLarge"
    PAUSED_BY_ANNOTATION = "PausedByAnnotation"
    RESUMED = "Resumed"
    ANNOTATION_IGNORED = "AnnotationIgnored"
    CANCEL_INCOMPLETE = "CancelIncomplete"
    DRAINED = "Drained"
    WAITING_FOR_PODS = "WaitingForPods"


class EventReason(StrEnum):
    """Reasons of the Kubernetes Events we record (T-9, S-13.11)."""

    WORKFLOW_VALIDATION_FAILED = "WorkflowValidationFailed"
    PIPELINE_RUN_CREATED = "PipelineRunCreated"
    PIPELINE_RUN_ADOPTED = "PipelineRunAdopted"
    CREATE_FAILED = "CreateFailed"
    PHASE_TRANSITION = "PhaseTransition"
    WORKFLOW_COMPLETED = "WorkflowCompleted"
    WORKFLOW_FAILED = "WorkflowFailed"
    WORKFLOW_SKIPPED = "WorkflowSkipped"
    WORKFLOW_EXECUTION_DELETED = "WorkflowExecutionDeleted"
    LOCK_RELEASED = "LockReleased"
    LOCK_CONFLICT = "LockConflict"
    TARGET_BLOCKED = "TargetBlocked"
    BLOCK_CLEARED = "BlockCleared"
    CLEAR_BLOCK_REFUSED = "ClearBlockRefused"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    CANCEL_REQUESTED = "CancelRequested"
    CANCEL_INCOMPLETE = "CancelIncomplete"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    POD_WAITING = "PodWaiting"
    ORPHANED_RUN = "OrphanedRun"
    SERVICE_ACCOUNT_IGNORED = "ServiceAccountIgnored"
    ANNOTATION_IGNORED = "AnnotationIgnored"
    CLEANUP_FAILED = "CleanupFailed"
    ILLEGAL_TRANSITION = "IllegalTransition"

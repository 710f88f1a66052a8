"""Tekton's reasons and what they mean to us (T-4.3): a table, no substrings.

Neighbours: tekton looks reasons up here. The names are those of Tekton 1.12 (pkg/apis/pipeline/v1, pkg/pod) plus a few
that older releases and the pinned tests use. A reason that is in no table means Unknown, and the evidence decides the
rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from wfe_controller.api.reasons import FailureReason as Code


def _all(code: Code, *reasons: str) -> dict[str, Code]:
    return dict.fromkeys(reasons, code)


CODES: Mapping[str, Code] = {
    # Our own names map to themselves: causes we set, and Tekton forks that use them.
    **{code.value: code for code in Code},
    **_all(
        Code.DEADLINE_EXCEEDED,
        "PipelineRunTimeout",
        "PipelineRunTimeoutRunningFinally",
        "TaskRunTimeout",
        "TimeoutExceeded",
    ),
    **_all(
        Code.CANCELLED,
        "CancelledRunningFinally",
        "StoppedRunningFinally",
        "TaskRunCancelled",
        "PipelineRunCancelled",
        "PipelineRunCouldntCancel",
    ),
    **_all(
        Code.CONFIGURATION_ERROR,
        "CouldntGetPipeline",
        "CouldntGetTask",
        "PipelineValidationFailed",
        "ParameterMissing",
        "ParameterTypeMismatch",
        "ParamArrayIndexingInvalid",
        "ObjectParameterMissKeys",
        "InvalidParamValue",
        "InvalidPipelineResourceBindings",
        "InvalidWorkspaceBindings",
        "InvalidTaskRunSpecs",
        "PipelineInvalidGraph",
        "InvalidMatrixParameterTypes",
        "InvalidTaskResultReference",
        "InvalidPipelineResultReference",
        "RequiredWorkspaceMarkedOptional",
        "ResourceVerificationFailed",
        "CELEvaluationFailed",
        "TaskRunResolutionFailed",
        "TaskRunValidationFailed",
        "TaskValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
    ),
    **_all(
        Code.IMAGE_PULL_BACK_OFF,
        "TaskRunImagePullFailed",
        "PullImageFailed",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
    ),
    **_all(
        Code.OOM_KILLED,
        "StepOOM",
        "SidecarOOM",
        "InitContainerOOM",
    ),
    **_all(
        Code.RESOURCE_EXHAUSTED,
        "ExceededResourceQuota",
        "ExceededNodeResources",
        "PodEvicted",
        "Evicted",
        "Unschedulable",
    ),
    **_all(
        Code.TASK_FAILED,
        "StepFailed",
        "SidecarFailed",
        "InitContainerFailed",
        "TaskRunFailed",
    ),
}

GENERIC = frozenset({"", "Failed", "PipelineRunFailed", "Completed", "PipelineRunStopping", "Running", "Started"})
"""Reasons that only say that something failed: the failed TaskRun and its steps say what."""

CREATION = frozenset({"PodCreationFailed", "CreateRunFailed", "TaskRunCreationFailed", "PodAdmissionFailed"})
"""The API server refused a child. Which refusal, only the message tells; it refines the code, never the evidence."""

NEVER_STARTED_RUN = frozenset(
    {reason for reason, code in CODES.items() if code is Code.CONFIGURATION_ERROR}
    | CREATION
    | {"ExceededResourceQuota", "TaskRunImagePullFailed", "ResolvingPipelineRef", "PipelineRunPending"}
)
"""Reasons of a run without children that prove that it never got as far as a TaskRun."""

NEVER_STARTED_TASK = frozenset(
    {
        "TaskRunCancelled",
        "TaskRunTimeout",
        "TaskRunPending",
        "ResolvingTaskRef",
        "ResolvingStepActionRef",
        "InvalidParamValue",
        "TaskRunResolutionFailed",
        "TaskRunValidationFailed",
        "TaskValidationFailed",
        "ResourceVerificationFailed",
        "TaskRunImagePullFailed",
        "PullImageFailed",
        "CreateContainerConfigError",
        "PodCreationFailed",
        "PodAdmissionFailed",
        "ExceededResourceQuota",
        "ExceededNodeResources",
        "Pending",
    }
)
"""TaskRun reasons that go with a pod whose containers never started: if the recorded steps agree, that is the proof.

Not in it: Failed, PodEvicted and everything unknown, because the kubelet may drop container statuses on the way there.
"""

MADE_BY_TEKTON = frozenset(
    {"TaskRunCancelled", "TaskRunTimeout", "TaskRunImagePullFailed", "CreateContainerConfigError"}
    | {"TaskRunStopSidecarFailed", "TaskRunValidationFailed", "TaskRunResolutionFailed", "InvalidParamValue"}
)
"""``terminated.reason`` values that Tekton writes into steps itself when it ends a TaskRun (terminateStepsInPod): their
exit code 1 is made up, and so is the startedAt of a step that was still waiting (the TaskRun's creation time)."""

WAITING = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Container waiting reasons worth showing."""

WAITING_TASK = frozenset(
    {
        "ExceededNodeResources",
        "ExceededResourceQuota",
        "PullImageFailed",
        "CreateContainerConfigError",
        "ResolvingTaskRef",
        "ResolvingStepActionRef",
        "TaskRunPending",
    }
)
"""TaskRun reasons (Succeeded=Unknown) worth showing."""


def code_of(reason: str) -> Code | None:
    """The code of a Tekton reason; None when it is generic or not in the vocabulary."""
    return None if reason in GENERIC else CODES.get(reason)


def refine_creation(message: str) -> Code:
    """Which refusal a failed creation was, from the API server's words. Only the code depends on it."""
    lowered = message.lower()
    if "exceeded quota" in lowered or "resourcequota" in lowered:
        return Code.RESOURCE_EXHAUSTED
    if "serviceaccount" in lowered and "not found" in lowered:
        return Code.CONFIGURATION_ERROR  # deleted while the controller still took it for granted
    if "forbidden" in lowered or "violates podsecurity" in lowered or "denied the request" in lowered:
        return Code.FORBIDDEN
    return Code.UNKNOWN

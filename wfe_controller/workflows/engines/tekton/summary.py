"""How far the run is, in status: ``pipelineRunStatus``, the progress columns, and what its pods wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe_controller.api.reasons import FailureReason
from wfe_controller.failure.tekton import RunObservation
from wfe_controller.kube.objects import items, mapping, text
from wfe_controller.workflows.draft import Draft

_WAITED_FOR = {
    "Unschedulable": FailureReason.RESOURCE_EXHAUSTED,
    "ExceededNodeResources": FailureReason.RESOURCE_EXHAUSTED,
    "ExceededResourceQuota": FailureReason.RESOURCE_EXHAUSTED,
    "ErrImagePull": FailureReason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": FailureReason.IMAGE_PULL_BACK_OFF,
    "PullImageFailed": FailureReason.IMAGE_PULL_BACK_OFF,
    "InvalidImageName": FailureReason.IMAGE_PULL_BACK_OFF,
    "CreateContainerConfigError": FailureReason.CONFIGURATION_ERROR,
}


def summarise(draft: Draft, seen: RunObservation) -> None:
    """``pipelineRunStatus`` and the progress columns; progress never goes back."""
    draft.status["pipelineRunStatus"] = seen.status_json()
    if seen.total_tasks:
        draft.status["totalSteps"] = seen.total_tasks
        draft.status["completedSteps"] = seen.completed_tasks
        percent = 100 * seen.completed_tasks // seen.total_tasks
        before = draft.status.get("progress")
        draft.status["progress"] = max(percent, before if isinstance(before, int) else 0)


def waited_for(status: Mapping[str, Any]) -> FailureReason:
    """The reason of a run that never started, from what its pods were last seen waiting for."""
    for entry in items(mapping(status.get("pipelineRunStatus")).get("waiting")):
        reason = _WAITED_FOR.get(text(mapping(entry).get("reason")))
        if reason is not None:
            return reason
    return FailureReason.DEADLINE_EXCEEDED

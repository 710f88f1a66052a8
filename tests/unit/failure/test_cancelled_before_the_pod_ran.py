"""A run that was cancelled while its pod could not be scheduled: only the pod's last state proves that nothing ran."""

from __future__ import annotations

import pytest

from wfe_controller.failure.evidence import task_run_started

TASK_RUN = {
    "metadata": {"name": "wfe-1-remediate", "uid": "t", "creationTimestamp": "2026-11-22T14:54:19Z"},
    "status": {
        "podName": "wfe-1-remediate-pod",
        "startTime": "2026-11-22T14:54:19Z",
        "steps": [{"name": "act", "provenance": {}}],
        "conditions": [{"type": "Succeeded", "status": "False", "reason": "TaskRunCancelled"}],
    },
}
POD = {
    "metadata": {"name": "wfe-1-remediate-pod", "uid": "p", "labels": {"tekton.dev/taskRun": "wfe-1-remediate"}},
    "status": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
    },
}
RAN = {**POD, "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}}


@pytest.mark.parametrize(
    ("pods", "started"),
    [([POD], False), ([], None), ([{**POD, "metadata": {"name": "other"}}], None), ([RAN], None)],
    ids=["P:T2-its-pod-never-ran", "TH14-no-pod-no-proof", "TH14-another-pod-proves-nothing", "TH14-pod-that-failed"],
)
def test_a_step_without_a_state_is_judged_by_its_pod(pods: list[dict[str, object]], started: bool | None) -> None:
    """Seen on Tekton 1.12: the cancelled TaskRun lists its step with no state at all, and the pod is deleted."""
    assert task_run_started(TASK_RUN, pods) is started

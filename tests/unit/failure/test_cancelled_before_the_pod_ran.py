"""A run that was cancelled while its pod could not be scheduled: only the pod's last state proves that nothing ran."""

from __future__ import annotations

from typing import Any

import pytest

from wfe_controller.api.reasons import FailureReason
from wfe_controller.failure.evidence import pod_started, task_run_started
from wfe_controller.failure.tekton import observe
from wfe_controller.workflows.engines.tekton.summary import waited_for

TASK_RUN: dict[str, Any] = {
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


def test_a_task_run_whose_pod_was_never_made_started_nothing() -> None:
    """Seen on Tekton 1.12 with a quota of no pods: podName is empty, the step is listed without a state, then it is
    cancelled by our start time-out. It was judged as an execution failure and blocked its target."""
    never = {**TASK_RUN, "status": {**TASK_RUN["status"], "podName": ""}}
    assert task_run_started(never, []) is False
    assert task_run_started(never, [RAN]) is not False
    pod_in_an_earlier_attempt = {**never, "status": {**never["status"], "retriesStatus": [{"podName": "p0"}]}}
    assert task_run_started(pod_in_an_earlier_attempt, []) is None


def test_what_a_run_without_any_pod_waits_for_is_its_reason_in_the_end() -> None:
    """The status says what was waited for when the cancellation overwrites status.reason: the list keeps it."""
    task_run = {
        "metadata": {"name": "r-one", "uid": "t", "labels": {"tekton.dev/pipelineTask": "one"}},
        "status": {
            "podName": "",
            "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "ExceededResourceQuota"}],
        },
    }
    run = {
        "metadata": {"name": "r", "uid": "u"},
        "status": {"childReferences": [{"name": "r-one", "pipelineTaskName": "one"}]},
    }
    seen = observe(run, [task_run], []).status_json()
    assert [(entry.get("pod"), entry["reason"]) for entry in seen["waiting"]] == [(None, "ExceededResourceQuota")]
    assert waited_for({"pipelineRunStatus": seen}) == FailureReason.RESOURCE_EXHAUSTED


LOST = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
    "startedAt": None,
    "finishedAt": None,
}
NEVER_MADE = {"state": {"terminated": LOST}, "lastState": {}, "restartCount": 0, "imageID": "", "started": False}


@pytest.mark.parametrize(
    ("changed", "started"),
    [
        ({}, False),
        ({"containerID": "containerd://c"}, None),
        ({"imageID": "sha256:i"}, None),
        ({"started": True}, None),
        ({"restartCount": 1}, True),
        ({"state": {"terminated": {**LOST, "startedAt": "2026-11-22T16:10:50Z"}}}, True),
        ({"state": {"terminated": {**LOST, "reason": "Error"}}}, None),
    ],
    ids=["P:T2-never-made", "TH14-made", "TH14-pulled", "TH14-started", "restarted", "ran", "TH14-another-reason"],
)
def test_a_pod_that_was_deleted_while_its_image_could_not_be_pulled(
    changed: dict[str, Any], started: bool | None
) -> None:
    """Seen on a real node: our start time-out cancels the run, Tekton deletes the waiting pod, and the kubelet writes a
    made-up end, phase Failed, before the pod goes. It was judged as an execution failure and blocked its target."""
    pod = {**POD, "status": {"phase": "Failed", "containerStatuses": [{**NEVER_MADE, **changed}]}}
    assert pod_started(pod) is started


COLLECTED = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]
WAITING = [{"name": "step-act", "state": {"waiting": {"reason": "PodInitializing"}}}]


def inits(*states: str) -> list[dict[str, Any]]:
    """Statuses of Tekton's init containers."""
    known: dict[str, Any] = {
        "over": {"terminated": {"exitCode": 0, "startedAt": "2026-11-22T16:10:50Z"}},
        "ended": {"terminated": LOST},
        "waits": {"waiting": {"reason": "PodInitializing"}},
        "runs": {"running": {"startedAt": "2026-11-22T16:10:50Z"}},
    }
    return [{"name": f"init-{number}", "state": known[state]} for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("node", "status", "started"),
    [
        ("", {"phase": "Pending"}, False),
        (
            "n1",
            {"phase": "Failed", "containerStatuses": WAITING, "initContainerStatuses": inits("ended", "waits")},
            False,
        ),
        (
            "n1",
            {"phase": "Failed", "containerStatuses": WAITING, "initContainerStatuses": inits("over", "ended")},
            False,
        ),
        (
            "n1",
            {"phase": "Failed", "containerStatuses": WAITING, "initContainerStatuses": inits("waits", "waits")},
            None,
        ),
        ("n1", {"phase": "Failed", "containerStatuses": WAITING, "initContainerStatuses": inits("over", "runs")}, None),
        ("n1", {"phase": "Failed", "containerStatuses": WAITING, "initContainerStatuses": inits("over", "over")}, None),
        ("n1", {"phase": "Failed", "containerStatuses": WAITING}, None),
        ("n1", {"phase": "Failed", "containerStatuses": [NEVER_MADE]}, False),
        ("n1", {"phase": "Pending", "containerStatuses": WAITING}, None),
        ("n1", {"phase": "Pending"}, None),
        ("n1", {"phase": "Failed", "containerStatuses": WAITING, "conditions": COLLECTED}, None),
        ("n1", {"phase": "Failed", "containerStatuses": [NEVER_MADE], "conditions": COLLECTED}, None),
        ("n1", {"phase": "Pending", "containerStatuses": [{"state": {"running": {}}}]}, True),
    ],
    ids=[
        "P:T2-never-bound",
        "the-kubelet-said-so",
        "the-kubelet-said-so-after-an-init-container",
        "out-of-service-before-any-start",
        "out-of-service-while-it-was-prepared",
        "out-of-service-while-it-pulled-the-image",
        "out-of-service-before-any-report",
        "the-kubelet-said-so-for-one-it-never-made",
        "deleted-by-force",
        "deleted-by-force-before-any-report",
        "node-gone",
        "node-gone-never-made",
        "seen",
    ],
)
def test_a_pod_that_left_its_node_without_the_kubelets_word_proves_nothing(
    node: str, status: dict[str, Any], started: bool | None
) -> None:
    """The node cannot reach the API server any more; it starts the step, which acts; the API still shows the container
    waiting. The run is cancelled, Tekton deletes the pod, and somebody, or the pod garbage collector, removes it by
    force. Its last state says waiting: it was proof that nothing ever ran, and the target was not blocked. For a node
    that is tainted out of service the collector writes phase Failed and no condition (podgc, gcTerminating), so only
    the states that no kubelet leaves behind give it away."""
    assert pod_started({**POD, "spec": {"nodeName": node}, "status": status}) is started

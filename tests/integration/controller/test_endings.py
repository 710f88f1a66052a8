"""Every way a run can end that is not plain success or failure, on real Tekton."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION, Executions
from tests.support.tekton import runs_path


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    return {
        "resolutionTimeout": "6s",
        "startTimeout": "8s",
        "cancelFinallyTimeout": "3s",
        "cancelTimeout": "6s",
        "cancelDeadline": "12s",
        "startDeadline": "15s",
        "baseCooldownPeriod": "600s",
    }


def failure(wfe: Executions, name: str, timeout: float = 40) -> tuple[str, bool]:
    status = wfe.await_phase(name, timeout=timeout)
    assert status["phase"] == "Failed", status
    details = status["failureDetails"]
    return details["reason"], details["wasExecutionFailure"]


def test_cancel_by_annotation(wfe: Executions) -> None:
    """SPEC 2.5: Failed/Cancelled; a step had started, so the target is blocked."""
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    wfe.annotate(name, cancel="wrong target", cancel_by="sre")
    assert failure(wfe, name) == ("Cancelled", True)
    assert "wrong target" in wfe.status(name)["message"]
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_cancel_before_anything_started(wfe: Executions) -> None:
    """A paused object that is cancelled never acquires, blocks nothing and counts nothing."""
    target = wfe.target()
    name = wfe.create(target, annotations={"kubernaut.ai/pause": "true"})
    status = wfe.await_phase(name, "Pending")
    assert status["reason"] == "Paused"
    wfe.annotate(name, cancel="not needed any more")
    assert failure(wfe, name) == ("Cancelled", False)
    assert wfe.lock(target) is None
    assert wfe.await_phase(wfe.create(target))["phase"] == "Completed"


def test_pause_and_resume(wfe: Executions) -> None:
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    wfe.await_phase(name, "Pending")
    assert not wfe.runs(name)
    wfe.annotate(name, pause=None)
    assert wfe.await_phase(name)["phase"] == "Completed"


def test_deadline_of_an_object_that_never_starts(wfe: Executions) -> None:
    """Deadlines keep running while paused; DeadlineExceeded before the start is not counted."""
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    assert failure(wfe, name) == ("DeadlineExceeded", False)


def test_delete_while_running_cancels_waits_and_lets_go(wfe: Executions) -> None:
    """T50, TH20, BR-WE-004: the run is cancelled, its pods end, the run goes, the block stays behind."""
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    wfe.delete(name)
    eventually(lambda: wfe.gone(name), what="the object to go")
    assert not wfe.runs(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"
    eventually(lambda: "WorkflowExecutionDeleted" in wfe.events(name), what="the Event")


def test_delete_of_an_object_that_owns_nothing_needs_no_controller(wfe: Executions) -> None:
    """T54, TH2: a Skipped object has no finalizer, and deleting it leaves the holder's run alone."""
    target = wfe.target()
    holder = wfe.create(target, "busybox:hang")
    wfe.await_phase(holder, "Running")
    skipped = wfe.create(target)
    wfe.await_phase(skipped, "Skipped")
    wfe.delete(skipped)
    eventually(lambda: wfe.gone(skipped))
    assert len(wfe.runs(holder)) == 1
    assert wfe.phase(holder) == "Running"
    wfe.annotate(holder, cancel="test over")


def test_a_run_deleted_by_somebody_else_is_an_execution_failure(wfe: Executions, plane: Plane) -> None:
    """T24, TH13, P:T1, BR-WE-007: never Succeeded, never created again, the target blocked."""
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    (run,) = wfe.runs(name)
    plane.client.delete(runs_path(EXECUTION, run["metadata"]["name"]))
    assert failure(wfe, name) == ("PipelineRunDeleted", True)
    assert not wfe.runs(name)
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_a_bundle_that_does_not_exist(wfe: Executions) -> None:
    """SPEC 3: Tekton 1.12 never ends such a run; our own limit does. Pre-execution, counted, backed off."""
    target = wfe.target()
    name = wfe.create(target, f"{wfe.plane.registry}/no/such:bundle")
    assert failure(wfe, name) == ("ConfigurationError", False)
    wfe.await_released(name)
    (entry,) = wfe.lock_status(target)["workflows"]
    assert entry["consecutiveFailures"] == 1
    assert wfe.status(name)["consecutiveFailures"] == 1
    again = wfe.await_phase(wfe.create(target))
    assert again["skipDetails"]["reason"] == "RecentlyRemediated"
    other = wfe.await_phase(wfe.create(target, workflow="another"))
    assert other["phase"] == "Completed"


def test_a_pod_that_nobody_schedules(wfe: Executions) -> None:
    """P:T2: the pod's own reason stands in status while it waits, and in the failure when it never starts."""
    name = wfe.create(wfe.target(), "busybox:unschedulable")
    eventually(lambda: wfe.status(name).get("reason") == "Unschedulable", what="the reason of waiting in status")
    assert wfe.status(name)["pipelineRunStatus"]["waiting"][0]["reason"] == "Unschedulable"
    reason, executed = failure(wfe, name)
    assert (reason, executed) == ("ResourceExhausted", False)
    assert "no step started within 8 s" in wfe.status(name)["message"]


def test_an_image_that_cannot_be_pulled(wfe: Executions) -> None:
    assert failure(wfe, wfe.create(wfe.target(), "busybox:imagepull")) == ("ImagePullBackOff", False)


def test_out_of_memory(wfe: Executions) -> None:
    assert failure(wfe, wfe.create(wfe.target(), "busybox:oom")) == ("OOMKilled", True)


def test_a_foreign_run_under_our_name_is_left_alone(wfe: Executions, plane: Plane) -> None:
    """T5, T41, TH19: live and not ours is busy, with the name unknown; the hold is given back without history."""
    target = wfe.target()
    name = "wfe-" + hashlib.sha256(target.encode()).hexdigest()[:16]
    foreign = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, "namespace": EXECUTION},
        "spec": {"status": "PipelineRunPending", "pipelineRef": {"name": "whatever"}},
    }
    created = plane.client.create(runs_path(EXECUTION), foreign)
    status = wfe.await_phase(wfe.create(target))
    assert (status["phase"], status["reason"]) == ("Skipped", "ResourceBusy")
    assert status["skipDetails"]["conflictingWorkflow"]["name"] == "unknown"
    assert plane.client.get(runs_path(EXECUTION, name))["metadata"]["uid"] == created["metadata"]["uid"]
    assert "lastExecution" not in wfe.lock_status(target)
    plane.client.delete(runs_path(EXECUTION, name))
    assert wfe.await_phase(wfe.create(target))["phase"] == "Completed"


def test_pods_that_outlive_a_cancelled_run_hold_the_target(wfe: Executions, plane: Plane, kubelet: Kubelet) -> None:
    """SPEC 2.3: done is not ended. A pod with our UID that goes on holds verdict and lock; then CancelIncomplete."""
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    uid = wfe.get(name)["metadata"]["uid"]
    stray = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"stray-{name}",
            "namespace": EXECUTION,
            "labels": {"kubernaut.ai/workflow-execution-uid": uid},
            "annotations": {"test.kubelet/behaviour": "hang"},
        },
        "spec": {"containers": [{"name": "act", "image": "busybox:hang"}], "nodeName": ""},
    }
    plane.client.create(f"/api/v1/namespaces/{EXECUTION}/pods", stray)
    wfe.annotate(name, cancel="stop")
    status = wfe.await_phase(name, timeout=40)
    assert status["failureDetails"]["reason"] == "Cancelled"
    assert f"stray-{name}" in status["message"]
    wfe.await_released(name)
    block = wfe.lock_status(target)["block"]
    assert block["reason"] == "CancelIncomplete"
    assert f"stray-{name}" in block["message"]
    assert wfe.await_phase(wfe.create(target))["skipDetails"]["reason"] == "PreviousExecutionFailed"
    plane.client.delete(f"/api/v1/namespaces/{EXECUTION}/pods/stray-{name}")


def test_deleting_the_namespace_leaves_nothing_behind(wfe: Executions, plane: Plane) -> None:
    """P:U2: no manual patch; the run is cancelled and the lock let go."""
    plane.ensure_namespace("doomed")
    wfe = Executions(plane, "doomed")
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    plane.client.delete("/api/v1/namespaces/doomed")
    eventually(
        lambda: "holder" not in wfe.lock_status(target) and "block" in wfe.lock_status(target), what="the release"
    )
    eventually(
        lambda: wfe.namespace not in [n["metadata"]["name"] for n in plane.client.get("/api/v1/namespaces")["items"]],
        timeout=60,
        what="the namespace to go",
    )


def test_exhausted_after_enough_failures_in_a_row(wfe: Executions, plane: Plane) -> None:
    """T44, TH5, TH38: the streak lives on the target, not on the objects; the fifth ends it."""
    target = wfe.target()
    bad = f"{wfe.plane.registry}/no/such:bundle"
    wfe.await_phase(wfe.create(target, bad))
    eventually(lambda: wfe.lock_status(target).get("workflows"))
    lock = wfe.lock(target)
    assert lock is not None
    # The administrator brings the streak to its limit; waiting through 1+2+4+8 minutes of backoff would prove no more.
    lock["status"]["workflows"][0]["consecutiveFailures"] = 5
    plane.client.request(
        "PUT",
        f"/apis/kubernaut.ai/v1alpha1/namespaces/{lock['metadata']['namespace']}/targetlocks/{lock['metadata']['name']}/status",
        lock,
    )
    status = wfe.await_phase(wfe.create(target))
    assert status["skipDetails"]["reason"] == "ExhaustedRetries"

"""Servers go and come back while real pods run; nothing is lost, nothing runs twice."""

from __future__ import annotations

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.workloads import Workloads, sleeping, step, task, workflow

QUICK = workflow(task("one", step("true")))


def test_tekton_controller_down_and_up(wfe: Workloads, cluster: Plane) -> None:
    cluster.stop_process("tekton-controller")
    try:
        name = wfe.start(QUICK)
        eventually(lambda: wfe.runs(name), what="the run to be created")
        wfe.await_phase(name, "Running")
        assert not wfe.pods(name)
    finally:
        cluster.start_process("tekton-controller")
    assert wfe.await_phase(name, timeout=90)["phase"] == "Completed"


def test_tekton_webhook_down_and_up(wfe: Workloads, cluster: Plane) -> None:
    """SPEC 3, create errors: no answer from the webhook is retried by time; the object says so, and nothing is lost."""
    cluster.stop_process("tekton-webhook")
    try:
        name = wfe.start(QUICK)
        eventually(lambda: wfe.status(name).get("reason") == "CreateRetrying", 60, on_failure=lambda: wfe.status(name))
        assert not wfe.runs(name)
    finally:
        cluster.start_process("tekton-webhook")
    assert wfe.await_phase(name, timeout=120)["phase"] == "Completed"


def test_api_server_restarts_while_a_pod_runs(wfe: Workloads, cluster: Plane) -> None:
    name = wfe.start(sleeping(15))
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    before = wfe.status(name)["pipelineRunRef"]
    cluster.stop_process("kube-apiserver")
    cluster.start_process("kube-apiserver")
    status = wfe.await_phase(name, timeout=120)
    assert (status["phase"], status["pipelineRunRef"]) == ("Completed", before)
    assert len(wfe.pods(name)) == 1


def test_kubelet_down_while_its_pod_is_cancelled(wfe: Workloads, cluster: Plane) -> None:
    """SPEC 2.3: a node that does not answer proves nothing; the target stays held until the pod's end is confirmed."""
    name = wfe.start(sleeping(300), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    cluster.stop_process("kubelet")
    try:
        wfe.annotate(name, cancel="stop")
        eventually(lambda: wfe.runs(name)[0]["status"].get("completionTime"), 60, what="Tekton to call the run done")
        assert wfe.phase(name) == "Running"
        assert wfe.lock_status(target)["holder"]["name"] == name
    finally:
        cluster.start_process("kubelet")
    assert wfe.await_phase(name, timeout=120)["failureDetails"]["reason"] == "Cancelled"
    assert not wfe.running_pod(name)

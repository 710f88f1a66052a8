"""Servers go and come back while real pods run; nothing is lost, nothing runs twice."""

from __future__ import annotations

from hack.controlplane import Plane
from tests.support.cluster import CONTROLLER_USER
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


def test_tekton_resolvers_down_and_up(wfe: Workloads, cluster: Plane) -> None:
    """SPEC 3, resolutionTimeout: nobody fetches the bundle, so Tekton would wait for ever. Ended as never started, with
    what to look at; nothing is blocked, and another workflow runs at once when the resolvers are back."""
    cluster.stop_process("tekton-resolvers")
    try:
        status = wfe.finish(QUICK, target := wfe.target(), timeout=60)
    finally:
        cluster.start_process("tekton-resolvers")
    details = status["failureDetails"]
    assert (details["reason"], details["wasExecutionFailure"]) == ("ConfigurationError", False)
    assert "was not resolved within 15 s" in details["message"]
    assert "block" not in wfe.lock_status(target)
    assert wfe.finish(QUICK, target, workflow="another")["phase"] == "Completed"


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


def test_cancel_while_tekton_webhook_is_down(wfe: Workloads, cluster: Plane) -> None:
    """SPEC 2.5: the run cannot be told to end, since nobody admits the change. It is told as soon as it can be."""
    name = wfe.start(sleeping(300))
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    cluster.stop_process("tekton-webhook")
    try:
        wfe.annotate(name, cancel="stop")
        refused = {"verb": "patch", "resource": "pipelineruns", "user": CONTROLLER_USER}
        eventually(
            lambda: any(event["responseStatus"]["code"] >= 500 for event in cluster.audit(**refused)),
            30,
            what="a cancellation to be refused",
        )
        assert (wfe.phase(name), wfe.status(name)["reason"]) == ("Running", "Cancelled")
        assert wfe.running_pod(name)
    finally:
        cluster.start_process("tekton-webhook")
    assert wfe.await_phase(name, timeout=90)["failureDetails"]["reason"] == "Cancelled"
    assert not wfe.running_pod(name)


def test_api_server_restarts_while_a_pod_runs(wfe: Workloads, cluster: Plane) -> None:
    name = wfe.start(sleeping(15))
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    before = wfe.status(name)["pipelineRunRef"]
    cluster.stop_process("kube-apiserver")
    cluster.start_process("kube-apiserver")
    status = wfe.await_phase(name, timeout=120)
    assert (status["phase"], status["pipelineRunRef"]) == ("Completed", before)
    assert len(wfe.pods(name)) == 1

"""The plane itself: Tekton runs a bundle from the registry, pods do what they are told, outages are real."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import pytest

from hack.controlplane import Plane, Refused
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.tekton import condition, pipeline, pipeline_run, runs_path, start

NAMESPACE = "kubernaut-workflows"


@pytest.mark.parametrize(
    ("image", "status", "reason"),
    [
        ("busybox:1", "True", "Succeeded"),
        ("busybox:fail-3", "False", "Failed"),
        ("busybox:oom", "False", "Failed"),
    ],
    ids=["success", "exit-code", "out-of-memory"],
)
def test_a_run_from_a_bundle_ends_as_its_image_says(
    plane: Plane, kubelet: Kubelet, image: str, status: str, reason: str
) -> None:
    """A pipeline in an OCI registry becomes a finished PipelineRun through real Tekton."""
    bundle = plane.push_bundle("plane/runs", [pipeline(image=image)])
    name = start(plane, pipeline_run(bundle, NAMESPACE))
    run = eventually(
        lambda: (run := plane.client.get(runs_path(NAMESPACE, name))) and condition(run)["status"] != "Unknown" and run,
        what=f"{name} to finish",
        on_failure=lambda: condition(plane.client.get(runs_path(NAMESPACE, name))),
    )
    assert (condition(run)["status"], condition(run)["reason"]) == (status, reason)
    assert run["status"]["completionTime"]


def test_a_hanging_pod_runs_until_it_is_told_to_end(plane: Plane, kubelet: Kubelet) -> None:
    """The annotation of the run reaches the pod, and the test decides when and how it ends."""
    bundle = plane.push_bundle("plane/hang", [pipeline()])
    run = pipeline_run(bundle, NAMESPACE)
    run["metadata"]["annotations"] = {"test.kubelet/behaviour": "hang"}
    name = start(plane, run)

    def of_run(pod: dict[str, Any]) -> bool:
        return bool(pod["metadata"]["labels"].get("tekton.dev/pipelineRun") == name)

    eventually(lambda: any(item.startswith(f"{NAMESPACE}/{name}-") for item in kubelet.hanging()), what="a hanging pod")
    # Not at once: the pod can run before Tekton has written what it knows of the run.
    eventually(lambda: condition(plane.client.get(runs_path(NAMESPACE, name)))["reason"] == "Running")
    assert kubelet.finish(of_run, "fail:7") == 1
    eventually(
        lambda: condition(plane.client.get(runs_path(NAMESPACE, name)))["status"] == "False", what="the run to fail"
    )
    (task_run,) = plane.client.get(
        f"/apis/tekton.dev/v1/namespaces/{NAMESPACE}/taskruns?labelSelector=tekton.dev/pipelineRun={name}"
    )["items"]
    assert task_run["status"]["steps"][0]["terminated"]["exitCode"] == 7


def test_a_pod_that_nobody_schedules_stays_pending_and_says_why(plane: Plane, kubelet: Kubelet, namespace: str) -> None:
    """A rule of the test decides before anything the pod says of itself."""
    kubelet.behave(lambda pod: "unschedulable" if pod["metadata"]["namespace"] == namespace else None)
    bundle = plane.push_bundle("plane/stuck", [pipeline()])
    start(plane, pipeline_run(bundle, namespace))

    def pending() -> bool:
        pods = plane.client.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        return len(pods) == 1 and pods[0]["status"]["phase"] == "Pending" and "Unschedulable" in str(pods[0]["status"])

    assert eventually(pending)


def test_an_image_that_cannot_be_pulled_fails_the_run_at_once(plane: Plane, kubelet: Kubelet, namespace: str) -> None:
    """Tekton 1.12 gives up at the first ImagePullBackOff (its time-out for that is 0) and deletes the pod."""
    bundle = plane.push_bundle("plane/no-image", [pipeline(image="busybox:imagepull")])
    name = start(plane, pipeline_run(bundle, namespace))
    eventually(lambda: condition(plane.client.get(runs_path(namespace, name)))["status"] == "False")
    (task_run,) = plane.client.get(f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns")["items"]
    assert condition(task_run)["reason"] == "TaskRunImagePullFailed"


def test_the_api_server_can_go_away_and_come_back(plane: Plane, namespace: str) -> None:
    """An outage closes the port; the same server, data and tokens are there afterwards."""
    plane.client.get(f"/api/v1/namespaces/{namespace}")
    plane.stop_process("kube-apiserver")
    try:
        with pytest.raises((OSError, HTTPException)):
            plane.client.get(f"/api/v1/namespaces/{namespace}")
    finally:
        plane.start_process("kube-apiserver")
    assert plane.client.get(f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace


def test_tekton_can_be_killed_and_comes_back_working(plane: Plane, kubelet: Kubelet) -> None:
    """A run created while Tekton is down has no status until Tekton is back."""
    bundle = plane.push_bundle("plane/outage", [pipeline()])
    plane.stop_process("tekton-controller", kill=True)
    try:
        name = start(plane, pipeline_run(bundle, NAMESPACE))
        assert "conditions" not in plane.client.get(runs_path(NAMESPACE, name)).get("status", {})
    finally:
        plane.start_process("tekton-controller")
    eventually(
        lambda: condition(plane.client.get(runs_path(NAMESPACE, name)))["status"] == "True", what="the run to succeed"
    )


def test_a_service_account_has_only_what_is_bound(plane: Plane, namespace: str) -> None:
    """kubeconfig_for gives a real token: the account may nothing until a RoleBinding says so."""
    kubeconfig = plane.kubeconfig_for("default", namespace)
    arguments = ("auth", "can-i", "get", "pods", "-n", namespace)
    assert plane.kubectl(*arguments, kubeconfig=kubeconfig).stdout.strip() == "no"
    plane.kubectl("create", "role", "viewer", "-n", namespace, "--verb=get", "--resource=pods", check=True)
    account = f"--serviceaccount={namespace}:default"
    plane.kubectl("create", "rolebinding", "viewer", "-n", namespace, "--role=viewer", account, check=True)
    eventually(lambda: plane.kubectl(*arguments, kubeconfig=kubeconfig).stdout.strip() == "yes")


def test_a_refusal_carries_the_servers_message(plane: Plane) -> None:
    """What the API server says reaches the test's output."""
    with pytest.raises(Refused, match='namespaces "there-is-none" not found') as caught:
        plane.client.get("/api/v1/namespaces/there-is-none")
    assert caught.value.status == 404


def test_a_paused_server_keeps_its_port_and_answers_nothing(plane: Plane) -> None:
    """A hung server is not a dead one: connections open, no answer comes, and afterwards it is as before."""
    plane.pause_process("kube-apiserver")
    try:
        assert plane.processes.records["kube-apiserver"].alive
        assert not plane.healthy("kube-apiserver")
    finally:
        plane.resume_process("kube-apiserver")
    assert plane.healthy("kube-apiserver")


def test_the_audit_log_counts_requests(plane: Plane, kubelet: Kubelet) -> None:
    """Tests of write budgets and of "created once" ask the API server, not the client under test."""
    name = start(plane, pipeline_run(plane.push_bundle("plane/audit", [pipeline()]), NAMESPACE))
    asked = {"resource": "pipelineruns", "name": name, "verb": "create"}
    eventually(lambda: [event["user"]["username"] for event in plane.audit(**asked)] == ["admin"])
    assert plane.audit(**asked, user="nobody") == []

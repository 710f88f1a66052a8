"""explain while a run exists: each situation is produced, its ONE next command is run, and the situation ends."""

from __future__ import annotations

from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME, Executions
from tests.support.plugin import Plugin


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    """Long enough to look at a pod that does not start, short enough to wait for the end of its time."""
    return {"startTimeout": "25s"}


def hold(wfe: Executions, image: str = "busybox:hang", **spec: object) -> tuple[str, str]:
    """(name, target) of one whose first step runs."""
    target = wfe.target()
    name = wfe.create(target, image, **spec)
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"), what="the first step")
    return name, target


def test_running(wfe: Executions, kubectl: Plugin, kubelet: Kubelet) -> None:
    name, target = hold(wfe)
    told = kubectl.await_situation(name, "running")
    assert told["target"] == target
    assert told["holder"] == {
        "namespace": wfe.namespace,
        "name": name,
        "uid": wfe.get(name)["metadata"]["uid"],
        "since": told["holder"]["since"],
    }
    assert told["waitingFor"].startswith("step act of task remediate, for ")
    assert (told["since"], told["endsAt"]) == (wfe.status(name)["startTime"], wfe.status(name)["deadlineAt"])
    assert any("PipelineRun" in line and "Running" in line for line in told["evidence"])
    assert told["next"]["command"] == f"kubectl wfe watch {name} -n {wfe.namespace}"
    watching = kubectl.start(told["next"]["command"])
    try:
        assert watching.stdout is not None
        assert "Running" in watching.stdout.readline()
        kubelet.finish(lambda pod: pod["metadata"]["annotations"].get("kubernaut.ai/workflow-execution") == name)
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert watching.returncode == 0, err
    assert "Completed" in out
    assert kubectl.explain(name)["situation"] == "completed"


def test_image_that_cannot_be_pulled(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """ErrImagePull, as the kubelet says first; Tekton 1.12 ends the run by itself at its later ImagePullBackOff."""
    name = wfe.create(wfe.target(), "busybox:unschedulable")
    eventually(lambda: wfe.status(name).get("reason") == "Unschedulable")
    (pod,) = (
        item
        for item in plane.client.get(f"/api/v1/namespaces/{EXECUTION}/pods")["items"]
        if item["metadata"].get("annotations", {}).get("kubernaut.ai/workflow-execution") == name
    )
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    containers = [
        {"name": c["name"], "image": c["image"], "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
        for c in pod["spec"]["containers"]
    ]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
    plane.client.merge_patch(
        f"/api/v1/namespaces/{EXECUTION}/pods/{pod['metadata']['name']}/status",
        {"status": {"phase": "Pending", "conditions": [scheduled], "containerStatuses": containers}},
    )
    told = kubectl.await_situation(name, "image-pull")
    assert any("ErrImagePull: not found" in line for line in told["evidence"])
    assert told["changed"] == "nothing yet: no step has started"
    assert told["holder"]["name"] == name
    assert " cancel " in told["next"]["command"]
    kubectl.follow(told)
    ended = kubectl.await_situation(name, "cancelled-before-start")
    assert ended["changed"] == "nothing: no step ever started"
    assert "looked at it by hand" in " ".join(ended["evidence"])


def test_pod_that_nobody_schedules(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target(), "busybox:unschedulable")
    told = kubectl.await_situation(name, "unschedulable")
    assert any("Unschedulable" in line for line in told["evidence"])
    assert told["waitingFor"] == "a node with room, or a quota"
    assert " watch " in told["next"]["command"]
    said = kubectl.follow(told)
    assert "Failed" in said.stdout
    assert kubectl.explain(name)["situation"] in ("failed-before-start", "never-started")


def test_pods_that_outlive_their_pipeline(wfe: Executions, kubectl: Plugin, plane: Plane, kubelet: Kubelet) -> None:
    """The pipeline is done, a pod with our UID is not: the target stays held, and explain names the pod."""
    name, _ = hold(wfe)
    stray = f"stray-{name}"
    plane.client.create(
        f"/api/v1/namespaces/{EXECUTION}/pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": stray,
                "namespace": EXECUTION,
                "labels": {"kubernaut.ai/workflow-execution-uid": wfe.get(name)["metadata"]["uid"]},
                "annotations": {"test.kubelet/behaviour": "hang"},
            },
            "spec": {"containers": [{"name": "act", "image": "busybox:hang"}]},
        },
    )
    kubelet.finish(lambda pod: pod["metadata"]["annotations"].get("kubernaut.ai/workflow-execution") == name)
    told = kubectl.await_situation(name, "draining")
    assert told["waitingFor"] == stray
    assert told["holder"]["name"] == name
    assert "may still change the target" in told["changed"]

    def impatient() -> bool:
        told.update(kubectl.explain(name))
        return "delete pod" in told["next"]["command"]

    eventually(impatient, what="a command that ends the pod")
    assert told["next"]["command"] == f"kubectl -n {EXECUTION} delete pod {stray}"
    kubectl.follow(told)
    assert kubectl.await_situation(name, "completed")["holder"] is None


def pod_of(plane: Plane, name: str) -> str:
    """The path of the only pod of an execution."""
    path = f"/api/v1/namespaces/{EXECUTION}/pods"
    (pod,) = (
        item["metadata"]["name"]
        for item in plane.client.get(path)["items"]
        if item["metadata"].get("annotations", {}).get("kubernaut.ai/workflow-execution") == name
    )
    return f"{path}/{pod}"


def test_cancelling(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """Its pod has a finalizer of somebody else for a while, which keeps the cancellation going."""
    name, target = hold(wfe)
    pod = pod_of(plane, name)
    plane.client.merge_patch(pod, {"metadata": {"finalizers": ["example.com/slow"]}})
    try:
        said = kubectl("cancel", name, "--reason", "wrong target")
        assert said.code == 0, said
        told = kubectl.await_situation(name, "cancelling")
        assert told["evidence"][0] == "cancelled by admin: wrong target"
        assert told["waitingFor"] == f"its pods: {pod.rpartition('/')[2]}"
        assert told["endsAt"] == wfe.status(name)["deadlineAt"]
        assert told["next"]["command"] == f"kubectl wfe watch {name} -n {wfe.namespace}"
        watching = kubectl.start(told["next"]["command"])
        assert watching.stdout is not None
        assert "Cancelled: cancelled by admin" in watching.stdout.readline()
    finally:
        plane.client.merge_patch(pod, {"metadata": {"finalizers": None}})
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, "Failed" in out) == (0, True), err
    ended = kubectl.explain(name)
    assert ended["situation"] == "cancelled"
    assert ended["next"]["command"].startswith(f"kubectl wfe clear-block {target} --reason ")
    kubectl.follow(ended)
    assert "block" not in wfe.lock_status(target)
    free = kubectl.explain(name)
    assert "retry" in free["next"]["command"]
    assert any("its block was cleared by admin" in line for line in free["evidence"])


def test_deleting(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """Its pod has a finalizer of somebody else for a while, which keeps the deletion going."""
    name, target = hold(wfe)
    pod = pod_of(plane, name)
    plane.client.merge_patch(pod, {"metadata": {"finalizers": ["example.com/slow"]}})
    try:
        wfe.delete(name)
        told = kubectl.await_situation(name, "deleting")
        assert "nothing is rolled back" in told["headline"]
        assert told["holder"]["name"] == name
        assert told["next"]["command"] == f"kubectl wfe watch {name} -n {wfe.namespace}"
        watching = kubectl.start(told["next"]["command"])
        assert watching.stdout is not None
        assert "Terminating" in watching.stdout.readline()
    finally:
        plane.client.merge_patch(pod, {"metadata": {"finalizers": None}})
    _, said = watching.communicate(timeout=60)
    assert (watching.returncode, f"{name} is gone" in said) == (0, True), said
    told = kubectl.explain(name)
    assert (told["situation"], told["target"]) == ("gone-blocking", target)


def test_deletion_held_by_a_finalizer_of_others(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    name = wfe.create(wfe.target())
    wfe.await_phase(name, "Completed")
    wfe.await_released(name)
    plane.client.merge_patch(wfe.path(name), {"metadata": {"finalizers": ["example.com/audit"]}})
    wfe.delete(name)
    told = kubectl.explain(name)
    assert told["situation"] == "deletion-held"
    assert "example.com/audit" in told["headline"]
    assert told["waitingFor"] == "the owner of the finalizer example.com/audit"
    kubectl.follow(told)
    eventually(lambda: wfe.gone(name), what="the object to go")


def test_lock_in_other_hands(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """Two live executions on one target, as a second installation would make it: the lock says the other's name."""
    name, target = hold(wfe)
    other, _ = hold(wfe)
    lock = wfe.lock(target)
    assert lock is not None
    lock["status"]["holder"].update(name=other, uid=wfe.get(other)["metadata"]["uid"])
    path = f"{API}/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}/status"
    plane.client.request("PUT", path, lock)
    told = kubectl.await_situation(name, "lock-conflict")
    assert told["holder"]["name"] == other
    assert other in told["evidence"][0]
    assert f"cancel {name}" in told["next"]["command"]
    kubectl.follow(told)
    kubectl.await_situation(name, "cancelled", "cancel-incomplete")
    kubectl("cancel", other, "--reason", "the test is over")

"""explain when no controller works, or one is frozen: it says so first, and how to start one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.executions import API, HOME, Executions
from tests.support.plugin import Plugin
from tests.support.replicas import LEASE, ControllerProcess, Controllers

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{HOME}/deployments"
NAME = "workflowexecution-controller"
CONFIG: dict[str, Any] = {
    "execution": {"pollInterval": "2s", "sweepInterval": "2s", "cooldownPeriod": "0s"},
    "client": {"qps": 0},
}


@pytest.fixture
def deployment(plane: Plane) -> Iterator[None]:
    """The controller's Deployment, scaled to 0; nothing runs its pods here, a process stands for them."""
    labels = {"app": "controller-under-test"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": HOME},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "controller", "image": "wfe-controller:test"}]},
            },
        },
    }
    plane.client.create(DEPLOYMENTS, body)
    yield
    plane.client.delete(f"{DEPLOYMENTS}/{NAME}")


def replicas(plane: Plane) -> int:
    return int(plane.client.get(f"{DEPLOYMENTS}/{NAME}")["spec"]["replicas"])


@pytest.fixture
def stopped(controllers: Controllers) -> ControllerProcess:
    """A controller that led once and has ended cleanly."""
    controller = controllers(CONFIG)
    controllers.leader()
    assert controller.terminate() == 0
    return controller


@pytest.mark.usefixtures("deployment")
def test_nobody_leads(executions: Executions, kubectl: Plugin, plane: Plane, stopped: ControllerProcess) -> None:
    """The Lease is free and the Deployment is scaled to 0: scale it."""
    name = executions.create(executions.target())
    told = kubectl.explain(name)
    assert told["situation"] == "no-leader"
    assert told["headline"] == "not looked at yet, and no controller is at work, so nothing goes on"
    assert told["evidence"] == ["the Lease is free: the last controller has ended"]
    assert told["next"]["command"] == f"kubectl -n {HOME} scale deployment/{NAME} --replicas=2"
    kubectl.follow(told)
    assert replicas(plane) == 2
    stopped.start()
    assert executions.await_phase(name, timeout=60)["phase"] == "Completed"
    assert kubectl.explain(name)["situation"] == "completed"


def test_no_deployment(executions: Executions, kubectl: Plugin, plane: Plane, stopped: ControllerProcess) -> None:
    """On a laptop the controller is a process of one's own: the command runs it."""
    name = executions.create(executions.target())
    told = kubectl.explain(name)
    assert (told["situation"], told["next"]["command"]) == ("no-leader", "wfe-controller run")
    assert f"no Deployment {NAME} in {HOME}" in told["next"]["why"]
    running = kubectl.start(told["next"]["command"])
    try:
        assert executions.await_phase(name, timeout=60)["phase"] == "Completed"
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 0


@pytest.mark.usefixtures("deployment")
def test_a_leader_that_went_silent(
    executions: Executions, kubectl: Plugin, plane: Plane, controllers: Controllers
) -> None:
    """Frozen with the Lease in its hands while an execution runs: restarting it is safe, and is the command."""
    controller = controllers(CONFIG)
    controllers.leader()
    target = executions.target()
    name = executions.create(target, "busybox:hang")
    eventually(lambda: executions.condition(name, "TektonPipelineRunning"))
    holder = plane.client.get(LEASE)["spec"]["holderIdentity"]
    plane.client.merge_patch(f"{DEPLOYMENTS}/{NAME}", {"spec": {"replicas": 1}})
    plane.processes.signal(controller.name, signal.SIGSTOP)
    told = kubectl.await_situation(name, "no-leader")
    assert "in phase Running" in told["headline"]
    assert told["evidence"][0].startswith(f"the Lease is held by {holder}, which does not renew it: last at ")
    assert told["holder"]["name"] == name
    assert told["next"]["command"] == f"kubectl -n {HOME} rollout restart deployment/{NAME}"
    kubectl.follow(told)
    annotations = plane.client.get(f"{DEPLOYMENTS}/{NAME}")["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations
    controller.kill()
    controller.start()
    assert kubectl.await_situation(name, "running", "starting")["holder"]["name"] == name
    executions.annotate(name, cancel="the test is over")


def test_just_created(executions: Executions, kubectl: Plugin, plane: Plane, controllers: Controllers) -> None:
    """A leader whose Lease is still fresh has not looked yet: that is no reason to worry, watch it."""
    controller = controllers({**CONFIG, "controller": {"leaseDuration": "30s", "renewDeadline": "20s"}})
    controllers.leader()
    plane.processes.signal(controller.name, signal.SIGSTOP)
    try:
        name = executions.create(executions.target())
        told = kubectl.explain(name)
    finally:
        plane.processes.signal(controller.name, signal.SIGCONT)
    assert told["situation"] == "not-seen"
    assert "the controller has not looked at it yet" in told["headline"]
    assert "Completed" in kubectl.follow(told).stdout
    assert kubectl.explain(name)["situation"] == "completed"


def test_namespace_that_nobody_watches(
    executions: Executions, kubectl: Plugin, plane: Plane, controllers: Controllers
) -> None:
    """Seen by nobody although a controller leads; the command shows its log, the cure is its configuration."""
    controllers({**CONFIG, "controller": {"watchNamespaces": [HOME]}})
    controllers.leader()
    name = executions.create(executions.target())
    told = kubectl.await_situation(name, "not-watched", timeout=60)
    assert told["next"]["command"] == f"kubectl -n {HOME} logs deployment/{NAME} --since=10m"
    assert "controller.watchNamespaces" in told["next"]["why"]


def test_waiting_for_a_release(executions: Executions, kubectl: Plugin, plane: Plane, controllers: Controllers) -> None:
    """A holder that has ended and is not released yet, written as a controller writes it before it dies."""
    controller = controllers({**CONFIG, "controller": {"leaseDuration": "30s", "renewDeadline": "20s"}})
    controllers.leader()
    target = executions.target()
    first = executions.create(target)
    executions.await_phase(first, "Completed")
    executions.await_released(first)
    plane.processes.signal(controller.name, signal.SIGSTOP)
    try:
        lock = executions.lock(target)
        assert lock is not None
        uid = executions.get(first)["metadata"]["uid"]
        lock["status"]["holder"] = {
            "uid": uid,
            "name": first,
            "namespace": executions.namespace,
            "engine": "tekton",
            "acquiredAt": executions.status(first)["startTime"],
        }
        path = f"{API}/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}/status"
        plane.client.request("PUT", path, lock)
        name = executions.create(target, workflow="another")
        body = executions.get(name)
        said = f"the target is still held by {executions.namespace}/{first}, which has ended; it is being released"
        body["status"] = {
            "phase": "Pending",
            "reason": "WaitingForRelease",
            "message": said,
            "executionEngine": "tekton",
            "observedGeneration": 1,
        }
        plane.client.request("PUT", f"{executions.path(name)}/status", body)
        told = kubectl.explain(name)
    finally:
        plane.processes.signal(controller.name, signal.SIGCONT)
    assert told["situation"] == "waiting-for-release"
    assert (told["holder"]["name"], told["waitingFor"]) == (first, said)
    assert "Completed" in kubectl.follow(told).stdout


def test_what_may_not_be_read_is_said(executions: Executions, plane: Plane, kubectl: Plugin, tmp_path: Path) -> None:
    """A reader of executions without any other right: nothing is guessed about the lock, the Lease and the run."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{executions.namespace}"
    rules = [{"apiGroups": ["kubernaut.ai"], "resources": ["workflowexecutions"], "verbs": ["get", "list"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}}
    plane.client.create(f"{path}/roles", {**role, "rules": rules})
    plane.client.create(
        f"{path}/rolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
        },
    )
    name = executions.create(executions.target())
    bob = Plugin(tmp_path / "bob", plane.kubectl_path, plane.kubeconfig_for_user("bob"), executions.namespace)

    def told() -> Any:
        said = bob("explain", name, "-o", "json")
        assert said.code == 0, said
        return json.loads(said.stdout)

    found = eventually(lambda: told(), what="the binding to be in force")
    assert "holder" not in found
    assert found["situation"] == "not-seen"
    unread = " ".join(found["unread"])
    for what in ("TargetLock", "Lease", "PipelineRun", "taskruns", "pods", "Events"):
        assert what in unread
    assert unread.count("forbidden") >= 6

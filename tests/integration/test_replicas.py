"""The controller as processes on a real server: one request's way, a clean exit, a killed leader."""

from __future__ import annotations

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.replicas import LEASE, Controllers, executions_path, phase, workflow_execution
from tests.support.tekton import pipeline

RUNS = "kubernaut-workflows"
LOCKS = "/apis/kubernaut.ai/v1alpha1/namespaces/kubernaut-system/targetlocks"


def test_one_request_becomes_one_run_and_a_clean_exit_gives_the_lease_back(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """The thinnest true path under the generated RBAC: no right is missing, one run, the target is free again."""
    controller = controllers()
    bundle = plane.push_bundle("controller/one", [pipeline()])
    target = f"{namespace}/deployment/web"
    plane.client.create(executions_path(namespace), workflow_execution(namespace, "one", target, bundle))
    eventually(
        lambda: phase(plane, namespace, "one") == "Completed",
        on_failure=lambda: plane.client.get(executions_path(namespace, "one")).get("status"),
    )
    run = plane.client.get(executions_path(namespace, "one"))["status"]["pipelineRunRef"]
    created = {"resource": "pipelineruns", "verb": "create", "namespace": RUNS, "name": run["name"]}
    assert len(plane.audit(**created)) == 1

    def lock_is_free() -> bool:
        (lock,) = (item for item in plane.client.get(LOCKS)["items"] if item["spec"]["target"] == target)
        return "holder" not in lock["status"] and lock["status"]["lastExecution"]["outcome"] == "Completed"

    eventually(lock_is_free)
    assert controller.get("/readyz")[0] == 200
    assert controller.terminate() == 0
    assert not plane.client.get(LEASE)["spec"].get("holderIdentity")
    refused = [line for line in controller.log_lines() if "forbidden" in str(line).lower()]
    assert refused == []


def test_a_killed_leader_never_means_a_second_run(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """SIGKILL in the middle of a run: the other replica takes over and sees the same run to its end."""
    controllers()
    controllers()
    kubelet.behave(lambda pod: "hang")
    bundle = plane.push_bundle("controller/two", [pipeline()])
    path = executions_path(namespace, "two")
    plane.client.create(
        executions_path(namespace), workflow_execution(namespace, "two", f"{namespace}/deployment/web", bundle)
    )
    eventually(lambda: phase(plane, namespace, "two") == "Running" and len(kubelet.hanging()) == 1)
    before = plane.client.get(path)["status"]["pipelineRunRef"]
    leader = controllers.leader()
    leader.kill()
    successor = controllers.leader()
    assert successor is not leader
    assert kubelet.finish(lambda pod: True) == 1
    eventually(lambda: phase(plane, namespace, "two") == "Completed", on_failure=lambda: successor.log[-3000:])
    assert plane.client.get(path)["status"]["pipelineRunRef"] == before
    created = {"resource": "pipelineruns", "verb": "create", "namespace": RUNS, "name": before["name"]}
    assert len(plane.audit(**created)) == 1

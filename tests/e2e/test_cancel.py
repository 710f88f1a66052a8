"""A person stops a run whose pod is real: nothing of it is left when the target is free."""

from __future__ import annotations

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.workloads import Workloads, sleeping, step, task, workflow


def running(wfe: Workloads, target: str, **spec: object) -> str:
    name = wfe.start(sleeping(300), target, **spec)
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    return name


def test_cancel_by_annotation(wfe: Workloads) -> None:
    """SPEC 2.5: Failed/Cancelled once the pod is at its end; it had started, so the target is blocked."""
    name = running(wfe, target := wfe.target())
    wfe.annotate(name, cancel="wrong target", cancel_by="sre")
    status = wfe.await_phase(name, timeout=120)
    details = status["failureDetails"]
    assert (details["reason"], details["wasExecutionFailure"]) == ("Cancelled", True)
    assert not wfe.running_pod(name)
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_delete_while_the_pod_runs(wfe: Workloads, cluster: Plane) -> None:
    """BR-WE-004, T50: the object goes after its run and its pod."""
    name = running(wfe, target := wfe.target())
    uid = wfe.get(name)["metadata"]["uid"]
    wfe.delete(name)
    eventually(lambda: wfe.gone(name), 120, what="the object to go")
    assert not wfe.runs(name)
    selector = f"labelSelector=kubernaut.ai/workflow-execution-uid%3D{uid}"
    pods = cluster.client.get(f"/api/v1/namespaces/kubernaut-workflows/pods?{selector}")["items"]
    assert all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_delete_the_namespace_while_the_pod_runs(cluster: Plane, wfe: Workloads) -> None:
    """P:U2: no patch by hand; the namespace goes, the run goes, the block stays."""
    cluster.ensure_namespace(doomed := f"{wfe.namespace}-doomed")
    other = Workloads(cluster, doomed)
    name = running(other, target := other.target())
    cluster.client.delete(f"/api/v1/namespaces/{doomed}")
    listed = "/api/v1/namespaces"
    eventually(lambda: doomed not in [item["metadata"]["name"] for item in cluster.client.get(listed)["items"]], 150)
    assert not other.runs(name)
    assert other.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_a_pod_that_takes_its_time_holds_the_target(wfe: Workloads) -> None:
    """SPEC 2.3: Tekton says done while the pod still runs; until the pod is at its end there is no verdict. A second
    cancellation meanwhile finds nothing that could be cancelled (the webhook would refuse it) and changes nothing."""
    deaf = workflow(task("deaf", step("trap '' TERM; sleep 300 & wait; wait; sleep 300")))
    name = wfe.start(deaf, target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    wfe.annotate(name, cancel="first")
    eventually(lambda: wfe.runs(name)[0]["status"].get("completionTime"), 60, what="Tekton to call the run done")
    wfe.annotate(name, cancel="second")
    seen: set[tuple[str, bool]] = set()

    def ended() -> bool:
        seen.add((wfe.phase(name), wfe.running_pod(name)))
        return wfe.phase(name) == "Failed"

    eventually(ended, 120, what="the verdict")
    assert ("Running", True) in seen, "the run was done, the pod was not, and there was no verdict"
    assert ("Failed", True) not in seen
    assert "first" in wfe.status(name)["failureDetails"]["message"]
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"

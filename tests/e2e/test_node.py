"""The node stops answering: the API server then shows pods as they were, not as they are, and nothing may rest on it.

The kubelet of the one node is stopped; the containers go on, our own replicas among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hack.controlplane import Plane
from tests.support.cluster import Controller
from tests.support.eventually import eventually
from tests.support.workloads import Workloads, sleeping

Object = dict[str, Any]
CONDEMNED = "e2e.kubernaut.ai/condemned"


class Node:
    """The node as the API server sees it."""

    def __init__(self, cluster: Plane) -> None:
        self._cluster = cluster

    def _seen(self) -> Object:
        (found,) = self._cluster.client.get("/api/v1/nodes")["items"]
        return dict(found)

    def ready(self) -> str:
        """True, False, or Unknown once it has been silent for too long."""
        return next(str(item["status"]) for item in self._seen()["status"]["conditions"] if item["type"] == "Ready")

    def clear(self) -> None:
        """Tell every pod there to go. With one node nobody else does: if all are silent, it must be the network."""
        self._taint(lambda taints: [*taints, {"key": CONDEMNED, "effect": "NoExecute"}])

    def pardon(self) -> None:
        self._taint(lambda taints: [taint for taint in taints if taint["key"] != CONDEMNED])

    def open(self) -> bool:
        """Whether new pods may come."""
        return self.ready() == "True" and not self._seen()["spec"].get("taints")

    def _taint(self, change: Callable[[list[Object]], list[Object]]) -> None:
        seen = self._seen()
        patch = {
            # Others write this list too.
            "metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]},
            "spec": {"taints": change(seen["spec"].get("taints") or [])},
        }
        self._cluster.client.merge_patch(f"/api/v1/nodes/{seen['metadata']['name']}", patch)


@pytest.fixture
def silence(cluster: Plane, controller: Controller) -> Iterator[Callable[[], Node]]:
    """Call it to stop the kubelet and wait until the node is not ready; afterwards everything is as before."""
    node = Node(cluster)

    def begin() -> Node:
        cluster.stop_process("kubelet")
        eventually(lambda: node.ready() == "Unknown", 90, what="the node to be given up")
        return node

    yield begin
    cluster.start_process("kubelet")
    eventually(lambda: node.ready() == "True", 60, what="the node to be back")
    node.pardon()
    eventually(node.open, 60, what="the node to be open")
    # Our replicas may have been told to go too; they can only do so now.
    eventually(lambda: not [pod for pod in controller.pods() if "deletionTimestamp" in pod["metadata"]], 90)
    controller.settle()


def test_a_silent_node_comes_back(wfe: Workloads, cluster: Plane, silence: Callable[[], Node]) -> None:
    """Issue 4, node not ready: the work ends while nobody can see it. There is no verdict until somebody can, and then
    it is that of the work."""
    name = wfe.start(sleeping(15), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    before = wfe.status(name)["pipelineRunRef"]
    node = silence()
    assert wfe.phase(name) == "Running"
    assert wfe.lock_status(target)["holder"]["name"] == name
    rival = wfe.finish(sleeping(1), target)
    assert rival["skipDetails"]["reason"] == "ResourceBusy"
    cluster.start_process("kubelet")
    eventually(lambda: node.ready() == "True", 60, what="the node to be back")
    status = wfe.await_phase(name, timeout=90)
    assert (status["phase"], status["pipelineRunRef"]) == ("Completed", before)
    assert len(wfe.pods(name)) == 1


def test_pods_are_cleared_from_a_silent_node(wfe: Workloads, cluster: Plane, silence: Callable[[], Node]) -> None:
    """SPEC 2.3: a pod that the control plane has given up may still act. It holds the target until its node says that
    it has ended; then that is an execution failure, and the target is blocked."""
    name = wfe.start(sleeping(300), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    node = silence()
    node.clear()
    eventually(
        lambda: all("deletionTimestamp" in pod["metadata"] for pod in wfe.pods(name)), 60, what="the pod to be given up"
    )
    assert wfe.pods(name), "it is told to go, but it cannot be gone"
    assert wfe.phase(name) == "Running"
    assert wfe.lock_status(target)["holder"]["name"] == name
    cluster.start_process("kubelet")
    eventually(lambda: node.ready() == "True", 60, what="the node to be back")
    node.pardon()
    status = wfe.await_phase(name, timeout=150)
    assert status["phase"] == "Failed"
    assert status["failureDetails"]["wasExecutionFailure"] is True
    assert not wfe.running_pod(name)
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"
    assert wfe.finish(sleeping(1), target)["skipDetails"]["reason"] == "PreviousExecutionFailed"


def test_cancelled_while_the_kubelet_is_away(wfe: Workloads, cluster: Plane) -> None:
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

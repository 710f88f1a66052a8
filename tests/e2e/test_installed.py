"""The Deployment as shipped: rolled, scaled, confined, while runs are in flight."""

from __future__ import annotations

import json

from hack.controlplane import Plane
from hack.controlplane.plane import REPOSITORY
from tests.support.cluster import HOME, Controller
from tests.support.eventually import eventually
from tests.support.workloads import Workloads, sleeping


def test_runs_under_restricted_pod_security(cluster: Plane, controller: Controller) -> None:
    """SPEC 12: the namespace enforces restricted, and both replicas are admitted and ready."""
    labels = cluster.client.get(f"/api/v1/namespaces/{HOME}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = controller.pods()
    assert len(pods) == 2
    for pod in pods:
        assert pod["metadata"]["namespace"] == HOME
        assert {"type": "Ready", "status": "True"}.items() <= next(
            item for item in pod["status"]["conditions"] if item["type"] == "Ready"
        ).items()


def test_rolling_update_with_runs_in_flight(wfe: Workloads, controller: Controller) -> None:
    """I-56, SPEC 8: every run is brought to its end by the new pods; none is started twice, none is lost."""
    names = [wfe.start(sleeping(20)) for _ in range(3)]
    for name in names:
        eventually(lambda name=name: wfe.running_pod(name), 60, what="the pods to run")  # type: ignore[misc]
    before = {name: wfe.status(name)["pipelineRunRef"]["uid"] for name in names}
    controller.roll_out()
    assert [wfe.await_phase(name, timeout=90)["phase"] for name in names] == ["Completed"] * 3
    assert {name: wfe.status(name)["pipelineRunRef"]["uid"] for name in names} == before
    assert all(len(wfe.pods(name)) == 1 for name in names)
    assert not controller.ends()


def test_scale_to_zero_and_back(wfe: Workloads, controller: Controller) -> None:
    """A run that ends while nobody looks, and a request that is made then: both are served afterwards."""
    name = wfe.start(sleeping(5), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    controller.scale(0)
    try:
        eventually(lambda: not wfe.running_pod(name), 60, what="the pod to end")
        late = wfe.start(sleeping(1))
        assert wfe.phase(name) == "Running"
        assert wfe.lock_status(target)["holder"]["name"] == name
    finally:
        controller.scale(2)
    assert wfe.await_phase(name, timeout=90)["phase"] == "Completed"
    assert wfe.await_phase(late, timeout=90)["phase"] == "Completed"


def test_upgrade_of_the_crds_in_place(wfe: Workloads, cluster: Plane) -> None:
    """Applying the manifests again, CRDs and all, while a run is in flight changes nothing for it."""
    name = wfe.start(sleeping(8))
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    crds = REPOSITORY / "manifests" / "crds"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(crds), check=True)
    extra = [{"op": "add", "path": "/metadata/labels", "value": {"e2e.kubernaut.ai/upgraded": "true"}}]
    for crd in ("workflowexecutions", "targetlocks"):
        patch = ("patch", "crd", f"{crd}.kubernaut.ai", "--type=json", "--patch", json.dumps(extra))
        cluster.kubectl(*patch, check=True)
    assert wfe.await_phase(name, timeout=60)["phase"] == "Completed"
    assert wfe.finish(sleeping(1))["phase"] == "Completed"

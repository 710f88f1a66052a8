"""The Deployment as shipped: rolled, scaled, confined, while runs are in flight."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.controlplane import Plane, Refused
from hack.controlplane.plane import REPOSITORY
from tests.support.cluster import HOME, Controller
from tests.support.eventually import eventually
from tests.support.executions import API, execution
from tests.support.workloads import Workloads, sleeping
from wfe_controller.api.names import LEGACY_FINALIZERS

CRDS = REPOSITORY / "manifests" / "crds"


def test_runs_under_restricted_pod_security(cluster: Plane, controller: Controller) -> None:
    """SPEC 12: the namespace enforces restricted: it admits both replicas, which are ready, and not any pod."""
    labels = cluster.client.get(f"/api/v1/namespaces/{HOME}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    # Those of the roll-out before may still be on their way out.
    pods = [pod for pod in controller.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert len(pods) == 2
    for pod in pods:
        assert {"type": "Ready", "status": "True"}.items() <= next(
            item for item in pod["status"]["conditions"] if item["type"] == "Ready"
        ).items()
    careless = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "careless", "namespace": HOME},
        "spec": {"containers": [{"name": "any", "image": "busybox:1"}]},
    }
    with pytest.raises(Refused, match='violates PodSecurity "restricted'):
        cluster.client.create(f"/api/v1/namespaces/{HOME}/pods?dryRun=All", careless)


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


def test_upgrade_of_the_crds_in_place(wfe: Workloads, cluster: Plane, controller: Controller) -> None:
    """SPEC 1: a newer schema comes, then ours again, while a run is in flight. At each the API server ends all watches
    of the kind; what runs goes on, what is asked for meanwhile is done, and nothing of a status is lost. What an
    earlier release had brought to its end, with its own finalizer and a run known by name alone, is let go, and no more
    is made of it: no lock, no block, no history, and its status stays; its target is free for the next one."""
    left = left_by_an_earlier_release(wfe, cluster, controller)
    name = wfe.start(sleeping(10))
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    before = wfe.status(name)
    newer = [with_a_new_field(path) for path in CRDS.glob("kubernaut.ai_*.yaml")]
    try:
        cluster.apply(*newer)
        eventually(lambda: "LATER" in table(cluster, wfe), what="the newer schema to be served")
        meanwhile = wfe.start(sleeping(1))
        eventually(lambda: wfe.running_pod(meanwhile), 60, what="the pod to run")
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(CRDS), check=True)
    eventually(lambda: "LATER" not in table(cluster, wfe), what="our schema to be served again")
    after = wfe.await_phase(name, timeout=60)
    assert (after["phase"], after["pipelineRunRef"]) == ("Completed", before["pipelineRunRef"])
    assert wfe.await_phase(meanwhile, timeout=60)["phase"] == "Completed"
    assert wfe.finish(sleeping(1))["phase"] == "Completed"
    for target, earlier in left.items():
        released = wfe.await_released(earlier["metadata"]["name"])
        assert released["status"] == earlier["status"], "nothing is added to what has ended"
        assert wfe.lock(target) is None
        assert not wfe.events(earlier["metadata"]["name"])
        assert wfe.finish(sleeping(1), target)["phase"] == "Completed", "nothing is held against the target"


def left_by_an_earlier_release(wfe: Workloads, cluster: Plane, controller: Controller) -> dict[str, dict[str, Any]]:
    """target -> an object that ended there, stored as in T-1.4: the run by its name alone, and the finalizer that was
    kept on everything that had ended. Made while no controller runs, which would take them for requests, and under the
    former schema: ours, which comes after it, lets nobody write such a reference, and must let it stand."""
    left = {}
    controller.scale(0)
    try:
        cluster.apply(with_references_by_name(CRDS / "kubernaut.ai_workflowexecutions.yaml"))
        for phase in ("Completed", "Failed"):
            body = execution(wfe.namespace, target := wfe.target(), wfe.push(sleeping(1)))
            body["metadata"]["finalizers"] = [*LEGACY_FINALIZERS]
            name = cluster.client.create(f"{API}/namespaces/{wfe.namespace}/workflowexecutions", body)["metadata"][
                "name"
            ]
            status: dict[str, Any] = {
                "phase": phase,
                "startTime": "2026-01-02T03:04:05Z",
                "completionTime": "2026-01-02T03:05:05Z",
                "pipelineRunRef": {"name": f"wfe-{'0' * 16}"},
            }
            if phase == "Failed":
                status["failureDetails"] = {
                    "reason": "TaskFailed",
                    "message": "it failed",
                    "failedAt": "2026-01-02T03:05:05Z",
                    "executionTimeBeforeFailure": "1m0s",
                    "naturalLanguageSummary": "it failed",
                    "wasExecutionFailure": True,
                }
            eventually(partial(accepted, cluster, wfe.path(name), status), what="the former schema to be served")
            left[target] = wfe.get(name)
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(CRDS), check=True)
        controller.scale(2)
    return left


def accepted(cluster: Plane, path: str, status: dict[str, Any]) -> bool:
    try:
        cluster.client.merge_patch(f"{path}/status", {"status": status})
    except Refused as refused:
        if "pipelineRunRef" not in str(refused):
            raise
        return False
    return True


def with_references_by_name(path: Path) -> dict[str, Any]:
    crd: dict[str, Any] = yaml.safe_load(path.read_text())
    (version,) = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["pipelineRunRef"]["required"] = ["name"]
    return crd


def with_a_new_field(path: Path) -> dict[str, Any]:
    crd: dict[str, Any] = yaml.safe_load(path.read_text())
    (version,) = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["later"] = {"type": "string"}
    version["additionalPrinterColumns"].append({"name": "Later", "type": "string", "jsonPath": ".status.later"})
    return crd


def table(cluster: Plane, wfe: Workloads) -> str:
    """What kubectl shows: the columns are those of the schema that is served."""
    return cluster.kubectl("get", "workflowexecutions", "-n", wfe.namespace, check=True).stdout

"""Objects that others wrote, in any shape the CRDs let through, never stop a worker and never start a second run.

Played runs carry ``spec.managedBy`` of nobody, so that Tekton leaves them exactly as written.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.client import Refused
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME, Executions
from tests.support.replicas import ControllerProcess
from tests.support.tekton import runs_path

Object = dict[str, Any]
PREFIX = "kubernaut.ai"
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def execution_settings() -> Object:
    return {
        "runRetention": "1s",
        "cancelFinallyTimeout": "2s",
        "cancelTimeout": "4s",
        "cancelDeadline": "8s",
    }


def run_name(target: str) -> str:
    return "wfe-" + hashlib.sha256(target.encode()).hexdigest()[:16]


def foreign(wfe: Executions, target: str, *, owner: str = "", name: str = "", **metadata: Any) -> Object:
    """A PipelineRun as ours would be, of a WorkflowExecution that does not exist unless ``owner`` is one's UID."""
    owner = owner or str(uuid.uuid4())
    labels = {f"{PREFIX}/workflow-execution-uid": owner, f"{PREFIX}/target-hash": run_name(target)[4:]}
    annotations = {
        f"{PREFIX}/workflow-execution-uid": owner,
        f"{PREFIX}/workflow-execution": "vanished",
        f"{PREFIX}/source-namespace": wfe.namespace,
        f"{PREFIX}/target-resource": target,
        f"{PREFIX}/workflow-id": "restart",
    }
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": name or f"run-{uuid.uuid4().hex[:8]}",
            "namespace": EXECUTION,
            "labels": {**labels, **metadata.get("labels", {})},
            "annotations": {**annotations, **metadata.get("annotations", {})},
        },
        "spec": {"managedBy": "nobody.example.com/plays", "pipelineRef": {"name": "whatever"}},
    }


def create(plane: Plane, run: Object, status: Any = None) -> Object:
    created = plane.client.create(runs_path(EXECUTION), run)
    if status is not None:
        body = {**created, "status": status}
        created = plane.client.request("PUT", runs_path(EXECUTION, created["metadata"]["name"]) + "/status", body)
    return created


def there(plane: Plane, name: str) -> Object | None:
    try:
        return plane.client.get(runs_path(EXECUTION, name))
    except Refused as refused:
        if refused.status == 404:
            return None
        raise


def gone(plane: Plane, name: str) -> None:
    """Deleted, unless the controller was faster."""
    try:
        plane.client.delete(runs_path(EXECUTION, name))
    except Refused as refused:
        if refused.status != 404:
            raise


def told(plane: Plane, name: str) -> list[Object]:
    """OrphanedRun Events on a run."""
    events = plane.client.get(f"/api/v1/namespaces/{EXECUTION}/events")["items"]
    return [e for e in events if e["reason"] == "OrphanedRun" and e["involvedObject"]["name"] == name]


@pytest.fixture(autouse=True)
def _work_goes_on(wfe: Executions, controller: ControllerProcess) -> Iterator[None]:
    """After each test a normal request on another target still completes, by the same process."""
    yield
    assert wfe.await_phase(wfe.create(wfe.target()))["phase"] == "Completed"
    assert controller.running
    assert "Traceback" not in controller.log


def ended(status: str, reason: str = "Whatever", **more: Any) -> Object:
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "played"}], **more}


ODD: dict[str, Any] = {
    "no-status": None,
    "empty-status": {},
    "no-conditions": {"startTime": LONG_AGO},
    "empty-conditions": {"conditions": []},
    "other-conditions-only": {"conditions": [{"type": "Ready", "status": "True"}]},
    "no-reason-no-start": {"conditions": [{"type": "Succeeded", "status": "Unknown"}]},
    "odd-status-word": ended("Perhaps", "Neverland"),
    "two-verdicts": {"conditions": [*ended("Unknown")["conditions"], *ended("True")["conditions"]]},
    "ended-before-it-began": ended("False", startTime="2030-01-01T00:00:00Z", completionTime=LONG_AGO),
    "children-of-nowhere": ended(
        "Unknown",
        "UnheardOf",
        childReferences=[{}, {"name": "nothing"}, {"kind": "Pod", "name": "x"}],
        skippedTasks=[{"name": "a", "reason": "because", "whenExpressions": []}],
        pipelineSpec={"tasks": [{}]},
    ),
}


@pytest.fixture(scope="module")
def left_behind(plane: Plane, controller: ControllerProcess) -> Object:
    """A running run of an execution that does not exist, made first, because its grace of a minute is not a setting."""
    wfe = Executions(plane, "default")
    target = wfe.target()
    return {"target": target, "run": create(plane, foreign(wfe, target), ended("Unknown", "Running"))}


def test_odd_runs_of_an_execution_that_is_there(wfe: Executions, plane: Plane, left_behind: Object) -> None:
    """Point 8: runs with my UID under other names, in any shape, change nothing about mine."""
    target = wfe.target()
    name = wfe.create(target, annotations={f"{PREFIX}/pause": "true"})
    wfe.await_phase(name, "Pending")
    uid = wfe.get(name)["metadata"]["uid"]
    odd = {shape: create(plane, foreign(wfe, target, owner=uid), status) for shape, status in ODD.items()}
    wfe.annotate(name, pause=None)
    assert wfe.await_phase(name)["phase"] == "Completed"
    assert wfe.status(name)["pipelineRunRef"]["name"] == run_name(target)
    wfe.await_released(name)
    for run in odd.values():
        gone(plane, run["metadata"]["name"])


def test_a_running_orphan_holds_its_target_and_is_told(wfe: Executions, plane: Plane, left_behind: Object) -> None:
    """SPEC 2.6: alarm, the hold in the name of the vanished owner; whoever comes is skipped."""
    target, run = left_behind["target"], left_behind["run"]
    owner = run["metadata"]["labels"][f"{PREFIX}/workflow-execution-uid"]
    eventually(lambda: wfe.lock_status(target).get("holder", {}).get("uid") == owner, what="the hold")
    (event,) = eventually(lambda: told(plane, run["metadata"]["name"]))
    assert event["type"] == "Warning"
    assert event["message"] == (
        f"PipelineRun {EXECUTION}/{run['metadata']['name']} runs without its WorkflowExecution {owner}"
    )
    status = wfe.await_phase(wfe.create(target), "Pending")
    assert status["reason"] == "WaitingForRelease"
    assert not [run for run in wfe.runs() if run["metadata"]["name"] == run_name(target)]
    assert there(plane, run["metadata"]["name"])


def test_orphans_that_do_not_run_are_deleted(wfe: Executions, plane: Plane) -> None:
    """Pending: at once, never started. Finished: after its retention, also when it does not say when it ended."""
    pending = foreign(wfe, wfe.target())
    pending["spec"]["status"] = "PipelineRunPending"
    runs = [
        create(plane, pending),
        create(plane, foreign(wfe, wfe.target()), ended("True", startTime=LONG_AGO, completionTime=LONG_AGO)),
        create(plane, foreign(wfe, wfe.target()), ended("False", startTime=LONG_AGO)),
    ]
    for run in runs:
        eventually(lambda run=run: there(plane, run["metadata"]["name"]) is None, what=str(run.get("status")))
        started = [
            e
            for e in plane.audit(resource="pipelineruns", verb="patch", name=run["metadata"]["name"])
            if "workflowexecution-controller" in e["user"]["username"]
        ]
        assert started == []


GARBAGE = {
    "no-names": {"workflow-execution": None, "source-namespace": None, "workflow-id": None},
    "names-that-are-paths": {"workflow-execution": "../../x?y=1#z", "source-namespace": "a/b\n%2e%2e"},
    "too-long": {"workflow-execution": "n" * 300, "source-namespace": "s" * 70, "workflow-id": "w" * 300},
    "target-of-another": {"target-resource": "prod/deployment/somebody-elses"},
    "target-too-long": {"target-resource": "t" * 600},
    "no-target": {"target-resource": None},
}


def test_orphans_with_garbage_annotations(wfe: Executions, plane: Plane) -> None:
    """Each is told; the lock of its target stays readable, and no lock of another target is taken."""
    targets = {kind: wfe.target() for kind in GARBAGE}
    made: dict[str, Object] = {}
    for kind, changes in GARBAGE.items():
        run = foreign(wfe, targets[kind])
        annotations = {**run["metadata"]["annotations"], **{f"{PREFIX}/{key}": v for key, v in changes.items()}}
        run["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
        made[kind] = create(plane, run, ended("Unknown", "Running"))["metadata"]
    for kind, meta in made.items():
        eventually(lambda meta=meta: told(plane, meta["name"]), what=f"the alarm of {kind}")
        if "target-resource" not in GARBAGE[kind]:
            holder = eventually(
                lambda kind=kind: wfe.lock_status(targets[kind]).get("holder"), what=f"the hold: {kind}"
            )
            assert holder["uid"] == meta["labels"][f"{PREFIX}/workflow-execution-uid"]
            known = GARBAGE[kind].get("workflow-execution", "vanished") == "vanished"
            assert (holder["name"], holder["namespace"]) == (
                ("vanished", wfe.namespace) if known else ("unknown", "unknown")
            )
    for other in ("prod/deployment/somebody-elses", "t" * 600):
        assert wfe.lock(other) is None
    for meta in made.values():
        plane.client.delete(runs_path(EXECUTION, meta["name"]))
    for kind, target in targets.items():
        held = "target-resource" not in GARBAGE[kind]
        if held:
            block = eventually(lambda target=target: wfe.lock_status(target).get("block"), what=f"the block: {kind}")
            assert block["reason"] == "OrphanedRun"
        status = wfe.await_phase(wfe.create(target))
        assert status["phase"] == ("Skipped" if held else "Completed"), (kind, status)


def test_garbage_on_the_run_of_a_living_execution_does_not_end_it(
    wfe: Executions, plane: Plane, kubelet: Kubelet
) -> None:
    """A label or annotation that somebody changed makes no orphan as long as the other still names its owner."""
    name = wfe.create(wfe.target(), "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    (run,) = wfe.runs(name)
    path = runs_path(EXECUTION, run["metadata"]["name"])
    mark = {f"{PREFIX}/workflow-execution-uid": "somebody"}
    plane.client.merge_patch(path, {"metadata": {"annotations": mark}})
    marker = wfe.create(wfe.target())
    wfe.await_phase(marker)
    wfe.await_released(marker)
    assert told(plane, run["metadata"]["name"]) == []
    kubelet.finish(lambda pod: pod["metadata"]["annotations"].get(f"{PREFIX}/workflow-execution") == name)
    assert wfe.await_phase(name)["phase"] == "Completed"


def test_a_lock_that_cannot_be_understood(wfe: Executions, plane: Plane) -> None:
    """SPEC 2.1: unreadable is not free. The waiter says so, and starts once a person has repaired the record."""
    target = wfe.target()
    where = f"{API}/namespaces/{HOME}/targetlocks/{run_name(target)}"
    holder = {"uid": "", "name": "x", "namespace": "y", "acquiredAt": LONG_AGO}
    lock = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "TargetLock",
        "metadata": {"name": run_name(target), "namespace": HOME, "finalizers": [f"{PREFIX}/targetlock"]},
        "spec": {"target": target},
    }

    def broken() -> bool:
        """The keeper deletes empty records, so it may be faster than the second request."""
        plane.client.ensure(where.rpartition("/")[0], lock)
        try:
            plane.client.merge_patch(f"{where}/status", {"status": {"holder": holder}})
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    eventually(broken)
    name = wfe.create(target)
    status = wfe.await_phase(name, "Pending")
    assert status["reason"] == "LockUnknown"
    assert status["message"] == (
        f"the lock of the target cannot be understood, so nothing is started: TargetLock {run_name(target)}: "
        f"status.holder.uid is not a non-empty string"
    )
    assert "finalizers" not in wfe.get(name)["metadata"]
    plane.client.merge_patch(f"{where}/status", {"status": {"holder": None}})
    assert wfe.await_phase(name)["phase"] == "Completed"


def test_odd_task_runs_and_pods_of_a_run(wfe: Executions, plane: Plane, kubelet: Kubelet) -> None:
    """With my UID and in any shape: progress and verdict come from what the run itself refers to."""
    name = wfe.create(wfe.target(), "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    labels = {f"{PREFIX}/workflow-execution-uid": wfe.get(name)["metadata"]["uid"]}
    task_runs = f"/apis/tekton.dev/v1/namespaces/{EXECUTION}/taskruns"
    for status in (None, {"podName": ""}, {"podName": "x", **ended("Odd", "Neverland", steps=[{}, {"name": "a"}])}):
        body = {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": f"odd-{uuid.uuid4().hex[:8]}", "namespace": EXECUTION, "labels": labels},
            "spec": {"managedBy": "nobody.example.com/plays", "taskRef": {"name": "none"}},
        }
        created = plane.client.create(task_runs, body)
        if status is not None:
            path = f"{task_runs}/{body['metadata']['name']}/status"
            plane.client.request("PUT", path, {**created, "status": status})
    pods = f"/api/v1/namespaces/{EXECUTION}/pods"
    pod_statuses: list[Object] = [
        {"phase": "Failed"},
        {"phase": "Succeeded", "containerStatuses": [], "conditions": []},
        {"phase": "Failed", "reason": "Neverland", "initContainerStatuses": [], "startTime": LONG_AGO},
    ]
    for status in pod_statuses:
        pod = f"odd-{uuid.uuid4().hex[:8]}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": EXECUTION, "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]},
        }
        plane.client.create(pods, body)
        plane.client.merge_patch(f"{pods}/{pod}/status", {"status": status})
    kubelet.finish(lambda pod: pod["metadata"].get("annotations", {}).get(f"{PREFIX}/workflow-execution") == name)
    status = wfe.await_phase(name)
    assert (status["phase"], status["totalSteps"], status["completedSteps"]) == ("Completed", 1, 1)


def test_the_orphan_is_ended_after_its_grace(wfe: Executions, plane: Plane, left_behind: Object) -> None:
    """SPEC 2.6: cancelled, and deleted when nobody obeys; its target is blocked, for nobody knows what it had done."""
    target, run = left_behind["target"], left_behind["run"]["metadata"]["name"]
    eventually(lambda: there(plane, run) is None, timeout=90, what="the orphan to be ended")
    patches = [
        e
        for e in plane.audit(resource="pipelineruns", verb="patch", name=run)
        if "workflowexecution-controller" in e["user"]["username"]
    ]
    assert patches, "cancelled before it was deleted"
    block = eventually(lambda: wfe.lock_status(target).get("block"), what="the block")
    assert block["reason"] == "OrphanedRun"
    assert "holder" not in wfe.lock_status(target)

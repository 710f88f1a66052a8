"""Servers that hang, restart or are gone in the middle of a run on a real plane: never a second run, none lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.integration.controller.conftest import FAST
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION, Executions
from tests.support.replicas import LEASE, Controllers
from tests.support.tekton import runs_path

CANCELS = {"cancelFinallyTimeout": "2s", "cancelTimeout": "4s", "cancelDeadline": "8s"}
PATIENT_LEASE = {"leaseDuration": "60s", "renewDeadline": "50s", "retryPeriod": "1s"}


@pytest.fixture
def execution_settings() -> dict[str, Any]:
    return {}


@pytest.fixture
def wfe(plane: Plane, kubelet: Kubelet, namespace: str) -> Executions:
    """Without a controller: each test starts its own."""
    return Executions(plane, namespace)


def settings(**controller: Any) -> dict[str, Any]:
    return {**FAST, "execution": {**FAST["execution"], **CANCELS}, "controller": controller}  # type: ignore[dict-item]


def running_step(wfe: Executions, target: str) -> str:
    """One whose step runs until the test ends it."""
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning").get("status") == "True", what="the first step")
    return name


def finish(kubelet: Kubelet, name: str) -> None:
    mine = "kubernaut.ai/workflow-execution"
    eventually(lambda: kubelet.finish(lambda pod: pod["metadata"].get("annotations", {}).get(mine) == name))


def created_once(wfe: Executions, name: str) -> None:
    """Exactly one create of the run, and the one in status is the one that is there."""
    ref = wfe.status(name)["pipelineRunRef"]
    (run,) = wfe.runs(name)
    assert run["metadata"]["uid"] == ref["uid"]
    created = {"resource": "pipelineruns", "verb": "create", "namespace": EXECUTION, "name": ref["name"]}
    assert len(wfe.plane.audit(**created)) == 1


@pytest.fixture
def thaw(plane: Plane) -> Iterator[None]:
    """Whatever the test stopped runs again afterwards."""
    yield
    plane.resume_process("kube-apiserver")
    for name in ("kube-apiserver", "tekton-controller"):
        if not plane.processes.running(name):
            plane.start_process(name)


def test_a_hung_server_costs_the_leadership_and_nothing_else(
    wfe: Executions, plane: Plane, kubelet: Kubelet, controllers: Controllers, thaw: None
) -> None:
    """I-52: not renewed in time means exit 1, at once and by itself; started again it finishes the same run."""
    controller = controllers(settings())
    name = running_step(wfe, wfe.target())
    plane.pause_process("kube-apiserver")
    eventually(lambda: not controller.running, what="the process to end without its lease")
    assert plane.processes.exit_codes[controller.name] == 1
    assert controller.log_lines()[-1]["why"] == "lost leadership"
    plane.resume_process("kube-apiserver")
    controller.start()
    finish(kubelet, name)
    assert wfe.await_phase(name)["phase"] == "Completed"
    created_once(wfe, name)


def test_a_killed_server_is_waited_for(
    wfe: Executions, plane: Plane, kubelet: Kubelet, controllers: Controllers, thaw: None
) -> None:
    """With a lease that outlasts it: the same process goes on, and what happened meanwhile is seen afterwards."""
    controller = controllers(settings(**PATIENT_LEASE))
    target = wfe.target()
    name = running_step(wfe, target)
    holder = plane.client.get(LEASE)["spec"]["holderIdentity"]
    plane.stop_process("kube-apiserver", kill=True)
    assert controller.running
    plane.start_process("kube-apiserver")
    finish(kubelet, name)
    assert wfe.await_phase(name, timeout=60)["phase"] == "Completed"
    created_once(wfe, name)
    assert controller.running
    assert plane.client.get(LEASE)["spec"]["holderIdentity"] == holder
    wfe.await_released(name)
    assert wfe.await_phase(wfe.create(target))["phase"] == "Completed"


def test_tekton_away_during_a_run(
    wfe: Executions, plane: Plane, kubelet: Kubelet, controllers: Controllers, thaw: None
) -> None:
    """The pod ends while nobody looks: nothing is concluded from Tekton's silence, the verdict is Tekton's own."""
    controllers(settings())
    name = running_step(wfe, wfe.target())
    plane.stop_process("tekton-controller", kill=True)
    finish(kubelet, name)
    other = wfe.create(wfe.target())
    wfe.await_phase(other, "Running")
    assert wfe.phase(name) == "Running"
    plane.start_process("tekton-controller")
    for waiting in (name, other):
        assert wfe.await_phase(waiting)["phase"] == "Completed"
        created_once(wfe, waiting)


def test_cancelling_while_tekton_is_away(wfe: Executions, plane: Plane, controllers: Controllers, thaw: None) -> None:
    """SPEC 2.5: nobody obeys the cancellation; the run is deleted, its pod goes with it, and the end is told."""
    controllers(settings())
    target = wfe.target()
    name = running_step(wfe, target)
    plane.stop_process("tekton-controller", kill=True)
    free = wfe.target()
    untouched = wfe.create(free)
    wfe.await_phase(untouched, "Running")
    for each in (name, untouched):
        wfe.annotate(each, cancel="stop")
    status, never = (wfe.await_phase(each) for each in (name, untouched))
    assert status["phase"] == never["phase"] == "Failed"
    details = status["failureDetails"]
    assert (details["reason"], details["wasExecutionFailure"]) == ("Cancelled", True)
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"
    assert not wfe.runs(name)

    details = never["failureDetails"]
    assert (details["reason"], details["wasExecutionFailure"]) == ("Cancelled", False)
    assert details["message"] == "cancelled: stop; Tekton never took up the run, so no step of it ever started"
    wfe.await_released(untouched)
    assert "block" not in wfe.lock_status(free)
    plane.start_process("tekton-controller")
    assert wfe.await_phase(wfe.create(free))["phase"] == "Completed"


def test_a_run_that_cannot_be_ended(wfe: Executions, plane: Plane, controllers: Controllers, thaw: None) -> None:
    """SPEC 2.5: past the deadline the target is blocked as CancelIncomplete, naming what is still there."""
    controllers(settings())
    target = wfe.target()
    name = running_step(wfe, target)
    (run,) = wfe.runs(name)
    path = runs_path(EXECUTION, run["metadata"]["name"])
    plane.client.merge_patch(path, {"metadata": {"finalizers": ["results.example.com/archive"]}})
    plane.stop_process("tekton-controller", kill=True)
    wfe.annotate(name, cancel="stop")
    status = wfe.await_phase(name)
    left = f"PipelineRun {EXECUTION}/{run['metadata']['name']}, held by finalizers results.example.com/archive"
    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert status["message"] == f"cancelled: stop; the cancellation is incomplete, still there: {left}"
    assert status["failureDetails"]["wasExecutionFailure"] is True
    wfe.await_released(name)
    block = wfe.lock_status(target)["block"]
    assert (block["reason"], block["by"]["name"]) == ("CancelIncomplete", name)
    assert block["message"] == f"cancellation incomplete, still there: {left}"
    assert wfe.await_phase(wfe.create(target))["skipDetails"]["reason"] == "PreviousExecutionFailed"
    plane.client.merge_patch(path, {"metadata": {"finalizers": None}})

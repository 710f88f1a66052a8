"""What one WorkflowExecution goes through on real Tekton: success, failure, skips, block and clearance."""

from __future__ import annotations

import json

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION, HOME, Executions, metric
from tests.support.replicas import ControllerProcess


def test_success_tells_the_truth_everywhere(wfe: Executions, controller: ControllerProcess) -> None:
    """T1, T17, T20, T30, T86: status, conditions, Events, run, lock and metrics agree.

    BR-WE-001, BR-WE-002, BR-WE-003, BR-WE-005, BR-WE-008.
    """
    before = metric(controller, 'workflowexecution_total{engine="tekton",outcome="Completed"}')
    target = wfe.target()
    name = wfe.create(target.replace("deployment", "Deployment.apps"), parameters={"REPLICAS": "3", "NOTE": 'a=b\n"ü"'})
    status = wfe.await_phase(name)
    assert status["phase"] == "Completed", status
    assert status["progress"] == 100
    assert status["startTime"] <= status["completionTime"]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert conditions == {
        "TektonPipelineCreated": ("True", "PipelineCreated"),
        "TektonPipelineRunning": ("True", "PipelineStarted"),
        "TektonPipelineComplete": ("True", "PipelineSucceeded"),
        "Finished": ("True", "Completed"),
        "Ready": ("True", "Ready"),
    }
    obj = wfe.await_released(name)
    (run,) = wfe.runs(name)
    assert status["pipelineRunRef"] == {
        "name": run["metadata"]["name"],
        "namespace": EXECUTION,
        "uid": run["metadata"]["uid"],
    }
    assert "ownerReferences" not in run["metadata"]
    assert run["metadata"]["labels"]["kubernaut.ai/workflow-execution-uid"] == obj["metadata"]["uid"]
    assert run["metadata"]["annotations"]["kubernaut.ai/target-resource"] == target
    assert {p["name"]: p["value"] for p in run["spec"]["params"]} == {
        "NOTE": 'a=b\n"ü"',
        "REPLICAS": "3",
        "TARGET_RESOURCE": target.replace("deployment", "Deployment.apps"),
    }
    assert run["spec"]["timeouts"] == {"tasks": "30m0s", "finally": "5m0s", "pipeline": "35m0s"}
    assert run["spec"]["taskRunTemplate"]["serviceAccountName"] == "kubernaut-workflow-runner"
    eventually(lambda: {"PipelineRunCreated", "WorkflowCompleted", "LockReleased"} <= set(wfe.events(name)))
    after = metric(controller, 'workflowexecution_total{engine="tekton",outcome="Completed"}')
    assert after == before + 1


def test_failure_blocks_the_target_until_it_is_cleared(wfe: Executions, plane: Plane) -> None:
    """T18, T22, T43, TH21: the block outlives the object that caused it and goes by clearance only.

    BR-WE-012, BR-WE-013.
    """
    target = wfe.target()
    first = wfe.create(target, "busybox:fail-3")
    status = wfe.await_phase(first)
    details = status["failureDetails"]
    assert (status["phase"], details["reason"], details["exitCode"]) == ("Failed", "TaskFailed", 3)
    assert (details["wasExecutionFailure"], details["failedTaskName"], details["failedTaskIndex"]) == (
        True,
        "remediate",
        0,
    )
    assert status["failureReason"] == "TaskFailed"
    assert "exit code 3" in details["naturalLanguageSummary"]
    uid = wfe.await_released(first)["metadata"]["uid"]
    wfe.delete(first)
    eventually(lambda: wfe.gone(first))

    refused = wfe.create(target, workflow="another")
    status = wfe.await_phase(refused)
    assert (status["phase"], status["skipDetails"]["reason"]) == ("Skipped", "PreviousExecutionFailed")
    assert "clear-block" in status["message"]
    assert not wfe.runs(refused)

    lock = wfe.lock(target)
    assert lock is not None
    assert lock["status"]["block"]["by"]["uid"] == uid
    where = f"/apis/kubernaut.ai/v1alpha1/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}"

    def clear(value: str, reason: str) -> None:
        annotations = {"clear-block": value, "clear-block-by": "sre@example.com", "clear-block-reason": reason}
        body = {"metadata": {"annotations": {f"kubernaut.ai/{k}": v for k, v in annotations.items()}}}
        plane.client.merge_patch(where, body)

    clear("not-the-uid", "checked the deployment by hand")
    clear(uid, "too short")
    assert wfe.await_phase(wfe.create(target))["phase"] == "Skipped"
    clear(uid, "checked the deployment by hand")
    eventually(lambda: "block" not in wfe.lock_status(target), what="the block to go")
    assert wfe.await_phase(wfe.create(target))["phase"] == "Completed"


def test_a_cleared_block_is_told_on_the_execution_that_caused_it(wfe: Executions, plane: Plane) -> None:
    """BR-WE-013: the evidence stays, the clearance is added to it."""
    target = wfe.target()
    name = wfe.create(target, "busybox:fail-1")
    wfe.await_phase(name, "Failed")
    uid = wfe.await_released(name)["metadata"]["uid"]
    lock = wfe.lock(target)
    assert lock is not None
    names = {"clear-block": uid, "clear-block-by": "sre", "clear-block-reason": "seen by a person"}
    plane.client.merge_patch(
        f"/apis/kubernaut.ai/v1alpha1/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}",
        {"metadata": {"annotations": {f"kubernaut.ai/{k}": v for k, v in names.items()}}},
    )
    eventually(lambda: wfe.status(name).get("blockClearance"), what="blockClearance")
    status = wfe.status(name)
    assert (status["blockClearance"]["clearedBy"], status["phase"]) == ("sre", "Failed")
    assert status["failureDetails"]["wasExecutionFailure"] is True


def test_of_many_at_once_exactly_one_runs(wfe: Executions, kubelet: Kubelet) -> None:
    """T3, BR-WE-009, TH8: never none, never two; the losers name the winner."""
    target = wfe.target()
    names = [wfe.create(target, "busybox:hang", workflow=f"w{n}") for n in range(12)]
    (winner,) = eventually(
        lambda: (
            sum(wfe.phase(name) == "Skipped" for name in names) == 11
            and [name for name in names if wfe.phase(name) == "Running"]
        ),
        what="eleven to be skipped, and one to run",
        on_failure=lambda: {name: wfe.phase(name) for name in names},
    )
    skipped = [wfe.status(name)["skipDetails"] for name in names if name != winner]
    assert {s["reason"] for s in skipped} == {"ResourceBusy"}
    assert {s["conflictingWorkflow"]["name"] for s in skipped} == {winner}
    mine = "kubernaut.ai/workflow-execution"
    eventually(lambda: kubelet.finish(lambda pod: pod["metadata"].get("annotations", {}).get(mine) == winner))
    assert wfe.await_phase(winner)["phase"] == "Completed"
    assert len(wfe.runs()) == 1


@pytest.mark.parametrize(
    "spelling", ["Deployment", "deployments", "deploy", "Deployment.apps"], ids=lambda s: f"TH33-T12-{s}"
)
def test_every_spelling_of_a_target_is_one_lock(wfe: Executions, spelling: str) -> None:
    target = wfe.target()
    holder = wfe.create(target, "busybox:hang")
    wfe.await_phase(holder, "Running")
    other = wfe.create(target.replace("deployment", spelling))
    assert wfe.await_phase(other)["skipDetails"]["conflictingWorkflow"]["name"] == holder
    wfe.annotate(holder, cancel="test over")


def test_different_targets_run_side_by_side(wfe: Executions, kubelet: Kubelet) -> None:
    """T8, BR-WE-009."""
    names = [wfe.create(wfe.target(), "busybox:hang") for _ in range(3)]
    eventually(lambda: [wfe.phase(name) for name in names] == ["Running"] * 3)
    eventually(lambda: all(wfe.condition(name, "TektonPipelineRunning") for name in names))
    kubelet.finish(lambda pod: pod["metadata"]["annotations"]["kubernaut.ai/workflow-execution"] in names)
    assert [wfe.await_phase(name)["phase"] for name in names] == ["Completed"] * 3


def test_finished_runs_make_room_and_never_lend_their_pods(wfe: Executions) -> None:
    """SPEC 3, T14, TH6: with cooldown 0 the same target runs again and again, each time with pods of its own.

    After a Background delete real Tekton took over the old TaskRun by its name; the Foreground delete and the wait
    for TaskRuns and pods keep each run on its own results (one of them fails, and only that one).
    """
    target = wfe.target()
    seen: set[str] = set()
    for round_ in range(6):
        image = "busybox:fail-5" if round_ == 5 else "busybox:1"
        status = wfe.await_phase(wfe.create(target, image, workflow=f"w{round_}"))
        assert status["phase"] == ("Failed" if round_ == 5 else "Completed"), status
        assert status["pipelineRunRef"]["uid"] not in seen
        seen.add(status["pipelineRunRef"]["uid"])
    assert status["failureDetails"]["exitCode"] == 5


def test_steps_engine_waits_without_owning_anything(wfe: Executions) -> None:
    """Issue point 4: EngineUnavailable, no lock, no finalizer, a deadline in status."""
    target = wfe.target()
    body = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": "steps", "namespace": wfe.namespace},
        "spec": {
            "remediationRequestRef": {"name": "rr"},
            "targetResource": target,
            "workflowDefinition": {"steps": [{"name": "a", "action": "scale_deployment"}]},
        },
    }
    wfe.plane.kubectl("apply", "-f", "-", input=json.dumps(body), check=True)
    status = wfe.await_phase("steps", "Pending")
    assert (status["reason"], status["executionEngine"]) == ("EngineUnavailable", "steps")
    assert status["deadlineAt"]
    assert wfe.condition("steps", "Ready")["reason"] == "EngineUnavailable"
    assert "finalizers" not in wfe.get("steps")["metadata"]
    assert wfe.lock(target) is None


def test_the_log_is_one_json_object_a_line_and_free_of_refusals(wfe: Executions, controller: ControllerProcess) -> None:
    """The shipped rights are enough for everything this module did; every reconcile line carries its id."""
    wfe.await_phase(wfe.create(wfe.target()))
    lines = controller.log_lines()
    refused = [line for line in lines if "forbidden" in json.dumps(line).lower()]
    assert not [line for line in refused if "because it is being terminated" not in json.dumps(line)]
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert all("reconcile_id" in line for line in lines if line["event"] == "lock acquired")

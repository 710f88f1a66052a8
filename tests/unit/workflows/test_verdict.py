"""What a finished, vanished or abandoned run means (SPEC 2.3, 3; TH11..TH14)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.support.shell import (
    HELD,
    RUN_NAME,
    UID,
    at,
    committed,
    condition,
    decide,
    finished,
    lock,
    pod,
    run,
    running,
    snapshot,
    task_run,
    wfe,
    working,
)
from wfe_controller.api import names
from wfe_controller.api.conditions import get_condition
from wfe_controller.kube.cache import ObjectDecoder
from wfe_controller.kube.cache.changes import Deleted
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json, key_of
from wfe_controller.locking.record import LockRecord, WorkflowEntry
from wfe_controller.workflows.phases.ending import settlement_of
from wfe_controller.workflows.plan import Commit, Input
from wfe_controller.workflows.snapshot import Evidence
from wfe_controller.workflows.world import Graveyard

DECODE = ObjectDecoder(names.PIPELINERUNS)


def answers(*task_runs: Json, record: LockRecord | None = None, **more: Any) -> dict[Input, Any]:
    read = {Input.PODS: (), Input.TASK_RUNS: task_runs, Input.LOCK: record or lock(UID)}
    return {**HELD, **read, Input.EVIDENCE: Evidence("step-act", "last words"), **more}


def me(**status: Any) -> Json:
    return wfe(running(**status), finalizer=True)


def changed(obj: Json, path: str, value: Any) -> Json:
    obj = copy.deepcopy(obj)
    *parents, last = path.split(".")
    at_: Any = obj
    for part in parents:
        at_ = at_[int(part)] if isinstance(at_, list) else at_[part]
    if value is None:
        del at_[last]
    else:
        at_[last] = value
    return obj


def test_success_reads_pods_task_runs_and_lock_live_and_nothing_else() -> None:
    """T17; no log is fetched for a success."""
    seen = snapshot(me(), 70, cached_run=run(finished()), cached_task_runs=(task_run("True"),))
    step, reads, seen = decide(seen, answers(task_run("True")))
    assert reads == [Input.PODS, Input.TASK_RUNS, Input.LOCK]
    status = committed(step)
    assert (status["phase"], status["completionTime"], status["duration"]) == ("Completed", rfc3339(at(60)), "1m0s")
    assert (status["progress"], status["consecutiveFailures"]) == (100, 0)
    assert get_condition(status["conditions"], "Ready")["status"] == "True"  # type: ignore[index] # there
    assert settlement_of(seen, status).block is None


@pytest.mark.parametrize(
    ("task_runs", "why"),
    [
        pytest.param((), "does not exist", id="no-task-run"),
        pytest.param(
            (changed(task_run("True"), "metadata.ownerReferences.0.uid", "run-old"),),
            "another PipelineRun",
            id="owned-by-the-former-run",
        ),
        pytest.param(
            (changed(task_run("True"), "status.steps.0.terminated.startedAt", rfc3339(at(-30))),),
            "before the PipelineRun was created",
            id="step-older-than-the-run",
        ),
    ],
)
def test_a_success_that_cannot_be_proven_is_an_execution_failure(task_runs: tuple[Json, ...], why: str) -> None:
    """SPEC 3 [seen]: a new run succeeded on the old pod's result."""
    step, _, seen = decide(snapshot(me(), 70, cached_run=run(finished())), answers(*task_runs))
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Failed", "Unknown")
    assert why in status["failureDetails"]["message"]
    assert status["failureDetails"]["wasExecutionFailure"] is True
    assert settlement_of(seen, status).block is not None


def test_a_failure_keeps_what_the_container_said() -> None:
    """P:T9, T22, T23: evidence is stored before anything is cleaned up."""
    seen = snapshot(me(), 70, cached_run=run(finished("False")))
    step, reads, _ = decide(seen, answers(task_run("False", code=3)))
    assert reads[-1] is Input.EVIDENCE
    status = committed(step)
    details = status["failureDetails"]
    assert (status["failureReason"], details["reason"], details["exitCode"]) == ("TaskFailed", "TaskFailed", 3)
    assert (details["failedTaskName"], details["failedStepName"], details["failedTaskIndex"]) == ("act", "act", 0)
    assert details["evidence"]["logTail"] == "last words"
    assert details["evidence"]["pod"] == f"{RUN_NAME}-act-pod"
    assert status["completionTime"] == rfc3339(at(60)), "TH30: the run's own time, not now"


def test_a_failure_before_any_task_run_counts_and_shows_the_backoff() -> None:
    """TH5: the streak is inherited from the target, not from the object."""
    failed = {"startTime": rfc3339(at(1)), "conditions": [condition("False", "CouldntGetPipeline", "no such bundle")]}
    entry = WorkflowEntry("restart", 2, at(-900), at(-600))
    seen = snapshot(me(), 70, cached_run=run({**failed, "completionTime": rfc3339(at(60))}))
    step, _, seen = decide(seen, answers(record=lock(UID, workflows=(entry,))))
    status = committed(step)
    assert (status["reason"], status["consecutiveFailures"]) == ("ConfigurationError", 3)
    assert status["nextAllowedExecution"] == rfc3339(at(60 + 240))
    assert status["failureDetails"]["wasExecutionFailure"] is False
    assert "failedTaskName" not in status["failureDetails"]
    settlement = settlement_of(seen, status)
    assert (settlement.counts, settlement.block) == (True, None)


@pytest.mark.parametrize(
    ("last", "phase"),
    [
        pytest.param(run(finished()), "Completed", id="TH13-pruned-after-success"),
        pytest.param(run(working()), "Failed", id="TH13-last-seen-running"),
        pytest.param(run(finished(), uid="run-2"), "Failed", id="TH3-the-last-state-of-another-run"),
    ],
)
def test_the_last_state_of_a_deleted_run_counts_only_if_it_was_done(last: Json, phase: str) -> None:
    seen = snapshot(me(), 70, last_seen_run=last, cached_task_runs=(task_run("True"),))
    step, _, _ = decide(seen, {**answers(), Input.OWN_RUN: None})
    assert committed(step)["phase"] == phase


PENDING = run(pending=True)
STARTED = [{"type": "TektonPipelineRunning", "status": "True", "reason": "PipelineStarted"}]


@pytest.mark.parametrize(
    ("last", "status", "more", "live", "proven"),
    [
        pytest.param(PENDING, {}, {}, {}, True, id="C5-seen-pending-to-the-last"),
        pytest.param(None, {}, {}, {}, False, id="TH13-nobody-saw-it-go"),
        pytest.param(run(), {}, {}, {}, False, id="released"),
        pytest.param(run(pending=True, uid="run-2"), {}, {}, {}, False, id="TH3-another-run"),
        pytest.param(run({"startTime": rfc3339(at(1))}, pending=True), {}, {}, {}, False, id="tekton-took-it-up"),
        pytest.param(PENDING, {"conditions": STARTED}, {}, {}, False, id="a-step-was-seen"),
        pytest.param(PENDING, {}, {"cached_task_runs": (task_run(),)}, {}, False, id="a-task-run-was-there"),
        pytest.param(PENDING, {}, {"last_seen_pods": (pod(),)}, {}, False, id="a-pod-was-there"),
        pytest.param(PENDING, {}, {}, {Input.TASK_RUNS: (task_run("True"),)}, False, id="a-task-run-is-there"),
        pytest.param(PENDING, {}, {}, {Input.PODS: (pod("Succeeded"),)}, False, id="a-pod-is-there"),
    ],
)
def test_a_pending_run_deleted_by_hand_blocks_nothing_when_it_is_proven(
    last: Json | None, status: Json, more: dict[str, Any], live: dict[Input, Any], proven: bool
) -> None:
    """Paused before its start, and somebody deletes the pending run: nothing ever ran, yet it counted as vanished and
    blocked the target. Only the deletion as the watch saw it proves that, and only without any sign of a start."""
    step, _, _ = decide(
        snapshot(me(**status), 70, last_seen_run=last, **more), {**answers(), Input.OWN_RUN: None, **live}
    )
    written = committed(step)
    assert written["failureReason"] == "PipelineRunDeleted"
    assert written["failureDetails"]["wasExecutionFailure"] is not proven
    assert (settlement_of(snapshot(me()), written).block is None) is proven


@pytest.mark.parametrize("known", [True, False], ids=["deletion-seen", "tombstone"])
@pytest.mark.parametrize("over", [True, False], ids=["done", "going-on"])
def test_a_state_older_than_the_deletion_proves_nothing(known: bool, over: bool) -> None:
    """Cancelled; the watch breaks while no TaskRun is there yet; a step starts; the run is deleted; the relist shows
    that it is gone. The state from before the gap would prove that nothing ever started, and block nothing."""
    yard = Graveyard()
    found = run(finished() if over else {"startTime": rfc3339(at(1))})
    task = task_run("True" if over else "Unknown", started=False)
    for obj, saw in ((found, yard.saw_run), (task, yard.saw_task_run)):
        whole = {**obj, "metadata": {"resourceVersion": "9", **obj["metadata"]}}
        saw(Deleted(key_of(obj), DECODE(msgspec.json.encode(whole)), known))
    assert (yard.run("run-mine") is not None) == (known or over)
    assert bool(yard.task_runs(UID)) == (known or over)


def test_a_vanished_run_of_a_cancelled_object_is_cancelled_and_blocks() -> None:
    """We deleted it ourselves at 120 s: nobody can say that nothing ran (TH14)."""
    since = {"type": "Cancelling", "status": "True", "reason": "Cancelled", "message": "m"}
    obj = me(conditions=[{**since, "lastTransitionTime": rfc3339(at(0))}])
    step, _, seen = decide(snapshot(obj, 130), {**answers(), Input.OWN_RUN: None})
    status = committed(step)
    assert status["reason"] == "Cancelled"
    assert settlement_of(seen, status).block is not None


def test_an_earlier_look_that_saw_a_step_start_is_remembered() -> None:
    """Tekton deletes the pods of a cancelled run; the condition still knows."""
    started = {"type": "TektonPipelineRunning", "status": "True", "reason": "PipelineStarted", "message": "m"}
    never = changed(task_run("False", started=False), "status.steps", [])
    seen = snapshot(me(conditions=[started]), 70, cached_run=run(finished("False")))
    status = committed(decide(seen, answers(changed(never, "status.podName", "")))[0])
    assert status["failureDetails"]["wasExecutionFailure"] is True


def test_the_verdict_does_not_need_the_hold() -> None:
    """The lock in other hands: the object still ends, with its own truth, and says no streak."""
    seen = snapshot(me(), 70, cached_run=run(finished()))
    status = committed(decide(seen, answers(task_run("True"), record=lock("uid-other")))[0])
    assert status["phase"] == "Completed"
    assert "consecutiveFailures" not in status


def test_a_future_completion_time_is_brought_back() -> None:
    """TH24: Tekton's clock is not ours."""
    seen = snapshot(me(), 70, cached_run=run(finished(seconds=9999)))
    assert committed(decide(seen, answers(task_run("True")))[0])["completionTime"] == rfc3339(at(70))


def test_the_same_snapshot_gives_the_same_verdict() -> None:
    """T-18.8."""
    seen = snapshot(me(), 70, cached_run=run(finished("False")))
    first, _, seen = decide(seen, answers(task_run("False", code=1)))
    again, _, _ = decide(replace(seen), {})
    assert first == again
    assert isinstance(first, Commit)


def test_pods_that_have_ended_hold_nobody_up() -> None:
    """Tekton keeps the pods of a finished TaskRun."""
    seen = snapshot(me(), 70, cached_run=run(finished()))
    step, _, _ = decide(seen, answers(task_run("True"), **{Input.PODS: (pod("Failed"), pod("Succeeded"))}))
    assert committed(step)["phase"] == "Completed"

"""Ending a run on purpose: who asked, how hard by now, and when it is given up (SPEC 2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shell import (
    HELD,
    NOW,
    RUN_NAME,
    acts,
    at,
    committed,
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
from wfe_controller.api.conditions import get_condition
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import LockRecord
from wfe_controller.workflows.engines.tekton.build import CANCELLED_WHILE_PENDING
from wfe_controller.workflows.phases.ending import settlement_of
from wfe_controller.workflows.plan import CancelRun, Commit, DeleteRun, Effect, Input, RemoveFinalizer, Stop
from wfe_controller.workflows.snapshot import Evidence

CANCEL = {"kubernaut.ai/cancel": "wrong target", "kubernaut.ai/cancel-by": "ann"}
POD = f"{RUN_NAME}-act-pod"
GONE = {**HELD, Input.OWN_RUN: None, Input.PODS: (), Input.TASK_RUNS: ()}


def cancelling(cause: str = "Cancelled", **more: Any) -> Json:
    """Running, with a cancellation recorded at NOW."""
    since = {"type": "Cancelling", "status": "True", "reason": cause, "message": "cancelled by ann: wrong target"}
    started = {"type": "TektonPipelineRunning", "status": "True", "reason": "PipelineStarted", "message": ""}
    return running(conditions=[{**since, "lastTransitionTime": rfc3339(NOW)}, started], **more)


def me(cause: str = "Cancelled") -> Json:
    return wfe(cancelling(cause), finalizer=True, created=-60)


def asked(status: Json, mode: str) -> Json:
    made = run(status)
    made["spec"]["status"] = mode
    return made


def effect(step: Any) -> tuple[type[Effect], str] | float:
    """What is done and how, or after how many seconds to come back."""
    if isinstance(step, Stop):
        assert isinstance(step.outcome, RequeueAfter)
        return step.outcome.seconds
    done = acts(step)
    return type(done), getattr(done, "mode", "")


@pytest.mark.parametrize(
    ("obj", "cause", "said"),
    [
        pytest.param(
            wfe(running(), finalizer=True, annotations=CANCEL), "Cancelled", "by ann: wrong target", id="cancel"
        ),
        pytest.param(
            wfe(running(), finalizer=True, annotations={"kubernaut.ai/cancel": ""}),
            "Cancelled",
            "no reason given",
            id="cancel-without-a-reason",
        ),
        pytest.param(wfe(running(), finalizer=True, deleted=5), "Deleted", "no rollback", id="T50-deletion"),
    ],
)
def test_the_wish_is_written_down_before_it_is_acted_on(obj: Json, cause: str, said: str) -> None:
    """A restart goes on where the last leader was (T-18.8)."""
    step, reads, _ = decide(snapshot(obj, 10, cached_run=run(working()), cached_task_runs=(task_run(),)))
    assert reads == []
    assert isinstance(step, Commit)
    found = get_condition(step.status["conditions"], "Cancelling")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", cause)
    assert said in found["message"]
    assert step.status["deadlineAt"] == rfc3339(at(190))
    assert [note.reason for note in step.notes] == ["CancelRequested"]


@pytest.mark.parametrize(
    ("seconds", "made", "wanted"),
    [
        pytest.param(1, run(working()), (CancelRun, "CancelledRunFinally"), id="0s-finally-tasks-run"),
        pytest.param(30, asked(working(), "CancelledRunFinally"), 2.0, id="asked-already"),
        pytest.param(59.5, asked(working(), "CancelledRunFinally"), 0.5, id="wakes-at-60s"),
        pytest.param(60, asked(working(), "CancelledRunFinally"), (CancelRun, "Cancelled"), id="60s-cancelled"),
        pytest.param(90, asked(working(), "Cancelled"), 2.0, id="asked-hard-already"),
        pytest.param(30, asked(working(), "Cancelled"), 2.0, id="somebody-asked-harder"),
        pytest.param(120, asked(working(), "Cancelled"), (DeleteRun, ""), id="120s-delete"),
        pytest.param(1, run(pending=True), (CancelRun, "Cancelled"), id="pending-cancelled-outright"),
    ],
)
def test_the_escalation(seconds: float, made: Json, wanted: object) -> None:
    seen = snapshot(me(), seconds, cached_run=made, cached_task_runs=(task_run(),))
    assert effect(decide(seen, HELD)[0]) == wanted


def test_a_run_that_is_being_deleted_is_waited_for() -> None:
    assert effect(decide(snapshot(me(), 130, cached_run=run(working(), deleting=True)))[0]) == 2.0


def test_a_done_run_is_not_asked_again_while_its_pods_run() -> None:
    """A done PipelineRun accepts no spec change (TH20)."""
    seen = snapshot(me(), 70, cached_run=run(finished("False")))
    assert effect(decide(seen, {Input.PODS: (pod(),)})[0]) == 2.0


def test_a_pending_run_that_was_cancelled_ends_without_tekton() -> None:
    """TH50: Tekton need not be alive for a run that it never looked at; nothing ran, nothing counts."""
    answers = {**GONE, Input.EVIDENCE: Evidence()}
    run = asked({}, "Cancelled")
    run["metadata"]["annotations"] = {**run["metadata"].get("annotations", {}), CANCELLED_WHILE_PENDING: "true"}
    step, _, seen = decide(snapshot(wfe(cancelling(), finalizer=True), 5, cached_run=run), answers)
    status = committed(step)
    assert status["reason"] == "Cancelled"
    settlement = settlement_of(seen, status)
    assert settlement.counts is False


def test_a_released_run_that_tekton_never_looked_at_is_not_taken_for_one_that_never_started() -> None:
    """Released, Tekton frozen in the middle of a reconcile, cancelled after 60 s, Tekton thaws and creates a TaskRun.

    A run without startTime proves nothing unless it was cancelled while it was still pending.
    """
    run = asked({}, "Cancelled")
    assert effect(decide(snapshot(wfe(cancelling(), finalizer=True), 65, cached_run=run))[0]) == 2.0


def test_success_wins_over_the_cancellation() -> None:
    """SPEC 2.3: the run's own verdict wins."""
    answers = {**HELD, Input.PODS: (), Input.TASK_RUNS: (task_run("True"),)}
    step, _, _ = decide(snapshot(me(), 70, cached_run=run(finished())), answers)
    assert committed(step)["phase"] == "Completed"


def test_a_cancelled_run_that_had_started_blocks() -> None:
    """T-4.4: steps ran, nobody knows how far."""
    answers = {**HELD, Input.PODS: (), Input.TASK_RUNS: (task_run("False", code=1),), Input.EVIDENCE: Evidence()}
    step, _, seen = decide(snapshot(me(), 70, cached_run=run(finished("False"))), answers)
    status = committed(step)
    assert status["phase"] == "Failed"
    assert status["failureDetails"]["wasExecutionFailure"] is True
    block = settlement_of(seen, status).block
    assert block is not None
    assert block.reason == "ExecutionFailed"
    found = get_condition(status["conditions"], "Cancelling")
    assert found is not None
    assert (found["status"], found["reason"]) == ("False", "Drained")


def test_pruned_task_runs_are_no_start_timeout() -> None:
    """TH13: the first step was seen; that its TaskRun is gone from the cache later does not undo it."""
    started = {"type": "TektonPipelineRunning", "status": "True", "reason": "PipelineStarted", "message": ""}
    obj = wfe(running(conditions=[started]), finalizer=True)
    status = committed(decide(snapshot(obj, 700, cached_run=run(working())))[0])
    assert get_condition(status["conditions"], "Cancelling") is None


@pytest.mark.parametrize("cause", ["Cancelled", "Deleted", "DeadlineExceeded", "StartTimeout", "ResolutionTimeout"])
def test_at_180_s_it_ends_blocked_and_names_who_is_left(cause: str) -> None:
    """SPEC 2.5: ALWAYS, whatever the step evidence says."""
    answers = {**HELD, Input.PODS: (pod("Pending"),), Input.TASK_RUNS: (task_run(started=False),)}
    seen = snapshot(me(cause), 180, cached_run=asked(working(), "Cancelled"))
    step, _, seen = decide(seen, answers)
    status = committed(step)
    assert status["phase"] == "Failed"
    assert POD in status["message"]
    block = settlement_of(seen, status).block
    assert block is not None
    assert block.reason == "CancelIncomplete"
    assert POD in block.message
    assert isinstance(step, Commit)
    assert "TargetBlocked" in [note.reason for note in step.notes]


def test_one_second_before_it_is_still_waited_for() -> None:
    seen = snapshot(me(), 179, cached_run=run(finished("False")))
    assert effect(decide(seen, {Input.PODS: (pod(),)})[0]) == (DeleteRun, "")


def test_the_deletion_of_what_never_held_is_immediate() -> None:
    """T51, T54."""
    step, reads, _ = decide(snapshot(wfe({"phase": "Pending"}, deleted=1), 2))
    assert isinstance(step, Stop)
    assert reads == []


@pytest.mark.parametrize(
    "record", [pytest.param(None, id="no-record"), pytest.param(lock("uid-other"), id="held-by-another")]
)
def test_the_deletion_of_what_holds_nothing_takes_the_finalizer_off(record: LockRecord | None) -> None:
    """T51, TH2 b: deleting a never-started object touches nobody's run."""
    step, reads, _ = decide(snapshot(wfe({"phase": "Pending"}, deleted=1, finalizer=True), 2), {Input.LOCK: record})
    assert reads == [Input.LOCK]
    assert isinstance(acts(step), RemoveFinalizer)


def test_a_stuck_run_of_mine_does_not_hold_up_the_deletion() -> None:
    """T56: finalizers of others on a run that was never named in status."""
    leaving = run(pending=True, deleting=True)
    seen = snapshot(wfe({"phase": "Pending"}, deleted=1, finalizer=True), 2, cached_run=leaving)
    step, _, _ = decide(seen, {Input.LOCK: lock(), Input.NAMED_RUN: leaving})
    assert isinstance(acts(step), RemoveFinalizer)


def test_a_deleted_holder_that_never_started_ends_and_settles() -> None:
    """SPEC 2.5: its pending run goes first."""
    obj = wfe({"phase": "Pending"}, deleted=1, finalizer=True)
    step, _, _ = decide(snapshot(obj, 2), {**HELD, Input.NAMED_RUN: run(pending=True)})
    assert isinstance(acts(step), DeleteRun)
    status = committed(decide(snapshot(obj, 2), HELD)[0])
    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert status["failureDetails"]["wasExecutionFailure"] is False


def test_a_running_object_whose_finalizer_was_taken_off_is_still_ended() -> None:
    """T-18.3: kept by finalizers of others; nothing is added to a deleting object, the run is cancelled and settled."""
    obj = wfe(running(), deleted=1)
    step, _, _ = decide(snapshot(obj, 2, cached_run=run(working()), cached_task_runs=(task_run(),)))
    assert get_condition(committed(step)["conditions"], "Cancelling")["reason"] == "Deleted"  # type: ignore[index] # there
    obj = wfe(cancelling("Deleted"), deleted=0)
    seen = snapshot(obj, 5, cached_run=run(working()), cached_task_runs=(task_run(),))
    assert effect(decide(seen, HELD)[0]) == (CancelRun, "CancelledRunFinally")

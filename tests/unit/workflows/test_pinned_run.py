"""A named run, followed to its end (SPEC 2.3, 2.5, 3; holes and pinned behaviours by their ids)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shell import (
    RUN_UID,
    UID,
    acts,
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
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.workflows.plan import CancelRun, Commit, DeleteRun, Input, Step, Stop
from wfe_controller.workflows.snapshot import Evidence

OBJ = wfe(running(), finalizer=True)
WORKING = run(working())
ENDING: dict[Input, Any] = {
    Input.PODS: (pod("Succeeded"),),
    Input.TASK_RUNS: (task_run("True"),),
    Input.LOCK: lock(UID),
    Input.EVIDENCE: Evidence(),
}
"""Live reads of a run that has ended and whose only pod is done."""


def wants(step: Step) -> tuple[str, str]:
    status = committed(step)
    return status["phase"], status.get("reason", "")


def seen_started(**more: Any) -> Json:
    """A Running object of which a step was seen to have started."""
    type_ = {"type": "TektonPipelineRunning", "status": "True", "reason": "PipelineStarted", "message": ""}
    return wfe(running(conditions=[{**type_, "lastTransitionTime": rfc3339(at(5))}], **more), finalizer=True)


def test_success_is_told_by_the_run() -> None:
    """T17, BR-WE-003, T76: its own completion time, the duration; also when the first look finds it done."""
    step, _, _ = decide(snapshot(OBJ, 90, cached_run=run(finished(seconds=60))), ENDING)
    status = committed(step)
    assert (status["phase"], status["completionTime"]) == ("Completed", rfc3339(at(60)))
    assert status["duration"] == "1m0s"
    assert status["pipelineRunStatus"]["status"] == "True"
    assert status["consecutiveFailures"] == 0
    assert "nextAllowedExecution" not in status


def test_failure_is_told_with_details_and_after_the_evidence_was_saved() -> None:
    """T18, T23, P:T9, BR-WE-003: the log's tail is read before the verdict, because nothing is there afterwards."""
    answers = {
        **ENDING,
        Input.TASK_RUNS: (task_run("False", code=3),),
        Input.EVIDENCE: Evidence("step-act", "last words"),
    }
    step, reads, _ = decide(snapshot(OBJ, 90, cached_run=run(finished("False"))), answers)
    status = committed(step)
    assert wants(step) == ("Failed", "TaskFailed")
    assert status["failureReason"] == status["failureDetails"]["reason"]
    assert status["failureDetails"]["exitCode"] == 3
    assert status["failureDetails"]["evidence"]["logTail"] == "last words"
    assert reads[-1] is Input.EVIDENCE
    assert status["failureDetails"]["naturalLanguageSummary"]


def test_a_run_that_goes_on_is_looked_at_again_within_the_poll_interval() -> None:
    """T19, I-45: also without a single event."""
    seen = snapshot(OBJ, 20, cached_run=WORKING, cached_task_runs=(task_run(),))
    step, _, _ = decide(seen)
    status = committed(step)
    again = snapshot(wfe(status, finalizer=True), 20, cached_run=WORKING, cached_task_runs=(task_run(),))
    step, _, _ = decide(again)
    assert isinstance(step, Stop)
    assert isinstance(step.outcome, RequeueAfter)
    assert 0 < step.outcome.seconds <= 10


def test_what_did_not_change_is_not_written() -> None:
    """TH36b, I-59: else each write is an event that brings the next write."""
    first, _, _ = decide(snapshot(OBJ, 20, cached_run=WORKING, cached_task_runs=(task_run(),)))
    for seconds in (21, 31, 300):
        obj = wfe(committed(first), finalizer=True)
        step, _, _ = decide(snapshot(obj, seconds, cached_run=WORKING, cached_task_runs=(task_run(),)))
        assert isinstance(step, Stop), seconds


def test_a_run_of_another_uid_under_the_name_is_not_mine() -> None:
    """TH3: mine has vanished; what the other one did is not my result."""
    other = run(finished(), uid="run-of-somebody")
    step, reads, _ = decide(snapshot(OBJ, 90, cached_run=other), {**ENDING, Input.OWN_RUN: other, Input.PODS: ()})
    assert reads[0] is Input.OWN_RUN
    assert wants(step) == ("Failed", "PipelineRunDeleted")


def test_a_vanished_run_is_looked_for_once_more_and_then_an_execution_failure() -> None:
    """T24, T81, BR-WE-007, TH13, I-17: absence in a cache with a selector is not proof; one live GET decides."""
    step, reads, _ = decide(snapshot(OBJ, 90), {**ENDING, Input.OWN_RUN: WORKING})
    assert reads[0] is Input.OWN_RUN
    assert isinstance(step, Commit)
    assert step.status["phase"] == "Running"
    step, _, _ = decide(snapshot(OBJ, 90), {**ENDING, Input.OWN_RUN: None, Input.PODS: (), Input.TASK_RUNS: ()})
    status = committed(step)
    assert (status["phase"], status["failureDetails"]["wasExecutionFailure"]) == ("Failed", True)
    assert "deleted" in status["failureDetails"]["message"]
    assert status["pipelineRunRef"]["uid"] == RUN_UID


def test_a_deleted_run_that_was_seen_to_be_done_counts_as_done() -> None:
    """TH13, P:T1: a pruner after the end is no failure; a last state that was not done proves nothing."""
    vanished = {**ENDING, Input.OWN_RUN: None}
    step, _, _ = decide(snapshot(OBJ, 90, last_seen_run=run(finished())), vanished)
    assert wants(step)[0] == "Completed"
    step, _, _ = decide(snapshot(OBJ, 90, last_seen_run=WORKING), {**vanished, Input.TASK_RUNS: ()})
    assert wants(step) == ("Failed", "PipelineRunDeleted")


def test_done_is_not_over_while_a_pod_lives() -> None:
    """SPEC 2.3, SPEC 13, P:L2: Tekton reports a cancelled run done while its pods go on; lock and verdict wait."""
    step, _, _ = decide(snapshot(OBJ, 70, cached_run=run(finished())), {**ENDING, Input.PODS: (pod("Running"),)})
    assert wants(step) == ("Running", "WaitingForRelease")
    step, _, _ = decide(snapshot(OBJ, 70), {**ENDING, Input.OWN_RUN: None, Input.PODS: (pod("Running"),)})
    assert wants(step) == ("Running", "WaitingForRelease")


def test_running_without_a_reference_is_no_crash() -> None:
    """TH45: nobody here writes this. A run under my name with my UID is named; else it ends like a vanished one."""
    obj = wfe({"phase": "Running", "startTime": rfc3339(at(0))}, finalizer=True)
    step, _, _ = decide(snapshot(obj, 30), {**ENDING, Input.NAMED_RUN: WORKING})
    assert committed(step)["pipelineRunRef"]["uid"] == RUN_UID
    gone = {**ENDING, Input.NAMED_RUN: run(finished(), owner="uid-other"), Input.OWN_RUN: None}
    step, _, _ = decide(snapshot(obj, 30), {**gone, Input.PODS: (pod("Running"),)})
    assert wants(step) == ("Running", "WaitingForRelease")
    step, _, _ = decide(snapshot(obj, 30), {**gone, Input.PODS: (), Input.TASK_RUNS: ()})
    assert wants(step) == ("Failed", "PipelineRunDeleted")


@pytest.mark.parametrize(
    ("found", "more"),
    [(WORKING, {}), (None, {Input.OWN_RUN: None, Input.PODS: (pod(),)}), (run({"startTime": rfc3339(at(1))}), {})],
    ids=["works-too-long", "gone-with-a-living-pod", "Tekton-is-down"],
)
def test_the_watchdog_ends_what_nobody_else_ends(found: Json | None, more: dict[Input, Any]) -> None:
    """TH16, P:Q9, P:T4: T + 5m + 60 s from the start; the cause is written down before it is acted on."""
    obj = seen_started()
    step, _, _ = decide(snapshot(obj, 2160, cached_run=found, cached_task_runs=(task_run(),)), more)
    said = next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")
    assert (said["status"], said["reason"]) == ("True", "DeadlineExceeded")
    assert "2160 s" in said["message"]


def test_the_watchdog_follows_the_time_out_that_was_asked_for() -> None:
    """TH16: 1h asked for means that nothing happens before 1h + 5m + 60 s."""
    obj = seen_started()
    obj["spec"]["executionConfig"] = {"timeout": "1h"}
    last = 3600 + 300 + 60
    tasks = (task_run(),)
    step, _, _ = decide(snapshot(obj, last - 1, cached_run=WORKING, cached_task_runs=tasks))
    assert "Cancelling" not in [c["type"] for c in committed(step)["conditions"]]
    step, _, _ = decide(snapshot(obj, last, cached_run=WORKING, cached_task_runs=tasks))
    assert "3960 s" in next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")["message"]


def cancelling(since: float = 0.0, reason: str = "Cancelled") -> Json:
    type_ = {"type": "Cancelling", "status": "True", "reason": reason, "message": "cancelled by sre: stop"}
    return wfe(running(conditions=[{**type_, "lastTransitionTime": rfc3339(at(since))}]), finalizer=True)


@pytest.mark.parametrize(
    ("seconds", "effect"),
    [(1, "CancelledRunFinally"), (60, "Cancelled"), (120, "delete")],
    ids=["first", "60-s", "120-s"],
)
def test_a_cancellation_gets_harder(seconds: float, effect: str) -> None:
    """TH15, TH20, T56: finally tasks run first; each step counts from the recorded decision, so a restart goes on."""
    step, _, _ = decide(snapshot(cancelling(), seconds, cached_run=WORKING, cached_task_runs=(task_run(),)))
    done = acts(step)
    if effect == "delete":
        assert isinstance(done, DeleteRun)
    else:
        assert isinstance(done, CancelRun)
        assert done.mode == effect


def test_a_cancellation_ends_after_180_seconds_whatever_is_left() -> None:
    """T56, P:L2, P:Q9: blocked, naming the survivors; whether a step ran does not matter."""
    obj = cancelling(reason="Deleted")
    step, _, _ = decide(
        snapshot(obj, 180, cached_run=WORKING, cached_task_runs=(task_run(),)),
        {**ENDING, Input.PODS: (pod("Running"),), Input.TASK_RUNS: (task_run(),)},
    )
    status = committed(step)
    assert wants(step) == ("Failed", "Cancelled")
    said = next(c for c in status["conditions"] if c["type"] == "Cancelling")
    assert said["reason"] == "CancelIncomplete"
    assert pod()["metadata"]["name"] in said["message"]


def test_a_run_that_never_resolves_is_ended_by_us() -> None:
    """P:T6, TH50: Tekton would show ResolvingPipelineRef for ever."""
    resolving = {"startTime": rfc3339(at(1)), "conditions": [condition("Unknown", "ResolvingPipelineRef")]}
    step, _, _ = decide(snapshot(OBJ, 61, cached_run=run(resolving)))
    said = next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")
    assert said["reason"] == "ResolutionTimeout"
    assert "reg.example/wf:v1" in said["message"]


def test_pods_that_do_not_start_are_told_and_end_the_run_in_time() -> None:
    """P:T2: the reason of waiting stands in status at once; after startTimeout it is over."""
    stuck = pod("Pending")
    stuck["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    ]
    seen: dict[str, Any] = {
        "cached_run": WORKING,
        "cached_task_runs": (task_run(started=False),),
        "cached_pods": (stuck,),
    }
    step, _, _ = decide(snapshot(OBJ, 30, **seen))
    assert wants(step) == ("Running", "Unschedulable")
    step, _, _ = decide(snapshot(OBJ, 601, **seen))
    assert next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")["reason"] == "StartTimeout"


def test_a_lost_hold_is_taken_back_or_told() -> None:
    """SPEC 1.3, P:L3: nothing is launched while somebody else holds the target."""
    obj = seen_started()
    seen: dict[str, Any] = {"cached_run": WORKING, "cached_task_runs": (task_run(),), "lock_conflict_with": "uid-other"}
    step, _, _ = decide(snapshot(obj, 30, **seen), {Input.LOCK: lock("uid-other")})
    said = next(c for c in committed(step)["conditions"] if c["type"] == "LockConflict")
    assert said["status"] == "True"
    assert "cart-0" in said["message"]
    step, _, _ = decide(snapshot(obj, 30, **seen), {Input.LOCK: lock()})
    assert type(acts(step)).__name__ == "Acquire"


@pytest.mark.parametrize(
    "odd",
    [{"conditions": "none"}, {"conditions": [None, 3]}, {"startTime": 5}, {"childReferences": [{}]}, None],
    ids=["conditions-text", "conditions-of-numbers", "no-time", "nameless-child", "null"],
)
def test_odd_shapes_of_other_writers_only_wait(odd: Any) -> None:
    """T19, T78."""
    found = run()
    found["status"] = odd
    step, _, _ = decide(snapshot(OBJ, 20, cached_run=found))
    assert not isinstance(step, Commit) or step.status["phase"] == "Running"

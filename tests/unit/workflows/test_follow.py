"""Following a run: given the object, its run and what the server says, which step (SPEC 2.3, 2.4 step 5, 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.shell import (
    HELD,
    RUN_NAME,
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
from wfe_controller.api.conditions import get_condition
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import LockUnreadable
from wfe_controller.workflows.phases.ending import settlement_of
from wfe_controller.workflows.plan import Acquire, AddFinalizer, Commit, Input, StartRun, Stop
from wfe_controller.workflows.snapshot import Evidence, Snapshot

CANCELLING = {"type": "Cancelling", "status": "True", "reason": "Cancelled", "lastTransitionTime": rfc3339(at(0))}
POD = f"{RUN_NAME}-act-pod"


def settled(obj: Json, **more: Any) -> Snapshot:
    """A snapshot whose progress is written already, so that only what is new shows."""
    seen = snapshot(obj, **more)
    step, _, _ = decide(seen)
    return replace(seen, wfe={**obj, "status": committed(step)})


def me(**status: Any) -> Json:
    return wfe(running(**status), finalizer=True)


def stopped(step: object) -> float:
    assert isinstance(step, Stop), step
    assert isinstance(step.outcome, RequeueAfter)
    return step.outcome.seconds


# -- the start ---------------------------------------------------------------------------------------------------------


def test_a_pending_run_is_started_on_a_live_look_at_the_lock() -> None:
    """SPEC 1.3: before each launch the lock is read live, and the cached run may be stale."""
    step, reads, _ = decide(snapshot(me(), cached_run=run(pending=True)), HELD)
    assert reads == [Input.LOCK]
    assert isinstance(acts(step), StartRun)


def test_a_run_that_is_being_deleted_is_not_started() -> None:
    """Deleted by hand while pending, held by a finalizer of others: released now, nothing would prove any more that it
    never ran, and Tekton would not run it either."""
    step, reads, _ = decide(snapshot(me(), cached_run=run(pending=True, deleting=True)))
    assert (stopped(step), reads) == (2.0, [])


def test_a_free_lock_is_taken_back_before_the_start() -> None:
    step, _, _ = decide(snapshot(me(), cached_run=run(pending=True)), {Input.LOCK: lock()})
    assert isinstance(acts(step), Acquire)


def test_an_unreadable_lock_starts_nothing() -> None:
    """TH22: it waits, and says for what."""
    seen = snapshot(me(), cached_run=run(pending=True))
    status = committed(decide(seen, {Input.LOCK: LockUnreadable("odd")})[0])
    assert (status["phase"], status["reason"]) == ("Running", "LockUnknown")
    again, _, _ = decide(replace(seen, wfe=me(**status)), {Input.LOCK: LockUnreadable("odd")})
    assert stopped(again) == 30


def test_a_lock_in_other_hands_ends_the_pending_run_instead() -> None:
    """SPEC 2.4: a pending run is never started when its WorkflowExecution is not the holder."""
    step, _, _ = decide(snapshot(me(), cached_run=run(pending=True)), {Input.LOCK: lock("uid-other")})
    cancelling = get_condition(committed(step)["conditions"], "Cancelling")
    assert cancelling is not None
    assert (cancelling["status"], cancelling["reason"]) == ("True", "LockLost")


def test_without_the_finalizer_nothing_is_started() -> None:
    step, _, _ = decide(snapshot(wfe(running()), cached_run=run(pending=True)), HELD)
    assert isinstance(acts(step), AddFinalizer)


def test_a_paused_object_does_not_start_its_pending_run() -> None:
    obj = wfe(running(), finalizer=True, annotations={"kubernaut.ai/pause": "true"})
    step, _, _ = decide(snapshot(obj, cached_run=run(pending=True)), HELD)
    assert committed(step)["reason"] == "Paused"
    assert committed(step)["phase"] == "Running"


# -- progress ----------------------------------------------------------------------------------------------------------


def test_progress_is_written_once_and_only_on_change() -> None:
    """TH36b, T19, T20: an equal status is not written again."""
    seen = snapshot(me(), 10, cached_run=run(working()), cached_task_runs=(task_run(),), cached_pods=(pod(),))
    step, reads, _ = decide(seen)
    assert reads == []
    assert isinstance(step, Commit)
    assert step.lane is Lane.PROGRESS
    status = step.status
    assert status["pipelineRunStatus"] == {
        "status": "Unknown",
        "reason": "Running",
        "completedTasks": 0,
        "totalTasks": 1,
    }
    assert get_condition(status["conditions"], "TektonPipelineRunning")["status"] == "True"  # type: ignore[index] # there
    again, _, _ = decide(replace(seen, wfe=me(**status), now=at(11)))
    assert stopped(again) == 10, "the poll backstop"


def test_progress_counts_task_runs_that_succeeded_and_never_goes_back() -> None:
    """T20, 47ffe28ed."""
    two = {**working(), "pipelineSpec": {"tasks": [{"name": "act"}, {"name": "check"}]}}
    seen = snapshot(me(), 10, cached_run=run(two), cached_task_runs=(task_run("True"),))
    status = committed(decide(seen)[0])
    assert (status["completedSteps"], status["totalSteps"], status["progress"]) == (1, 2, 50)
    before = committed(decide(snapshot(me(progress=80), 10, cached_run=run(two), cached_task_runs=()))[0])
    assert before["progress"] == 80


def test_a_pod_that_cannot_get_its_image_is_shown() -> None:
    """P:T2."""
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    stuck = pod("Pending")
    stuck["status"]["containerStatuses"] = [{"name": "step-act", "state": waiting}]
    step, _, _ = decide(
        snapshot(me(), 10, cached_run=run(working()), cached_task_runs=(task_run(started=False),), cached_pods=(stuck,))
    )
    assert isinstance(step, Commit)
    assert step.status["reason"] == "ImagePullBackOff"
    assert POD in step.status["message"]
    assert [note.reason for note in step.notes] == ["PodWaiting"]


def test_pausing_does_not_stop_what_runs() -> None:
    obj = wfe(running(), finalizer=True, annotations={"kubernaut.ai/pause": "true"})
    status = committed(decide(snapshot(obj, 10, cached_run=run(working()), cached_task_runs=(task_run(),)))[0])
    assert "reason" not in status
    assert get_condition(status["conditions"], "Paused")["status"] == "True"  # type: ignore[index] # there


# -- a hold that the cache does not show any more ----------------------------------------------------------------------


def test_a_lost_hold_is_asserted_again() -> None:
    """SPEC 1.3 re-assertion."""
    seen = snapshot(me(), 10, cached_run=run(working()), lock_conflict_with="nobody")
    step, reads, _ = decide(seen, {Input.LOCK: lock()})
    assert reads == [Input.LOCK]
    assert isinstance(acts(step), Acquire)


def test_a_hold_in_other_hands_is_said_and_the_run_followed() -> None:
    seen = snapshot(me(), 10, cached_run=run(working()), lock_conflict_with="uid-other")
    status = committed(decide(seen, {Input.LOCK: lock("uid-other")})[0])
    assert status["phase"] == "Running"
    conflict = get_condition(status["conditions"], "LockConflict")
    assert conflict is not None
    assert conflict["status"] == "True"
    assert "uid-other" in conflict["message"]


def test_a_doubt_that_the_live_lock_clears_says_nothing() -> None:
    seen = snapshot(me(), 10, cached_run=run(working()), lock_conflict_with="nobody")
    status = committed(decide(seen, HELD)[0])
    assert get_condition(status["conditions"], "LockConflict") is None


@pytest.mark.parametrize(
    ("conditions", "cached", "pods"),
    [
        pytest.param([], run(finished("False")), (pod(),), id="done-and-its-pods-go-on"),
        pytest.param([CANCELLING], run(working()), (), id="being-cancelled"),
        pytest.param([CANCELLING], run(working()), (pod(),), id="given-up"),
    ],
)
def test_a_hold_lost_during_the_end_is_asserted_again(conditions: list[Json], cached: Json, pods: Any) -> None:
    """Running, cancelled or already done; somebody deletes the TargetLock; another execution could take the target."""
    seen = snapshot(me(conditions=conditions), 70, cached_run=cached, lock_conflict_with="nobody")
    step, _, _ = decide(seen, {Input.LOCK: None, Input.PODS: pods})
    assert isinstance(acts(step), Acquire)


@pytest.mark.parametrize("record", [None, lock()], ids=["deleted", "holder-removed"])
def test_no_verdict_without_the_hold_while_it_can_be_had(record: Any) -> None:
    """Only a holder writes history: the lock was deleted, the cache does not know yet, the run fails after its first
    step. Without the hold the end left no block, and the target was free for the next."""
    answers = {Input.PODS: (), Input.TASK_RUNS: (task_run("False", code=1),)}
    step, _, seen = decide(snapshot(me(), 70, cached_run=run(finished("False"))), {**answers, Input.LOCK: record})
    assert isinstance(acts(step), Acquire)
    step, _, seen = decide(
        replace(seen, inputs=replace(seen.inputs, lock=lock(UID, acquired=70))), {Input.EVIDENCE: Evidence()}
    )
    assert settlement_of(seen, committed(step)).block is not None


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown", ""])
def test_no_verdict_while_a_pod_may_still_act(phase: str) -> None:
    """SPEC 2.3 [seen]: Tekton reports done while pods still run. An unknown phase counts as running (TH20)."""
    step, reads, _ = decide(snapshot(me(), 70, cached_run=run(finished())), {Input.PODS: (pod(phase),)})
    assert reads == [Input.PODS]
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Running", "WaitingForRelease")
    assert POD in status["message"]


def test_the_wait_for_pods_is_short_and_says_it_once() -> None:
    seen = snapshot(me(), 70, cached_run=run(finished()))
    status = committed(decide(seen, {Input.PODS: (pod(),)})[0])
    assert stopped(decide(replace(seen, wfe=me(**status)), {Input.PODS: (pod(),)})[0]) == 2


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(None, id="T24-gone"),
        pytest.param(run(working(), uid="run-2", owner="uid-other"), id="TH3-anothers-run-under-my-name"),
        pytest.param(run(finished(), uid="run-2"), id="TH3-another-uid-even-with-my-marks"),
    ],
)
def test_a_run_that_is_not_there_is_looked_for_live_before_it_counts_as_gone(other: Json | None) -> None:
    """A cache that lacks it proves nothing (T28)."""
    answers = {**HELD, Input.OWN_RUN: other, Input.PODS: (), Input.TASK_RUNS: ()}
    step, reads, _ = decide(snapshot(me(), 70), answers)
    assert reads[:2] == [Input.OWN_RUN, Input.PODS]
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Failed", "PipelineRunDeleted")
    assert status["failureDetails"]["wasExecutionFailure"] is True


def test_a_vanished_run_keeps_the_hold_while_its_pods_act() -> None:
    """SPEC 3: no release while pods carry its UID."""
    step, _, _ = decide(snapshot(me(), 70), {Input.OWN_RUN: None, Input.PODS: (pod(),)})
    assert committed(step)["phase"] == "Running"


# -- Running without a reference ---------------------------------------------------------------------------------------


def test_running_without_a_reference_finds_its_run_by_owner() -> None:
    """TH45."""
    bare = {"phase": "Running"}
    step, reads, _ = decide(snapshot(wfe(bare, finalizer=True), 70), {**HELD, Input.NAMED_RUN: run(working())})
    assert reads == [Input.NAMED_RUN, Input.LOCK]
    assert committed(step)["pipelineRunRef"]["uid"] == "run-mine"


def test_running_without_a_reference_and_without_a_run_ends() -> None:
    """TH45: not a crash loop, and not a second run."""
    answers = {**HELD, Input.NAMED_RUN: None, Input.OWN_RUN: None, Input.PODS: (), Input.TASK_RUNS: ()}
    step, _, _ = decide(snapshot(wfe({"phase": "Running"}, finalizer=True), 70), answers)
    assert committed(step)["reason"] == "PipelineRunDeleted"


# -- time --------------------------------------------------------------------------------------------------------------


def test_the_next_look_is_at_the_nearest_deadline() -> None:
    unresolved = {"startTime": parse_text(1), "conditions": [condition("Unknown", "ResolvingPipelineRef")]}
    seen = settled(me(), seconds=55, cached_run=run(unresolved))
    assert stopped(decide(seen)[0]) == pytest.approx(6)


def parse_text(seconds: float) -> str:
    text = at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert parse_rfc3339(text) == at(seconds)
    return text


@pytest.mark.parametrize(
    ("status", "seconds", "cause"),
    [
        pytest.param({"startTime": parse_text(1)}, 61, "ResolutionTimeout", id="bundle-never-resolved-60s"),
        pytest.param(working(), 601, "StartTimeout", id="TH50-no-step-within-10m"),
        pytest.param(working(), 1800 + 300 + 60, "DeadlineExceeded", id="TH16-watchdog-T-plus-6m"),
        pytest.param({}, 1800 + 300 + 60, "DeadlineExceeded", id="TH16-tekton-never-looked"),
    ],
)
def test_every_wait_has_an_end(status: Json, seconds: float, cause: str) -> None:
    """P:Q9: one second earlier there is no cause."""
    tasks = (task_run(started=False),) if status.get("childReferences") else ()
    pods = (pod("Pending"),) if tasks else ()
    for moment, wanted in ((seconds - 1, None), (seconds, cause)):
        seen = snapshot(me(), moment, cached_run=run(status), cached_task_runs=tasks, cached_pods=pods)
        if status == {} or cause == "DeadlineExceeded":
            seen = replace(seen, cached_task_runs=(task_run(),) if tasks else (), cached_pods=())
            seen = replace(seen, settings=replace(seen.settings, resolution_timeout=9999, start_timeout=9999))
        found = get_condition(committed(decide(seen)[0]).get("conditions"), "Cancelling")
        assert (found["reason"] if found else None) == wanted, moment

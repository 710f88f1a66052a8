"""What a second look at forged statuses found (SPEC 2.3 to 2.6, decision 0010). Each test tells its sequence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.shell import (
    TARGET,
    UID,
    acts,
    at,
    committed,
    decide,
    ended,
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
from wfe_controller.api.reasons import BlockReason
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json
from wfe_controller.locking import transitions
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import LockRecord
from wfe_controller.workflows.instruments import NoWorkflowInstruments
from wfe_controller.workflows.plan import Acquire, Act, Input, RemoveFinalizer, Settle, Stop
from wfe_controller.workflows.snapshot import Evidence

HELD = lock(UID, acquired=-10)
UNSTARTED = {"reason": "Cancelled", "message": "cancelled", "wasExecutionFailure": False}
GAVE_UP = [{"type": "Cancelling", "status": "False", "reason": "CancelIncomplete", "message": "still there: act-pod"}]
STEPS: Json = {"workflowRef": None, "workflowDefinition": {"name": "w", "steps": [{"name": "a"}]}}


def test_a_cancellation_that_gave_up_blocks_as_what_it_is() -> None:
    """After 180 s a pod that never started is left over; the terminal status is written; the process dies; the pod
    starts. Settled again from the status, the target was blocked with OrphanedRun, which is cleared without ``force:``
    while the survivor runs (SPEC 2.5: ALWAYS CancelIncomplete)."""
    status = {**running(), **ended("Failed", seconds=60, failureDetails=UNSTARTED, conditions=GAVE_UP)}
    obj = wfe(status, finalizer=True)
    seen = snapshot(obj, 61, cached_run=run(working()), cached_task_runs=(task_run(),), cached_pods=(pod("Running"),))
    step, _, _ = decide(seen, {Input.LOCK: HELD})
    end = acts(step)
    assert isinstance(end, Settle)
    after = transitions.settle(HELD, seen.claim, end.settlement, at(61), Limits())
    assert isinstance(after, LockRecord)
    assert after.block is not None
    assert after.block.reason == BlockReason.CANCEL_INCOMPLETE
    assert "act-pod" in after.block.message


@pytest.mark.parametrize("phase", ["", "Pending"])
def test_a_phase_taken_back_is_written_again(phase: str) -> None:
    """The run works; somebody writes phase Pending. Nothing else changed, so nothing was written: the object said
    Pending until the run ended, and whoever takes over does not assert the hold of an object that is not Running."""
    status = running(observedGeneration=1, executionEngine="tekton")
    first, _, _ = decide(snapshot(wfe(status, finalizer=True), 5, cached_run=run(working())))
    settled = committed(first)
    again, _, _ = decide(snapshot(wfe(settled, finalizer=True), 6, cached_run=run(working())))
    assert isinstance(again, Stop)
    forged = {**settled, "phase": phase}
    step, _, _ = decide(snapshot(wfe(forged, finalizer=True), 6, cached_run=run(working())))
    assert committed(step)["phase"] == "Running"


@pytest.mark.parametrize("phase", ["Validating", "RollingBack", "Degraded", "Planning"])
def test_a_steps_object_of_a_later_version_is_not_said_to_have_never_started(phase: str) -> None:
    """A version with the steps engine works on it and is rolled back to this one; the object is deleted. It holds the
    target and is past Pending, so steps may have run: it ended as "cancelled before it started", without a block, or
    never ended at all because the table has no such edge."""
    obj = wfe({"phase": phase}, finalizer=True, deleted=5, **STEPS)
    answers: dict[Input, Any] = {
        Input.LOCK: HELD,
        Input.NAMED_RUN: None,
        Input.OWN_RUN: None,
        Input.PODS: (),
        Input.TASK_RUNS: (),
        Input.EVIDENCE: Evidence(),
    }
    step, _, _ = decide(snapshot(obj, 6), answers)
    status = committed(step)
    assert status["phase"] == "Failed"
    assert status["failureDetails"]["wasExecutionFailure"] is True


def test_an_end_whose_block_was_cleared_is_not_written_again() -> None:
    """Failed, recorded, but the finalizer could not be taken off (somebody's webhook); the block is cleared, and ten
    minutes later the empty record is swept. The target was blocked anew, for the failure that was cleared."""
    over = [{"type": "Finished", "status": "True", "reason": "Failed", "lastTransitionTime": rfc3339(at(60))}]
    details = {"reason": "TaskFailed", "message": "exit code 3", "wasExecutionFailure": True}
    status = {**running(), **ended("Failed", seconds=60, failureDetails=details, conditions=over)}
    step, _, _ = decide(snapshot(wfe(status, finalizer=True), 900), {Input.LOCK: None})
    assert isinstance(step, Act)
    assert isinstance(step.effect, Acquire)
    cleared = {**status, "blockClearance": {"clearedBy": "alice", "clearedAt": rfc3339(at(90))}}
    step, _, _ = decide(snapshot(wfe(cleared, finalizer=True), 900), {Input.LOCK: None})
    assert acts(step) == RemoveFinalizer()


@pytest.mark.parametrize("outcome", ["Completed", "Failed"])
def test_what_an_earlier_release_left_behind_is_let_go_as_it_is(outcome: str) -> None:
    """That release kept its finalizer on every ended object and knew no TargetLocks. After the upgrade each target was
    acquired, and blocked for a failure of months ago: no record stood where there never had been one."""
    status = {**running(), **ended(outcome, seconds=60)}
    obj = wfe(status, finalizer=names.LEGACY_FINALIZERS[0])
    step, _, _ = decide(snapshot(obj, 10**7), {Input.LOCK: None})
    assert acts(step) == RemoveFinalizer()


class Blocks(NoWorkflowInstruments):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def blocked(self, reason: str) -> None:
        self.seen.append(reason)


async def test_one_block_is_counted_once() -> None:
    """Blocked while its run lived, and settled when it had ended: the counter of blocks went up twice for one."""
    bench, blocks = Bench(), Blocks()
    bench.world.instruments = blocks
    key = bench.create(wfe())
    for _ in range(3):
        await bench.reconcile(key)
    (made,) = bench.runs()
    bench.set_status(names.PIPELINERUNS, made, working())
    await bench.reconcile(key)
    obj = bench.wfe(key)
    bench.set_status(names.WORKFLOWEXECUTIONS, obj, {**obj["status"], **ended("Completed")})
    await bench.reconcile(key)
    assert bench.lock_status(TARGET)["block"]["reason"] == "OrphanedRun"
    assert "holder" in bench.lock_status(TARGET)
    bench.set_status(names.PIPELINERUNS, made, finished("False"))
    await bench.reconcile(key)
    assert bench.lock_status(TARGET)["lastExecution"]["outcome"] == "Unknown"
    assert blocks.seen == ["OrphanedRun"]


def test_a_pending_run_that_somebody_deletes_and_that_does_not_go_is_named() -> None:
    """Deleted by hand before its start, and kept by a finalizer of somebody else: nothing said for what was waited."""
    obj = wfe(running(), finalizer=True)
    leaving = run(pending=True, deleting=True)
    step, _, _ = decide(snapshot(obj, 2, cached_run=leaving))
    assert isinstance(step, Stop)
    step, _, _ = decide(snapshot(obj, 6, cached_run=leaving))
    status = committed(step)
    assert status["reason"] == "WaitingForRelease"
    assert "chains.tekton.dev/results" in status["message"]
    step, _, _ = decide(snapshot({**obj, "status": status}, 7, cached_run=leaving))
    assert isinstance(step, Stop)

"""A status that somebody else has written: what was started is looked at, whatever the phase says (SPEC 2.3, 2.4, 13).

Each sequence was a known hole: it let a target go, forgot an end, started twice, or never came to an end.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shell import (
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
from wfe_controller.api.reasons import BlockReason, LockOutcome
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking import transitions
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, Clearance, LastExecution, LockRecord
from wfe_controller.locking.transitions import Unchanged
from wfe_controller.workflows.plan import (
    Acquire,
    Act,
    BlockTarget,
    CancelRun,
    Commit,
    CreateRun,
    DropHold,
    Input,
    RemoveFinalizer,
    Settle,
    Stop,
)
from wfe_controller.workflows.snapshot import Evidence

HELD = lock(UID, acquired=-10)
OVER = [{"type": "Finished", "status": "True", "reason": "x", "lastTransitionTime": rfc3339(at(60))}]
EXECUTED = {"reason": "TaskFailed", "message": "exit code 3", "wasExecutionFailure": True}
UNSTARTED = {"reason": "ConfigurationError", "message": "no bundle", "wasExecutionFailure": False}


def forged(phase: str, **more: Any) -> Json:
    """The status of a running object with only its phase, and what goes with it, written by somebody else."""
    return {**running(), **ended(phase, seconds=60), **more}


@pytest.mark.parametrize(
    "status",
    [
        forged("Completed"),
        forged("Failed", failureDetails=UNSTARTED),
        forged("Failed", failureDetails=EXECUTED, conditions=OVER),
        forged("Skipped"),
        ended("Completed"),
    ],
    ids=["completed", "failed", "with-our-condition", "skipped", "without-the-reference"],
)
@pytest.mark.parametrize("deleted", [None, 60.0], ids=["stays", "is-deleted"])
@pytest.mark.parametrize("left", ["run", "pod"])
def test_a_terminal_phase_does_not_let_a_living_run_go(left: str, deleted: float | None, status: Json) -> None:
    """The run works; somebody writes a terminal phase; its worker settled at once, and the hold was gone while the run
    went on. Now the target is blocked first, once, and held until the run is done and its pods have ended; then the
    end is recorded as unknown, whatever the status says."""
    obj = wfe(status, finalizer=True, deleted=deleted)
    alive = run(working() if left == "run" else finished())
    pods = (pod("Running"),) if left == "pod" else ()
    answers = {Input.LOCK: HELD, Input.OWN_RUN: alive, Input.PODS: pods}
    step, _, _ = decide(snapshot(obj, 61, cached_run=alive), answers)
    assert isinstance(step, Act)
    assert isinstance(step.effect, BlockTarget)
    assert step.effect.block.reason == BlockReason.ORPHANED_RUN
    assert [note.reason for note in step.notes] == ["OrphanedRun"]

    blocked = transitions.block(HELD, UID, step.effect.block)
    assert isinstance(blocked, LockRecord)
    assert blocked.holder == HELD.holder
    step, _, _ = decide(snapshot(obj, 62, cached_run=alive), {**answers, Input.LOCK: blocked})
    assert not isinstance(step, Act) or not isinstance(step.effect, Settle | DropHold | RemoveFinalizer | BlockTarget)

    over = None if deleted is not None else run(finished())
    answers = {Input.LOCK: blocked, Input.OWN_RUN: over, Input.PODS: (pod("Failed"),)}
    step, _, _ = decide(snapshot(obj, 63, cached_run=over), answers)
    end = acts(step)
    assert isinstance(end, Settle)
    after = transitions.settle(blocked, snapshot(obj).claim, end.settlement, at(63), Limits())
    assert isinstance(after, LockRecord)
    assert after.holder is None
    assert after.last_execution is not None
    assert after.last_execution.outcome == LockOutcome.UNKNOWN
    assert after.block is not None
    assert (after.block.reason, after.block.by_uid) == (BlockReason.ORPHANED_RUN, UID)


def test_a_deletion_that_waited_long_enough_leaves_the_names_of_the_survivors() -> None:
    """SPEC 2.5: forged, deleted, and after 180 s its pod is still there: CancelIncomplete, and the object goes."""
    obj = wfe(forged("Completed"), finalizer=True, deleted=60)
    block = Block(BlockReason.ORPHANED_RUN, UID, "cart-1", at(61), "still there")
    held = lock(UID, acquired=-10, block=block)
    answers = {Input.LOCK: held, Input.OWN_RUN: None, Input.PODS: (pod("Running"),)}
    step, _, _ = decide(snapshot(obj, 239), answers)
    assert step == Stop(RequeueAfter(10.0))
    step, _, _ = decide(snapshot(obj, 240), answers)
    end = acts(step)
    assert isinstance(end, Settle)
    after = transitions.settle(held, snapshot(obj).claim, end.settlement, at(240), Limits())
    assert isinstance(after, LockRecord)
    assert after.block is not None
    assert after.block.reason == BlockReason.CANCEL_INCOMPLETE
    assert "-act-pod" in after.block.message


@pytest.mark.parametrize(
    ("status", "found", "tasks", "believed"),
    [
        (forged("Completed"), run(finished("True")), (), True),
        (forged("Completed"), run(finished("False")), (), False),
        (forged("Failed", failureDetails=UNSTARTED), run(finished("False")), (task_run("False", code=3),), False),
        (forged("Failed", failureDetails=UNSTARTED), run(finished("False")), (), True),
        (forged("Failed", failureDetails=EXECUTED), run(finished("True")), (task_run("True"),), True),
    ],
    ids=["the-same", "it-failed", "a-step-ran", "nothing-says-otherwise", "graver-than-the-run"],
)
def test_a_finished_run_that_says_otherwise_is_believed(
    status: Json, found: Json, tasks: tuple[Json, ...], believed: bool
) -> None:
    """The run ends, and before our worker looks somebody writes that it was a success, or that nothing ever ran."""
    seen = snapshot(wfe(status, finalizer=True), 61, cached_run=found, cached_task_runs=tasks)
    step, _, _ = decide(seen, {Input.LOCK: HELD, Input.PODS: ()})
    end = acts(step)
    assert isinstance(end, Settle)
    assert (end.settlement.outcome is not LockOutcome.UNKNOWN) is believed
    if not believed:
        assert end.settlement.block is not None
        assert end.settlement.block.reason == BlockReason.ORPHANED_RUN


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (
            forged("Failed", conditions=[{"type": "Cancelling", "status": "False", "reason": "CancelIncomplete"}]),
            working(),
        ),
        (forged("Failed"), None),
        (forged("Failed"), finished("False")),
        (ended("Failed"), None),
    ],
    ids=["a-cancellation-that-gave-up", "vanished", "done", "never-named-a-run"],
)
def test_our_own_ends_are_settled_as_before(status: Json, found: Json | None) -> None:
    """After a crash between the two end writes: one look at the pods and the run, none where no run was named."""
    cached = run(found) if found is not None else None
    answers = {Input.LOCK: HELD, Input.OWN_RUN: None, Input.PODS: ()}
    step, reads, _ = decide(snapshot(wfe(status, finalizer=True), 61, cached_run=cached), answers)
    assert isinstance(acts(step), Settle)
    assert Input.PODS in reads or "pipelineRunRef" not in status or "conditions" in status


def test_only_the_holder_blocks() -> None:
    block = Block(BlockReason.ORPHANED_RUN, UID, "cart-1", at(0), "still there")
    for record in (lock(), lock("uid-other")):
        assert isinstance(transitions.block(record, UID, block), Unchanged)


# -- the record is gone ------------------------------------------------------------------------------------------------

FAILED = {**running(), **ended("Failed", seconds=60, failureDetails=EXECUTED, conditions=OVER)}
ANOTHERS = LastExecution("uid-other", "cart-0", "restart", "Completed", at(70), at(70))
CLEARED = Clearance("alice", at(70), "looked at it", False)


@pytest.mark.parametrize("seconds", [61, 600])
def test_a_record_that_was_removed_before_the_settlement_is_written_again(seconds: float) -> None:
    """Terminal status written; the process dies; somebody takes the lock's finalizer off and deletes it; the next
    process found no lock, took its own finalizer off, and the failed execution left no block behind."""
    obj = wfe(FAILED, finalizer=True)
    step, _, _ = decide(snapshot(obj, seconds), {Input.LOCK: None})
    assert acts(step) == Acquire(None)
    # The new hold is later than the end, by any clock, and must not be taken for one that has nothing to tell.
    again = lock(UID, acquired=seconds)
    step, _, _ = decide(snapshot(obj, seconds), {Input.LOCK: again, Input.OWN_RUN: None, Input.PODS: ()})
    end = acts(step)
    assert isinstance(end, Settle)
    after = transitions.settle(again, snapshot(obj).claim, end.settlement, at(seconds), Limits())
    assert isinstance(after, LockRecord)
    assert after.block is not None
    assert after.block.reason == BlockReason.EXECUTION_FAILED


@pytest.mark.parametrize(
    ("status", "record", "wanted"),
    [
        pytest.param(FAILED, lock(), Acquire, id="made-again-empty"),
        pytest.param(FAILED, lock(last_execution=ANOTHERS), RemoveFinalizer, id="somebody-ran-since"),
        pytest.param(FAILED, lock(clearances=(CLEARED,)), RemoveFinalizer, id="cleared-since"),
        pytest.param({**FAILED, "blockClearance": {"clearedBy": "alice"}}, lock(), RemoveFinalizer, id="told-cleared"),
        pytest.param(ended("Failed"), None, RemoveFinalizer, id="never-named-a-run"),
        pytest.param(FAILED, lock("uid-other"), RemoveFinalizer, id="held-by-another"),
    ],
)
def test_only_an_end_that_nothing_remembers_is_written_again(
    status: Json, record: LockRecord | None, wanted: type
) -> None:
    step, _, _ = decide(snapshot(wfe(status, finalizer=True), 100), {Input.LOCK: record})
    assert isinstance(acts(step), wanted)


# -- a phase of nobody -------------------------------------------------------------------------------------------------

ASTRAY = ["Planning", "RollingBack", "Degraded", "Sleeping"]


@pytest.mark.parametrize("phase", ASTRAY)
def test_a_phase_of_another_engine_is_left_alone(phase: str) -> None:
    """T26: nothing is done and nothing is released."""
    step, reads, _ = decide(snapshot(wfe({**running(), "phase": phase}, finalizer=True), 5, cached_run=run(working())))
    assert (step, reads) == (Stop(RequeueAfter(30.0)), [])


@pytest.mark.parametrize("phase", ASTRAY)
def test_deletion_in_a_phase_of_another_engine_ends_by_looking_at_the_run(phase: str) -> None:
    """A tekton object runs; somebody writes a phase of the steps engine; it is deleted. Every reconcile wanted an edge
    that the table refuses, and the deletion never ended. Now the run is cancelled and judged like any other."""
    obj = wfe({**running(), "phase": phase}, finalizer=True, deleted=5)
    step, _, _ = decide(snapshot(obj, 6, cached_run=run(working())))
    status = committed(step)
    assert status["phase"] == "Running"
    assert any(c["type"] == "Cancelling" and c["status"] == "True" for c in status["conditions"])
    step, _, _ = decide(snapshot(wfe(status, finalizer=True, deleted=5), 7, cached_run=run(working())))
    assert isinstance(acts(step), CancelRun)

    answers = {
        Input.LOCK: HELD,
        Input.PODS: (),
        Input.TASK_RUNS: (task_run("False", code=1),),
        Input.EVIDENCE: Evidence(),
    }
    step, _, _ = decide(snapshot(obj, 20, cached_run=run(finished("False"))), answers)
    assert committed(step)["phase"] == "Failed"


@pytest.mark.parametrize("record", [HELD, None], ids=["held", "not-held"])
def test_deletion_in_such_a_phase_without_a_run(record: LockRecord | None) -> None:
    """Held, but nothing tells what was done: an execution failure. Not held: nothing was ever owned."""
    obj = wfe({"phase": "Planning"}, finalizer=True, deleted=5)
    answers = {Input.LOCK: record, Input.NAMED_RUN: None, Input.OWN_RUN: None, Input.PODS: (), Input.TASK_RUNS: ()}
    step, _, _ = decide(snapshot(obj, 6), {**answers, Input.EVIDENCE: Evidence()})
    if record is None:
        assert acts(step) == RemoveFinalizer()
    else:
        details = committed(step)["failureDetails"]
        assert details["wasExecutionFailure"] is True


# -- a phase taken back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["", "Pending"])
@pytest.mark.parametrize("deleted", [None, 5.0], ids=["stays", "is-deleted"])
def test_a_run_that_was_named_is_never_created_again(phase: str, deleted: float | None) -> None:
    """The run works; somebody writes phase Pending and deletes the run. The hold was still there, no run was found
    under its name, and a second one was created. SPEC 2.4: a reference whose UID is missing has vanished."""
    status = {**running(), "phase": phase}
    obj = wfe(status, finalizer=True, deleted=deleted)
    answers = {Input.LOCK: HELD, Input.OWN_RUN: None, Input.PODS: (), Input.TASK_RUNS: (), Input.EVIDENCE: Evidence()}
    step, _, _ = decide(snapshot(obj, 6), answers)
    assert not isinstance(step, Act) or not isinstance(step.effect, CreateRun)
    assert isinstance(step, Commit)
    assert step.status["failureDetails"]["wasExecutionFailure"] is True

"""After the end, and deletion: one settlement, nothing of anybody else, a run kept for its time (SPEC 2.4-2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shell import (
    FREE,
    HELD,
    NOW,
    UID,
    acts,
    committed,
    decide,
    ended,
    finished,
    lock,
    run,
    running,
    snapshot,
    task_run,
    wfe,
    working,
)
from wfe_controller.api import names
from wfe_controller.api.conditions import set_condition
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import LastExecution, LockUnreadable
from wfe_controller.workflows.plan import (
    Act,
    Commit,
    DeleteRun,
    DropHold,
    Input,
    RemoveFinalizer,
    Settle,
    Stop,
)
from wfe_controller.workflows.settings import ShellSettings

FAILED = ended("Failed", failureDetails={"reason": "TaskFailed", "message": "exit code 3", "wasExecutionFailure": True})
UNSTARTED = ended(
    "Failed", failureDetails={"reason": "ConfigurationError", "message": "no bundle", "wasExecutionFailure": False}
)
RELEASED = run(finished(seconds=0))


@pytest.mark.parametrize("status", [ended(), FAILED], ids=["T30-completed", "T35-failed"])
@pytest.mark.parametrize(
    ("seconds", "left"),
    [(120, 180.0), (299, 1.0), (300, None), (360, None)],
    ids=["T30-2m", "just-before", "T31-exactly", "T32-6m"],
)
def test_a_finished_run_is_kept_for_its_retention(status: Json, seconds: float, left: float | None) -> None:
    """TH17: ours to delete, since nothing else would; success and failure alike. The lock was free long before."""
    step, reads, _ = decide(snapshot(wfe(status), seconds, cached_run=RELEASED))
    assert reads == []
    if left is None:
        assert isinstance(acts(step), DeleteRun)
    else:
        assert step == Stop(RequeueAfter(left))


def test_a_run_that_is_gone_already_is_fine() -> None:
    """T33, I-41."""
    step, _, _ = decide(snapshot(wfe(ended()), 900))
    assert step == Stop(Done())


def test_retention_of_zero_deletes_at_once() -> None:
    """T36: and no decision depends on the run being there."""
    settings = ShellSettings(run_retention=0.0)
    step, _, _ = decide(snapshot(wfe(ended()), 0, cached_run=RELEASED, settings=settings))
    assert isinstance(acts(step), DeleteRun)


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Skipped"])
@pytest.mark.parametrize("when", [None, "yesterday", 5], ids=["T37-absent", "T37-text", "T37-number"])
def test_a_terminal_status_without_a_time_stops_nobody(phase: str, when: Any) -> None:
    status = ended(phase, seconds=None)
    if when is not None:
        status["completionTime"] = when
    step, _, _ = decide(snapshot(wfe(status, finalizer=True), 10), {Input.LOCK: lock(UID)})
    assert isinstance(acts(step), Settle | DropHold)


def test_the_end_is_one_settlement_then_the_finalizer() -> None:
    """TH4, T32, I-64, SPEC 2.6: the note of the release belongs to the write that clears the hold, so it comes once."""
    obj = wfe(ended(), finalizer=True)
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: lock(UID, acquired=-60)})
    assert isinstance(step, Act)
    assert isinstance(step.effect, Settle)
    assert [note.reason for note in step.notes] == ["LockReleased"]
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: lock()})
    assert acts(step) == RemoveFinalizer()
    step, _, _ = decide(snapshot(wfe(ended()), 5))
    assert step == Stop(Done())


@pytest.mark.parametrize(
    ("status", "counts", "executed", "blocks"),
    [(ended(), False, False, False), (FAILED, False, True, True), (UNSTARTED, True, False, False)],
    ids=["success", "T43-execution", "BR-WE-012-pre-execution"],
)
def test_what_the_ledger_learns_is_derived_from_status(
    status: Json, counts: bool, executed: bool, blocks: bool
) -> None:
    """BR-WE-012, T46, TH21: after a crash between the two writes the same record comes out again."""
    step, _, _ = decide(snapshot(wfe(status, finalizer=True), 5), {Input.LOCK: lock(UID, acquired=-60)})
    settlement = acts(step).settlement
    assert (settlement.counts, settlement.was_execution_failure) == (counts, executed)
    assert (settlement.block is not None) is blocks


@pytest.mark.parametrize("reason", ["Cancelled", "DeadlineExceeded"])
def test_nobodys_fault_is_not_counted(reason: str) -> None:
    """BR-WE-012, SPEC 2.3: cancelled or out of time before the start leaves the streak as it is."""
    details = {"reason": reason, "message": "", "wasExecutionFailure": False}
    obj = wfe(ended("Failed", failureDetails=details), finalizer=True)
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: lock(UID, acquired=-60)})
    assert acts(step).settlement.counts is False


def test_missing_details_are_the_worst_case() -> None:
    """TH14, T47: a Failed status without failureDetails blocks; it never counts as never started."""
    step, _, _ = decide(snapshot(wfe(ended("Failed"), finalizer=True), 5), {Input.LOCK: lock(UID, acquired=-60)})
    assert acts(step).settlement.was_execution_failure is True


def test_an_end_is_not_recorded_twice() -> None:
    """TH36: a hold that came back after the record is dropped without a second one."""
    last = LastExecution(UID, "cart-1", "restart", "Failed", NOW, NOW)
    obj = wfe(UNSTARTED, finalizer=True)
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: lock(UID, acquired=-60, last_execution=last)})
    assert isinstance(acts(step), DropHold)


def test_an_unreadable_lock_keeps_finalizer_and_hold() -> None:
    """TH22, P:L10."""
    obj = wfe(ended(), finalizer=True)
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: LockUnreadable("status.holder")})
    assert isinstance(step, Stop)


def test_the_lock_of_another_is_not_released() -> None:
    """TH2, P:L10: an old object that comes by again after a restart takes its finalizer off and that is all."""
    obj = wfe(ended(), finalizer=True)
    step, _, _ = decide(snapshot(obj, 3600), {Input.LOCK: lock("uid-other")})
    assert acts(step) == RemoveFinalizer()


@pytest.mark.parametrize("status", [ended(), FAILED, ended("Skipped"), UNSTARTED], ids=lambda s: s["phase"])
@pytest.mark.parametrize("found", [None, run(working()), run(finished()), run(pending=True)], ids=lambda r: type(r))
@pytest.mark.parametrize("deleted", [None, 0.0], ids=["stays", "is-deleted"])
def test_terminal_is_final(status: Json, found: Json | None, deleted: float | None) -> None:
    """T25: whatever happens to its run afterwards, status is not written again."""
    for finalizer in (False, True):
        obj = wfe(status, finalizer=finalizer, deleted=deleted)
        answers = {Input.LOCK: lock(UID, acquired=-60), Input.OWN_RUN: found, Input.PODS: ()}
        step, _, _ = decide(snapshot(obj, 400, cached_run=found), answers)
        assert not isinstance(step, Commit)


def test_only_my_own_run_is_ever_deleted() -> None:
    """T39, TH2: the run of a newer object under the same name is not in my hands, for it does not carry my UID."""
    for obj in (wfe(ended()), wfe(ended(), finalizer=True), wfe(ended(), deleted=0, finalizer=True)):
        step, _, _ = decide(snapshot(obj, 3600), {Input.LOCK: lock("uid-other")})
        assert not isinstance(step, Act) or not isinstance(step.effect, DeleteRun)


def test_deletion_before_anything_was_owned_needs_nothing() -> None:
    """T51, T54: no finalizer, no call."""
    for status in (None, {"phase": "Pending"}, ended("Skipped"), ended()):
        step, reads, _ = decide(snapshot(wfe(status, deleted=0), 1))
        assert step == Stop(Done())
        assert reads == []


@pytest.mark.parametrize("name", [names.FINALIZER, *names.LEGACY_FINALIZERS])
def test_deletion_of_a_pending_object_lets_go_at_once(name: str) -> None:
    """T51, T52, TH42: under the present name of the finalizer and under the former one."""
    step, _, _ = decide(snapshot(wfe({"phase": "Pending"}, finalizer=name, deleted=0), 1), FREE)
    assert acts(step) == RemoveFinalizer()
    step, _, _ = decide(snapshot(wfe(ended(), finalizer=name), 1), {Input.LOCK: lock()})
    assert acts(step) == RemoveFinalizer()


def test_deletion_while_holding_ends_as_cancelled_first() -> None:
    """T51, P:L2: the hold is given back by the one end write, not by leaving."""
    step, _, _ = decide(snapshot(wfe({"phase": "Pending"}, finalizer=True, deleted=0), 1), HELD)
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")


def test_deletion_finds_a_run_that_no_status_names() -> None:
    """T55, BR-WE-004: by its owner UID; created, and the process died before it wrote the reference."""
    pending = run(pending=True)
    obj = wfe({"phase": "Pending"}, finalizer=True, deleted=0)
    step, _, _ = decide(snapshot(obj, 1, cached_run=pending), {**HELD, Input.NAMED_RUN: pending})
    effect = acts(step)
    assert isinstance(effect, DeleteRun)
    assert effect.run["metadata"]["uid"] == pending["metadata"]["uid"]


def test_deletion_of_a_running_object_cancels_and_keeps_the_finalizer() -> None:
    """T50, TH20, BR-WE-004: the decision is recorded first; nothing lets go while the run acts."""
    obj = wfe(running(), finalizer=True, deleted=0)
    step, _, _ = decide(snapshot(obj, 1, cached_run=run(working()), cached_task_runs=(task_run(),)))
    said = next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")
    assert (said["status"], said["reason"]) == ("True", "Deleted")


def test_a_stuck_deletion_of_the_run_does_not_hold_the_object_for_ever() -> None:
    """T53, T56: as long as the deadline runs the run is deleted or waited for, afterwards the target is let go."""
    obj = wfe(ended(), finalizer=True, deleted=0)
    stuck = run(finished(), deleting=True)
    answers = {Input.LOCK: lock(UID, acquired=-60), Input.PODS: ()}
    step, _, _ = decide(snapshot(obj, 1, cached_run=run(finished())), answers)
    assert isinstance(acts(step), DeleteRun)
    step, _, _ = decide(snapshot(obj, 179, cached_run=stuck), answers)
    assert isinstance(step, Stop)
    step, _, _ = decide(snapshot(obj, 180, cached_run=stuck), answers)
    assert isinstance(acts(step), Settle)


def test_an_incomplete_cancellation_becomes_its_block() -> None:
    """T56, SPEC 2.5: derived from the condition, so that it survives a crash before the settlement."""
    conditions = set_condition(
        None, "Cancelling", False, "CancelIncomplete", "still there: pod-1", generation=1, now=NOW
    )
    details = {"reason": "Cancelled", "message": "", "wasExecutionFailure": False}
    obj = wfe(ended("Failed", conditions=conditions, failureDetails=details), finalizer=True)
    step, _, _ = decide(snapshot(obj, 5), {Input.LOCK: lock(UID, acquired=-60)})
    block = acts(step).settlement.block
    assert (block.reason, "pod-1" in block.message) == ("CancelIncomplete", True)


def test_a_start_that_landed_after_the_end_is_undone() -> None:
    """TH34, SPEC 2.4: a pending run of an ended object is deleted, never started."""
    step, _, _ = decide(snapshot(wfe(ended()), 5, cached_run=run(pending=True)))
    assert isinstance(acts(step), DeleteRun)
    late = rfc3339(NOW)
    obj = wfe({"phase": "Skipped", "completionTime": late})
    step, _, _ = decide(snapshot(obj, 5, cached_hold=True), {Input.LOCK: lock(UID, acquired=3)})
    assert isinstance(acts(step), DropHold)

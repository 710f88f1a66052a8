"""After the end: every step may have happened before, in this process or another (SPEC 2.4 "End", 2.5, 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shell import (
    UID,
    acts,
    at,
    decide,
    ended,
    finished,
    lock,
    run,
    snapshot,
    wfe,
    working,
)
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import LastExecution, LockRecord
from wfe_controller.workflows.plan import DeleteRun, DropHold, Input, RemoveFinalizer, Settle, Stop

FAILED = ended("Failed", failureDetails={"reason": "ConfigurationError", "wasExecutionFailure": False})
OVER = {**FAILED, "conditions": [{"type": "Finished", "status": "True", "lastTransitionTime": rfc3339(at(0))}]}
RECORDED = LastExecution(UID, "cart-1", "restart", "Failed", at(0), at(0))
ANOTHERS = LastExecution("uid-other", "cart-0", "restart", "Completed", at(-60), at(-60))


@pytest.mark.parametrize(
    ("status", "record", "wanted"),
    [
        pytest.param(FAILED, lock(UID, acquired=-10), Settle, id="held-and-not-yet-recorded"),
        pytest.param(
            FAILED, lock(UID, acquired=-10, last_execution=ANOTHERS), Settle, id="anothers-record-is-not-mine"
        ),
        pytest.param(FAILED, lock(UID, acquired=0), Settle, id="ended-in-the-second-of-the-acquire"),
        pytest.param(FAILED, lock(UID, acquired=20), Settle, id="TH24-tekton-says-it-ended-before-our-acquire"),
        pytest.param(OVER, lock(UID, acquired=30), Settle, id="TH24-the-clocks-of-two-replicas-disagree"),
        pytest.param(OVER, lock(UID, acquired=31), DropHold, id="acquired-after-the-end"),
        pytest.param(FAILED, lock(UID, acquired=-10, last_execution=RECORDED), DropHold, id="recorded-and-held-again"),
        pytest.param(ended("Skipped"), lock(UID, acquired=-10), DropHold, id="skipped-never-writes-history"),
        pytest.param(ended("Completed", seconds=None), lock(UID), Settle, id="TH37-without-an-end-time"),
    ],
)
@pytest.mark.parametrize("finalizer", [True, False])
def test_one_end_is_recorded_once(finalizer: bool, status: Json, record: LockRecord, wanted: type) -> None:
    """A hold that came after the end (a late request, a stale look, a stripped finalizer) locks nobody out and counts
    nothing twice (T-18.5).

    When it ended is a matter of our own clock. Our clock 5 s ahead of Tekton's, acquired at 12:00:05, failed after its
    first step at 12:00:02: by completionTime that hold came after the end, was dropped, and the target was not blocked.
    """
    step, reads, _ = decide(snapshot(wfe(status, finalizer=finalizer), 5, cached_hold=True), {Input.LOCK: record})
    assert reads == [Input.LOCK]
    assert isinstance(acts(step), wanted)


@pytest.mark.parametrize("record", [None, lock(), lock("uid-other")])
def test_a_hold_that_only_the_cache_shows_changes_nothing(record: LockRecord | None) -> None:
    step, _, _ = decide(snapshot(wfe(FAILED), 5, cached_hold=True), {Input.LOCK: record})
    assert step == Stop(Done())


def test_at_rest_nothing_is_read() -> None:
    """TH4: no finalizer, no hold, no run."""
    step, reads, _ = decide(snapshot(wfe(FAILED), 5))
    assert (step, reads) == (Stop(Done()), [])


@pytest.mark.parametrize("status", [FAILED, ended("Completed"), ended("Skipped")])
@pytest.mark.parametrize("finalizer", [True, False])
def test_a_pending_run_that_landed_late_is_deleted_first(finalizer: bool, status: Json) -> None:
    """SPEC 2.4: it can never run, and goes before anything else."""
    step, reads, _ = decide(snapshot(wfe(status, finalizer=finalizer), 5, cached_run=run(pending=True)))
    assert reads == []
    assert isinstance(acts(step), DeleteRun)


@pytest.mark.parametrize(
    ("seconds", "cached", "wanted"),
    [
        pytest.param(10, run(finished()), "DeleteRun", id="takes-its-run-along"),
        pytest.param(10, run(working()), "BlockTarget", id="a-survivor-is-blocked-for-first"),
        pytest.param(10, run(finished(), deleting=True), "again", id="waits-until-it-is-gone"),
        pytest.param(180, run(finished(), deleting=True), "Settle", id="T56-but-not-for-ever"),
        pytest.param(10, None, "Settle", id="T52-gone-already"),
    ],
)
def test_a_deleted_object_takes_its_run_along_before_it_lets_go(seconds: float, cached: Any, wanted: str) -> None:
    obj = wfe(FAILED, finalizer=True, deleted=0)
    answers = {Input.LOCK: lock(UID, acquired=-10), Input.OWN_RUN: cached, Input.PODS: ()}
    step, _, _ = decide(snapshot(obj, seconds, cached_run=cached), answers)
    if isinstance(step, Stop):
        assert (step.outcome, wanted) == (RequeueAfter(1.0), "again")
    else:
        assert type(acts(step)).__name__ == wanted


def test_the_settlement_comes_before_the_finalizer() -> None:
    """SPEC 2.5: removed right after the release, never before."""
    first, _, _ = decide(snapshot(wfe(FAILED, finalizer=True), 5), {Input.LOCK: lock(UID, acquired=-10)})
    then, _, _ = decide(snapshot(wfe(FAILED, finalizer=True), 5), {Input.LOCK: lock(last_execution=RECORDED)})
    assert (type(acts(first)), type(acts(then))) == (Settle, RemoveFinalizer)


def test_a_target_that_was_never_one_has_no_lock_to_ask_for() -> None:
    """TH47."""
    step, reads, _ = decide(snapshot(wfe(FAILED, finalizer=True, targetResource="nonsense"), 5))
    assert reads == []
    assert isinstance(acts(step), RemoveFinalizer)

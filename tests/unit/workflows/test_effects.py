"""Doing one thing: repeatable, guarded by uid and version, honest about answers that got lost (I-29, I-44)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import shell
from wfe_controller.api import names
from wfe_controller.kube.control.outcomes import Conflict as ConflictOutcome
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.errors import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotLeading,
    Unavailable,
)
from wfe_controller.kube.objects import Json, ObjectKey
from wfe_controller.locking.decision import Claim
from wfe_controller.workflows.effects import Effects
from wfe_controller.workflows.engines.tekton.build import pipeline_run
from wfe_controller.workflows.phases.ending import settlement_of
from wfe_controller.workflows.plan import (
    Acquire,
    AddFinalizer,
    CancelRun,
    CreateRun,
    DeleteRun,
    DropHold,
    RemoveFinalizer,
    Settle,
    StartRun,
)
from wfe_controller.workflows.snapshot import UNREAD, Snapshot

if TYPE_CHECKING:
    from .conftest import Bench

LOCK = ObjectKey("kubernaut-system", names.lock_name(shell.TARGET))
RUN = ObjectKey(shell.EXECUTION, shell.RUN_NAME)
OTHER = Claim("uid-2", "cart-2", "ops", "restart", "tekton")


@pytest.fixture
def effects(bench: Bench) -> Effects:
    return Effects(bench.world)


def went_on(done: object) -> Snapshot:
    assert isinstance(done, Snapshot), done
    return done


# -- finalizer ---------------------------------------------------------------------------------------------------------


async def test_a_finalizer_is_added_once_and_off_with_its_predecessors(bench: Bench, effects: Effects) -> None:
    """T57, TH42."""
    seen = went_on(await effects.perform(bench.execution(finalizer=names.LEGACY_FINALIZERS[0]), AddFinalizer()))
    assert bench.stored()["metadata"]["finalizers"] == [names.LEGACY_FINALIZERS[0], names.FINALIZER]
    seen = went_on(await effects.perform(seen, RemoveFinalizer()))
    assert "finalizers" not in bench.stored()["metadata"]
    count = len(bench.calls)
    went_on(await effects.perform(seen, RemoveFinalizer()))
    assert len(bench.calls) == count, "nothing to take off, nothing written"


async def test_a_finalizer_is_never_put_on_an_object_that_moved(bench: Bench, effects: Effects) -> None:
    """SPEC 2.5: never on a deleting object; the version of the look is the guard."""
    seen = bench.execution()
    bench.server.update(names.WORKFLOWEXECUTIONS, seen.key, lambda o: o["metadata"].update(annotations={"a": "b"}))
    with pytest.raises(Conflict):
        await effects.perform(seen, AddFinalizer())


async def test_an_object_that_is_gone_needs_no_finalizer_off(bench: Bench, effects: Effects) -> None:
    """T-3.5."""
    seen = bench.execution(finalizer=True)
    bench.server.objects[names.WORKFLOWEXECUTIONS].clear()
    assert await effects.perform(seen, RemoveFinalizer()) == Done()


async def test_taking_off_the_last_finalizer_ends_the_reconcile(bench: Bench, effects: Effects) -> None:
    seen = bench.execution(shell.ended(), finalizer=True)
    bench.server.delete(names.WORKFLOWEXECUTIONS, seen.key)
    assert await effects.perform(bench.snapshot(bench.stored()), RemoveFinalizer()) == Done()
    assert bench.server.objects[names.WORKFLOWEXECUTIONS] == {}


# -- lock --------------------------------------------------------------------------------------------------------------


async def test_losing_the_lock_asks_all_questions_again(bench: Bench, effects: Effects) -> None:
    """T3, T-18.9: 409 on the acquire is re-evaluation, not failure."""
    seen = bench.execution()
    record = await bench.world.ledger.ensure(shell.TARGET)
    await bench.world.ledger.acquire(record, OTHER)
    after = went_on(await effects.perform(seen, Acquire(record)))
    assert (after.inputs.lock, after.inputs.holder) == (UNREAD, UNREAD)
    assert bench.stored(names.TARGETLOCKS, LOCK)["status"]["holder"]["uid"] == "uid-2"


async def test_a_record_that_appeared_meanwhile_is_decided_on_before_it_is_taken(
    bench: Bench, effects: Effects
) -> None:
    """TH48: the decision was made on "no record"; a block that another end wrote since must be seen."""
    seen = bench.execution()
    failed = shell.ended("Failed", failureDetails={"reason": "TaskFailed", "wasExecutionFailure": True})
    record = await bench.world.ledger.acquire(await bench.world.ledger.ensure(shell.TARGET), OTHER)
    blocked = await bench.world.ledger.settle(record, OTHER, settlement_of(seen, failed), bench.settings.limits)
    after = went_on(await effects.perform(seen, Acquire(None)))
    assert after.inputs.lock == blocked
    assert "holder" not in bench.stored(names.TARGETLOCKS, LOCK)["status"]


async def test_a_settlement_that_lost_a_race_tells_no_event(bench: Bench, effects: Effects) -> None:
    """TH36: the outcome is a conflict, and the reconciler records nothing for it."""
    seen = bench.execution(shell.ended())
    record = await bench.world.ledger.acquire(await bench.world.ledger.ensure(shell.TARGET), seen.claim)
    bench.server.update(names.TARGETLOCKS, LOCK, lambda o: o["metadata"].update(annotations={"a": "b"}))
    done = await effects.perform(seen, Settle(record, settlement_of(seen, seen.status)))
    assert isinstance(done, ConflictOutcome)
    assert bench.stored(names.TARGETLOCKS, LOCK)["status"]["holder"]["uid"] == seen.uid


async def test_a_dropped_hold_leaves_no_history(bench: Bench, effects: Effects) -> None:
    """SPEC 2.1 end."""
    seen = bench.execution()
    record = await bench.world.ledger.acquire(await bench.world.ledger.ensure(shell.TARGET), seen.claim)
    after = went_on(await effects.perform(seen, DropHold(record)))
    assert after.holds is False
    assert bench.stored(names.TARGETLOCKS, LOCK)["status"] == {}


# -- create ------------------------------------------------------------------------------------------------------------


def manifest(seen: Snapshot) -> Json:
    return pipeline_run(seen.wfe, seen.parsed, seen.target, seen.settings)  # type: ignore[arg-type] # both are valid


async def test_a_name_that_is_taken_is_looked_at(bench: Bench, effects: Effects) -> None:
    """T4, T5: whose it is decides the next step, not the 409."""
    seen = bench.execution()
    bench.run("uid-other")
    after = went_on(await effects.perform(seen, CreateRun(manifest(seen))))
    assert after.inputs.named_run is UNREAD
    assert after.create_error is None


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConnectionFailed("reset"), id="no-answer"),
        pytest.param(Unavailable(503, "ServiceUnavailable", "webhook timed out"), id="TH25-5xx-after-the-commit"),
    ],
)
async def test_an_unknown_outcome_of_a_create_is_looked_up(bench: Bench, effects: Effects, error: Exception) -> None:
    """I-44: it may stand there."""
    seen = replace(bench.execution(), inputs=replace(bench.snapshot({}).inputs, named_run=None))
    bench.fail["create", names.PIPELINERUNS, "after"] = error
    after = went_on(await effects.perform(seen, CreateRun(manifest(seen))))
    assert (after.inputs.named_run, after.create_error) == (UNREAD, error)


async def test_a_refusal_is_remembered_without_another_look(bench: Bench, effects: Effects) -> None:
    seen = replace(bench.execution(), inputs=replace(bench.snapshot({}).inputs, named_run=None))
    bench.fail["create", names.PIPELINERUNS, "before"] = error = Forbidden(403, "Forbidden", "exceeded quota")
    after = went_on(await effects.perform(seen, CreateRun(manifest(seen))))
    assert (after.inputs.named_run, after.create_error) == (None, error)


async def test_a_closed_gate_is_no_refusal(bench: Bench, effects: Effects) -> None:
    """I-51: nothing was sent, so nothing may be concluded, least of all PipelineRunCreationFailed."""
    seen = bench.execution()
    bench.fail["create", names.PIPELINERUNS, "before"] = NotLeading("the lease is old")
    with pytest.raises(NotLeading):
        await effects.perform(seen, CreateRun(manifest(seen)))


# -- changes of the run ------------------------------------------------------------------------------------------------


async def test_a_pending_run_is_started_once(bench: Bench, effects: Effects) -> None:
    """SPEC 2.4 step 5: the second, and every stale, start patch is refused."""
    seen = bench.execution()
    made = bench.run(seen.uid, pending=True)
    after = went_on(await effects.perform(seen, StartRun(made)))
    assert "status" not in bench.stored(names.PIPELINERUNS, RUN)["spec"]
    assert after.inputs.own_run == after.cached_run == bench.stored(names.PIPELINERUNS, RUN)
    assert isinstance(await effects.perform(seen, StartRun(made)), ConflictOutcome)


async def test_a_run_that_was_cancelled_meanwhile_is_not_started(bench: Bench, effects: Effects) -> None:
    seen = bench.execution()
    made = bench.run(seen.uid, pending=True)
    went_on(await effects.perform(seen, CancelRun(made, "Cancelled")))
    assert isinstance(await effects.perform(seen, StartRun(made)), ConflictOutcome)
    assert bench.stored(names.PIPELINERUNS, RUN)["spec"]["status"] == "Cancelled"


async def test_a_run_that_was_started_meanwhile_is_not_cancelled_as_pending(bench: Bench, effects: Effects) -> None:
    """Cancelled outright skips the finally tasks: only for what never ran."""
    seen = bench.execution()
    made = bench.run(seen.uid, pending=True)
    went_on(await effects.perform(seen, StartRun(made)))
    assert isinstance(await effects.perform(seen, CancelRun(made, "Cancelled")), ConflictOutcome)
    assert "status" not in bench.stored(names.PIPELINERUNS, RUN)["spec"]


async def test_another_run_under_the_name_is_not_changed(bench: Bench, effects: Effects) -> None:
    """TH3."""
    seen = bench.execution()
    made = bench.run(seen.uid, pending=True)
    stale = {**made, "metadata": {**made["metadata"], "uid": "an-older-one"}}
    assert isinstance(await effects.perform(seen, StartRun(stale)), ConflictOutcome)
    assert bench.stored(names.PIPELINERUNS, RUN)["spec"]["status"] == "PipelineRunPending"


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        pytest.param(Invalid(422, "Invalid", "immutable"), ConflictOutcome("immutable"), id="422"),
        pytest.param(
            BadRequest(400, "BadRequest", "admission webhook: done"), RequeueAfter(2.0), id="TH20-webhook-400"
        ),
    ],
)
async def test_a_refused_change_is_looked_at_again(
    bench: Bench, effects: Effects, error: Exception, wanted: object
) -> None:
    seen = bench.execution()
    made = bench.run(seen.uid)
    bench.fail["patch", names.PIPELINERUNS, "before"] = error
    assert await effects.perform(seen, CancelRun(made, "CancelledRunFinally")) == wanted


async def test_a_lost_answer_of_the_start_goes_up(bench: Bench, effects: Effects) -> None:
    """The caller requeues; the next start patch is refused by its own test."""
    seen = bench.execution()
    made = bench.run(seen.uid, pending=True)
    bench.fail["patch", names.PIPELINERUNS, "after"] = ConnectionFailed("reset")
    with pytest.raises(ConnectionFailed):
        await effects.perform(seen, StartRun(made))
    assert isinstance(await effects.perform(seen, StartRun(made)), ConflictOutcome)


# -- deletes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
async def test_a_settled_run_is_deleted_only_as_it_was_looked_at(bench: Bench, effects: Effects, field: str) -> None:
    """TH2, T39, I-64: by uid, and a finished or pending one by version too."""
    seen = bench.execution()
    made = bench.run(seen.uid, status=shell.finished())
    stale = {**made, "metadata": {**made["metadata"], field: "1"}}
    assert isinstance(await effects.perform(seen, DeleteRun(stale, "test")), ConflictOutcome)
    assert "deletionTimestamp" not in bench.stored(names.PIPELINERUNS, RUN)["metadata"]


async def test_a_delete_is_in_the_foreground_and_the_name_looked_at_again(bench: Bench, effects: Effects) -> None:
    """SPEC 3 [seen]."""
    seen = replace(bench.execution(), inputs=replace(bench.snapshot({}).inputs, named_run=None, name_users=()))
    made = bench.run(seen.uid, status=shell.finished())
    after = went_on(await effects.perform(replace(seen, cached_run=made), DeleteRun(made, "test")))
    assert bench.stored(names.PIPELINERUNS, RUN)["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (after.inputs.named_run, after.inputs.name_users, after.inputs.own_run) == (UNREAD, UNREAD, UNREAD)
    assert after.cached_run is not None
    assert after.cached_run["metadata"]["deletionTimestamp"], "not deleted twice in one reconcile"


async def test_a_run_that_is_gone_is_deleted(bench: Bench, effects: Effects) -> None:
    """T33, T52."""
    seen = bench.execution()
    made = bench.run(seen.uid, status=shell.finished())
    bench.server.objects[names.PIPELINERUNS].clear()
    went_on(await effects.perform(seen, DeleteRun(made, "test")))

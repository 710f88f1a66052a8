"""Runs, holds and records whose WorkflowExecution is gone (SPEC 2.6, TH18)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.support.bench import Bench
from tests.support.shell import TARGET, UID, at, finished, pod, task_run, wfe, working
from tests.support.stepping import HOME
from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.objects import PODS, Json, ObjectKey

LOCK = ObjectKey(HOME, names.lock_name(TARGET))
RUNS = names.PIPELINERUNS


async def left_alone(bench: Bench, *, keep_lock: bool = True) -> Json:
    """A started run whose WorkflowExecution was removed by force."""
    key = bench.create(wfe())
    await bench.reconcile(key)
    (run,) = bench.runs()
    bench.feed.deliver()
    bench.server.objects[names.WORKFLOWEXECUTIONS].pop(key)
    bench.feed.stores[names.WORKFLOWEXECUTIONS].remove(key, "999")
    if not keep_lock:
        bench.server.objects[names.TARGETLOCKS].pop(LOCK)
        bench.feed.stores[names.TARGETLOCKS].remove(LOCK, "999")
    bench.children(run, task_run(), pod("Running"))
    bench.set_status(RUNS, run, working())
    return run


def end_children(bench: Bench, outcome: str, phase: str) -> None:
    bench.set_status(names.TASKRUNS, bench.server.all(names.TASKRUNS)[0], task_run(outcome)["status"])
    bench.set_status(PODS, bench.server.all(PODS)[0], pod(phase)["status"])


async def test_a_living_run_keeps_its_target_and_is_ended_after_a_grace() -> None:
    """TH18, P:L4: held and alarmed at once; cancelled after the grace; then the outcome is unknown and a block."""
    bench = Bench()
    run = await left_alone(bench)
    assert isinstance(await bench.keep(LOCK), RequeueAfter)
    assert "OrphanedRun" in [reason for _, reason in bench.told.events]
    assert "holder" in bench.lock_status(TARGET)
    assert "status" not in bench.runs()[0]["spec"]
    bench.clock.advance(bench.settings.orphan_grace)
    await bench.keep(LOCK)
    assert bench.runs()[0]["spec"]["status"] == "CancelledRunFinally"
    bench.set_status(RUNS, run, finished("False"))
    await bench.keep(LOCK)
    assert "holder" in bench.lock_status(TARGET), "its TaskRun and pod have not ended"
    end_children(bench, "False", "Failed")
    await bench.keep(LOCK)
    status = bench.lock_status(TARGET)
    assert "holder" not in status
    assert status["block"]["reason"] == "OrphanedRun"
    assert status["lastExecution"]["outcome"] == "Unknown"
    assert bench.counted.calls["orphan holds"] == 1
    bench.clock.advance(bench.settings.run_retention)
    await bench.keep(LOCK)
    assert bench.runs()[0]["metadata"]["deletionTimestamp"]
    assert not bench.keeper._first_seen
    assert not bench.keeper._alarmed


async def test_a_living_run_without_a_lock_gets_its_hold_back() -> None:
    """TH18, TH21: nothing else may start on that target meanwhile."""
    bench = Bench()
    await left_alone(bench, keep_lock=False)
    await bench.keep(LOCK)
    assert bench.lock_status(TARGET)["holder"]["name"] == "cart-1"
    other = wfe(workflowRef={"workflowId": "scale", "version": "1", "containerImage": "reg.example/wf:v1"})
    other["metadata"]["name"] = "cart-2"
    key = bench.create(other)
    await bench.reconcile(key)
    assert bench.status(key)["phase"] in ("Pending", "Skipped")
    assert len(bench.runs()) == 1


async def test_an_orphan_is_logged_once_however_often_it_is_looked_at() -> None:
    """An execution is deleted without its finalizer and created again: the new one waits, and asks every second for
    the minute that the old run is given."""
    bench = Bench()
    await left_alone(bench)
    with capture_logs() as lines:
        for _ in range(5):
            await bench.keep(LOCK)
            bench.clock.advance(1)
    assert len([line for line in lines if line["log_level"] == "error" and line["event"] == "orphan"]) == 1


async def test_a_hold_is_kept_while_its_holder_lives() -> None:
    """P:L10, T10: by a live look, whatever the cache says; another UID under the name is another object."""
    bench = Bench()
    key = bench.create(wfe())
    await bench.reconcile(key)
    bench.feed.deliver()
    bench.feed.stores[names.WORKFLOWEXECUTIONS].remove(key, "999")
    assert await bench.keeper.reconcile(LOCK) is not None
    assert "holder" in bench.lock_status(TARGET)


async def test_a_finished_run_without_its_object_goes_after_its_retention() -> None:
    """TH18, TH17."""
    bench = Bench()
    run = await left_alone(bench)
    end_children(bench, "True", "Succeeded")
    bench.set_status(RUNS, run, finished())
    await bench.keep(LOCK)
    assert bench.lock_status(TARGET)["lastExecution"]["outcome"] == "Completed"
    outcome = await bench.keep(LOCK)
    assert isinstance(outcome, RequeueAfter)
    assert bench.runs()
    bench.clock.advance(bench.settings.run_retention + 120)
    await bench.keep(LOCK)
    assert bench.runs() == [] or bench.runs()[0]["metadata"].get("deletionTimestamp")


@pytest.mark.parametrize(
    ("age", "lock", "over", "woken"),
    [
        pytest.param(299, True, True, False, id="rests"),
        pytest.param(300, True, True, True, id="retention-over"),
        pytest.param(299, False, True, True, id="P:L4-its-record-is-lost"),
        pytest.param(299, True, False, True, id="TH18-it-lives"),
    ],
)
async def test_a_finished_run_without_its_object_costs_a_sweep_nothing(
    age: float, lock: bool, over: bool, woken: bool
) -> None:
    """A namespace is deleted with hundreds of ended executions: each of their runs, kept for its retention, cost two
    live reads in every sweep."""
    bench = Bench()
    run = await left_alone(bench, keep_lock=lock)
    if over:
        bench.set_status(RUNS, run, finished(seconds=0))
    if lock:
        ended = {"uid": UID, "name": "cart-1", "workflowId": "restart", "outcome": "Failed"}
        block = {"reason": "ExecutionFailed", "by": {"uid": UID, "name": "cart-1"}, "since": rfc3339(at(0))}
        status = {
            "lastExecution": {**ended, "completedAt": rfc3339(at(0)), "releasedAt": rfc3339(at(0))},
            "block": block,
        }
        bench.set_status(names.TARGETLOCKS, bench.server.get(names.TARGETLOCKS, LOCK), status)
    bench.feed.deliver()
    bench.woken.clear()
    bench.clock.time = at(age)
    await bench.sweeper.sweep()
    assert (LOCK in bench.woken) is woken
    before = len(bench.api.calls)
    outcome = await bench.keep(LOCK)
    asked = len(bench.api.calls) - before
    assert bool(asked) is woken
    if not woken:
        assert outcome == RequeueAfter(300 - age)


async def test_a_run_that_is_none_of_ours_is_never_touched() -> None:
    """T41, T60: without our UID no event of it leads anywhere."""
    bench = Bench()
    meta = {"name": names.run_name(TARGET), "namespace": "kubernaut-workflows", "labels": {names.OWNER_NAME: "cart-1"}}
    bench.server.create(RUNS, {"metadata": meta, "spec": {}})
    assert await bench.keep(LOCK) == Done()
    bench.clock.advance(10_000)
    assert await bench.keep(LOCK) == Done()
    assert [call for call in bench.api.calls if call.writes] == []
    assert len(bench.runs()) == 1


async def test_the_sweep_only_wakes() -> None:
    """SPEC 2.6, P:L5: what is not at rest is named to its worker every minute; the sweep itself writes nothing.

    I-45.
    """
    bench = Bench()
    key = bench.create(wfe())
    bench.feed.deliver()
    await bench.sweeper.sweep()
    assert key in bench.woken
    assert [call for call in bench.api.calls if call.writes] == []


async def test_a_holder_that_ended_in_its_status_only_is_not_asked_for_every_second() -> None:
    """A forged end: the target is blocked and held until its run is over, which may take half an hour; one such object
    must not use up the requests of all the others."""
    bench = Bench()
    key = bench.create(wfe())
    await bench.reconcile(key)
    (run,) = bench.runs()
    bench.set_status(RUNS, run, working())
    bench.children(run, task_run(), pod("Running"))
    status = {**bench.status(key), "phase": "Completed", "completionTime": rfc3339(at(1))}
    bench.set_status(names.WORKFLOWEXECUTIONS, bench.wfe(key), status)
    assert await bench.reconcile(key) == RequeueAfter(10.0)
    assert bench.lock_status(TARGET)["block"]["reason"] == "OrphanedRun"
    assert "holder" in bench.lock_status(TARGET)
    assert "OrphanedRun" in [reason for _, reason in bench.told.events]
    bench.clock.advance(10)
    assert await bench.keep(LOCK) == RequeueAfter(10.0)

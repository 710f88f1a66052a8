"""What one reconcile writes, in which order, and what it does when the server says no (SPEC 2.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.bench import Bench, always
from tests.support.fakeapi import Call
from tests.support.shell import TARGET, finished, pod, task_run, wfe, working
from wfe_controller.api import names
from wfe_controller.kube.control.outcomes import Conflict as ConflictOutcome
from wfe_controller.kube.control.outcomes import Done, RequeueAfter
from wfe_controller.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from wfe_controller.kube.objects import PODS, Json, ObjectKey, uid_of
from wfe_controller.workflows.settings import ShellSettings

WFES, RUNS, LOCKS = names.WORKFLOWEXECUTIONS, names.PIPELINERUNS, names.TARGETLOCKS
STALE = Conflict(409, "Conflict", "the object has been modified")


async def started(bench: Bench) -> tuple[ObjectKey, Json]:
    """An object whose run has been named and taken out of pending."""
    key = bench.create(wfe())
    await bench.reconcile(key)
    (run,) = bench.runs()
    assert "status" not in run["spec"]
    return key, run


async def ended(bench: Bench, outcome: str = "True") -> tuple[ObjectKey, Json]:
    """One whose run is done and whose pod has ended, not yet looked at."""
    key, run = await started(bench)
    bench.clock.advance(60)
    bench.children(run, task_run(outcome, code=0 if outcome == "True" else 3), pod("Succeeded"))
    bench.set_status(RUNS, run, finished(outcome))
    return key, run


async def test_a_start_is_six_writes_and_one_of_status() -> None:
    """I-59, I-60, SPEC 2.4, BR-WE-001: finalizer, record, hold, pending run, status, start; in this order."""
    bench = Bench()
    key, _ = await started(bench)
    wrote = [(call.verb, call.resource.plural) for call in bench.api.calls if call.writes]
    assert wrote == [
        ("patch", "workflowexecutions"),
        ("create", "targetlocks"),
        ("replace", "targetlocks"),
        ("create", "pipelineruns"),
        ("replace", "workflowexecutions"),
        ("patch", "pipelineruns"),
    ]
    status = bench.status(key)
    assert (status["phase"], status["observedGeneration"]) == ("Running", 1)


async def test_the_end_is_one_status_write_and_the_lock_is_free_in_the_same_reconcile() -> None:
    """T38, P:L1, I-59, BR-WE-003: nobody has to come by again; only the run's retention is left."""
    bench = Bench()
    key, _ = await ended(bench)
    before = len(bench.writes(WFES, "replace"))
    outcome = await bench.reconcile(key)
    assert bench.status(key)["phase"] == "Completed"
    assert len(bench.writes(WFES, "replace")) == before + 1
    assert "holder" not in bench.lock_status(TARGET)
    assert "finalizers" not in bench.wfe(key)["metadata"]
    assert isinstance(outcome, RequeueAfter)
    assert outcome.seconds == bench.settings.run_retention


async def test_a_conflict_drops_the_result_and_tells_nobody() -> None:
    """TH36, T62, P:Q6, I-61, I-62: three conflicts, then one write, one Event, one count."""
    bench = Bench()
    key, _ = await ended(bench)
    bench.fail = always(STALE, "replace", WFES, times=3)
    for _ in range(3):
        with pytest.raises(Conflict):
            await bench.reconcile(key)
        assert not [reason for _, reason in bench.told.events if reason == "WorkflowCompleted"]
    assert "holder" in bench.lock_status(TARGET)
    await bench.reconcile(key)
    assert [reason for _, reason in bench.told.events].count("WorkflowCompleted") == 1
    assert bench.counted.calls == {"conflict": 3, "finished Completed": 1}


async def test_what_a_conflict_dropped_is_worked_out_again() -> None:
    """T21: the summary of the run is not lost with the write it was in."""
    bench = Bench()
    key, run = await started(bench)
    bench.children(run, task_run(), pod("Running"))
    bench.set_status(RUNS, run, working())
    bench.fail = always(STALE, "replace", WFES, times=1)
    with pytest.raises(Conflict):
        await bench.reconcile(key)
    await bench.reconcile(key)
    assert bench.status(key)["pipelineRunStatus"]["totalTasks"] == 1


async def test_an_object_that_is_gone_is_done() -> None:
    """T29, I-41: before the reconcile, and between the decision and its write."""
    bench = Bench()
    assert await bench.reconcile(ObjectKey("ops", "never-was")) == Done()
    key, _ = await ended(bench)
    gone = NotFound(404, "NotFound", "not found", details={"name": key.name, "kind": "workflowexecutions"})
    bench.fail = always(gone, "replace", WFES)
    assert await bench.reconcile(key) == Done()
    bench.fail = always(NotFound(404, "NotFound", "no such type"), "replace", WFES)
    with pytest.raises(NotFound):
        await bench.reconcile(key)


async def test_already_exists_is_settled_by_the_owner() -> None:
    """T2, T4, I-29, P:T5: the answer to our create was lost; the run is found, and it is ours."""
    bench = Bench()
    key = bench.create(wfe())
    lost: list[Call] = []

    async def hook(call: Call) -> None:
        if (call.verb, call.resource, call.done) == ("create", RUNS, True) and not lost:
            lost.append(call)
            raise AlreadyExists(409, "AlreadyExists", "already exists")

    bench.api._hook = hook
    await bench.reconcile(key)
    assert lost
    (run,) = bench.runs()
    assert bench.status(key)["pipelineRunRef"]["uid"] == uid_of(run)
    assert run["metadata"]["labels"][names.OWNER_UID] == uid_of(bench.wfe(key))


async def test_already_exists_and_then_nothing_there_is_tried_again() -> None:
    """T7: an old object on its way out is neither a failure nor somebody else."""
    bench = Bench()
    key = bench.create(wfe())
    bench.fail = always(AlreadyExists(409, "AlreadyExists", "already exists"), "create", RUNS, times=2)
    await bench.reconcile(key)
    assert bench.status(key)["phase"] == "Running"
    assert len(bench.runs()) == 1


async def test_an_answer_that_never_came_is_looked_for() -> None:
    """T2, P:T5: 503 after the commit; no second create, the run is adopted."""
    bench = Bench()
    key = bench.create(wfe())

    async def hook(call: Call) -> None:
        if (call.verb, call.resource, call.done) == ("create", RUNS, True):
            raise Unavailable(503, "ServiceUnavailable", "webhook timed out")

    bench.api._hook = hook
    await bench.reconcile(key)
    assert len(bench.writes(RUNS, "create")) == 1
    assert bench.status(key)["phase"] == "Running"


async def test_a_type_that_is_gone_is_no_loop_of_writes() -> None:
    """TH25: one hold taken and given back, then the wait; not forty a second."""
    bench = Bench()
    key = bench.create(wfe())
    bench.fail = always(NotFound(404, "NotFound", "no such type"), "create", RUNS)
    await bench.reconcile(key)
    assert bench.status(key)["reason"] == "EngineUnavailable"
    assert "holder" not in bench.lock_status(TARGET)
    assert len(bench.writes(RUNS)) == 1
    assert "lastExecution" not in bench.lock_status(TARGET)


async def test_a_failing_lock_read_stops_the_decision() -> None:
    """TH22, T11: forbidden is LockUnknown; a server that does not answer is the worker's to try again."""
    bench = Bench()
    key = bench.create(wfe())
    bench.fail = always(Unavailable(503, "ServiceUnavailable", "down"), "get", LOCKS)
    with pytest.raises(Unavailable):
        await bench.reconcile(key)
    bench.fail = always(Forbidden(403, "Forbidden", "may not"), "get", LOCKS)
    await bench.reconcile(key)
    assert bench.status(key)["reason"] == "LockUnknown"
    assert bench.runs() == []


async def test_a_run_that_cannot_be_deleted_keeps_the_finalizer_for_a_bounded_time() -> None:
    """T34, T53, T56: the refusal goes to the worker, which comes again; after 180 s the object may go all the same."""
    bench = Bench()
    key, _ = await ended(bench)
    bench.fail = always(STALE, "replace", LOCKS)
    await bench.reconcile(key)
    bench.fail = always(Forbidden(403, "Forbidden", "may not"), "delete", RUNS)
    bench.server.delete(WFES, key)
    with pytest.raises(Forbidden):
        await bench.reconcile(key)
    assert bench.wfe(key)["metadata"]["finalizers"]
    bench.clock.advance(181)
    await bench.reconcile(key)
    assert key not in bench.server.objects[WFES]
    assert "holder" not in bench.lock_status(TARGET)


async def test_a_conflict_at_the_ledger_keeps_hold_and_finalizer() -> None:
    """P:L10, T53: the end is written to the ledger or the object stays."""
    bench = Bench()
    key, _ = await ended(bench)
    bench.fail = always(STALE, "replace", LOCKS)
    assert isinstance(await bench.reconcile(key), ConflictOutcome)
    assert bench.wfe(key)["metadata"]["finalizers"] == [names.FINALIZER]
    assert "holder" in bench.lock_status(TARGET)


async def test_the_second_of_two_finds_the_first_live() -> None:
    """T28, TH23, T9: its cache still shows a free target; the lock and the holder are read from the server."""
    bench = Bench()
    first = bench.create(wfe())
    other = wfe(workflowRef={"workflowId": "scale", "version": "1", "containerImage": "reg.example/wf:v1"})
    other["metadata"]["name"] = "cart-2"
    second = bench.create(other)
    bench.feed.deliver()
    await bench.reconciler.reconcile(first)
    await bench.reconciler.reconcile(second)
    status = bench.status(second)
    assert (status["phase"], status["skipDetails"]["reason"]) == ("Skipped", "ResourceBusy")
    assert len(bench.runs()) == 1


async def test_a_word_that_the_server_does_not_know_ends_in_prose() -> None:
    """TH26: a verdict is not lost because the CRD is older; the original reason stands in the message."""
    bench = Bench()
    key, _ = await ended(bench, "False")
    bench.fail = always(Invalid(422, "Invalid", "Unsupported value: TaskFailed"), "replace", WFES, times=1)
    await bench.reconcile(key)
    details = bench.status(key)["failureDetails"]
    assert details["reason"] == "Unknown"
    assert details["message"].startswith("TaskFailed: ")
    assert details["wasExecutionFailure"] is True


async def test_a_status_that_is_too_large_shrinks() -> None:
    """P:S1: over our own budget, and when the server still says 413; it always ends, in less than 4 KiB."""
    bench = Bench(replace(ShellSettings(), status_budget=1024))
    key, _ = await ended(bench, "False")
    bench.fail = always(TooLarge(413, "RequestEntityTooLarge", "too large"), "replace", WFES, times=1)
    await bench.reconcile(key)
    status = bench.status(key)
    assert status["phase"] == "Failed"
    assert {c["type"]: c["status"] for c in status["conditions"]}["StatusTruncated"] == "True"
    assert len(str(status)) < 4096
    assert bench.counted.calls["truncated"] == 1


async def test_a_pod_that_lives_on_holds_everything() -> None:
    """SPEC 13, P:L2: done is not over; verdict, hold and finalizer wait for the pod."""
    bench = Bench()
    key, run = await started(bench)
    bench.children(run, task_run("True"), pod("Running"))
    bench.set_status(RUNS, run, finished())
    bench.clock.advance(60)
    await bench.reconcile(key)
    assert bench.status(key)["phase"] == "Running"
    assert "holder" in bench.lock_status(TARGET)
    bench.set_status(PODS, bench.server.all(PODS)[0], {"phase": "Succeeded"})
    bench.clock.advance(2)
    await bench.reconcile(key)
    assert bench.status(key)["phase"] == "Completed"


async def test_an_unknown_phase_is_logged_and_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """T26."""
    bench = Bench()
    key = bench.create(wfe())
    bench.set_status(WFES, bench.wfe(key), {"phase": "Levitating"})
    assert await bench.reconcile(key) == RequeueAfter(30.0)
    assert bench.status(key) == {"phase": "Levitating"}
    assert not [call for call in bench.api.calls if call.writes]
    assert "unknown phase" in capsys.readouterr().out


async def test_another_target_has_its_own_history() -> None:
    """T49: five failures of one target say nothing about another."""
    bench = Bench()
    key = bench.create(wfe())
    await bench.reconcile(key)
    exhausted = {"workflowId": "restart", "consecutiveFailures": 5, "lastFailureAt": "2026-03-01T11:00:00Z"}
    (record,) = bench.server.all(LOCKS)
    bench.set_status(LOCKS, record, {"workflows": [exhausted]})
    for name, target, phase in (("a", TARGET, "Skipped"), ("b", "shop/deployment/other", "Running")):
        obj = wfe(targetResource=target)
        obj["metadata"]["name"] = name
        other = bench.create(obj)
        await bench.reconcile(other)
        assert bench.status(other)["phase"] == phase

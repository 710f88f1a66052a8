"""Where a run stands, as far as the recordings do not show it: time-outs before a start, when, ignored failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe_controller.kube.clock import rfc3339
from wfe_controller.sandbox.simulators.tekton import facts, graph
from wfe_controller.sandbox.simulators.tekton.facts import Facts, Member

START = datetime(2026, 1, 1, tzinfo=UTC)


def member(
    name: str, state: str = "", *, final: bool = False, results: dict[str, str] | None = None, **task: Any
) -> Member:
    """``state``: "" not started, running, ok, failed, cancelled."""
    spec = {"name": name, "taskSpec": {"steps": []}, **task}
    if not state:
        return Member(spec, final)
    status, reason = {
        "running": ("Unknown", "Running"),
        "ok": ("True", "Succeeded"),
        "failed": ("False", "StepFailed"),
        "cancelled": ("False", "TaskRunCancelled"),
    }[state]
    found = [{"name": key, "value": value} for key, value in (results or {}).items()]
    body = {"conditions": [{"type": "Succeeded", "status": status, "reason": reason}], "results": found}
    return Member(spec, final, {"metadata": {"name": f"run-{name}"}, "spec": {}, "status": body})


def look(
    *members: Member, asked: str = "", after: float = 1, timeouts: dict[str, str] | None = None, **status: Any
) -> Facts:
    spec: dict[str, Any] = {"status": asked} if asked else {}
    if timeouts:
        spec["timeouts"] = timeouts
    run = {"metadata": {"name": "run"}, "spec": spec, "status": {"startTime": rfc3339(START), **status}}
    tasks = [m.task for m in members if not m.final]
    return Facts(run, members, graph.dependencies(tasks), START + timedelta(seconds=after))


def when(value: str, *values: str, operator: str = "in") -> list[dict[str, Any]]:
    return [{"input": value, "operator": operator, "values": list(values)}]


def names(members: list[Member]) -> list[str]:
    return [found.name for found in members]


def test_a_task_whose_when_says_no_is_skipped_and_those_after_it_are_not() -> None:
    found = look(member("a", when=when("x", "y")), member("b", runAfter=["a"]))
    assert names(found.next_tasks()) == ["b"]
    assert found.skipped_tasks() == [{"name": "a", "reason": facts.WHEN, "whenExpressions": when("x", "y")}]


def test_a_task_that_needs_a_result_of_a_skipped_one_is_skipped_with_all_after_it() -> None:
    needs = member("b", params=[{"name": "p", "value": "$(tasks.a.results.r)"}])
    found = look(member("a", when=when("x", "x", operator="notin")), needs, member("c", runAfter=["b"]))
    assert names(found.next_tasks()) == []
    assert [entry["reason"] for entry in found.skipped_tasks()] == [facts.WHEN, facts.RESULTS, facts.PARENTS]
    assert found.verdict()[:2] == ("True", "Completed")


def test_a_result_that_a_successful_task_did_not_write_fails_the_run() -> None:
    found = look(member("a", "ok"), member("b", params=[{"name": "p", "value": "$(tasks.a.results.r)"}]))
    assert names(found.next_tasks()) == []
    status, reason, message = found.verdict()
    assert (status, reason) == ("False", "PipelineValidationFailed")
    assert "Failed Validation: 1" in message


def test_a_failure_that_may_be_does_not_stop_the_run() -> None:
    found = look(member("a", "failed", onError="continue"), member("b", runAfter=["a"]))
    assert names(found.next_tasks()) == ["b"]
    done = look(member("a", "failed", onError="continue"), member("b", "ok", runAfter=["a"]))
    expected = "Tasks Completed: 2 (Failed: 1 (Ignored: 1), Cancelled 0), Skipped: 0"
    assert done.verdict() == ("True", "Succeeded", expected)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("", "Stopping"),
        ("CancelledRunFinally", "CancelledRunningFinally"),
        ("StoppedRunFinally", "StoppedRunningFinally"),
    ],
)
def test_the_reason_while_it_stops(asked: str, reason: str) -> None:
    assert look(member("a", "cancelled"), member("b", "running"), asked=asked).verdict()[:2] == ("Unknown", reason)


def test_finally_waits_for_all_and_runs_after_a_failure() -> None:
    cleanup = member("z", final=True)
    assert names(look(member("a", "failed"), member("b", "running"), cleanup).next_finally()) == []
    assert names(look(member("a", "failed"), member("b", "ok"), cleanup).next_finally()) == ["z"]


def test_finally_is_skipped_when_the_result_it_needs_is_missing() -> None:
    last = member("z", final=True, params=[{"name": "p", "value": "$(tasks.a.results.r)"}])
    found = look(member("a", "failed"), last)
    assert names(found.next_finally()) == []
    assert found.skipped_tasks()[-1] == {"name": "z", "reason": facts.RESULTS}


def test_the_limit_is_over_only_after_it() -> None:
    limits = {"pipeline": "10s"}
    assert look(member("a", "running"), after=10, timeouts=limits).verdict()[0] == "Unknown"
    status, reason, message = look(member("a", "running"), after=10.5, timeouts=limits).verdict()
    assert (status, reason) == ("False", "PipelineRunTimeout")
    assert message == 'PipelineRun "run" failed to finish within "10s"'


def test_zero_means_no_limit() -> None:
    assert look(member("a", "running"), after=1e6, timeouts={"pipeline": "0"}).verdict()[0] == "Unknown"


def test_results_and_states_can_be_referred_to() -> None:
    words = look(member("a", "ok", results={"r": "3"}), member("b", "failed")).words()
    assert words["tasks.a.results.r"] == "3"
    assert (words["tasks.a.status"], words["tasks.b.status"], words["tasks.status"]) == (
        "Succeeded",
        "Failed",
        "Failed",
    )


def test_tekton_writes_nothing_while_a_skipped_task_waits_for_a_running_one() -> None:
    """Seen in the recordings one-of-two-fails and stopped-run-finally."""
    assert look(member("a", "failed"), member("b", "running"), member("c", runAfter=["b"])).confused()
    assert not look(member("a", "failed"), member("b", "ok"), member("c", runAfter=["b"])).confused()

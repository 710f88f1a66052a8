"""The containers of a played pod at instants of its play."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from wfe_controller.kube.clock import rfc3339
from wfe_controller.sandbox.simulators import containers
from wfe_controller.sandbox.simulators.containers import Ended, moment, status, terminated
from wfe_controller.sandbox.simulators.play import Play


def task_pod(*names: str, on_error: str = "") -> dict[str, Any]:
    args = ["-on_error", on_error] if on_error else []
    return {
        "metadata": {"name": "p", "labels": {"tekton.dev/taskRun": "t"}},
        "spec": {"containers": [{"name": f"step-{name}", "image": "i", "args": args} for name in names]},
    }


def plain_pod(*names: str) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": name, "image": "i"} for name in names]}}


def instant(seconds: float) -> str:
    return rfc3339(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))


TWO = {"step-a": Play(seconds=2), "step-b": Play(seconds=3)}


def test_steps_run_one_after_another() -> None:
    pod = task_pod("a", "b")
    assert moment(pod, TWO, 0, 1).ended == (None, None)
    assert moment(pod, TWO, 0, 1).next == 2
    first = moment(pod, TWO, 0, 2)
    assert first.ended == (Ended(0, 0, 2), None)
    assert first.next == 5
    last = moment(pod, TWO, 0, 5)
    assert last.ended == (Ended(0, 0, 2), Ended(0, 2, 5))
    assert last.over
    assert not last.failed


def test_containers_of_any_other_pod_run_at_the_same_time() -> None:
    found = moment(plain_pod("a", "b"), {"a": Play(seconds=2), "b": Play(seconds=3, exit_code=1)}, 0, 2.5)
    assert found.ended == (Ended(0, 0, 2), None)
    assert found.next == 3


def test_after_a_failed_step_the_others_end_without_having_run() -> None:
    plays = {"step-a": Play(exit_code=3), "step-b": Play()}
    found = moment(task_pod("a", "b"), plays, 0, 1)
    assert found.ended == (Ended(3, 0, 1), Ended(1, 1, 1, skipped=True))
    states = status(task_pod("a", "b"), plays, found, instant)["containerStatuses"]
    message = json.loads(states[1]["state"]["terminated"]["message"])
    assert {"key": "Reason", "value": "Skipped", "type": 3} in message


def test_after_an_oom_kill_nobody_tells_the_others_to_go_on() -> None:
    plays = {"step-a": Play(oom=True), "step-b": Play()}
    found = moment(task_pod("a", "b"), plays, 0, 100)
    assert found.ended == (Ended(137, 0, 1, "OOMKilled", silent=True), None)
    assert math.isinf(found.next)
    state = status(task_pod("a", "b"), plays, found, instant)
    assert state["phase"] == "Running"
    assert "message" not in state["containerStatuses"][0]["state"]["terminated"]


def test_a_step_that_may_fail_ends_its_container_with_zero() -> None:
    plays = {"step-a": Play(exit_code=3), "step-b": Play()}
    pod = task_pod("a", "b", on_error="continue")
    found = moment(pod, plays, 0, 5)
    assert found.over
    assert not found.failed
    first = status(pod, plays, found, instant)["containerStatuses"][0]["state"]["terminated"]
    assert (first["exitCode"], first["reason"]) == (0, "Completed")
    assert {"key": "ExitCode", "value": "3", "type": 3} in json.loads(first["message"])


def test_statuses_are_sorted_by_name_as_the_kubelet_does() -> None:
    pod = task_pod("b", "a")
    found = status(pod, TWO, moment(pod, TWO, 0, 0), instant)
    assert [entry["name"] for entry in found["containerStatuses"]] == ["step-a", "step-b"]


def test_sigterm_ends_what_heeds_it_and_the_grace_the_rest() -> None:
    plays = [Play(hang=True, term_seconds=2), Play(hang=True, ignores_term=True)]
    running = moment(plain_pod("a", "b"), {"a": plays[0], "b": plays[1]}, 0, 10)
    at = terminated(running, plays, since=10, elapsed=12, grace=30)
    assert at.ended == (Ended(143, 0, 12, silent=True), None)
    assert at.next == 40
    assert terminated(running, plays, since=10, elapsed=40, grace=30).ended[1] == Ended(137, 0, 40, silent=True)


def test_an_evicted_pod_has_failed_and_says_so() -> None:
    plays = {"a": Play(evicted=True)}
    found = status(plain_pod("a"), plays, moment(plain_pod("a"), plays, 0, 1), instant)
    assert (found["phase"], found["reason"]) == ("Failed", "Evicted")


def test_a_pod_that_waits_says_for_what() -> None:
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    found = containers.starting(plain_pod("a"), 1, instant(0), waiting={"a": waiting})
    assert found["containerStatuses"][0]["state"] == {"waiting": waiting}
    assert found["phase"] == "Pending"


def test_init_containers_begin_one_after_another() -> None:
    """Not recorded with two of them: Tekton has two where a step is a script."""
    pod = plain_pod("a")
    pod["spec"]["initContainers"] = [{"name": name, "image": "i"} for name in ("first", "second")]
    seen = []
    for stage in range(containers.stages(pod)):
        found = containers.starting(pod, stage, instant(0))
        seen.append([next(iter(entry["state"])) for entry in found["initContainerStatuses"]])
        initialized = next(entry for entry in found["conditions"] if entry["type"] == "Initialized")
        assert (initialized["status"] == "True") == (seen[-1] == ["terminated", "terminated"])
    assert seen == [
        ["waiting", "waiting"],
        ["waiting", "waiting"],
        ["running", "waiting"],
        ["terminated", "waiting"],
        ["terminated", "running"],
        ["terminated", "terminated"],
    ]

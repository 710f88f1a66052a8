"""A success counts only if it is this run's own (SPEC 3: Tekton adopts TaskRuns by name, whoever owns them)."""

from __future__ import annotations

import pytest

from tests.support.runs import STARTED, ended_step, made_up_step, run, task_run
from wfe_controller.failure.tekton import verify_success
from wfe_controller.kube.objects import Json

DONE = run("True", "Succeeded", tasks=["a"], children=["a"])
OLD = ended_step("s", started="2026-03-01T11:59:59Z")
_CUSTOM = {"kind": "CustomRun", "name": "wfe-x-approve", "pipelineTaskName": "approve"}


@pytest.mark.parametrize(
    ("a_run", "task_runs"),
    [
        pytest.param(DONE, [task_run("a", steps=[ended_step("s")])], id="own-task-run"),
        pytest.param(DONE, [task_run("a", steps=[ended_step("s", started="2026-03-01T12:00:00Z")])], id="same-second"),
        pytest.param(run("True", "Completed", tasks=["a"]), [], id="everything-skipped-by-when"),
        pytest.param(
            DONE,
            [task_run("a", steps=[ended_step("s")]), task_run("old", steps=[OLD], owner="earlier")],
            id="leftover-of-an-earlier-run-not-referenced",
        ),
        pytest.param(run("True", "Succeeded", children=["a", _CUSTOM]), [task_run("a")], id="custom-run-has-no-steps"),
    ],
)
def test_believable(a_run: Json, task_runs: list[Json]) -> None:
    assert verify_success(a_run, task_runs) is None


@pytest.mark.parametrize(
    ("a_run", "task_runs", "why"),
    [
        pytest.param(DONE, [], "does not exist", id="task-run-missing"),
        pytest.param(
            DONE, [task_run("a", owner="earlier-run")], "another PipelineRun", id="task-run-of-the-earlier-run"
        ),
        pytest.param(
            DONE, [task_run("a", steps=[ended_step("s"), OLD])], "before the PipelineRun", id="old-pods-result"
        ),
        pytest.param(
            DONE,
            [task_run("a", steps=[ended_step("s")], retriesStatus=[{"steps": [OLD]}])],
            "before the PipelineRun",
            id="old-attempt",
        ),
        pytest.param(DONE, [task_run("a", sidecars=[OLD])], "before the PipelineRun", id="old-sidecar"),
        pytest.param({"metadata": {}, "status": DONE["status"]}, [task_run("a")], "UID", id="run-without-identity"),
    ],
)
def test_not_believable(a_run: Json, task_runs: list[Json], why: str) -> None:
    problem = verify_success(a_run, task_runs)
    assert problem is not None
    assert why in problem


def test_a_start_that_tekton_made_up_is_not_taken_for_one() -> None:
    a_run = run("True", "Succeeded", tasks=["a"], children=["a"])
    a_run["metadata"]["creationTimestamp"] = "2026-03-01T12:00:05Z"
    step = made_up_step("s", "TaskRunCancelled")
    assert step["terminated"]["startedAt"] == STARTED
    assert verify_success(a_run, [task_run("a", steps=[step])]) is None

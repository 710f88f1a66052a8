"""One look at a run: done or not, progress, what waits, which pods live, whether a step started (T-3.3, T-4.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.runs import (
    STARTED,
    container,
    cut_off_step,
    ended_step,
    made_up_step,
    pod,
    run,
    running_step,
    task_run,
    waiting_step,
)
from wfe_controller.api.status import PipelineRunStatus
from wfe_controller.failure.tekton import classify, completion, observe, verify_success
from wfe_controller.failure.waiting import Waiting
from wfe_controller.kube.objects import Json

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


def test_nothing_yet() -> None:
    """T19, T76: no condition is Unknown/Running, not an error."""
    seen = observe({"metadata": {"uid": "u"}, "spec": {"status": "PipelineRunPending"}}, [], [])
    assert (seen.done, seen.succeeded, seen.reason) == (False, "Unknown", "Running")
    assert (seen.completed_tasks, seen.total_tasks) == (0, 0)
    assert seen.step_started is False
    assert seen.start_time is None


@pytest.mark.parametrize(
    ("status", "reason", "done"),
    [
        pytest.param("True", "Succeeded", True, id="T17"),
        pytest.param("True", "Completed", True, id="T17-some-tasks-skipped"),
        pytest.param("False", "Failed", True, id="T18"),
        pytest.param("Unknown", "Running", False, id="T19"),
        pytest.param("Unknown", "ResolvingPipelineRef", False, id="resolving"),
        pytest.param("sometimes", "Odd", False, id="odd-status"),
    ],
)
def test_done_is_only_a_verdict(status: str, reason: str, done: bool) -> None:
    seen = observe(run(status, reason), [], [])
    assert seen.done is done
    assert seen.reason == reason
    assert seen.succeeded == (status if done else "Unknown")


def test_progress_counts_succeeded_task_runs_against_the_whole_pipeline() -> None:
    """T20: never always 0, and the total does not grow while it runs."""
    a_run = run(tasks=["a", "b", "c"], finally_=["notify"], children=["a", "b"])
    seen = observe(a_run, [task_run("a"), task_run("b", "Unknown", "Running", steps=[running_step("s")])], [])
    assert (seen.completed_tasks, seen.total_tasks) == (1, 4)


def test_without_the_pipeline_the_children_are_the_total_and_a_matrix_may_exceed_it() -> None:
    children = [{"kind": "TaskRun", "name": f"wfe-x-m{i}", "pipelineTaskName": "m"} for i in range(3)]
    tasks = [task_run(f"m{i}") for i in range(3)]
    assert observe(run(children=children), tasks, []).total_tasks == 3
    seen = observe(run(tasks=["m"], children=children), tasks, [])
    assert (seen.completed_tasks, seen.total_tasks) == (3, 3)


def test_task_runs_of_an_earlier_run_under_the_same_name_are_not_progress_nor_evidence() -> None:
    """TH3: names repeat, UIDs do not."""
    old = task_run("old", steps=[ended_step("s")], owner="earlier-run")
    seen = observe(run(tasks=["a"]), [old], [pod("old", "Succeeded", run_uid="earlier-run")])
    assert seen.completed_tasks == 0
    assert seen.step_started is False


def test_live_pods_are_all_that_have_not_ended() -> None:
    """SPEC 2.3: done is not drained; a stranger's live pod keeps the run from ending too."""
    pods = [
        pod("a", "Succeeded"),
        pod("b", "Failed"),
        pod("c", "Running"),
        pod("d", "Pending"),
        pod("e", "Unknown"),
        pod("f", "Running", run_uid="earlier-run"),
        {"metadata": {"name": "odd"}},
    ]
    assert observe(run("False", "Cancelled"), [], pods).live_pods == (
        "odd",
        "wfe-x-c-pod",
        "wfe-x-d-pod",
        "wfe-x-e-pod",
        "wfe-x-f-pod",
    )


def test_times_come_from_the_run_and_are_clamped() -> None:
    """T17, TH30, TH24."""
    seen = observe(run("False", "Failed"), [], [])
    assert completion(seen, NOW) == datetime(2026, 3, 1, 12, 2, 1, tzinfo=UTC)
    late = observe(run("False", "Failed", ended="2026-03-01T13:00:00Z"), [], [])
    assert completion(late, NOW) == NOW
    early = observe(run("False", "Failed", ended="2026-03-01T11:00:00Z"), [], [])
    assert completion(early, NOW) == datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
    silent = run("False", "Failed")
    del silent["status"]["completionTime"]
    assert completion(observe(silent, [], []), NOW) == datetime(2026, 3, 1, 12, 2, 1, tzinfo=UTC), "lastTransitionTime"
    assert completion(observe(None, [], []), NOW) == NOW


_UNSCHEDULABLE: Json = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: insufficient memory",
}


@pytest.mark.parametrize(
    ("task_runs", "pods", "expected"),
    [
        pytest.param(
            [],
            [pod("a", conditions=[_UNSCHEDULABLE])],
            [Waiting("wfe-x-a-pod", "a", "Unschedulable", "0/3 nodes are available: insufficient memory")],
            id="unschedulable",
        ),
        *(
            pytest.param(
                [task_run("a", "Unknown", "PullImageFailed", "same thing again")],
                [pod("a", containers=[container("step-s", waiting={"reason": reason, "message": "no such image"})])],
                [Waiting("wfe-x-a-pod", "a", reason, "no such image")],
                id=f"{reason}-said-once",
            )
            for reason in ("ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "InvalidImageName")
        ),
        pytest.param(
            [],
            [pod("a", init=[container("prepare", waiting={"reason": "ImagePullBackOff", "message": "m"})])],
            [Waiting("wfe-x-a-pod", "a", "ImagePullBackOff", "m")],
            id="init-container",
        ),
        pytest.param(
            [task_run("a", "Unknown", "ExceededResourceQuota", "exceeded quota: pods", pod="")],
            [],
            [Waiting("", "a", "ExceededResourceQuota", "exceeded quota: pods")],
            id="quota-without-a-pod",
        ),
        pytest.param(
            [task_run("a", "Unknown", "Pending")],
            [pod("a", containers=[container("step-s", waiting={"reason": "ContainerCreating"})])],
            [],
            id="normal-start-is-no-news",
        ),
        pytest.param(
            [],
            [pod("a", "Failed", containers=[container("step-s", waiting={"reason": "ImagePullBackOff"})])],
            [],
            id="ended-pod-waits-for-nothing",
        ),
    ],
)
def test_waiting_is_surfaced(task_runs: list[Json], pods: list[Json], expected: list[Waiting]) -> None:
    """P:T2."""
    assert observe(run(tasks=["a"], children=["a"] if task_runs else []), task_runs, pods).waiting == tuple(expected)


def test_secrets_in_messages_do_not_get_through() -> None:
    seen = observe(run("False", "Failed", "param password=hunter2 refused"), [], [])
    assert "hunter2" not in seen.message


A = "wfe-x-a"
_CUSTOM: Json = {"kind": "CustomRun", "name": "wfe-x-approve", "pipelineTaskName": "approve"}


@pytest.mark.parametrize(
    ("a_run", "task_runs", "pods", "started"),
    [
        # Started.
        pytest.param(
            run(children=["a"]), [task_run("a", "Unknown", steps=[running_step("s")])], [], True, id="running"
        ),
        pytest.param(run(children=["a"]), [task_run("a", steps=[ended_step("s")])], [], True, id="terminated"),
        pytest.param(
            run("False", "Failed", children=["a", "b"]),
            [
                task_run("a", steps=[ended_step("s")]),
                task_run("b", "False", "TaskRunImagePullFailed", steps=[made_up_step("s", "TaskRunImagePullFailed")]),
            ],
            [],
            True,
            id="TH12-second-task-could-not-pull",
        ),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [task_run("a", "False", "Failed", retriesStatus=[{"podName": "p", "steps": [ended_step("s", 1)]}], pod="")],
            [],
            True,
            id="an-earlier-attempt-TH40",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], finally_=["f"], children=["f"]),
            [task_run("f", steps=[ended_step("s")])],
            [],
            True,
            id="finally",
        ),
        pytest.param(
            run("False", "Cancelled", children=["a"]),
            [task_run("a", "False", "TaskRunCancelled", steps=[cut_off_step("s", "TaskRunCancelled")])],
            [],
            True,
            id="cut-off-while-running",
        ),
        pytest.param(
            run("False", "Cancelled", children=["a"]),
            [
                task_run(
                    "a", "False", "TaskRunCancelled", steps=[{**made_up_step("s", "TaskRunCancelled"), "imageID": "i"}]
                )
            ],
            [],
            True,
            id="ran-in-the-very-second-of-its-creation",
        ),
        pytest.param(
            run(children=["a"]),
            [task_run("a", "Unknown", "Pending", steps=[waiting_step("s")])],
            [pod("a", "Running", containers=[container("step-s", running={"startedAt": STARTED})])],
            True,
            id="the-pod-knows-more-than-the-TaskRun",
        ),
        pytest.param(
            run(children=["a"]),
            [task_run("a", "Unknown", sidecars=[{"name": "db", "running": {"startedAt": STARTED}}])],
            [],
            True,
            id="sidecar",
        ),
        pytest.param(None, [], [pod("a", "Running")], True, id="run-gone-pod-runs"),
        # Proven that none started.
        pytest.param(run("False", "CouldntGetPipeline"), [], [], False, id="TH-resolution"),
        pytest.param(run("False", "PipelineRunTimeout"), [], [], False, id="never-resolved"),
        pytest.param(run("False", "ParameterMissing", tasks=["a"]), [], [], False, id="validation-after-resolution"),
        pytest.param(run("False", "CreateRunFailed", tasks=["a"]), [], [], False, id="quota-on-TaskRuns"),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [task_run("a", "False", "TaskRunImagePullFailed", steps=[made_up_step("s", "TaskRunImagePullFailed")])],
            [],
            False,
            id="image-pull-with-steps-made-up-by-tekton",
        ),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [task_run("a", "False", "PodCreationFailed", pod="")],
            [],
            False,
            id="no-pod-was-made",
        ),
        pytest.param(
            run("False", "Cancelled", children=["a"]),
            [task_run("a", "False", "TaskRunCancelled", steps=[made_up_step("s", "TaskRunCancelled")])],
            [],
            False,
            id="cancelled-while-waiting",
        ),
        pytest.param(
            run(children=["a"]),
            [task_run("a", "Unknown", "Pending", steps=[waiting_step("s")])],
            [pod("a", init=[container("prepare", terminated={"exitCode": 0, "startedAt": STARTED})])],
            False,
            id="tektons-own-init-containers-do-not-count",
        ),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [
                task_run(
                    "a",
                    "False",
                    "CreateContainerConfigError",
                    steps=[made_up_step("s", "CreateContainerConfigError"), waiting_step("t")],
                )
            ],
            [],
            False,
            id="config-error",
        ),
        # Not known, so it counts as started.
        pytest.param(run("False", "Failed", children=["a"]), [], [], None, id="TH13-TaskRun-gone"),
        pytest.param(run("False", "Failed", tasks=["a"]), [], [], None, id="resolved-no-children-plain-Failed"),
        pytest.param(run("False", "Failed", children=[_CUSTOM]), [], [], None, id="TH40-CustomRun"),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [task_run("a", "False", "PodEvicted")],
            [],
            None,
            id="evicted-statuses-dropped",
        ),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [task_run("a", "False", "TaskRunCancelled", retriesStatus=[{"podName": "p0"}])],
            [],
            None,
            id="an-earlier-attempt-nobody-recorded",
        ),
        pytest.param(
            run("False", "Failed", children=["a"]),
            [
                task_run(
                    "a", "False", "Failed", steps=[{"name": "s", "terminated": {"exitCode": 137, "startedAt": None}}]
                )
            ],
            [],
            None,
            id="terminated-without-a-start-node-lost",
        ),
        pytest.param(
            run(children=["a"]),
            [task_run("a", "Unknown")],
            [pod("a", "Failed")],
            None,
            id="pod-failed-without-statuses",
        ),
        pytest.param(None, [], [], None, id="everything-gone"),
    ],
)
def test_step_evidence(a_run: Json | None, task_runs: list[Json], pods: list[Json], started: bool | None) -> None:
    """T-4.4, TH14: True, proven False, or None (not known)."""
    assert observe(a_run, task_runs, pods).step_started is started


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "x", "True", "False", "Failed", "TaskRun", "wfe-x-a", STARTED, "OOMKilled", "Pending"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "metadata", "status", "conditions", "type", "reason", "message", "childReferences", "kind", "name",
                    "pipelineSpec", "tasks", "finally", "steps", "terminated", "running", "waiting", "exitCode",
                    "state", "startedAt", "labels", "ownerReferences", "uid", "podName", "retriesStatus",
                    "containerStatuses",
                    "phase", "lastState", "creationTimestamp", "pipelineTaskName", "completionTime", "startTime",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip
_OBJECT = st.fixed_dictionaries(
    {
        "metadata": _ODD,
        "status": _ODD
        | st.fixed_dictionaries(
            {
                "conditions": _ODD
                | st.lists(
                    st.fixed_dictionaries({"type": st.just("Succeeded"), "status": st.sampled_from(["False", "True"])}),
                    max_size=1,
                ),
                "steps": _ODD,
                "childReferences": _ODD,
                "pipelineSpec": _ODD,
                "retriesStatus": _ODD,
                "containerStatuses": _ODD,
                "phase": _ODD,
            }
        ),
    }
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(a_run=st.none() | _OBJECT, task_runs=st.lists(_OBJECT, max_size=2), pods=st.lists(_OBJECT, max_size=2))
def test_no_shape_that_others_write_makes_it_raise(a_run: Any, task_runs: list[Any], pods: list[Any]) -> None:
    seen = observe(a_run, task_runs, pods)
    details = classify(seen, a_run, task_runs, pods, cause=None, now=NOW)
    assert 0 < len(details.natural_language_summary) <= 1024
    assert details.was_execution_failure or seen.step_started is False
    if a_run is not None:
        verify_success(a_run, task_runs)


def test_the_summary_for_the_status_is_what_the_crd_accepts() -> None:
    pods = [
        pod(f"p{i}", containers=[container("step-s", waiting={"reason": "ErrImagePull", "message": "m" * 5000})])
        for i in range(12)
    ]
    written = observe(run(tasks=["a"], message="x" * 9000), [], pods).status_json()
    PipelineRunStatus.model_validate(written)
    assert written["status"] == "Unknown"
    assert len(written["waiting"]) == 10
    assert "waiting" not in observe(run("True", "Succeeded"), [], []).status_json()

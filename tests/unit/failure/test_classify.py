"""Why a run failed, by structure; and whether a step may have started, by evidence (T-4.1..4.5, TH11..TH15, TH40)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
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
)
from wfe_controller.api.reasons import FailureReason as R
from wfe_controller.api.status import FailureDetails as StatusFailureDetails
from wfe_controller.failure.model import FailureDetails, Subject
from wfe_controller.failure.tekton import classify, observe
from wfe_controller.kube.objects import Json

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
SUBJECT = Subject("restart-cart", "shop/deployment/cart", 1800)


def judge(
    a_run: Json | None,
    task_runs: list[Json] | None = None,
    pods: list[Json] | None = None,
    *,
    cause: R | None = None,
    **more: Any,
) -> FailureDetails:
    tasks, the_pods = task_runs or [], pods or []
    return classify(
        observe(a_run, tasks, the_pods), a_run, tasks, the_pods, cause=cause, now=NOW, subject=SUBJECT, **more
    )


_STEP = [ended_step("s", 1)]


@pytest.mark.parametrize(
    ("a_run", "task_runs", "reason", "during"),
    [
        # The pinned rows of T-4.4: reason on the run, started or not.
        pytest.param(
            run("False", "TaskRunFailed", "task failed with exit code 1", tasks=["a"], children=["a"]),
            [task_run("a", "False", "Failed", steps=_STEP)],
            R.TASK_FAILED,
            True,
            id="pin-task-failed",
        ),
        pytest.param(
            run("False", "PipelineRunTimeout", tasks=["a"], children=["a"]),
            [task_run("a", "False", "TaskRunTimeout", steps=[cut_off_step("s", "TaskRunTimeout")])],
            R.DEADLINE_EXCEEDED,
            True,
            id="pin-timeout-running",
        ),
        pytest.param(
            run("False", "TaskRunCreationFailed", 'pods "x" is forbidden: exceeded quota: q', started=None),
            [],
            R.RESOURCE_EXHAUSTED,
            False,
            id="pin-quota",
        ),
        pytest.param(
            run("False", "TaskRunValidationFailed", "invalid", started=None),
            [],
            R.CONFIGURATION_ERROR,
            False,
            id="pin-validation",
        ),
        pytest.param(
            run("False", "TaskRunImagePullFailed", started=None), [], R.IMAGE_PULL_BACK_OFF, False, id="pin-image-pull"
        ),
        pytest.param(
            run("False", "PipelineRunFailed", "unexpected", started=None), [], R.UNKNOWN, False, id="pin-unexpected"
        ),
        # Faults of the substring table.
        pytest.param(
            run("False", "CouldntGetPipeline", "unmapped words", started=STARTED),
            [],
            R.CONFIGURATION_ERROR,
            False,
            id="TH11a-startTime-before-the-bundle-resolves",
        ),
        pytest.param(
            run("False", "Failed", "invalid configuration in the room: quota", tasks=["a"], children=["a"]),
            [task_run("a", "False", "Failed", "invalid configuration: bloom quota", steps=_STEP)],
            R.TASK_FAILED,
            True,
            id="TH11b-words-of-a-task-decide-nothing",
        ),
        pytest.param(
            run("False", "Failed", "OOMKilled", tasks=["a"]), [], R.UNKNOWN, True, id="TH14-plain-Failed-no-evidence"
        ),
        # Tekton's vocabulary.
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "StepOOM", steps=[ended_step("s", 137, "OOMKilled")])],
            R.OOM_KILLED,
            True,
            id="StepOOM",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "Failed", steps=[ended_step("s", 137, "OOMKilled")])],
            R.OOM_KILLED,
            True,
            id="OOM-only-in-the-step",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "Failed", steps=[ended_step("s", 137)])],
            R.TASK_FAILED,
            True,
            id="137-without-the-reason-is-no-OOM",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "Failed", steps=[ended_step("s", 1, terminationReason="TimeoutExceeded")])],
            R.DEADLINE_EXCEEDED,
            True,
            id="step-timeout",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "PodEvicted", "low on memory")],
            R.RESOURCE_EXHAUSTED,
            True,
            id="evicted",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "InitContainerFailed")],
            R.TASK_FAILED,
            True,
            id="init-container",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "TaskRunImagePullFailed", steps=[made_up_step("s", "TaskRunImagePullFailed")])],
            R.IMAGE_PULL_BACK_OFF,
            False,
            id="image-pull-first-task",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a", "b"], children=["a", "b"]),
            [
                task_run("a", steps=[ended_step("s")]),
                task_run("b", "False", "TaskRunImagePullFailed", steps=[made_up_step("s", "TaskRunImagePullFailed")]),
            ],
            R.IMAGE_PULL_BACK_OFF,
            True,
            id="TH12-image-pull-second-task",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "PodCreationFailed", 'pods "x" is forbidden: exceeded quota: q', pod="")],
            R.RESOURCE_EXHAUSTED,
            False,
            id="pod-quota",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "PodCreationFailed", 'pods "x" is forbidden: violates PodSecurity', pod="")],
            R.FORBIDDEN,
            False,
            id="pod-forbidden",
        ),
        *(
            pytest.param(
                run("False", "Failed", tasks=["a"], children=["a"]),
                [task_run("a", "False", reason, message, pod="")],
                R.CONFIGURATION_ERROR,
                False,
                id=f"C3-account-deleted-behind-our-back-{reason}",
            )
            for reason, message in (
                ("PodCreationFailed", 'failed to create task run pod "a": serviceaccounts "runner" not found. Maybe '),
                (
                    "PodAdmissionFailed",
                    'pods "a" is forbidden: error looking up service account x/runner: '
                    'serviceaccount "runner" not found',
                ),
            )
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "PodCreationFailed", "the moon was full", pod="")],
            R.UNKNOWN,
            False,
            id="pod-refused-otherwise",
        ),
        pytest.param(
            run("False", "Failed", tasks=["a"], children=["a"]),
            [task_run("a", "False", "TaskRunResolutionFailed", pod="")],
            R.CONFIGURATION_ERROR,
            False,
            id="task-resolution",
        ),
        pytest.param(
            run("False", "Cancelled", tasks=["a"], children=["a"]),
            [task_run("a", "False", "TaskRunCancelled", steps=[made_up_step("s", "TaskRunCancelled")])],
            R.CANCELLED,
            False,
            id="TH15-cancelled-before-a-step",
        ),
        pytest.param(
            run("False", "CancelledRunningFinally", tasks=["a"], children=["a"]),
            [task_run("a", "False", "TaskRunCancelled", steps=[cut_off_step("s", "TaskRunCancelled")])],
            R.CANCELLED,
            True,
            id="TH15-cancelled-during",
        ),
        pytest.param(run("False", "PipelineRunTimeout"), [], R.DEADLINE_EXCEEDED, False, id="bundle-never-resolved"),
        pytest.param(run("False", "SomethingOfTekton9"), [], R.UNKNOWN, False, id="unknown-reason-never-resolved"),
        pytest.param(
            run("False", "SomethingOfTekton9", tasks=["a"], children=["a"]), [], R.UNKNOWN, True, id="unknown-task-gone"
        ),
        *(
            pytest.param(run("False", r.value), [], r, r in (R.TASK_FAILED, R.OOM_KILLED), id=f"self-{r.value}")
            for r in R
        ),
    ],
)
def test_reason_and_evidence(a_run: Json, task_runs: list[Json], reason: R, during: bool) -> None:
    details = judge(a_run, task_runs)
    assert (details.reason, details.was_execution_failure) == (reason, during)


@pytest.mark.parametrize("succeeded", ["False", "Unknown"])
@pytest.mark.parametrize("cause", list(R))
def test_why_we_ended_it_is_the_reason_unless_the_run_says_otherwise(succeeded: str, cause: R) -> None:
    """A run that we cancelled says Cancelled; the true reason is ours."""
    cancelled = run(succeeded, "Cancelled", tasks=["a"], children=["a"])
    tasks = [task_run("a", "False", "TaskRunCancelled", steps=[made_up_step("s", "TaskRunCancelled")])]
    details = judge(cancelled, tasks, cause=cause)
    assert details.reason is cause
    # A vanished run or an unbelievable success is never "nothing started"; nor is what only a step can cause.
    assert details.was_execution_failure is (cause in (R.PIPELINE_RUN_DELETED, R.UNKNOWN, R.TASK_FAILED, R.OOM_KILLED))


def test_the_runs_own_verdict_wins_over_our_cancel() -> None:
    """SPEC 2.3: the step had failed before the cancel arrived."""
    failed = run("False", "Failed", tasks=["a"], children=["a"])
    details = judge(failed, [task_run("a", "False", "StepFailed", steps=_STEP)], cause=R.CANCELLED)
    assert details.reason is R.TASK_FAILED


def test_a_start_seen_earlier_is_not_forgotten() -> None:
    """The pod that showed it may be gone by the time of the verdict."""
    cancelled = run("False", "Cancelled", tasks=["a"], children=["a"])
    tasks = [task_run("a", "False", "TaskRunCancelled", steps=[made_up_step("s", "TaskRunCancelled")])]
    assert judge(cancelled, tasks).was_execution_failure is False
    assert judge(cancelled, tasks, seen_started=True).was_execution_failure is True


def test_only_failures_that_nobody_asked_for_and_never_started_count() -> None:
    """SPEC 2.3 end."""
    unresolved = run("False", "CouldntGetPipeline")
    assert judge(unresolved).counts
    assert not judge(unresolved, cause=R.PIPELINE_RUN_DELETED).counts
    assert not judge(run("False", "Cancelled")).counts
    assert not judge(run("False", "PipelineRunTimeout")).counts
    started = run("False", "Failed", tasks=["a"], children=["a"])
    assert not judge(started, [task_run("a", "False", "StepFailed", steps=_STEP)]).counts


def test_the_first_failed_task_by_time_with_index_of_the_pipeline() -> None:
    """T22, TH40: pipeline position, not the order of the references; pipelineTaskName, not the TaskRun's."""
    a_run = run("False", "Failed", tasks=["fetch", "build", "ship"], children=["ship", "build", "fetch"])
    tasks = [
        task_run("ship", "False", "StepFailed", steps=[ended_step("push", 2)], ended="2026-03-01T12:01:50Z"),
        task_run("build", "False", "StepFailed", steps=[ended_step("make", 3)], ended="2026-03-01T12:01:10Z"),
        task_run("fetch", steps=[ended_step("clone")]),
    ]
    details = judge(a_run, tasks)
    assert (details.failed_task_index, details.failed_task_name) == (1, "build")
    assert (details.failed_step_name, details.exit_code) == ("make", 3)
    assert "TaskRun wfe-x-build" in details.message


def test_a_task_that_failed_by_itself_comes_before_those_cancelled_for_it() -> None:
    a_run = run("False", "Failed", tasks=["a", "b"], children=["a", "b"])
    tasks = [
        task_run("a", "False", "TaskRunCancelled", ended="2026-03-01T12:01:00Z"),
        task_run("b", "False", "StepFailed", steps=_STEP, ended="2026-03-01T12:01:30Z"),
    ]
    assert judge(a_run, tasks).failed_task_name == "b"


def test_a_failure_the_pipeline_ignores_is_not_the_failed_task() -> None:
    """TH40: onError continue."""
    a_run = run("False", "Failed", tasks=["a", "b"], children=["a", "b"])
    tasks = [
        task_run("a", "False", "FailureIgnored", steps=_STEP, ended="2026-03-01T12:01:00Z"),
        task_run("b", "False", "StepFailed", steps=_STEP),
    ]
    assert judge(a_run, tasks).failed_task_name == "b"


@pytest.mark.parametrize(
    ("steps", "exit_code", "step"),
    [
        pytest.param([ended_step("x"), ended_step("y", 137), ended_step("z", 1)], 137, "y", id="T22-0-137-1"),
        pytest.param([running_step("x")], None, "x", id="T22-running-only"),
        pytest.param([ended_step("x"), cut_off_step("y", "TaskRunTimeout")], None, "y", id="made-up-exit-code"),
        pytest.param([made_up_step("x", "TaskRunTimeout")], None, None, id="never-started"),
        pytest.param([ended_step("x")], None, None, id="T77-no-step-failed"),
        pytest.param(None, None, None, id="no-steps"),
    ],
)
def test_exit_code_and_step(steps: list[Json] | None, exit_code: int | None, step: str | None) -> None:
    a_run = run("False", "Failed", tasks=["a"], children=["a"])
    details = judge(a_run, [task_run("a", "False", "Failed", steps=steps)])
    assert (details.exit_code, details.failed_step_name) == (exit_code, step)


def test_a_task_run_that_is_gone_costs_the_details_not_the_verdict() -> None:
    """T22, T77: no task failed that we could name: index and name are absent, never 0 and ""."""
    details = judge(run("False", "Failed", tasks=["a"], children=["a"]))
    assert details.failed_task_index is None
    assert details.failed_task_name is None
    assert details.exit_code is None
    assert details.was_execution_failure
    written = details.to_json()
    assert {"failedTaskIndex", "failedTaskName", "failedStepName", "exitCode"}.isdisjoint(written)


def test_custom_runs_are_skipped() -> None:
    """T22."""
    custom = {"kind": "CustomRun", "name": "wfe-x-approve", "pipelineTaskName": "approve"}
    details = judge(
        run("False", "Failed", tasks=["approve", "a"], children=[custom, "a"]),
        [task_run("a", "False", "StepFailed", steps=_STEP)],
    )
    assert (details.failed_task_index, details.failed_task_name) == (1, "a")


def test_a_failed_finally_task_is_said_so() -> None:
    """TH40."""
    a_run = run("False", "Failed", tasks=["a", "b"], finally_=["notify"], children=["a", "b", "notify"])
    tasks = [
        task_run("a", steps=[ended_step("s")]),
        task_run("b", steps=[ended_step("s")]),
        task_run("notify", "False", "StepFailed", steps=_STEP),
    ]
    details = judge(a_run, tasks)
    assert details.failed_task_index == 2
    assert "finally task notify (3 of 3)" in details.natural_language_summary
    assert "after all main tasks had ended" in details.natural_language_summary


def test_times_and_json() -> None:
    """T18, T23, TH30."""
    details = judge(
        run("False", "Failed", tasks=["a"], children=["a"]),
        [task_run("a", "False", "StepFailed", '"step-s" exited with code 1: Error', steps=_STEP)],
    )
    written = details.to_json()
    StatusFailureDetails.model_validate(written)
    assert written["failedAt"] == "2026-03-01T12:02:01Z"
    assert written["executionTimeBeforeFailure"] == "2m0s"
    assert written["failedTaskIndex"] == 0
    assert written["requiresManualReview"] is True
    assert (details.facts.pod, details.facts.container) == ("wfe-x-a-pod", "step-s")


def test_waiting_pods_are_named_when_we_give_up_on_them() -> None:
    """P:T2: the verdict of a start timeout carries the pod's own reason."""
    stuck = run(tasks=["a"], children=["a"])
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    details = judge(
        stuck,
        [task_run("a", "Unknown", "Pending")],
        [pod("a", conditions=[scheduled])],
        cause=R.RESOURCE_EXHAUSTED,
        message="no step started within 10m0s",
    )
    assert details.reason is R.RESOURCE_EXHAUSTED
    assert not details.was_execution_failure
    assert details.counts
    assert "Unschedulable: 0/3 nodes" in details.natural_language_summary
    assert details.message.startswith("no step started within 10m0s")


def test_a_running_container_of_a_stuck_pod_is_evidence_enough() -> None:
    stuck = run(tasks=["a"], children=["a"])
    half = pod(
        "a",
        containers=[
            container("step-one", running={"startedAt": STARTED}),
            container("step-two", waiting={"reason": "ImagePullBackOff"}),
        ],
    )
    details = judge(stuck, [task_run("a", "Unknown", "PullImageFailed")], [half], cause=R.IMAGE_PULL_BACK_OFF)
    assert details.was_execution_failure


@settings(deadline=None)
@given(message=st.text(alphabet="abcdefghijklmnopqrstuvwxyz ", max_size=40), where=st.sampled_from(["run", "task"]))
@pytest.mark.parametrize(
    "words", ["oomkilled", "invalid configuration", "exceeded quota", "image pull", "timeout", "rbac"]
)
def test_no_word_of_a_message_changes_the_evidence(words: str, message: str, where: str) -> None:
    """TH11: messages may refine the code, never wasExecutionFailure."""
    said = f"{message} {words} {message}"
    for steps, during in ((_STEP, True), ([made_up_step("s", "TaskRunCancelled")], False)):
        reason = "StepFailed" if during else "TaskRunCancelled"
        a_run = run("False", "Failed", said if where == "run" else "", tasks=["a"], children=["a"])
        details = judge(a_run, [task_run("a", "False", reason, said if where == "task" else "", steps=steps)])
        assert details.was_execution_failure is during
        assert details.reason is (R.TASK_FAILED if during else R.CANCELLED)


def test_a_run_that_tekton_never_took_up_is_told_as_that() -> None:
    """Cancelled while Tekton was away: "Running" would be a lie, and nothing of it ever ran."""
    untouched = {**run(), "status": {}}
    details = judge(untouched, cause=R.CANCELLED, message="cancelled: stop")
    assert details.message == "cancelled: stop; Tekton never took up the run, so no step of it ever started"
    assert details.was_execution_failure is False
    seen = judge(untouched, cause=R.CANCELLED, message="cancelled: stop", seen_started=True)
    assert seen.was_execution_failure is True
    assert "no step" not in seen.message

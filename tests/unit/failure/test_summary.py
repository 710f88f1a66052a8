"""The paragraph a person reads: complete, bounded, without secrets (T-4.6, SPEC 2.3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe_controller.api.reasons import FailureReason as R
from wfe_controller.failure.model import FailureDetails, FailureFacts, Subject
from wfe_controller.failure.summary import natural_language_summary, summarised

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
SUBJECT = Subject("restart-cart", "shop/deployment/cart", 1800)


def details(reason: R = R.TASK_FAILED, *, during: bool = True, message: str = "m", **facts: object) -> FailureDetails:
    return FailureDetails(
        reason=reason,
        message=message,
        failed_at=NOW,
        execution_time=125,
        was_execution_failure=during,
        failed_task_index=1,
        failed_task_name="apply",
        failed_step_name="patch",
        exit_code=137,
        facts=FailureFacts(**{"task_position": 2, "task_count": 4, "step_position": 1, "step_count": 3, **facts}),  # type: ignore[arg-type] # test table
    )


def test_everything_is_in_it() -> None:
    text = natural_language_summary(details(completed_tasks=1, message="exited with code 137"), SUBJECT)
    for part in (
        "restart-cart",
        "failed on shop/deployment/cart",
        "TaskFailed",
        "task apply (2 of 4)",
        "step patch (1 of 3)",
        "exit code 137",
        "after 2m5s",
        "exited with code 137",
        "1 of 4 tasks had completed",
        "blocked",
        "kubernaut.ai/clear-block",
        "Next:",
    ):
        assert part in text


@pytest.mark.parametrize("reason", list(R))
def test_every_reason_has_its_own_advice(reason: R) -> None:
    texts = {natural_language_summary(details(r), SUBJECT).split("Next:")[1] for r in R}
    assert len(texts) == len(R)
    assert natural_language_summary(details(reason), SUBJECT).split("Next: ")[1]


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        pytest.param(R.DEADLINE_EXCEEDED, "Investigate", id="timeout"),
        pytest.param(R.PIPELINE_RUN_DELETED, "Verify", id="deleted"),
        pytest.param(R.OOM_KILLED, "memory", id="oom"),
        pytest.param(R.FORBIDDEN, "RBAC", id="forbidden"),
        pytest.param(R.IMAGE_PULL_BACK_OFF, "registry", id="image"),
    ],
)
def test_pinned_guidance(reason: R, word: str) -> None:
    assert word in natural_language_summary(details(reason), SUBJECT)


def test_a_timeout_names_the_limit_that_fired() -> None:
    """P:T4."""
    assert "(limit 30m0s)" in natural_language_summary(details(R.DEADLINE_EXCEEDED), SUBJECT)


def test_nothing_started_is_said_plainly() -> None:
    text = natural_language_summary(details(R.CONFIGURATION_ERROR, during=False, never_resolved=True), SUBJECT)
    assert "No step started, so nothing was changed" in text
    assert "the workflow bundle was never resolved" in text
    assert "blocked" not in text


@pytest.mark.parametrize("subject", [Subject(), Subject("restart-cart")])
def test_without_details_it_still_says_what_failed(subject: Subject) -> None:
    text = natural_language_summary(None, subject)
    assert "failed" in text
    assert subject.workflow_id in text


def test_a_long_message_gives_way_not_the_advice() -> None:
    text = natural_language_summary(details(message="word " * 2000), SUBJECT)
    assert len(text) <= 1024
    assert text.endswith("read the log of the failed step and correct its cause.")
    assert "..." in text


@settings(deadline=None)
@given(
    message=st.text(max_size=3000),
    workflow=st.text(max_size=300),
    target=st.text(max_size=600),
    reason=st.sampled_from(R),
    during=st.booleans(),
)
def test_bounded_and_never_empty(message: str, workflow: str, target: str, reason: R, during: bool) -> None:
    done = summarised(details(reason, during=during, message=message), Subject(workflow, target, 60))
    assert 0 < len(done.natural_language_summary) <= 1024
    assert "\n" not in done.natural_language_summary
    assert reason.value in done.natural_language_summary


@pytest.mark.parametrize("where", ["message", "workflow", "target"])
def test_no_secret_gets_in(where: str) -> None:
    secret = "password=hunter2"
    subject = Subject(secret if where == "workflow" else "w", secret if where == "target" else "t")
    text = natural_language_summary(details(message=secret if where == "message" else "m"), subject)
    assert "hunter2" not in text

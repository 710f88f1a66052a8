"""Failures no run can tell about, and how long their creation is tried (SPEC 3, TH13, TH25, TH46, TH47)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wfe_controller.api.reasons import FailureReason as R
from wfe_controller.api.status import FailureDetails as StatusFailureDetails
from wfe_controller.failure import unstarted
from wfe_controller.failure.model import FailureDetails, Subject
from wfe_controller.kube.errors import ConnectionFailed, RequestTimeout, api_error

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=5)
SUBJECT = Subject("restart-cart", "shop/deployment/cart", 1800)


def refusal(status: int, reason: str, message: str) -> Exception:
    return api_error(status, {"kind": "Status", "reason": reason, "message": message, "details": {"name": "wfe-x"}})


@pytest.mark.parametrize(
    ("error", "reason", "final"),
    [
        pytest.param(refusal(422, "Invalid", "spec.params"), R.CONFIGURATION_ERROR, True, id="422"),
        pytest.param(
            refusal(400, "BadRequest", 'admission webhook "webhook.pipeline.tekton.dev" denied the request'),
            R.CONFIGURATION_ERROR,
            True,
            id="webhook-400",
        ),
        pytest.param(refusal(413, "RequestEntityTooLarge", "limit is 3145728"), R.CONFIGURATION_ERROR, True, id="413"),
        pytest.param(
            refusal(403, "Forbidden", "pipelineruns.tekton.dev is forbidden: exceeded quota: runs, requested: count=1"),
            R.RESOURCE_EXHAUSTED,
            False,
            id="TH46-quota-403",
        ),
        pytest.param(
            refusal(403, "Forbidden", 'User "system:serviceaccount:x:y" cannot create resource "pipelineruns"'),
            R.PERMISSION_DENIED,
            False,
            id="rbac-403",
        ),
        pytest.param(
            refusal(404, "NotFound", 'namespaces "x" not found'), R.CONFIGURATION_ERROR, False, id="namespace-404"
        ),
        pytest.param(refusal(500, "InternalError", "webhook"), R.PIPELINE_RUN_CREATION_FAILED, False, id="500"),
        pytest.param(refusal(429, "TooManyRequests", "slow down"), R.PIPELINE_RUN_CREATION_FAILED, False, id="429"),
        pytest.param(refusal(409, "Conflict", "busy"), R.PIPELINE_RUN_CREATION_FAILED, False, id="409"),
        pytest.param(ConnectionFailed("reset"), R.PIPELINE_RUN_CREATION_FAILED, False, id="connection"),
        pytest.param(RequestTimeout("10 s"), R.PIPELINE_RUN_CREATION_FAILED, False, id="timeout"),
    ],
)
def test_create_errors(error: Exception, reason: R, final: bool) -> None:
    """TH25: which reason, and whether trying again can help."""
    meaning = unstarted.create_refusal(error)
    assert (meaning.reason, meaning.final) == (reason, final)
    details = unstarted.create_failed(error, since=SINCE, now=NOW, subject=SUBJECT)
    assert details.reason is reason
    assert not details.was_execution_failure
    assert details.counts
    assert details.execution_time == 300
    StatusFailureDetails.model_validate(details.to_json())


@pytest.mark.parametrize(
    ("details", "reason", "during", "counts"),
    [
        pytest.param(
            unstarted.configuration_error("spec.workflowRef: no bundle", now=NOW, subject=SUBJECT),
            R.CONFIGURATION_ERROR,
            False,
            True,
            id="spec",
        ),
        pytest.param(
            unstarted.start_deadline_exceeded("EngineUnavailable", since=SINCE, now=NOW, subject=SUBJECT),
            R.DEADLINE_EXCEEDED,
            False,
            False,
            id="start-deadline-not-counted",
        ),
        pytest.param(
            unstarted.cancelled_before_start("maintenance", now=NOW, subject=SUBJECT),
            R.CANCELLED,
            False,
            False,
            id="cancel",
        ),
        pytest.param(
            unstarted.run_deleted("wfe-x", started=SINCE, now=NOW, subject=SUBJECT),
            R.PIPELINE_RUN_DELETED,
            True,
            False,
            id="TH13-vanished-run-always-blocks",
        ),
        pytest.param(
            unstarted.run_deleted("wfe-x", started=SINCE, now=NOW, subject=SUBJECT, never_released=True),
            R.PIPELINE_RUN_DELETED,
            False,
            True,
            id="C5-deleted-while-pending",
        ),
    ],
)
def test_without_a_run(details: FailureDetails, reason: R, during: bool, counts: bool) -> None:
    assert (details.reason, details.was_execution_failure, details.counts) == (reason, during, counts)
    written = details.to_json()
    StatusFailureDetails.model_validate(written)
    assert "failedTaskIndex" not in written
    for part in ("restart-cart", "shop/deployment/cart", reason.value):
        assert part in details.natural_language_summary


def test_a_vanished_run_says_so() -> None:
    """T24: the message says deleted; the advice is to verify first (T-4.6)."""
    details = unstarted.run_deleted("wfe-x", started=SINCE, now=NOW, subject=SUBJECT, completed_tasks=2, tasks=5)
    assert "deleted" in details.message
    assert "Verify" in details.natural_language_summary
    assert "2 of 5 tasks had completed" in details.natural_language_summary


def test_secrets_of_an_api_message_are_not_repeated() -> None:
    error = refusal(422, "Invalid", 'params[0].value: "password=hunter2" is too long')
    details = unstarted.create_failed(error, since=SINCE, now=NOW, subject=SUBJECT)
    assert "hunter2" not in str(details.to_json())

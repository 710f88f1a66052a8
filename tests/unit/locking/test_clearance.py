"""clear-block on a TargetLock: one request clears one block (SPEC 7, 12)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wfe_controller.kube.objects import Json
from wfe_controller.locking.clearance import ClearRequest, Ignored, clearance_request

BLOCK = {
    "reason": "ExecutionFailed",
    "by": {"uid": "uid-1", "name": "fix-cart"},
    "since": "2026-03-01T12:00:00Z",
    "message": "step apply failed",
}
LAST = {
    "uid": "uid-5",
    "name": "fix-cart-5",
    "workflowId": "restart",
    "outcome": "Failed",
    "completedAt": "2026-03-01T12:00:00Z",
    "releasedAt": "2026-03-01T12:00:00Z",
}
STREAK = [{"workflowId": "restart", "consecutiveFailures": 5, "lastFailureAt": "2026-03-01T12:00:00Z"}]


def lock(annotations: dict[str, Any], status: Json, set_at: str | None = None) -> Json:
    obj: Json = {
        "metadata": {
            "name": "wfe-0123456789abcdef",
            "annotations": {f"kubernaut.ai/{key}": value for key, value in annotations.items()},
        },
        "spec": {"target": "shop/deployment/cart"},
        "status": status,
    }
    if set_at is not None:
        fields = {"f:metadata": {"f:annotations": {"f:kubernaut.ai/clear-block": {}}}}
        obj["metadata"]["managedFields"] = [
            {"manager": "wfe-controller", "time": "2026-03-01T23:00:00Z", "fieldsV1": {"f:status": {}}},
            {"manager": "kubectl", "time": set_at, "fieldsV1": fields},
        ]
    return obj


def asked(uid: str = "uid-1", reason: Any = "replicas checked by hand", by: Any = "ada@example.org") -> dict[str, Any]:
    return {"clear-block": uid, "clear-block-reason": reason, "clear-block-by": by}


def test_a_complete_request() -> None:
    """BR-WE-013."""
    assert clearance_request(lock(asked(), {"block": BLOCK}, "2026-03-01T12:30:00Z")) == ClearRequest(
        "uid-1", "ada@example.org", "replicas checked by hand", False, datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    )


def test_no_annotation_is_no_request() -> None:
    assert clearance_request(lock({"clear-block-reason": "left over from before"}, {"block": BLOCK})) is None


def test_who_may_be_missing_without_the_admission_policies() -> None:
    request = clearance_request(lock(asked(by=""), {"block": BLOCK}))
    assert isinstance(request, ClearRequest)
    assert request.by == "unknown"
    assert request.requested_at is None


@pytest.mark.parametrize("reason", ["force: node is gone for good", "FORCE: node is gone"])
def test_force_is_seen(reason: str) -> None:
    request = clearance_request(lock(asked(reason=reason), {"block": BLOCK}))
    assert isinstance(request, ClearRequest)
    assert request.force


def test_an_exhausted_target_without_a_block_is_cleared_by_the_last_execution() -> None:
    """TH38: exhaustion has a way out too."""
    request = clearance_request(lock(asked("uid-5"), {"workflows": STREAK, "lastExecution": LAST}))
    assert isinstance(request, ClearRequest)
    assert request.uid == "uid-5"


@pytest.mark.parametrize(
    ("annotations", "status", "set_at", "why"),
    [
        pytest.param(asked("uid-0"), {"block": BLOCK}, None, "uid-1", id="sticky-annotation-of-an-earlier-block"),
        pytest.param(
            asked("uid-5"), {"block": BLOCK, "workflows": STREAK, "lastExecution": LAST}, None, "uid-1", id="block-wins"
        ),
        pytest.param(asked("true"), {"block": BLOCK}, None, "uid-1", id="not-a-uid"),
        pytest.param(asked(""), {"block": BLOCK}, None, "uid-1", id="empty"),
        pytest.param(asked(), {}, None, "no block", id="already-cleared"),
        pytest.param(asked(reason="ok now"), {"block": BLOCK}, None, "10 characters", id="reason-too-short"),
        pytest.param(asked(reason="   ok      "), {"block": BLOCK}, None, "10 characters", id="reason-padded"),
        pytest.param(asked(reason=None), {"block": BLOCK}, None, "10 characters", id="reason-not-a-string"),
        pytest.param(asked(), {"block": BLOCK}, "2026-03-01T11:59:00Z", "before the block", id="older-than-its-block"),
    ],
)
def test_ignored_with_a_reason(annotations: dict[str, Any], status: Json, set_at: str | None, why: str) -> None:
    request = clearance_request(lock(annotations, status, set_at))
    assert isinstance(request, Ignored)
    assert why in request.why

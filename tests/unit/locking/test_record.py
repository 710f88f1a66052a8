"""The TargetLock codec: nothing is lost on a write, nothing half-understood is decided on (SPEC 1.3, 2.1)."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe_controller.api.names import lock_name
from wfe_controller.api.targetlock import TargetLockStatus
from wfe_controller.kube.objects import Json
from wfe_controller.locking.decision import Claim
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import LockRecord, LockUnreadable, TargetCollision
from wfe_controller.locking.transitions import LockOutcome, Settlement, acquire, clear, settle

TARGET = "shop/deployment/cart"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLAIM = Claim("uid-1", "fix-cart", "ops", "restart", "tekton")


def lock(status: Any, target: Any = TARGET) -> Json:
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "TargetLock",
        "metadata": {"name": lock_name(TARGET), "namespace": "kubernaut-system", "uid": "l", "resourceVersion": "7"},
        "spec": {"target": target},
        "status": status,
    }


FULL: Json = {
    "holder": {
        "uid": "uid-1",
        "name": "fix-cart",
        "namespace": "ops",
        "engine": "tekton",
        "acquiredAt": "2026-03-01T11:59:00Z",
        "fromTheFuture": 1,
    },
    "lastExecution": {
        "uid": "uid-0",
        "name": "fix-cart-0",
        "workflowId": "scale",
        "outcome": "Completed",
        "completedAt": "2026-03-01T11:50:00Z",
        "releasedAt": "2026-03-01T11:50:01Z",
        "fromTheFuture": 2,
    },
    "workflows": [
        {
            "workflowId": "restart",
            "consecutiveFailures": 2,
            "lastFailureAt": "2026-03-01T11:40:00Z",
            "nextAllowedExecution": "2026-03-01T11:42:00Z",
            "fromTheFuture": 3,
        },
        {"workflowId": "scale", "cooldownUntil": "2026-03-01T12:30:00Z", "fromTheFuture": 4},
    ],
    "block": {
        "reason": "SomethingNewer",
        "by": {"uid": "uid-9", "name": "old"},
        "since": "2026-03-01T10:00:00Z",
        "message": "m",
        "fromTheFuture": 5,
    },
    "clearances": [{"by": "ada", "at": "2026-02-01T00:00:00Z", "reason": "looked", "verified": True, "extra": 6}],
    "fromTheFuture": {"deep": [7]},
}


def test_an_unchanged_record_writes_back_byte_for_byte_what_was_read() -> None:
    obj = lock(FULL)
    before = copy.deepcopy(obj)
    assert LockRecord.from_object(obj, TARGET).to_object() == before
    assert obj == before


def test_a_transition_replaces_only_what_it_changed_and_keeps_unknown_fields() -> None:
    """A newer version's fields survive a write by this one."""
    record = LockRecord.from_object(lock(FULL), TARGET)
    failed = settle(record, CLAIM, Settlement(LockOutcome.FAILED, False, True, NOW), NOW, Limits())
    assert isinstance(failed, LockRecord)
    written = failed.to_object()["status"]
    assert "holder" not in written
    assert written["fromTheFuture"] == {"deep": [7]}
    assert written["block"] == FULL["block"]
    assert written["clearances"] == FULL["clearances"]
    restart, scale = written["workflows"]
    assert restart["consecutiveFailures"] == 3
    assert restart["fromTheFuture"] == 3
    assert scale["fromTheFuture"] == 4
    cleared = clear(record, by="ada", at=NOW, reason="checked by hand", verified=False, limits=Limits())
    assert isinstance(cleared, LockRecord)
    written = cleared.to_object()["status"]
    assert "block" not in written
    assert written["holder"] == FULL["holder"]
    assert written["clearances"][0] == FULL["clearances"][0]
    assert [w["workflowId"] for w in written["workflows"]] == ["scale"]


def test_what_is_written_is_what_the_crd_accepts() -> None:
    record = acquire(LockRecord.from_object(lock(None), TARGET), CLAIM, NOW)
    assert isinstance(record, LockRecord)
    for outcome, during in ((LockOutcome.FAILED, False), (LockOutcome.FAILED, True), (LockOutcome.COMPLETED, False)):
        settled = settle(record, CLAIM, Settlement(outcome, during, True, NOW), NOW, Limits())
        assert isinstance(settled, LockRecord)
        TargetLockStatus.model_validate(settled.status_json())
        assert LockRecord.from_object(settled.to_object()) == settled, "what was decided is what is read back"


def _with(path: tuple[str | int, ...], value: Any) -> Json:
    status = copy.deepcopy(FULL)
    node: Any = status
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return status


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param("text", "status is not", id="status-not-an-object"),
        pytest.param(_with(("holder",), "me"), "status.holder is", id="holder-text"),
        pytest.param(_with(("holder",), {}), "status.holder.uid", id="holder-empty"),
        pytest.param(_with(("holder", "uid"), ""), "status.holder.uid", id="holder-uid-empty"),
        pytest.param(_with(("holder", "namespace"), None), "status.holder.namespace", id="holder-namespace-null"),
        pytest.param(_with(("holder", "acquiredAt"), "yesterday"), "status.holder.acquiredAt", id="holder-time"),
        pytest.param(_with(("lastExecution", "outcome"), 3), "status.lastExecution.outcome", id="outcome-number"),
        pytest.param(_with(("workflows",), {}), "status.workflows is", id="workflows-object"),
        pytest.param(_with(("workflows", 0), None), "status.workflows[0]", id="workflow-null"),
        pytest.param(_with(("workflows", 0, "consecutiveFailures"), True), "consecutiveFailures", id="failures-true"),
        pytest.param(_with(("workflows", 0, "consecutiveFailures"), -1), "consecutiveFailures", id="failures-negative"),
        pytest.param(_with(("workflows", 1, "cooldownUntil"), 12), "cooldownUntil", id="cooldown-number"),
        pytest.param(_with(("workflows", 0, "lastFailureAt"), "9999-12-31T00:00:00Z"), "lastFailureAt", id="last-day"),
        pytest.param(_with(("workflows", 1, "workflowId"), "restart"), "twice", id="workflow-twice"),
        pytest.param(_with(("block",), []), "status.block is", id="block-list"),
        pytest.param(_with(("block", "by"), None), "status.block.by", id="block-by-null"),
        pytest.param(_with(("block", "since"), None), "status.block.since", id="block-since-null"),
        pytest.param(_with(("clearances", 0, "at"), ""), "status.clearances[0].at", id="clearance-time"),
    ],
)
def test_unreadable_record_is_refused_and_the_field_is_named(status: Any, field: str) -> None:
    """TH22: unreadable is LockUnknown, never 'no history'."""
    with pytest.raises(LockUnreadable) as caught:
        LockRecord.from_object(lock(status))
    assert field in str(caught.value)
    assert lock_name(TARGET) in str(caught.value)


@pytest.mark.parametrize("target", [None, "", 4, {}])
def test_a_record_without_a_target_is_unreadable(target: Any) -> None:
    with pytest.raises(LockUnreadable, match=r"spec\.target"):
        LockRecord.from_object(lock({}, target))


@pytest.mark.parametrize("status", [None, {}, {"holder": None, "workflows": None, "block": None}])
def test_absent_and_null_mean_the_same(status: Any) -> None:
    assert LockRecord.from_object(lock(status)) == LockRecord(TARGET)


def test_two_targets_with_one_hash_are_a_collision_that_names_both() -> None:
    """TH41: never 'busy' for ever, never the other target's history."""
    with pytest.raises(TargetCollision) as caught:
        LockRecord.from_object(lock({}, "shop/deployment/other"), TARGET)
    assert "shop/deployment/other" in str(caught.value)
    assert TARGET in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2026-01-01T00:00:00Z"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["holder", "uid", "block", "by", "workflows", "workflowId"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(status=_JSON)
def test_every_shape_is_either_read_or_refused_never_a_crash(status: Any) -> None:
    obj = lock(status)
    try:
        record = LockRecord.from_object(obj)
    except LockUnreadable:
        return
    assert record.status_json() == (status or {})


@settings(deadline=None)
@given(offset=st.floats(0, 86400), outcome=st.sampled_from(LockOutcome), during=st.booleans(), counts=st.booleans())
def test_writing_and_reading_back_gives_the_same_record(
    offset: float, outcome: LockOutcome, during: bool, counts: bool
) -> None:
    """Sub-second times must not make memory and cluster differ."""
    now = NOW + timedelta(seconds=offset)
    record = acquire(LockRecord.from_object(lock(None)), CLAIM, NOW)
    assert isinstance(record, LockRecord)
    settled = settle(record, CLAIM, Settlement(outcome, during, counts, now), now + timedelta(seconds=0.5), Limits())
    assert isinstance(settled, LockRecord)
    assert LockRecord.from_object(settled.to_object()) == settled

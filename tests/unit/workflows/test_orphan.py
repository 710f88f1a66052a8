"""What an orphan says of itself, when anybody may have written it (SPEC 2.6, TH18, TH41)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.shell import TARGET, run, snapshot, wfe
from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json, ObjectKey
from wfe_controller.locking import transitions
from wfe_controller.locking.record import LockRecord
from wfe_controller.workflows import orphan
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.snapshot import Inputs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOCK = names.lock_name(TARGET)


def left(labels: Json | None = None, **annotations: Any) -> Json:
    """A run that carries these; annotation names in Python's spelling."""
    named = {f"{names.GROUP}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"metadata": {"labels": labels or {names.OWNER_UID: "uid-gone"}, "annotations": named}}


@pytest.mark.parametrize(
    ("name", "namespace", "wanted"),
    [
        pytest.param("cart-1", "ops", ObjectKey("ops", "cart-1"), id="as-we-write-it"),
        pytest.param("a.b-c", "o", ObjectKey("o", "a.b-c"), id="dotted"),
        pytest.param(None, "ops", None, id="no-name"),
        pytest.param("cart-1", None, None, id="no-namespace"),
        pytest.param("../../pods/x", "ops", None, id="a-path"),
        pytest.param("x?fieldManager=y", "ops", None, id="a-query"),
        pytest.param("cart-1\n", "ops", None, id="a-line-break"),
        pytest.param("n" * 254, "ops", None, id="too-long"),
        pytest.param("cart-1", "n" * 64, None, id="namespace-too-long"),
        pytest.param(7, {"a": 1}, None, id="no-text"),
    ],
)
def test_names_that_no_object_can_have_are_not_asked_for(name: Any, namespace: Any, wanted: ObjectKey | None) -> None:
    assert orphan.owner_key(left(workflow_execution=name, source_namespace=namespace)) == wanted


@given(
    st.dictionaries(
        st.sampled_from(["workflow_execution", "source_namespace", "workflow_id", "target_resource"]),
        st.text(max_size=400) | st.none() | st.integers(),
    )
)
def test_whatever_stands_there_the_hold_can_be_stored_and_read_again(said: dict[str, Any]) -> None:
    """A hold without a name made its lock unreadable, and its target unusable until a person repaired it."""
    free = LockRecord(TARGET, raw={"metadata": {"name": LOCK}, "spec": {"target": TARGET}})
    held = transitions.acquire(free, orphan.claim(left(**said)), NOW)
    assert isinstance(held, LockRecord)
    again = LockRecord.from_object(held.to_object(), TARGET)
    assert again.holder is not None
    assert again.holder.uid == "uid-gone"
    assert len(again.holder.name) <= 253
    assert len(again.holder.namespace) <= 63
    assert len(orphan.workflow_id(left(**said))) <= 256


@pytest.mark.parametrize(
    ("said", "lock", "wanted"),
    [
        pytest.param(TARGET, LOCK, TARGET, id="its-lock"),
        pytest.param("shop/deployment/other", LOCK, "", id="the-lock-of-another"),
        pytest.param("shop/Deployment/cart", names.lock_name("shop/Deployment/cart"), "", id="not-canonical"),
        pytest.param("t" * 600, names.lock_name("t" * 600), "", id="no-target-at-all"),
        pytest.param(None, LOCK, "", id="nothing"),
    ],
)
def test_a_target_counts_only_under_its_own_hash(said: Any, lock: str, wanted: str) -> None:
    assert orphan.target(left(target_resource=said), lock) == wanted


def test_a_uid_in_either_place_may_be_the_owners() -> None:
    both = left({names.OWNER_UID: "uid-a"}, workflow_execution_uid="uid-b")
    assert (orphan.owner(both), orphan.owners(both)) == ("uid-a", {"uid-a", "uid-b"})
    assert orphan.owners(left({names.OWNER_UID: ""}, workflow_execution_uid=None)) == set()


@pytest.mark.parametrize(
    ("completion", "created", "wanted"),
    [
        pytest.param("2026-03-01T11:00:00Z", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", id="says-so"),
        pytest.param(None, "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z", id="no-completion-time"),
        pytest.param("yesterday", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z", id="odd-completion-time"),
        pytest.param(None, None, rfc3339(NOW), id="nothing-at-all"),
    ],
)
def test_an_end_without_a_time_is_not_kept_for_ever(completion: Any, created: Any, wanted: str) -> None:
    gone = {"metadata": {"creationTimestamp": created}, "status": {"completionTime": completion}}
    assert rfc3339(orphan.ended_at(gone, NOW)) == wanted


def test_a_run_of_another_target_with_the_same_hash_is_told_by_both_names() -> None:
    """TH41: the name is taken by a collision, not by a busy target."""
    theirs = run(owner="uid-other", uid="o", target="a/b/c")
    seen = replace(snapshot(wfe()), inputs=Inputs(named_run=theirs))
    assert launch.collision(seen) == (
        f"PipelineRun kubernaut-workflows/{names.run_name(TARGET)} belongs to target 'a/b/c', whose hash equals "
        f"that of {TARGET!r}: both cannot run in one execution namespace; wait until it is gone"
    )
    assert launch.collision(replace(seen, inputs=Inputs(named_run=run()))) == ""

"""Cached objects: what is kept, what is read from them, what is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.watching import WFE, raw, wfe
from wfe_controller.kube.cache.cached import MAX_SHARED, CachedObject, MalformedObject, ObjectDecoder
from wfe_controller.kube.cache.transforms import LAST_APPLIED, Parts, drop
from wfe_controller.kube.objects import ObjectKey

FULL = {
    "apiVersion": WFE.api_version,
    "kind": WFE.kind,
    "metadata": {
        "name": "a",
        "namespace": "ns",
        "uid": "u1",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
        "labels": {"l": "1"},
        "annotations": {LAST_APPLIED: "{}", "mine": "yes"},
        "finalizers": ["f"],
        "ownerReferences": [{"kind": "X", "name": "x"}],
        "managedFields": [{"manager": "m"}],
        "unknownToUs": {"deep": [1]},
    },
    "spec": {"targetResource": "ns/Deployment/a", "n": None, "deep": {"list": [1, {"x": 2}], "é\n": "ü"}},
    "status": {"phase": "Running"},
    "other": [1, 2],
}


def decode(obj: Any, **options: Any) -> CachedObject:
    return ObjectDecoder(WFE, **options)(raw(obj))


def test_identity_and_metadata() -> None:
    obj = decode(FULL)
    assert (obj.key, obj.uid, obj.resource_version) == (ObjectKey("ns", "a"), "u1", "7")
    assert (obj.generation, obj.deleting, obj.creation_timestamp) == (3, True, "2026-01-01T00:00:00Z")
    assert (obj.labels, obj.annotations) == ({"l": "1"}, {"mine": "yes"})


def test_everything_but_managed_fields_and_last_applied_survives() -> None:
    """I-19: exactly these two go, unknown fields of other writers stay."""
    expected = json.loads(raw(FULL))
    del expected["metadata"]["managedFields"]
    del expected["metadata"]["annotations"][LAST_APPLIED]
    assert decode(FULL).decode() == expected
    assert b"managedFields" not in decode(FULL).body


def test_annotations_that_held_only_last_applied_are_gone() -> None:
    obj = {**FULL, "metadata": {**FULL["metadata"], "annotations": {LAST_APPLIED: "{}"}}}  # type: ignore[dict-item]
    assert "annotations" not in decode(obj).decode()["metadata"]


def test_items_of_a_list_get_their_type_back() -> None:
    """The server leaves apiVersion and kind out of list items."""
    bare = {k: v for k, v in FULL.items() if k not in ("apiVersion", "kind")}
    decoded = decode(bare).decode()
    assert list(decoded)[:2] == ["apiVersion", "kind"]
    assert (decoded["apiVersion"], decoded["kind"]) == (WFE.api_version, WFE.kind)


def test_decode_is_a_fresh_dict() -> None:
    """I-18: what a reader does to its copy reaches nobody else."""
    obj = decode(FULL)
    obj.decode()["status"]["phase"] = "Failed"
    assert obj.field("status", "phase") == "Running"
    with pytest.raises(AttributeError):
        obj.uid = "x"  # type: ignore[misc]


def test_the_page_buffer_is_not_kept_alive() -> None:
    """W8: a view into the page would pin the whole page for one object."""
    obj = decode(FULL)
    assert type(obj.body) is bytes


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("status", "phase"), "Running"),
        (("apiVersion",), WFE.api_version),
        (("kind",), WFE.kind),
        (("spec", "deep", "é\n"), "ü"),
        (("spec", "deep", "list"), [1, {"x": 2}]),
        (("spec", "n"), None),
        (("spec", "n", "x"), None),
        (("spec", "targetResource", "x"), None),
        (("other", "x"), None),
        (("nothing", "at", "all"), None),
        (("metadata", "labels"), {"l": "1"}),
    ],
    ids=str,
)
def test_field(path: tuple[str, ...], expected: object) -> None:
    """Absent or odd reads as None; never an exception, whatever other writers left there."""
    assert decode(FULL).field(*path) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(spec=json_values, status=json_values, meta=st.dictionaries(st.text(min_size=1), json_values, max_size=3))
def test_any_content_survives(spec: Any, status: Any, meta: dict[str, Any]) -> None:
    """W5: odd shapes are kept as they are, and field() agrees with decode() on every path."""
    own = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    typed = ("generation", "deletionTimestamp", "managedFields", "annotations")
    metadata = {**{k: v for k, v in meta.items() if k not in typed}, **own}
    obj = decode({"metadata": metadata, "spec": spec, "status": status})
    decoded = obj.decode()
    assert (decoded["metadata"], decoded["spec"], decoded["status"]) == (metadata, spec, status)

    def walk(value: Any, path: tuple[str, ...]) -> None:
        assert obj.field(*path) == value
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*path, key))

    walk(spec, ("spec",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"metadata":null}',
        b'{"metadata":{}}',
        b'{"metadata":{"name":"a"}}',
        b'{"metadata":{"name":"","resourceVersion":"1"}}',
        b'{"metadata":{"name":"a","resourceVersion":""}}',
        b'{"metadata":{"name":"a","resourceVersion":7}}',
        b'{"metadata":{"name":"a","resourceVersion":"7"},"kind":"Pod"}',
        b'{"metadata":{"name":"a","resourceVersion":"7"},"kind":"PartialObjectMetadata"}',
        b'{"metadata":{"name":"a","resourceVersion":"7"',
        b'{"metadata":{"name":"a\xff","resourceVersion":"7"}}',
        b'{"metadata":{"name":"a","resourceVersion":"7"},"spec":{"x":"\xff"}}',
        b'{"metadata":{"name":"a","resourceVersion":"7","annotations":"' + LAST_APPLIED.encode() + b'"}}',
        b'{"metadata":{"name":"a","resourceVersion":"7"},"spec":' + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:80]),
)
def test_malformed(data: bytes) -> None:
    """I-12, W5: told apart from everything else by one exception type."""
    with pytest.raises(MalformedObject):
        ObjectDecoder(WFE)(data)


@pytest.mark.parametrize(
    ("paths", "gone"),
    [
        ([("spec",)], [("spec",)]),
        ([("spec", "deep", "list"), ("status", "phase")], [("spec", "deep", "list"), ("status", "phase")]),
        ([("spec", "targetResource", "x"), ("other", "x"), ("nothing", "x"), ()], []),
    ],
    ids=["whole", "nested", "paths that lead nowhere"],
)
def test_drop(paths: list[tuple[str, ...]], gone: list[tuple[str, ...]]) -> None:
    expected = decode(FULL).decode()
    for *parents, last in gone:
        holder = expected
        for step in parents:
            holder = holder[step]
        del holder[last]
    dropped = decode(FULL, transform=drop(*paths))
    assert dropped.decode() == expected
    again = ObjectDecoder(WFE, transform=drop(*paths))(raw(dropped.decode()))
    assert again.body == dropped.body, "I-19: idempotent"


def test_a_failing_transform_keeps_the_object() -> None:
    """I-19: whole, including what the transform had already taken out, and with an ERROR line."""

    def broken(parts: Parts) -> Parts:
        parts.clear()
        raise RuntimeError("bug")

    with capture_logs() as logs:
        obj = decode(FULL, transform=broken)
    assert obj.body == decode(FULL).body
    assert [(entry["log_level"], entry["key"]) for entry in logs] == [("error", "ns/a")]


def test_unchanged_objects_are_reused_and_changed_ones_share_their_key() -> None:
    """W6: a relist costs no second copy of what did not change."""
    first = decode(wfe("a", 5))
    decoder = ObjectDecoder(WFE, known={first.key: first}.get)
    assert decoder(raw(wfe("a", 5))) is first
    changed = decoder(raw(wfe("a", 6)))
    assert changed is not first
    assert changed.key is first.key
    assert changed.resource_version == "6"
    recreated = decoder(raw(wfe("a", 5, uid="another")))
    assert recreated is not first
    assert recreated.uid == "another"


def finished(number: int, phase: str = "Completed") -> dict[str, Any]:
    conditions = [{"type": t, "status": "True", "message": f"message {number} " * 20} for t in ("A", "B", "C")]
    return wfe(f"n{number}", number, status={"phase": phase, "conditions": conditions})


def test_cold_objects_are_packed_and_read_the_same() -> None:
    """W8: finished objects take a fraction; readers see no difference."""
    decoder = ObjectDecoder(WFE, cold=lambda obj: obj.field("status", "phase") == "Completed")
    plain = ObjectDecoder(WFE)
    hot = decoder(raw(finished(1, "Running")))
    assert hot.packer is None
    for number in range(2, 30):
        packed, same = decoder(raw(finished(number))), plain(raw(finished(number)))
        assert packed.packer is not None
        assert len(packed.stored) < len(same.stored) / 4
        assert (packed.body, packed.decode(), packed.key) == (same.body, same.decode(), same.key)
        assert packed.field("status", "phase") == "Completed"
        assert (packed.labels, packed.same_as(same)) == (same.labels, True)


def test_small_cold_objects_stay_plain() -> None:
    assert ObjectDecoder(WFE, cold=lambda _: True)(raw(wfe("a", 1))).packer is None


def test_a_cold_test_that_raises_keeps_the_object_plain() -> None:
    """I-19"""

    def broken(obj: CachedObject) -> bool:
        raise RuntimeError("bug")

    with capture_logs() as logs:
        obj = ObjectDecoder(WFE, cold=broken)(raw(finished(1)))
    assert obj.packer is None
    assert obj.decode()["status"] == finished(1)["status"]
    assert [entry["event"] for entry in logs] == ["cold test failed"]


AT_HAND = (("status", "phase"), ("metadata", "finalizers"))


def test_what_is_at_hand_is_read_without_unpacking_and_shared() -> None:
    """A sweep over 50,000 ended objects unpacked each of them three times and stopped the event loop for seconds."""
    decoder = ObjectDecoder(WFE, cold=lambda _: True, at_hand=AT_HAND)
    first, second = decoder(raw(finished(1))), decoder(raw(finished(2)))
    assert first.packer is not None
    assert first.at_hand is second.at_hand is not None
    blind = msgspec.structs.replace(first, stored=b"not to be unpacked")
    assert (blind.field("status", "phase"), blind.field("metadata", "finalizers")) == ("Completed", None)
    assert first.field("status", "phase") == first.decode()["status"]["phase"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"metadata": {"finalizers": ["f"]}}, "a list could be changed by whoever gets it (I-18)"),
        ({"status": {"phase": {"odd": 1}}}, "so could an object"),
    ],
    ids=["list", "object"],
)
def test_only_what_cannot_be_changed_is_at_hand(body: dict[str, Any], why: str) -> None:
    plain = finished(1)
    for part, fields in body.items():
        plain[part] = {**plain[part], **fields}
    obj = ObjectDecoder(WFE, cold=lambda _: True, at_hand=AT_HAND)(raw(plain))
    assert obj.packer is not None
    assert obj.at_hand is None, why
    assert obj.field("status", "phase") == plain["status"]["phase"]
    assert obj.field("metadata", "finalizers") == plain["metadata"].get("finalizers")


def test_equal_numbers_of_different_kinds_stay_what_they_are() -> None:
    decoder = ObjectDecoder(WFE, cold=lambda _: True, at_hand=(("status", "odd"),))
    for value in (1, True, 1.0):
        plain = finished(1)
        plain["status"]["odd"] = value
        plain["metadata"]["resourceVersion"] = str(type(value))
        found = decoder(raw(plain)).field("status", "odd")
        assert type(found) is type(value)


def test_a_field_with_many_values_is_left_packed() -> None:
    decoder = ObjectDecoder(WFE, cold=lambda _: True, at_hand=(("metadata", "name"),))
    objects = [decoder(raw(finished(number))) for number in range(MAX_SHARED + 2)]
    assert objects[MAX_SHARED - 1].at_hand is not None
    assert objects[-1].at_hand is None
    assert objects[-1].field("metadata", "name") == objects[-1].key.name

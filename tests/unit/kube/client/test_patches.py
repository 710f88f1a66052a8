"""Patch bodies byte by byte: what the server is asked to do must be exactly what was meant (I-61, I-63, I-64)."""

from __future__ import annotations

import msgspec
import pytest

from wfe_controller.kube.client import patches


def test_merge_patch_with_version_is_a_compare_and_swap() -> None:
    """I-61: the resourceVersion travels inside the body; other metadata stays; the caller's dict is not touched."""
    body = {"metadata": {"annotations": {"a": None}}, "status": {"phase": "Running"}}
    patch = patches.merge_patch(body, "42")
    assert patch.content_type == "application/merge-patch+json"
    assert msgspec.json.decode(patch.body) == {
        "metadata": {"annotations": {"a": None}, "resourceVersion": "42"},
        "status": {"phase": "Running"},
    }
    assert body["metadata"] == {"annotations": {"a": None}}


def test_merge_patch_refuses_an_empty_version() -> None:
    """An empty resourceVersion means "whatever" to the server: last writer wins, silently."""
    with pytest.raises(ValueError, match="compare-and-swap"):
        patches.merge_patch({"status": {}}, "")


def test_finalizer_removal_is_test_then_remove() -> None:
    """I-64: the index is only removed when it still holds our finalizer."""
    path = patches.pointer("metadata", "finalizers", 1)
    patch = patches.json_patch([patches.test(path, "kubernaut.ai/f"), patches.remove(path)])
    assert patch.content_type == "application/json-patch+json"
    assert msgspec.json.decode(patch.body) == [
        {"op": "test", "path": "/metadata/finalizers/1", "value": "kubernaut.ai/f"},
        {"op": "remove", "path": "/metadata/finalizers/1"},
    ]


def test_add_and_replace() -> None:
    operations = [patches.add("/a/-", {"x": 1}), patches.replace("/b", None)]
    assert msgspec.json.decode(patches.json_patch(operations).body) == [
        {"op": "add", "path": "/a/-", "value": {"x": 1}},
        {"op": "replace", "path": "/b", "value": None},
    ]


@pytest.mark.parametrize(
    ("segment", "escaped"),
    [("kubernaut.ai/pause", "kubernaut.ai~1pause"), ("a~b", "a~0b"), ("~1", "~01"), ("~/", "~0~1"), ("", "")],
)
def test_pointer_escapes_in_the_right_order(segment: str, escaped: str) -> None:
    """RFC 6901: ``~`` first, or a literal ``~1`` would become a slash."""
    assert patches.escape_pointer(segment) == escaped
    assert patches.pointer("metadata", segment) == f"/metadata/{escaped}"


def test_apply_names_its_manager_and_forces_only_when_told() -> None:
    """I-63."""
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    patch = patches.apply_patch(obj, "wfe-controller")
    assert (patch.content_type, patch.params) == (
        "application/apply-patch+yaml",
        (("fieldManager", "wfe-controller"),),
    )
    assert patches.apply_patch(obj, "wfe-controller", force=True).params[-1] == ("force", "true")
    with pytest.raises(ValueError, match="field manager"):
        patches.apply_patch(obj, "")

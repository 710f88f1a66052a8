"""The store: atomic replace, indexes in step with the map, one version that only lists may turn back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.watching import WFE, raw, wfe
from wfe_controller.kube.cache import CachedObject, ObjectDecoder, by_field, by_label, by_namespace
from wfe_controller.kube.cache.store import WritableStore
from wfe_controller.kube.objects import ObjectKey

A = ObjectKey("ns", "a")


def obj(name: str, version: int, **more: Any) -> CachedObject:
    return ObjectDecoder(WFE)(raw(wfe(name, version, **more)))


def store() -> WritableStore:
    return WritableStore({"target": by_field("spec", "targetResource"), "namespace": by_namespace})


def names(objects: Iterable[CachedObject]) -> list[str]:
    return [o.key.name for o in objects]


def test_put_get_remove() -> None:
    s = store()
    assert s.put(obj("a", 1)) is None
    old = s.put(obj("a", 2))
    assert old is not None
    assert old.resource_version == "1"
    assert (len(s), A in s, list(s.keys()), names(s.list())) == (1, True, [A], ["a"])
    gone = s.remove(A, "3")
    assert gone is not None
    assert gone.resource_version == "2"
    assert (len(s), s.get(A), s.remove(A, "4"), s.resource_version) == (0, None, None, "4")


def test_lists_are_the_callers_own() -> None:
    """I-18: a reader may sort or empty what it got."""
    s = store()
    s.put(obj("a", 1, target="t"))
    s.list().clear()
    s.by_index("target", "t").clear()
    assert (len(s), names(s.by_index("target", "t"))) == (1, ["a"])


def test_index_follows_every_change() -> None:
    """I-21: old values go before new ones come; a value without objects is gone from index_values."""
    s = store()
    for name in "abc":
        s.put(obj(name, 1, target="t"))
    assert names(s.by_index("target", "t")) == ["a", "b", "c"]
    s.put(obj("b", 2, target="u"))
    assert (names(s.by_index("target", "t")), names(s.by_index("target", "u"))) == (["a", "c"], ["b"])
    s.remove(A, "3")
    s.remove(ObjectKey("ns", "c"), "4")
    assert s.index_values("target") == ["u"]
    assert s.by_index("target", "t") == []
    s.put(obj("b", 5, target="u"))
    assert names(s.by_index("target", "u")) == ["b"]
    s.remove(ObjectKey("ns", "b"), "6")
    assert s.index_values("target") == s.index_values("namespace") == []


def test_unknown_index_names_the_existing_ones() -> None:
    """I-21"""
    with pytest.raises(KeyError, match="no index 'owner'; there are: namespace, target"):
        store().by_index("owner", "x")
    with pytest.raises(KeyError, match="there are: none"):
        WritableStore().index_values("owner")


def test_an_index_function_that_raises_costs_one_object_its_place() -> None:
    """I-21, W5: neither the object nor the others are lost, and somebody is told."""

    def picky(o: CachedObject) -> Iterable[str]:
        if o.key.name == "bad":
            raise ValueError("bug")
        return ("x",)

    s = WritableStore({"picky": picky})
    with capture_logs() as logs:
        s.put(obj("bad", 1))
        s.put(obj("good", 2))
    assert names(s.by_index("picky", "x")) == ["good"]
    assert len(s) == 2
    assert [(e["log_level"], e["index"], e["key"]) for e in logs] == [("error", "picky", "ns/bad")]


def test_index_values_of_the_wrong_type_are_left_out() -> None:
    s = WritableStore({"odd": lambda o: ["x", 7, None, "x"]})  # type: ignore[list-item]
    s.put(obj("a", 1))
    assert (s.index_values("odd"), names(s.by_index("odd", "x"))) == (["x"], ["a"])
    s.remove(A, "2")
    assert s.index_values("odd") == []


def test_ready_made_index_functions() -> None:
    o = obj("a", 1, target="t")
    assert list(by_field("spec", "targetResource")(o)) == ["t"]
    assert list(by_field("spec")(o)) == list(by_field("status", "phase")(o)) == []
    assert list(by_namespace(o)) == ["ns"]
    labelled = wfe("a", 1)
    labelled["metadata"]["labels"] = {"l": "v", "empty": "", "odd": 7}
    with_labels = ObjectDecoder(WFE)(raw(labelled))
    assert [list(by_label(n)(with_labels)) for n in ("l", "empty", "odd", "none")] == [["v"], [], [], []]


def test_replace_is_invisible_until_committed() -> None:
    """I-13: readers see the old content with the old indexes and version, then the new, nothing in between."""
    s = store()
    s.put(obj("a", 5, target="t"))
    staged = s.stage()
    staged.add([obj("b", 6, target="t"), obj("c", 7, target="t")])
    staged.add([obj("c", 8, target="u")])
    assert (names(s.list()), names(s.by_index("target", "t")), s.resource_version) == (["a"], ["a"], "5")
    former = s.commit(staged, "9")
    assert list(former) == [A]
    assert (names(s.list()), s.resource_version) == (["b", "c"], "9")
    assert (names(s.by_index("target", "t")), names(s.by_index("target", "u"))) == (["b"], ["c"])


def test_version_advances_with_everything_seen_and_only_a_list_turns_it_back() -> None:
    """I-27, I-28"""
    s = store()
    seen = []
    for version in ("9", "10", "8", ""):
        s.advance(version)
        seen.append(s.resource_version)
    s.put(obj("a", 12))
    seen.append(s.resource_version)
    s.commit(s.stage(), "3")
    seen.append(s.resource_version)
    s.advance("x1")
    seen.append(s.resource_version)
    assert seen == ["9", "10", "10", "10", "12", "3", "x1"]

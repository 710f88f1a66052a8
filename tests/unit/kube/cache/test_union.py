"""Several namespaces read as one store (controller.watchNamespaces)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.watching import WFE, raw, wfe
from wfe_controller.kube.cache import ObjectDecoder, by_field
from wfe_controller.kube.cache.store import WritableStore
from wfe_controller.kube.cache.union import UnionStore
from wfe_controller.kube.objects import ObjectKey


def part(namespace: str, version: str, *names: str, **more: Any) -> WritableStore:
    store = WritableStore({"target": by_field("spec", "targetResource")})
    for name in names:
        store.put(ObjectDecoder(WFE)(raw(wfe(name, 1, namespace=namespace, **more))))
    store.advance(version)
    return store


def test_reads_like_one_store() -> None:
    union = UnionStore([part("n1", "7", "a", target="t"), part("n2", "9", "a", "b", target="t")])
    keys = [ObjectKey("n1", "a"), ObjectKey("n2", "a"), ObjectKey("n2", "b")]
    assert ([o.key for o in union.list()], list(union.keys()), len(union)) == (keys, keys, 3)
    assert [o.key for o in union.by_index("target", "t")] == keys
    assert list(union.index_values("target")) == ["t"]
    found = union.get(keys[1])
    assert found is not None
    assert found.key == keys[1]
    assert (union.get(ObjectKey("n3", "a")), keys[2] in union, ObjectKey("n3", "a") in union) == (None, True, False)
    with pytest.raises(KeyError, match="no index 'x'; there are: target"):
        union.by_index("x", "y")


@pytest.mark.parametrize(("versions", "least"), [(("7", "10"), "7"), (("10", "9"), "9"), (("8", "8"), "8")])
def test_version_is_what_all_parts_have_seen(versions: tuple[str, str], least: str) -> None:
    """I-27, I-28: 10 is more than 9."""
    assert UnionStore([part(f"n{i}", v) for i, v in enumerate(versions)]).resource_version == least


def test_needs_a_part() -> None:
    with pytest.raises(ValueError, match="at least one"):
        UnionStore([])

"""The embedded server's memory: old states can be read again until they are forgotten, and order is that of keys."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wfe_controller.sandbox.apiserver.store import Event, Store, select
from wfe_controller.sandbox.apiserver.watch import transition


def _obj(namespace: str, name: str, uid: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "uid": uid, "labels": labels}, "data": {"uid": uid}}


KEYS = st.tuples(st.sampled_from(["a", "a-b", "b"]), st.sampled_from(["x", "y", "x-y"]))
STEPS = st.lists(st.tuples(st.sampled_from(["write", "erase"]), KEYS), max_size=40)


@given(STEPS, st.integers(min_value=1, max_value=60))
def test_every_state_that_is_not_forgotten_can_be_read_again(steps: list[Any], history: int) -> None:
    """at(revision) is exactly what was stored then; older ones are known to be gone by ``oldest``."""
    store = Store(history=history)
    table = store.table("things")
    states = {store.revision: {}}
    for number, (what, (namespace, name)) in enumerate(steps):
        old = table.get(f"{namespace}/{name}")
        if what == "write":
            store.write(table, _obj(namespace, name, old.uid if old else f"u{number}", n=str(number)), old)
        elif old is not None:
            store.erase(table, old)
        states[store.revision] = dict(table.objects)
    for revision, objects in states.items():
        if revision >= table.oldest:
            then, keys = table.at(revision)
            assert then == objects
            assert keys == sorted(objects)
    assert list(table.keys()) == sorted(table.objects)
    assert len(table.since(table.oldest)) <= history


def test_keys_are_ordered_as_etcd_orders_them() -> None:
    """A namespace that is the beginning of another one does not take its objects."""
    store = Store()
    table = store.table("things")
    for namespace, name in (("a", "z"), ("a-b", "c"), ("a0", "d"), ("a", "b")):
        store.write(table, _obj(namespace, name, namespace + name), None)
    assert list(table.keys()) == ["a-b/c", "a/b", "a/z", "a0/d"]
    assert list(table.keys("a")) == ["a/b", "a/z"]
    assert list(table.keys("a", after="a/b")) == ["a/z"]
    assert select(["a-b/c", "a/b", "a/z"], "a", "") == ["a/b", "a/z"]


def test_a_version_is_exchanged_only_where_the_server_wrote_it() -> None:
    """A label that looks like a resourceVersion survives an object's disappearance from a watch."""
    store = Store()
    table = store.table("things")
    obj = _obj("a", "x", "u", resourceVersion=str(store.revision + 1))
    first = store.write(table, obj, None)
    changed = store.write(table, {**obj, "metadata": {**obj["metadata"], "labels": {}}}, first)
    event = Event("MODIFIED", changed.revision, changed, first)
    seen = transition(event, lambda stored: bool(stored.labels))
    assert seen is not None
    type_, stored = seen
    metadata = stored.decode()["metadata"]
    assert (type_, metadata["resourceVersion"]) == ("DELETED", str(changed.revision))
    assert metadata["labels"] == {"resourceVersion": str(first.revision)}


def test_compaction_forgets_history_and_keeps_objects() -> None:
    store = Store()
    table = store.table("things")
    stored = store.write(table, _obj("a", "x", "u"), None)
    store.compact()
    assert table.oldest == store.revision
    assert table.since(0) == []
    assert table.get("a/x") == stored

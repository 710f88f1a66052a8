"""Events to keys: one row per kind of change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.control.sources import connect, myself
from wfe_controller.kube.objects import PODS, ObjectKey
from wfe_controller.kube.queue.workqueue import PRIORITY_LOW


def pod(owner: str = "o1") -> CachedObject:
    annotations = {"ns": "team", "name": owner} if owner else {}
    body = {
        "metadata": {"name": "p", "namespace": "n", "annotations": annotations},
        "status": {"phase": "Running"},
    }
    return CachedObject(PODS, ObjectKey("n", "p"), "u", "5", 1, False, json.dumps(body).encode())


class Informer:
    """As much of an informer as a source uses."""

    def __init__(self) -> None:
        self.handlers: list[Callable[[Change], None]] = []

    def add_handler(self, handler: Callable[[Change], None]) -> object:
        self.handlers.append(handler)
        return object()


class Keys:
    def __init__(self) -> None:
        self.added: list[tuple[str, int]] = []

    def add(self, key: ObjectKey, *, priority: int = 0) -> None:
        self.added.append((str(key), priority))


def owner(obj: CachedObject) -> Iterable[ObjectKey]:
    name = obj.annotations.get("name")
    return [ObjectKey(obj.annotations["ns"], name)] if name else []


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        pytest.param(Added(pod(), initial=False), [("team/o1", 0)], id="I-37 fresh"),
        pytest.param(Added(pod(), initial=True), [("team/o1", PRIORITY_LOW)], id="I-37 initial list is low"),
        pytest.param(Updated(pod(), pod(), resync=True), [("team/o1", PRIORITY_LOW)], id="I-37 resync is low"),
        pytest.param(Updated(pod(), pod(), resync=False), [("team/o1", 0)], id="same owner once"),
        pytest.param(
            Updated(pod("o1"), pod("o2"), resync=False), [("team/o1", 0), ("team/o2", 0)], id="moved child wakes both"
        ),
        pytest.param(Deleted(ObjectKey("n", "p"), pod(), True), [("team/o1", 0)], id="deleted, by its last state"),
        pytest.param(Deleted(ObjectKey("n", "p"), pod(), False), [("team/o1", 0)], id="I-14 tombstone"),
        pytest.param(Deleted(ObjectKey("n", "p"), None, False), [], id="nothing known, nothing to map"),
        pytest.param(Added(pod(""), initial=False), [], id="no owner"),
    ],
)
def test_a_change_wakes_the_owner(change: Change, keys: list[tuple[str, int]]) -> None:
    informer, queue = Informer(), Keys()
    connect(informer, queue, owner)  # type: ignore[arg-type]  # only add_handler is used
    informer.handlers[0](change)
    assert queue.added == keys


def test_a_predicate_drops_what_it_refuses() -> None:
    informer, queue = Informer(), Keys()
    connect(informer, queue, myself, lambda change: isinstance(change, Deleted))  # type: ignore[arg-type]  # as above
    informer.handlers[0](Added(pod(), initial=False))
    informer.handlers[0](Deleted(ObjectKey("n", "p"), pod(), True))
    assert queue.added == [("n/p", 0)]

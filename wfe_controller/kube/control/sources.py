"""Where events become keys; everything after this is level-triggered (I-41).

The only place that may look at what changed. Handlers are synchronous and only enqueue (I-25): the informer runs them
between applying a change to the store and the next await, so a key is never queued before its object can be read.
Initial and resync events go to the low lane: nothing changed, so they can wait (I-37).
Neighbours: ``cache.informer`` calls, ``queue.workqueue`` receives, :mod:`.worker` takes the keys out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar, assert_never

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.cache.informer import Informer, Registration
from wfe_controller.kube.objects import ObjectKey
from wfe_controller.kube.queue.workqueue import PRIORITY_LOW, PRIORITY_NORMAL

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Keys(Protocol[K_contra]):
    """The side of a work queue that a source needs."""

    def add(self, key: K_contra, *, priority: int = PRIORITY_NORMAL) -> None: ...


Predicate = Callable[[Change], bool]
"""False drops the event. Pure and total; when in doubt True: a run too many is cheap, one too few is not."""


def myself(obj: CachedObject) -> Iterable[ObjectKey]:
    """The map of a controller over its own kind."""
    return (obj.key,)


def connect(
    informer: Informer,
    queue: Keys[K],
    map: Callable[[CachedObject], Iterable[K]],
    predicate: Predicate | None = None,
    *,
    priority: int = PRIORITY_NORMAL,
) -> Registration:
    """Enqueue what each change of ``informer`` concerns.

    ``map`` is pure and total; it is asked about the old and the new state, so that a child that moves from one owner to
    another wakes both. ``priority`` is that of real changes. A deletion of which no state is known maps to nothing.
    """

    def handle(change: Change) -> None:
        if predicate is not None and not predicate(change):
            return
        match change:
            case Added(obj, initial):
                affected: Iterable[K] = map(obj)
                level = PRIORITY_LOW if initial else priority
            case Updated(old, new, resync):
                affected = map(new) if resync else dict.fromkeys((*map(old), *map(new)))
                level = PRIORITY_LOW if resync else priority
            case Deleted(_, last, _):
                affected = () if last is None else map(last)
                level = priority
            case _:
                assert_never(change)
        for key in affected:
            queue.add(key, priority=level)

    return informer.add_handler(handle)

"""The map of cached objects with its resourceVersion and indexes: many readers, one writer.

``Store`` is what readers get; ``WritableStore`` belongs to the informer. Everything here is synchronous, so a reader
sees the state before or after a write, never between (I-13); the indexes change together with the map (I-15, I-21).
Objects are immutable (I-18). Neighbours: ``cached``, ``indexes``; ``consistency`` reads ``resource_version``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.indexes import Indexes, IndexFunc
from wfe_controller.kube.objects import ObjectKey, compare_resource_versions

Objects = list[CachedObject]


class Store:
    """The read view.

    ``resource_version`` is that of the last list, event or bookmark applied: everything the server committed up to
    it is in here (I-27, I-28). "" before the first list.
    """

    def __init__(self, indexes: Mapping[str, IndexFunc] | None = None) -> None:
        self._objects: dict[ObjectKey, CachedObject] = {}
        self._indexes = Indexes(indexes or {})
        self._resource_version = ""

    @property
    def resource_version(self) -> str:
        return self._resource_version

    def get(self, key: ObjectKey) -> CachedObject | None:
        return self._objects.get(key)

    def list(self) -> Objects:
        """All objects; the list is the caller's own."""
        return list(self._objects.values())

    def keys(self) -> Iterable[ObjectKey]:
        """A snapshot of all keys."""
        return list(self._objects)

    def by_index(self, name: str, value: str) -> Objects:
        """Objects under ``value``; KeyError naming the existing indexes when there is no index ``name``."""
        return [self._objects[key] for key in self._indexes.keys(name, value)]

    def index_values(self, name: str) -> Sequence[str]:
        """The values that have at least one object."""
        return self._indexes.values(name)

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects


class Staged:
    """A new content under construction, invisible to readers until committed (I-13)."""

    def __init__(self, indexes: Indexes) -> None:
        self.objects: dict[ObjectKey, CachedObject] = {}
        self.indexes = indexes

    def add(self, objects: Iterable[CachedObject]) -> None:
        for obj in objects:
            previous = self.objects.get(obj.key)
            if previous is not None:
                self.indexes.remove(previous)
            self.objects[obj.key] = obj
            self.indexes.add(obj)


class WritableStore(Store):
    """The writer's side; exactly one task may use it."""

    def put(self, obj: CachedObject) -> CachedObject | None:
        """Insert or overwrite; returns what was there."""
        old = self._objects.get(obj.key)
        if old is not None:
            self._indexes.remove(old)
        self._objects[obj.key] = obj
        self._indexes.add(obj)
        self.advance(obj.resource_version)
        return old

    def remove(self, key: ObjectKey, resource_version: str) -> CachedObject | None:
        """Delete; ``resource_version`` is that of the deletion. Returns what was there."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._indexes.remove(old)
        self.advance(resource_version)
        return old

    def advance(self, resource_version: str) -> None:
        """An event or bookmark of this version was seen. Comparable versions never go backwards here."""
        order = compare_resource_versions(resource_version, self._resource_version)
        if resource_version and (order is None or order > 0):
            self._resource_version = resource_version

    def stage(self) -> Staged:
        return Staged(self._indexes.empty())

    def commit(self, staged: Staged, resource_version: str) -> Mapping[ObjectKey, CachedObject]:
        """Swap map, indexes and version at once; returns the former content. The version may go backwards here:
        a list is the truth, also after a restored backup."""
        former = self._objects
        self._objects = staged.objects
        self._indexes = staged.indexes
        self._resource_version = resource_version
        return former

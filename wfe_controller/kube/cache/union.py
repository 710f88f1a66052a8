"""Several stores of one resource, one per namespace, read as one (``controller.watchNamespaces`` with Roles only)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.store import Objects, Store
from wfe_controller.kube.objects import ObjectKey, compare_resource_versions


class UnionStore(Store):
    """The read side only. ``resource_version`` is the smallest of the parts: what all of them have seen."""

    def __init__(self, parts: Sequence[Store]) -> None:
        if not parts:
            raise ValueError("a union needs at least one store")
        super().__init__()
        self._parts = tuple(parts)

    @property
    def resource_version(self) -> str:
        least = self._parts[0].resource_version
        for part in self._parts[1:]:
            if compare_resource_versions(part.resource_version, least) == -1:
                least = part.resource_version
        return least

    def get(self, key: ObjectKey) -> CachedObject | None:
        return next((found for part in self._parts if (found := part.get(key)) is not None), None)

    def list(self) -> Objects:
        return [obj for part in self._parts for obj in part.list()]

    def keys(self) -> Sequence[ObjectKey]:
        return list(chain.from_iterable(part.keys() for part in self._parts))

    def by_index(self, name: str, value: str) -> Objects:
        return [obj for part in self._parts for obj in part.by_index(name, value)]

    def index_values(self, name: str) -> Sequence[str]:
        return list(dict.fromkeys(value for part in self._parts for value in part.index_values(name)))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self._parts)

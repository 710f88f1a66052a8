"""Named indexes over cached objects: value -> keys, kept in step with the map by the store.

Index functions are pure and total (I-21). One that raises is a bug, but a bug about one object: the object is left
out of that index with an ERROR line instead of taking the whole cache down (W5). Neighbour: ``store``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.objects import ObjectKey

log = structlog.get_logger("wfe.cache")

IndexFunc = Callable[[CachedObject], Iterable[str]]

# Most values belong to one object (a target, an owner uid): that one key is kept bare, a table only for more.
_Bucket = ObjectKey | dict[ObjectKey, None]


def by_label(name: str) -> IndexFunc:
    """Index by the value of one label; objects without it are not in the index."""

    def index(obj: CachedObject) -> Iterable[str]:
        value = obj.labels.get(name)
        return (value,) if value else ()

    return index


def by_field(*path: str) -> IndexFunc:
    """Index by a string field, e.g. ``by_field("spec", "targetResource")``; anything but a non-empty string is out."""

    def index(obj: CachedObject) -> Iterable[str]:
        value = obj.field(*path)
        return (value,) if isinstance(value, str) and value else ()

    return index


def by_namespace(obj: CachedObject) -> Iterable[str]:
    return (obj.key.namespace,)


class Indexes:
    """All indexes of one store. Writers call ``add`` and ``remove`` in pairs with the map."""

    def __init__(self, functions: Mapping[str, IndexFunc]) -> None:
        self._functions = dict(functions)
        self._tables: dict[str, dict[str, _Bucket]] = {name: {} for name in functions}

    @property
    def names(self) -> list[str]:
        return sorted(self._functions)

    def empty(self) -> Indexes:
        """The same functions over no objects: where an atomic replace builds its indexes."""
        return Indexes(self._functions)

    def add(self, obj: CachedObject) -> None:
        for name, function in self._functions.items():
            table = self._tables[name]
            for value in self._values(name, function, obj):
                bucket = table.get(value)
                if bucket is None or bucket == obj.key:
                    table[value] = obj.key
                elif isinstance(bucket, dict):
                    bucket[obj.key] = None
                else:
                    table[value] = {bucket: None, obj.key: None}

    def remove(self, obj: CachedObject) -> None:
        for name, function in self._functions.items():
            table = self._tables[name]
            for value in self._values(name, function, obj):
                bucket = table.get(value)
                if isinstance(bucket, dict):
                    bucket.pop(obj.key, None)
                    if len(bucket) == 1:
                        table[value] = next(iter(bucket))
                elif bucket == obj.key:
                    del table[value]

    def keys(self, name: str, value: str) -> list[ObjectKey]:
        bucket = self._table(name).get(value)
        if bucket is None:
            return []
        return list(bucket) if isinstance(bucket, dict) else [bucket]

    def values(self, name: str) -> list[str]:
        return list(self._table(name))

    def _table(self, name: str) -> dict[str, _Bucket]:
        try:
            return self._tables[name]
        except KeyError:
            raise KeyError(f"no index {name!r}; there are: {', '.join(self.names) or 'none'}") from None

    def _values(self, name: str, function: IndexFunc, obj: CachedObject) -> list[str]:
        try:
            return [value for value in function(obj) if isinstance(value, str)]
        except Exception as error:  # noqa: BLE001 - see module docstring: one object, not the cache
            log.error(
                "index function failed",
                index=name,
                resource=obj.resource.group_resource,
                key=str(obj.key),
                error=repr(error),
            )
            return []

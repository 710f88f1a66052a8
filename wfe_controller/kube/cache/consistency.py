"""Read-your-writes: has the cache seen what this process wrote for a key? (I-28)

Role: after a successful write the reconciler records the resourceVersion it got; before the next run of that key the
worker asks ``ready``. Neighbours: ``store`` (whose version advances with every event and bookmark), control (defers).
Fails open: versions that cannot be compared (I-27), a resource without informer, a store that never synced never
hold a key back, because decisions are safe on stale input anyway (I-29, I-61); this only saves the wasted run.

The key is whatever the caller reconciles; the written object may be another one (a child), so it has its own key.
Only what waits is kept: a record goes as soon as it is satisfied, or with ``forget``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from wfe_controller.kube.cache.store import Store
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.objects import ObjectKey, Resource, compare_resource_versions

LIVE_READ_AFTER = 5.0  # seconds a key may be held back before its caller should look at the server itself


@dataclass(frozen=True, slots=True)
class Fresh:
    """The cache has every recorded write of the key."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The cache has not seen version ``want`` of the object ``object_key`` with that ``uid`` yet.

    ``since``: monotonic seconds of the first time the key was held back for it. ``live_read_due``: held back for more
    than 5 s, so read the object from the server, act on that, and ``forget`` the key.
    """

    since: float
    resource: Resource
    object_key: ObjectKey
    uid: str
    want: str
    live_read_due: bool = False


@dataclass(slots=True)
class _Record:
    uid: str
    want: str
    since: float | None = None


class Consistency:
    """Records of one process. Not for several tasks on one key at once; the queue guarantees that (I-31)."""

    def __init__(
        self, stores: Mapping[Resource, Store], clock: Clock, *, live_read_after: float = LIVE_READ_AFTER
    ) -> None:
        self._stores = dict(stores)
        self._clock = clock
        self._live_read_after = live_read_after
        self._records: dict[Hashable, dict[tuple[Resource, ObjectKey], _Record]] = {}

    def __len__(self) -> int:
        """Keys with unconfirmed writes."""
        return len(self._records)

    def wrote(
        self,
        key: Hashable,
        resource: Resource,
        uid: str,
        resource_version: str,
        *,
        object_key: ObjectKey | None = None,
    ) -> None:
        """A write made for ``key`` was answered with this version. ``object_key`` defaults to ``key`` itself.

        A later write to the same object replaces the earlier one, and its waiting time starts anew.
        """
        if object_key is None:
            if not isinstance(key, ObjectKey):
                raise TypeError(f"object_key is needed: {key!r} is no ObjectKey")
            object_key = key
        if not resource_version or resource not in self._stores:
            return
        self._records.setdefault(key, {})[resource, object_key] = _Record(uid, resource_version)

    def ready(self, key: Hashable) -> Fresh | Waiting:
        """Fresh, or the first write that the cache lacks. Cheap for keys without unconfirmed writes."""
        records = self._records.get(key)
        if not records:
            return Fresh()
        now = self._clock.monotonic()
        longest: Waiting | None = None
        for (resource, object_key), record in list(records.items()):
            if self._seen(self._stores[resource], object_key, record):
                del records[resource, object_key]
                continue
            if record.since is None:
                record.since = now
            if longest is None or record.since < longest.since:
                due = now - record.since > self._live_read_after
                longest = Waiting(record.since, resource, object_key, record.uid, record.want, due)
        if longest is None:
            del self._records[key]
            return Fresh()
        return longest

    def forget(self, key: Hashable) -> None:
        """The key's object is gone, or the caller has looked at the server itself."""
        self._records.pop(key, None)

    @staticmethod
    def _seen(store: Store, object_key: ObjectKey, record: _Record) -> bool:
        order = compare_resource_versions(store.resource_version, record.want)
        if order is None or order >= 0:
            return True  # seen (also: deleted or recreated since), or not comparable: fail open
        cached = store.get(object_key)
        if cached is None:
            return False
        order = compare_resource_versions(cached.resource_version, record.want)
        # Another uid that is older is the predecessor of what was just created: still waiting. A newer one is not.
        return order is None or order >= 0

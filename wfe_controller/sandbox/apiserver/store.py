"""What the server remembers: one table per resource, one revision counter for all, and the latest history of each.

Objects are kept as encoded JSON without apiVersion and kind (versions of one resource differ in nothing else, unless
their strategy says so), together with the few facts that selectors, owners and deletion ask for. Everything here is
synchronous: what a verb does between two awaits is a transaction. ``watch`` is told of every event.

Kept here: revisions only grow, across tables; the state of any revision not older than ``oldest`` can be read again,
which is what continue tokens, exact lists and watches stand on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from sys import intern
from typing import Any

import msgspec

Json = dict[str, Any]

HISTORY = 5_000
"""Events kept per table; whoever asks for older ones is told 410."""

_NONE: Mapping[str, str] = {}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One state of one object. ``data`` lacks apiVersion and kind; ``owners`` are uids."""

    namespace: str
    name: str
    uid: str
    revision: int
    data: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    owners: tuple[str, ...]
    deleting: bool

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def decode(self) -> Json:
        """A fresh object, to be changed freely; without apiVersion and kind."""
        obj: Json = _decode(self.data)
        return obj


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change. ``new`` of a DELETED event is the last state, with the revision of the deletion."""

    type: str
    revision: int
    new: Stored
    old: Stored | None


class Table:
    """The objects of one resource, in the order of their keys, and its latest events."""

    def __init__(self, name: str, history: int) -> None:
        self.name = name
        self.objects: dict[str, Stored] = {}
        self.listeners: dict[Callable[[Event], None], None] = {}
        """In the order in which they came, which a set would not keep: two runs of one story are told alike."""
        self.oldest = 0
        """Changes after this revision are all still known."""
        self.watched_from = 0
        """No watch may start before this revision, whatever is still known: the kind was not served then."""
        self._keys: list[str] = []
        self._log: deque[Event] = deque()
        self._history = history

    def __len__(self) -> int:
        return len(self.objects)

    def get(self, key: str) -> Stored | None:
        return self.objects.get(key)

    def keys(self, namespace: str = "", after: str = "") -> Iterator[str]:
        """Keys in order, of one namespace or all, greater than ``after``."""
        return _range(self._keys, namespace, after)

    def at(self, revision: int) -> tuple[dict[str, Stored], list[str]]:
        """Objects and sorted keys as they were at a revision that is not older than ``oldest``."""
        then = dict(self.objects)
        for event in reversed(self._log):
            if event.revision <= revision:
                break
            if event.old is None:
                then.pop(event.new.key, None)
            else:
                then[event.new.key] = event.old
        return then, sorted(then)

    def since(self, revision: int) -> list[Event]:
        """Events after a revision, oldest first."""
        found: list[Event] = []
        for event in reversed(self._log):
            if event.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def compact(self, revision: int) -> None:
        """Forget the history up to a revision."""
        while self._log and self._log[0].revision <= revision:
            self._log.popleft()
        self.oldest = max(self.oldest, revision)

    def record(self, event: Event) -> None:
        """Apply one event; only the store calls this."""
        key = event.new.key
        if event.type == "DELETED":
            del self.objects[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            if event.old is None:
                insort(self._keys, key)
            self.objects[key] = event.new
        self._log.append(event)
        if len(self._log) > self._history:
            self.oldest = self._log.popleft().revision
        for listener in tuple(self.listeners):
            listener(event)


class Store:
    """All tables. ``revision`` is that of the last write anywhere."""

    def __init__(self, *, history: int = HISTORY) -> None:
        self.revision = 1
        self.tables: dict[str, Table] = {}
        self.observers: list[Callable[[Table, Event], None]] = []
        """Told of every event after the watchers: garbage collection, RBAC, CRDs."""
        self._history = history
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def table(self, name: str) -> Table:
        """The table of a storage name; an empty one when nothing was ever stored there."""
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = Table(name, self._history)
            table.oldest = 0
        return table

    def write(self, table: Table, obj: Json, old: Stored | None, fields: Mapping[str, str] = _NONE) -> Stored:
        """Store a new state and give it its resourceVersion, which is set in ``obj`` too.

        ``obj`` has a complete metadata (name, uid). The caller has compared ``old`` with what is stored, in the same
        turn of the loop.
        """
        self.revision += 1
        stored = freeze(obj, self.revision, fields)
        self._record(table, Event("ADDED" if old is None else "MODIFIED", self.revision, stored, old))
        return stored

    def erase(self, table: Table, old: Stored) -> Stored:
        """Remove an object; gives its last stored state, which carries the revision of the deletion now."""
        self.revision += 1
        gone = freeze(old.decode(), self.revision, old.fields)
        self._record(table, Event("DELETED", self.revision, gone, old))
        return gone

    def drop_table(self, name: str) -> None:
        """Forget a table and its history: its CRD is gone."""
        self.tables.pop(name, None)

    def compact(self, revision: int | None = None) -> None:
        """Forget history up to ``revision`` (None: all), as etcd's compaction does."""
        for table in self.tables.values():
            table.compact(self.revision if revision is None else revision)

    def reached(self, revision: int) -> asyncio.Future[None]:
        """Done as soon as the store is at that revision."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.revision >= revision:
            future.set_result(None)
        else:
            self._waiting.append((revision, future))
        return future

    def _record(self, table: Table, event: Event) -> None:
        table.record(event)
        for observer in self.observers:
            observer(table, event)
        if self._waiting:
            for entry in [entry for entry in self._waiting if entry[0] <= self.revision or entry[1].done()]:
                self._waiting.remove(entry)
                if not entry[1].done():
                    entry[1].set_result(None)


def freeze(obj: Json, revision: int, fields: Mapping[str, str]) -> Stored:
    """Encode one state; sets metadata.resourceVersion of ``obj``."""
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(revision)
    owners = metadata.get("ownerReferences")
    return Stored(
        namespace=intern(metadata.get("namespace", "")),  # one string for all that live there
        name=metadata["name"],
        uid=metadata["uid"],
        revision=revision,
        data=encode_body(obj),
        labels=dict(metadata.get("labels") or _NONE) if metadata.get("labels") else _NONE,
        fields=fields,
        owners=tuple(owner.get("uid", "") for owner in owners) if owners else (),
        deleting="deletionTimestamp" in metadata,
    )


def encode_body(obj: Json) -> bytes:
    """JSON without apiVersion and kind, metadata first, and in it the fields that stand for identity.

    ``watch`` exchanges the resourceVersion in the bytes: nothing that a client chose freely may stand before it.
    """
    given = obj["metadata"]
    metadata = {name: given[name] for name in _FIRST if name in given}
    metadata.update(given)
    body = {"metadata": metadata}
    body.update((name, value) for name, value in obj.items() if name not in _IDENTITY)
    # A copy, because what the encoder returns keeps the whole buffer it has grown: up to half as much again, for good.
    return bytes(memoryview(_encode(body)))


_FIRST = (
    *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers"),
)
_IDENTITY = frozenset({"apiVersion", "kind", "metadata"})


def _range(keys: list[str], namespace: str, after: str) -> Iterator[str]:
    start = bisect_left(keys, f"{namespace}/") if namespace else 0
    end = bisect_left(keys, f"{namespace}0") if namespace else len(keys)  # "0" follows "/"
    if after:
        start = max(start, bisect_left(keys, after + "\0"))
    for index in range(start, end):
        yield keys[index]


def select(keys: list[str], namespace: str, after: str) -> list[str]:
    """The part of sorted keys that is in a namespace ("" = all) and greater than ``after``."""
    return list(_range(keys, namespace, after))

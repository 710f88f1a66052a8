"""Objects, watch lines, and an API server in memory with a version history: what the cache's tests share.

``MemoryApi`` plays the part of the client's ``Api`` that informers use (``ListWatch``), with the server's own
semantics: one version counter, a bounded history (410 below it), pages of one snapshot, bookmarks, WatchList.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.kube.errors import ConnectionFailed, KubeError, api_error
from wfe_controller.kube.objects import Json, ObjectKey, Resource

WFE = Resource("kubernaut.ai", "v1alpha1", "workflowexecutions", "WorkflowExecution")


def wfe(name: str, version: int | str, *, namespace: str = "ns", uid: str = "", target: str = "", **extra: Any) -> Json:
    """A WorkflowExecution as the server stores it; ``extra`` are further top-level fields."""
    return {
        "apiVersion": WFE.api_version,
        "kind": WFE.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "managedFields": [{"manager": "somebody"}],
        },
        "spec": {"targetResource": target or f"{namespace}/Deployment/{name}"},
        **extra,
    }


def raw(obj: Any) -> bytes:
    return json.dumps(obj, separators=(",", ":")).encode()


def line(type_: str, obj: Any) -> bytes:
    return raw({"type": type_, "object": obj})


def bookmark(version: int | str, *, initial_end: bool = False) -> bytes:
    meta: Json = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", {"kind": WFE.kind, "apiVersion": WFE.api_version, "metadata": meta})


def status(code: int, reason: str = "", message: str = "", **details: Any) -> Json:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message} | (
        {"details": details} if details else {}
    )


def refusal(code: int, reason: str = "", message: str = "", retry_after: float | None = None) -> KubeError:
    return api_error(code, status(code, reason, message), retry_after=retry_after)


GONE = ("Expired", "too old resource version")


@dataclass(frozen=True)
class MemoryPage:
    items: list[bytes]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True)
class Call:
    """One request the server saw; ``verb`` is list or watch."""

    verb: str
    at: float
    parameters: Json


@dataclass(eq=False)
class _Stream:
    queue: asyncio.Queue[bytes | KubeError | None]
    version: int
    skipped: int = 0

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        item = await self.queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, KubeError):
            raise item
        return item


@dataclass
class MemoryApi:
    """The server. Mutators are synchronous and reach open watches at the next turn of the loop."""

    watch_list: bool = True
    gone_as_status: bool = True
    version: int = 100
    objects: dict[ObjectKey, Json] = field(default_factory=dict)
    history: list[tuple[int, str, Json]] = field(default_factory=list)
    oldest: int = 0
    calls: list[Call] = field(default_factory=list)
    list_faults: list[KubeError] = field(default_factory=list)
    watch_faults: list[KubeError] = field(default_factory=list)
    _streams: list[_Stream] = field(default_factory=list)
    _snapshots: dict[str, tuple[int, list[Json]]] = field(default_factory=dict)

    # -- what happens on the server

    def create(self, name: str, namespace: str = "ns", **fields: Any) -> Json:
        self.version += 1
        return self._store("ADDED", wfe(name, self.version, namespace=namespace, uid=f"uid-{self.version}", **fields))

    def update(self, key: ObjectKey, **fields: Any) -> Json:
        self.version += 1
        old = self.objects[key]
        new = {**old, **fields, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        return self._store("MODIFIED", new)

    def replace(self, key: ObjectKey) -> None:
        """A deletion and a creation that reach the watch as one event (I-16)."""
        self.version += 1
        meta = {**self.objects[key]["metadata"], "uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        self._store("MODIFIED", {**self.objects[key], "metadata": meta})

    def delete(self, key: ObjectKey) -> None:
        self.version += 1
        old = self.objects.pop(key)
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        self._publish("DELETED", last)

    def bookmark(self) -> None:
        for stream in self._streams:
            stream.queue.put_nowait(bookmark(self.version))
            stream.version = self.version

    def duplicate(self) -> None:
        """Send the last event of the history again on every stream."""
        if self.history:
            _, type_, obj = self.history[-1]
            for stream in self._streams:
                stream.queue.put_nowait(line(type_, obj))

    def send(self, data: bytes) -> None:
        """Any bytes on every open stream."""
        for stream in self._streams:
            stream.queue.put_nowait(data)

    def disconnect(self, error: KubeError | None = None) -> None:
        """End every stream, orderly or with ``error``; what was not delivered yet is lost with it."""
        for stream in self._streams:
            while not stream.queue.empty():
                stream.queue.get_nowait()
            stream.queue.put_nowait(error)
        self._streams = []

    def mute(self) -> None:
        """A load balancer drops every stream without telling anybody."""
        self._streams = []

    def compact(self) -> None:
        """Forget the history: every older version is 410, every continue token too."""
        self.oldest = self.version
        self.history = []
        self._snapshots = {}

    @property
    def watchers(self) -> int:
        return len(self._streams)

    def verbs(self) -> list[str]:
        """The calls in order, WatchList told apart."""
        return ["watchlist" if c.parameters.get("send_initial_events") else c.verb for c in self.calls]

    # -- what the client sees

    async def list_page(self, resource: Resource, namespace: str | None, **parameters: Any) -> MemoryPage:
        await self._called("list", parameters)
        if self.list_faults:
            raise self.list_faults.pop(0)
        token = parameters.get("continue_token") or ""
        if token:
            if token not in self._snapshots:
                raise refusal(410, *GONE)
            version, items = self._snapshots.pop(token)
        else:
            asked = parameters.get("resource_version")
            if asked and int(asked) > self.version:
                raise refusal(504, "Timeout", "Too large resource version")
            version, items = self.version, list(self.objects.values())
        limit = parameters.get("limit") or len(items) or 1
        page, rest = items[:limit], items[limit:]
        following = ""
        if rest:
            following = f"token-{len(self.calls)}"
            self._snapshots[following] = (version, rest)
        return MemoryPage([raw(item) for item in page], str(version), following)

    @asynccontextmanager
    async def watch(self, resource: Resource, namespace: str | None, **parameters: Any) -> AsyncIterator[_Stream]:
        await self._called("watch", parameters)
        if self.watch_faults:
            raise self.watch_faults.pop(0)
        initial = parameters.get("send_initial_events", False)
        if initial and not self.watch_list:
            raise refusal(422, "Invalid", "sendInitialEvents is forbidden")
        start = int(parameters["resource_version"] or self.version)
        stream = _Stream(asyncio.Queue(), start)
        if start < self.oldest and not initial:
            if self.gone_as_status:
                raise refusal(410, *GONE)
            stream.queue.put_nowait(line("ERROR", status(410, *GONE)))
            stream.queue.put_nowait(None)
        elif start > self.version:
            raise refusal(504, "Timeout", "Too large resource version")
        elif initial:
            for obj in self.objects.values():
                stream.queue.put_nowait(line("ADDED", obj))
            stream.queue.put_nowait(bookmark(self.version, initial_end=True))
            self._streams.append(stream)
        else:
            for version, type_, obj in self.history:
                if version > start:
                    stream.queue.put_nowait(line(type_, obj))
            self._streams.append(stream)
        try:
            yield stream
        finally:
            if stream in self._streams:
                self._streams.remove(stream)

    async def _called(self, verb: str, parameters: Json) -> None:
        self.calls.append(Call(verb, asyncio.get_running_loop().time(), parameters))
        await asyncio.sleep(0)

    def _store(self, type_: str, obj: Json) -> Json:
        self.objects[ObjectKey(obj["metadata"]["namespace"], obj["metadata"]["name"])] = obj
        self._publish(type_, obj)
        return obj

    def _publish(self, type_: str, obj: Json) -> None:
        self.history.append((self.version, type_, obj))
        for stream in self._streams:
            stream.queue.put_nowait(line(type_, obj))


BROKEN = ConnectionFailed("connection reset by peer")

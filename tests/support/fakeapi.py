"""An API server and caches in memory, for interleavings only (``playedtekton`` plays the rest of the cluster).

They exist so that a test can stop, kill, or lie to the controller between any two of its API calls; what a real API
server and a real Tekton do is pinned by the integration tier, never here. No selectors but ``label=value`` and
``label``, no admission, no schema, no quotas. Time comes in as a clock whose ``now`` the test moves.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.cache.cached import CachedObject, ObjectDecoder
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.cache.store import WritableStore
from wfe_controller.kube.client.patches import JSON_PATCH, Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock, rfc3339
from wfe_controller.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, Json, ObjectKey, Resource, key_of, uid_of
from wfe_controller.workflows.world import (
    BY_HOLDER,
    BY_OWNER,
    BY_TARGET,
    BY_TARGET_HASH,
    BY_UID,
    index_holder,
    index_owner,
    index_target,
    index_target_hash,
    index_uid,
)

FINAL = ("phase", "startTime", "completionTime", "failureDetails", "skipDetails")
FOREGROUND = "foregroundDeletion"
INDEXES: dict[Resource, dict[str, Any]] = {
    names.WORKFLOWEXECUTIONS: {BY_TARGET: index_target, BY_UID: index_uid},
    names.TARGETLOCKS: {BY_HOLDER: index_holder},
    names.PIPELINERUNS: {BY_OWNER: index_owner, BY_TARGET_HASH: index_target_hash},
    names.TASKRUNS: {BY_OWNER: index_owner, BY_TARGET_HASH: index_target_hash},
    PODS: {BY_OWNER: index_owner},
}
LABELLED = (names.PIPELINERUNS, names.TASKRUNS, PODS)


def clone(obj: Any) -> Any:
    """Through the wire format: what comes back shares nothing, and enums are plain strings."""
    return msgspec.json.decode(msgspec.json.encode(obj))


class FakeServer:
    """The committed state. ``committed`` hooks run after every write with (verb, resource, before, after)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[Resource, dict[ObjectKey, Json]] = {r: {} for r in (*INDEXES, SERVICE_ACCOUNTS)}
        self.log: list[tuple[Resource, Json | None, Json | None, str]] = []
        self.committed: list[Callable[[Resource, Json | None, Json | None], None]] = []
        self._numbers = itertools.count(1)

    def get(self, resource: Resource, key: ObjectKey) -> Json:
        found = self.objects[resource].get(key)
        if found is None:
            details = {"name": key.name, "kind": resource.plural}
            raise NotFound(404, "NotFound", f"{resource.plural} {key.name!r} not found", details=details)
        return clone(found)

    def all(self, resource: Resource, namespace: str | None = None, selector: str = "") -> list[Json]:
        name, _, value = selector.partition("=")
        return [
            clone(obj)
            for key, obj in self.objects[resource].items()
            if (not namespace or key.namespace == namespace)
            and (not name or (name in labels(obj) and (not value or labels(obj)[name] == value)))
        ]

    def create(self, resource: Resource, obj: Json) -> Json:
        key = key_of(obj)
        if key in self.objects[resource]:
            raise AlreadyExists(409, "AlreadyExists", f"{resource.plural} {key.name!r} already exists")
        obj = clone(obj)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if resource in (names.WORKFLOWEXECUTIONS, names.TARGETLOCKS, names.PIPELINERUNS):
            obj.pop("status", None)
        number = next(self._numbers)
        obj["metadata"] |= {
            "uid": f"{resource.kind.lower()}-{number}",
            "generation": 1,
            "creationTimestamp": rfc3339(self.clock.now()),
        }
        return self._store(resource, None, obj)

    def update(self, resource: Resource, key: ObjectKey, change: Callable[[Json], None], version: str = "") -> Json:
        """Compare-and-swap when ``version`` is given. The rules of the API server that matter here are kept."""
        before = self.get(resource, key)
        if version and version != before["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", f"{resource.plural} {key.name!r}: the object has been modified")
        after = clone(before)
        change(after)
        if before["metadata"].get("deletionTimestamp") and not set(finalizers(after)) <= set(finalizers(before)):
            raise Invalid(422, "Invalid", "no new finalizers can be added if the object is being deleted")
        old, new = before.get("status") or {}, after.get("status") or {}
        if resource is names.WORKFLOWEXECUTIONS and old.get("phase") in TERMINAL:
            changed = [f for f in FINAL if old.get(f) != new.get(f)]
            if changed:
                raise Invalid(422, "Invalid", f"terminal status is final: {changed}")
        named = (old.get("pipelineRunRef") or {}).get("uid") if resource is names.WORKFLOWEXECUTIONS else None
        if named and (new.get("pipelineRunRef") or {}).get("uid") != named:
            raise Invalid(422, "Invalid", "status.pipelineRunRef stays as it is once a run is named")
        if after == before:
            return before
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        return self._store(resource, before, after)

    def delete(self, resource: Resource, key: ObjectKey, propagation: str = "Background") -> None:
        before = self.get(resource, key)
        after = clone(before)
        if propagation == "Foreground" and FOREGROUND not in finalizers(after):
            after["metadata"]["finalizers"] = [*finalizers(after), FOREGROUND]
        after["metadata"].setdefault("deletionTimestamp", rfc3339(self.clock.now()))
        if after != before:
            self._store(resource, before, after)

    def _store(self, resource: Resource, before: Json | None, after: Json) -> Json:
        version = str(next(self._numbers))
        after["metadata"]["resourceVersion"] = version
        kept: Json | None = after
        if after["metadata"].get("deletionTimestamp") and not finalizers(after):
            self.objects[resource].pop(key_of(after), None)
            kept = None
        else:
            self.objects[resource][key_of(after)] = after
        self.log.append((resource, before, clone(kept), version))
        for hook in self.committed:
            hook(resource, before, kept)
        return clone(after)


@dataclass(frozen=True, slots=True)
class Call:
    """One API call of a controller, as its ``before`` hook and its ``after`` hook see it."""

    verb: str
    resource: Resource
    key: ObjectKey
    done: bool

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "text")


Hook = Callable[[Call], Awaitable[None]]


class FakeApi:
    """``kube.client.Api`` over a FakeServer. ``hook`` is awaited before and after every call and may raise."""

    def __init__(self, server: FakeServer, hook: Hook | None = None) -> None:
        self.server = server
        self.calls: list[Call] = []
        self.logs: dict[str, str] = {}
        self._hook = hook

    async def _do(self, verb: str, resource: Resource, key: ObjectKey, act: Callable[[], Any]) -> Any:
        await self._tell(Call(verb, resource, key, done=False))
        answer = act()
        await self._tell(Call(verb, resource, key, done=True))
        return answer

    async def _tell(self, call: Call) -> None:
        if not call.done:
            self.calls.append(call)
        if self._hook is not None:
            await self._hook(call)

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane = Lane.READ) -> Json:
        return await self._do("get", resource, key, lambda: self.server.get(resource, key))

    async def list(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", lane: Lane = Lane.READ
    ) -> list[Json]:
        key = ObjectKey(namespace or "", label_selector)
        return await self._do("list", resource, key, lambda: self.server.all(resource, namespace, label_selector))

    async def text(self, path: str, *, params: Any = None, timeout: float = 0) -> str:
        return await self._do("text", PODS, ObjectKey("", path), lambda: self.logs.get(path, ""))

    async def create(self, resource: Resource, obj: Json, *, lane: Lane, dry_run: bool = False) -> Json:
        return await self._do("create", resource, key_of(obj), lambda: self.server.create(resource, obj))

    async def replace(self, resource: Resource, obj: Json, *, subresource: str | None = None, lane: Lane) -> Json:
        assert subresource == "status", "the controller replaces nothing but status"

        def put() -> Json:
            def change(stored: Json) -> None:
                if uid_of(stored) != uid_of(obj):
                    raise Conflict(409, "Conflict", "Precondition failed: UID in precondition")
                stored["status"] = clone(obj["status"])

            return self.server.update(resource, key_of(obj), change, obj["metadata"]["resourceVersion"])

        return await self._do("replace", resource, key_of(obj), put)

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Patch, *, subresource: str | None = None, lane: Lane
    ) -> Json:
        body = json.loads(patch.body)
        version = ""
        if patch.content_type != JSON_PATCH:
            version = body.get("metadata", {}).pop("resourceVersion", "")

        def change(stored: Json) -> None:
            if patch.content_type == JSON_PATCH:
                for operation in body:
                    _apply(stored, operation)
            else:
                _merge(stored, body)

        return await self._do("patch", resource, key, lambda: self.server.update(resource, key, change, version))

    async def delete(
        self,
        resource: Resource,
        key: ObjectKey,
        *,
        uid: str,
        resource_version: str | None = None,
        propagation: str = "Background",
        lane: Lane,
    ) -> None:
        def remove() -> None:
            meta = self.server.get(resource, key)["metadata"]
            if meta["uid"] != uid or resource_version not in (None, meta["resourceVersion"]):
                raise Conflict(409, "Conflict", "Precondition failed")
            self.server.delete(resource, key, propagation)

        await self._do("delete", resource, key, remove)


def cached(resource: Resource, obj: Json) -> CachedObject:
    return ObjectDecoder(resource)(msgspec.json.encode(obj))


class Feed:
    """The stores of one process and its place in the server's log. ``deliver`` brings it up to date, or a bit on."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.stores: dict[Resource, WritableStore] = {r: WritableStore(i) for r, i in INDEXES.items()}
        self.handlers: list[Callable[[Resource, Change], None]] = []
        self._at = 0

    @property
    def behind(self) -> int:
        return len(self._server.log) - self._at

    def list(self) -> None:
        """The first list: everything, no events."""
        self._at = len(self._server.log)
        for resource, store in self.stores.items():
            for obj in self._server.objects[resource].values():
                if _selected(resource, obj):
                    store.put(cached(resource, obj))
            store.advance(self._server.log[-1][3] if self._server.log else "1")

    def deliver(self, count: int | None = None) -> None:
        for _ in range(self.behind if count is None else min(count, self.behind)):
            resource, before, after, version = self._server.log[self._at]
            self._at += 1
            change = self._change(resource, before, after, version) if resource in self.stores else None
            for store in self.stores.values():
                store.advance(version)
            for handler in self.handlers if change is not None else ():
                handler(resource, change)

    def _change(self, resource: Resource, before: Json | None, after: Json | None, version: str) -> Change | None:
        store = self.stores[resource]
        if after is not None and _selected(resource, after):
            new = cached(resource, after)
            old = store.put(new)
            return Added(new, initial=False) if old is None else Updated(old, new, resync=False)
        if before is None or not _selected(resource, before):
            return None
        store.remove(key_of(before), version)
        return Deleted(key_of(before), cached(resource, before), final_state_known=True)


def _selected(resource: Resource, obj: Json) -> bool:
    return resource not in LABELLED or names.OWNER_UID in labels(obj)


def labels(obj: Json) -> Json:
    return obj["metadata"].get("labels") or {}


def finalizers(obj: Json) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def _apply(obj: Any, operation: Json) -> None:
    *parents, last = (p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:])
    try:
        for part in parents:
            obj = obj[int(part)] if isinstance(obj, list) else obj[part]
        place: Any = int(last) if isinstance(obj, list) else last
        if operation["op"] == "test" and obj[place] != operation["value"]:
            raise Invalid(422, "Invalid", f"the test of {operation['path']} failed")
        if operation["op"] == "remove":
            del obj[place]
    except (KeyError, IndexError) as missing:
        raise Invalid(422, "Invalid", f"no {operation['path']}") from missing
    if operation["op"] in ("add", "replace"):
        obj[place] = operation["value"]


def _merge(obj: Json, body: Json) -> None:
    for key, value in body.items():
        if value is None:
            obj.pop(key, None)
        elif isinstance(value, dict):
            _merge(obj.setdefault(key, {}), value)
        else:
            obj[key] = value

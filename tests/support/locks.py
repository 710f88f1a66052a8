"""TargetLocks in memory with the API server's rules: versions, preconditions, finalizers, the status subresource."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

from wfe_controller.kube.client.patches import JSON_PATCH, Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, Resource, name_of, namespace_of


class LockServer:
    """``before(verb)`` runs ahead of every write and may change things in between, as another client would."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Json] = {}
        self.writes: list[tuple[str, Lane]] = []
        self.before: Callable[[str], None] | None = None
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    def _arrive(self, verb: str, lane: Lane) -> None:
        if self.before is not None:
            hook, self.before = self.before, None
            hook(verb)
        self.writes.append((verb, lane))

    def _stored(self, key: ObjectKey) -> Json:
        if key not in self.objects:
            raise NotFound(404, "NotFound", f"{key} not found", details={"name": key.name, "kind": "targetlocks"})
        return self.objects[key]

    def _store(self, key: ObjectKey, obj: Json) -> Json:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        if obj["metadata"].get("deletionTimestamp") and not obj["metadata"].get("finalizers"):
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        return copy.deepcopy(obj)

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane = Lane.READ) -> Json:
        return copy.deepcopy(self._stored(key))

    async def create(self, resource: Resource, obj: Json, *, lane: Lane, dry_run: bool = False) -> Json:
        self._arrive("create", lane)
        key = ObjectKey(namespace_of(obj), name_of(obj))
        if key in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{key} already exists")
        fresh = copy.deepcopy(obj)
        fresh.pop("status", None)
        fresh["metadata"]["uid"] = f"lock-{next(self._uids)}"
        return self._store(key, fresh)

    async def replace(self, resource: Resource, obj: Json, *, subresource: str | None = None, lane: Lane) -> Json:
        assert subresource == "status", "a TargetLock is only ever replaced through its status"
        self._arrive("replace", lane)
        key = ObjectKey(namespace_of(obj), name_of(obj))
        stored = self._stored(key)
        for field in ("uid", "resourceVersion"):
            if stored["metadata"][field] != obj["metadata"][field]:
                raise Conflict(409, "Conflict", f"{field} differs")
        return self._store(key, {**stored, "status": copy.deepcopy(obj["status"])})

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Patch, *, subresource: str | None = None, lane: Lane
    ) -> Json:
        self._arrive("patch", lane)
        obj = copy.deepcopy(self._stored(key))
        body = json.loads(patch.body)
        if patch.content_type == JSON_PATCH:
            for operation in body:
                _apply(obj, operation)
        else:
            wanted = body["metadata"].pop("resourceVersion", None)
            if wanted is not None and wanted != obj["metadata"]["resourceVersion"]:
                raise Conflict(409, "Conflict", "resourceVersion differs")
            _merge(obj, body)
        return self._store(key, obj)

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
        self._arrive("delete", lane)
        stored = self._stored(key)
        if stored["metadata"]["uid"] != uid or resource_version not in (None, stored["metadata"]["resourceVersion"]):
            raise Conflict(409, "Conflict", "precondition failed")
        marked = copy.deepcopy(stored)
        marked["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
        self._store(key, marked)


def _walk(obj: Any, path: str) -> tuple[Any, Any]:
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    for part in parents:
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    return obj, int(last) if isinstance(obj, list) else last


def _apply(obj: Json, operation: Json) -> None:
    parent, last = _walk(obj, operation["path"])
    if operation["op"] == "test":
        if parent[last] != operation["value"]:
            raise Invalid(422, "Invalid", "the test failed")
    else:
        assert operation["op"] == "remove"
        del parent[last]


def _merge(obj: Json, body: Json) -> None:
    for key, value in body.items():
        if value is None:
            obj.pop(key, None)
        elif isinstance(value, dict):
            _merge(obj.setdefault(key, {}), value)
        else:
            obj[key] = value

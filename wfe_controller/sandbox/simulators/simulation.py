"""What all simulators stand on: one set of informers, one queue and workers per simulated controller, one pace.

Neighbours: ``kube.cache`` and ``kube.control`` do the work; ``pods``, ``tekton``, ``jobs``, ``deployments`` register
what they look at and what they reconcile. Reconciles are level-triggered, so a simulator may be stopped and started
again, and may run beside another client that changes the same objects.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.control.outcomes import Outcome, Stale
from wfe_controller.kube.control.sources import connect
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.objects import (
    Json,
    ObjectKey,
    Resource,
    compare_resource_versions,
    items,
    key_of,
    mapping,
    resource_version_of,
    text,
    uid_of,
)
from wfe_controller.kube.queue.limiters import RetryLimiter
from wfe_controller.kube.queue.workqueue import WorkQueue

BY_OWNER = "controller-uid"
BEHIND_SECONDS = 0.02
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generateName."""


class Simulation:
    """Informers and controllers of all simulators of one API server.

    ``speed`` shortens what the simulators themselves take (starting containers, playing them, grace periods);
    instants that stand in objects and limits that count from them stay real. ``namespace`` None: all of them.
    """

    def __init__(
        self, api: Api, *, clock: Clock, rng: random.Random, speed: float = 1.0, namespace: str | None = None
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, got {speed:g}")
        self.api, self.clock, self.rng, self.speed = api, clock, rng, speed
        self._namespace = namespace
        self._informers: dict[Resource, Informer] = {}
        self._written: dict[tuple[Resource, ObjectKey], tuple[str, str]] = {}
        self._controllers: list[Controller[ObjectKey]] = []

    def informer(self, resource: Resource) -> Informer:
        """The one informer of ``resource``, with an index of the controlling owner's UID."""
        if resource not in self._informers:
            self._informers[resource] = Informer(
                self.api,
                resource,
                namespace=self._namespace if resource.namespaced else None,
                indexes={BY_OWNER: controller_uids},
                clock=self.clock,
                rng=self.rng,
                resync_period=0,
                optional=True,
            )
        return self._informers[resource]

    def controller(
        self,
        name: str,
        reconcile: Callable[[ObjectKey], Awaitable[Outcome]],
        *sources: tuple[Resource, Callable[[CachedObject], Iterable[ObjectKey]]],
        workers: int = 4,
    ) -> WorkQueue[ObjectKey]:
        """Call ``reconcile`` for the keys that ``sources`` make of every change."""
        queue: WorkQueue[ObjectKey] = WorkQueue(name, clock=self.clock, limiter=RetryLimiter())
        for resource, keys in sources:
            connect(self.informer(resource), queue, keys)
        self._controllers.append(Controller(name, reconcile, queue, clock=self.clock, workers=workers, rng=self.rng))
        return queue

    def fresh(self, resource: Resource, key: ObjectKey) -> Json | None:
        """The cached object, decoded; None when there is none."""
        known = self.informer(resource).store.get(key)
        return None if known is None else known.decode()

    def wrote(self, resource: Resource, obj: Json) -> None:
        """Remember an own write, so that ``behind`` knows what the cache has to show yet."""
        self._written[resource, key_of(obj)] = (uid_of(obj), resource_version_of(obj))

    def behind(self, resource: Resource, key: ObjectKey) -> Stale | None:
        """What to return from a reconcile whose object in the cache is older than the own last write; else None."""
        uid, version = self._written.get((resource, key), ("", ""))
        known = self.informer(resource).store.get(key)
        if known is None or known.uid != uid:
            self._written.pop((resource, key), None)
            return None
        order = compare_resource_versions(known.resource_version, version)
        return Stale("the cache has not seen the last own write", BEHIND_SECONDS) if order == -1 else None

    def children(self, resource: Resource, uid: str) -> list[CachedObject]:
        """What the object of that UID controls, by name."""
        return sorted(self.informer(resource).store.by_index(BY_OWNER, uid), key=lambda obj: obj.key)

    def suffix(self, length: int = 5) -> str:
        return "".join(self.rng.choice(_SUFFIX) for _ in range(length))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers.values():
                tasks.create_task(informer.run(), name=f"sandbox-informer-{informer.resource.plural}")
            await self.wait_synced()
            for controller in self._controllers:
                tasks.create_task(controller.run(), name=f"sandbox-{controller.name}")

    async def wait_synced(self, timeout: float = 30.0) -> None:
        for informer in self._informers.values():
            await informer.wait_synced(timeout)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """``run`` in the background of an ``async with``; what it raises is raised here."""
        task = asyncio.create_task(self.run(), name="sandbox-simulation")
        try:
            await self.wait_synced()
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def controller_uids(obj: CachedObject) -> Iterable[str]:
    for owner in items(obj.field("metadata", "ownerReferences")):
        if mapping(owner).get("controller") and (uid := text(owner.get("uid"))):
            yield uid


def controller_keys(kind: str) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """Maps a child to the key of its controlling owner of that kind."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        for owner in items(obj.field("metadata", "ownerReferences")):
            if mapping(owner).get("controller") and owner.get("kind") == kind:
                yield ObjectKey(obj.key.namespace, text(owner.get("name")))

    return keys


def owner_reference(obj: Json) -> Json:
    """The controlling reference that a child of ``obj`` carries."""
    meta: dict[str, Any] = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }

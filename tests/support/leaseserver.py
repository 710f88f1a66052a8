"""One Lease on a server that may be slow, deaf or forgetful, as its clients see it.

A request is carried out by a task of the server: a client that gives up does not undo what it sent, and a write that it
believes lost may still land later.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass

from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import AlreadyExists, Conflict, ConnectionFailed, KubeError, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, Resource


@dataclass(frozen=True)
class Fault:
    """What happens to one request: seconds on the way there and back; whether it arrives, and whether its answer does.

    ``hang``: a lost request or answer shows as silence instead of a broken connection. ``error`` is answered instead.
    """

    there: float = 0.0
    back: float = 0.0
    arrives: bool = True
    answers: bool = True
    hang: bool = False
    error: KubeError | None = None


class LeaseServer:
    """State: one lease or none, with compare-and-swap. ``log`` has (time, client, verb, landed) of each request."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.version = 0
        self.log: list[tuple[float, str, str]] = []
        self._tasks: set[asyncio.Task[Json]] = set()

    def client(self, name: str, fault: Callable[[str], Fault] = lambda verb: Fault()) -> LeaseClient:
        return LeaseClient(self, name, fault)

    def spawn(self, work: asyncio.Task[Json]) -> None:
        self._tasks.add(work)
        work.add_done_callback(self._finished)

    def _finished(self, work: asyncio.Task[Json]) -> None:
        self._tasks.discard(work)
        if not work.cancelled():
            work.exception()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def get(self) -> Json:
        if self.lease is None:
            raise NotFound(404, "NotFound", "no such lease", details={"name": "x", "kind": "leases"})
        return copy.deepcopy(self.lease)

    def create(self, obj: Json) -> Json:
        if self.lease is not None:
            raise AlreadyExists(409, "AlreadyExists", "lease exists")
        return self._store(obj)

    def replace(self, obj: Json) -> Json:
        if self.lease is None:
            raise NotFound(404, "NotFound", "no such lease", details={"name": "x", "kind": "leases"})
        if obj["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self._store(obj)

    def delete(self) -> None:
        self.lease = None

    def edit(self, **spec: object) -> None:
        """Somebody else writes the spec."""
        base = self.lease or {"metadata": {"namespace": "kubernaut-system", "name": "lease"}, "spec": {}}
        self._store({**base, "spec": {**base["spec"], **spec}})

    def _store(self, obj: Json) -> Json:
        self.version += 1
        self.lease = copy.deepcopy(obj)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


class LeaseClient:
    """The verbs of ``LeaseApi`` for one contender."""

    def __init__(self, server: LeaseServer, name: str, fault: Callable[[str], Fault]) -> None:
        self.server = server
        self.name = name
        self.fault = fault

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane) -> Json:
        return await self._send("get", self.server.get)

    async def create(self, resource: Resource, obj: Json, *, lane: Lane) -> Json:
        sent = copy.deepcopy(obj)
        return await self._send("create", lambda: self.server.create(sent))

    async def replace(self, resource: Resource, obj: Json, *, lane: Lane) -> Json:
        sent = copy.deepcopy(obj)
        return await self._send("replace", lambda: self.server.replace(sent))

    async def _send(self, verb: str, act: Callable[[], Json]) -> Json:
        fault = self.fault(verb)
        self.server.log.append((asyncio.get_running_loop().time(), self.name, verb))

        async def carry_out() -> Json:
            await asyncio.sleep(fault.there)
            if fault.error is not None:
                raise fault.error
            return act()

        if not fault.arrives:
            await asyncio.sleep(1e6 if fault.hang else fault.there)
            raise ConnectionFailed("reset before anything was sent")
        work = asyncio.create_task(carry_out())
        self.server.spawn(work)
        await asyncio.wait([work])
        await asyncio.sleep(fault.back)
        if not fault.answers:
            await asyncio.sleep(1e6 if fault.hang else 0.0)
            raise ConnectionFailed("reset before the answer")
        return work.result()

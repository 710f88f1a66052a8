"""The embedded API server in process, in virtual time, for tests of what plays on it."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock, LoopClock
from wfe_controller.kube.objects import CRDS, NAMESPACES, Json, ObjectKey, condition
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer
from wfe_controller.sandbox.inprocess import InProcessTransport

TOKEN = "administrator"


@dataclass
class Embedded:
    """A server, an administrator's client of it, and their clock."""

    server: ApiServer
    api: Api
    clock: Clock

    async def namespace(self, name: str) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.api.create(NAMESPACES, namespace, lane=Lane.READ)


@asynccontextmanager
async def embedded(rng: random.Random, *, crds: Sequence[Json] = ()) -> AsyncIterator[Embedded]:
    """Ready: the CRDs are established."""
    clock = LoopClock()
    numbers = itertools.count(1)
    server = ApiServer(
        clock=clock,
        rng=rng,
        tokens={TOKEN: User("admin", groups=("system:masters", "system:authenticated"))},
        uid=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
    )
    api = Api(InProcessTransport(server, token=TOKEN), throttle=None, clock=clock, rng=rng)
    try:
        for crd in crds:
            await api.create(CRDS, crd, lane=Lane.READ)
            await _established(api, clock, crd["metadata"]["name"])
        yield Embedded(server, api, clock)
    finally:
        await server.close()


async def _established(api: Api, clock: Clock, name: str) -> None:
    for _ in range(100):  # virtual seconds
        if condition(await api.get(CRDS, ObjectKey("", name)), "Established").get("status") == "True":
            return
        await clock.sleep(0.1)
    raise AssertionError(f"{name} is not established")

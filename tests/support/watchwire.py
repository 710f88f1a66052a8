"""An informer on the real client against the misbehaving server: what the protocol tests of the watch share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.rawserver import Exchange, Handler, RawServer, ok
from tests.support.watching import WFE
from wfe_controller.kube.cache import Added, Change, Deleted, Informer, Updated, WatchSettings
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.instruments import NoInstruments

PATH = WFE.path()
PLAIN = WatchSettings(watch_list=False)


def listed(version: int, *objects: Any, more: str = "") -> Handler:
    """A LIST answer; ``more`` is the continue token."""
    meta = {"resourceVersion": str(version), "continue": more}
    return ok({"kind": "WorkflowExecutionList", "apiVersion": WFE.api_version, "metadata": meta, "items": objects})


async def quiet(exchange: Exchange) -> None:
    """A watch that opens and stays open without a word."""
    await exchange.start()
    await exchange.silence()


class Skips(NoInstruments):
    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.ended: list[str] = []

    def event(self, resource: str, kind: str) -> None:
        self.kinds.append(kind)

    def watch_ended(self, resource: str, reason: str) -> None:
        self.ended.append(reason)


@dataclass
class Wire:
    server: RawServer
    informer: Informer
    counted: Skips
    at: list[float]
    changes: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def asked(self) -> list[str]:
        """The requests in short: list, list@RV, list+TOKEN, watch@RV, watchlist."""
        out = []
        for request in self.server.requests:
            query = request.query
            version = f"@{query['resourceVersion']}" if "resourceVersion" in query else ""
            if "watch" in query:
                out.append("watchlist" if "sendInitialEvents" in query else f"watch{version}")
            else:
                out.append(f"list{version}" + (f"+{query['continue']}" if "continue" in query else ""))
        return out

    async def until(self, *changes: str, timeout: float = 400) -> None:
        """Until exactly these changes were told, in this order."""
        async with asyncio.timeout(timeout):
            while len(self.changes) < len(changes):
                self.told.clear()
                await self.told.wait()
        assert self.changes == list(changes)


@asynccontextmanager
async def wired(
    tmp_path: Path, *handlers: Handler, settings: WatchSettings = PLAIN, **options: Any
) -> AsyncIterator[Wire]:
    """The informer is running; ``handlers`` answer its requests in order, the last one for ever."""
    async with RawServer() as server:
        times: list[float] = []

        def stamped(handler: Handler) -> Handler:
            async def handle(exchange: Exchange) -> None:
                times.append(asyncio.get_running_loop().time())
                await handler(exchange)

            return handle

        server.on("GET", PATH, *map(stamped, handlers))
        transport = await Transport.connect(
            ConnectionSettings(server.kubeconfig(tmp_path / "kubeconfig")), clock=LoopClock()
        )
        counted = Skips()
        informer = Informer(
            Api(transport, throttle=None, clock=LoopClock(), rng=random.Random(3)),
            WFE,
            clock=LoopClock(),
            rng=random.Random(3),
            instruments=counted,
            settings=settings,
            **options,
        )
        wire = Wire(server, informer, counted, times)

        def handler(change: Change) -> None:
            match change:
                case Added(obj):
                    wire.changes.append(f"+{obj.key.name}@{obj.resource_version}")
                case Updated(_, new):
                    wire.changes.append(f"~{new.key.name}@{new.resource_version}")
                case Deleted(key):
                    wire.changes.append(f"-{key.name}")
            wire.told.set()

        informer.add_handler(handler)
        task = asyncio.create_task(informer.run())
        try:
            yield wire
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await transport.close()

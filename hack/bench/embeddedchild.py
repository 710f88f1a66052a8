"""The embedded API server in a process of its own, told what to do on its standard input; ``embedded`` is its parent.

Only the server is imported here, so that the memory of this process is the server's. One JSON line comes out when it
listens (``urls`` by scheme, ``ca``, ``token``), then one line for each line that comes in:

- ``{"setup": [[path, object], ...]}`` creates objects;
- ``{"create": sample, "count": n, "prefix": p}`` creates them in process and tells seconds and CPU seconds;
- ``{"end": sample, "count": n, "prefix": p}`` likewise writes their status by merge patch;
- ``{"list": path}`` lists in process and tells status, seconds and bytes;
- ``{"commits": revision}`` tells when each later write was committed, on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hack.bench.objects import SAMPLES, Object
from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.apiserver.certificate import self_signed
from wfe_controller.sandbox.apiserver.http import HttpFront
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer
from wfe_controller.sandbox.apiserver.store import Event, Table
from wfe_controller.sandbox.inprocess import InProcessTransport

BATCH = 500
"""Bodies made at once, between the stretches that are timed: all of them would be memory of this process."""


class Child:
    """The server and its books."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(16)
        administrator = User.known("bench", groups=("system:masters",))
        self.server = ApiServer(clock=RealClock(), rng=random.Random(), tokens={self.token: administrator})
        self._client = InProcessTransport(self.server, token=self.token)
        self._commits: list[tuple[int, float]] = []
        self.server.store.observers.append(self._committed)

    def _committed(self, _table: Table, event: Event) -> None:
        self._commits.append((event.revision, time.monotonic()))

    async def answer(self, asked: dict[str, Any]) -> Any:
        if "setup" in asked:
            for path, obj in asked["setup"]:
                await self._write("POST", path, json.dumps(obj).encode())
            return {}
        if "create" in asked:
            make, path = SAMPLES[asked["create"]].make, SAMPLES[asked["create"]].path
            return await self._timed(asked, lambda name, _: ("POST", path, make(name)))
        if "end" in asked:
            status, path = SAMPLES[asked["end"]].status, SAMPLES[asked["end"]].path
            assert status is not None
            return await self._timed(
                asked, lambda name, number: ("PATCH", f"{path}/{name}/status", {"status": status(name, number)})
            )
        if "list" in asked:
            began = time.perf_counter()
            answer = await self._client.request("GET", asked["list"], timeout=60)
            return {"status": answer.status, "seconds": time.perf_counter() - began, "bytes": len(answer.body)}
        return [entry for entry in self._commits if entry[0] > asked["commits"]]

    async def _timed(
        self, asked: dict[str, Any], make: Callable[[str, int], tuple[str, str, Object]]
    ) -> dict[str, float]:
        wall = cpu = 0.0
        count, prefix = asked["count"], asked["prefix"]
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            made = [make(f"{prefix}-{number:06}", number) for number in numbers]
            requests = [(method, path, json.dumps(obj).encode()) for method, path, obj in made]
            wall -= time.perf_counter()
            cpu -= time.process_time()
            for request in requests:
                await self._write(*request)
            cpu += time.process_time()
            wall += time.perf_counter()
        return {"seconds": wall, "cpu": cpu}

    async def _write(self, method: str, path: str, body: bytes) -> None:
        form = "application/json" if method == "POST" else "application/merge-patch+json"
        answer = await self._client.request(method, path, body=body, content_type=form)
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500].decode(errors='replace')}")


async def _orders() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main() -> None:
    child = Child()
    certificate = self_signed(RealClock().now())
    fronts = {"http": HttpFront(child.server), "https": HttpFront(child.server, certificate=certificate)}
    for front in fronts.values():
        await front.start()
    urls = {scheme: front.url for scheme, front in fronts.items()}
    _say({"urls": urls, "ca": certificate.pem, "token": child.token})
    async for order in _orders():
        _say(await child.answer(order))
    await child.server.close()
    for front in fronts.values():
        await front.stop()


if __name__ == "__main__":
    asyncio.run(main())

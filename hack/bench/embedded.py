"""The embedded API server under load: creates a second, watchers, memory; for one kind of object at a time.

The server runs in a process of its own (``embeddedchild``), the clients in this one (``wire``). Rates are of creates
that were answered with 201. Every CPU figure is the server's, from /proc.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hack.bench.machine import Foreign
from hack.bench.objects import NAMESPACE, SAMPLES, Object
from hack.bench.subject import Usage, usage
from hack.bench.timeline import milliseconds
from hack.bench.wire import Address, Connection
from wfe_controller.api import names
from wfe_controller.api.crd import crd

Figures = dict[str, Any]

TARGETS = {
    "in_process.creates_per_s": (">=", 2000.0),
    "https_1_connection.creates_per_s": (">=", 600.0),
    "https_8_connections.creates_per_s": (">=", 600.0),
    "http_1_connection.creates_per_s": (">=", 600.0),
    "http_8_connections.creates_per_s": (">=", 600.0),
    "memory.rss_full_mib": ("<", 200.0),
    "in_process.rss_full_mib": ("<", 200.0),
    "in_process.rss_all_ended_mib": ("<", 200.0),
}
WATCHERS = 100
CONNECTIONS = 8
STEADY = 50.0
"""Creates a second while latency is looked at: a rate that leaves the server time."""
LOADS = (("http", 1), ("http", CONNECTIONS), ("https", 1), ("https", CONNECTIONS))
SHARE = 0.2
"""Of all objects, for each of the four loads; with the two that follow, all of them are there in the end."""
BURST_SHARE, STEADY_SHARE = 0.15, 0.05
LOST_SECONDS = 120.0
MIB = 2**20


class Embedded:
    """A child that listens, and how to talk to it."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self._process = process
        self._hello = hello
        self.pid = process.pid

    def address(self, scheme: str) -> Address:
        return Address(self._hello["urls"][scheme], self._hello["ca"], self._hello["token"])

    async def order(self, **what: Any) -> Any:
        """One of the orders of ``embeddedchild``, and its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return json.loads(await _line(self._process))

    def usage(self) -> Usage:
        return usage(self.pid)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the embedded server's process has ended; what it said is above")
    return line


@asynccontextmanager
async def child() -> AsyncIterator[Embedded]:
    """A fresh server with our CRDs and the namespace of the bench."""
    pipe = asyncio.subprocess.PIPE
    argv = [sys.executable, "-m", "hack.bench.embeddedchild"]
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=2**26)
    try:
        made = Embedded(process, json.loads(await _line(process)))
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        kinds = (names.WORKFLOWEXECUTIONS.kind, names.TARGETLOCKS.kind)
        await made.order(setup=[("/api/v1/namespaces", namespace), *((definitions, crd(kind)) for kind in kinds)])
        # Each question is a turn of the child's loop, in which the definitions go on towards Established.
        while (await made.order(list=SAMPLES["workflowexecution"].path))["status"] != 200:
            pass
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def embedded(sample: str, count: int) -> Figures:
    """Everything about one kind of object: in process first, then over loopback, each on a fresh server."""
    return {
        "object": sample,
        "objects": count,
        "in_process": await _in_process(sample, count),
        **await _over_http(sample, count),
    }


async def _in_process(sample: str, count: int) -> Figures:
    async with child() as server:
        warm = min(count // 10, 200)
        await server.order(create=sample, count=warm, prefix="warm")
        before, others = server.usage(), Foreign((os.getpid(), server.pid))
        took = await server.order(create=sample, count=count - warm, prefix="new")
        foreign, full = others.cores(), server.usage()
        listed = await server.order(list=SAMPLES[sample].path)
        figures = {
            "creates_per_s": round((count - warm) / took["seconds"]),
            "cpu_us_per_create": round(took["cpu"] / (count - warm) * 1e6),
            "rss_empty_mib": round(before.rss, 1),
            "rss_full_mib": round(full.rss, 1),
            "list_all_ms": round(listed["seconds"] * 1000, 1),
            "list_all_mib": round(listed["bytes"] / MIB, 1),
            "foreign_cores": foreign,
        }
        if SAMPLES[sample].status is not None:
            took = await server.order(end=sample, count=count - warm, prefix="new")
            figures["status_updates_per_s"] = round((count - warm) / took["seconds"])
            figures["cpu_us_per_status_update"] = round(took["cpu"] / (count - warm) * 1e6)
            figures["rss_all_ended_mib"] = round(server.usage().rss, 1)
        return figures


async def _over_http(sample: str, count: int) -> Figures:
    figures: Figures = {}
    async with child() as server:
        empty = server.usage()
        for scheme, connections in LOADS:
            plural = "s" if connections > 1 else ""
            figures[f"{scheme}_{connections}_connection{plural}"] = await _load(
                server, sample, scheme, connections, max(1, int(count * SHARE))
            )
        watchers = [await server.address("https").connect() for _ in range(WATCHERS)]
        revision = await _watch_all(server, watchers, SAMPLES[sample].path)
        for name, share, rate in (("burst", BURST_SHARE, 0.0), (f"{STEADY:g}_a_s", STEADY_SHARE, STEADY)):
            created = max(1, int(count * share))
            found = await _watched(server, watchers, sample, name, created, rate, revision)
            revision = found.pop("revision")
            figures[f"{WATCHERS}_watchers_{name}"] = found
        full = server.usage()
        client = await server.address("https").connect()
        began = time.monotonic()
        body = await client.request("GET", SAMPLES[sample].path)
        seconds = time.monotonic() - began
        after = server.usage()
        figures["list_all_https"] = {
            "objects": len(json.loads(body)["items"]),
            "ms": round(seconds * 1000, 1),
            "mib": round(len(body) / MIB, 1),
        }
        figures["memory"] = {
            "rss_empty_mib": round(empty.rss, 1),
            "rss_full_mib": round(full.rss, 1),
            "rss_after_list_mib": round(after.rss, 1),
            "peak_mib": round(after.peak, 1),
        }
        for connection in (client, *watchers):
            connection.close()
    return figures


async def _load(server: Embedded, sample: str, scheme: str, connections: int, count: int) -> Figures:
    """``count`` creates over some connections, one request in flight on each."""
    clients = [await server.address(scheme).connect() for _ in range(connections)]
    before, others = server.usage(), Foreign((os.getpid(), server.pid))
    seconds = await _create(clients, sample, f"{scheme}{connections}", count)
    foreign, after = others.cores(), server.usage()
    for client in clients:
        client.close()
    return {
        "creates_per_s": round(count / seconds),
        "server_cpu_us_per_create": round((after.cpu - before.cpu) / count * 1e6),
        "foreign_cores": foreign,
    }


async def _create(clients: Sequence[Connection], sample: str, prefix: str, count: int, rate: float = 0.0) -> float:
    """Seconds it took; ``rate`` a second, 0 = as fast as answers come."""
    made = SAMPLES[sample]
    bodies = [json.dumps(made.make(f"{prefix.replace('_', '-')}-{n:06}")).encode() for n in range(count)]
    queue = list(enumerate(bodies))[::-1]
    began = time.monotonic()

    async def work(client: Connection) -> None:
        while queue:
            number, body = queue.pop()
            if rate and (wait := began + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await client.request("POST", made.path, body)

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(work(client))
    return time.monotonic() - began


async def _watch_all(server: Embedded, watchers: Sequence[Connection], path: str) -> int:
    """Start every watch at the present revision, which is given back."""
    client = await server.address("https").connect()
    listed = json.loads(await client.request("GET", f"{path}?limit=1"))
    client.close()
    revision = int(listed["metadata"]["resourceVersion"])
    for watcher in watchers:
        await watcher.watch(f"{path}?watch=1&timeoutSeconds=3600&resourceVersion={revision}")
    return revision


async def _watched(
    server: Embedded, watchers: Sequence[Connection], sample: str, name: str, count: int, rate: float, revision: int
) -> Figures:
    """Creates while everybody watches: until the last event has reached the last watcher."""
    clients = [await server.address("https").connect() for _ in range(CONNECTIONS)]
    seen: list[list[tuple[int, float]]] = [[] for _ in watchers]
    before, others = server.usage(), Foreign((os.getpid(), server.pid))
    began = time.monotonic()
    reading = [asyncio.create_task(watcher.arrivals(into, count)) for watcher, into in zip(watchers, seen, strict=True)]
    seconds = await _create(clients, sample, f"watched-{name}", count, rate)
    await asyncio.wait(reading, timeout=LOST_SECONDS)
    foreign, after = others.cores(), server.usage()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for client in clients:
        client.close()
    commits: dict[int, float] = dict(await server.order(commits=revision))
    late = [at - commits[number] for events in seen for number, at in events if number in commits]
    last = max((at for events in seen for _, at in events), default=began)
    return {
        "creates_per_s": round(count / seconds),
        "events_per_s": round(len(late) / max(last - began, 0.001)),
        "events_missing": count * len(watchers) - len(late),
        "server_cpu_us_per_event": round((after.cpu - before.cpu) / max(len(late), 1) * 1e6, 1),
        "commit_to_watcher_ms": milliseconds(late),
        "foreign_cores": foreign,
        "revision": max(commits, default=revision),
    }

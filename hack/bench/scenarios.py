"""What is measured, one function per figure; each starts a controller of its own and gives a flat dict of figures."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.bench import audit
from hack.bench.fleet import Fleet, preload
from hack.bench.machine import Foreign, cost_of_a_get
from hack.bench.place import CONTROLLER_NAMESPACE, EXECUTION_NAMESPACE, Place
from hack.bench.player import Player
from hack.bench.subject import loop_lag, per_label
from hack.bench.timeline import Timeline, milliseconds
from wfe_controller.kube.client.api import Api

Figures = dict[str, Any]
UNLIMITED: dict[str, Any] = {"qps": 0}
QUIET_SECONDS = 3.0
"""After the last change, before CPU is read: Events are flushed, the last watch lines are worked off."""


@dataclass(frozen=True)
class Load:
    """``rate`` a second, 0 = all at once. ``client``: the controller's client section, {} = its defaults."""

    count: int
    rate: float
    client: dict[str, Any]
    run_seconds: float = 0.5
    task_runs: int = 0
    limit_seconds: float = 600.0


def config(client: dict[str, Any]) -> dict[str, Any]:
    """Defaults, but for the limits, for the finished run, which is deleted at once so that its delete is counted, and
    for the cooldown: the records that one load leaves must not be cleaned up in the middle of the next."""
    return {"client": client, "execution": {"runRetention": "0s", "cooldownPeriod": "24h"}}


async def drive(place: Place, api: Api, load: Load, prefix: str, profile: Path | None = None) -> Figures:
    """N WorkflowExecutions from creation to the deletion of their runs."""
    subject = place.subject
    yardstick = await cost_of_a_get(api, CONTROLLER_NAMESPACE)
    ready = await asyncio.to_thread(subject.start, config(load.client), profile)
    timeline = Timeline()
    player = Player(api, EXECUTION_NAMESPACE, timeline, seconds=load.run_seconds, task_runs=load.task_runs)
    player.acts = not place.real_tekton
    fleet = Fleet(api, timeline, prefix, place.image)
    watching = [asyncio.create_task(player.run()), asyncio.create_task(fleet.watch())]
    try:
        await asyncio.sleep(QUIET_SECONDS)
        before, metrics, since = subject.usage(), subject.metrics(), audit.now()
        others = Foreign(subject.family())
        await fleet.create(load.count, load.rate)
        complete = await fleet.settled(load.count, load.limit_seconds, lambda: player.trouble)
        await asyncio.sleep(QUIET_SECONDS)
        after, scraped, until = subject.usage(), subject.metrics(), audit.now()
        foreign = others.cores()
    finally:
        for task in watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(subject.stop)
    phases = [m.phase for m in timeline.moments.values()]
    figures: Figures = {
        "workflowexecutions": load.count,
        "rate": load.rate or "burst",
        "client": "unlimited" if load.client.get("qps") == 0 else "default (20 QPS, burst 30)",
        "tekton": "real" if place.real_tekton else "played",
        "ready_s": round(ready, 2),
        "settled": complete,
        "completed": phases.count("Completed"),
        "cpu_ms_per_wfe": round((after.cpu - before.cpu) * 1000 / load.count, 2),
        "ended_per_s": round(phases.count("Completed") / (timeline.span("asked", "ended") or 1), 1),
        "settled_per_s": round(load.count / (timeline.span("asked", "run_gone") or 1), 1),
        "rss_mib": round(after.rss, 1),
        "peak_mib": round(after.peak, 1),
        "loop_lag_ms_below": loop_lag(metrics, scraped),
        "reconciles_per_wfe": per_label(metrics, scraped, "controller_reconcile_total", load.count),
        "create_to_run_created_ms": milliseconds(timeline.between("asked", "run_created")),
        "create_to_run_released_ms": milliseconds(timeline.between("asked", "run_released")),
        "run_end_to_status_ms": milliseconds(timeline.between("run_ended", "ended")),
        "status_to_let_go_ms": milliseconds(timeline.between("ended", "let_go")),
        "foreign_cores": foreign,
        "cpu_us_of_a_get": yardstick,
    }
    if place.audit is not None:
        figures |= _requests(place, place.audit, since, until, load.count)
    return figures


def _requests(place: Place, log: Path, since: str, until: str, count: int) -> Figures:
    counted = audit.count(log, place.user, since, until)
    each = {what: round(number / count, 2) for what, number in sorted(counted.items())}
    writes = {what: number for what, number in each.items() if audit.is_write(what)}
    return {
        "requests_per_wfe": round(sum(n for what, n in counted.items() if audit.is_request(what)) / count, 2),
        "writes_per_wfe": round(sum(n for what, n in counted.items() if audit.is_write(what)) / count, 2),
        "writes": writes,
        "other_requests": {what: number for what, number in each.items() if what not in writes},
    }


async def full(place: Place, api: Api, count: int, idle_seconds: float) -> Figures:
    """A start with ``count`` ended objects there: time to ready, memory, and what it costs to do nothing."""
    began = time.monotonic()
    await preload(api, count)
    loaded = time.monotonic() - began
    await asyncio.sleep(2.0)
    others = Foreign(place.subject.family())
    ready = await asyncio.to_thread(place.subject.start, config(UNLIMITED))
    at_ready = place.subject.usage()
    await asyncio.sleep(10.0)
    settled, then = place.subject.usage(), time.monotonic()
    metrics = place.subject.metrics()
    await asyncio.sleep(idle_seconds)
    after = place.subject.usage()
    idle = (after.cpu - settled.cpu) / (time.monotonic() - then)
    figures = {
        "objects": count,
        "preload_s": round(loaded, 1),
        "ready_s": round(ready, 2),
        "cpu_to_ready_s": round(at_ready.cpu, 2),
        "rss_at_ready_mib": round(at_ready.rss, 1),
        "rss_settled_mib": round(after.rss, 1),
        "peak_mib": round(after.peak, 1),
        "idle_cpu_percent": round(idle * 100, 3),
        "idle_seconds": idle_seconds,
        "loop_lag_ms_below": loop_lag({}, metrics),
        "foreign_cores": others.cores(),
    }
    await asyncio.to_thread(place.subject.stop)
    return figures

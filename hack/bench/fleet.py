"""Creates the WorkflowExecutions of one run and waits until each has ended, was let go and has no run any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from hack.bench.objects import IMAGE, NAMESPACE, ended_status, execution
from hack.bench.player import follow
from hack.bench.timeline import Timeline
from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import AlreadyExists
from wfe_controller.kube.objects import ObjectKey

AT_ONCE = 40
"""Requests of the bench in flight; more would only queue in the API server and slow down who is measured."""


class Fleet:
    """The WorkflowExecutions ``<prefix>-0000 ...`` of one run."""

    def __init__(self, api: Api, timeline: Timeline, prefix: str, image: str = IMAGE) -> None:
        self._api, self._timeline, self._prefix, self._image = api, timeline, prefix, image
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def watch(self) -> None:
        """Run as a task: notes the end of each."""
        await follow(self._api, names.WORKFLOWEXECUTIONS, NAMESPACE, self._seen)

    def _seen(self, event: Any) -> None:
        meta, phase = event.object.metadata, event.object.status.phase
        if not meta.name.startswith(self._prefix) or phase not in TERMINAL:
            return
        self._timeline.of(meta.name).phase = phase
        self._timeline.mark(meta.name, "ended")
        if not meta.finalizers:
            self._timeline.mark(meta.name, "let_go")

    async def create(self, count: int, rate: float) -> None:
        """``count`` of them, ``rate`` a second, 0 = all at once."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                if rate and (wait := began + number / rate - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(self._create(f"{self._prefix}-{number:05}"))

    async def _create(self, name: str) -> None:
        async with self._gate:
            self._timeline.mark(name, "asked")
            await self._api.create(names.WORKFLOWEXECUTIONS, execution(name, self._image), lane=Lane.READ)

    async def settled(self, count: int, seconds: float, trouble: Callable[[], str]) -> bool:
        """Wait until all are over and done with; False when ``seconds`` passed before, RuntimeError on ``trouble``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if said := trouble():
                raise RuntimeError(said)
            if sum(1 for m in self._timeline.moments.values() if m.let_go and m.run_gone) >= count:
                return True
            await asyncio.sleep(0.1)
        return False


async def preload(api: Api, count: int, start: int = 0) -> None:
    """Make sure that ``count`` ended WorkflowExecutions exist (two writes each; the API server takes its time)."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        name = f"ended-{number:06}"
        async with gate:
            body = execution(name)
            try:
                await api.create(names.WORKFLOWEXECUTIONS, body, lane=Lane.READ)
            except AlreadyExists:
                return
            patch = patches.merge_patch({"status": ended_status(name, number)})
            key = ObjectKey(NAMESPACE, name)
            await api.patch(names.WORKFLOWEXECUTIONS, key, patch, subresource="status", lane=Lane.READ)

    async with asyncio.TaskGroup() as tasks:
        for number in range(start, count):
            tasks.create_task(one(number))

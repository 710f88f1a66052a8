"""The task that carries out what the watch machine decides: requests to the API, changes to the sink.

Role: the only async part of list and watch. Neighbours: ``watcher`` (decides), ``informer`` (is the sink),
``source`` (the API). It ends only by cancellation, or by an exception that is a bug; every KubeError is an input
of the machine (W2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol

import structlog

from wfe_controller.kube.cache.cached import CachedObject, MalformedObject, ObjectDecoder
from wfe_controller.kube.cache.messages import (
    Apply,
    Bookmark,
    Closed,
    Failed,
    Input,
    Line,
    ListFailed,
    Opened,
    Output,
    Page,
    Relist,
    Replace,
    Request,
    Silent,
    Skipped,
    Start,
    Timer,
    Wait,
    WatchEnded,
    WatchFailed,
    WatchRequest,
)
from wfe_controller.kube.cache.pager import ListRequest
from wfe_controller.kube.cache.source import ListWatch
from wfe_controller.kube.cache.watcher import Watcher
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import KubeError, RequestTimeout
from wfe_controller.kube.instruments import CacheInstruments
from wfe_controller.kube.objects import Resource

log = structlog.get_logger("wfe.cache")

CHUNK = 250  # objects decoded between two yields to the loop: about 3 ms
LOG_INTERVAL = 60.0  # seconds between two lines about the same failing watch (W9)


class Sink(Protocol):
    """Where the content goes. ``replace`` may suspend while preparing, but swaps at once."""

    async def replace(self, event: Replace) -> None: ...

    def apply(self, event: Apply) -> None: ...

    def bookmark(self, event: Bookmark) -> None: ...


class Reflector:
    """List and watch one resource for ever into ``sink``."""

    def __init__(
        self,
        api: ListWatch,
        resource: Resource,
        *,
        namespace: str | None,
        label_selector: str,
        field_selector: str,
        watcher: Watcher,
        decode: ObjectDecoder,
        sink: Sink,
        clock: Clock,
        instruments: CacheInstruments,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._watcher = watcher
        self._decode = decode
        self._sink = sink
        self._clock = clock
        self._instruments = instruments
        self._on_failure = on_failure
        self._name = resource.plural
        self._limit: asyncio.Timeout | None = None  # around the current operation, None while it must not be cut
        self._asked: list[asyncio.Future[None]] = []  # fences not yet given to the machine
        self._fences: list[asyncio.Future[None]] = []  # fences the next Replace satisfies
        self._ended = False
        self._list_started = 0.0
        self._logged_at: dict[str, float] = {}
        self.contact: float | None = None  # monotonic seconds of the last answer of the server

    async def run(self) -> None:
        try:
            request = await self._perform(self._step(Start()))
            while True:
                request = await self._execute(request)
        finally:
            self._ended = True
            for fence in [*self._asked, *self._fences]:
                if not fence.done():
                    fence.set_exception(self._over())

    async def relist(self) -> None:
        """Returns when the result of a quorum list begun after this call has been applied (I-30)."""
        if self._ended:
            raise self._over()
        fence: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(fence)
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())
        await fence

    def release_fences(self) -> None:
        """There is nothing to list: whoever waits for a relist goes on."""
        for fence in self._fences:
            if not fence.done():
                fence.set_result(None)
        self._fences = []

    def _over(self) -> RuntimeError:
        return RuntimeError(f"informer of {self._resource.group_resource} has ended")

    # -- operations --------------------------------------------------------------------------------------------------

    def _step(self, given: Input) -> list[Output]:
        return self._watcher.step(given, self._clock.monotonic())

    async def _execute(self, request: Request) -> Request:
        """One operation until the machine asks for the next. A fence or silence cuts it short."""
        if self._asked:
            return await self._restart()
        try:
            async with asyncio.timeout(None) as self._limit:
                match request:
                    case Wait(seconds):
                        await self._clock.sleep(seconds)
                        outputs = self._step(Timer())
                    case ListRequest():
                        outputs = self._step(await self._list(request))
                    case WatchRequest():
                        outputs = await self._watch(request)
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise  # not our limit: a bug below
            if self._asked:
                return await self._restart()
            outputs = self._step(Silent())
        finally:
            self._limit = None
        return await self._perform(outputs)

    async def _restart(self) -> Request:
        self._fences += self._asked
        self._asked = []
        return await self._perform(self._step(Relist()))

    async def _list(self, request: ListRequest) -> Input:
        if not request.continue_token:
            self._list_started = self._clock.monotonic()
        try:
            page = await self._api.list_page(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=request.limit,
                continue_token=request.continue_token,
                resource_version=request.resource_version,
                resource_version_match=request.resource_version_match,
            )
        except KubeError as error:
            return ListFailed(error)
        self.contact = self._clock.monotonic()
        objects: list[CachedObject] = []
        for start in range(0, len(page.items), CHUNK):
            for raw in page.items[start : start + CHUNK]:
                try:
                    objects.append(self._decode(raw))
                except MalformedObject as error:
                    self._skipped(f"list: {error}")
            await asyncio.sleep(0)
        return Page(objects, page.resource_version, page.continue_token)

    async def _watch(self, request: WatchRequest) -> list[Output]:
        """Until the machine wants something else: its last outputs, request included."""
        if request.send_initial_events:
            self._list_started = self._clock.monotonic()
        async with AsyncExitStack() as stack:
            try:
                lines = await stack.enter_async_context(
                    self._api.watch(
                        self._resource,
                        self._namespace,
                        label_selector=self._label_selector,
                        field_selector=self._field_selector,
                        resource_version=request.resource_version,
                        timeout_seconds=request.timeout_seconds,
                        send_initial_events=request.send_initial_events,
                        idle_timeout=request.idle_timeout,
                    )
                )
            except KubeError as error:
                return self._step(WatchFailed(error))
            self.contact = self._clock.monotonic()
            self._instruments.watch_started(self._name)
            self._step(Opened())
            self._patience()
            skipped = 0
            while True:
                given: Input
                # Only the reading may fail as a watch; an exception of a handler, whatever its type, is a bug.
                try:
                    given = Line(await anext(lines))
                except StopAsyncIteration:
                    given = Closed()
                except RequestTimeout:
                    given = Silent()
                except KubeError as error:
                    given = WatchFailed(error)
                else:
                    self.contact = self._clock.monotonic()
                if lines.skipped != skipped:
                    skipped = lines.skipped
                    self._skipped("watch line beyond the size limit")
                outputs = self._step(given)
                if outputs and isinstance(outputs[-1], ListRequest | WatchRequest | Wait):
                    return outputs
                await self._deliver(outputs)
                if self._asked:
                    return []
                self._patience()

    def _patience(self) -> None:
        """Push the silence limit out (I-8). Not the client's own: a fake or a proxy may have none."""
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._watcher.patience)

    # -- outputs -----------------------------------------------------------------------------------------------------

    async def _perform(self, outputs: list[Output]) -> Request:
        """Deliver everything; the request at the end is the next operation."""
        last = outputs[-1] if outputs else None
        await self._deliver(outputs)
        if isinstance(last, ListRequest | WatchRequest | Wait):
            return last
        if self._asked:
            return await self._restart()
        raise AssertionError("the watch machine ended an operation without a next request")

    async def _deliver(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Apply():
                    self._instruments.event(self._name, output.verb.value)
                    self._sink.apply(output)
                case Bookmark():
                    self._instruments.event(self._name, "BOOKMARK")
                    self._sink.bookmark(output)
                case Replace():
                    await self._replace(output)
                case Skipped(why):
                    self._skipped(why)
                case WatchEnded(reason):
                    self._instruments.watch_ended(self._name, reason)
                    log.debug("watch ended", resource=self._resource.group_resource, reason=reason)
                case Failed():
                    self._on_failure()
                    self._report(output)
                case _:
                    pass  # a request: the caller's

    async def _replace(self, output: Replace) -> None:
        limit, self._limit = self._limit, None  # neither silence nor a fence may cut a half-prepared replace
        if limit is not None and not limit.expired():
            limit.reschedule(None)
        satisfied, self._fences = self._fences, []
        try:
            await self._sink.replace(output)
        except BaseException:
            self._fences = satisfied + self._fences
            raise
        self._limit = limit
        self._instruments.listed(self._name, len(output.objects), self._clock.monotonic() - self._list_started)
        for fence in satisfied:
            if not fence.done():
                fence.set_result(None)

    def _skipped(self, why: str) -> None:
        self._instruments.event(self._name, "skipped")
        if self._may_log("skipped"):
            log.warning("cache skipped an object", resource=self._resource.group_resource, why=why[:500])

    def _report(self, failed: Failed) -> None:
        """At most once a minute per kind of trouble, so that a retry loop cannot fill the log (W9)."""
        if not self._may_log("surface" if failed.surface else "transient"):
            return
        emit = log.error if failed.surface else log.warning
        emit(
            "list or watch failed",
            resource=self._resource.group_resource,
            namespace=self._namespace or "",
            error=f"{type(failed.error).__name__}: {failed.error}"[:1000],
        )

    def _may_log(self, kind: str) -> bool:
        now = self._clock.monotonic()
        last = self._logged_at.get(kind)
        if last is not None and now - last < LOG_INTERVAL:
            return False
        self._logged_at[kind] = now
        return True

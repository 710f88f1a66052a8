"""The verbs of the Kubernetes API over one transport: typed errors, retries, limiter, write gate.

Neighbours: ``transport`` and ``answers`` below; caches, election, events and reconcilers above. Objects go in and
out as plain dicts; watch lines and list pages stay bytes for the cache to decode.

Kept here: every mutating call asks the write gate after the limiter's wait and right before the bytes are sent (E1,
I-51); Retry-After is honoured on every verb (Q3, I-69); a write whose outcome is unknown is raised, never sent twice
(I-44); a delete names the uid it means.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

import structlog

from wfe_controller.kube.client.answers import (
    ListPage,
    decode_items,
    decode_list,
    decode_object,
    encode,
    http_date,
    refusal,
)
from wfe_controller.kube.client.patches import Patch
from wfe_controller.kube.client.paths import namespace_for, path_of
from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.client.transport import LineStream, Response, Transport
from wfe_controller.kube.clock import Clock, jitter
from wfe_controller.kube.errors import ApiError, ConnectionFailed, Gone, NotLeading, RequestTimeout
from wfe_controller.kube.instruments import ClientInstruments, NoInstruments
from wfe_controller.kube.objects import Json, ObjectKey, Resource, key_of, name_of, resource_version_of

_log = structlog.get_logger("wfe.kube.client")

__all__ = ["Api", "ListPage", "WriteGate"]

PAGE_SIZE = 500
TRIES = 3
RETRY_AFTER_DEFAULT = 1.0
RETRY_AFTER_MAX = 60.0
"""Longer waits are the caller's decision: the error is raised with its ``retry_after``."""
READ_RETRY_DELAY = 0.2
RETRY_AFTER_JITTER = 0.25
_RAW_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REVIEWS = "/apis/authorization.k8s.io/"
"""POSTs that change nothing: a standby asks them too."""


class WriteGate(Protocol):
    """May this process write, and for how long yet?"""

    def check(self) -> float:
        """Seconds for which writing is still allowed; raises NotLeading. Synchronous: no await before the send."""


class Api:
    """Verbs against one server. Cheap to make; share transport and throttle between several.

    Every method raises the errors of ``kube.errors``. ``request_timeout`` is in seconds, for each single try.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        throttle: Throttle | None,
        clock: Clock,
        instruments: ClientInstruments | None = None,
        gate: WriteGate | None = None,
        request_timeout: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        self.transport = transport
        self._throttle = throttle
        self._clock = clock
        self._instruments: ClientInstruments = instruments or NoInstruments()
        self._gate = gate
        self._timeout = request_timeout
        self._rng = rng or random.Random()

    def gated(self, gate: WriteGate) -> Api:
        """The same connections and limiter; every mutating call asks ``gate``."""
        return Api(
            self.transport,
            throttle=self._throttle,
            clock=self._clock,
            instruments=self._instruments,
            gate=gate,
            request_timeout=self._timeout,
            rng=self._rng,
        )

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane = Lane.READ) -> Json:
        """A quorum read of one object."""
        return decode_object(
            await self._call("get", resource.plural, "GET", path_of(resource, key, named=True), lane=lane)
        )

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        lane: Lane = Lane.READ,
    ) -> list[Json]:
        """All objects, by a quorum read in pages; apiVersion and kind are filled in.

        When the snapshot expires between two pages, everything is read again in one piece (I-3).
        """
        found: list[Json] = []
        token = ""
        limit: int | None = PAGE_SIZE
        while True:
            try:
                page = await self.list_page(
                    resource,
                    namespace,
                    label_selector=label_selector,
                    field_selector=field_selector,
                    limit=limit,
                    continue_token=token,
                    lane=lane,
                )
            except Gone:
                if not token:
                    raise
                found, token, limit = [], "", None
                continue
            found += decode_items(page, resource)
            token = page.continue_token
            if not token:
                return found

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int | None = PAGE_SIZE,
        continue_token: str = "",
        resource_version: str | None = None,
        resource_version_match: str | None = None,
        lane: Lane = Lane.READ,
    ) -> ListPage:
        """One page. ``resource_version`` None or "" = quorum read; with a token it must not be given."""
        params = _selectors(label_selector, field_selector)
        if limit:
            params["limit"] = str(limit)
        if continue_token:
            params["continue"] = continue_token
        elif resource_version:
            params["resourceVersion"] = resource_version
            if resource_version_match:
                params["resourceVersionMatch"] = resource_version_match
        path = path_of(resource, ObjectKey(namespace or "", ""))
        response = await self._call("list", resource.plural, "GET", path, params=params, lane=lane)
        return decode_list(response)

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout_seconds: int,
        send_initial_events: bool = False,
        idle_timeout: float,
    ) -> AsyncIterator[LineStream]:
        """Open a watch; iterate the stream for one JSON event per item, as bytes. Bookmarks are always asked for.

        A refusal is raised on entering, 429 too: the watcher decides when to come back.
        """
        params = _selectors(label_selector, field_selector)
        params |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_seconds)}
        if resource_version:
            params["resourceVersion"] = resource_version
        if send_initial_events:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        if self._throttle is not None:
            await self._throttle.acquire(Lane.READ)
        path = path_of(resource, ObjectKey(namespace or "", ""))
        started = self._clock.monotonic()
        opened = False
        try:
            async with self.transport.stream(
                path, params=params, connect_timeout=self._timeout, idle_timeout=idle_timeout
            ) as stream:
                opened = True
                self._count("watch", resource.plural, str(stream.status), started)
                if stream.status >= 300:
                    raise self._refusal(Response(stream.status, stream.headers, stream.body))
                yield stream
        except (ConnectionFailed, RequestTimeout) as error:
            if not opened:
                self._count("watch", resource.plural, _code(error), started)
            raise

    async def create(self, resource: Resource, obj: Json, *, lane: Lane, dry_run: bool = False) -> Json:
        """POST to the namespace of ``obj.metadata.namespace``. Raises AlreadyExists."""
        path = path_of(resource, ObjectKey(namespace_for(resource, obj), ""))
        params = {"dryRun": "All"} if dry_run else {}
        return decode_object(
            await self._call("create", resource.plural, "POST", path, params=params, body=encode(obj), lane=lane)
        )

    async def replace(self, resource: Resource, obj: Json, *, subresource: str | None = None, lane: Lane) -> Json:
        """PUT: compare-and-swap on ``obj.metadata.resourceVersion``, which must be there. Raises Conflict."""
        if not resource_version_of(obj):
            raise ValueError(f"replacing {resource.plural} {key_of(obj)} without a resourceVersion would overwrite")
        path = path_of(resource, ObjectKey(namespace_for(resource, obj), name_of(obj)), subresource, named=True)
        return decode_object(await self._call("update", resource.plural, "PUT", path, body=encode(obj), lane=lane))

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Patch, *, subresource: str | None = None, lane: Lane
    ) -> Json:
        """PATCH in any of the forms of ``patches``."""
        return decode_object(
            await self._call(
                "patch",
                resource.plural,
                "PATCH",
                path_of(resource, key, subresource, named=True),
                params=dict(patch.params),
                body=patch.body,
                content_type=patch.content_type,
                lane=lane,
            )
        )

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
        """Ask for the deletion of the object of that uid. Raises NotFound, and Conflict when it is another one."""
        if not uid:
            raise ValueError(f"deleting {resource.plural} {key} needs the uid of the object that was looked at")
        preconditions = {"uid": uid}
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": propagation,
        }
        # The answer is the object, or a Status when it went at once: neither says more than the status code.
        path = path_of(resource, key, named=True)
        await self._call("delete", resource.plural, "DELETE", path, body=encode(options), lane=lane)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
        lane: Lane = Lane.READ,
    ) -> Json:
        """Discovery, /version, access reviews: any path, a JSON object back."""
        response = await self._call(
            _RAW_VERBS[method],
            "raw",
            method,
            path,
            params=params,
            body=None if body is None else encode(body),
            lane=lane,
            mutates=method != "GET" and not path.startswith(_REVIEWS),
        )
        return decode_object(response)

    async def text(self, path: str, *, params: Mapping[str, str] | None = None, timeout: float) -> str:
        """A body that is no JSON (a pod's log) as UTF-8, odd bytes replaced. RequestTimeout after ``timeout`` s."""
        try:
            async with asyncio.timeout(timeout):
                response = await self._call("get", "raw", "GET", path, params=params, lane=Lane.READ)
        except TimeoutError:
            raise RequestTimeout(f"GET {path}: no whole answer within {timeout:g} s") from None
        return response.body.decode("utf-8", "replace")

    async def server_date(self) -> datetime | None:
        """The server's wall clock (whole seconds), from the Date header of a request made now; None if it has none."""
        response = await self._call("get", "raw", "GET", "/version", lane=Lane.READ)
        return http_date(response.headers.get("Date", ""))

    async def _call(
        self,
        verb: str,
        resource: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        lane: Lane,
        mutates: bool | None = None,
    ) -> Response:
        """One request with the retries that are safe here; a success or a typed error.

        429 (also 503 with Retry-After on reads): waits as told and tries again, three tries in all. Reads are sent
        once more after a broken connection or a 5xx, but not after a timeout (ours, or the server's 504): the caller
        has spent the time already. Everything else is the caller's to judge.
        """
        if mutates is None:
            mutates = method != "GET"
        second_chance = not mutates
        attempt = 0
        while True:
            attempt += 1
            if self._throttle is not None:
                await self._throttle.acquire(lane)
            started = self._clock.monotonic()
            try:
                response = await self.transport.request(
                    method,
                    path,
                    params=params,
                    body=body,
                    content_type=content_type,
                    timeout=self._timeout,
                    gate=self._gate.check if mutates and self._gate is not None else None,
                )
            except NotLeading:
                self._instruments.gate_refused()
                raise
            except (ConnectionFailed, RequestTimeout) as error:
                self._count(verb, resource, _code(error), started)
                if not second_chance or isinstance(error, RequestTimeout):
                    raise
                second_chance = False
                await self._clock.sleep(jitter(READ_RETRY_DELAY, 1.0, self._rng))
                continue
            self._count(verb, resource, str(response.status), started)
            if response.status < 300:
                return response
            error_ = self._refusal(response)
            wait = error_.retry_after if error_.retry_after is not None else RETRY_AFTER_DEFAULT
            asked_to_wait = error_.status == 429 or (
                error_.status == 503 and error_.retry_after is not None and not mutates
            )
            if asked_to_wait:
                if attempt >= TRIES or wait > RETRY_AFTER_MAX:
                    raise error_
                wait = jitter(wait, RETRY_AFTER_JITTER, self._rng)
                _log.info("the server asked to wait", verb=verb, resource=resource, seconds=round(wait, 3))
                await self._clock.sleep(wait)
            elif error_.status >= 500 and error_.status != 504 and second_chance:
                second_chance = False
                await self._clock.sleep(jitter(READ_RETRY_DELAY, 1.0, self._rng))
            else:
                raise error_

    def _refusal(self, response: Response) -> ApiError:
        """The typed error of an answer; a Retry-After also quietens everybody else."""
        error = refusal(response, self._clock.now())
        if self._throttle is not None and response.status in (429, 503):
            wait = error.retry_after
            if wait is None and response.status == 429:
                wait = RETRY_AFTER_DEFAULT
            if wait:
                self._throttle.pause_until(self._clock.monotonic() + wait)
        return error

    def _count(self, verb: str, resource: str, code: str, started: float) -> None:
        self._instruments.request(verb, resource, code, self._clock.monotonic() - started)


def _code(error: ConnectionFailed | RequestTimeout) -> str:
    return "timeout" if isinstance(error, RequestTimeout) else "error"


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    chosen = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in chosen.items() if value}

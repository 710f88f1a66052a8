"""Sends Events from a bounded queue, so that recording neither waits nor fails (I-68).

core/v1 Events without eventTime: ``kubectl describe`` and ``kubectl get events`` show age, count and source of these
best, and the server checks them least. A repeat is a PATCH of count, lastTimestamp and message; a 404 then creates
anew (the server forgets Events after an hour). A create whose answer was lost is sent again under the same name, so
AlreadyExists is success.
Give it an ungated Api: what the election has to say comes when the gate is closed.
Neighbours: :mod:`.correlator` decides what is sent; ``control.manager`` runs and flushes.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import structlog

from wfe_controller.kube import errors
from wfe_controller.kube.client.patches import Patch, merge_patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock, rfc3339
from wfe_controller.kube.events.correlator import Correlator, Reference, Series
from wfe_controller.kube.instruments import EventInstruments, NoInstruments
from wfe_controller.kube.objects import EVENTS, Json, ObjectKey, Resource

log = structlog.get_logger("wfe.events")

QUEUE_SIZE = 1000
TRIES = 12
RETRY_SECONDS = 10.0
MESSAGE_BYTES = 1024
NAME_LENGTH = 253
CLUSTER_SCOPED_NAMESPACE = "default"
"""Where the server wants Events about objects without a namespace."""
LANE = Lane.READ
"""The last lane: an Event never takes a token from a write that matters."""
REMIND_SECONDS = 60.0


class EventApi(Protocol):
    async def create(self, resource: Resource, obj: Json, *, lane: Lane) -> Json: ...
    async def patch(self, resource: Resource, key: ObjectKey, patch: Patch, *, lane: Lane) -> Json: ...


def cut_message(message: str, limit: int = MESSAGE_BYTES) -> str:
    """At most ``limit`` bytes of UTF-8, whole characters, with an ellipsis when something is missing."""
    raw = message.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - 3].decode("utf-8", "ignore") + "..."


def event_name(name: str, suffix: str) -> str:
    """``<object>.<suffix>``, a valid object name whatever the object is called."""
    base = re.sub(r"[^a-z0-9.-]+", "-", name.lower())[: NAME_LENGTH - 1 - len(suffix)].strip(".-")
    return f"{base}.{suffix}" if base else suffix


class Recorder:
    """``component`` and ``reporting_instance`` say who reports: the controller's name and this process' identity."""

    def __init__(
        self,
        api: EventApi,
        component: str,
        reporting_instance: str,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        instruments: EventInstruments | None = None,
        correlator: Correlator | None = None,
        queue_size: int = QUEUE_SIZE,
        tries: int = TRIES,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._api = api
        self._component = component
        self._instance = reporting_instance[:128]
        self._clock = clock
        self._rng = rng or random.Random()
        self._instruments: EventInstruments = instruments or NoInstruments()
        self._correlator = correlator or Correlator()
        self._queue: asyncio.Queue[Series] = asyncio.Queue(queue_size)
        self._tries = tries
        self._retry_seconds = retry_seconds
        self._hurry = asyncio.Event()
        self._dropped = 0
        self._told_dropped_at: float | None = None

    def event(
        self,
        regarding: Mapping[str, Any],
        type_: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        action: str = "",
    ) -> None:
        """Record one sighting about ``regarding``, a whole object or a reference with the same names. Never blocks.

        ``reason`` is a constant in CamelCase; ``message`` should carry no ids that change from one sighting to the
        next. Call it after the write that it tells of.
        """
        now = self._clock.monotonic()
        series = self._correlator.seen(
            Reference.of(regarding), type_, reason, cut_message(message), action, at=self._clock.now(), now=now
        )
        if series is None:
            self._instruments.sent("suppressed")
            return
        try:
            self._queue.put_nowait(series)
        except asyncio.QueueFull:
            self._correlator.dropped(series)
            self._instruments.sent("dropped")
            self._dropped += 1
            if self._told_dropped_at is None or now - self._told_dropped_at >= REMIND_SECONDS:
                self._told_dropped_at = now
                log.warning("event queue is full, events are dropped", dropped=self._dropped, reason=reason)

    @property
    def waiting(self) -> int:
        """Writes not yet sent."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            series = await self._queue.get()
            try:
                await self._send(series)
            finally:
                if series.pending:
                    self._correlator.dropped(series)
                self._queue.task_done()

    async def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until everything recorded was sent or given up, without waits between tries.

        :meth:`run` must be running. True when nothing is left.
        """
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout):
                await self._queue.join()
        except TimeoutError:
            log.warning("events not sent before the end", left=self.waiting)
            return False
        finally:
            self._hurry.clear()
        return True

    async def _send(self, series: Series) -> None:
        for attempt in range(self._tries):
            try:
                await self._write(series)
            except errors.KubeError as error:
                if not errors.transient(error):
                    self._correlator.refused(series)
                    self._instruments.sent("failed")
                    self._tell("event refused", series, error)
                    return
                if attempt == self._tries - 1 or self._hurry.is_set():
                    self._correlator.dropped(series)
                    self._instruments.sent("failed")
                    self._tell("event given up", series, error)
                    return
                # The first wait is random: after an outage not every replica comes back in the same instant.
                await self._pause(self._retry_seconds * (self._rng.random() if attempt == 0 else 1.0))
            else:
                return

    async def _write(self, series: Series) -> None:
        namespace = series.regarding.namespace or CLUSTER_SCOPED_NAMESPACE
        if series.exists:
            body = {"count": series.count, "lastTimestamp": rfc3339(series.last), "message": series.message}
            try:
                await self._api.patch(EVENTS, ObjectKey(namespace, series.name), merge_patch(body), lane=LANE)
            except errors.NotFound:
                series.exists = False
                series.name = ""
            else:
                self._correlator.sent(series)
                self._instruments.sent("patched")
                return
        if not series.name:
            series.name = event_name(series.regarding.name, f"{self._rng.getrandbits(64):016x}")
        try:
            await self._api.create(EVENTS, self._body(series, namespace), lane=LANE)
        except errors.AlreadyExists:
            log.debug("event was created by an earlier try", name=series.name)
        self._correlator.sent(series)
        self._instruments.sent("created")

    def _body(self, series: Series, namespace: str) -> Json:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": series.name, "namespace": namespace},
            "involvedObject": series.regarding.fields(),
            "type": series.type,
            "reason": series.reason,
            "message": series.message,
            "count": series.count,
            "firstTimestamp": rfc3339(series.first),
            "lastTimestamp": rfc3339(series.last),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            **({"action": series.action} if series.action else {}),
        }

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _tell(self, event: str, series: Series, error: errors.KubeError) -> None:
        regarding = f"{series.regarding.kind} {series.regarding.namespace}/{series.regarding.name}"
        log.warning(event, regarding=regarding, reason=series.reason, error=str(error))

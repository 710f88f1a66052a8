"""The client-side limiter: a token bucket shared by every request, served in the order of lanes.

Neighbours: ``api`` takes one token per request before the write gate is asked; ``app`` changes the rate on reload.
Kept here: leases never wait behind other work, and terminal writes have a share that nobody else can drain
(user pain Q3); after a 429 the whole process is quiet for as long as the server asked, leases excepted (I-69).
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque

from wfe_controller.kube.clock import Clock
from wfe_controller.kube.instruments import ClientInstruments, NoInstruments


class Lane(enum.IntEnum):
    """What a request is for; smaller goes first."""

    LEASE = 0
    TERMINAL = 1
    RELEASE = 2
    PROGRESS = 3
    START = 4
    READ = 5


_ORDINARY = (Lane.PROGRESS, Lane.START, Lane.READ)
_OTHERS_EVERY = 8
"""One ordinary grant in so many passes over the most urgent lane: a flood of starts must not starve the reads."""
_MAX_PAUSE = 60.0
"""Longest believable Retry-After in seconds; the API server itself never asks for more than 32."""


class _Waiter:
    __slots__ = ("future", "lane", "since")

    def __init__(self, lane: Lane, since: float, future: asyncio.Future[None]) -> None:
        self.lane = lane
        self.since = since
        self.future = future


class Throttle:
    """``qps`` tokens per second up to ``burst``, of which the last ``reserved`` are for LEASE, TERMINAL and RELEASE.

    ``qps <= 0`` means no limit (a pause after 429 still holds). LEASE may overdraw the bucket by one burst, so it
    does not wait at all in practice; what it took is paid back by the others.
    """

    def __init__(
        self,
        qps: float = 20,
        burst: int = 30,
        reserved: int = 5,
        *,
        clock: Clock,
        instruments: ClientInstruments | None = None,
    ) -> None:
        self._clock = clock
        self._instruments: ClientInstruments = instruments or NoInstruments()
        self._lanes: dict[Lane, deque[_Waiter]] = {lane: deque() for lane in Lane}
        self._reserved = reserved
        self._updated: float | None = None
        self._paused_until = 0.0
        self._ordinary_grants = 0
        self._timer: asyncio.TimerHandle | None = None
        self._qps, self._burst, self._tokens = qps, burst, float(burst)
        self._check(qps, burst)

    def _check(self, qps: float, burst: int) -> None:
        if qps > 0 and burst <= self._reserved:
            raise ValueError(f"burst {burst} must be greater than the reserved share {self._reserved}")

    def set_rate(self, qps: float, burst: int) -> None:
        """Change the rate while running; waiting requests are served at the new one at once."""
        self._check(qps, burst)
        self._refill()
        self._qps, self._burst = qps, burst
        self._tokens = min(self._tokens, float(burst))
        self._pump()

    def pause_until(self, monotonic: float) -> None:
        """Hand out nothing before that instant of ``clock.monotonic()``, LEASE excepted; never shortens a pause."""
        self._paused_until = max(self._paused_until, min(monotonic, self._clock.monotonic() + _MAX_PAUSE))

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lanes.values()))

    async def acquire(self, lane: Lane) -> None:
        """Wait for a token. A cancelled caller gives its place, or the token it had just got, back."""
        self._refill()
        if not self._ahead(lane) and self._available(lane):
            self._take(lane)
            self._instruments.throttled(lane.name, 0.0)
            return
        since = self._clock.monotonic()
        waiter = _Waiter(lane, since, asyncio.get_running_loop().create_future())
        self._lanes[lane].append(waiter)
        self._pump()
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                if waiter in self._lanes[lane]:
                    self._lanes[lane].remove(waiter)
            else:
                self._tokens = min(self._tokens + 1.0, float(self._burst))
            self._pump()
            raise
        self._instruments.throttled(lane.name, self._clock.monotonic() - since)

    def _ahead(self, lane: Lane) -> bool:
        """True when a request of the same or a more urgent lane already waits."""
        return any(self._lanes[other] for other in Lane if other <= lane)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        if self._updated is not None and self._qps > 0:
            self._tokens = min(float(self._burst), self._tokens + (now - self._updated) * self._qps)
        self._updated = now

    def _need(self, lane: Lane) -> float:
        """Tokens that must be in the bucket before that lane may take one."""
        if lane is Lane.LEASE:
            return 1.0 - self._burst
        return 1.0 if lane in (Lane.TERMINAL, Lane.RELEASE) else 1.0 + self._reserved

    def _available(self, lane: Lane) -> bool:
        if lane is not Lane.LEASE and self._clock.monotonic() < self._paused_until:
            return False
        # The epsilon absorbs float error, or a timer that fires exactly on time could find 0.9999 of a token.
        return self._qps <= 0 or self._tokens >= self._need(lane) - 1e-9

    def _take(self, lane: Lane) -> None:
        if self._qps > 0:
            self._tokens -= 1.0
        if lane in _ORDINARY:
            self._ordinary_grants += 1

    def _next(self) -> _Waiter | None:
        for lane in Lane:
            if not self._lanes[lane]:
                continue
            if lane in _ORDINARY and self._ordinary_grants % _OTHERS_EVERY == _OTHERS_EVERY - 1:
                others = [self._lanes[other][0] for other in _ORDINARY if other > lane and self._lanes[other]]
                if others:
                    return min(others, key=lambda waiter: waiter.since)
            return self._lanes[lane][0]
        return None

    def _pump(self) -> None:
        """Serve the head of the queue as long as tokens last, then set the timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._refill()
        while (waiter := self._next()) is not None and self._available(waiter.lane):
            self._lanes[waiter.lane].popleft()
            if not waiter.future.done():
                self._take(waiter.lane)
                waiter.future.set_result(None)
        if waiter is not None:
            now = self._clock.monotonic()
            delay = (self._need(waiter.lane) - self._tokens) / self._qps if self._qps > 0 else 0.0
            if waiter.lane is not Lane.LEASE:
                delay = max(delay, self._paused_until - now)
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.0), self._pump)

"""Time, the only module that reads it (ruff bans the real clocks everywhere else).

Three clocks, because they answer three questions:
``monotonic`` - how long did it take (the event loop's time, so that virtual loops drive it);
``now`` - what to write into an object (UTC wall clock);
``boottime`` - how old is the lease (counts suspended time too, which CLOCK_MONOTONIC does not: I-47).
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. All durations and instants but ``now`` are seconds as float."""

    def monotonic(self) -> float:
        """Seconds on the event loop's clock; only differences mean something."""

    def boottime(self) -> float:
        """Seconds since boot, suspended time included; only differences mean something."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC, with microseconds."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the task; a duration <= 0 still yields once."""


class RealClock:
    """The process' clocks. ``monotonic`` needs a running event loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LoopClock:
    """Everything from the event loop's time: for tests on a virtual loop (looptime)."""

    def __init__(self, start: datetime | None = None) -> None:
        self.start = start or datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def boottime(self) -> float:
        return self.monotonic()

    def now(self) -> datetime:
        from datetime import timedelta

        return self.start + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def jitter(seconds: float, fraction: float, rng: random.Random) -> float:
    """``seconds`` lengthened by up to ``fraction`` of itself (0.1 = +0..10 %)."""
    return seconds * (1.0 + fraction * rng.random())


def rfc3339(instant: datetime) -> str:
    """Kubernetes ``metav1.Time``: UTC, whole seconds, Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(instant: datetime) -> str:
    """Kubernetes ``metav1.MicroTime`` (Leases, events.k8s.io)."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: object) -> datetime | None:
    """An aware UTC datetime, or None for anything that is not an RFC 3339 instant (other writers' fields)."""
    if not isinstance(text, str) or not text:
        return None
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)

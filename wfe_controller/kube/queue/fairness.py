"""Who is next when several kinds of work wait: turns between lanes, and a cap per tenant.

Order and fairness are separate questions (I-38). Strict priority starves (I-37): after a restart every object comes
back in the low lane, and under steady fresh work none of them would ever run; the reverse, oldest first, would
make new work wait for the whole replay (Q2). So lanes take turns, and age counts for something, never for all.
Neighbour: :mod:`.workqueue` holds the keys; nothing here is asynchronous or reads a clock.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LOW_LANE_SHARE = 8
"""One in so many hand-outs belongs to the low lane while it has something: 12.5 %."""
AGED_AFTER_SECONDS = 300.0
"""Half of the promise that no item waits longer than 10 minutes; the other half is for working through the aged."""


class Lane(enum.Enum):
    """Where the next key is taken from."""

    FIRST = "highest priority"
    LOW = "low lane"
    AGED = "oldest"


class Turns:
    """Decides the lane of the next hand-out.

    Aged keys get every second hand-out and no more: a backlog in which everything is aged must not make a fresh key
    wait for all of it.
    """

    def __init__(self, low_share: int = LOW_LANE_SHARE) -> None:
        if low_share < 2:
            raise ValueError(f"the low lane's share must be 1 in 2 or less, got 1 in {low_share}")
        self._low_share = low_share
        self._passed_low = 0
        self._last_was_aged = False

    def choose(self, *, low_waits: bool, aged_waits: bool) -> Lane:
        """The lane whose turn it is; changes nothing until :meth:`taken`."""
        if aged_waits and not self._last_was_aged:
            return Lane.AGED
        if low_waits and self._passed_low >= self._low_share - 1:
            return Lane.LOW
        return Lane.FIRST

    def taken(self, lane: Lane, *, was_low: bool, low_waits: bool) -> None:
        """A key was handed out of ``lane``; ``low_waits``: low keys were waiting at that moment."""
        self._last_was_aged = lane is Lane.AGED
        self._passed_low = 0 if was_low or not low_waits else self._passed_low + 1


class TenantCap(Generic[K]):
    """At most ``limit`` keys of one tenant in processing; the rest of its keys park, best first (I-38).

    ``tenant`` maps a key to its tenant, usually the namespace; pure and total.
    """

    def __init__(self, tenant: Callable[[K], str], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a tenant needs at least one slot, got {limit}")
        self._tenant = tenant
        self._limit = limit
        self._running: dict[str, int] = {}
        self._parked: dict[str, list[tuple[int, int, K]]] = {}
        self._priority: dict[K, int] = {}
        self._sequence = 0

    def admits(self, key: K) -> bool:
        return self._running.get(self._tenant(key), 0) < self._limit

    def started(self, key: K) -> None:
        tenant = self._tenant(key)
        self._running[tenant] = self._running.get(tenant, 0) + 1

    def finished(self, key: K) -> K | None:
        """A slot is free; the parked key that may have it, or None."""
        tenant = self._tenant(key)
        running = self._running[tenant] - 1
        if running:
            self._running[tenant] = running
        else:
            del self._running[tenant]
        heap = self._parked.get(tenant)
        while heap:
            negative, _, parked = heapq.heappop(heap)
            if not heap:
                self._parked.pop(tenant, None)
            if self._priority.get(parked) == -negative:
                del self._priority[parked]
                return parked
        return None

    def park(self, key: K, priority: int) -> None:
        """Keep ``key`` until its tenant has a slot; parking a parked key again raises it, never lowers."""
        if self._priority.get(key, priority - 1) >= priority:
            return
        self._priority[key] = priority
        self._sequence += 1
        heapq.heappush(self._parked.setdefault(self._tenant(key), []), (-priority, self._sequence, key))

    def is_parked(self, key: K) -> bool:
        return key in self._priority

    def clear_parked(self) -> None:
        self._parked.clear()
        self._priority.clear()

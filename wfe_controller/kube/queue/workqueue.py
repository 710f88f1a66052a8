"""The keyed work queue: a synchronous core that a clock drives, with one asynchronous door, :meth:`WorkQueue.get`.

Guarantees
  * A key is with at most one worker at a time; it is never both queued and in processing (I-31).
  * Any number of adds while a key is queued is one run; while it is in processing, exactly one more run (I-32).
  * ``done`` must follow every ``get``, in a ``finally``; until then the key is locked (I-33).
  * ``add_after`` keeps the earliest wake-up of a key. An immediate add does NOT consume it (client-go's reading of
    I-34): the key runs now and again at the wake-up. A reconcile that returns its next deadline each time is right
    under either reading; what can happen here is one run too many, never one too few.
  * Priority: higher first, FIFO inside a level, a re-add may raise and never lowers; a raised key goes to the tail of
    its new level. A waiting key joins the FIFO when it becomes ready. Retries keep the priority of the run (I-37).
  * The low lane (below ``PRIORITY_NORMAL``) gets 1 in 8 hand-outs, and what waited for 5 minutes every second one.
  * After ``shut_down``: adds are ignored, queued and waiting keys are dropped, blocked ``get`` raises
    :class:`ShutDown`, what is in processing may finish (I-39). Level-triggered work loses nothing by that.
Assumptions
  * One event loop; methods are called from it. Keys are hashable and small: never objects (I-31).
Neighbours: ``control.sources`` adds, ``control.worker`` gets; :mod:`.limiters` and :mod:`.fairness` decide when and
who.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wfe_controller.kube.instruments import NoInstruments, QueueInstruments
from wfe_controller.kube.queue.fairness import AGED_AFTER_SECONDS, LOW_LANE_SHARE, Lane, TenantCap, Turns
from wfe_controller.kube.queue.limiters import RetryLimiter

K = TypeVar("K", bound=Hashable)

PRIORITY_HIGH = 100
"""For what was begun already: it goes before what is new, and there is never more of it than was begun."""
PRIORITY_NORMAL = 0
PRIORITY_LOW = -100
"""Initial list and resync: nothing changed, so it can wait."""

EARLY_TIMER_SECONDS = 0.05
"""A timer that fired before its time is set again at least this far ahead, so it cannot spin (Q12)."""


class ShutDown(Exception):
    """The queue hands out nothing more."""


class Empty(Exception):
    """Nothing is ready."""


class Monotonic(Protocol):
    def monotonic(self) -> float:
        """Seconds; the event loop's time when ``get`` is awaited."""


@dataclass(slots=True)
class _Queued:
    priority: int
    since: float


@dataclass(slots=True)
class _Running:
    priority: int
    started: float


@dataclass(slots=True)
class _Wakeup:
    ready_at: float
    priority: int
    sequence: int


class WorkQueue(Generic[K]):
    """Contract: the module docstring. ``tenant`` with ``max_per_tenant`` caps the parallel work of one tenant."""

    def __init__(
        self,
        name: str,
        *,
        clock: Monotonic,
        instruments: QueueInstruments | None = None,
        limiter: RetryLimiter[K] | None = None,
        low_share: int = LOW_LANE_SHARE,
        aged_after: float = AGED_AFTER_SECONDS,
        tenant: Callable[[K], str] | None = None,
        max_per_tenant: int = 0,
    ) -> None:
        self.name = name
        self._clock = clock
        self._instruments: QueueInstruments = instruments or NoInstruments()
        self._limiter: RetryLimiter[K] = limiter or RetryLimiter()
        self._turns = Turns(low_share)
        self._aged_after = aged_after
        self._cap: TenantCap[K] | None = TenantCap(tenant, max_per_tenant) if tenant and max_per_tenant else None
        # _queued: every queued key. _by_age: those not parked, oldest first. _levels: the same, by priority.
        self._queued: dict[K, _Queued] = {}
        self._by_age: OrderedDict[K, None] = OrderedDict()
        self._levels: dict[int, OrderedDict[K, None]] = {}
        self._processing: dict[K, _Running] = {}
        self._again: dict[K, int] = {}
        self._wakeups: dict[K, _Wakeup] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._shutting_down = False
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    # ---- adding

    def add(self, key: K, *, priority: int = PRIORITY_NORMAL) -> None:
        """Run ``key`` as soon as possible."""
        if self._shutting_down:
            return
        self._instruments.added(self.name)
        self._add(key, priority, self._clock.monotonic())

    def add_after(self, key: K, seconds: float, *, priority: int | None = None) -> None:
        """Run ``key`` in ``seconds`` (<= 0: now) or at its earlier wake-up.

        ``priority`` None keeps that of the run in progress, else normal.
        """
        if self._shutting_down:
            return
        if priority is None:
            running = self._processing.get(key)
            priority = running.priority if running else PRIORITY_NORMAL
        if seconds <= 0:
            self.add(key, priority=priority)
            return
        now = self._clock.monotonic()
        ready_at = now + seconds
        known = self._wakeups.get(key)
        if known is not None:
            known.priority = max(known.priority, priority)
            if known.ready_at <= ready_at:
                return
        self._sequence += 1
        effective = known.priority if known else priority
        self._wakeups[key] = _Wakeup(ready_at, effective, self._sequence)
        heapq.heappush(self._heap, (ready_at, self._sequence, key))
        if len(self._heap) > 2 * len(self._wakeups) + 64:
            self._compact()
        self._arm(now)

    def add_rate_limited(self, key: K, *, priority: int | None = None) -> None:
        """Run ``key`` again after a failure: its own backoff, or its turn among all retries, whichever is later."""
        if self._shutting_down:
            return
        self._instruments.retried(self.name)
        self.add_after(key, self._limiter.when(key, self._clock.monotonic()), priority=priority)

    def forget(self, key: K) -> None:
        """Reset the failure count of ``key``. Does not touch queued runs or wake-ups."""
        self._limiter.forget(key)

    def retries(self, key: K) -> int:
        """Failures in a row."""
        return self._limiter.retries(key)

    # ---- handing out

    async def get(self) -> K:
        """The next key, now in processing; waits for one. Raises :class:`ShutDown`.

        Await it directly in the worker's task. Wrapped in a task of its own (``create_task``, ``wait_for``) a
        cancellation between hand-out and delivery would lose the key for ever.
        """
        while True:
            try:
                return self.get_nowait()
            except Empty:
                pass
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            self._arm(self._clock.monotonic())
            try:
                await getter
            except asyncio.CancelledError:
                # Trap: woken and cancelled in the same loop step. The wake-up stands for a key; pass it on.
                if getter.done() and not getter.cancelled():
                    self._wake_one()
                elif getter in self._getters:
                    self._getters.remove(getter)
                    self._disarm_if_idle()
                raise

    def get_nowait(self) -> K:
        """The next key, now in processing. Raises :class:`Empty` or :class:`ShutDown`."""
        if self._shutting_down:
            raise ShutDown(self.name)
        now = self._clock.monotonic()
        self._promote(now)
        while self._levels:
            lane, key = self._choose(now)
            if self._cap and not self._cap.admits(key):
                self._cap.park(key, self._queued[key].priority)
                self._unlist(key)
                continue
            return self._hand_out(lane, key, now)
        raise Empty(self.name)

    def done(self, key: K) -> None:
        """The run of ``key`` has ended, however. Raises RuntimeError when ``key`` was not handed out."""
        running = self._processing.pop(key, None)
        if running is None:
            raise RuntimeError(f"queue {self.name}: done({key!r}) without get")
        now = self._clock.monotonic()
        self._instruments.work(self.name, now - running.started)
        if self._cap and (parked := self._cap.finished(key)) is not None:
            # It had its turn already and only lacked a slot: back to the front.
            self._list(parked, front=True)
        if (priority := self._again.pop(key, None)) is not None:
            self._add(key, priority, now)

    def shut_down(self) -> None:
        """Hand out nothing more; see the module docstring. May be called twice."""
        self._shutting_down = True
        self._queued.clear()
        self._by_age.clear()
        self._levels.clear()
        self._again.clear()
        self._wakeups.clear()
        self._heap.clear()
        if self._cap:
            self._cap.clear_parked()
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
        self._disarm_if_idle()
        self._instruments.depth(self.name, 0)

    # ---- looking

    @property
    def processing(self) -> int:
        """Keys handed out and not done."""
        return len(self._processing)

    def report(self) -> None:
        """Tell the instruments the depth and the age of what is in processing (I-40); call it now and then."""
        now = self._clock.monotonic()
        ages = [now - running.started for running in self._processing.values()]
        self._instruments.unfinished(self.name, sum(ages), max(ages, default=0.0))
        self._instruments.depth(self.name, len(self))

    def __len__(self) -> int:
        """Queued keys, without those in processing and those waiting for their time. Informational (I-40)."""
        return len(self._queued)

    # ---- inside

    def _add(self, key: K, priority: int, now: float) -> None:
        if key in self._processing:
            self._again[key] = max(self._again.get(key, priority), priority)
            return
        entry = self._queued.get(key)
        if entry is None:
            self._queued[key] = _Queued(priority, now)
            self._instruments.depth(self.name, len(self._queued))
            self._list(key)
            return
        if priority <= entry.priority:
            return
        if self._cap and self._cap.is_parked(key):
            self._cap.park(key, priority)
        else:
            self._drop_from_level(key, entry.priority)
            self._levels.setdefault(priority, OrderedDict())[key] = None
        entry.priority = priority

    def _list(self, key: K, *, front: bool = False) -> None:
        level = self._levels.setdefault(self._queued[key].priority, OrderedDict())
        level[key] = None
        self._by_age[key] = None
        if front:
            level.move_to_end(key, last=False)
            self._by_age.move_to_end(key, last=False)
        self._wake_one()

    def _unlist(self, key: K) -> None:
        self._drop_from_level(key, self._queued[key].priority)
        del self._by_age[key]

    def _drop_from_level(self, key: K, priority: int) -> None:
        level = self._levels[priority]
        del level[key]
        if not level:
            del self._levels[priority]

    def _choose(self, now: float) -> tuple[Lane, K]:
        oldest = next(iter(self._by_age))
        lowest = min(self._levels)
        lane = self._turns.choose(
            low_waits=lowest < PRIORITY_NORMAL,
            aged_waits=now - self._queued[oldest].since >= self._aged_after,
        )
        match lane:
            case Lane.AGED:
                return lane, oldest
            case Lane.LOW:
                low = max(priority for priority in self._levels if priority < PRIORITY_NORMAL)
                return lane, next(iter(self._levels[low]))
            case Lane.FIRST:
                return lane, next(iter(self._levels[max(self._levels)]))

    def _hand_out(self, lane: Lane, key: K, now: float) -> K:
        low_waited = min(self._levels) < PRIORITY_NORMAL
        self._unlist(key)
        entry = self._queued.pop(key)
        self._turns.taken(lane, was_low=entry.priority < PRIORITY_NORMAL, low_waits=low_waited)
        self._processing[key] = _Running(entry.priority, now)
        if self._cap:
            self._cap.started(key)
        self._instruments.latency(self.name, now - entry.since)
        self._instruments.depth(self.name, len(self._queued))
        return key

    def _promote(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            _, sequence, key = heapq.heappop(self._heap)
            wakeup = self._wakeups.get(key)
            if wakeup is None or wakeup.sequence != sequence:
                continue  # replaced by an earlier one
            del self._wakeups[key]
            self._instruments.added(self.name)
            self._add(key, wakeup.priority, now)

    def _compact(self) -> None:
        self._heap = [(wakeup.ready_at, wakeup.sequence, key) for key, wakeup in self._wakeups.items()]
        heapq.heapify(self._heap)

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                break
        self._disarm_if_idle()

    def _arm(self, now: float, *, at_least: float = 0.0) -> None:
        """One timer for the earliest wake-up, only while somebody waits: a busy worker promotes by itself."""
        if not self._getters or not self._heap:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(self._heap[0][0] - now, at_least)
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        self._promote(now)
        self._arm(now, at_least=EARLY_TIMER_SECONDS)

    def _disarm_if_idle(self) -> None:
        if self._timer is not None and not self._getters:
            self._timer.cancel()
            self._timer = None

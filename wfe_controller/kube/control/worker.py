"""Workers of one controller: get -> fresh enough? -> reconcile under a deadline -> one outcome switch -> done.

Guarantees
  * ``done`` follows every ``get``, on error and cancellation too (I-33).
  * Exceptions of a reconcile stop here: counted, logged once with the reconcile's id, requeued (I-42).
  * The deadline of a reconcile is its own outcome, ``timeout``, never confused with being cancelled (I-43).
  * ``CancelledError`` passes: the worker is being stopped, and the outcome of a write in flight is unknown (I-44).
  * A requeued key keeps its priority; conflicts are quiet until the fifth in a row (Q5).
Neighbours: ``queue.workqueue`` below, :mod:`.outcomes` says what a reconcile may return, :mod:`.manager` runs this.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar, assert_never

import structlog

from wfe_controller.kube import errors
from wfe_controller.kube.backoff import exponential
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.control.outcomes import Conflict, Done, Outcome, RequeueAfter, Retry, Stale, Terminal
from wfe_controller.kube.instruments import NoInstruments, WorkerInstruments
from wfe_controller.kube.queue.workqueue import ShutDown, WorkQueue

log = structlog.get_logger("wfe.control")

K = TypeVar("K", bound=Hashable)

CONFLICT_BASE_SECONDS = 0.05
CONFLICT_CAP_SECONDS = 0.6
"""With jitter up to +60 % a conflict is retried within 1 s (Q5)."""
CONFLICT_STREAK = 5
CONFLICT_STREAK_CAP_SECONDS = 30.0
"""From the fifth conflict in a row on, waiting longer is cheaper than losing again."""
NOT_LEADING_SECONDS = 2.0
STALE_MIN_SECONDS = 0.01
"""Looking again in the same instant would spin: the cache moves only when the loop gets to it."""
REPORT_SECONDS = 10.0


class Controller(Generic[K]):
    """``workers`` tasks that reconcile keys of ``queue``.

    ``reconcile`` reads all its inputs itself (I-41). ``ready`` returns None when the key may be reconciled now, else
    the seconds to defer it (I-28). ``timeout`` is in seconds, per reconcile.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Outcome]],
        queue: WorkQueue[K],
        *,
        clock: Clock,
        workers: int = 4,
        ready: Callable[[K], float | None] | None = None,
        timeout: float = 60.0,
        rng: random.Random | None = None,
        instruments: WorkerInstruments | None = None,
    ) -> None:
        if workers < 1 or timeout <= 0:
            raise ValueError(f"controller {name}: needs workers >= 1 and timeout > 0, got {workers} and {timeout}")
        self.name = name
        self.queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self._ready = ready
        self._timeout = timeout
        self._clock = clock
        self._rng = rng or random.Random()
        self._instruments: WorkerInstruments = instruments or NoInstruments()
        self._conflicts: dict[K, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Reconcile until the queue is shut down (returns) or the task is cancelled (raises)."""
        if not self._idle.is_set():
            raise RuntimeError(f"controller {self.name} runs already")
        self._idle.clear()
        try:
            async with asyncio.TaskGroup() as group:
                reporter = group.create_task(self._report(), name=f"{self.name}-report")
                workers = [
                    group.create_task(self._work(), name=f"{self.name}-worker-{n}") for n in range(self._workers)
                ]
                await asyncio.wait(workers)
                reporter.cancel()
        finally:
            self._idle.set()

    async def drain(self, timeout: float) -> bool:
        """Take no further key and wait up to ``timeout`` seconds for the reconciles in flight; True when all ended.

        Does not cancel the rest: that is for whoever runs :meth:`run`.
        """
        self.queue.shut_down()
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            log.warning("reconciles did not finish in time", controller=self.name, in_flight=self.queue.processing)
            return False
        return True

    async def _report(self) -> None:
        while True:
            self.queue.report()
            await self._clock.sleep(REPORT_SECONDS)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._process(key)
            finally:
                self.queue.done(key)
            # A reconcile that never waits must not keep the loop from everybody else.
            await self._clock.sleep(0)

    async def _process(self, key: K) -> None:
        reconcile_id = f"{self._rng.getrandbits(40):010x}"
        with structlog.contextvars.bound_contextvars(reconcile_id=reconcile_id, controller=self.name, key=str(key)):
            started = self._clock.monotonic()
            outcome = await self._outcome(key)
            if outcome is not None:
                self._instruments.reconciled(self.name, self._switch(key, outcome), self._clock.monotonic() - started)

    async def _outcome(self, key: K) -> Outcome | None:
        """What the reconcile returned, or what its exception amounts to; None when it is dealt with."""
        deadline = asyncio.timeout(self._timeout)
        started = self._clock.monotonic()
        try:
            if self._ready is not None and (seconds := self._ready(key)) is not None:
                return Stale("the cache has not seen the last own write", seconds)
            async with deadline:
                return await self._reconcile(key)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this task was cancelled but something it awaited. Let through, it would end the worker in silence.
            log.error("reconcile awaited something that was cancelled", exc_info=error)
            self._failed(key, "error", started)
            return None
        except errors.NotLeading as error:
            # Nothing was sent. The process is about to stop, or renews in time and then the key must not be lost.
            log.debug("reconcile stopped by the write gate", why=str(error))
            self.queue.add_after(key, NOT_LEADING_SECONDS)
            return None
        except errors.AlreadyExists as error:
            return Retry(error)
        except errors.Conflict as error:
            return Conflict(str(error))
        except errors.KubeError as error:
            return Retry(error)
        except Exception as error:
            # The worker boundary (I-42). Our deadline is told from a TimeoutError of the reconcile's own making.
            if isinstance(error, TimeoutError) and deadline.expired():
                log.warning("reconcile took too long", seconds=self._timeout, retries=self.queue.retries(key))
                self._failed(key, "timeout", started)
            else:
                log.error("reconcile failed", retries=self.queue.retries(key), exc_info=error)
                self._failed(key, "error", started)
            return None

    def _failed(self, key: K, outcome: str, started: float) -> None:
        self.queue.add_rate_limited(key)
        self._instruments.reconciled(self.name, outcome, self._clock.monotonic() - started)

    def _switch(self, key: K, outcome: Outcome) -> str:
        """The only place that decides about requeueing (I-36); returns the outcome's name for the metric."""
        if not isinstance(outcome, Conflict | Stale):
            self._conflicts.pop(key, None)
        match outcome:
            case Done():
                self.queue.forget(key)
                return "done"
            case RequeueAfter(seconds, priority):
                self.queue.forget(key)
                self.queue.add_after(key, seconds, priority=priority)
                return "requeue_after"
            case Conflict(why):
                self._requeue_conflict(key, why)
                return "conflict"
            case Stale(why, seconds):
                log.debug("reconcile deferred", why=why, seconds=seconds)
                self.queue.add_after(key, max(seconds, STALE_MIN_SECONDS))
                return "stale"
            case Terminal(error):
                log.warning("reconcile failed for good", error=str(error))
                self.queue.forget(key)
                return "terminal"
            case Retry(error):
                log.warning("reconcile will be retried", error=str(error), retries=self.queue.retries(key))
                self.queue.add_rate_limited(key)
                return "error"
            case _:
                assert_never(outcome)

    def _requeue_conflict(self, key: K, why: str) -> None:
        streak = self._conflicts.get(key, 0) + 1
        self._conflicts[key] = streak
        cap = CONFLICT_CAP_SECONDS if streak < CONFLICT_STREAK else CONFLICT_STREAK_CAP_SECONDS
        delay = exponential(CONFLICT_BASE_SECONDS, streak - 1, cap) * (1.0 + 0.6 * self._rng.random())
        emit = log.warning if streak >= CONFLICT_STREAK else log.info
        emit("reconcile lost a conflict", why=why, streak=streak, seconds=round(delay, 3))
        self.queue.add_after(key, delay)

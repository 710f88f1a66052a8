"""Start, supervision and stop of the whole process, in an order that is a rule (I-55, I-56).

Start: HTTP -> caches (until settled) -> always tasks -> election -> fence (I-30) -> leader tasks.
Stop:  leader tasks (workers drain <= 15 s) -> flush -> caches -> HTTP -> lease released -> flush -> always tasks.
       The lease goes after everything that acts and after the first flush, so that whoever takes over finds all that
       was written; the second flush is for what the election itself had to say.
The election goes on renewing while workers drain: draining takes longer than the renew deadline.
Lost leadership (I-52): leader tasks are cancelled at once, nothing drains, nothing is released, exit code 1.
Exit codes: 0 after the stop event, 1 for everything else that ends the process (SPEC 12). A start step that raises
one of ``refusals`` is no defect: the process stops in order and the error leaves :meth:`Manager.run` for the caller to
tell.
Knows nothing of signals: whoever calls :meth:`Manager.run` sets the stop event.
Neighbours: :mod:`.supervisor` restarts tasks, :mod:`.worker` is drained, ``cache``, ``election`` are run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from wfe_controller.kube.clock import Clock
from wfe_controller.kube.control.supervisor import Group, Run, Supervisor, describe
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.instruments import Instruments, NoInstruments
from wfe_controller.kube.probes import CheckResult

log = structlog.get_logger("wfe.control")

START_SECONDS = 120.0
FENCE_SECONDS = 60.0
DRAIN_SECONDS = 15.0
STOP_SECONDS = 19.0
"""The whole stop. At worst: 15 s drain, 0.5 s leader tasks, 0.5 s flush, 3 s for what comes after it."""
FLUSH_SECONDS = 5.0
FLUSH_MIN_SECONDS = 0.5
AFTER_FLUSH_SECONDS = 3.0
"""0.5 s caches, 0.5 s HTTP, 0.2 s election, 1.5 s release, 0.3 s last flush."""
LAG_INTERVAL_SECONDS = 1.0
LAG_WARN_SECONDS = 1.0
LOOP_STUCK_SECONDS = 30.0


class Cache(Protocol):
    """What is needed of an informer."""

    async def run(self) -> None: ...
    async def wait_synced(self, timeout: float) -> None: ...
    async def relist(self) -> None: ...


class Election(Protocol):
    """What is needed of an elector."""

    async def run(self, on_started: Callable[[], Awaitable[None]], on_lost: Callable[[], None]) -> None: ...
    async def release(self) -> None: ...


Flush = Callable[[float], Awaitable[object]]
"""Send what is buffered within so many seconds."""


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


class Manager:
    """Everything is registered before :meth:`run`; ``election`` None means that leader tasks run without a lease."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        instruments: Instruments | None = None,
        election: Election | None = None,
        start_timeout: float = START_SECONDS,
        fence_timeout: float = FENCE_SECONDS,
        drain_timeout: float = DRAIN_SECONDS,
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self._clock = clock
        self._instruments: Instruments = instruments or NoInstruments()
        self._election = election
        self._start_timeout = start_timeout
        self._fence_timeout = fence_timeout
        self._drain_timeout = drain_timeout
        self._refusals = refusals
        self._refused: Exception | None = None
        self._servers: list[_Server] = []
        self._caches: dict[str, Cache] = {}
        self._synced: list[Callable[[], None]] = []
        self._always: dict[str, Run] = {}
        self._fences: dict[str, Callable[[], Awaitable[None]]] = {}
        self._leader: dict[str, Run] = {}
        self._drains: dict[str, Callable[[float], Awaitable[object]]] = {}
        self._flushes: dict[str, Flush] = {}
        self._supervisor = Supervisor(clock=clock, rng=rng or random.Random(), on_fatal=self._end)
        self._ending = asyncio.Event()
        self._why: str | None = None
        self._led = False
        self._lost_leadership = False
        self._stopping = False
        self._yielding = False
        self._started_servers: list[_Server] = []
        self._last_tick: float | None = None

    # ---- registration

    def add_server(self, name: str, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Started first; an exception of ``start`` (a port in use) ends the process."""
        self._servers.append(_Server(name, start, stop))

    def add_cache(self, name: str, informer: Cache, *, fence: bool = False) -> None:
        """Run on every replica. ``fence``: relist it after the lease was acquired and before leader tasks start."""
        self._unique(self._caches, name)
        self._caches[name] = informer
        if fence:
            self.add_fence(name, informer.relist)

    def add_synced(self, call: Callable[[], None]) -> None:
        """Called once, when all caches have settled (``gc.freeze``)."""
        self._synced.append(call)

    def add_task(self, name: str, run: Run) -> None:
        """Runs on every replica, standbys too, and until the very end of the stop."""
        self._unique(self._always, name)
        self._always[name] = run

    def add_fence(self, name: str, call: Callable[[], Awaitable[None]]) -> None:
        """Awaited after the lease was acquired, together with the other fences."""
        self._unique(self._fences, name)
        self._fences[name] = call

    def add_leader_task(
        self, name: str, run: Run, *, drain: Callable[[float], Awaitable[object]] | None = None
    ) -> None:
        """Runs while leading. Without ``drain`` it is cancelled as soon as the process stops."""
        self._unique(self._leader, name)
        self._leader[name] = run
        if drain is not None:
            self._drains[name] = drain

    def add_controller(self, controller: Controller[Any]) -> None:
        self.add_leader_task(controller.name, controller.run, drain=controller.drain)

    def add_flush(self, name: str, flush: Flush) -> None:
        """Awaited with a time limit in seconds when work has stopped, and once more after the lease was released."""
        self._unique(self._flushes, name)
        self._flushes[name] = flush

    @staticmethod
    def _unique(known: dict[str, Any], name: str) -> None:
        if name in known:
            raise ValueError(f"{name!r} is registered twice")

    # ---- looking

    def check_tasks(self) -> CheckResult:
        """Liveness: no supervised task has failed too often."""
        return self._supervisor.check()

    def check_loop(self) -> CheckResult:
        """Liveness: the event loop makes progress; age of the last tick."""
        if self._last_tick is None:
            return CheckResult(True, "not started")
        age = self._clock.monotonic() - self._last_tick
        return CheckResult(age < LOOP_STUCK_SECONDS, "" if age < LOOP_STUCK_SECONDS else "event loop is stuck", age)

    # ---- life

    async def run(self, stop: asyncio.Event) -> int:
        """Live until ``stop`` is set or something ends the process; returns the exit code. Runs once.

        Raises what a start step raised, if it is one of ``refusals``.
        """
        if stop.is_set():
            return 0
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._ending.wait())]
        starting = asyncio.create_task(self._start(), name="start")
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            starting.cancel()
            await asyncio.wait([starting])
            await self._stop()
        finally:
            for task in (*waits, starting):
                task.cancel()
            self._stopping = self._yielding = True
            for group in Group:
                await self._supervisor.stop(group, 0.2)
        if self._refused is not None:
            raise self._refused
        if self._why is not None:
            log.error("process ends", why=self._why)
            return 1
        log.info("process ends", why="told to stop")
        return 0

    def _end(self, why: str) -> None:
        if self._why is None and not self._stopping:
            self._why = why
            self._ending.set()

    async def _start(self) -> None:
        try:
            self._supervisor.start(Group.LOOP, "loop-lag", self._watch_loop)
            for server in self._servers:
                await server.start()
                self._started_servers.append(server)
            for name, informer in self._caches.items():
                self._supervisor.start(Group.CACHES, f"cache-{name}", informer.run)
            await self._wait_for_caches()
            for call in self._synced:
                call()
            for name, run in self._always.items():
                self._supervisor.start(Group.ALWAYS, name, run)
            if self._election is None:
                await self._lead()
            else:
                self._supervisor.start(Group.ELECTION, "election", self._elect)
        except asyncio.CancelledError:
            if not self._stopping:
                self._end("start was cancelled")
            raise
        except self._refusals as error:
            if not self._stopping:
                self._refused = error
            self._end(str(error))
        except Exception as error:
            # Not re-raised: nobody awaits this task for its result; the process ends and says why.
            log.error("start failed", error=describe(error), exc_info=None if isinstance(error, OSError) else error)
            self._end(f"start failed: {describe(error)}")

    async def _wait_for_caches(self) -> None:
        waits = [informer.wait_synced(self._start_timeout) for informer in self._caches.values()]
        results = await asyncio.gather(*waits, return_exceptions=True)
        failed = [
            f"{name}: {describe(result)}"
            for name, result in zip(self._caches, results, strict=True)
            if isinstance(result, BaseException)
        ]
        if failed:
            raise TimeoutError("; ".join(failed))

    async def _elect(self) -> None:
        assert self._election is not None
        await self._election.run(self._lead, self._lost)

    async def _lead(self) -> None:
        # Returns at once: the elector goes on renewing while the fence waits for its lists.
        if not self._stopping and not self._led:
            self._led = True
            self._supervisor.start(Group.LEADER, "leader-start", self._start_leading)

    async def _start_leading(self) -> None:
        try:
            async with asyncio.timeout(self._fence_timeout), asyncio.TaskGroup() as fences:
                for name, fence in self._fences.items():
                    fences.create_task(self._fence(fence), name=f"fence-{name}")
        except TimeoutError:
            self._supervisor.fail(f"fence {', '.join(self._fences)} not done within {self._fence_timeout:g} s")
            await asyncio.Event().wait()
        if self._stopping:
            return
        for name, run in self._leader.items():
            self._supervisor.start(Group.LEADER, name, run)
        log.info("leader tasks started", tasks=sorted(self._leader))
        await asyncio.Event().wait()

    @staticmethod
    async def _fence(fence: Callable[[], Awaitable[None]]) -> None:
        await fence()

    def _lost(self) -> None:
        """The gate is closed already; stop what it would refuse, now and not when the loop comes round."""
        if not self._led or self._yielding:
            return
        self._lost_leadership = True
        self._supervisor.close(Group.ELECTION)
        self._supervisor.cancel(Group.LEADER)
        self._end("lost leadership")

    # ---- stop

    async def _stop(self) -> None:
        deadline = self._clock.monotonic() + STOP_SECONDS

        def left(seconds: float) -> float:
            return max(0.0, min(seconds, deadline - self._clock.monotonic()))

        supervisor = self._supervisor
        log.info("stopping", why=self._why or "told to stop", leading=self._led)
        if not self._led:
            self._yielding = True
            # A standby must not become leader while it stops (E4).
            await supervisor.stop(Group.ELECTION, left(0.5))
        await self._stop_leader_tasks(left(self._drain_timeout))
        await supervisor.stop(Group.LEADER, left(0.5))
        # What the drain left over, up to a limit; the rest of the stop needs its share in any case.
        await self._flush(left(max(FLUSH_MIN_SECONDS, min(FLUSH_SECONDS, left(STOP_SECONDS) - AFTER_FLUSH_SECONDS))))
        await supervisor.stop(Group.CACHES, left(0.5))
        await self._stop_servers(left(0.5))
        self._yielding = True
        await supervisor.stop(Group.ELECTION, left(0.2))
        if self._election is not None and not self._lost_leadership:
            await self._bounded("release the lease", self._election.release(), left(1.5))
        await self._flush(left(0.3))
        await supervisor.stop(Group.ALWAYS, left(0.3))
        await supervisor.stop(Group.LOOP, left(0.1))

    async def _stop_leader_tasks(self, seconds: float) -> None:
        self._supervisor.close(Group.LEADER)
        if self._lost_leadership:
            return
        running = set(self._supervisor.running(Group.LEADER))
        self._supervisor.cancel(Group.LEADER, keep=self._drains)
        await asyncio.gather(
            *(
                self._bounded(f"drain {name}", drain(seconds), seconds + 0.1)
                for name, drain in self._drains.items()
                if name in running
            )
        )

    async def _stop_servers(self, seconds: float) -> None:
        for server in reversed(self._started_servers):
            await self._bounded(f"stop {server.name}", server.stop(), seconds)

    async def _flush(self, seconds: float) -> None:
        await asyncio.gather(
            *(self._bounded(f"flush {name}", flush(seconds), seconds) for name, flush in self._flushes.items())
        )

    async def _bounded(self, what: str, work: Awaitable[object], seconds: float) -> None:
        """Errors during the stop are logged, never raised over what the process ends for (I-57)."""
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            log.warning("stop step took too long", step=what, seconds=round(seconds, 1))
        except Exception as error:
            log.error("stop step failed", step=what, error=describe(error), exc_info=error)

    # ---- the loop's pulse

    async def _watch_loop(self) -> None:
        while True:
            before = self._clock.monotonic()
            self._last_tick = before
            await self._clock.sleep(LAG_INTERVAL_SECONDS)
            lag = max(0.0, self._clock.monotonic() - before - LAG_INTERVAL_SECONDS)
            self._instruments.loop_lag(lag)
            if lag > LAG_WARN_SECONDS:
                log.warning("event loop was blocked", seconds=round(lag, 3))

"""Keeps long-lived tasks alive, and makes the end of one impossible to overlook (W2, I-57).

A task that returns or raises unasked is logged and restarted with backoff, within 10 s. The fourth failure inside
5 minutes is fatal: the first fatal task is reported once, by name, and the process is expected to end.
Guarantee: a restart begins after the previous run has ended completely, so there is never a second copy.
Neighbour: :mod:`.manager` decides what runs when.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections import deque
from collections.abc import Awaitable, Callable, Container

import structlog

from wfe_controller.kube.backoff import Backoff
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.probes import CheckResult

log = structlog.get_logger("wfe.control")

Run = Callable[[], Awaitable[None]]

MAX_FAILURES = 3
WINDOW_SECONDS = 300.0
RESTART_BASE_SECONDS = 0.5
RESTART_CAP_SECONDS = 5.0
"""With up to +100 % jitter a task is back within 10 s."""


class Group(enum.Enum):
    """Tasks that start and stop together."""

    LOOP = "loop"
    CACHES = "caches"
    ALWAYS = "always"
    ELECTION = "election"
    LEADER = "leader"


def describe(error: BaseException) -> str:
    """One line; the only leaf of an exception group speaks for the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


class Supervisor:
    """Runs tasks by group. ``on_fatal`` is called at most once, with one line that names the task."""

    def __init__(self, *, clock: Clock, rng: random.Random, on_fatal: Callable[[str], None]) -> None:
        self._clock = clock
        self._rng = rng
        self._on_fatal = on_fatal
        self._tasks: dict[Group, dict[str, asyncio.Task[None]]] = {group: {} for group in Group}
        self._closed: set[Group] = set()
        self._fatal: str | None = None
        self._restarts = 0

    def start(self, group: Group, name: str, run: Run) -> None:
        """Run ``run`` and restart it for as long as its group is open. RuntimeError when ``name`` runs already."""
        if group in self._closed:
            return
        if name in self._tasks[group]:
            raise RuntimeError(f"task {name} runs already")
        task: asyncio.Task[None] = asyncio.create_task(self._keep(group, name, run), name=name)
        self._tasks[group][name] = task
        task.add_done_callback(lambda _: self._tasks[group].pop(name, None))

    def close(self, group: Group) -> None:
        """From now on a task of the group that ends has ended as it should; nothing new starts in it."""
        self._closed.add(group)

    def cancel(self, group: Group, *, keep: Container[str] = ()) -> None:
        """Close the group and cancel its tasks but those named in ``keep``, without waiting."""
        self.close(group)
        for name, task in self._tasks[group].items():
            if name not in keep:
                task.cancel()

    async def stop(self, group: Group, timeout: float) -> bool:
        """Cancel the group and wait up to ``timeout`` seconds; True when nothing is left of it."""
        self.cancel(group)
        tasks = set(self._tasks[group].values())
        if not tasks:
            return True
        _, left = await asyncio.wait(tasks, timeout=max(timeout, 0.0))
        if left:
            log.warning("tasks did not stop in time", group=group.value, tasks=sorted(task.get_name() for task in left))
        return not left

    def running(self, group: Group) -> list[str]:
        return sorted(self._tasks[group])

    def check(self) -> CheckResult:
        """Fails once a task has failed too often."""
        if self._fatal:
            return CheckResult(False, self._fatal)
        return CheckResult(True, f"{self._restarts} restarts" if self._restarts else "")

    async def _keep(self, group: Group, name: str, run: Run) -> None:
        failures: deque[float] = deque()
        backoff = Backoff(RESTART_BASE_SECONDS, RESTART_CAP_SECONDS, 1.0, WINDOW_SECONDS, self._rng)
        while True:
            error: BaseException | None = None
            try:
                await run()
            except asyncio.CancelledError as cancelled:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Something inside was cancelled, not this task: silence here would be a dead task.
                error = cancelled
            except Exception as raised:  # noqa: BLE001 - logged below with its traceback, and the task is restarted
                error = raised
                if group in self._closed:
                    log.warning("task failed while stopping", task=name, error=describe(raised))
            if group in self._closed:
                return
            now = self._clock.monotonic()
            failures.append(now)
            while failures[0] <= now - WINDOW_SECONDS:
                failures.popleft()
            why = describe(error) if error else "returned"
            if len(failures) > MAX_FAILURES:
                log.error("task failed too often", task=name, why=why, failures=len(failures), exc_info=error)
                self.fail(f"task {name} failed {len(failures)} times in {WINDOW_SECONDS:.0f} s, last: {why}")
                return
            seconds = backoff.next(now)
            self._restarts += 1
            log.error("task ended, restarting", task=name, why=why, seconds=round(seconds, 2), exc_info=error)
            await self._clock.sleep(seconds)
            if group in self._closed:
                return

    def fail(self, why: str) -> None:
        """Something that cannot be repaired here; the first one is what the process ends for."""
        if self._fatal is None:
            self._fatal = why
            self._on_fatal(why)

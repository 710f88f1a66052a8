"""The worker's boundary and its one outcome switch, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from structlog.typing import EventDict

from wfe_controller.kube import errors
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.control.outcomes import Conflict, Done, Outcome, RequeueAfter, Retry, Stale, Terminal
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.instruments import NoInstruments
from wfe_controller.kube.queue.workqueue import PRIORITY_LOW, WorkQueue

pytestmark = pytest.mark.looptime


class Counted(NoInstruments):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def reconciled(self, controller: str, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)


def now() -> float:
    return asyncio.get_running_loop().time()


class Bench:
    """One controller whose reconcile plays a script of outcomes and exceptions, then is done."""

    def __init__(
        self,
        *script: Outcome | BaseException | Callable[[], Awaitable[Outcome]],
        ready: Callable[[str], float | None] | None = None,
        workers: int = 1,
    ) -> None:
        self.script = list(script)
        self.at: list[float] = []
        self.instruments = Counted()
        self.queue: WorkQueue[str] = WorkQueue("q", clock=LoopClock())
        self.controller = Controller(
            "c",
            self.reconcile,
            self.queue,
            clock=LoopClock(),
            workers=workers,
            ready=ready,
            timeout=10,
            rng=random.Random(1),
            instruments=self.instruments,
        )

    async def reconcile(self, key: str) -> Outcome:
        self.at.append(now())
        step = self.script.pop(0) if self.script else Done()
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            return await step()
        return step

    async def play(self, seconds: float = 100.0, key: str = "ns/a") -> Bench:
        self.queue.add(key)
        running = asyncio.create_task(self.controller.run())
        await asyncio.sleep(seconds)
        assert await self.controller.drain(1)
        await running
        assert self.queue.processing == 0
        return self


REFUSED = errors.Conflict(409, "Conflict", "the object has been modified")

FAILURES = {
    "retry": (Retry("cannot"), "error"),
    "kube error": (errors.Unavailable(503, "", "try later"), "error"),
    "already exists": (errors.AlreadyExists(409, "AlreadyExists", "taken"), "error"),
    "bug": (KeyError("spec"), "error"),
    "own TimeoutError": (TimeoutError("of somebody else"), "error"),
}


@pytest.mark.parametrize(("failure", "counted"), FAILURES.values(), ids=[f"I-36 {name}" for name in FAILURES])
async def test_a_failure_is_counted_logged_once_and_retried_with_backoff(
    failure: Outcome | Exception, counted: str, logs: list[EventDict]
) -> None:
    """I-36, I-42."""
    bench = await Bench(failure, failure).play()
    assert bench.instruments.outcomes == [counted, counted, "done"]
    assert bench.at == [pytest.approx(t) for t in (0, 0.005, 0.015)]
    assert bench.queue.retries("ns/a") == 0
    loud = [entry for entry in logs if entry["log_level"] in ("warning", "error")]
    assert len(loud) == 2
    assert all(entry["controller"] == "c" and entry["key"] == "ns/a" for entry in loud)
    assert len({entry["reconcile_id"] for entry in loud}) == 2
    unexpected = isinstance(failure, KeyError | TimeoutError)
    assert [bool(entry.get("exc_info")) for entry in loud] == [unexpected, unexpected]


async def test_done_forgets_and_requeue_after_wakes_at_its_time() -> None:
    """I-36: RequeueAfter forgets first, so the failure before it does not lengthen anything."""
    bench = await Bench(Retry("x"), RequeueAfter(30), Retry("x"), Done()).play()
    assert bench.at == [pytest.approx(t) for t in (0, 0.005, 30.005, 30.010)]
    assert bench.instruments.outcomes == ["error", "requeue_after", "error", "done"]


async def test_terminal_is_not_retried(logs: list[EventDict]) -> None:
    """I-36: and its failure count does not stay behind."""
    bench = await Bench(Retry("x"), Terminal("spec is wrong")).play()
    assert bench.instruments.outcomes == ["error", "terminal"]
    assert bench.queue.retries("ns/a") == 0


@pytest.mark.parametrize("conflict", [Conflict("409"), REFUSED], ids=["returned", "raised"])
async def test_conflicts_are_quiet_until_the_fifth_in_a_row(
    conflict: Outcome | Exception, logs: list[EventDict]
) -> None:
    """Q5, I-62: each retried within a second, none counted as an error, INFO, and WARNING from the streak of 5."""
    bench = await Bench(*[conflict] * 6).play()
    assert bench.instruments.outcomes == ["conflict"] * 6 + ["done"]
    assert [later - earlier < 1 for earlier, later in zip(bench.at[:5], bench.at[1:5], strict=False)] == [True] * 4
    assert [entry["log_level"] for entry in logs if "conflict" in entry["event"]] == ["info"] * 4 + ["warning"] * 2


async def test_a_success_ends_the_streak(logs: list[EventDict]) -> None:
    """Q5: 5 in a row, not 5 in all."""
    await Bench(*[Conflict("409")] * 4, RequeueAfter(1), *[Conflict("409")] * 4).play()
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_a_stale_key_is_deferred_without_reconciling() -> None:
    """I-28: the freshness check comes first; deferring is no failure."""
    answers = [0.5, 0.5, None]
    bench = await Bench(ready=lambda key: answers.pop(0)).play()
    assert bench.at == [pytest.approx(1.0)]
    assert bench.instruments.outcomes == ["stale", "stale", "done"]


async def test_a_stale_outcome_comes_back_after_its_seconds() -> None:
    bench = await Bench(Stale("not seen yet", 2.0)).play()
    assert bench.at == [0, pytest.approx(2.0)]
    assert bench.queue.retries("ns/a") == 0


async def test_the_deadline_is_its_own_outcome(logs: list[EventDict]) -> None:
    """I-43."""

    async def hang() -> Outcome:
        await asyncio.Event().wait()
        return Done()

    bench = await Bench(hang).play()
    assert bench.instruments.outcomes == ["timeout", "done"]
    assert bench.at == [0, pytest.approx(10.005)]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["reconcile took too long"]


async def test_not_leading_is_quiet_and_loses_nothing(logs: list[EventDict]) -> None:
    """E1: no error, no count. Story: the gate refuses for a moment because a renewal is late, the renewal then succeeds
    and this process leads on. Had the key been dropped, nobody would look at it until the next resync."""
    bench = await Bench(errors.NotLeading("renewal is late")).play()
    assert bench.instruments.outcomes == ["done"]
    assert len(bench.at) == 2
    assert not [entry for entry in logs if entry["log_level"] in ("info", "warning", "error")]


async def test_cancellation_passes_and_unlocks_the_key() -> None:
    """I-33, I-44."""

    async def hang() -> Outcome:
        await asyncio.Event().wait()
        return Done()

    bench = Bench(hang)
    bench.queue.add("ns/a")
    running = asyncio.create_task(bench.controller.run())
    await asyncio.sleep(1)
    assert bench.queue.processing == 1
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert bench.queue.processing == 0
    assert bench.instruments.outcomes == []


async def test_a_cancelled_inner_future_does_not_end_the_worker(logs: list[EventDict]) -> None:
    """W2. Story: a reconcile awaits a shared task that somebody else cancelled. CancelledError comes out of the await
    although nobody cancelled the worker; let through, the worker ends, the task group reports nothing, and after four
    such accidents no worker is left."""

    async def awaits_cancelled() -> Outcome:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    bench = await Bench(awaits_cancelled).play()
    assert bench.instruments.outcomes == ["error", "done"]


async def test_a_key_is_never_with_two_workers() -> None:
    """I-31: four workers, one key that is added all the time."""
    running = 0

    async def step() -> Outcome:
        nonlocal running
        running += 1
        assert running == 1
        bench.queue.add("ns/a")
        await asyncio.sleep(1)
        running -= 1
        return Done()

    bench = Bench(*[step] * 5, workers=4)
    await bench.play()
    assert bench.instruments.outcomes == ["done"] * 6


async def test_a_busy_worker_lets_others_run() -> None:
    """I-54: a reconcile that never waits, on a key that comes back at once, does not stop the loop's clock."""
    bench = Bench()
    ticks = 0

    async def at_once(key: str) -> Outcome:
        nonlocal ticks
        ticks += 1
        if ticks < 1000:
            bench.queue.add(key)
        return Done()

    bench.controller._reconcile = at_once
    seen: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(lambda: seen.append(ticks)))
    await bench.play()
    assert seen[0] < 10


async def test_drain_reports_what_does_not_finish() -> None:
    """I-39: no new key at once; False when a reconcile is still in flight."""

    async def slow() -> Outcome:
        await asyncio.sleep(8)
        return Done()

    bench = Bench(slow)
    bench.queue.add("a")
    running = asyncio.create_task(bench.controller.run())
    await asyncio.sleep(1)
    bench.queue.add("b")
    assert not await bench.controller.drain(2)
    assert now() == 3
    assert await bench.controller.drain(10)
    assert now() == 8
    await running
    assert len(bench.at) == 1


async def test_a_second_copy_is_refused() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.controller.run())
    await asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="runs already"):
        await bench.controller.run()
    await bench.controller.drain(1)
    await running


async def test_a_low_key_whose_reconcile_asks_for_a_deadline_is_normal_then() -> None:
    """I-37: retries keep the low lane, deadlines do not: they are work, not a replay."""
    bench = Bench(Retry("x"), RequeueAfter(50))
    bench.queue.add("low", priority=PRIORITY_LOW)
    waiting: list[int] = []
    loop = asyncio.get_running_loop()
    for moment in (0.002, 20):
        loop.call_later(moment, lambda: waiting.append(bench.queue._wakeups["low"].priority))
    running = asyncio.create_task(bench.controller.run())
    await asyncio.sleep(30)
    await bench.controller.drain(1)
    await running
    assert waiting == [PRIORITY_LOW, 0]

"""The work queue's contract, clause by clause, on a clock that the test turns; the async door under looptime."""

from __future__ import annotations

import asyncio

import pytest

from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.instruments import NoInstruments
from wfe_controller.kube.queue.workqueue import PRIORITY_LOW, Empty, ShutDown, WorkQueue


class Hand:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


def queue(hand: Hand, **settings: object) -> WorkQueue[str]:
    return WorkQueue("test", clock=hand, **settings)  # type: ignore[arg-type]  # settings differ per test


def drain(q: WorkQueue[str]) -> list[str]:
    """Everything ready now, in hand-out order, each done at once."""
    out: list[str] = []
    while True:
        try:
            key = q.get_nowait()
        except Empty:
            return out
        q.done(key)
        out.append(key)


def test_adds_while_queued_are_one_run() -> None:
    """I-32."""
    q = queue(Hand())
    for _ in range(3):
        q.add("a")
    assert len(q) == 1
    assert drain(q) == ["a"]


def test_adds_while_processing_are_exactly_one_more_run_after_done() -> None:
    """I-31, I-32: never with two workers, never lost."""
    q = queue(Hand())
    q.add("a")
    assert q.get_nowait() == "a"
    for _ in range(3):
        q.add("a")
    with pytest.raises(Empty):
        q.get_nowait()
    q.done("a")
    assert drain(q) == ["a"]


def test_done_without_get_is_an_error() -> None:
    """I-33: a worker that calls done twice would unlock somebody else's run."""
    q = queue(Hand())
    with pytest.raises(RuntimeError, match="without get"):
        q.done("a")


def test_add_after_keeps_the_earliest_time() -> None:
    """I-34."""
    hand = Hand()
    q = queue(hand)
    q.add_after("a", 10)
    q.add_after("a", 3)
    q.add_after("a", 20)
    hand.time = 2.9
    assert drain(q) == []
    hand.time = 3.0
    assert drain(q) == ["a"]
    hand.time = 100.0
    assert drain(q) == []


def test_an_immediate_add_leaves_the_wakeup() -> None:
    """I-34, client-go's reading: runs now and again at its deadline."""
    hand = Hand()
    q = queue(hand)
    q.add_after("a", 10)
    q.add("a")
    assert drain(q) == ["a"]
    hand.time = 9.9
    assert drain(q) == []
    hand.time = 10.0
    assert drain(q) == ["a"]
    hand.time = 1000.0
    assert drain(q) == []


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_add_after_nothing_is_now(seconds: float) -> None:
    """I-34."""
    q = queue(Hand())
    q.add_after("a", seconds)
    assert drain(q) == ["a"]


def test_a_wakeup_during_processing_runs_after_done() -> None:
    """I-31: the timer of a key that is being reconciled marks it dirty, no more."""
    hand = Hand()
    q = queue(hand)
    q.add("a")
    q.get_nowait()
    q.add_after("a", 1)
    hand.time = 2.0
    with pytest.raises(Empty):
        q.get_nowait()
    q.done("a")
    assert drain(q) == ["a"]


def test_higher_priority_first_and_fifo_within() -> None:
    """I-37."""
    q = queue(Hand())
    q.add("low", priority=PRIORITY_LOW)
    for key in ("a", "b", "c"):
        q.add(key)
    q.add("urgent", priority=10)
    assert drain(q) == ["urgent", "a", "b", "c", "low"]


def test_a_readd_raises_to_the_tail_and_never_lowers() -> None:
    """I-37."""
    q = queue(Hand())
    q.add("x", priority=PRIORITY_LOW)
    q.add("a")
    q.add("x")
    q.add("a", priority=PRIORITY_LOW)
    q.add("b")
    assert drain(q) == ["a", "x", "b"]


def test_a_retry_keeps_the_priority_of_its_run() -> None:
    """I-37: a failing replayed object does not jump into the fast lane."""
    hand = Hand()
    q = queue(hand)
    q.add("x", priority=PRIORITY_LOW)
    q.get_nowait()
    q.add_rate_limited("x")
    q.done("x")
    hand.time = 1.0
    q.add("late")
    q.get_nowait()
    q.done("late")
    q.add("fresh")
    assert drain(q) == ["fresh", "x"]


def test_a_waiting_key_joins_the_fifo_when_it_is_ready() -> None:
    """I-37: having waited for a timer gives no precedence."""
    hand = Hand()
    q = queue(hand)
    q.add_after("timer", 5)
    hand.time = 4.0
    q.add("a")
    hand.time = 6.0
    assert drain(q) == ["a", "timer"]


def test_the_low_lane_gets_one_in_eight() -> None:
    """I-37: steady fresh work does not starve the replay, and the replay does not hold up fresh work."""
    q = queue(Hand())
    for n in range(20):
        q.add(f"low-{n}", priority=PRIORITY_LOW)
    order: list[str] = []
    for n in range(32):
        q.add(f"new-{n}")
        q.add(f"new-{n}b")
        key = q.get_nowait()
        q.done(key)
        order.append(key)
    assert [n for n, key in enumerate(order) if key.startswith("low")] == [7, 15, 23, 31]


def test_what_waited_five_minutes_gets_every_second_turn() -> None:
    """Q2: nothing waits longer than 10 minutes, and an aged backlog does not lock out a new key."""
    hand = Hand()
    q = queue(hand)
    for n in range(6):
        q.add(f"old-{n}", priority=PRIORITY_LOW)
    hand.time = 300.0
    for n in range(3):
        q.add(f"new-{n}")
    assert drain(q) == ["old-0", "new-0", "old-1", "new-1", "old-2", "new-2", "old-3", "old-4", "old-5"]


def test_ten_thousand_replayed_keys_do_not_delay_a_new_one() -> None:
    """Q2: restart with 10,000 objects; the new one is handed out next but one at worst."""
    q = queue(Hand())
    for n in range(10_000):
        q.add(f"old-{n}", priority=PRIORITY_LOW)
    for _ in range(50):
        q.done(q.get_nowait())
    q.add("new")
    assert "new" in [q.get_nowait(), q.get_nowait()]


def test_a_tenant_at_its_cap_waits_and_does_not_block_others() -> None:
    """I-38: the third key of one namespace parks; it is first when a slot is free, and raising it works there too."""
    q = queue(Hand(), tenant=lambda key: key[0], max_per_tenant=2)
    for key in ("a1", "a2", "a3", "a4", "b1"):
        q.add(key)
    assert [q.get_nowait() for _ in range(3)] == ["a1", "a2", "b1"]
    with pytest.raises(Empty):
        q.get_nowait()
    assert len(q) == 2
    q.add("a4", priority=5)
    q.done("a1")
    assert q.get_nowait() == "a4"
    q.done("a4")
    q.add("a5")
    assert q.get_nowait() == "a3"


def test_a_parked_key_added_again_is_one_run() -> None:
    """I-32, I-38."""
    q = queue(Hand(), tenant=lambda key: key[0], max_per_tenant=1)
    q.add("a1")
    q.add("a2")
    q.get_nowait()
    with pytest.raises(Empty):
        q.get_nowait()
    q.add("a2")
    q.add("a1")
    q.done("a1")
    assert drain(q) == ["a2", "a1"]


def test_shutdown_drops_the_rest_and_lets_the_running_finish() -> None:
    """I-39."""
    q = queue(Hand())
    q.add("a")
    q.add("b")
    q.get_nowait()
    q.add("a")
    q.shut_down()
    q.add("c")
    q.add_after("c", 1)
    q.add_rate_limited("c")
    assert len(q) == 0
    q.done("a")
    assert (len(q), q.processing) == (0, 0)
    with pytest.raises(ShutDown):
        q.get_nowait()


def test_many_earlier_wakeups_do_not_grow_the_heap() -> None:
    """A key whose deadline moves forward 10,000 times costs one entry, not 10,000."""
    q = queue(Hand())
    for n in range(10_000):
        q.add_after("a", 100_000 - n)
    assert len(q._heap) < 100


class Recorded(NoInstruments):
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def added(self, queue: str) -> None:
        self.seen.append(("added",))

    def latency(self, queue: str, seconds: float) -> None:
        self.seen.append(("latency", seconds))

    def work(self, queue: str, seconds: float) -> None:
        self.seen.append(("work", seconds))

    def retried(self, queue: str) -> None:
        self.seen.append(("retried",))

    def unfinished(self, queue: str, seconds: float, longest: float) -> None:
        self.seen.append(("unfinished", seconds, longest))


def test_what_the_queue_reports() -> None:
    """I-40."""
    hand, seen = Hand(), Recorded()
    q = queue(hand, instruments=seen)
    q.add("a")
    q.add("b")
    hand.time = 2.0
    q.get_nowait()
    hand.time = 3.0
    q.get_nowait()
    hand.time = 5.0
    q.report()
    q.add_rate_limited("a")
    q.done("a")
    assert seen.seen == [
        ("added",),
        ("added",),
        ("latency", 2.0),
        ("latency", 3.0),
        ("unfinished", 5.0, 3.0),
        ("retried",),
        ("work", 3.0),
    ]


# ---- the asynchronous door


@pytest.mark.looptime
async def test_get_waits_for_the_wakeup_exactly() -> None:
    """I-34 on the loop's time."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock())
    q.add_after("a", 60)
    q.add_after("b", 30)
    loop = asyncio.get_running_loop()
    assert (await q.get(), loop.time()) == ("b", 30)
    assert (await q.get(), loop.time()) == ("a", 60)


@pytest.mark.looptime
async def test_an_earlier_wakeup_moves_the_timer_of_a_blocked_getter() -> None:
    """I-34: the getter blocked on the 60 s timer is woken at 5 s."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock())
    q.add_after("a", 60)
    getter = asyncio.create_task(q.get())
    await asyncio.sleep(1)
    q.add_after("b", 4)
    assert await getter == "b"
    assert asyncio.get_running_loop().time() == 5


class Lagging:
    """A clock that runs behind the loop's timers, as two sources of time do."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() - 0.009


@pytest.mark.looptime
async def test_a_timer_that_fires_early_is_set_again() -> None:
    """Q12. Story: the delayed add fires 9 ms before its ready time, the key is not due yet, and without a new timer
    nobody would ever look again. It is set again 50 ms ahead, not 0 ms, so that it cannot spin either."""

    class Early(Lagging):
        armed = False

        def monotonic(self) -> float:
            now = asyncio.get_running_loop().time()
            return now - 0.009 if now >= 10 else now

    q: WorkQueue[str] = WorkQueue("test", clock=Early())
    q.add_after("a", 10)
    assert await q.get() == "a"
    assert asyncio.get_running_loop().time() == pytest.approx(10.05)


@pytest.mark.looptime
async def test_every_blocked_getter_wakes_at_shutdown() -> None:
    """I-39."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock())
    q.add_after("a", 10)
    getters = [asyncio.create_task(q.get()) for _ in range(3)]
    await asyncio.sleep(1)
    q.shut_down()
    results = await asyncio.gather(*getters, return_exceptions=True)
    assert [type(result) for result in results] == [ShutDown] * 3
    assert asyncio.get_running_loop().time() == 1


@pytest.mark.looptime
async def test_a_wakeup_given_to_a_cancelled_getter_is_passed_on() -> None:
    """Story: two workers block. A key is added, the first worker's future is resolved, and before it runs it is
    cancelled. The key is still queued, the second worker still sleeps: without passing the wake-up on, nobody runs."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock())
    first, second = asyncio.create_task(q.get()), asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.add("a")
    first.cancel()
    async with asyncio.timeout(1):
        assert await second == "a"
    assert first.cancelled()


@pytest.mark.looptime
async def test_cancelling_a_getter_loses_neither_key_nor_timer() -> None:
    """The blocked getter that had armed the timer goes away; the next one still gets the key in time."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock())
    q.add_after("a", 10)
    getter = asyncio.create_task(q.get())
    await asyncio.sleep(1)
    getter.cancel()
    await asyncio.wait([getter])
    assert q._timer is None
    assert await q.get() == "a"
    assert asyncio.get_running_loop().time() == 10


@pytest.mark.looptime
async def test_a_freed_tenant_slot_wakes_a_blocked_getter() -> None:
    """I-38. Story: worker 2 blocks because the only queued key is parked; done() of worker 1 must wake it."""
    q: WorkQueue[str] = WorkQueue("test", clock=LoopClock(), tenant=lambda key: key[0], max_per_tenant=1)
    q.add("a1")
    q.add("a2")
    assert await q.get() == "a1"
    other = asyncio.create_task(q.get())
    await asyncio.sleep(1)
    q.done("a1")
    async with asyncio.timeout(1):
        assert await other == "a2"

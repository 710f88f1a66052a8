"""The limiter under virtual time: order of lanes, the reserved share, pauses, cancellation (user pain Q3, I-69)."""

from __future__ import annotations

import asyncio

import pytest

from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.clock import LoopClock

pytestmark = pytest.mark.looptime

CLOCK = LoopClock()


class Waits:
    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def request(self, verb: str, resource: str, code: str, seconds: float) -> None: ...
    def gate_refused(self) -> None: ...

    def throttled(self, lane: str, seconds: float) -> None:
        self.seen.append((lane, round(seconds, 3)))


def queue(throttle: Throttle, lane: Lane, count: int, log: list[tuple[float, Lane]]) -> list[asyncio.Task[None]]:
    async def one() -> None:
        await throttle.acquire(lane)
        log.append((round(CLOCK.monotonic(), 3), lane))

    return [asyncio.create_task(one()) for _ in range(count)]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_rate_and_burst() -> None:
    """100 requests at 20/s and burst 30, 5 of them reserved: 25 at once, the rest in 75/20 s."""
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    start = CLOCK.monotonic()
    await asyncio.gather(*queue(throttle, Lane.START, 100, log))
    assert sum(1 for at, _ in log if at - start < 0.001) == 25
    assert CLOCK.monotonic() - start == pytest.approx(75 / 20, abs=0.01)


async def test_terminal_write_overtakes_500_queued_starts_at_once() -> None:
    """Q3: the reserved share is there although the bucket is drained by starts."""
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    starts = queue(throttle, Lane.START, 500, log)
    await asyncio.sleep(2)
    before = CLOCK.monotonic()
    for lane in (Lane.TERMINAL, Lane.RELEASE, Lane.TERMINAL):
        await throttle.acquire(lane)
    assert CLOCK.monotonic() == before
    for task in starts:
        task.cancel()


async def test_order_of_lanes_when_everything_waits() -> None:
    """terminal > release > progress > start, whatever the order of arrival; the reserve is refilled last."""
    throttle = Throttle(10, 12, 2, clock=CLOCK)
    drained: list[tuple[float, Lane]] = []
    await asyncio.gather(*queue(throttle, Lane.TERMINAL, 12, drained))
    log: list[tuple[float, Lane]] = []
    lanes = (Lane.START, Lane.PROGRESS, Lane.RELEASE, Lane.TERMINAL)
    tasks = [task for lane in lanes for task in queue(throttle, lane, 3, log)]
    await asyncio.gather(*tasks)
    assert [lane for _, lane in log] == [lane for lane in reversed(lanes) for _ in range(3)]


async def test_lease_never_waits_behind_terminal_writes() -> None:
    """Even with the whole burst taken and 50 terminal writes waiting, a renewal goes at once."""
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    tasks = queue(throttle, Lane.TERMINAL, 80, log)
    await settle()
    assert throttle.waiting == 50
    for _ in range(10):
        before = CLOCK.monotonic()
        await throttle.acquire(Lane.LEASE)
        assert CLOCK.monotonic() == before
    await asyncio.gather(*tasks)
    # What the leases took is paid back: 90 tokens, 30 of them the burst.
    assert CLOCK.monotonic() == pytest.approx(log[0][0] + 60 / 20, abs=0.06)


async def test_reads_are_not_starved_by_a_flood_of_starts() -> None:
    """One ordinary grant in eight goes to the other lanes: eight reads behind 500 starts need 64 grants, 3.2 s."""
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    starts = queue(throttle, Lane.START, 500, log)
    await settle()
    before = CLOCK.monotonic()
    await asyncio.gather(*queue(throttle, Lane.READ, 8, log))
    assert CLOCK.monotonic() - before == pytest.approx(64 / 20, abs=0.4)
    assert sum(lane is Lane.START for _, lane in log) == pytest.approx(25 + 56, abs=8), "the others lose little"
    for task in starts:
        task.cancel()


@pytest.mark.parametrize("lane", [lane for lane in Lane if lane is not Lane.LEASE])
async def test_pause_holds_every_lane_but_lease(lane: Lane) -> None:
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    start = CLOCK.monotonic()
    throttle.pause_until(start + 7)
    throttle.pause_until(start + 3)
    await throttle.acquire(Lane.LEASE)
    assert CLOCK.monotonic() == start
    await throttle.acquire(lane)
    assert CLOCK.monotonic() == pytest.approx(start + 7)


async def test_pause_also_holds_those_who_wait_already() -> None:
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    start = CLOCK.monotonic()
    tasks = queue(throttle, Lane.START, 30, log)
    await settle()
    throttle.pause_until(start + 5)
    await asyncio.gather(*tasks)
    assert [at for at, _ in log[25:]] == pytest.approx([start + 5] * 5)


async def test_an_absurd_pause_is_cut_to_a_minute() -> None:
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    start = CLOCK.monotonic()
    throttle.pause_until(start + 86_400)
    await throttle.acquire(Lane.START)
    assert CLOCK.monotonic() == pytest.approx(start + 60)


async def test_unlimited_mode_never_waits_but_obeys_a_pause() -> None:
    throttle = Throttle(0, 0, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    start = CLOCK.monotonic()
    await asyncio.gather(*queue(throttle, Lane.READ, 1000, log))
    assert CLOCK.monotonic() == start
    throttle.pause_until(start + 2)
    await throttle.acquire(Lane.READ)
    assert CLOCK.monotonic() == pytest.approx(start + 2)


async def test_cancelled_waiters_take_no_token() -> None:
    throttle = Throttle(1, 6, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    await throttle.acquire(Lane.START)
    start = CLOCK.monotonic()
    doomed = queue(throttle, Lane.START, 5, log)
    await settle()
    for task in doomed:
        task.cancel()
    await asyncio.gather(*doomed, return_exceptions=True)
    assert throttle.waiting == 0
    await throttle.acquire(Lane.START)
    assert CLOCK.monotonic() == pytest.approx(start + 1)


async def test_token_granted_to_a_task_cancelled_in_the_same_step_is_returned() -> None:
    """The grant and the cancellation meet before the owner runs: the next in line gets the token at that instant."""
    throttle = Throttle(1, 6, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    await throttle.acquire(Lane.START)
    start = CLOCK.monotonic()
    doomed, heir = queue(throttle, Lane.START, 2, log)
    await settle()

    def grant_and_cancel() -> None:
        throttle.set_rate(1, 6)  # serves the head of the queue, if the timer of the same instant did not yet
        assert throttle.waiting == 1
        doomed.cancel()

    asyncio.get_running_loop().call_at(start + 1, grant_and_cancel)
    await asyncio.gather(doomed, heir, return_exceptions=True)
    assert doomed.cancelled()
    assert log == [(pytest.approx(start + 1), Lane.START)]


async def test_waiter_cancelled_just_before_its_turn_is_passed_over() -> None:
    """The cancellation is on its way to the task when the queue is served: no token for it, and no error either."""
    throttle = Throttle(1, 6, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    await throttle.acquire(Lane.START)
    doomed, heir = queue(throttle, Lane.START, 2, log)
    await settle()

    def cancel_and_serve() -> None:
        doomed.cancel()
        throttle.set_rate(0, 6)

    asyncio.get_running_loop().call_soon(cancel_and_serve)
    await asyncio.gather(doomed, heir, return_exceptions=True)
    assert doomed.cancelled()
    assert len(log) == 1


async def test_set_rate_serves_the_waiting_at_the_new_rate() -> None:
    throttle = Throttle(1, 6, 5, clock=CLOCK)
    log: list[tuple[float, Lane]] = []
    start = CLOCK.monotonic()
    tasks = queue(throttle, Lane.START, 21, log)
    await settle()
    throttle.set_rate(100, 30)
    await asyncio.gather(*tasks)
    assert CLOCK.monotonic() - start == pytest.approx(0.2, abs=0.02)
    with pytest.raises(ValueError, match="reserved share"):
        throttle.set_rate(100, 5)


async def test_waits_are_reported_with_their_lane() -> None:
    waits = Waits()
    throttle = Throttle(1, 6, 5, clock=CLOCK, instruments=waits)
    await throttle.acquire(Lane.START)
    await throttle.acquire(Lane.START)
    assert waits.seen == [("START", 0.0), ("START", 1.0)]

"""The limiter under random traffic: the rate is never exceeded, nobody is forgotten, lanes keep their promises."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.clock import LoopClock

QPS, BURST, RESERVED = 4.0, 6, 2
CLOCK = LoopClock()


@dataclass(frozen=True)
class Arrival:
    """A request: seconds after the one before it, its lane, and after how many seconds its caller gives up."""

    gap: float
    lane: Lane
    patience: float | None


@dataclass(frozen=True)
class Pause:
    """The server asked for quiet: seconds after the step before it, and for how long."""

    gap: float
    seconds: float


GAPS = st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, 3.0])
ARRIVALS = st.builds(Arrival, GAPS, st.sampled_from(Lane), st.none() | st.sampled_from([0.0, 0.2, 1.0]))
STEPS = st.lists(ARRIVALS | ARRIVALS | ARRIVALS | st.builds(Pause, GAPS, st.sampled_from([0.3, 2.0])), max_size=60)


@dataclass
class Run:
    grants: list[tuple[float, Lane]]
    pauses: list[tuple[float, float]]
    waits: list[tuple[Lane, float]]


async def traffic(steps: list[Arrival | Pause]) -> Run:
    throttle = Throttle(QPS, BURST, RESERVED, clock=CLOCK)
    run = Run([], [], [])

    async def request(arrival: Arrival) -> None:
        since = CLOCK.monotonic()
        try:
            async with asyncio.timeout(arrival.patience):
                await throttle.acquire(arrival.lane)
        except TimeoutError:
            return
        now = CLOCK.monotonic()
        run.grants.append((now, arrival.lane))
        run.waits.append((arrival.lane, now - since))

    tasks = []
    for step in steps:
        await asyncio.sleep(step.gap)
        match step:
            case Arrival():
                tasks.append(asyncio.create_task(request(step)))
            case Pause():
                now = CLOCK.monotonic()
                throttle.pause_until(now + step.seconds)
                run.pauses.append((now, now + step.seconds))
    async with asyncio.timeout(600):  # virtual: nobody may be forgotten
        await asyncio.gather(*tasks)
    assert throttle.waiting == 0
    return run


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_random_traffic(steps: list[Arrival | Pause]) -> None:
    """Q3, I-69."""
    loop = looptime.new_event_loop()
    loop.setup_looptime()
    try:
        run = loop.run_until_complete(traffic(steps))
    finally:
        loop.close()
    times = [at for at, _ in run.grants]
    leases = [lane for _, lane in run.grants].count(Lane.LEASE)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            window = times[last] - start
            allowed = BURST + QPS * window + min(leases, BURST)
            assert last - first + 1 <= allowed + 1e-6, f"{last - first + 1} requests in {window} s"
    for at, lane in run.grants:
        for since, until in run.pauses:
            assert lane is Lane.LEASE or not since < at < until - 1e-9, f"{lane.name} at {at} inside a pause"
    if leases <= BURST:
        assert all(wait < 1e-9 for lane, wait in run.waits if lane is Lane.LEASE)

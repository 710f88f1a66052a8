"""Two whole replicas, manager and elector and workers, on one lease, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.leaseserver import Fault, LeaseServer
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.control.manager import Manager
from wfe_controller.kube.control.outcomes import Outcome, RequeueAfter
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.election.elector import Elector
from wfe_controller.kube.errors import KubeError, NotLeading
from wfe_controller.kube.objects import ObjectKey
from wfe_controller.kube.queue.workqueue import WorkQueue

pytestmark = pytest.mark.looptime

KEY = ObjectKey("kubernaut-system", "lease")


def now() -> float:
    return asyncio.get_running_loop().time()


class World:
    """What the replicas write to, and when each write landed."""

    def __init__(self) -> None:
        self.server = LeaseServer()
        self.server.edit(holderIdentity="", leaseDurationSeconds=1)
        self.writes: list[tuple[float, str]] = []


class Replica:
    """Its reconcile writes once a second; each write asks the gate right before, as the client does."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self.world = world
        self.name = name
        self.fault: Callable[[str], Fault] = lambda verb: Fault()
        self.stop = asyncio.Event()
        self.refused: list[KubeError] = []
        self.write_takes = 0.0
        clock = LoopClock()
        self.elector = Elector(
            world.server.client(name, lambda verb: self.fault(verb)),
            KEY,
            name,
            clock=clock,
            rng=random.Random(seed),
        )
        queue: WorkQueue[str] = WorkQueue("q", clock=clock)
        queue.add("ns/a")
        self.manager = Manager(clock=clock, rng=random.Random(seed), election=self.elector)
        self.manager.add_controller(Controller("wfe", self.reconcile, queue, clock=clock, workers=2))
        self.task = asyncio.create_task(self.manager.run(self.stop))
        self.ended_at: float | None = None
        self.task.add_done_callback(lambda _: setattr(self, "ended_at", now()))

    async def reconcile(self, key: str) -> Outcome:
        await asyncio.sleep(self.write_takes)
        try:
            self.elector.check()
        except NotLeading as error:
            self.refused.append(error)
            raise
        self.world.writes.append((now(), self.name))
        return RequeueAfter(1.0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.server.close()


def last(world: World, name: str) -> float:
    return max(at for at, who in world.writes if who == name)


def first(world: World, name: str) -> float:
    return min(at for at, who in world.writes if who == name)


async def test_a_clean_stop_hands_over_within_three_seconds(world: World) -> None:
    """E6, E7, I-52: one writer at a time, exit 0, nothing written after the release."""
    a, b = Replica(world, "a", 1), Replica(world, "b", 2)
    await asyncio.sleep(30)
    leader, standby = (a, b) if a.elector.is_leader else (b, a)
    assert {who for _, who in world.writes} == {leader.name}
    leader.stop.set()
    assert await leader.task == 0
    stopped = now()
    await asyncio.sleep(5)
    assert last(world, leader.name) <= stopped <= first(world, standby.name) <= stopped + 3
    standby.stop.set()
    assert await standby.task == 0


async def test_an_api_that_is_gone_ends_the_leader_before_the_lease_ends(world: World) -> None:
    """E1: the leader is cut off from the API at 20 s with a slow reconcile in flight. Its write, due when the gate has
    closed, is refused; it exits 1 within 2 s of the deadline and before the standby can lead."""
    a = Replica(world, "a", 1)
    await asyncio.sleep(5)
    b = Replica(world, "b", 2)
    await asyncio.sleep(15)
    a.fault = lambda verb: Fault(arrives=False, hang=True)
    a.write_takes = 10.5
    assert await a.task == 1
    assert now() <= 20 + 10 + 2
    await asyncio.sleep(30)
    assert last(world, "a") <= 30 < first(world, "b")
    b.stop.set()
    assert await b.task == 0


async def test_a_write_due_after_the_gate_closed_is_refused_before_anybody_is_told(world: World) -> None:
    """E1. Story: the machine sleeps; on wake-up the worker's timer fires before the elector's. Only the clock can stop
    this write: no task has had a chance to notice anything."""

    class Slept(LoopClock):
        seconds = 0.0

        def boottime(self) -> float:
            return self.monotonic() + self.seconds

    a = Replica(world, "a", 1)
    clock = Slept()
    a.elector._clock = clock
    await asyncio.sleep(5.5)
    clock.seconds = 60.0
    before = len(world.writes)
    assert await a.task == 1
    assert len(world.writes) == before
    assert len(a.refused) == 1


async def test_a_standby_that_is_told_to_stop_makes_no_write(world: World) -> None:
    """E4: neither to the lease nor anywhere else; exit 0 within 5 s."""
    a = Replica(world, "a", 1)
    await asyncio.sleep(3)
    b = Replica(world, "b", 2)
    await asyncio.sleep(10)
    b.stop.set()
    assert await b.task == 0
    assert now() < 18
    assert {verb for _, client, verb in world.server.log if client == "b"} == {"get"}
    assert {who for _, who in world.writes} == {"a"}
    a.stop.set()
    assert await a.task == 0

"""Several electors, one lease, and everything that can go wrong between them.

Each contender is a process of its own: a clock of its own rate and offset, a network that is slow, deaf or forgetful,
pauses, kills and planned stops; when its election ends it starts again as a new process. Hypothesis chooses clocks and
incidents. What must hold:
  * I-51, E1, E2: never are two write gates open at one instant;
  * I-48: when the trouble is over, exactly one leads.
The tolerated ratio of clock rates is lease duration / renew deadline = 1.5 (I-47); rates here differ by up to 1.41.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import looptime
import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.leaseserver import Fault, LeaseServer
from wfe_controller.kube.election.elector import Elector, new_identity
from wfe_controller.kube.errors import KubeError, NotLeading
from wfe_controller.kube.objects import ObjectKey

KEY = ObjectKey("kubernaut-system", "lease")
TROUBLE_SECONDS = 90.0
QUIET_SECONDS = 60.0


@dataclass(frozen=True)
class Incident:
    """From ``at`` on, for ``length`` seconds of real time, to one contender."""

    at: float
    length: float
    who: int
    kind: str

    def active(self, now: float) -> bool:
        return self.at <= now < self.at + self.length


KINDS = ["cut off", "cut off, silent", "answers lost", "answers lost, silent", "slow", "lands late", "pause"]
LEADER = -1
"""An incident for whoever leads then."""
POINTS = ["kill", "stop", "delete the lease"]

INCIDENTS = st.builds(
    Incident,
    at=st.floats(0, TROUBLE_SECONDS - 40),
    length=st.sampled_from([2.0, 6.0, 11.0, 16.0, 40.0]),
    who=st.sampled_from([LEADER, LEADER, 0, 1, 2]),
    kind=st.sampled_from(KINDS + POINTS),
)


def now() -> float:
    return asyncio.get_running_loop().time()


class SkewedClock:
    """Runs at its own rate from its own zero; its wall clock is wrong by minutes."""

    def __init__(self, process: Process, rate: float) -> None:
        self._process = process
        self._rate = rate
        self._offset = process.rng.uniform(0, 1e6)
        self._wrong = timedelta(seconds=process.rng.uniform(-600, 600))

    def monotonic(self) -> float:
        return now() * self._rate

    def boottime(self) -> float:
        return self._offset + now() * self._rate

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + self._wrong + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)
        await self._process.awake()


class Process:
    """One contender with its incidents; starts again whenever its election ends."""

    def __init__(self, who: int, world: World, rate: float, seed: int) -> None:
        self.who = who
        self.world = world
        self.rate = rate
        self.rng = random.Random(seed * 10 + who)
        self.clock = SkewedClock(self, rate)
        self.incidents: list[Incident] = []
        self.elector: Elector | None = None
        self.terms = 0

    def suffers(self, kind: str) -> bool:
        return any(incident.kind == kind and incident.active(now()) for incident in self.incidents)

    async def awake(self) -> None:
        """A paused process gets no further before the pause is over; its clock goes on."""
        for incident in self.incidents:
            if incident.kind == "pause" and incident.active(now()):
                await asyncio.sleep(incident.at + incident.length - now())

    def fault(self, verb: str) -> Fault:
        noise, back = self.rng.uniform(0, 0.2), self.rng.uniform(0, 0.2)
        if self.suffers("pause") or self.suffers("cut off, silent"):
            return Fault(arrives=False, hang=True)
        if self.suffers("cut off"):
            return Fault(there=noise, arrives=False)
        if self.suffers("answers lost, silent"):
            return Fault(there=noise, answers=False, hang=True)
        if self.suffers("answers lost"):
            return Fault(there=noise, back=back, answers=self.rng.random() < 0.3)
        if self.suffers("slow"):
            return Fault(there=self.rng.uniform(0, 2.4), back=self.rng.uniform(0, 2.4))
        if self.suffers("lands late") and verb != "get":
            return Fault(there=self.rng.uniform(4, 25))
        return Fault(there=noise, back=back)

    def open(self) -> bool:
        return self.elector is not None and self.elector.is_leader

    async def live(self) -> None:
        while True:
            self.elector = Elector(
                self.world.server.client(str(self.who), self.fault),
                KEY,
                new_identity(f"pod-{self.who}", self.rng),
                clock=self.clock,
                rng=self.rng,
            )
            task = asyncio.create_task(self.elector.run(self.lead, self.lost))
            self.task = task
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
            if not task.cancelled():
                task.result()
            if not self.world.respawn:
                return
            await asyncio.sleep(self.rng.uniform(0.1, 2))

    async def lead(self) -> None:
        self.terms += 1
        # Writes, as workers do: each asks the gate, and whoever passes must be alone in that.
        while True:
            await self.clock.sleep(self.rng.uniform(0.05, 1.5))
            assert self.elector is not None
            try:
                self.elector.check()
            except NotLeading:
                continue
            self.world.only_one()

    def lost(self) -> None:
        assert self.elector is not None
        with pytest.raises(NotLeading):
            self.elector.check()

    async def obey(self, incident: Incident) -> None:
        if self.elector is not None:
            elector, task = self.elector, self.task
            task.cancel()
            await asyncio.wait([task])
            if incident.kind == "stop":
                try:
                    async with asyncio.timeout(1.5):
                        await elector.release()
                except (KubeError, TimeoutError):
                    return


class World:
    def __init__(self, rates: list[float], incidents: list[Incident], seed: int, *, respawn: bool = True) -> None:
        self.server = LeaseServer()
        self.respawn = respawn
        self.incidents = incidents
        self.processes = [Process(who, self, rate, seed) for who, rate in enumerate(rates)]
        self.story: list[tuple[float, tuple[int, ...]]] = []

    def only_one(self) -> None:
        open_ = tuple(process.who for process in self.processes if process.open())
        if not self.story or self.story[-1][1] != open_:
            self.story.append((round(now(), 2), open_))
        assert len(open_) <= 1, f"two gates are open: {self.story[-6:]}"

    async def befall(self, incident: Incident) -> None:
        await asyncio.sleep(incident.at)
        if incident.kind == "delete the lease":
            if self.may_delete():
                self.server.delete()
            return
        for process in self.processes:
            if incident.who == process.who or (incident.who == LEADER and process.open()):
                if incident.kind in POINTS:
                    await process.obey(incident)
                else:
                    process.incidents.append(incident)
                return

    def may_delete(self) -> bool:
        """Deleting is survived while the holder is well and clocks agree; see the caveat of the elector."""
        trouble = any(i.active(now() + later) for i in self.incidents for later in (0, 1, 2, 3, 4) if i.kind in KINDS)
        late = any(i.kind == "lands late" for i in self.incidents)
        return not trouble and not late and len({process.rate for process in self.processes}) == 1

    async def play(self) -> None:
        tasks = [asyncio.create_task(process.live()) for process in self.processes]
        tasks += [asyncio.create_task(self.befall(i)) for i in self.incidents]
        try:
            while now() < TROUBLE_SECONDS + QUIET_SECONDS:
                self.only_one()
                await asyncio.sleep(0.2)
                for task in tasks:
                    if task.done():
                        task.result()
            assert len([p for p in self.processes if p.open()]) == 1, f"nobody leads: {self.story[-6:]}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self.server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)


def run(world: World) -> None:
    with structlog.testing.capture_logs(), asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(world.play())


@settings(max_examples=40, deadline=None)
@given(
    rates=st.lists(st.sampled_from([0.85, 0.95, 1.0, 1.1, 1.2]), min_size=2, max_size=3),
    incidents=st.lists(INCIDENTS, max_size=6),
    seed=st.integers(0, 2**16),
)
@example(rates=[0.85, 1.2], incidents=[Incident(20, 40, LEADER, "cut off, silent")], seed=1)
@example(rates=[1.2, 0.85], incidents=[Incident(20, 40, LEADER, "cut off, silent")], seed=1)
@example(rates=[0.85, 1.2], incidents=[Incident(20, 16, 0, "pause"), Incident(45, 40, 1, "pause")], seed=2)
@example(rates=[0.85, 1.2], incidents=[Incident(5, 40, 0, "slow"), Incident(5, 40, 1, "slow")], seed=3)
@example(rates=[1.0] * 3, incidents=[Incident(at, 2, 0, "delete the lease") for at in (4.2, 5.5, 9, 30)], seed=4)
@example(rates=[1.0, 1.0, 1.0], incidents=[Incident(5, 40, n, "lands late") for n in range(3)], seed=5)
def test_never_two_open_gates_and_always_a_leader_again(
    rates: list[float], incidents: list[Incident], seed: int
) -> None:
    """I-47, I-48, I-50, I-51, E1, E2."""
    run(World(rates, incidents, seed))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("kind", "limit"), [("kill", 17.6), ("stop", 3.0)], ids=["E6-crash", "E6-clean"])
def test_failover_is_quick(seed: int, kind: str, limit: float) -> None:
    """SPEC 11: <= 20 s after a crash, <= 3 s after a clean exit; from gate to gate, on true clocks."""
    at = 30.0 + seed / 3
    world = World([1.0, 1.0], [Incident(at, 1, LEADER, kind)], seed, respawn=False)
    run(world)
    (up, first), (down, nobody), (again, second) = world.story[-3:]
    assert up < at <= down
    assert (len(first), len(nobody), len(second)) == (1, 0, 1)
    assert first != second
    assert again - down <= limit

"""Leader election, clause by clause, on a lease server that misbehaves on request; all in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
import structlog
from structlog.typing import EventDict

from tests.support.leaseserver import Fault, LeaseServer
from wfe_controller.kube.clock import LoopClock, rfc3339_micro
from wfe_controller.kube.election.elector import AlwaysLeading, Elector, lease_is_alive, new_identity
from wfe_controller.kube.errors import Conflict, Forbidden, NotLeading, Unavailable
from wfe_controller.kube.objects import ObjectKey

pytestmark = pytest.mark.looptime

KEY = ObjectKey("kubernaut-system", "lease")


class Suspendable(LoopClock):
    """A machine that can be suspended: boottime jumps, the loop's timers do not."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def boottime(self) -> float:
        return self.monotonic() + self.slept


class Contender:
    """An elector with its callbacks written down, and faults that a test can switch on."""

    def __init__(self, server: LeaseServer, identity: str = "a", seed: int = 1, **settings: float) -> None:
        self.fault: Callable[[str], Fault] = lambda verb: Fault()
        self.clock = Suspendable()
        self.log: list[str] = []
        self.at: dict[str, float] = {}
        self.elector = Elector(
            server.client(identity, lambda verb: self.fault(verb)),
            KEY,
            identity,
            clock=self.clock,
            rng=random.Random(seed),
            **settings,
        )
        self.task: asyncio.Task[None] | None = None

    def note(self, what: str) -> None:
        self.log.append(what)
        self.at[what] = now()

    async def started(self) -> None:
        self.note("started")
        try:
            await asyncio.Event().wait()
        finally:
            self.note("cancelled")

    def lost(self) -> None:
        try:
            self.elector.check()
            self.note("lost with an open gate")
        except NotLeading:
            self.note("lost")

    def start(self) -> Contender:
        self.task = asyncio.create_task(self.elector.run(self.started, self.lost))
        return self

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    def leads(self) -> bool:
        try:
            return self.elector.check() > 0
        except NotLeading:
            return False


@pytest.fixture
async def server() -> AsyncIterator[LeaseServer]:
    """Holds a lease that was given back."""
    server = LeaseServer()
    server.edit(holderIdentity="", leaseDurationSeconds=1)
    yield server
    await server.close()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def now() -> float:
    return asyncio.get_running_loop().time()


def verbs(server: LeaseServer, name: str = "a") -> list[str]:
    return [verb for _, client, verb in server.log if client == name]


async def until(seconds: float) -> None:
    await asyncio.sleep(seconds - now())


# ---- construction


@pytest.mark.parametrize("identity", ["", "  "])
async def test_an_empty_identity_is_refused(server: LeaseServer, identity: str) -> None:
    """E3, I-46."""
    with pytest.raises(ValueError, match="non-empty identity"):
        Contender(server, identity)


@pytest.mark.parametrize(
    ("duration", "deadline", "retry"),
    [(10, 10, 2), (15, 2.4, 2), (15, 10, 0), (15, 10, 10), (15.5, 10, 2)],
)
async def test_impossible_times_are_refused(
    server: LeaseServer, duration: float, deadline: float, retry: float
) -> None:
    """I-46."""
    with pytest.raises(ValueError, match="leas"):
        Contender(server, lease_duration=duration, renew_deadline=deadline, retry_period=retry)


def test_two_processes_of_one_pod_name_differ() -> None:
    """E3."""
    assert new_identity("pod", random.Random(1)) != new_identity("pod", random.Random(2))
    assert new_identity("", random.Random(1)).startswith("unknown_")


# ---- acquire


async def test_a_missing_lease_is_created(server: LeaseServer) -> None:
    """I-48: after two retry periods, in which a living holder would have made it again."""
    server.delete()
    a = Contender(server).start()
    await until(3.9)
    assert server.lease is None
    await until(6.5)
    assert a.leads()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "a"
    assert server.lease["spec"]["leaseTransitions"] == 0
    assert verbs(server).count("create") == 1
    await a.stop()


async def test_a_lease_deleted_before_a_contender_ever_saw_it_frees_nothing(server: LeaseServer) -> None:
    """Story, found by the model: a and b start with no lease, a creates it and leads, b's create loses the race. Then
    the lease is deleted. b never read a record; were "missing" free for it, both would lead until a's next renewal."""
    server.delete()
    a = Contender(server, "a", 1).start()
    await until(8)
    server.delete()
    b = Contender(server, "b", 2).start()
    for moment in range(81, 300):
        await until(moment / 10)
        assert not (a.leads() and b.leads())
    assert a.leads()
    await a.stop()
    await b.stop()


async def test_a_free_lease_is_taken_at_once(server: LeaseServer) -> None:
    """I-48: holder "" needs no waiting; a new holder is a transition."""
    server.edit(
        holderIdentity="", leaseDurationSeconds=1, leaseTransitions=4, acquireTime="2020-01-01T00:00:00.000000Z"
    )
    a = Contender(server).start()
    await until(0.5)
    assert a.leads()
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 5
    assert server.lease["spec"]["acquireTime"].startswith("2026")
    await a.stop()


@pytest.mark.parametrize("skew", [-600, 0, 600])
async def test_a_foreign_lease_is_taken_when_it_did_not_change_for_its_duration(server: LeaseServer, skew: int) -> None:
    """I-47, I-48, E2: whatever the remote clock says, also when it says that the lease ended long ago."""
    remote = rfc3339_micro(LoopClock().start + timedelta(seconds=skew))
    server.edit(holderIdentity="b", leaseDurationSeconds=15, renewTime=remote)
    a = Contender(server).start()
    await until(14.9)
    assert not a.leads()
    await until(15.5)
    assert a.leads()
    await a.stop()


async def test_the_duration_in_the_record_counts_not_ours(server: LeaseServer) -> None:
    """I-47, k8s#114872: the holder was configured with 60 s."""
    server.edit(holderIdentity="b", leaseDurationSeconds=60)
    a = Contender(server).start()
    await until(59.9)
    assert not a.leads()
    await until(61.5)
    assert a.leads()
    await a.stop()


async def test_each_change_of_the_record_starts_the_wait_again(server: LeaseServer) -> None:
    """I-47: a slow but living holder keeps it."""
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    a = Contender(server).start()
    for moment in (10, 20, 30):
        await until(moment)
        server.edit(renewTime=f"2020-01-01T00:00:{moment}.000000Z")
    await until(44)
    assert not a.leads()
    await until(48)
    assert a.leads()
    await a.stop()


async def test_a_deleted_lease_frees_nothing(server: LeaseServer) -> None:
    """Story: an operator deletes the Lease while b leads. b may write for another renew deadline before it notices;
    a standby that creates the Lease at once would be a second leader. It waits as if the record were there."""
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    a = Contender(server).start()
    await until(5)
    server.delete()
    await until(14.9)
    assert not a.leads()
    await until(17.5)
    assert a.leads()
    await a.stop()


async def test_the_race_for_an_expired_lease_has_one_winner(server: LeaseServer) -> None:
    """I-48: both read the same version, the second write conflicts and waits again."""
    server.edit(holderIdentity="dead", leaseDurationSeconds=15)
    contenders = [Contender(server, name, seed).start() for seed, name in enumerate("abc")]
    for moment in range(1, 60):
        await until(moment)
        assert sum(c.leads() for c in contenders) == (1 if moment > 15 else 0)
    for c in contenders:
        await c.stop()


async def test_the_same_identity_twice_is_two_contenders(server: LeaseServer) -> None:
    """E3. Story: two replicas were given one name. With holder == identity as the only question, the second would read
    the first one's record as its own, renew it, and both would lead for good."""
    first = Contender(server, "same", 1).start()
    await until(1)
    second = Contender(server, "same", 2).start()
    await until(100)
    assert (first.leads(), second.leads()) == (True, False)
    await first.stop()
    await second.stop()


async def test_an_acquire_whose_answer_is_lost_is_recognised(server: LeaseServer) -> None:
    """I-44. Story: our write is committed, its answer is not. The next read shows our identity in a record that we
    did send: it is ours, and waiting 15 s for our own expiry would be a needless outage."""
    a = Contender(server)
    lost = iter([True, False])
    a.fault = lambda verb: Fault(answers=next(lost, True))
    a.start()
    await until(3)
    assert a.leads()
    assert verbs(server)[:4] == ["get", "replace", "get", "replace"]
    await a.stop()


# ---- renew


async def test_renewal_is_one_put_per_period_without_a_get(server: LeaseServer) -> None:
    """I-49: fast path; acquireTime and transitions stay."""
    a = Contender(server).start()
    await until(0.5)
    assert server.lease is not None
    before = dict(server.lease["spec"])
    await until(10.5)
    assert verbs(server) == ["get", *["replace"] * 6]
    after = server.lease["spec"]
    assert after["renewTime"] > before["renewTime"]
    assert {k: v for k, v in after.items() if k != "renewTime"} == {k: v for k, v in before.items() if k != "renewTime"}
    await a.stop()


async def test_a_foreign_edit_costs_one_get(server: LeaseServer) -> None:
    """I-49: somebody labels the lease; 409, read, still ours, renewed."""
    a = Contender(server).start()
    await until(1)
    server.edit()
    await until(3)
    assert verbs(server) == ["get", "replace", "replace", "get", "replace"]
    assert a.leads()
    await a.stop()


async def test_one_hung_request_does_not_cost_the_lease(server: LeaseServer) -> None:
    """I-50: bounded by 5 s, then the next try in the same deadline."""
    a = Contender(server).start()
    await until(1)
    hung = iter([True])
    a.fault = lambda verb: Fault(arrives=not next(hung, False), hang=True)
    await until(30)
    assert a.leads()
    assert a.log == ["started"]
    await a.stop()


async def test_the_gate_closes_exactly_renew_deadline_after_the_last_success_was_sent(server: LeaseServer) -> None:
    """I-51, E1: also for a success whose answer was slow; and the loss is told within 2 s, before the lease ends."""
    a = Contender(server)
    a.fault = lambda verb: Fault(back=0.9)
    a.start()
    await until(3)  # get 0-0.9, write sent at 0.9
    a.fault = lambda verb: Fault(arrives=False, hang=True)
    assert a.elector.check() == pytest.approx(0.9 + 10 - 3)
    await until(10.89)
    assert a.leads()
    await until(10.91)
    assert not a.leads()
    await until(12.9)
    assert a.log == ["started", "lost", "cancelled"]
    await a.stop()


async def test_lost_answers_do_not_cost_the_lease(server: LeaseServer) -> None:
    """I-44, I-49. Story: every renewal is committed and every answer to it is lost, reads work. Each read shows the
    record just sent: the lease is held, and its age counts from that sending."""
    a = Contender(server).start()
    await until(1)
    a.fault = lambda verb: Fault(answers=verb == "get")
    await until(60)
    assert a.leads()
    assert a.log == ["started"]
    await a.stop()


async def test_a_lease_taken_by_another_is_lost_at_once(server: LeaseServer) -> None:
    """I-49, I-51: the gate is closed when on_lost is called."""
    a = Contender(server).start()
    await until(1)
    server.edit(holderIdentity="b")
    await until(2.1)
    assert a.log == ["started", "lost", "cancelled"]
    assert a.elector.holder == "b"
    assert a.task is not None
    assert a.task.done()


async def test_a_suspended_machine_finds_its_gate_closed(server: LeaseServer) -> None:
    """E1, I-47. Story: the laptop lid closes for a minute. The monotonic clock stood still, so every timer believes
    that no time has passed; a worker is scheduled before the elector. Its write must be refused by the clock alone."""
    a = Contender(server).start()
    await until(3)
    a.clock.slept = 60
    assert not a.leads()
    assert not a.elector.is_leader
    await until(5.1)
    assert a.log == ["started", "lost", "cancelled"]


async def test_a_gate_that_refused_once_stays_closed(server: LeaseServer) -> None:
    """I-51. Story: a renewal is in flight, the deadline passes, a write is refused, then the renewal's answer comes.
    Opening again would let one reconcile be half refused; the term is over."""
    a = Contender(server).start()
    await until(1)
    a.clock.slept = 10.5
    with pytest.raises(NotLeading, match="names a, which is us, but was not renewed in time"):
        a.elector.check()
    a.clock.slept = 0
    with pytest.raises(NotLeading):
        a.elector.check()
    await until(4)
    assert a.log == ["started", "lost", "cancelled"]


async def test_the_lease_deleted_under_the_leader_is_made_again(server: LeaseServer) -> None:
    """I-48: 404 -> create."""
    a = Contender(server).start()
    await until(1)
    server.delete()
    await until(20)
    assert a.leads()
    assert server.lease is not None
    await a.stop()


# ---- callbacks


async def test_on_lost_is_called_once_also_when_it_never_led(server: LeaseServer) -> None:
    """I-54."""
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    a = Contender(server).start()
    await until(5)
    await a.stop()
    assert a.log == ["lost"]


async def test_a_failing_start_of_leading_ends_the_run(server: LeaseServer) -> None:
    """I-51: nobody leads without its tasks."""
    a = Contender(server)

    async def broken() -> None:
        raise ValueError("fence")

    with pytest.raises(ValueError, match="fence"):
        await a.elector.run(broken, a.lost)
    assert a.log == ["lost"]
    assert not a.leads()


async def test_leading_goes_on_after_on_started_returned(server: LeaseServer) -> None:
    a = Contender(server)

    async def quick() -> None:
        a.note("started")

    task = asyncio.create_task(a.elector.run(quick, a.lost))
    await until(60)
    assert a.leads()
    with pytest.raises(RuntimeError, match="runs already"):
        await a.elector.run(quick, a.lost)
    task.cancel()
    await asyncio.wait([task])


# ---- release


async def test_a_released_lease_is_taken_within_three_seconds(server: LeaseServer) -> None:
    """I-52, E6: planned stop."""
    a = Contender(server, "a").start()
    b = Contender(server, "b", 2).start()
    await until(30)
    assert a.leads()
    await a.stop()
    await a.elector.release()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == ""
    assert server.lease["spec"]["leaseDurationSeconds"] == 1
    await until(33)
    assert b.leads()
    assert server.lease["spec"]["leaseTransitions"] == 2
    await b.stop()


async def test_release_leaves_the_lease_of_another_alone(server: LeaseServer) -> None:
    """I-52."""
    a = Contender(server).start()
    await until(1)
    await a.stop()
    server.edit(holderIdentity="b", renewTime="2026-01-01T00:00:09.000000Z")
    await a.elector.release()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == "b"


async def test_a_standby_releases_nothing_and_asks_nothing(server: LeaseServer) -> None:
    """E4: not one write, not one request."""
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    a = Contender(server).start()
    await until(5)
    await a.stop()
    server.log.clear()
    await a.elector.release()
    assert server.log == []


async def test_release_is_repeated_when_the_last_renewal_lands_late(server: LeaseServer) -> None:
    """I-52. Story: the run is cancelled with a renewal in flight. release() reads the lease, the renewal lands, the
    release conflicts. Giving up there would leave the lease held by a process that has gone, for 15 s."""
    a = Contender(server).start()
    await until(1.9)
    a.fault = lambda verb: Fault(there=0.5) if verb == "replace" else Fault()
    await until(2.2)
    await a.stop()
    slow_answer = iter([0.5])
    a.fault = lambda verb: Fault(back=next(slow_answer, 0.0)) if verb == "get" else Fault()
    await a.elector.release()
    assert verbs(server)[-4:] == ["get", "replace", "get", "replace"]
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == ""


async def test_release_gives_up_after_some_conflicts(server: LeaseServer) -> None:
    a = Contender(server).start()
    await until(1)
    await a.stop()
    a.fault = lambda verb: Fault(error=Conflict(409, "Conflict", "moved")) if verb == "replace" else Fault()
    await a.elector.release()
    assert verbs(server)[2:] == ["get", "replace"] * 4


async def test_release_while_running_is_refused(server: LeaseServer) -> None:
    a = Contender(server).start()
    await until(1)
    with pytest.raises(RuntimeError, match="while the elector runs"):
        await a.elector.release()
    await a.stop()


# ---- health and words


async def test_a_standby_is_healthy_while_it_can_read_the_lease(server: LeaseServer) -> None:
    """I-53, E5, E6."""
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    a = Contender(server).start()
    for moment in range(0, 1000, 10):
        await until(moment)
        server.edit(renewTime=f"2026-01-01T00:00:00.{moment:06}Z")
    assert a.elector.check_health().ok
    assert a.elector.age() < 3
    a.fault = lambda verb: Fault(error=Forbidden(403, "Forbidden", "leases is forbidden"))
    await until(1280)
    assert a.elector.check_health().ok
    await until(1300)
    verdict = a.elector.check_health()
    assert not verdict.ok
    assert "leases is forbidden" in verdict.why
    await a.stop()


async def test_a_leader_that_does_not_renew_is_unhealthy(server: LeaseServer) -> None:
    """I-53: a stuck elector task shows although nobody asked the gate."""
    a = Contender(server).start()
    await until(1)
    a.clock.slept = 19
    assert a.elector.check_health().ok
    a.clock.slept = 20.5
    assert "not renewed" in a.elector.check_health().why
    await a.stop()


async def test_a_standby_names_the_holder_every_minute(server: LeaseServer, logs: list[EventDict]) -> None:
    """E8."""
    a = Contender(server, "a").start()
    await until(1)
    b = Contender(server, "b", 2).start()
    await until(301)
    waits = [entry for entry in logs if entry["event"] == "waiting for the lease"]
    assert 5 <= len(waits) <= 6
    assert {entry["holder"] for entry in waits} == {"a"}
    assert b.elector.holder == "a"
    await a.stop()
    await b.stop()


async def test_an_unbroken_failure_is_logged_once_a_minute(server: LeaseServer, logs: list[EventDict]) -> None:
    """E5: not quietly, and not at every try."""
    a = Contender(server)
    a.fault = lambda verb: Fault(error=Unavailable(503, "", "no etcd leader"))
    a.start()
    await until(301)
    assert 5 <= len([entry for entry in logs if entry["log_level"] == "warning"]) <= 7
    await a.stop()


# ---- without election


async def test_always_leading() -> None:
    assert AlwaysLeading().check() == math.inf


@pytest.mark.parametrize("case", ["renewed", "dead", "free", "missing"])
async def test_whether_a_lease_is_alive(server: LeaseServer, case: str) -> None:
    """SPEC 8: --no-leader-elect refuses while the lease is alive."""
    a = Contender(server)
    if case == "renewed":
        a.start()
        await until(1)
    elif case == "dead":
        server.edit(holderIdentity="b", leaseDurationSeconds=15)
    elif case == "free":
        server.edit(holderIdentity="", leaseDurationSeconds=1)
    holder = await lease_is_alive(server.client("dev"), KEY, clock=LoopClock())
    assert holder == ("a" if case == "renewed" else None)
    assert now() <= (15 if case == "dead" else 4)
    assert not {"create", "replace"} & set(verbs(server, "dev"))
    if a.task:
        await a.stop()


async def test_a_lease_given_back_while_watched_is_not_alive(server: LeaseServer) -> None:
    server.edit(holderIdentity="b", leaseDurationSeconds=15)
    asyncio.get_running_loop().call_later(3.5, lambda: server.edit(holderIdentity=""))
    assert await lease_is_alive(server.client("dev"), KEY, clock=LoopClock()) is None
    assert now() == 4

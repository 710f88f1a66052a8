"""Start, supervision and stop of the process, in virtual time, with parts that only write down what happens to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from structlog.typing import EventDict

from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.control.manager import Manager
from wfe_controller.kube.control.outcomes import Done, Outcome
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.queue.workqueue import WorkQueue

pytestmark = pytest.mark.looptime


class Diary(list[str]):
    """What happened, in order."""

    def call(self, what: str, *, takes: float = 0.0) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await asyncio.sleep(takes)
            self.append(what)

        return act

    def forever(self, what: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            self.append(f"{what} runs")
            try:
                await asyncio.Event().wait()
            finally:
                self.append(f"{what} ends")

        return run


class Cache:
    def __init__(self, diary: Diary, *, syncs_after: float | None = 1.0, relist_takes: float = 1.0) -> None:
        self.diary = diary
        self.syncs_after = syncs_after
        self.relist_takes = relist_takes

    async def run(self) -> None:
        await self.diary.forever("cache")()

    async def wait_synced(self, timeout: float) -> None:
        if self.syncs_after is None:
            await asyncio.sleep(timeout)
            raise TimeoutError("cache of things not synced: 403 Forbidden: no list for you")
        await asyncio.sleep(self.syncs_after)

    async def relist(self) -> None:
        await self.diary.call("fenced", takes=self.relist_takes)()


class Election:
    """Leads after some seconds, or never; loses when told."""

    def __init__(self, diary: Diary, *, leads_after: float | None = 1.0) -> None:
        self.diary = diary
        self.leads_after = leads_after
        self.lose = asyncio.Event()

    async def run(self, on_started: Callable[[], Awaitable[None]], on_lost: Callable[[], None]) -> None:
        try:
            if self.leads_after is None:
                await asyncio.Event().wait()
                return
            await asyncio.sleep(self.leads_after)
            self.diary.append("leads")
            await on_started()
            await self.lose.wait()
        finally:
            on_lost()

    async def release(self) -> None:
        self.diary.append("released")


def now() -> float:
    return asyncio.get_running_loop().time()


def manager(election: Election | None = None, **settings: float) -> Manager:
    return Manager(clock=LoopClock(), rng=random.Random(1), election=election, **settings)


def why(logs: list[EventDict]) -> str:
    """What the last line says that the process ended for."""
    assert logs[-1]["event"] == "process ends"
    return str(logs[-1]["why"])


def stop_after(seconds: float) -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return stop


async def test_start_and_stop_follow_the_order() -> None:
    """I-55, I-56, I-30: and the lease is released after everything that writes."""
    diary = Diary()
    m = manager(Election(diary))
    m.add_server("http", diary.call("http on"), diary.call("http off"))
    m.add_cache("things", Cache(diary), fence=True)
    m.add_synced(lambda: diary.append("synced"))
    m.add_task("recorder", diary.forever("recorder"))
    m.add_leader_task("sweeper", diary.forever("sweeper"))

    async def flush(seconds: float) -> None:
        diary.append("flush")

    m.add_flush("events", flush)
    assert await m.run(stop_after(10)) == 0
    assert diary == [
        *("http on", "cache runs", "synced", "recorder runs", "leads", "fenced", "sweeper runs"),
        *("sweeper ends", "flush", "cache ends", "http off", "released", "flush", "recorder ends"),
    ]


async def test_a_standby_told_to_stop_starts_nothing_and_exits_0() -> None:
    """E4: leader tasks never start; within 5 s."""
    diary = Diary()
    m = manager(Election(diary, leads_after=None))
    m.add_leader_task("sweeper", diary.forever("sweeper"))
    assert await m.run(stop_after(10)) == 0
    assert diary == ["released"]  # the elector itself knows that there is nothing to release
    assert now() < 15


async def test_acquiring_in_the_instant_of_the_stop_starts_no_leader_task() -> None:
    """E4. Story: SIGTERM and the answer to our own acquire arrive in the same loop step, the stop first. The elector
    calls on_started while run() has not yet been resumed: the fence is cancelled before it can start anything."""
    diary = Diary()
    m = manager(Election(diary, leads_after=10.0))
    m.add_cache("things", Cache(diary, syncs_after=0.0, relist_takes=0.0), fence=True)
    m.add_leader_task("sweeper", diary.forever("sweeper"))
    assert await m.run(stop_after(10)) == 0
    assert "sweeper runs" not in diary
    assert diary[-1] == "released"


async def test_a_stop_before_the_start_does_nothing() -> None:
    diary = Diary()
    m = manager(Election(diary))
    m.add_server("http", diary.call("http on"), diary.call("http off"))
    stop = asyncio.Event()
    stop.set()
    assert await m.run(stop) == 0
    assert diary == []


async def test_in_flight_work_is_drained_while_the_lease_is_kept() -> None:
    """E7, I-52: no new key, the running reconcile finishes, only then the release."""
    diary = Diary()
    election = Election(diary)

    async def reconcile(key: str) -> Outcome:
        diary.append(f"{key} begins")
        await asyncio.sleep(12)
        diary.append(f"{key} ends, lease {'lost' if 'released' in diary else 'held'}")
        return Done()

    queue: WorkQueue[str] = WorkQueue("q", clock=LoopClock())
    queue.add("a")
    queue.add("b")
    m = manager(election)
    m.add_controller(Controller("c", reconcile, queue, clock=LoopClock(), workers=1))
    assert await m.run(stop_after(5)) == 0
    assert diary == ["leads", "a begins", "a ends, lease held", "released"]
    assert now() == pytest.approx(13.0)


async def test_the_whole_stop_is_bounded() -> None:
    """I-56: every part refuses to stop; still within 20 s, and the lease is released."""
    diary = Diary()

    class Slow(Election):
        async def release(self) -> None:
            diary.append("releasing")
            await asyncio.sleep(100)

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                diary.append("ignored a cancel")

    async def hang(seconds: float = 0) -> None:
        await asyncio.sleep(100)

    m = manager(Slow(diary))
    m.add_server("http", diary.call("http on"), hang)
    m.add_task("recorder", stubborn)
    m.add_leader_task("workers", stubborn, drain=hang)
    m.add_flush("events", hang)
    assert await m.run(stop_after(10)) == 0
    assert "releasing" in diary
    assert now() - 10 < 20
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


async def test_lost_leadership_cancels_leader_tasks_at_once_and_exits_1() -> None:
    """I-52, E1: no drain, no release, within 2 s."""
    diary = Diary()
    election = Election(diary)
    drained: list[float] = []

    async def drain(seconds: float) -> None:
        drained.append(seconds)

    m = manager(election)
    m.add_leader_task("workers", diary.forever("workers"), drain=drain)
    asyncio.get_running_loop().call_later(5, election.lose.set)
    assert await m.run(asyncio.Event()) == 1
    assert now() < 7
    assert diary == ["leads", "workers runs", "workers ends"]
    assert drained == []


async def test_leadership_lost_while_draining_stops_the_drain() -> None:
    """Story: SIGTERM, a reconcile hangs on an API that is down, the lease runs out meanwhile. Whoever has it now must
    not meet our reconcile: it is cancelled, and the lease, no longer ours, is left alone."""
    diary = Diary()
    election = Election(diary)

    async def reconcile(key: str) -> Outcome:
        try:
            await asyncio.sleep(1000)
        finally:
            diary.append(f"cancelled at {now():.0f}")
        return Done()

    queue: WorkQueue[str] = WorkQueue("q", clock=LoopClock())
    queue.add("a")
    m = manager(election)
    m.add_controller(Controller("c", reconcile, queue, clock=LoopClock(), timeout=2000))
    asyncio.get_running_loop().call_later(9, election.lose.set)
    assert await m.run(stop_after(5)) == 0
    assert diary == ["leads", "cancelled at 9"]


async def test_without_election_the_fence_and_leader_tasks_run() -> None:
    """--no-leader-elect."""
    diary = Diary()
    m = manager()
    m.add_cache("things", Cache(diary), fence=True)
    m.add_leader_task("sweeper", diary.forever("sweeper"))
    assert await m.run(stop_after(10)) == 0
    assert diary[:3] == ["cache runs", "fenced", "sweeper runs"]


async def test_caches_that_do_not_sync_end_the_start_by_name(logs: list[EventDict]) -> None:
    """I-55: after 120 s, with the informer's own last error; nothing later was started."""
    diary = Diary()
    m = manager(Election(diary))
    m.add_cache("things", Cache(diary, syncs_after=None))
    assert await m.run(asyncio.Event()) == 1
    assert now() == pytest.approx(120, abs=1)
    assert "things: TimeoutError: cache of things not synced: 403 Forbidden" in why(logs)
    assert diary == ["cache runs", "cache ends", "released"]


async def test_a_port_in_use_ends_the_start(logs: list[EventDict]) -> None:
    """SPEC 12: environment, exit 1, one line."""
    m = manager()

    async def start() -> None:
        raise OSError(98, "address in use: 0.0.0.0:9090")

    m.add_server("metrics", start, start)
    assert await m.run(asyncio.Event()) == 1
    assert "address in use: 0.0.0.0:9090" in why(logs)
    assert not any(entry.get("exc_info") for entry in logs)


async def test_a_refusal_to_start_leaves_for_the_caller_after_an_orderly_stop(logs: list[EventDict]) -> None:
    """SPEC 12: told once, by whoever prints to the operator; nothing here logs it as a defect."""

    class Refusal(Exception):
        pass

    diary = Diary()
    m = manager(Election(diary), refusals=(Refusal,))
    m.add_cache("things", Cache(diary))

    def refuse() -> None:
        raise Refusal("port 9090 is in use")

    m.add_synced(refuse)
    with pytest.raises(Refusal, match="port 9090 is in use"):
        await m.run(asyncio.Event())
    assert diary == ["cache runs", "cache ends", "released"]
    assert not any(entry["log_level"] in ("error", "critical") for entry in logs)


async def test_a_stop_during_the_start_is_obeyed() -> None:
    """E4, E7: caches still syncing."""
    diary = Diary()
    m = manager(Election(diary))
    m.add_cache("things", Cache(diary, syncs_after=None))
    assert await m.run(stop_after(3)) == 0
    assert now() < 5


class Failing:
    """A task that ends in some way after a second, so often, and then runs on."""

    def __init__(self, times: int, how: Exception | None) -> None:
        self.times = times
        self.how = how
        self.starts: list[float] = []
        self.running = 0

    async def __call__(self) -> None:
        self.starts.append(now())
        self.running += 1
        assert self.running == 1, "a second copy"
        try:
            await asyncio.sleep(1)
            if len(self.starts) > self.times:
                await asyncio.Event().wait()
            if self.how:
                raise self.how
        finally:
            self.running -= 1


PLACES = ["cache", "always", "leader"]
ENDINGS = [None, ValueError("boom")]


def place(m: Manager, where: str, task: Failing) -> None:
    match where:
        case "cache":
            cache = Cache(Diary(), syncs_after=0)
            cache.run = task  # type: ignore[method-assign]  # the failing part of this cache
            m.add_cache("x", cache)
        case "always":
            m.add_task("x", task)
        case "leader":
            m.add_leader_task("x", task)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("how", ENDINGS, ids=["returns", "raises"])
async def test_a_task_that_ends_is_restarted_within_ten_seconds(where: str, how: Exception | None) -> None:
    """W2, I-57: each task in turn; never a second copy; the process goes on."""
    task = Failing(3, how)
    m = manager()
    place(m, where, task)
    assert await m.run(stop_after(100)) == 0
    assert len(task.starts) == 4
    assert all(later - earlier - 1 <= 10 for earlier, later in zip(task.starts, task.starts[1:], strict=False))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("how", ENDINGS, ids=["returns", "raises"])
async def test_the_fourth_failure_in_five_minutes_ends_the_process_by_name(
    where: str, how: Exception | None, logs: list[EventDict]
) -> None:
    """W2, I-42: an informer handler's bug takes the same path as any other task."""
    task = Failing(99, how)
    m = manager()
    place(m, where, task)
    assert await m.run(asyncio.Event()) == 1
    assert len(task.starts) == 4
    assert now() < 60
    assert not m.check_tasks().ok
    assert "x failed 4 times in 300 s" in m.check_tasks().why
    assert m.check_tasks().why == why(logs)


async def test_old_failures_are_forgiven() -> None:
    """W2: one failure every two minutes is restarted for ever."""
    starts: list[float] = []

    async def task() -> None:
        starts.append(now())
        await asyncio.sleep(120)
        raise ValueError("boom")

    m = manager()
    m.add_task("x", task)
    assert await m.run(stop_after(3000)) == 0
    assert len(starts) > 20


async def test_a_task_cancelled_from_inside_is_not_silent() -> None:
    """W2. Story: the task awaits a future that somebody else cancels; CancelledError ends the task like a planned stop
    would, asyncio reports nothing, and the controller is a zombie."""
    starts: list[float] = []

    async def task() -> None:
        starts.append(now())
        await asyncio.sleep(1)
        if len(starts) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        await asyncio.Event().wait()

    m = manager()
    m.add_task("x", task)
    assert await m.run(stop_after(60)) == 0
    assert len(starts) == 2


async def test_a_fence_that_hangs_ends_the_process_and_gives_the_lease_back() -> None:
    """I-30: leader tasks never run on a cache that was not fenced; another replica may try."""
    diary = Diary()
    m = manager(Election(diary), fence_timeout=60)
    m.add_cache("things", Cache(diary, relist_takes=1000), fence=True)
    m.add_leader_task("sweeper", diary.forever("sweeper"))
    assert await m.run(asyncio.Event()) == 1
    assert "sweeper runs" not in diary
    assert diary[-1] == "released"
    assert "fence things not done within 60 s" in m.check_tasks().why


async def test_the_loop_lag_is_measured() -> None:
    """I-54: what blocks the loop shows."""
    from wfe_controller.kube.instruments import NoInstruments

    lags: list[float] = []

    class Seen(NoInstruments):
        def loop_lag(self, seconds: float) -> None:
            lags.append(seconds)

    m = Manager(clock=LoopClock(), instruments=Seen())
    assert await m.run(stop_after(5.5)) == 0
    assert lags == [pytest.approx(0, abs=0.01)] * 5
    assert m.check_loop().ok


async def test_cancelling_run_leaves_no_task_behind() -> None:
    diary = Diary()
    m = manager(Election(diary))
    m.add_task("x", diary.forever("x"))
    running = asyncio.create_task(m.run(asyncio.Event()))
    await asyncio.sleep(5)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_errors_while_stopping_are_logged_and_change_nothing(logs: list[EventDict]) -> None:
    """I-57: not raised over what the process ends for; the steps after them still happen."""
    diary = Diary()

    async def broken(seconds: float = 0) -> None:
        raise ValueError("cannot flush")

    async def bad_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("cleanup")

    m = manager(Election(diary))
    m.add_flush("events", broken)
    m.add_task("messy", bad_end)
    assert await m.run(stop_after(10)) == 0
    assert diary == ["leads", "released"]
    told = [entry for entry in logs if entry["log_level"] in ("warning", "error")]
    assert {entry["event"] for entry in told} == {"stop step failed", "task failed while stopping"}


@pytest.mark.parametrize("what", ["cache", "task", "leader task", "fence", "flush"])
async def test_a_name_stands_for_one_thing(what: str) -> None:
    """Logs and the liveness check name tasks; two of one name would hide each other."""
    m = manager()

    def register() -> None:
        run = Diary().forever("x")
        match what:
            case "cache":
                m.add_cache("x", Cache(Diary()))
            case "task":
                m.add_task("x", run)
            case "leader task":
                m.add_leader_task("x", run)
            case "fence":
                m.add_fence("x", run)
            case "flush":
                m.add_flush("x", lambda seconds: run())

    register()
    with pytest.raises(ValueError, match="registered twice"):
        register()


async def test_a_blocked_loop_is_told(logs: list[EventDict]) -> None:
    """I-54, Q4: the pulse came late by what somebody's synchronous work took."""

    class Blocked(LoopClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds + 2.5)

    m = Manager(clock=Blocked())
    assert m.check_loop().ok
    assert await m.run(stop_after(4)) == 0
    assert [entry["seconds"] for entry in logs if entry["event"] == "event loop was blocked"] == [2.5]


async def test_several_errors_of_a_task_group_are_all_named(logs: list[EventDict]) -> None:
    """W2: a controller whose workers died says of what, not "unhandled errors in a TaskGroup"."""
    runs = 0

    async def task() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            await asyncio.Event().wait()
        raise ExceptionGroup("unhandled errors", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])

    m = manager()
    m.add_task("x", task)
    assert await m.run(stop_after(30)) == 0
    (entry,) = [entry for entry in logs if entry["event"] == "task ended, restarting"]
    assert entry["why"] == "ValueError: one; KeyError: 'two'"
    assert m.check_tasks().why == "1 restarts"

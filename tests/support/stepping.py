"""Controller processes that a test drives by hand: one API call, then the next, then perhaps death.

No event loop: a reconcile is a coroutine that stops before and after every API call (``Pause``), so the test chooses
who goes on, in which order, and what the last call's answer was. Queue, wake-ups and indexes are those of app/wiring.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tests.support.fakeapi import Call, FakeApi, FakeServer, Feed
from wfe_controller.api import names
from wfe_controller.app.wiring import _holder_key, _lock_in_need, _lock_of_ended, _lock_of_orphan, _owner_key
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.cache.consistency import Consistency
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.control.outcomes import Conflict as ConflictOutcome
from wfe_controller.kube.control.outcomes import RequeueAfter, Retry, Stale
from wfe_controller.kube.errors import Conflict, KubeError, NotLeading
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource
from wfe_controller.locking.ledger import Ledger
from wfe_controller.workflows.lockkeeper import LockKeeper
from wfe_controller.workflows.reader import Reader
from wfe_controller.workflows.reconciler import Reconciler
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.sweeper import Sweeper
from wfe_controller.workflows.world import World

HOME = "kubernaut-system"
Job = tuple[str, Hashable]


class ManualClock:
    """Moves only when told."""

    def __init__(self, start: datetime | None = None) -> None:
        self.start = self.time = start or datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - self.start).total_seconds()

    def boottime(self) -> float:
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        return None

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Pause:
    def __init__(self, call: Call) -> None:
        self.call = call

    def __await__(self) -> Generator[Call, None, None]:
        yield self.call


async def pause(call: Call) -> None:
    await Pause(call)


@dataclass
class Told:
    """Events as recorded, each with a check of the server at that instant (``on_event``)."""

    on_event: Callable[[Json, str, str], None] = lambda regarding, reason, message: None
    events: list[tuple[str, str]] = field(default_factory=list)

    def event(self, regarding: Json, type_: str, reason: str, message: str) -> None:
        self.events.append((str(regarding.get("metadata", {}).get("name")), str(reason)))
        self.on_event(regarding, str(reason), message)


def make_world(api: FakeApi, feed: Feed, clock: ManualClock, settings: ShellSettings, told: Told) -> World:
    """What app/wiring would build, over fakes. Nobody is woken."""
    stores = feed.stores
    real = cast(Api, api)
    return World(
        api=real,
        ledger=Ledger(real, HOME, clock),
        clock=clock,
        settings=lambda: settings,
        executions=stores[names.WORKFLOWEXECUTIONS],
        locks=stores[names.TARGETLOCKS],
        runs=stores[names.PIPELINERUNS],
        task_runs=stores[names.TASKRUNS],
        pods=stores[PODS],
        consistency=Consistency({r: stores[r] for r in (names.WORKFLOWEXECUTIONS, names.PIPELINERUNS)}, clock),
        events=told,
        engine=lambda name: (name == "tekton", f"no engine {name}"),
        wake=lambda key: None,
        wake_lock=lambda key: None,
    )


class Process:
    """One controller with its own memory. ``step`` lets one job go on to its next API call."""

    def __init__(self, server: FakeServer, clock: ManualClock, settings: ShellSettings, told: Told) -> None:
        self.clock = clock
        self.api = FakeApi(server, pause)
        self.feed = Feed(server)
        self.feed.list()
        self.world = make_world(self.api, self.feed, clock, settings, told)
        self.world.wake = lambda key: self.add(("wfe", key))
        self.world.wake_lock = lambda key: self.add(("lock", key))
        self.reconciler = Reconciler(self.world)
        self.keeper = LockKeeper(self.world, Reader(self.world))
        self.sweeper = Sweeper(self.world)
        self.queue: dict[Job, datetime] = {}
        self.running: dict[Job, Coroutine[Any, Any, Any]] = {}
        self.feed.handlers.append(self._handle)
        self._sweep_due = clock.now() + timedelta(seconds=settings.sweep_interval)
        self._sweep_interval = settings.sweep_interval
        self.fenced = False
        self.add(("fence", "holds"))

    def add(self, job: Job, seconds: float = 0.0) -> None:
        due = self.clock.now() + timedelta(seconds=seconds)
        self.queue[job] = min(due, self.queue.get(job, due))

    def runnable(self) -> list[Job]:
        """Jobs in flight and jobs that are due; only the fence until it is passed."""
        now = self.clock.now()
        if now >= self._sweep_due:
            self._sweep_due = now + timedelta(seconds=self._sweep_interval)
            self.add(("sweep", ""))
        due = [job for job, at in self.queue.items() if at <= now and job not in self.running]
        if not self.fenced:
            return [job for job in (*self.running, *due) if job[0] == "fence"]
        return [*self.running, *due]

    def next_due(self) -> datetime:
        return min([self._sweep_due, *self.queue.values()])

    def step(self, job: Job, error: Exception | None = None) -> Call | None:
        """Go on to the next API call and return it; None when the job has ended. ``error``: what the call answers."""
        coroutine = self.running.get(job)
        if coroutine is None:
            del self.queue[job]
            if job[0] == "wfe" and (wait := self.reconciler.ready(cast(ObjectKey, job[1]))) is not None:
                self.add(job, wait)
                return None
            coroutine = self.running[job] = self._coroutine(job)
        try:
            return cast(Call, coroutine.send(None) if error is None else coroutine.throw(error))
        except StopIteration as stop:
            self._ended(job, stop.value)
        except NotLeading:
            self._ended(job, None)
        except Conflict as conflict:
            self._ended(job, ConflictOutcome(str(conflict)))
        except KubeError as failed:
            self._ended(job, Retry(failed))
        return None

    def die(self) -> None:
        for coroutine in self.running.values():
            coroutine.close()
        self.running.clear()
        self.queue.clear()

    def _coroutine(self, job: Job) -> Coroutine[Any, Any, Any]:
        kind, key = job
        match kind:
            case "fence":
                return self.sweeper.reassert()
            case "sweep":
                return self.sweeper.sweep()
            case "wfe":
                return self.reconciler.reconcile(cast(ObjectKey, key))
            case _:
                return self.keeper.reconcile(cast(ObjectKey, key))

    def _ended(self, job: Job, outcome: object) -> None:
        del self.running[job]
        if job[0] == "fence":
            self.fenced = True
            for resource, store in self.feed.stores.items():
                for obj in store.list():
                    self._map(resource, obj)
        match outcome:
            case RequeueAfter(seconds=seconds) | Stale(seconds=seconds):
                self.add(job, seconds)
            case ConflictOutcome():
                self.add(job, 0.06)
            case Retry():
                self.add(job, 1.0)

    def _handle(self, resource: Resource, change: Change) -> None:
        if resource is names.PIPELINERUNS:
            self.world.graveyard.saw_run(change)
        if resource is names.TASKRUNS:
            self.world.graveyard.saw_task_run(change)
        if resource is PODS:
            self.world.graveyard.saw_pod(change)
        match change:
            case Added(obj=obj):
                seen = [obj]
            case Updated(old=old, new=new):
                seen = [old, new]
            case Deleted(last=last):
                seen = [last] if last is not None else []
        for obj in seen:
            self._map(resource, obj)

    def _map(self, resource: Resource, obj: CachedObject) -> None:
        executions = self.world.executions
        wfes: list[ObjectKey] = []
        locks: list[ObjectKey] = []
        if resource is names.WORKFLOWEXECUTIONS:
            wfes, locks = [obj.key], list(_lock_of_ended(self.world.locks)(obj))
        elif resource is names.TARGETLOCKS:
            wfes, locks = list(_holder_key(executions)(obj)), list(_lock_in_need(self.world)(obj))
        else:
            wfes = list(_owner_key(executions)(obj))
            if resource is names.PIPELINERUNS:
                locks = list(_lock_of_orphan(executions, HOME)(obj))
        for key in wfes:
            self.add(("wfe", key))
        for key in locks:
            self.add(("lock", key))

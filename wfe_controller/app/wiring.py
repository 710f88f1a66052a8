"""Everything put together: informers, queues, controllers, election, events, probes (the composition root).

The only place that knows all rooms. Nothing here decides anything about workflows.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import structlog

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.app.config import Settings
from wfe_controller.app.exits import ExitError, StartFailed
from wfe_controller.app.metrics import Metrics
from wfe_controller.app.translate import shell_settings
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.consistency import Consistency
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.cache.store import Store
from wfe_controller.kube.cache.union import UnionStore
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Throttle
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.control.manager import Manager
from wfe_controller.kube.control.sources import connect, myself
from wfe_controller.kube.control.worker import Controller
from wfe_controller.kube.election.elector import AlwaysLeading, Elector
from wfe_controller.kube.events.recorder import Recorder
from wfe_controller.kube.objects import PODS, ObjectKey
from wfe_controller.kube.queue.workqueue import PRIORITY_HIGH, WorkQueue
from wfe_controller.locking.ledger import Ledger
from wfe_controller.workflows.lockcare import needs_care
from wfe_controller.workflows.lockkeeper import LockKeeper
from wfe_controller.workflows.reader import Reader
from wfe_controller.workflows.reconciler import Reconciler
from wfe_controller.workflows.sweeper import Sweeper
from wfe_controller.workflows.world import (
    BY_HOLDER,
    BY_OWNER,
    BY_TARGET,
    BY_TARGET_HASH,
    BY_UID,
    Graveyard,
    World,
    index_holder,
    index_owner,
    index_target,
    index_target_hash,
    index_uid,
)

log = structlog.get_logger("wfe.app")

LOCK_WORKERS = 2
AT_HAND = (("status", "phase"), ("metadata", "finalizers"))
"""What every sweep and every low-priority look asks an ended WorkflowExecution for."""


@dataclass(slots=True)
class Assembly:
    """What main runs and what the probes look at."""

    manager: Manager
    elector: Elector | AlwaysLeading
    informers: dict[str, Informer]
    world: World
    throttle: Throttle
    apply: Callable[[Settings], None]
    """Takes over what may change without a restart: limits, time-outs, client rates."""


def identity() -> str:
    """Unique even for two processes of one pod name (P:E3)."""
    host = os.environ.get("POD_NAME") or socket.gethostname() or "unknown"
    return f"{host}_{os.environ.get('POD_UID') or os.urandom(8).hex()}"


def assemble(
    settings: Settings, api: Api, lease_api: Api, throttle: Throttle, *, home: str, metrics: Metrics, clock: Clock
) -> Assembly:
    """Build the process. ``lease_api`` has a connection of its own, so that a burst cannot delay a renewal (I-50)."""
    rng = random.Random()
    me = identity()
    gate: Elector | AlwaysLeading
    if settings.controller.leader_election:
        gate = Elector(
            lease_api,
            ObjectKey(home, settings.controller.leader_election_id),
            me,
            clock=clock,
            rng=rng,
            lease_duration=settings.controller.lease_duration,
            renew_deadline=settings.controller.renew_deadline,
            retry_period=settings.controller.retry_period,
            instruments=metrics,
        )
    else:
        gate = AlwaysLeading()
    manager = Manager(
        clock=clock,
        rng=rng,
        instruments=metrics,
        election=gate if isinstance(gate, Elector) else None,
        drain_timeout=settings.controller.shutdown_timeout,
        refusals=(ExitError,),
    )
    gated = api.gated(gate)
    informers = _informers(settings, api, home, clock, rng, metrics)
    executions = [i for name, i in informers.items() if name.startswith(names.WORKFLOWEXECUTIONS.plural)]
    store: Store = executions[0].store if len(executions) == 1 else UnionStore([i.store for i in executions])
    runs, task_runs = informers[names.PIPELINERUNS.plural], informers[names.TASKRUNS.plural]
    locks, pods = informers[names.TARGETLOCKS.plural], informers[PODS.plural]

    recorder = Recorder(gated, names.COMPONENT, me, clock=clock, instruments=metrics)
    queue: WorkQueue[ObjectKey] = WorkQueue(names.WORKFLOWEXECUTIONS.plural, clock=clock, instruments=metrics)
    lock_queue: WorkQueue[ObjectKey] = WorkQueue(names.TARGETLOCKS.plural, clock=clock, instruments=metrics)

    current = [shell_settings(settings, home)]

    def apply(changed: Settings) -> None:
        current[0] = shell_settings(changed, home)
        throttle.set_rate(changed.client.qps, changed.client.burst)

    def engine(name: str) -> tuple[bool, str]:
        if name not in settings.engines:
            return False, f"the {name} engine is not enabled in this installation (setting engines)"
        if name != "tekton":
            return False, f"the {name} engine is not part of this version"
        if runs.served is False or task_runs.served is False:
            return False, f"Tekton is not installed ({runs.last_error or task_runs.last_error}); starts when it is"
        return (
            (True, "") if runs.has_synced() and task_runs.has_synced() else (False, "Tekton's objects are not read yet")
        )

    world = World(
        api=gated,
        ledger=Ledger(gated, home, clock),
        clock=clock,
        settings=lambda: current[0],
        executions=store,
        locks=locks.store,
        runs=runs.store,
        task_runs=task_runs.store,
        pods=pods.store,
        consistency=Consistency({names.WORKFLOWEXECUTIONS: store, names.PIPELINERUNS: runs.store}, clock),
        events=recorder,
        engine=engine,
        wake=queue.add,
        wake_lock=lock_queue.add,
        instruments=metrics.workflows,
        graveyard=Graveyard(),
    )
    reconciler, keeper, sweeper = Reconciler(world), LockKeeper(world, Reader(world)), Sweeper(world)
    controllers = (
        Controller(
            "workflowexecution",
            reconciler.reconcile,
            queue,
            clock=clock,
            workers=settings.controller.workers,
            ready=reconciler.ready,
            rng=rng,
            instruments=metrics,
        ),
        Controller(
            "targetlock", keeper.reconcile, lock_queue, clock=clock, workers=LOCK_WORKERS, rng=rng, instruments=metrics
        ),
    )

    runs.add_handler(world.graveyard.saw_run)
    task_runs.add_handler(world.graveyard.saw_task_run)
    pods.add_handler(world.graveyard.saw_pod)
    for informer in executions:
        connect(informer, queue, myself)
        connect(informer, lock_queue, _lock_of_ended(locks.store))
    owner = _owner_key(store)
    for informer in (runs, task_runs, pods):
        # A burst of new executions must not hold up the end of those that run: their targets are locked so long.
        connect(informer, queue, owner, priority=PRIORITY_HIGH)
    connect(runs, lock_queue, _lock_of_orphan(store, home))
    connect(locks, lock_queue, _lock_in_need(world))
    connect(locks, queue, _holder_key(store))

    for name, informer in informers.items():
        manager.add_cache(name, informer)
    manager.add_synced(_settle_memory)
    manager.add_synced(lambda: _refuse_other_namespace(store, settings.execution.namespace))
    manager.add_task("events", recorder.run)
    manager.add_flush("events", recorder.flush)
    manager.add_fence("caches and holds", _fence(informers.values(), sweeper))
    manager.add_leader_task("sweeper", sweeper.run)
    manager.add_leader_task("engine", sweeper.follow_engine)
    for controller in controllers:
        manager.add_controller(controller)

    return Assembly(manager, gate, informers, world, throttle, apply)


def _informers(
    settings: Settings, api: Api, home: str, clock: Clock, rng: random.Random, metrics: Metrics
) -> dict[str, Informer]:
    informer = partial(Informer, api, clock=clock, rng=rng, instruments=metrics)
    plural = names.WORKFLOWEXECUTIONS.plural
    watched = settings.controller.watch_namespaces
    indexes = {BY_TARGET: index_target, BY_UID: index_uid}
    own = {BY_OWNER: index_owner, BY_TARGET_HASH: index_target_hash}
    ours = f"{names.OWNER_UID}"
    execution = settings.execution.namespace
    optional = not settings.tekton_required
    return {
        **{
            (plural if len(watched) <= 1 else f"{plural}-{namespace}"): informer(
                names.WORKFLOWEXECUTIONS, namespace=namespace or None, indexes=indexes, cold=_ended, at_hand=AT_HAND
            )
            for namespace in (watched or ("",))
        },
        names.TARGETLOCKS.plural: informer(names.TARGETLOCKS, namespace=home, indexes={BY_HOLDER: index_holder}),
        names.PIPELINERUNS.plural: informer(
            names.PIPELINERUNS, namespace=execution, label_selector=ours, indexes=own, optional=optional
        ),
        names.TASKRUNS.plural: informer(
            names.TASKRUNS, namespace=execution, label_selector=ours, indexes=own, optional=optional
        ),
        PODS.plural: informer(PODS, namespace=execution, label_selector=ours, indexes=own),
    }


def _ended(obj: CachedObject) -> bool:
    """Finished objects are almost all of them and hardly ever looked at again: they are kept compressed."""
    return obj.field("status", "phase") in TERMINAL


def _owner_key(executions: Store) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """A run, TaskRun or pod -> the WorkflowExecution whose UID it carries (labels alone never decide, TH1)."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        return [found.key for uid in index_owner(obj) for found in executions.by_index(BY_UID, uid)]

    return keys


def _holder_key(executions: Store) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """A lock -> its holder, so that a lost hold is noticed."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        uid = obj.field("status", "holder", "uid")
        return [found.key for found in executions.by_index(BY_UID, uid)] if isinstance(uid, str) else []

    return keys


def _lock_in_need(world: World) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """A lock -> itself, when its keeper has something to do; acquires and settlements of the living are not."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        needed = needs_care(obj, world.executions, world.clock.now(), world.settings().limits)
        return (obj.key,) if needed else ()

    return keys


def _fence(informers: Iterable[Informer], sweeper: Sweeper) -> Callable[[], Awaitable[None]]:
    """At takeover, before any acquire: consistent caches (I-30), and on them the holds asserted again (SPEC 1.3)."""

    async def fence() -> None:
        async with asyncio.TaskGroup() as lists:
            for informer in informers:
                lists.create_task(informer.relist(), name=f"fence-{informer.resource.plural}")
        await sweeper.reassert()

    return fence


def _lock_of_ended(locks: Store) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """A WorkflowExecution that has ended or is being deleted -> the lock that still names it, for its keeper."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        if not obj.deleting and obj.field("status", "phase") not in TERMINAL:
            return []
        return [record.key for record in locks.by_index(BY_HOLDER, obj.uid)]

    return keys


def _lock_of_orphan(executions: Store, home: str) -> Callable[[CachedObject], Iterable[ObjectKey]]:
    """A run whose WorkflowExecution is not there -> the lock of its target."""

    def keys(obj: CachedObject) -> Iterable[ObjectKey]:
        if any(executions.by_index(BY_UID, uid) for uid in index_owner(obj)):
            return []
        return [ObjectKey(home, f"wfe-{value}") for value in index_target_hash(obj)]

    return keys


def _settle_memory() -> None:
    """What the first lists brought stays; the collector need not walk it again (libraries.md C4)."""
    gc.collect()
    gc.freeze()


def _refuse_other_namespace(executions: Store, namespace: str) -> None:
    """SPEC 8: a run in another namespace than the configured one would be looked for where it is not."""
    for obj in executions.list():
        if obj.field("status", "phase") in TERMINAL:
            continue
        found = obj.field("status", "pipelineRunRef", "namespace")
        if isinstance(found, str) and found != namespace:
            raise StartFailed(
                f"execution.namespace is {namespace!r}, but WorkflowExecution {obj.key} has a run in {found!r}: "
                f"wait until it has ended, or set execution.namespace back"
            )

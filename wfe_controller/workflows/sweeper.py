"""Every minute the leader looks at everything once and enqueues what may need a hand; it changes nothing itself.

Also counts: targets by state, objects by phase, waiting by reason (gauges that a restart cannot lose).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import structlog

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL, Engine
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.errors import Conflict, KubeError
from wfe_controller.kube.objects import ObjectKey, items, mapping
from wfe_controller.locking import transitions
from wfe_controller.locking.decision import Claim
from wfe_controller.locking.record import LockUnreadable, TargetCollision
from wfe_controller.locking.transitions import Unchanged
from wfe_controller.workflows.lockcare import needs_care, rests
from wfe_controller.workflows.world import BY_OWNER, BY_TARGET_HASH, BY_UID, World, index_target

log = structlog.get_logger("wfe.sweeper")

ENGINE_POLL = 5.0
"""With the cache's own retry of a missing type (at most 30 s) well below the 60 s that SPEC 3 allows."""


class Sweeper:
    """``run`` until cancelled; ``sweep`` is one pass."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Sweep every ``sweep_interval``."""
        while True:
            await self.sweep()
            await self._world.clock.sleep(self._world.settings().sweep_interval)

    async def sweep(self) -> None:
        """Enqueue keys of everything that is not at rest, and publish the gauges."""
        for key in self.unsettled():
            self._world.wake(key)
        await self._world.clock.sleep(0)
        for key in self.locks():
            self._world.wake_lock(key)
        self._gauges()

    async def follow_engine(self) -> None:
        """Enqueue what waits for Tekton as soon as it is there; until then such objects rest (P:W9)."""
        missing = False
        while True:
            available, _ = self._world.engine(str(Engine.TEKTON))
            if missing and available:
                log.info("the tekton engine is available now")
                for key in self.unsettled():
                    self._world.wake(key)
            missing = not available
            await self._world.clock.sleep(ENGINE_POLL)

    def unsettled(self) -> Iterator[ObjectKey]:
        """WorkflowExecutions that have not ended, still have a finalizer, or own a run."""
        for obj in self._world.executions.list():
            if (
                obj.field("status", "phase") not in TERMINAL
                or obj.field("metadata", "finalizers")
                or self._world.runs.by_index(BY_OWNER, obj.uid)
            ):
                yield obj.key

    def locks(self) -> set[ObjectKey]:
        """Records their keeper can do something about, and the targets of runs without an owner."""
        now, limits, executions = self._world.clock.now(), self._world.settings().limits, self._world.executions
        found = {obj.key for obj in self._world.locks.list() if needs_care(obj, executions, now, limits)}
        namespace, retention = self._world.settings().controller_namespace, self._world.settings().run_retention
        for value in self._world.runs.index_values(BY_TARGET_HASH):
            for run in self._world.runs.by_index(BY_TARGET_HASH, value):
                owner, key = run.labels.get(names.OWNER_UID, ""), ObjectKey(namespace, f"wfe-{value}")
                orphaned = owner and not self._world.executions.by_index(BY_UID, owner)
                known = self._world.locks.get(key) is not None
                if orphaned and key not in found and not (known and rests(run, now, retention) > 0):
                    found.add(key)
        return found

    async def reassert(self) -> None:
        """At takeover, before any acquire: every WorkflowExecution that runs takes its hold back if it was lost.

        Held by another: its own worker says LockConflict. An error here leaves the matter to the worker as well, which
        looks at the lock before it launches anything.
        """
        for obj in self._world.executions.list():
            if obj.field("status", "phase") != "Running" or not obj.field("status", "pipelineRunRef", "uid"):
                continue
            target = next(iter(index_target(obj)), None)
            if target is None:
                continue
            cached = self._world.locks.get(self._world.ledger.key(target))
            if cached is not None and cached.field("status", "holder", "uid") == obj.uid:
                continue
            await self._take_back(obj, target)

    async def _take_back(self, obj: CachedObject, target: str) -> None:
        ref = mapping(obj.field("spec", "workflowRef"))
        claim = Claim(obj.uid, obj.key.name, obj.key.namespace, str(ref.get("workflowId") or ""), "tekton")
        try:
            record = await self._world.ledger.read(target) or await self._world.ledger.ensure(target)
            if isinstance(transitions.acquire(record, claim, self._world.clock.now()), Unchanged):
                return
            await self._world.ledger.acquire(record, claim)
        except (Conflict, transitions.HeldByAnother, LockUnreadable, TargetCollision) as error:
            self._world.instruments.lock_conflict()
            log.error("hold could not be asserted again", workflowexecution=str(obj.key), target=target, why=str(error))
        except KubeError as error:
            log.warning("hold not asserted again yet", workflowexecution=str(obj.key), why=str(error))
        else:
            log.warning("lost hold asserted again", workflowexecution=str(obj.key), target=target)

    def _gauges(self) -> None:
        now, limits = self._world.clock.now(), self._world.settings().limits
        held = blocked = backoff = exhausted = 0
        for obj in self._world.locks.list():
            held += obj.field("status", "holder", "uid") is not None
            blocked += obj.field("status", "block", "reason") is not None
            for entry in items(obj.field("status", "workflows")):
                entry = mapping(entry)
                failures = entry.get("consecutiveFailures")
                allowed = parse_rfc3339(entry.get("nextAllowedExecution"))
                if isinstance(failures, int) and failures >= limits.max_failures:
                    exhausted += 1
                elif allowed is not None and allowed > now:
                    backoff += 1
        phases: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for obj in self._world.executions.list():
            phase = obj.field("status", "phase") or "Pending"
            phases[str(phase)] += 1
            reason = obj.field("status", "reason") if phase not in TERMINAL else None
            if isinstance(reason, str):
                waiting[reason] += 1
        instruments = self._world.instruments
        instruments.targets(held=held, blocked=blocked, backoff=backoff, exhausted=exhausted)
        instruments.objects(phases)
        instruments.waiting(waiting)

"""Plays a scenario against an API server: creates what is due, does what the operator does, and judges the end.

An ordinary client: it sees WorkflowExecutions and TargetLocks through informers and acts through the API, so it plays
on the embedded server and on a real one. Neighbours: ``simulators.scenario`` says what, the view shows it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.targets import parse_target
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Change, Deleted
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import AlreadyExists, NotFound
from wfe_controller.kube.objects import NAMESPACES, Json, ObjectKey, Resource, mapping, text
from wfe_controller.sandbox.simulators.deployments import DEPLOYMENTS, deployment
from wfe_controller.sandbox.simulators.scenario import Decision, Lock, Sample, Scenario, When

POLL_SECONDS = 0.25
"""How often moments with an ``after`` are looked at; everything else is looked at when something changes."""


@dataclass(frozen=True)
class Verdict:
    """One expectation and what came of it."""

    name: str
    expected: str
    found: str

    @property
    def ok(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True)
class Ending:
    """How the scenario ended; ``seconds`` since its beginning."""

    verdicts: Sequence[Verdict]
    seconds: float
    in_time: bool

    @property
    def ok(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts)


class Director:
    """``note`` is told what happens and why, in the scenario's words. ``home`` is where TargetLocks live."""

    def __init__(
        self,
        api: Api,
        scenario: Scenario,
        *,
        clock: Clock,
        rng: random.Random,
        home: str = names.DEFAULT_CONTROLLER_NAMESPACE,
        speed: float = 1.0,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.scenario = scenario
        self._api, self._clock, self._speed, self._note = api, clock, speed, note
        self.executions = Informer(api, names.WORKFLOWEXECUTIONS, clock=clock, rng=rng, resync_period=0)
        self.locks = Informer(api, names.TARGETLOCKS, namespace=home, clock=clock, rng=rng, resync_period=0)
        self._reached: dict[ObjectKey, set[str]] = {}
        self._since: dict[str, float] = {}
        self._changed = asyncio.Event()
        for informer in (self.executions, self.locks):
            informer.add_handler(self._see)

    # -- playing

    async def prepare(self) -> None:
        """Namespaces and workloads; what is there already stays."""
        for name in self.scenario.namespaces():
            await self._ensure(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for workload in self.scenario.workloads:
            namespace = workload.namespace or self.scenario.namespace
            body = deployment(namespace, workload.name, replicas=workload.replicas, image=workload.image)
            await self._ensure(DEPLOYMENTS, body)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The informers run inside; needed for everything but ``prepare``."""
        tasks = [asyncio.create_task(i.run(), name="sandbox-director") for i in (self.executions, self.locks)]
        try:
            for informer in (self.executions, self.locks):
                await informer.wait_synced(30)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def play(self) -> Ending:
        """From the first sample to the expected end, or to the deadline."""
        began = self._clock.monotonic()
        deadline = began + self.scenario.deadline
        samples, decisions = list(self.scenario.samples), list(enumerate(self.scenario.operator))
        while True:
            for sample in [s for s in samples if self._due(f"sample {s.name}", s.when)]:
                samples.remove(sample)
                self._note(f"{sample.name}: {sample.say}" if sample.say else sample.name)
                await self._api.create(names.WORKFLOWEXECUTIONS, self.scenario.execution(sample), lane=Lane.READ)
            for number, decision in [d for d in decisions if self._due(f"decision {d[0]}", d[1].when)]:
                if await self._decide(decision):
                    decisions.remove((number, decision))
                    if decision.say:
                        self._note(decision.say)
            now = self._clock.monotonic()
            over = not samples and not decisions and self._settled()
            if over or now >= deadline:
                return Ending(self.verdicts(), now - began, in_time=now < deadline)
            self._changed.clear()
            try:
                async with asyncio.timeout(min(POLL_SECONDS, deadline - now)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    # -- judging

    def verdicts(self) -> list[Verdict]:
        found = [self._sample_verdict(sample) for sample in self.scenario.samples]
        return [*found, *(self._lock_verdict(lock) for lock in self.scenario.locks)]

    def _settled(self) -> bool:
        verdicts = self.verdicts()
        if all(verdict.ok for verdict in verdicts):
            return True
        # An end that is wrong stays wrong: terminal phases never change.
        return any(
            not verdict.ok and self._phase(sample) in TERMINAL
            for sample, verdict in zip(self.scenario.samples, verdicts, strict=False)
        )

    def _sample_verdict(self, sample: Sample) -> Verdict:
        expected = " ".join(filter(None, (sample.expect.phase.value, sample.expect.reason)))
        status = mapping(self._execution(sample.name).get("status"))
        found = " ".join(filter(None, (text(status.get("phase")), text(status.get("reason")))))
        return Verdict(sample.name, expected, found or "nothing")

    def _lock_verdict(self, lock: Lock) -> Verdict:
        status = self._lock(lock.target)
        expected = f"free, {'blocked' if lock.blocked else 'not blocked'}" + (
            f", last {lock.outcome}" if lock.outcome else ""
        )
        last = text(mapping(status.get("lastExecution")).get("outcome"))
        found = f"{'held' if status.get('holder') else 'free'}, {'blocked' if status.get('block') else 'not blocked'}"
        return Verdict(lock.target, expected, found + (f", last {last or 'nothing'}" if lock.outcome else ""))

    def _phase(self, sample: Sample) -> str:
        return text(mapping(self._execution(sample.name).get("status")).get("phase"))

    # -- moments

    def _due(self, what: str, moments: Sequence[When]) -> bool:
        now = self._clock.monotonic()
        if not all(self._holds(when) for when in moments):
            self._since.pop(what, None)
            return False
        since = self._since.setdefault(what, now)
        return now - since >= max((when.after for when in moments), default=0.0) / self._speed

    def _holds(self, when: When) -> bool:
        if when.execution:
            # Reached is enough: a phase may be over before anybody looks.
            reached = self._reached.get(self._key(when.execution), set())
            if when.phase is None or when.phase.value not in reached:
                return False
        if when.target:
            lock = self.locks.store.get(self._lock_key(when.target))
            status = mapping(lock.field("status")) if lock is not None else {}
            held, blocked = bool(status.get("holder")), bool(status.get("block"))
            holds = {
                "free": lock is not None and not held,
                "held": held,
                "blocked": blocked,
                "open": not held and not blocked,
            }
            return holds[when.is_ or "open"]
        return True

    def _see(self, change: Change) -> None:
        obj: CachedObject | None = None if isinstance(change, Deleted) else getattr(change, "obj", None)
        if not isinstance(change, Deleted):
            obj = obj or getattr(change, "new", None)
        if obj is not None and obj.resource == names.WORKFLOWEXECUTIONS:
            self._reached.setdefault(obj.key, set()).add(text(obj.field("status", "phase")))
        self._changed.set()

    # -- looking up

    def _key(self, name: str) -> ObjectKey:
        return ObjectKey(self.scenario.sample(name).namespace or self.scenario.namespace, name)

    def _execution(self, name: str) -> Json:
        found = self.executions.store.get(self._key(name))
        return {} if found is None else found.decode()

    def _lock_key(self, target: str) -> ObjectKey:
        return ObjectKey(self.locks.namespace or "", names.lock_name(parse_target(target).canonical))

    def _lock(self, target: str) -> Json:
        found = self.locks.store.get(self._lock_key(target))
        return {} if found is None else dict(mapping(found.field("status")))

    # -- acting

    async def _decide(self, decision: Decision) -> bool:
        """True when it is done; False when what it is about has gone meanwhile."""
        try:
            return await self._act(decision)
        except NotFound:
            return False

    async def _act(self, decision: Decision) -> bool:
        if (clear := decision.clear_block) is not None:
            uid = text(mapping(mapping(self._lock(clear.target).get("block")).get("by")).get("uid"))
            if not uid:
                return False
            marks = _marks(names.ANNOTATION_CLEAR_BLOCK, uid, clear.by, clear.reason)
            await self._annotate(self.locks, self._lock_key(clear.target), marks)
        elif (cancel := decision.cancel) is not None:
            marks = _marks(names.ANNOTATION_CANCEL, cancel.reason, cancel.by, cancel.reason)
            await self._annotate(self.executions, self._key(cancel.execution), marks)
        elif name := decision.pause or decision.resume:
            value = "true" if decision.pause else None
            await self._annotate(self.executions, self._key(name), {names.ANNOTATION_PAUSE: value})
        else:
            found = self.executions.store.get(self._key(decision.delete))
            if found is None:
                return False
            await self._api.delete(names.WORKFLOWEXECUTIONS, found.key, uid=found.uid, lane=Lane.READ)
        return True

    async def _annotate(self, informer: Informer, key: ObjectKey, marks: dict[str, str | None]) -> None:
        patch = patches.merge_patch({"metadata": {"annotations": marks}})
        await self._api.patch(informer.resource, key, patch, lane=Lane.READ)

    async def _ensure(self, resource: Resource, body: Json) -> None:
        try:
            await self._api.create(resource, body, lane=Lane.READ)
        except AlreadyExists:
            return


def _marks(annotation: str, value: str, by: str, reason: str) -> dict[str, str | None]:
    return {annotation: value, names.by(annotation): by, names.reason(annotation): reason}

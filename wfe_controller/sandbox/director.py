"""Plays a scenario against an API server: creates what is due, does what the operator does, and judges the end.

An ordinary client: it sees WorkflowExecutions and TargetLocks through informers and acts through the API, so it plays
on the embedded server and on a real one. Neighbours: ``simulators.scenario`` says what, the view shows it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.targets import parse_target
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Added, Change, Deleted
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import AlreadyExists, BadRequest, Invalid, NotFound
from wfe_controller.kube.objects import NAMESPACES, Json, ObjectKey, Resource, mapping, text
from wfe_controller.sandbox.simulators.deployments import DEPLOYMENTS, deployment
from wfe_controller.sandbox.simulators.scenario import Decision, Lock, Sample, Scenario, When
from wfe_controller.sandbox.simulators.scenario_file import ScenarioError

POLL_SECONDS = 0.25
"""How often moments with an ``after`` are looked at; everything else is looked at when something changes."""
QUIET_SECONDS = 5.0
"""When all that was asked for has ended, nothing waits for a time, and nothing changed for so long, nothing will."""


@dataclass(frozen=True)
class Verdict:
    """One expectation and what came of it."""

    name: str
    expected: str
    found: str
    open: bool = False
    """It might still have come true: the scenario was over before."""

    @property
    def ok(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True)
class Ending:
    """How the scenario ended; ``seconds`` since its beginning. ``stuck``: what was waited for and can never come."""

    verdicts: Sequence[Verdict]
    seconds: float
    in_time: bool
    stuck: str = ""

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
        self._last: dict[ObjectKey, Json] = {}
        self._gone: set[str] = set()
        self._moved = 0.0
        self._changed = asyncio.Event()
        for informer in (self.executions, self.locks):
            informer.add_handler(self._see)

    # -- playing

    async def prepare(self) -> None:
        """Namespaces and workloads; what is there already stays. Raises ScenarioError for what the server refuses."""
        for name in self.scenario.namespaces():
            await self._ensure(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for number, workload in enumerate(self.scenario.workloads):
            namespace = workload.namespace or self.scenario.namespace
            body = deployment(namespace, workload.name, replicas=workload.replicas, image=workload.image)
            with self._refusals(f"workloads[{number}]"):
                await self._ensure(DEPLOYMENTS, body)
        for number, sample in enumerate(self.scenario.samples):
            with self._refusals(f"samples[{number}]"):
                body = self.scenario.execution(sample)
                await self._api.create(names.WORKFLOWEXECUTIONS, body, lane=Lane.READ, dry_run=True)

    @contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        """What the server finds wrong with a part of the file is told before anything is played."""
        try:
            yield
        except (Invalid, BadRequest) as error:
            raise ScenarioError(f"scenario {self.scenario.file}: {key}: {error.message}; correct it there") from None

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
        """From the first sample to the expected end; at once when that cannot be reached any more; or to the deadline.

        Raises KubeError when the server refuses a sample or a decision.
        """
        began = self._moved = self._clock.monotonic()
        deadline = began + self.scenario.deadline / min(self._speed, 1.0)
        samples, decisions = list(self.scenario.samples), list(enumerate(self.scenario.operator))
        while True:
            for sample in [s for s in samples if self._due(f"sample {s.name}", s.when)]:
                samples.remove(sample)
                self._note(f"{sample.name}: {sample.say}" if sample.say else sample.name)
                await self._api.create(names.WORKFLOWEXECUTIONS, self.scenario.execution(sample), lane=Lane.READ)
                self._moved = self._clock.monotonic()
            for number, decision in [d for d in decisions if self._due(f"operator[{d[0]}]", d[1].when)]:
                if await self._decide(decision):
                    decisions.remove((number, decision))
                    self._moved = self._clock.monotonic()
                    if decision.say:
                        self._note(decision.say)
            now = self._clock.monotonic()
            waiting = [
                *((f"sample {sample.name}", sample.when) for sample in samples),
                *((f"operator[{number}]", decision.when) for number, decision in decisions),
            ]
            over = self._over(waiting)
            stuck = "" if over else self._stuck(waiting, now)
            if over or stuck or now >= deadline:
                return Ending(self.verdicts(), now - began, in_time=bool(over or stuck), stuck=stuck)
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

    def _over(self, waiting: Sequence[tuple[str, Sequence[When]]]) -> bool:
        verdicts = self.verdicts()
        # An end that is wrong stays wrong, whatever is still to come: terminal phases never change.
        ended = [self._ended(sample.name) for sample in self.scenario.samples]
        if any(over and not verdict.ok for over, verdict in zip(ended, verdicts, strict=False)):
            return True
        return not waiting and all(verdict.ok for verdict in verdicts)

    def _stuck(self, waiting: Sequence[tuple[str, Sequence[When]]], now: float) -> str:
        """Why what is left can never happen; "" when it can, as far as one knows."""
        for what, moments in waiting:
            for when in moments:
                if when.execution and when.phase is not None and self._missed(when.execution, when.phase.value):
                    ended = f"it ended {self._found(when.execution)}"
                    return f"{what} waits for {when.execution} to be {when.phase}, which cannot come: {ended}"
        asked = [sample.name for sample in self.scenario.samples if self._execution(sample.name)]
        if now - self._moved < QUIET_SECONDS or not all(self._ended(name) for name in asked):
            return ""
        for what, moments in waiting:
            after = max((when.after for when in moments), default=0.0) / self._speed
            if what in self._since:
                if now - self._since[what] < after + QUIET_SECONDS:
                    return ""  # it is only a matter of time
                return f"{what} cannot be done: what it is about is not there"
            missing = [f"{when.target} to be {when.is_}" for when in moments if when.target and not self._holds(when)]
            if missing:
                return f"{what} waits for {' and '.join(missing)}, and nothing happens any more"
        return "" if waiting else "everything has ended, and nothing happens any more"

    def _missed(self, name: str, phase: str) -> bool:
        return phase not in self._reached.get(self._key(name), set()) and self._ended(name)

    def _sample_verdict(self, sample: Sample) -> Verdict:
        expected = " ".join(filter(None, (sample.expect.phase.value, sample.expect.reason)))
        return Verdict(sample.name, expected, self._found(sample.name), open=not self._ended(sample.name))

    def _found(self, name: str) -> str:
        status = mapping(self._execution(name).get("status"))
        found = " ".join(filter(None, (text(status.get("phase")), text(status.get("reason"))))) or "nothing"
        gone = name in self._gone and self._phase(name) not in TERMINAL
        return f"deleted, was {found}" if gone else found

    def _lock_verdict(self, lock: Lock) -> Verdict:
        status = self._lock(lock.target)
        expected = f"free, {'blocked' if lock.blocked else 'not blocked'}" + (
            f", last {lock.outcome}" if lock.outcome else ""
        )
        last = text(mapping(status.get("lastExecution")).get("outcome"))
        found = f"{'held' if status.get('holder') else 'free'}, {'blocked' if status.get('block') else 'not blocked'}"
        asked = [s for s in self.scenario.samples if self._lock_key(s.target) == self._lock_key(lock.target)]
        still = any(not self._ended(sample.name) for sample in asked)
        return Verdict(
            lock.target, expected, found + (f", last {last or 'nothing'}" if lock.outcome else ""), open=still
        )

    def _ended(self, name: str) -> bool:
        return self._phase(name) in TERMINAL or name in self._gone

    def _phase(self, name: str) -> str:
        return text(mapping(self._execution(name).get("status")).get("phase"))

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
        obj: CachedObject | None
        if isinstance(change, Deleted):
            obj = change.last
            self._gone |= {sample.name for sample in self.scenario.samples if self._key(sample.name) == change.key}
        else:
            obj = change.obj if isinstance(change, Added) else change.new
        if obj is not None and obj.resource == names.WORKFLOWEXECUTIONS:
            self._reached.setdefault(obj.key, set()).add(text(obj.field("status", "phase")))
            self._last[obj.key] = obj.decode()
        self._moved = self._clock.monotonic()
        self._changed.set()

    # -- looking up

    def _key(self, name: str) -> ObjectKey:
        return ObjectKey(self.scenario.sample(name).namespace or self.scenario.namespace, name)

    def _execution(self, name: str) -> Json:
        """As it was last seen: one that was deleted keeps its end."""
        return self._last.get(self._key(name), {})

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

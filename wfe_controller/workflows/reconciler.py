"""One key, once: snapshot -> decide -> do -> fold -> decide ... until a handler says stop (ARCHITECTURE "journey").

Level-triggered (I-41): everything is read here, the event that woke us is not known. At most one status write; Events
and counters come after the write that commits them (TH36, P:Q6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import structlog

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL, IllegalTransition, Phase
from wfe_controller.api.reasons import ConditionType, EventReason, WaitReason
from wfe_controller.failure.redaction import hide, know
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.consistency import Waiting
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.control.outcomes import Conflict as ConflictOutcome
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter, Terminal
from wfe_controller.kube.errors import Conflict, Forbidden, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, mapping, spec, status, text, uid_of
from wfe_controller.workflows.draft import Draft, condition_since
from wfe_controller.workflows.effects import Effects
from wfe_controller.workflows.phases.dispatch import decide_step
from wfe_controller.workflows.phases.pending import start_deadline
from wfe_controller.workflows.plan import Acquire, Act, Commit, Note, Read, Stop
from wfe_controller.workflows.reader import Reader
from wfe_controller.workflows.snapshot import UNREAD, Snapshot
from wfe_controller.workflows.status_writer import StatusWriter
from wfe_controller.workflows.world import BY_HOLDER, BY_OWNER, World

log = structlog.get_logger("wfe.workflows")

MAX_STEPS = 40
"""A start takes 12 steps, an end 10; whatever needs more than this is a loop and goes back to the queue."""
PROGRESS_INTERVAL = 1.0
UNREADABLE = 10.0
"""Seconds until an input that may not be read is asked for again: rights come back without an event."""


class Reconciler:
    """The reconcile function of the workflowexecution controller."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reader = Reader(world)
        self._effects = Effects(world)
        self._writer = StatusWriter(world)
        self._last_progress: dict[ObjectKey, float] = {}
        self._astray: dict[ObjectKey, str] = {}

    def ready(self, key: ObjectKey) -> float | None:
        """Seconds to wait for the cache to show our last write of this key; None = go (I-28)."""
        state = self._world.consistency.ready(key)
        return 0.05 if isinstance(state, Waiting) and not state.live_read_due else None

    async def reconcile(self, key: ObjectKey) -> Outcome:
        """Bring one WorkflowExecution forward. Raises KubeErrors for the worker to requeue."""
        cached = self._world.executions.get(key)
        if cached is None:
            self._world.consistency.forget(key)
            self._last_progress.pop(key, None)
            self._astray.pop(key, None)
            return Done()
        if self._nothing_to_do(cached):
            self._last_progress.pop(key, None)
            return Done()
        snapshot = await self._snapshot(key, cached)
        if snapshot is None:
            return Done()
        self._say_astray(key, snapshot)
        for ignored in (snapshot.pause_ignored, snapshot.cancel_ignored):
            if ignored and not snapshot.terminal:
                self._world.events.event(snapshot.wfe, "Warning", EventReason.ANNOTATION_IGNORED, ignored)
        with structlog.contextvars.bound_contextvars(
            phase=snapshot.phase or "none", correlation=_correlation(snapshot)
        ):
            return await self._run(key, snapshot)

    def _say_astray(self, key: ObjectKey, snapshot: Snapshot) -> None:
        """Once for each such phase: a person has to find out who writes it, and nothing else will ever wake them."""
        phase = snapshot.phase[:64] if snapshot.astray else ""
        if phase and self._astray.get(key) != phase:
            log.error("unknown phase, left alone", workflowexecution=str(key), phase=phase)
            message = (
                f"phase {phase!r} is none of the {snapshot.engine} engine in this version: the object is left alone "
                f"and keeps its target. Find out who wrote it; deleting the object ends what it started and releases it"
            )
            self._world.events.event(snapshot.wfe, "Warning", EventReason.ILLEGAL_TRANSITION, message)
        if phase:
            self._astray[key] = phase
        else:
            self._astray.pop(key, None)

    async def _run(self, key: ObjectKey, snapshot: Snapshot) -> Outcome:
        for _ in range(MAX_STEPS):
            snapshot = replace(snapshot, now=self._world.clock.now())
            try:
                step = decide_step(snapshot)
            except IllegalTransition as error:
                return self._illegal(snapshot, error)
            match step:
                case Read(what=what):
                    try:
                        snapshot = await self._reader.read(snapshot, what)
                    except Forbidden as error:
                        return await self._unreadable(key, snapshot, f"{what} cannot be read: {error.message}")
                case Act(effect=effect, notes=notes):
                    done = await self._effects.perform(snapshot, effect)
                    if not isinstance(done, Snapshot):
                        if not isinstance(done, ConflictOutcome):
                            self._note(snapshot, notes)
                        return done
                    if not isinstance(effect, Acquire) or done.holds is True:
                        self._note(snapshot, notes)
                    snapshot = done
                case Commit():
                    delay = self._too_soon(key, step.lane)
                    if snapshot.committed or delay:
                        return RequeueAfter(delay or 0.01)
                    after = await self._commit(key, snapshot, step)
                    if after is None:
                        return Done()
                    snapshot = after
                case Stop(outcome=outcome):
                    return outcome
                case _:
                    assert_never(step)
        log.warning("reconcile took too many steps and is continued later", steps=MAX_STEPS)
        return RequeueAfter(1.0)

    async def _unreadable(self, key: ObjectKey, snapshot: Snapshot, why: str) -> Outcome:
        """A right is missing: nothing is decided on what cannot be read; say so where an operator looks (SPEC 2.1)."""
        log.warning("an input of the decision cannot be read", why=why)
        draft = Draft(snapshot)
        if snapshot.phase == Phase.RUNNING:
            draft.say(WaitReason.LOCK_UNKNOWN, why)
            draft.unready(WaitReason.LOCK_UNKNOWN, why)
        elif snapshot.phase in ("", Phase.PENDING):
            draft.waiting(WaitReason.LOCK_UNKNOWN, why, start_deadline(snapshot))
        else:
            return RequeueAfter(UNREADABLE)
        if not snapshot.committed and draft.status != snapshot.status and not self._too_soon(key, Lane.PROGRESS):
            await self._commit(key, snapshot, Commit(draft.status, Lane.PROGRESS))
        return RequeueAfter(UNREADABLE)

    def _nothing_to_do(self, cached: CachedObject) -> bool:
        """Ended, let go, no run and no hold left: the state of almost every object, decided without decoding it."""
        return (
            cached.field("status", "phase") in TERMINAL
            and not (cached.field("metadata", "finalizers") or [])
            and not self._world.runs.by_index(BY_OWNER, cached.uid)
            and not self._world.locks.by_index(BY_HOLDER, cached.uid)
        )

    async def _snapshot(self, key: ObjectKey, cached: CachedObject) -> Snapshot | None:
        world = self._world
        wfe = cached.decode()
        if isinstance(world.consistency.ready(key), Waiting):
            # The watch is too slow to wait for: look at the server itself.
            try:
                wfe = await world.api.get(names.WORKFLOWEXECUTIONS, key)
            except NotFound:
                return None
            world.consistency.forget(key)
        know(mapping(spec(wfe).get("parameters")))
        uid = uid_of(wfe)
        snapshot = Snapshot(
            wfe=wfe,
            now=world.clock.now(),
            settings=world.settings(),
            cached_run=self._own_run(wfe),
            cached_task_runs=tuple(t.decode() for t in world.task_runs.by_index(BY_OWNER, uid)),
            cached_pods=tuple(p.decode() for p in world.pods.by_index(BY_OWNER, uid)),
        )
        available, why = world.engine(str(snapshot.engine))
        last_seen = world.graveyard.run(snapshot.run_uid) if snapshot.run_uid else None
        task_runs = snapshot.cached_task_runs or (tuple(world.graveyard.task_runs(uid)) if last_seen else ())
        return replace(
            snapshot,
            engine_available=available,
            engine_why=why,
            last_seen_run=last_seen,
            last_seen_pods=tuple(world.graveyard.pods(uid)),
            cached_task_runs=task_runs,
            lock_conflict_with=self._lock_doubt(snapshot),
            cached_hold=bool(world.locks.by_index(BY_HOLDER, uid)),
        )

    def _own_run(self, wfe: Json) -> Json | None:
        """The run that carries my UID; with several (never ours to make) the one named in status."""
        runs = self._world.runs.by_index(BY_OWNER, uid_of(wfe))
        wanted = mapping(status(wfe).get("pipelineRunRef")).get("uid")
        chosen = next((r for r in runs if r.uid == wanted), None) or next(iter(runs), None)
        return chosen.decode() if chosen is not None else None

    def _lock_doubt(self, snapshot: Snapshot) -> str:
        """Who the cached lock names instead of me while I run; "" when all is well or nothing is known."""
        if snapshot.phase != Phase.RUNNING or snapshot.canonical is None:
            return ""
        record = self._world.locks.get(self._world.ledger.key(snapshot.canonical))
        holder = record.field("status", "holder", "uid") if record is not None else None
        return "" if holder == snapshot.uid else text(holder) or "nobody"

    def _too_soon(self, key: ObjectKey, lane: Lane) -> float:
        """Seconds until the next progress write of this object is due: one a second at most (SPEC 3)."""
        if lane is not Lane.PROGRESS:
            return 0.0
        last = self._last_progress.get(key)
        return 0.0 if last is None else max(0.0, PROGRESS_INTERVAL - (self._world.clock.monotonic() - last))

    async def _commit(self, key: ObjectKey, snapshot: Snapshot, commit: Commit) -> Snapshot | None:
        """The snapshot after the write; None when the object is gone (T29)."""
        try:
            obj = await self._writer.write(snapshot, commit.status, commit.lane)
        except Conflict:
            self._world.instruments.status_conflict()
            raise
        except NotFound as error:
            if error.type_missing:
                raise
            log.info("gone before its status was written", phase=text(commit.status.get("phase")))
            return None
        if commit.lane is Lane.PROGRESS:
            self._last_progress[key] = self._world.clock.monotonic()
        after = replace(snapshot, wfe=obj, committed=True)
        if not after.terminal:
            # Before a launch the lock is read again, live (SPEC 1.3); a settlement may use the record it was told by.
            after = replace(after, inputs=replace(after.inputs, lock=UNREAD))
        self._transition(snapshot, after)
        self._note(after, commit.notes)
        return after

    def _transition(self, before: Snapshot, after: Snapshot) -> None:
        self._started(before, after)
        if before.phase == after.phase:
            return
        log.info("phase", from_=before.phase or "none", to=after.phase, reason=text(after.status.get("reason")))
        instruments = self._world.instruments
        instruments.transition(before.phase, after.phase)
        since = before.start_time if before.phase == Phase.RUNNING else before.created
        if since is not None:
            instruments.phase_lasted(before.phase or Phase.PENDING, max(0.0, (after.now - since).total_seconds()))
        if after.phase == Phase.SKIPPED:
            instruments.skipped(text(mapping(after.status.get("skipDetails")).get("reason")))
        elif after.phase in TERMINAL:
            details = mapping(after.status.get("failureDetails"))
            if details:
                instruments.failed(text(details.get("reason")), details.get("wasExecutionFailure") is not False)
            start, end = after.start_time, parse_rfc3339(after.status.get("completionTime"))
            seconds = (end - start).total_seconds() if start is not None and end is not None else None
            instruments.finished(after.phase, str(after.engine), seconds)
            first_step = condition_since(before.status, ConditionType.TEKTON_PIPELINE_RUNNING)
            if first_step is not None:
                instruments.ran(max(0.0, ((end or after.now) - first_step).total_seconds()))

    def _started(self, before: Snapshot, after: Snapshot) -> None:
        """The first step was seen: from the creation of the run to here."""
        running = ConditionType.TEKTON_PIPELINE_RUNNING
        first = condition_since(after.status, running)
        if first is not None and condition_since(before.status, running) is None and after.start_time is not None:
            self._world.instruments.start_latency(max(0.0, (first - after.start_time).total_seconds()))

    def _note(self, snapshot: Snapshot, notes: tuple[Note, ...]) -> None:
        for note in notes:
            self._world.events.event(snapshot.wfe, note.type, note.reason, hide(note.message))

    def _illegal(self, snapshot: Snapshot, error: IllegalTransition) -> Outcome:
        self._world.instruments.illegal_transition()
        self._world.events.event(snapshot.wfe, "Warning", EventReason.ILLEGAL_TRANSITION, str(error))
        return Terminal(error)


def _correlation(snapshot: Snapshot) -> str:
    return text(mapping(spec(snapshot.wfe).get("remediationRequestRef")).get("name")) or snapshot.key.name

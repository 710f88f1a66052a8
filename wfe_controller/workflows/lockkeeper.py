"""The worker of TargetLocks: clear-block, holders that are gone, runs without an owner, records that say nothing.

One key = one lock. The sweeper and the watches only enqueue keys; everything is decided here on live reads (SPEC 2.6).
A hold is cleared for another only when its holder is gone (404 or another UID) and live LISTs show nothing unfinished
of that UID; the write that clears it records the outcome, and an unknown outcome is a block.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.reasons import BlockReason, EventReason, LockOutcome
from wfe_controller.failure.tekton import observe
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter, Retry
from wfe_controller.kube.errors import ApiError, Conflict, NotFound, transient
from wfe_controller.kube.objects import (
    PODS,
    Json,
    ObjectKey,
    is_deleting,
    key_of,
    name_of,
    resource_version_of,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.clearance import ClearRequest, Ignored, answered, clearance_request, expected_uid
from wfe_controller.locking.decision import Claim, HolderState
from wfe_controller.locking.record import Block, Clearance, Holder, LockRecord, LockUnreadable
from wfe_controller.locking.transitions import Settlement, is_empty
from wfe_controller.workflows import orphan
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.engines.tekton.verdict import survivors
from wfe_controller.workflows.lockcare import LINGER, care_due, lingers, rests
from wfe_controller.workflows.reader import Reader, list_owned
from wfe_controller.workflows.world import BY_TARGET_HASH, BY_UID, World

log = structlog.get_logger("wfe.locks")


class LockKeeper:
    """The reconcile function of the targetlock controller."""

    def __init__(self, world: World, reader: Reader) -> None:
        self._world = world
        self._reader = reader
        # When an orphan was first seen, monotonic seconds. Lost at a restart, which only lengthens its grace.
        self._first_seen: dict[str, float] = {}
        self._alarmed: dict[str, str] = {}

    async def reconcile(self, key: ObjectKey) -> Outcome:
        """Look after one lock, or after the orphans of a target that has no record."""
        due = self._due(key)
        if due is None or due > 0:
            return Done() if due is None else RequeueAfter(due)
        try:
            obj = await self._world.api.get(names.TARGETLOCKS, key)
        except NotFound:
            return await self._orphans(key, None)
        try:
            record = LockRecord.from_object(obj)
        except LockUnreadable as error:
            log.error("TargetLock cannot be understood; nothing starts on its target", lock=str(key), why=str(error))
            self._world.events.event(obj, "Warning", EventReason.LOCK_CONFLICT, str(error))
            return RequeueAfter(300.0)
        record = await self._clear_block(record, obj)
        if record.holder is not None:
            outcome = await self._holder(record, record.holder)
            if outcome is not None:
                return outcome
            return await self._orphans(key, record)
        orphans = await self._orphans(key, record)
        if not isinstance(orphans, Done):
            return orphans
        limits = self._world.settings().limits
        if not is_empty(record, self._world.clock.now(), limits):
            # Expired entries go, and times beyond their window, which only clocks that disagree can write, come back.
            await self._world.ledger.prune(record, limits)
            return Done()
        stays = 0.0 if record.deleting else lingers(record, self._world.clock.now())
        if stays > 0:
            return RequeueAfter(stays)
        if await self._world.ledger.delete_if_empty(record, limits):
            log.debug("empty TargetLock deleted", lock=str(key), target=record.target)
        return Done()

    def _due(self, key: ObjectKey) -> float | None:
        """``care_due`` of the cached lock: most wakes need no request at all. 0 when only the server can tell.

        A cache that lags delays a look, never prevents it: its next event, or the sweep, asks again.
        """
        world = self._world
        cached = world.locks.get(key)
        if cached is None:
            return 0.0
        now, settings = world.clock.now(), world.settings()
        due = care_due(cached, world.executions, now, settings.limits)
        for run in world.runs.by_index(BY_TARGET_HASH, key.name.removeprefix("wfe-")):
            if not world.executions.by_index(BY_UID, text(run.labels.get(names.OWNER_UID))):
                rest = rests(run, now, settings.run_retention)
                due = rest if due is None else min(due, rest)
        return due

    # -- clear-block -------------------------------------------------------------------------------------------------

    async def _clear_block(self, record: LockRecord, obj: Json) -> LockRecord:
        request = clearance_request(obj)
        if request is None:
            return record
        if isinstance(request, Ignored) and not expected_uid(record) and record.clearances:
            # Handled before, nothing is left to clear; what comes after the clearance was lost in a crash.
            await self._tell_blocker(answered(obj, record), record.clearances[-1])
            return await self._world.ledger.remove_clear_annotations(record)
        why = request.why if isinstance(request, Ignored) else await self._survive(record, request)
        if why:
            log.warning("clear-block refused", lock=record.name, why=why)
            self._world.events.event(obj, "Warning", EventReason.CLEAR_BLOCK_REFUSED, why)
            return record
        if isinstance(request, ClearRequest):
            settings, blocked = self._world.settings(), record.block
            record = await self._world.ledger.clear(
                record, by=request.by, reason=request.reason, verified=False, limits=settings.limits
            )
            log.info("block cleared", target=record.target, by=request.by)
            self._world.instruments.cleared(verified=False)
            message = f"cleared by {request.by or 'unknown'} (unverified): {request.reason}"
            self._world.events.event(obj, "Normal", EventReason.BLOCK_CLEARED, message)
            if blocked is not None:
                await self._tell_blocker(blocked.by_uid, record.clearances[-1])
            record = await self._world.ledger.remove_clear_annotations(record)
        return record

    async def _tell_blocker(self, uid: str, clearance: Clearance) -> None:
        """``status.blockClearance`` of the execution that caused the block, if it is still there (BR-WE-013).

        For people only, no decision reads it: a refusal is said and passed over. What a retry may mend is raised while
        the annotations still stand on the lock, so that the next look tells it again.
        """
        for cached in self._world.executions.by_index(BY_UID, uid):
            obj = cached.decode()
            before = status(obj)
            told = {
                "clearedAt": rfc3339(clearance.at),
                "clearedBy": clearance.by[:256],
                "clearReason": clearance.reason[:1024],
                "clearMethod": "Annotation",
                "verified": clearance.verified,
            }
            if before.get("blockClearance") == told or not before.get("failureDetails"):
                continue
            body = {**obj, "status": {**before, "blockClearance": told}}
            try:
                await self._world.api.replace(names.WORKFLOWEXECUTIONS, body, subresource="status", lane=Lane.PROGRESS)
            except NotFound:
                continue
            except ApiError as error:
                if isinstance(error, Conflict) or transient(error):
                    raise
                log.warning("blockClearance not written", workflowexecution=str(cached.key), why=error.message)

    async def _survive(self, record: LockRecord, request: ClearRequest) -> str:
        """Why the block may not be cleared yet ("" = it may): pods of an incomplete cancellation are still there."""
        block = record.block
        if block is None or block.reason != BlockReason.CANCEL_INCOMPLETE or request.force:
            return ""
        namespace = self._world.settings().execution_namespace
        left = survivors(await list_owned(self._world, PODS, namespace, block.by_uid))
        if not left:
            return ""
        return (
            f"pods of the cancelled run are still there: {', '.join(left[:5])}; end them first, or give a reason that "
            f"starts with 'force:'"
        )

    # -- holders -----------------------------------------------------------------------------------------------------

    async def _holder(self, record: LockRecord, holder: Holder) -> Outcome | None:
        """None when the hold is in order; else what to do next."""
        cached = self._world.executions.by_index(BY_UID, holder.uid)
        if cached and cached[0].field("status", "phase") not in TERMINAL:
            return None
        if self._world.settings().watch_namespaces and holder.namespace not in self._world.settings().watch_namespaces:
            log.error("the holder is in a namespace that is not watched; the hold is kept", target=record.target)
            return RequeueAfter(self._world.settings().sweep_interval)
        state = await self._reader.holder_state(holder)
        if state is HolderState.LIVE:
            return None
        if state is HolderState.TERMINAL:
            self._world.wake(ObjectKey(holder.namespace, holder.name))
            # Blocked by itself and still held: it has ended in its status only, and what goes on may go on for long.
            alive = record.block is not None and record.block.by_uid == holder.uid
            return RequeueAfter(self._world.settings().poll_interval if alive else 1.0)
        return await self._release_gone(record, holder)

    async def _release_gone(self, record: LockRecord, holder: Holder) -> Outcome:
        """The holder does not exist any more: end what it left, then record and clear in one write."""
        namespace = self._world.settings().execution_namespace
        runs = await list_owned(self._world, names.PIPELINERUNS, namespace, holder.uid)
        unfinished = await self._unfinished(runs, holder.uid, namespace)
        if unfinished:
            self._alarm(record.raw, f"holder {holder.namespace}/{holder.name} is gone, still there: {unfinished[0]}")
            for run in runs:
                await self._end_orphan(run)
            return RequeueAfter(5.0)
        if record.last_execution is not None and record.last_execution.uid == holder.uid:
            # Taken again after its end, by a request that landed late: its history stands there already.
            await self._world.ledger.drop_hold(record, holder.uid)
            return RequeueAfter(0.1)
        claim = Claim(
            holder.uid,
            holder.name,
            holder.namespace,
            orphan.workflow_id(runs[0]) if runs else orphan.UNKNOWN,
            holder.engine,
        )
        try:
            await self._world.ledger.settle(
                record, claim, _outcome_of(runs, record, holder), self._world.settings().limits
            )
        except Conflict as error:
            return Retry(error)
        self._alarmed.pop(record.uid, None)
        log.warning("hold of a vanished WorkflowExecution cleared", target=record.target, holder=holder.name)
        self._world.instruments.orphan("holds")
        return RequeueAfter(0.1)

    async def _unfinished(self, runs: Iterable[Json], uid: str, namespace: str) -> list[str]:
        task_runs = await list_owned(self._world, names.TASKRUNS, namespace, uid)
        pods = await list_owned(self._world, PODS, namespace, uid)
        return [
            *(f"PipelineRun {name_of(r)}" for r in runs if not launch.is_done(r)),
            *(f"TaskRun {name_of(t)}" for t in task_runs if not launch.is_done(t)),
            *(f"pod {name}" for name in survivors(pods)),
        ]

    # -- orphans -----------------------------------------------------------------------------------------------------

    async def _orphans(self, key: ObjectKey, record: LockRecord | None) -> Outcome:
        """Runs of this target whose WorkflowExecution does not exist (TH18, SPEC 2.6)."""
        holder_uid = record.holder.uid if record is not None and record.holder is not None else ""
        again: float | None = None
        for cached in self._world.runs.by_index(BY_TARGET_HASH, key.name.removeprefix("wfe-")):
            run = cached.decode()
            named = orphan.owners(run)
            living = any(self._world.executions.by_index(BY_UID, uid) for uid in named)
            if not orphan.owner(run) or holder_uid in named or living:
                self._forget(run)
                continue
            if not await self._owner_gone(run, named):
                again = 5.0
                continue
            wait = await self._orphan(key, run, record)
            again = wait if again is None else min(again, wait)
        return Done() if again is None else RequeueAfter(again)

    async def _owner_gone(self, run: Json, named: Iterable[str]) -> bool:
        key = orphan.owner_key(run)
        if key is None:
            return True
        for uid in named:
            holder = Holder(uid, key.name, key.namespace, "tekton", self._world.clock.now())
            if await self._reader.holder_state(holder) is not HolderState.GONE:
                return False
        return True

    async def _orphan(self, key: ObjectKey, run: Json, record: LockRecord | None) -> float:
        """One orphan; returns the seconds until the next look."""
        if is_deleting(run):
            return 5.0
        if launch.is_done(run):
            return await self._finished_orphan(key, run, record)
        if launch.is_pending(run):
            await self._delete(run, "pending run without a WorkflowExecution")
            return 1.0
        if uid_of(run) not in self._first_seen:
            self._world.instruments.orphan(names.PIPELINERUNS.plural)
        self._alarm(run, f"PipelineRun {key_of(run)} runs without its WorkflowExecution {orphan.owner(run)}")
        await self._hold_for(key, run, record)
        await self._end_orphan(run)
        return 5.0

    async def _finished_orphan(self, key: ObjectKey, run: Json, record: LockRecord | None) -> float:
        """Its result was recorded with the release of the hold; keep it for its retention, then delete.

        A record outlives the retention of its last run (``lingers``). One that is missing was lost, and with it
        whatever it said of this run: unless it succeeded, the target is held in its name, and released as unknown.
        """
        settings = self._world.settings()
        now = self._world.clock.now()
        age = (now - orphan.ended_at(run, now)).total_seconds()
        if record is None and age < LINGER and observe(run, [], []).succeeded != "True":
            await self._hold_for(key, run, None)
            return 1.0
        if age < settings.run_retention:
            return settings.run_retention - age
        if survivors(await list_owned(self._world, PODS, settings.execution_namespace, orphan.owner(run))):
            return 10.0
        await self._delete(run, "finished run without a WorkflowExecution, retention over")
        return 5.0

    async def _hold_for(self, key: ObjectKey, run: Json, record: LockRecord | None) -> None:
        """Take the target in the name of the vanished owner, so that nothing else starts while its run lives."""
        if record is None:
            target = orphan.target(run, key.name)
            if not target:
                return  # nobody can tell which target it is; the alarm is all that is left
            record = await self._world.ledger.ensure(target)
        if record.holder is None:
            await self._world.ledger.acquire(record, orphan.claim(run))

    async def _end_orphan(self, run: Json) -> None:
        """After the grace: cancel, then harder, then delete. Elapsed time since it was first seen decides."""
        if launch.is_done(run) or is_deleting(run):
            return
        settings = self._world.settings()
        now = self._world.clock.monotonic()
        elapsed = now - self._first_seen.setdefault(uid_of(run), now) - settings.orphan_grace
        if launch.is_pending(run) or elapsed >= settings.delete_timeout:
            await self._delete(run, "orphan")
        elif elapsed >= 0:
            mode = "Cancelled" if elapsed >= settings.cancel_timeout else "CancelledRunFinally"
            if text(spec(run).get("status")) not in (mode, "Cancelled"):
                patch = patches.json_patch(
                    [patches.test("/metadata/uid", uid_of(run)), patches.add("/spec/status", mode)]
                )
                await self._world.api.patch(names.PIPELINERUNS, key_of(run), patch, lane=Lane.RELEASE)

    async def _delete(self, run: Json, why: str) -> None:
        settled = launch.is_done(run) or launch.is_pending(run)
        try:
            await self._world.api.delete(
                names.PIPELINERUNS,
                key_of(run),
                uid=uid_of(run),
                resource_version=resource_version_of(run) if settled else None,
                propagation="Foreground",
                lane=Lane.RELEASE,
            )
        except (NotFound, Conflict) as error:
            log.debug("run not deleted", run=str(key_of(run)), why=error.message)
        else:
            self._forget(run)
            log.info("run deleted", run=str(key_of(run)), why=why)

    def _forget(self, run: Json) -> None:
        self._first_seen.pop(uid_of(run), None)
        self._alarmed.pop(uid_of(run), None)

    def _alarm(self, regarding: Json, message: str) -> None:
        # Whoever waits for the target asks every second: one line for each thing that is left, not for each look.
        (log.debug if self._alarmed.get(uid_of(regarding)) == message else log.error)("orphan", what=message)
        self._alarmed[uid_of(regarding)] = message
        self._world.events.event(regarding, "Warning", EventReason.ORPHANED_RUN, message)


def _outcome_of(runs: tuple[Json, ...], record: LockRecord, holder: Holder) -> Settlement:
    """What a vanished holder's runs prove: only a single, successful one is a success; all else is unknown."""
    ended = [observe(run, [], []) for run in runs]
    at = max((o.completion_time for o in ended if o.completion_time is not None), default=holder.acquired_at)
    if len(ended) == 1 and ended[0].succeeded == "True":
        return Settlement(LockOutcome.COMPLETED, False, False, at)
    said = ended[0].message if ended else "no run of it is left"
    block = Block(
        BlockReason.ORPHANED_RUN,
        holder.uid,
        holder.name,
        at,
        f"WorkflowExecution {holder.namespace}/{holder.name} vanished while it held {record.target}: {said}",
    )
    return Settlement(LockOutcome.UNKNOWN, True, False, at, block)

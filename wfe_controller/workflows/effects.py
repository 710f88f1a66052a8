"""Doing what a step says, idempotently, and folding the answer back into the snapshot.

A refusal that means "the world moved" empties the input that was stale, so that the next decision reads it again. All
deletes carry a UID, all changes of a run a test on its UID (I-29, I-64, SPEC 2.4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import structlog

from wfe_controller.api import names
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import Conflict as ConflictOutcome
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Invalid,
    KubeError,
    NotFound,
    NotLeading,
)
from wfe_controller.kube.objects import (
    Json,
    annotations_of,
    finalizers_of,
    is_deleting,
    key_of,
    metadata,
    resource_version_of,
    spec,
    uid_of,
)
from wfe_controller.locking.record import Block, LockRecord
from wfe_controller.locking.transitions import HeldByAnother, is_empty
from wfe_controller.workflows.engines.tekton import build, launch
from wfe_controller.workflows.plan import (
    Acquire,
    AddFinalizer,
    BlockTarget,
    CancelRun,
    CreateRun,
    DeleteRun,
    DropHold,
    Effect,
    RemoveFinalizer,
    Settle,
    StartRun,
)
from wfe_controller.workflows.snapshot import UNREAD, Snapshot
from wfe_controller.workflows.world import World

log = structlog.get_logger("wfe.workflows")

REFUSED = 2.0
"""Seconds until a refused change of a run is looked at again."""


class Effects:
    """Performs effects. Returns the changed snapshot, or an outcome that ends the reconcile."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def perform(self, snapshot: Snapshot, effect: Effect) -> Snapshot | Outcome:
        """Raises the KubeError of a call that failed for reasons a retry may mend."""
        match effect:
            case AddFinalizer():
                wanted = [*finalizers_of(snapshot.wfe), names.FINALIZER]
                return await self._finalizers(snapshot, wanted, Lane.START)
            case RemoveFinalizer():
                ours = {names.FINALIZER, *names.LEGACY_FINALIZERS}
                return await self._finalizers(
                    snapshot, [f for f in finalizers_of(snapshot.wfe) if f not in ours], Lane.RELEASE
                )
            case Acquire():
                return await self._acquire(snapshot, effect)
            case DropHold(record=record):
                dropped = await self._world.ledger.drop_hold(record, snapshot.uid)
                log.info("hold dropped, nothing was started", target=record.target)
                return _with(snapshot, lock=dropped)
            case Settle():
                return await self._settle(snapshot, effect)
            case BlockTarget(record=record, block=block):
                return await self._block(snapshot, record, block)
            case CreateRun(manifest=manifest):
                return await self._create(snapshot, manifest)
            case StartRun(run=run):
                return await self._start(snapshot, run)
            case CancelRun(run=run, mode=mode):
                return await self._cancel(snapshot, run, mode)
            case DeleteRun(run=run, why=why):
                return await self._delete(snapshot, run, why)
            case _:
                assert_never(effect)

    async def _finalizers(self, snapshot: Snapshot, wanted: list[str], lane: Lane) -> Snapshot | Outcome:
        if wanted == finalizers_of(snapshot.wfe):
            return snapshot
        patch = patches.merge_patch({"metadata": {"finalizers": wanted or None}}, resource_version_of(snapshot.wfe))
        try:
            obj = await self._world.api.patch(names.WORKFLOWEXECUTIONS, snapshot.key, patch, lane=lane)
        except NotFound:
            return Done()
        self._world.consistency.wrote(
            snapshot.key, names.WORKFLOWEXECUTIONS, uid=uid_of(obj), resource_version=resource_version_of(obj)
        )
        if is_deleting(obj) and not finalizers_of(obj):
            self._world.consistency.forget(snapshot.key)
            return Done()
        return replace(snapshot, wfe=without_managed_fields(obj))

    async def _acquire(self, snapshot: Snapshot, effect: Acquire) -> Snapshot | Outcome:
        ledger, target = self._world.ledger, snapshot.canonical
        if target is None:
            raise AssertionError("a target that cannot be parsed is never acquired")
        record = effect.record
        if record is None:
            record = await ledger.ensure(target)
            if not is_empty(record, self._world.clock.now(), snapshot.settings.limits):
                return _with(snapshot, lock=record)
        try:
            held = await ledger.acquire(record, snapshot.claim)
        except (Conflict, HeldByAnother) as error:
            self._world.instruments.lock_conflict()
            log.debug("somebody else was faster at the lock", target=target, why=str(error))
            return _with(snapshot, lock=UNREAD, holder=UNREAD)
        log.info("lock acquired", target=target)
        self._world.instruments.lock_waited(max(0.0, (self._world.clock.now() - snapshot.created).total_seconds()))
        return _with(snapshot, lock=held, named_run=UNREAD)

    async def _settle(self, snapshot: Snapshot, effect: Settle) -> Snapshot | Outcome:
        try:
            after = await self._world.ledger.settle(
                effect.record, snapshot.claim, effect.settlement, snapshot.settings.limits
            )
        except Conflict as error:
            return ConflictOutcome(error.message)
        log.info("lock released", target=effect.record.target, outcome=effect.settlement.outcome)
        block, before = effect.settlement.block, effect.record.block
        if block is not None and (before is None or before.by_uid != block.by_uid):
            self._world.instruments.blocked(str(block.reason))
        return _with(snapshot, lock=after)

    async def _block(self, snapshot: Snapshot, record: LockRecord, block: Block) -> Snapshot | Outcome:
        try:
            after = await self._world.ledger.block(record, snapshot.uid, block)
        except Conflict as error:
            return ConflictOutcome(error.message)
        log.error("target blocked, still held", target=record.target, why=block.message)
        self._world.instruments.blocked(str(block.reason))
        return _with(snapshot, lock=after)

    async def _create(self, snapshot: Snapshot, manifest: Json) -> Snapshot | Outcome:
        try:
            run = await self._world.api.create(names.PIPELINERUNS, manifest, lane=Lane.START)
        except AlreadyExists:
            return _with(snapshot, named_run=UNREAD)
        except ApiError as error:
            log.warning("the PipelineRun was not created", status=error.status, why=error.message)
            # A 5xx or a webhook's time-out may have come after the commit: look before trying again (P:T5).
            named = UNREAD if error.status >= 500 else snapshot.inputs.named_run
            return replace(_with(snapshot, named_run=named), create_error=error)
        except NotLeading:
            raise
        except KubeError as error:
            log.warning("creating the PipelineRun had no answer", why=str(error))
            return replace(_with(snapshot, named_run=UNREAD), create_error=error)
        log.info("PipelineRun created, pending", pipelinerun=str(key_of(run)))
        self._wrote_run(snapshot, run)
        self._world.instruments.started(str(snapshot.engine))
        return _with(snapshot, named_run=run)

    async def _start(self, snapshot: Snapshot, run: Json) -> Snapshot | Outcome:
        patch = patches.json_patch(
            [
                patches.test("/metadata/uid", uid_of(run)),
                patches.test("/spec/status", spec(run).get("status")),
                patches.remove("/spec/status"),
            ]
        )
        return await self._change(snapshot, run, patch, Lane.START, "PipelineRun started")

    async def _cancel(self, snapshot: Snapshot, run: Json, mode: str) -> Snapshot | Outcome:
        asked = spec(run).get("status")
        guard: list[Json] = []
        if launch.is_pending(run):
            # In one write: only a run that is still pending, and the record that it was.
            record = {**annotations_of(run), build.CANCELLED_WHILE_PENDING: "true"}
            guard = [patches.test("/spec/status", asked), patches.add("/metadata/annotations", record)]
        change = patches.add("/spec/status", mode)
        patch = patches.json_patch([patches.test("/metadata/uid", uid_of(run)), *guard, change])
        return await self._change(snapshot, run, patch, Lane.TERMINAL, f"PipelineRun asked to end: {mode}")

    async def _change(
        self, snapshot: Snapshot, run: Json, patch: patches.Patch, lane: Lane, what: str
    ) -> Snapshot | Outcome:
        try:
            changed = await self._world.api.patch(names.PIPELINERUNS, key_of(run), patch, lane=lane)
        except (NotFound, Invalid, BadRequest, Conflict) as error:
            # Another run, already started, or already done: the next reconcile looks at the server, not at the cache.
            log.info("the PipelineRun was not changed", wanted=what, why=error.message)
            return RequeueAfter(REFUSED) if isinstance(error, BadRequest) else ConflictOutcome(error.message)
        log.info(what, pipelinerun=str(key_of(run)))
        self._wrote_run(snapshot, changed)
        return replace(_with(snapshot, own_run=changed), cached_run=changed)

    async def _delete(self, snapshot: Snapshot, run: Json, why: str) -> Snapshot | Outcome:
        settled = launch.is_pending(run) or launch.is_done(run) or not launch.is_resolved(run)
        try:
            await self._world.api.delete(
                names.PIPELINERUNS,
                key_of(run),
                uid=uid_of(run),
                resource_version=resource_version_of(run) if settled else None,
                propagation="Foreground",
                lane=Lane.RELEASE,
            )
        except NotFound:
            log.debug("the PipelineRun was gone already", pipelinerun=str(key_of(run)))
        except Conflict as error:
            return ConflictOutcome(error.message)
        else:
            log.info("PipelineRun deleted", pipelinerun=str(key_of(run)), uid=uid_of(run), why=why)
        marked = {**run, "metadata": {**metadata(run), "deletionTimestamp": rfc3339(snapshot.now)}}
        mine = snapshot.cached_run is not None and uid_of(snapshot.cached_run) == uid_of(run)
        return replace(
            _with(snapshot, named_run=UNREAD, own_run=UNREAD, name_users=UNREAD),
            cached_run=marked if mine else snapshot.cached_run,
        )

    def _wrote_run(self, snapshot: Snapshot, run: Json) -> None:
        self._world.consistency.wrote(
            snapshot.key,
            names.PIPELINERUNS,
            uid=uid_of(run),
            resource_version=resource_version_of(run),
            object_key=key_of(run),
        )


def _with(snapshot: Snapshot, **inputs: Any) -> Snapshot:
    return replace(snapshot, inputs=replace(snapshot.inputs, **inputs))


def without_managed_fields(obj: Json) -> Json:
    """The object as the cache would show it; a PUT without managedFields leaves those of the server alone."""
    meta = dict(metadata(obj))
    meta.pop("managedFields", None)
    return {**obj, "metadata": meta}

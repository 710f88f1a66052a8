"""TargetLocks in the API: read one live, write one transition as one compare-and-swap (SPEC 1.3, 2.4).

Neighbours: transitions says what to write, ``kube.client.Api`` writes it. Invariants: every change is exactly one PUT
on /status with the resourceVersion of the record it was decided on; a Conflict goes up, because the decision was made
on stale data and has to be made again; nothing is cached here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from wfe_controller.api.names import (
    ANNOTATION_CLEAR_BLOCK,
    LOCK_FINALIZER,
    TARGETLOCKS,
    by,
    lock_name,
    reason,
)
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.patches import Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, Resource
from wfe_controller.locking import transitions
from wfe_controller.locking.decision import Claim
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, LockRecord, LockUnreadable
from wfe_controller.locking.transitions import Settlement, Unchanged

CLEAR_ANNOTATIONS = (ANNOTATION_CLEAR_BLOCK, by(ANNOTATION_CLEAR_BLOCK), reason(ANNOTATION_CLEAR_BLOCK))


class LockApi(Protocol):
    """What the ledger needs of ``kube.client.Api`` (the gated one, so that no write happens without the lease)."""

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane = ...) -> Json: ...

    async def create(self, resource: Resource, obj: Json, *, lane: Lane, dry_run: bool = ...) -> Json: ...

    async def replace(self, resource: Resource, obj: Json, *, subresource: str | None = ..., lane: Lane) -> Json: ...

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Patch, *, subresource: str | None = ..., lane: Lane
    ) -> Json: ...

    async def delete(
        self,
        resource: Resource,
        key: ObjectKey,
        *,
        uid: str,
        resource_version: str | None = ...,
        propagation: str = ...,
        lane: Lane,
    ) -> None: ...


class Ledger:
    """The TargetLocks of one installation, in the controller's namespace."""

    def __init__(self, api: LockApi, namespace: str, clock: Clock) -> None:
        self._api = api
        self._namespace = namespace
        self._clock = clock

    def key(self, target: str) -> ObjectKey:
        """The key of the record of that canonical target."""
        return ObjectKey(self._namespace, lock_name(target))

    async def read(self, target: str, lane: Lane = Lane.READ) -> LockRecord | None:
        """The record, read live; None when there is none.

        Raises LockUnreadable (also when TargetLocks are not served at all: a missing type is not a free target),
        TargetCollision, or the KubeError of the read.
        """
        try:
            obj = await self._api.get(TARGETLOCKS, self.key(target), lane=lane)
        except NotFound as error:
            if error.type_missing:
                raise LockUnreadable(
                    f"the API server does not serve {TARGETLOCKS.group_resource}: apply manifests/crds"
                ) from error
            return None
        return LockRecord.from_object(obj, target)

    async def ensure(self, target: str) -> LockRecord:
        """The record, created empty (and with its finalizer) when there is none.

        For a caller who has just read that there is none: the create asks the server again by itself.
        """
        obj: Json = {
            "apiVersion": TARGETLOCKS.api_version,
            "kind": TARGETLOCKS.kind,
            "metadata": {
                "name": lock_name(target),
                "namespace": self._namespace,
                "finalizers": [LOCK_FINALIZER],
            },
            "spec": {"target": target},
        }
        try:
            created = await self._api.create(TARGETLOCKS, obj, lane=Lane.START)
        except AlreadyExists as error:
            record = await self.read(target)
            if record is None:
                raise Conflict(409, "Conflict", f"TargetLock {lock_name(target)} came and went") from error
            return record
        return LockRecord.from_object(created, target)

    async def acquire(self, record: LockRecord, claim: Claim) -> LockRecord:
        """Hold the target. Raises Conflict when the record moved, HeldByAnother when it was not free as read."""
        return await self._write(record, transitions.acquire(record, claim, self._clock.now()), Lane.START)

    async def settle(self, record: LockRecord, claim: Claim, settlement: Settlement, limits: Limits) -> LockRecord:
        """The one end write. The given record comes back, unwritten, when the claim does not hold it."""
        after = transitions.settle(record, claim, settlement, self._clock.now(), limits)
        return await self._write(record, after, Lane.RELEASE)

    async def drop_hold(self, record: LockRecord, uid: str) -> LockRecord:
        """Give an unused hold back without history."""
        return await self._write(record, transitions.drop_hold(record, uid), Lane.RELEASE)

    async def block(self, record: LockRecord, uid: str, block: Block) -> LockRecord:
        """Block the target and keep the hold; the given record comes back, unwritten, when ``uid`` does not hold it."""
        return await self._write(record, transitions.block(record, uid, block), Lane.RELEASE)

    async def clear(
        self, record: LockRecord, *, by: str, reason: str, verified: bool, limits: Limits, at: datetime | None = None
    ) -> LockRecord:
        """Lift the block and all streaks. The annotations come off afterwards, with ``remove_clear_annotations``."""
        at = at or self._clock.now()
        after = transitions.clear(record, by=by, at=at, reason=reason, verified=verified, limits=limits)
        return await self._write(record, after, Lane.RELEASE)

    async def prune(self, record: LockRecord, limits: Limits) -> LockRecord:
        """Store the record without what has no effect any more, and without times beyond their window."""
        return await self._write(record, transitions.prune(record, self._clock.now(), limits), Lane.PROGRESS)

    async def remove_clear_annotations(self, record: LockRecord) -> LockRecord:
        """Take the three annotations of a handled clear-block off; a request written meanwhile gives Conflict."""
        present = {key: None for key in CLEAR_ANNOTATIONS if key in record.annotations}
        if not present:
            return record
        patch = patches.merge_patch({"metadata": {"annotations": present}}, record.resource_version)
        try:
            obj = await self._api.patch(TARGETLOCKS, self.key(record.target), patch, lane=Lane.PROGRESS)
        except NotFound as error:
            raise _vanished(record) from error
        return LockRecord.from_object(obj, record.target)

    async def delete_if_empty(self, record: LockRecord, limits: Limits) -> bool:
        """Delete a record that says nothing; False when it says something or moved meanwhile.

        The order is delete, look again, finalizer off, each bound to the resourceVersion of the step before. While the
        finalizer is on, the delete only marks the object, so an acquire that slips in between lands on an object that
        is still there: the third step then refuses (the version moved) and the terminating record goes on deciding
        until it is empty again. With the finalizer taken off first, a record acquired in between would be left
        without it, and any plain delete would lose the hold.
        """
        if not transitions.is_empty(record, self._clock.now(), limits):
            return False
        key = self.key(record.target)
        try:
            if not record.deleting:
                await self._api.delete(
                    TARGETLOCKS, key, uid=record.uid, resource_version=record.resource_version, lane=Lane.PROGRESS
                )
                marked = await self.read(record.target)
                if marked is None or marked.uid != record.uid:
                    return True
                record = marked
            if not record.deleting or not transitions.is_empty(record, self._clock.now(), limits):
                return False
            if LOCK_FINALIZER in record.finalizers:
                await self._api.patch(TARGETLOCKS, key, _finalizer_off(record), lane=Lane.PROGRESS)
        except (Conflict, Invalid):
            return False  # the record moved: the next sweep looks again (a failed test answers 422)
        except NotFound:
            return True
        return True

    async def _write(self, before: LockRecord, after: LockRecord | Unchanged, lane: Lane) -> LockRecord:
        if isinstance(after, Unchanged) or after == before:
            return before
        try:
            written = await self._api.replace(TARGETLOCKS, after.to_object(), subresource="status", lane=lane)
        except NotFound as error:
            raise _vanished(before) from error
        return LockRecord.from_object(written, before.target)


def _vanished(record: LockRecord) -> Conflict:
    """For the caller a deleted record and a moved one are the same thing: read again, decide again."""
    return Conflict(409, "Conflict", f"TargetLock {record.name} was deleted meanwhile")


def _finalizer_off(record: LockRecord) -> Patch:
    index = record.finalizers.index(LOCK_FINALIZER)
    path = patches.pointer("metadata", "finalizers", index)
    return patches.json_patch(
        [
            patches.test(patches.pointer("metadata", "resourceVersion"), record.resource_version),
            patches.test(path, LOCK_FINALIZER),
            patches.remove(path),
        ]
    )

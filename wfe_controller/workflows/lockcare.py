"""When a TargetLock needs its keeper. Pure, on cached objects: a sweep asks it of every lock, so it must be cheap."""

from __future__ import annotations

from datetime import datetime

from wfe_controller.api import names
from wfe_controller.api.conditions import get_condition
from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.reasons import ConditionType
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.store import Store
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import LockRecord, LockUnreadable
from wfe_controller.locking.transitions import is_empty, prune
from wfe_controller.workflows import orphan
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.world import BY_UID

LINGER = 600.0
"""Seconds an empty record is kept after its last release or clearance; longer than the default retention of runs, so
that a finished run without a record is one whose record was lost."""

FIRST_LOOK = 5.0
"""Seconds for which a record just created, or a holder that just ended, is left to the worker that is busy with it."""


def needs_care(obj: CachedObject, executions: Store, now: datetime, limits: Limits) -> bool:
    """Whether a cached lock has anything for its keeper to do, now or soon. Cheap: a sweep asks it of every lock."""
    return care_due(obj, executions, now, limits) is not None


def care_due(obj: CachedObject, executions: Store, now: datetime, limits: Limits) -> float | None:
    """Seconds until the keeper should look at a cached lock, 0 = now, None = there is nothing to look for.

    A wish to clear, a holder that has ended or is not known, or nothing left to say. When in doubt now.
    """
    if obj.deleting or names.ANNOTATION_CLEAR_BLOCK in obj.annotations:
        return 0.0
    holder = obj.field("status", "holder", "uid")
    if holder is not None:
        found = executions.by_index(BY_UID, holder) if isinstance(holder, str) else []
        if not found:
            return 0.0
        if found[0].field("status", "phase") not in TERMINAL:
            return None
        return _left(_ended_at(found[0]), now)
    try:
        record = LockRecord.from_object(obj.decode())
    except LockUnreadable:
        return 0.0
    if is_empty(record, now, limits):
        return max(_left(obj.creation_timestamp, now), lingers(record, now))
    return 0.0 if prune(record, now, limits) is not record else None


def lingers(record: LockRecord, now: datetime) -> float:
    """Seconds a record that decides nothing any more is still kept: whoever just cleared a block looks for it, and a
    target that is worked on again and again needs no new record each time."""
    last = [record.last_execution.released_at] if record.last_execution is not None else []
    last += [clearance.at for clearance in record.clearances[-1:]]
    return max(0.0, LINGER - (now - max(last)).total_seconds()) if last else 0.0


def rests(run: CachedObject, now: datetime, retention: float) -> float:
    """Seconds for which nothing is to be done about a run without an owner whose target has a record: its result stands
    there already, and it is kept for its retention. 0 = look at it. A deleted namespace leaves hundreds of them."""
    obj = run.decode()
    if run.deleting or not launch.is_done(obj):
        return 0.0
    return max(0.0, retention - (now - orphan.ended_at(obj, now)).total_seconds())


def _ended_at(execution: CachedObject) -> object:
    """When its terminal status was written; the completionTime is that of the run, which may be long ago."""
    finished = get_condition(execution.field("status", "conditions"), ConditionType.FINISHED)
    return finished.get("lastTransitionTime") if finished is not None else None


def _left(instant: object, now: datetime) -> float:
    """What is left of FIRST_LOOK after ``instant``; 0 when that is no time, or one that only a wrong clock writes."""
    since = parse_rfc3339(instant)
    age = (now - since).total_seconds() if since is not None else FIRST_LOOK
    return FIRST_LOOK - age if abs(age) < FIRST_LOOK else 0.0

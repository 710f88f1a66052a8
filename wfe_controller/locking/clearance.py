"""The clear-block request of a person, as it stands on a TargetLock (SPEC 7, 12). Pure.

Neighbours: the lock worker asks here, refuses when survivors of a cancelled run exist (unless ``force``), decides
``verified``, and writes through the ledger: clearance first, annotations off second. Invariant: one request clears one
block. The value names the execution that caused it, so an annotation that stays behind never clears the next block;
and one that is older than the block it would clear was handled before and only its removal was lost in a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from wfe_controller.api.names import ANNOTATION_CLEAR_BLOCK, by, reason
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import Json, annotations_of, items, mapping, metadata, text
from wfe_controller.locking.decision import UNKNOWN
from wfe_controller.locking.record import LockRecord
from wfe_controller.locking.transitions import BY_MAX, MESSAGE_MAX

MIN_REASON = 10
FORCE = "force:"

_CLOCK_TOLERANCE = timedelta(seconds=5)
"""The annotation's time is the API server's, the block's is ours."""


@dataclass(frozen=True, slots=True)
class ClearRequest:
    """A request to act on. ``requested_at``: when the annotation was set, as the API server recorded it, if it did."""

    uid: str
    by: str
    reason: str
    force: bool
    requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A request that clears nothing, and why (for the Warning event)."""

    why: str


def expected_uid(record: LockRecord) -> str:
    """The value ``clear-block`` has to have: the UID in block.by; without a block, but with failure streaks, the UID of
    the last execution (SPEC leaves open how an exhausted target without a block is cleared); "" = nothing to clear."""
    if record.block is not None:
        return record.block.by_uid
    if record.last_execution is not None and any(entry.consecutive_failures for entry in record.workflows):
        return record.last_execution.uid
    return ""


def clearance_request(lock_obj: Json) -> ClearRequest | Ignored | None:
    """What the annotations of that TargetLock ask for; None when they ask for nothing.

    Raises LockUnreadable when the record itself cannot be understood.
    """
    annotations = annotations_of(lock_obj)
    value = text(annotations.get(ANNOTATION_CLEAR_BLOCK)).strip()
    if ANNOTATION_CLEAR_BLOCK not in annotations:
        return None
    record = LockRecord.from_object(lock_obj)
    expected = expected_uid(record)
    if not expected:
        return Ignored(f"{record.target} has no block and no failure streak to clear")
    if value != expected:
        return Ignored(
            f"{ANNOTATION_CLEAR_BLOCK} is {_shown(value)} but the block to clear is that of {expected}: "
            f"check that execution, then set its UID"
        )
    why = text(annotations.get(reason(ANNOTATION_CLEAR_BLOCK))).strip()
    if len(why) < MIN_REASON:
        return Ignored(f"{reason(ANNOTATION_CLEAR_BLOCK)} must say why in at least {MIN_REASON} characters")
    requested_at = _set_at(lock_obj)
    since = record.block.since if record.block is not None else None
    if requested_at is not None and since is not None and requested_at + _CLOCK_TOLERANCE < since:
        return Ignored(
            f"{ANNOTATION_CLEAR_BLOCK} was set before the block it names: remove the annotation, check the target "
            f"again, then set it anew"
        )
    who = text(annotations.get(by(ANNOTATION_CLEAR_BLOCK))).strip()
    return ClearRequest(expected, who or UNKNOWN, why, why.lower().startswith(FORCE), requested_at)


def answered(lock_obj: Json, record: LockRecord) -> str:
    """The execution that was meant when the newest clearance answered exactly this request; "" = it did not.

    After a crash right behind the clearance the record does not say any more whose block it was; the request does.
    """
    annotations = annotations_of(lock_obj)
    who = text(annotations.get(by(ANNOTATION_CLEAR_BLOCK))).strip() or UNKNOWN
    why = text(annotations.get(reason(ANNOTATION_CLEAR_BLOCK))).strip()
    newest = record.clearances[-1] if record.clearances else None
    if newest is None or (newest.by, newest.reason) != (who[:BY_MAX], why[:MESSAGE_MAX]):
        return ""
    return text(annotations.get(ANNOTATION_CLEAR_BLOCK)).strip()


def _shown(value: str) -> str:
    return repr(value if len(value) <= 64 else value[:61] + "...")


def _set_at(obj: Json) -> datetime | None:
    """When the value of clear-block was last set, from managedFields; None when that is not recorded."""
    times = [
        parse_rfc3339(mapping(entry).get("time"))
        for entry in items(metadata(obj).get("managedFields"))
        if f"f:{ANNOTATION_CLEAR_BLOCK}"
        in mapping(mapping(mapping(mapping(entry).get("fieldsV1")).get("f:metadata")).get("f:annotations"))
    ]
    return max((t for t in times if t is not None), default=None)

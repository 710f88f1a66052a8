"""The TargetLock object as typed, frozen data: the lock and the ledger of one target (SPEC 1.3).

Neighbours: decision and transitions work on ``LockRecord`` only; ledger reads and writes the object.
Invariants: what cannot be understood is refused as a whole (``LockUnreadable``), because a decision on half a record
would allow what the other half forbids; what is not ours is carried through every write (``status_json`` starts from
the status that was read and replaces only what changed), because a newer version may have written it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.objects import (
    Json,
    annotations_of,
    finalizers_of,
    is_deleting,
    name_of,
    namespace_of,
    resource_version_of,
    spec,
    text,
    uid_of,
)


class LockUnreadable(Exception):
    """The record's shape cannot be understood. Callers wait with LockUnknown; they never act (SPEC 2.1)."""


class TargetCollision(Exception):
    """Two canonical targets share one record name. Says both; nothing may run on either through this record."""

    def __init__(self, name: str, stored: str, wanted: str) -> None:
        super().__init__(
            f"TargetLock {name} belongs to target {stored!r}, and {wanted!r} has the same hash: "
            f"both cannot be locked at once; rename one of the resources or run its workflow in another installation"
        )
        self.name = name
        self.stored = stored
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class Holder:
    """Who may act on the target now. ``uid`` alone decides; the rest is for people and for finding the object."""

    uid: str
    name: str
    namespace: str
    engine: str
    acquired_at: datetime


@dataclass(frozen=True, slots=True)
class LastExecution:
    """The newest end on this target. ``completed_at`` is when the work ended, ``released_at`` when we recorded it."""

    uid: str
    name: str
    workflow_id: str
    outcome: str
    completed_at: datetime
    released_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """What the target remembers of one workflow: its streak of failures that never started, and its cooldown."""

    workflow_id: str
    consecutive_failures: int = 0
    last_failure_at: datetime | None = None
    next_allowed: datetime | None = None
    cooldown_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """The target's state is unknown: nothing runs on it until a person clears it."""

    reason: str
    by_uid: str
    by_name: str
    since: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Clearance:
    """One decision of a person to lift a block; ``verified`` = the admission policies vouch for ``by`` (SPEC 7)."""

    by: str
    at: datetime
    reason: str
    verified: bool


@dataclass(frozen=True, slots=True)
class LockRecord:
    """One TargetLock. ``raw`` is the object as read; it is never changed and never compared."""

    target: str
    holder: Holder | None = None
    last_execution: LastExecution | None = None
    workflows: tuple[WorkflowEntry, ...] = ()
    block: Block | None = None
    clearances: tuple[Clearance, ...] = ()
    raw: Json = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return name_of(self.raw)

    @property
    def namespace(self) -> str:
        return namespace_of(self.raw)

    @property
    def uid(self) -> str:
        return uid_of(self.raw)

    @property
    def resource_version(self) -> str:
        return resource_version_of(self.raw)

    @property
    def deleting(self) -> bool:
        return is_deleting(self.raw)

    @property
    def annotations(self) -> Mapping[str, str]:
        return annotations_of(self.raw)

    @property
    def finalizers(self) -> list[str]:
        return finalizers_of(self.raw)

    def entry(self, workflow_id: str) -> WorkflowEntry | None:
        """The stored entry of that workflow, expired or not."""
        return next((e for e in self.workflows if e.workflow_id == workflow_id), None)

    @classmethod
    def from_object(cls, obj: Json, target: str | None = None) -> LockRecord:
        """Read one TargetLock object.

        ``target`` is the canonical target the caller wants; another one in the object raises ``TargetCollision``.
        Raises ``LockUnreadable`` naming the field when any part cannot be understood.
        """
        stored = text(spec(obj).get("target"))
        if not stored:
            raise LockUnreadable(f"TargetLock {name_of(obj) or '(unnamed)'}: spec.target is missing or not a string")
        if target is not None and stored != target:
            raise TargetCollision(name_of(obj), stored, target)
        status = obj.get("status")
        reader = _Reader(name_of(obj))
        if status is None:
            status = {}
        if not isinstance(status, Mapping):
            raise reader.refuse("status", "an object")
        return cls(
            target=stored,
            holder=reader.holder(status.get("holder")),
            last_execution=reader.last_execution(status.get("lastExecution")),
            workflows=reader.workflows(status.get("workflows")),
            block=reader.block(status.get("block")),
            clearances=reader.clearances(status.get("clearances")),
            raw=obj,
        )

    def status_json(self) -> Json:
        """The status to write: what was read, with only the parts replaced that differ from it."""
        raw_status = self.raw.get("status")
        out: Json = copy.deepcopy(dict(raw_status)) if isinstance(raw_status, Mapping) else {}
        before = LockRecord.from_object(self.raw) if self.raw else LockRecord(self.target)
        if self.holder != before.holder:
            same = before.holder is not None and self.holder is not None and before.holder.uid == self.holder.uid
            _put(out, "holder", _holder_json(self.holder), keep=same)
        if self.last_execution != before.last_execution:
            _put(out, "lastExecution", _last_json(self.last_execution), keep=False)
        if self.block != before.block:
            same = before.block is not None and self.block is not None and before.block.by_uid == self.block.by_uid
            _put(out, "block", _block_json(self.block), keep=same)
        if self.workflows != before.workflows:
            raw_entries = {e["workflowId"]: e for e in out.get("workflows") or []}
            stored = {e.workflow_id: e for e in before.workflows}
            out["workflows"] = [
                raw_entries[e.workflow_id]
                if stored.get(e.workflow_id) == e
                else _merged(raw_entries.get(e.workflow_id, {}), _entry_json(e))
                for e in self.workflows
            ]
        if self.clearances != before.clearances:
            raw_clearances = dict(zip(before.clearances, out.get("clearances") or [], strict=True))
            out["clearances"] = [raw_clearances.get(c, _clearance_json(c)) for c in self.clearances]
        return out

    def to_object(self) -> Json:
        """The whole object for a PUT on /status, with the resourceVersion this record was read at."""
        out = copy.deepcopy(self.raw)
        out["status"] = self.status_json()
        return out


_KNOWN_ENTRY = ("consecutiveFailures", "lastFailureAt", "nextAllowedExecution", "cooldownUntil")


def _put(out: Json, key: str, value: Json | None, *, keep: bool) -> None:
    if value is None:
        out.pop(key, None)
    elif keep:
        out[key] = {**out[key], **value}
    else:
        out[key] = value


def _merged(raw: Json, ours: Json) -> Json:
    """Unknown fields of ``raw`` survive; known ones are exactly ``ours``, so that an absent one disappears."""
    return {**{k: v for k, v in raw.items() if k not in _KNOWN_ENTRY}, **ours}


def _holder_json(holder: Holder | None) -> Json | None:
    if holder is None:
        return None
    return {
        "uid": holder.uid,
        "name": holder.name,
        "namespace": holder.namespace,
        "engine": holder.engine,
        "acquiredAt": rfc3339(holder.acquired_at),
    }


def _last_json(last: LastExecution | None) -> Json | None:
    if last is None:
        return None
    return {
        "uid": last.uid,
        "name": last.name,
        "workflowId": last.workflow_id,
        "outcome": last.outcome,
        "completedAt": rfc3339(last.completed_at),
        "releasedAt": rfc3339(last.released_at),
    }


def _entry_json(entry: WorkflowEntry) -> Json:
    out: Json = {"workflowId": entry.workflow_id, "consecutiveFailures": entry.consecutive_failures}
    for key, instant in (
        ("lastFailureAt", entry.last_failure_at),
        ("nextAllowedExecution", entry.next_allowed),
        ("cooldownUntil", entry.cooldown_until),
    ):
        if instant is not None:
            out[key] = rfc3339(instant)
    return out


def _block_json(block: Block | None) -> Json | None:
    if block is None:
        return None
    return {
        "reason": block.reason,
        "by": {"uid": block.by_uid, "name": block.by_name},
        "since": rfc3339(block.since),
        "message": block.message,
    }


def _clearance_json(clearance: Clearance) -> Json:
    return {
        "by": clearance.by,
        "at": rfc3339(clearance.at),
        "reason": clearance.reason,
        "verified": clearance.verified,
    }


class _Reader:
    """Strict parsing with the path of the first thing that is wrong."""

    def __init__(self, name: str) -> None:
        self._name = name

    def refuse(self, path: str, wanted: str) -> LockUnreadable:
        return LockUnreadable(f"TargetLock {self._name or '(unnamed)'}: {path} is not {wanted}")

    def _object(self, path: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.refuse(path, "an object")
        return value

    def _list(self, path: str, value: object) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(path, "a list")
        return value

    def _string(self, path: str, value: object, *, empty: bool = False) -> str:
        if value is None and empty:
            return ""
        if not isinstance(value, str) or not (value or empty):
            raise self.refuse(path, "a string" if empty else "a non-empty string")
        return value

    def _instant(self, path: str, value: object) -> datetime:
        parsed = parse_rfc3339(value)
        if parsed is None:
            raise self.refuse(path, "an RFC 3339 time")
        if parsed.year >= 9000:  # limits are added to it, and there is no year 10000
            raise self.refuse(path, "a time before the year 9000")
        return parsed

    def _optional_instant(self, path: str, value: object) -> datetime | None:
        return None if value is None else self._instant(path, value)

    def holder(self, value: object) -> Holder | None:
        if value is None:
            return None
        raw = self._object("status.holder", value)
        return Holder(
            uid=self._string("status.holder.uid", raw.get("uid")),
            name=self._string("status.holder.name", raw.get("name")),
            namespace=self._string("status.holder.namespace", raw.get("namespace")),
            engine=self._string("status.holder.engine", raw.get("engine"), empty=True),
            acquired_at=self._instant("status.holder.acquiredAt", raw.get("acquiredAt")),
        )

    def last_execution(self, value: object) -> LastExecution | None:
        if value is None:
            return None
        raw = self._object("status.lastExecution", value)
        return LastExecution(
            uid=self._string("status.lastExecution.uid", raw.get("uid")),
            name=self._string("status.lastExecution.name", raw.get("name"), empty=True),
            workflow_id=self._string("status.lastExecution.workflowId", raw.get("workflowId"), empty=True),
            outcome=self._string("status.lastExecution.outcome", raw.get("outcome")),
            completed_at=self._instant("status.lastExecution.completedAt", raw.get("completedAt")),
            released_at=self._instant("status.lastExecution.releasedAt", raw.get("releasedAt")),
        )

    def workflows(self, value: object) -> tuple[WorkflowEntry, ...]:
        entries: list[WorkflowEntry] = []
        seen: set[str] = set()
        for index, item in enumerate(self._list("status.workflows", value)):
            path = f"status.workflows[{index}]"
            raw = self._object(path, item)
            workflow_id = self._string(f"{path}.workflowId", raw.get("workflowId"))
            if workflow_id in seen:
                raise self.refuse(f"{path}.workflowId", f"unique ({workflow_id!r} stands there twice)")
            seen.add(workflow_id)
            failures = raw.get("consecutiveFailures")
            failures = 0 if failures is None else failures
            if not isinstance(failures, int) or isinstance(failures, bool) or failures < 0:
                raise self.refuse(f"{path}.consecutiveFailures", "a number >= 0")
            entries.append(
                WorkflowEntry(
                    workflow_id,
                    failures,
                    self._optional_instant(f"{path}.lastFailureAt", raw.get("lastFailureAt")),
                    self._optional_instant(f"{path}.nextAllowedExecution", raw.get("nextAllowedExecution")),
                    self._optional_instant(f"{path}.cooldownUntil", raw.get("cooldownUntil")),
                )
            )
        return tuple(entries)

    def block(self, value: object) -> Block | None:
        if value is None:
            return None
        raw = self._object("status.block", value)
        by = self._object("status.block.by", raw.get("by"))
        return Block(
            # A reason this version does not know is still a block.
            reason=self._string("status.block.reason", raw.get("reason")),
            by_uid=self._string("status.block.by.uid", by.get("uid")),
            by_name=self._string("status.block.by.name", by.get("name"), empty=True),
            since=self._instant("status.block.since", raw.get("since")),
            message=self._string("status.block.message", raw.get("message"), empty=True),
        )

    def clearances(self, value: object) -> tuple[Clearance, ...]:
        out: list[Clearance] = []
        for index, item in enumerate(self._list("status.clearances", value)):
            path = f"status.clearances[{index}]"
            raw = self._object(path, item)
            out.append(
                Clearance(
                    by=self._string(f"{path}.by", raw.get("by"), empty=True),
                    at=self._instant(f"{path}.at", raw.get("at")),
                    reason=self._string(f"{path}.reason", raw.get("reason"), empty=True),
                    verified=raw.get("verified") is True,
                )
            )
        return tuple(out)

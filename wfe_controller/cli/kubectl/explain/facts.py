"""What ``explain`` knows: the objects around one WorkflowExecution, as read, and questions often asked of them.

Pure. Neighbours: gather reads, decide answers. Invariant: what could not be read is an ``Unread``, never an empty
value, so that nothing is concluded from a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from wfe_controller.api.conditions import get_condition
from wfe_controller.api.names import OWNER_UID
from wfe_controller.api.phases import is_terminal
from wfe_controller.api.reasons import ConditionReason, ConditionType
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.cli.kubectl.explain.model import Explanation, Next, Situation, Who
from wfe_controller.cli.kubectl.words import CommandLine, age, one_line
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import (
    Json,
    ObjectKey,
    annotations_of,
    items,
    labels_of,
    mapping,
    metadata,
    name_of,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.record import LockRecord, LockUnreadable

LEASE_SLACK = 3.0
"""Seconds on top of the lease's own duration: its renewal is in flight, and the server's Date has whole seconds."""
ENDED_POD = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be looked at: what, and the server's reason."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class Leader(StrEnum):
    ALIVE = "alive"
    SILENT = "silent"  # somebody holds the Lease and does not renew it
    NONE = "none"  # nobody holds it, or there is none
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Facts:
    """``wfe`` None: it does not exist. Other objects: None = not there, Unread = not readable.

    ``run`` is whatever stands under the run's name; ``own_run`` asks whether it is this execution's. ``survivors``:
    pods of the execution that caused the block which have not ended. ``accounts``: whether the runner accounts exist.
    ``lease_moves``: whether the Lease was renewed before our eyes, None = nobody looked; ``leads_elsewhere``: other
    namespaces in which a controller of ours holds its Lease.
    """

    key: ObjectKey
    now: datetime
    wfe: Json | None
    home: str
    execution: str
    lock: Json | Unread | None = None
    holder: Json | Unread | None = None
    run: Json | Unread | None = None
    task_runs: list[Json] | Unread = field(default_factory=list)
    pods: list[Json] | Unread = field(default_factory=list)
    survivors: list[Json] | Unread = field(default_factory=list)
    events: list[Json] | Unread = field(default_factory=list)
    lock_events: list[Json] | Unread = field(default_factory=list)
    lease: Json | Unread | None = None
    lease_moves: bool | None = None
    leads_elsewhere: tuple[str, ...] = ()
    deployment: Json | Unread | None = None
    accounts: Mapping[str, bool | Unread] = field(default_factory=dict)
    commands: CommandLine = field(default_factory=CommandLine)

    # -- the execution -----------------------------------------------------------------------------------------------

    @property
    def obj(self) -> Json:
        return self.wfe or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return status(self.obj)

    @property
    def uid(self) -> str:
        return uid_of(self.obj)

    @property
    def phase(self) -> str:
        return text(self.status.get("phase"))

    @property
    def ended(self) -> bool:
        return is_terminal(self.phase)

    @property
    def reason(self) -> str:
        return text(self.status.get("reason"))

    @property
    def message(self) -> str:
        return one_line(text(self.status.get("message")))

    @property
    def created(self) -> datetime:
        return parse_rfc3339(metadata(self.obj).get("creationTimestamp")) or self.now

    def at(self, *path: str) -> datetime | None:
        """An instant of the status."""
        value: object = self.status
        for step in path:
            value = mapping(value).get(step)
        return parse_rfc3339(value)

    def condition(self, type_: str) -> Mapping[str, Any]:
        return get_condition(self.status.get("conditions"), type_) or {}

    def true_since(self, type_: str) -> datetime | None:
        found = self.condition(type_)
        return parse_rfc3339(found.get("lastTransitionTime")) if found.get("status") == "True" else None

    @property
    def engine(self) -> str:
        return text(self.status.get("executionEngine")) or (
            "steps" if spec(self.obj).get("workflowDefinition") is not None else "tekton"
        )

    @property
    def workflow_id(self) -> str:
        own = spec(self.obj)
        return text(mapping(own.get("workflowRef")).get("workflowId")) or text(
            mapping(own.get("workflowDefinition")).get("name")
        )

    @property
    def target(self) -> str:
        """The canonical target; as it was written when it has no canonical form."""
        written = text(spec(self.obj).get("targetResource"))
        if not written and isinstance(self.lock, dict):
            return text(spec(self.lock).get("target"))
        try:
            return parse_target(written).canonical
        except TargetError:
            return written

    # -- around it ---------------------------------------------------------------------------------------------------

    @property
    def record(self) -> LockRecord | LockUnreadable | Unread | None:
        if self.lock is None or isinstance(self.lock, Unread):
            return self.lock
        try:
            return LockRecord.from_object(self.lock)
        except LockUnreadable as error:
            return error

    @property
    def who(self) -> Who | None:
        """The holder in the lock, None = nobody, or nobody can say."""
        record = self.record
        if not isinstance(record, LockRecord) or record.holder is None:
            return None
        holder = record.holder
        return Who(holder.namespace, holder.name, holder.uid, holder.acquired_at)

    @property
    def own_run(self) -> Json | None:
        """The run of this execution, when it is there and readable."""
        if not isinstance(self.run, dict):
            return None
        named = text(mapping(self.status.get("pipelineRunRef")).get("uid"))
        mine = uid_of(self.run) == named if named else owner_of(self.run) == self.uid
        return self.run if mine else None

    @property
    def live_pods(self) -> list[Json]:
        return [] if isinstance(self.pods, Unread) else unfinished(self.pods)

    @property
    def leader(self) -> Leader:
        if isinstance(self.lease, Unread):
            return Leader.UNKNOWN
        held = spec(self.lease or {})
        if not text(held.get("holderIdentity")):
            return Leader.NONE
        if self.lease_moves is not None:
            return Leader.ALIVE if self.lease_moves else Leader.SILENT
        late, duration = self.lease_age, held.get("leaseDurationSeconds")
        limit = (duration if isinstance(duration, int) else 15) + LEASE_SLACK
        return Leader.ALIVE if late is not None and late <= limit else Leader.SILENT

    @property
    def lease_age(self) -> float | None:
        """Seconds since the Lease was renewed, by two clocks: the controller wrote the one, the server the other."""
        renewed = parse_rfc3339(spec(self.lease if isinstance(self.lease, dict) else {}).get("renewTime"))
        return None if renewed is None else (self.now - renewed).total_seconds()

    @property
    def lease_is_doubtful(self) -> bool:
        """Whether only a second look tells if it is alive: a wrong clock looks like a controller that is dead."""
        if isinstance(self.lease, Unread) or not text(spec(self.lease or {}).get("holderIdentity")):
            return False
        late = self.lease_age
        return self.leader is Leader.SILENT or (late is not None and late < -LEASE_SLACK)

    @property
    def skew(self) -> str:
        """What there is to say of the controller's clock."""
        late = self.lease_age
        if not self.lease_moves or late is None:
            return ""
        side = "behind" if late > 0 else "ahead of"
        return f"the clock of the controller is about {age(abs(late))} {side} that of the API server"

    @property
    def unread(self) -> tuple[str, ...]:
        """Everything that could not be looked at."""
        seen = (
            self.lock,
            self.holder,
            self.run,
            self.task_runs,
            self.pods,
            self.survivors,
            self.events,
            self.lock_events,
            self.lease,
            self.deployment,
            *self.accounts.values(),
        )
        return tuple(dict.fromkeys(str(fact) for fact in seen if isinstance(fact, Unread)))

    def warnings(self, newer_than: datetime | None = None, limit: int = 2) -> tuple[str, ...]:
        """The newest Warning Events on the execution, one line each."""
        return _warnings(self.events, newer_than, limit)

    def refusals(self, newer_than: datetime | None) -> tuple[str, ...]:
        """Why a clear-block of this block was refused, from the lock's Events."""
        if isinstance(self.lock_events, Unread):
            return ()
        refused = [e for e in self.lock_events if e.get("reason") == "ClearBlockRefused"]
        return _warnings(refused, newer_than, 1)

    def told(self, situation: Situation, headline: str, next_: Next, **more: Any) -> Explanation:
        """An explanation with the answers that every situation shares."""
        readable = self.lock is None or isinstance(self.record, LockRecord)
        shared = {
            "name": str(self.key),
            "target": self.target,
            "now": self.now,
            "ended_at": self.at("completionTime") if self.ended else None,
            "holder": self.who,
            "holder_known": readable,
            "unread": self.unread,
        }
        notes = (text(self.condition(ConditionType.PAUSED).get("message")) if self._pause_ignored else "", self.skew)
        evidence = (*more.pop("evidence", ()), *(one_line(note) for note in notes if note))
        return Explanation(situation, headline, next_, **{**shared, **more, "evidence": evidence})

    @property
    def _pause_ignored(self) -> bool:
        """Somebody asked for a pause or a cancellation in words that mean none."""
        return self.condition(ConditionType.PAUSED).get("reason") == ConditionReason.ANNOTATION_IGNORED


def owner_of(run: Mapping[str, Any]) -> str:
    """The UID of the WorkflowExecution a run belongs to; "" when it is none of ours."""
    return text(annotations_of(run).get(OWNER_UID)) or text(labels_of(run).get(OWNER_UID))


def unfinished(pods: list[Json]) -> list[Json]:
    """Pods that may still act: every phase but Succeeded and Failed, unknown ones included."""
    return sorted((pod for pod in pods if text(status(pod).get("phase")) not in ENDED_POD), key=name_of)


def event_time(event: Mapping[str, Any]) -> datetime | None:
    """When it was last seen."""
    series = mapping(event.get("series"))
    times = (
        event.get("lastTimestamp"),
        series.get("lastObservedTime"),
        event.get("eventTime"),
        metadata(event).get("creationTimestamp"),
    )
    return next((at for at in map(parse_rfc3339, times) if at is not None), None)


def _warnings(events: list[Json] | Unread, newer_than: datetime | None, limit: int) -> tuple[str, ...]:
    if isinstance(events, Unread):
        return ()
    found = [(event_time(e), e) for e in events if e.get("type") == "Warning"]
    dated = [(at, e) for at, e in found if at is not None and (newer_than is None or at >= newer_than)]
    dated.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(f"Event {text(e.get('reason'))}: {one_line(text(e.get('message')))}" for _, e in dated[:limit])


def waiting_pods(facts: Facts) -> list[Mapping[str, Any]]:
    """``status.pipelineRunStatus.waiting``: pods that do not get on."""
    return [mapping(w) for w in items(mapping(facts.status.get("pipelineRunStatus")).get("waiting"))]

"""The answer of ``explain``: one situation, answers to fixed questions, and ONE next command. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json


class Situation(StrEnum):
    """Every answer ``explain`` knows. The words are stable: scripts may switch on them."""

    # nobody works on it
    NO_LEADER = "no-leader"
    NOT_SEEN = "not-seen"
    NOT_WATCHED = "not-watched"
    # it waits
    PAUSED = "paused"
    ENGINE_UNAVAILABLE = "engine-unavailable"
    LOCK_UNKNOWN = "lock-unknown"
    WAITING_FOR_RELEASE = "waiting-for-release"
    WAITING_FOR_ORPHAN = "waiting-for-orphan"
    CREATE_RETRYING = "create-retrying"
    WAITING = "waiting"
    # it runs
    RESOLVING = "resolving-bundle"
    STARTING = "starting"
    RUNNING = "running"
    IMAGE_PULL = "image-pull"
    UNSCHEDULABLE = "unschedulable"
    POD_WAITING = "pod-waiting"
    DRAINING = "draining"
    CANCELLING = "cancelling"
    DELETING = "deleting"
    DELETION_HELD = "deletion-held"
    LOCK_CONFLICT = "lock-conflict"
    # it has ended
    COMPLETED = "completed"
    INVALID_SPEC = "invalid-spec"
    MISSING_SERVICE_ACCOUNT = "missing-service-account"
    PERMISSION_DENIED = "permission-denied"
    NEVER_STARTED = "never-started"
    CANCELLED_BEFORE_START = "cancelled-before-start"
    FAILED_BEFORE_START = "failed-before-start"
    FAILED_EXECUTION = "failed-execution"
    FAILED_DEADLINE = "failed-deadline"
    CANCELLED = "cancelled"
    RUN_DELETED = "run-deleted"
    CANCEL_INCOMPLETE = "cancel-incomplete"
    # it was skipped, and this stands in the way of another one now
    BUSY = "busy"
    FOREIGN_RUN = "foreign-run"
    COOLDOWN = "cooldown"
    BACKOFF = "backoff"
    EXHAUSTED = "exhausted"
    BLOCKED_EXECUTION_FAILED = "blocked-execution-failed"
    BLOCKED_CANCEL_INCOMPLETE = "blocked-cancel-incomplete"
    BLOCKED_ORPHANED_RUN = "blocked-orphaned-run"
    SKIPPED = "skipped"
    # it does not exist
    GONE = "gone"
    GONE_BLOCKING = "gone-blocking"
    GONE_HOLDING = "gone-holding"


@dataclass(frozen=True, slots=True)
class Next:
    """The one command to run now, and why that one. ``look``: what shows the target first, "" = no need to look."""

    command: str
    why: str
    look: str = ""

    def to_json(self) -> Json:
        told = {"command": self.command, "why": self.why, "look": self.look}
        return {key: value for key, value in told.items() if value or key != "look"}


@dataclass(frozen=True, slots=True)
class Who:
    """Who has the target."""

    namespace: str
    name: str
    uid: str = ""
    since: datetime | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def to_json(self) -> Json:
        told = {"namespace": self.namespace, "name": self.name, "uid": self.uid}
        since = {"since": rfc3339(self.since)} if self.since is not None else {}
        return {**{key: value for key, value in told.items() if value}, **since}


@dataclass(frozen=True, slots=True)
class Explanation:
    """``headline``: one sentence, what it is doing. The other fields answer one question each; "" or None = there is
    no answer: since when, when the execution itself ended (what keeps others off may be older), what is waited for,
    when it ends by itself at the latest, who has the target, when may it (or another) run, what proves the end, what
    was changed. ``holder`` None is nobody only when ``holder_known``. ``unread``: what could not be looked at, and
    why; nothing was guessed in its place."""

    situation: Situation
    headline: str
    next: Next
    name: str = ""
    target: str = ""
    now: datetime | None = None
    since: datetime | None = None
    ended_at: datetime | None = None
    waiting_for: str = ""
    ends_at: datetime | None = None
    holder: Who | None = None
    holder_known: bool = False
    allowed_at: datetime | None = None
    evidence: tuple[str, ...] = ()
    changed: str = ""
    unread: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """For ``-o json``: absent answers are absent."""
        out: Json = {"situation": str(self.situation), "headline": self.headline}
        told = {
            "name": self.name,
            "target": self.target,
            "since": rfc3339(self.since) if self.since else "",
            "endedAt": rfc3339(self.ended_at) if self.ended_at else "",
            "waitingFor": self.waiting_for,
            "endsAt": rfc3339(self.ends_at) if self.ends_at else "",
            "allowedAt": rfc3339(self.allowed_at) if self.allowed_at else "",
            "evidence": list(self.evidence),
            "changed": self.changed,
            "unread": list(self.unread),
        }
        out |= {key: value for key, value in told.items() if value}
        if self.holder_known:
            out["holder"] = self.holder.to_json() if self.holder is not None else None
        out["next"] = self.next.to_json()
        return out

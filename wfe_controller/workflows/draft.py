"""The next status of one object, built from the present one. Pure; the only place that spells status fields.

Neighbours: phases/* and engines/* draft, status_writer writes. Every phase set here passes the transition table (S4).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wfe_controller.api.conditions import get_condition, remove_condition, set_condition
from wfe_controller.api.durations import format_duration
from wfe_controller.api.phases import Phase, transition
from wfe_controller.api.reasons import ConditionReason, ConditionType, WaitReason
from wfe_controller.failure.redaction import hide
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.objects import Json
from wfe_controller.workflows.snapshot import Snapshot

MESSAGE_MAX = 1024


def shorten(message: str, limit: int = MESSAGE_MAX) -> str:
    """``message`` cut to ``limit`` characters, the cut shown."""
    return message if len(message) <= limit else message[: limit - 3] + "..."


class Draft:
    """A copy of the status to change. ``enter`` refuses illegal edges with IllegalTransition."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.status: Json = copy.deepcopy(dict(snapshot.status))
        self.status["observedGeneration"] = snapshot.generation
        self.status["executionEngine"] = str(snapshot.engine)

    def enter(self, phase: Phase) -> None:
        transition(self.snapshot.phase, phase, self.snapshot.engine)
        self.status["phase"] = str(phase)

    def condition(self, type_: ConditionType, value: bool, reason: str, message: str) -> None:
        self.status["conditions"] = set_condition(
            self.status.get("conditions"),
            type_,
            value,
            reason,
            hide(message),
            generation=self.snapshot.generation,
            now=self.snapshot.now,
        )

    def drop_condition(self, type_: ConditionType) -> None:
        if get_condition(self.status.get("conditions"), type_) is not None:
            self.status["conditions"] = remove_condition(self.status.get("conditions"), type_)

    def say(self, reason: str | None, message: str | None) -> None:
        """``status.reason`` and ``status.message``; None removes the field (plainly running)."""
        for field, value in (("reason", reason), ("message", message)):
            if value is None:
                self.status.pop(field, None)
            else:
                self.status[field] = shorten(hide(str(value)) if field == "message" else str(value))

    def deadline(self, instant: datetime | None) -> None:
        if instant is None:
            self.status.pop("deadlineAt", None)
        else:
            self.status["deadlineAt"] = rfc3339(instant)

    def unready(self, reason: str, message: str) -> None:
        self.condition(ConditionType.READY, False, reason, message)

    def waiting(self, reason: WaitReason, message: str, deadline: datetime | None) -> None:
        """Pending, with the cause where an operator looks first: reason, message, Ready and the deadline."""
        if not self.snapshot.phase or self.snapshot.phase == Phase.PENDING:
            self.enter(Phase.PENDING)
        self.say(reason, message)
        self.unready(reason, message)
        self.deadline(deadline)
        self.paused(reason is WaitReason.PAUSED, message)

    def paused(self, paused: bool, message: str) -> None:
        """The Paused condition; it appears with the first pause, or wish for one, and stays, as False, after it."""
        if self.snapshot.pause_ignored:
            said = self.snapshot.pause_ignored
            self.condition(ConditionType.PAUSED, False, ConditionReason.ANNOTATION_IGNORED, said)
        elif paused:
            self.condition(ConditionType.PAUSED, True, ConditionReason.PAUSED_BY_ANNOTATION, message)
        elif get_condition(self.status.get("conditions"), ConditionType.PAUSED) is not None:
            self.condition(ConditionType.PAUSED, False, ConditionReason.RESUMED, "the pause annotation was removed")

    def end(self, phase: Phase, completed: datetime, reason: str | None, message: str | None) -> None:
        """The fields every terminal status has; ``completed`` is clamped to [startTime, now]."""
        self.enter(phase)
        start = self.snapshot.start_time
        completed = min(completed, self.snapshot.now)
        if start is not None:
            completed = max(completed, start)
            self.status["duration"] = format_duration(timedelta(seconds=int((completed - start).total_seconds())))
        self.status["completionTime"] = rfc3339(completed)
        self.say(reason, message)
        self.deadline(None)
        text = shorten(message or str(phase))
        self.condition(ConditionType.FINISHED, True, str(phase), text)
        if phase is Phase.COMPLETED:
            self.condition(ConditionType.READY, True, ConditionReason.READY, text)
        else:
            self.unready(reason or str(phase), text)


def condition_since(status: Mapping[str, Any], type_: ConditionType) -> datetime | None:
    """When the condition became True; None when it is not True."""
    entry = get_condition(status.get("conditions"), type_)
    if entry is None or entry.get("status") != "True":
        return None
    return parse_rfc3339(entry.get("lastTransitionTime"))


def condition_reason(status: Mapping[str, Any], type_: ConditionType) -> str:
    """The reason of the condition, "" when it is absent."""
    entry = get_condition(status.get("conditions"), type_)
    return str(entry.get("reason") or "") if entry is not None else ""

"""Algebra of ``status.conditions``: upsert by type, tolerant of what other writers leave behind (SH18, P:W7).

A condition list is a list of plain dicts. lastTransitionTime moves only when the status value changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json, text

MESSAGE_MAX = 1024
"""Our own bound; the schema of metav1.Condition allows 32768."""
STATUSES = ("True", "False", "Unknown")


def _clean(conditions: object) -> list[Json]:
    """The entries that are objects with a type, the first of each type, in their order."""
    out: list[Json] = []
    seen: set[str] = set()
    for entry in conditions if isinstance(conditions, list) else []:
        type_ = text(entry.get("type")) if isinstance(entry, Mapping) else ""
        if type_ and type_ not in seen:
            seen.add(type_)
            out.append(dict(entry))
    return out


def set_condition(
    conditions: object,
    type_: str,
    status: str | bool,
    reason: str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> list[Json]:
    """A new list in which ``type_`` has the given value; the input (``status.conditions``, any shape) is not changed.

    ``status`` is "True", "False", "Unknown" or a bool. An entry whose meaning (status, reason, message, generation) is
    unchanged stays byte for byte, so that an equal status is not written again. Entries the API server would refuse
    (no object, no type, a type seen before) are dropped.
    """
    value = ("True" if status else "False") if isinstance(status, bool) else status
    if value not in STATUSES:
        raise ValueError(f"condition status {value!r} is not one of {', '.join(STATUSES)}")
    if not reason:
        raise ValueError(f"condition {type_} needs a reason")
    if len(message) > MESSAGE_MAX:
        message = message[: MESSAGE_MAX - 3] + "..."
    out = _clean(conditions)
    fresh: Json = {
        "type": str(type_),
        "status": value,
        "reason": str(reason),
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": rfc3339(now),
    }
    for index, entry in enumerate(out):
        if entry["type"] == type_:
            if entry.get("status") == value and text(entry.get("lastTransitionTime")):
                fresh["lastTransitionTime"] = entry["lastTransitionTime"]
            out[index] = fresh
            return out
    out.append(fresh)
    return out


def get_condition(conditions: object, type_: str) -> Mapping[str, Any] | None:
    """The condition of that type, or None; any odd shape reads as absent."""
    return next((entry for entry in _clean(conditions) if entry["type"] == type_), None)


def is_true(conditions: object, type_: str) -> bool:
    """True only when the condition is there and its status is "True"."""
    entry = get_condition(conditions, type_)
    return entry is not None and entry.get("status") == "True"


def remove_condition(conditions: object, type_: str) -> list[Json]:
    """The list without that type."""
    return [entry for entry in _clean(conditions) if entry["type"] != type_]

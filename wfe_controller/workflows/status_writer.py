"""The one status write of a reconcile: equal is skipped, 409 goes up, too large shrinks (I-59..I-62, P:S1, TH26)."""

from __future__ import annotations

import msgspec
import structlog

from wfe_controller.api import names
from wfe_controller.api.conditions import set_condition
from wfe_controller.api.phases import TERMINAL
from wfe_controller.api.reasons import ConditionReason, ConditionType, FailureReason
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import Invalid, TooLarge
from wfe_controller.kube.objects import Json, items, mapping, resource_version_of, text, uid_of
from wfe_controller.workflows.effects import without_managed_fields
from wfe_controller.workflows.snapshot import Snapshot
from wfe_controller.workflows.world import World

log = structlog.get_logger("wfe.workflows")

SHORT = 256
"""Characters a message keeps when the status is over its budget."""


class StatusWriter:
    """Writes ``status`` by PUT on the subresource with the resourceVersion the decision was made on."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def write(self, snapshot: Snapshot, status: Json, lane: Lane) -> Json:
        """The object as the server has it afterwards. Raises Conflict when the inputs were stale."""
        status = self._within_budget(snapshot, status)
        try:
            obj = await self._put(snapshot, status, lane)
        except TooLarge:
            log.error("the status is too large for the server, writing a minimal one")
            obj = await self._put(snapshot, minimal(snapshot, status), lane)
        except Invalid as error:
            if text(status.get("phase")) not in TERMINAL:
                raise
            # A verdict must not be lost because a word is not in the server's enum (an older CRD): say it in prose.
            log.error("the server refused the terminal status, writing a minimal one", why=error.message)
            obj = await self._put(snapshot, plain(snapshot, status, error.message), lane)
        self._world.consistency.wrote(
            snapshot.key, names.WORKFLOWEXECUTIONS, uid=uid_of(obj), resource_version=resource_version_of(obj)
        )
        return without_managed_fields(obj)

    async def _put(self, snapshot: Snapshot, status: Json, lane: Lane) -> Json:
        body = {**snapshot.wfe, "status": status}
        return await self._world.api.replace(names.WORKFLOWEXECUTIONS, body, subresource="status", lane=lane)

    def _within_budget(self, snapshot: Snapshot, status: Json) -> Json:
        budget = snapshot.settings.status_budget
        if len(msgspec.json.encode(status)) <= budget:
            return status
        self._world.instruments.status_truncated()
        small = {
            **status,
            "steps": [{**step, "message": _cut(step.get("message"))} for step in items(status.get("steps"))],
        }
        small = _marked(snapshot, {key: value for key, value in small.items() if value or key not in ("steps",)})
        return small if len(msgspec.json.encode(small)) <= budget else minimal(snapshot, status)


def _cut(value: object) -> str:
    message = text(value)
    return message if len(message) <= SHORT else f"{message[: SHORT // 2]} ... {message[-SHORT // 2 :]}"


def _marked(snapshot: Snapshot, status: Json) -> Json:
    conditions = set_condition(
        status.get("conditions"),
        ConditionType.STATUS_TRUNCATED,
        True,
        ConditionReason.STATUS_TOO_LARGE,
        "parts of the status were cut so that it fits",
        generation=snapshot.generation,
        now=snapshot.now,
    )
    return {**status, "conditions": conditions}


def minimal(snapshot: Snapshot, status: Json) -> Json:
    """Under 4 KiB of what nobody can do without: phase, times, the reference, reason, a short message."""
    kept = ("phase", "observedGeneration", "executionEngine", "startTime", "completionTime", "pipelineRunRef", "reason")
    small = {key: status[key] for key in kept if key in status}
    small["message"] = _cut(status.get("message"))
    details = mapping(status.get("failureDetails"))
    if details:
        small["failureDetails"] = {
            key: _cut(value) if isinstance(value, str) else value for key, value in details.items() if key != "evidence"
        }
        small["failureReason"] = details.get("reason")
    conditions = [{**c, "message": _cut(c.get("message"))} for c in items(status.get("conditions"))][:12]
    return _marked(snapshot, {**small, "conditions": conditions})


def plain(snapshot: Snapshot, status: Json, why: str) -> Json:
    """The terminal status in words every version of the CRD knows; the original reason stands in the message."""
    small = minimal(snapshot, status)
    details = mapping(small.get("failureDetails"))
    if details:
        said = f"{text(details.get('reason'))}: {text(details.get('message'))}"
        small["failureDetails"] = {**details, "reason": str(FailureReason.UNKNOWN), "message": _cut(said)}
        small["failureReason"] = str(FailureReason.UNKNOWN)
    small.pop("skipDetails", None)
    return {**small, "message": _cut(f"{text(small.get('message'))} (the server refused the full status: {why})")}

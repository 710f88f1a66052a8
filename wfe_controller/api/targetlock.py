"""The TargetLock: lock and ledger of one target, our own object in the controller's namespace (SPEC 1.3).

``spec.target`` is the canonical target and immutable; everything else is status, which only the controller writes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wfe_controller.api.phases import Engine
from wfe_controller.api.reasons import BlockReason, LockOutcome
from wfe_controller.api.schema import (
    Count,
    Instant,
    Message,
    Name,
    Namespace,
    ShortText,
    SpecModel,
    StatusModel,
    Uid,
    extra,
)
from wfe_controller.api.targets import MAX_LENGTH

MAX_WORKFLOWS = 64
MAX_CLEARANCES = 10

WorkflowId = Annotated[str, Field(max_length=256)]


class TargetLockSpec(SpecModel):
    """Which target this lock stands for."""

    target: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]
    """The canonical target: [namespace/]kind/name."""


class LockHolder(StatusModel):
    """The execution that may act on the target now."""

    uid: Uid
    name: Name
    namespace: Namespace
    engine: Engine | None = None
    acquired_at: Instant


class LockLastExecution(StatusModel):
    """The last execution that held the target and has ended."""

    uid: Uid
    name: Name
    workflow_id: WorkflowId
    outcome: LockOutcome
    completed_at: Instant | None = None
    released_at: Instant | None = None


class LockWorkflow(StatusModel):
    """Streak and waiting times of one workflow on this target."""

    workflow_id: WorkflowId
    consecutive_failures: Count | None = None
    last_failure_at: Instant | None = None
    next_allowed_execution: Instant | None = None
    cooldown_until: Instant | None = None


class LockBlockedBy(StatusModel):
    uid: Uid
    name: Name


class LockBlock(StatusModel):
    """Why nothing may run on the target until an operator clears it. Outlives the execution."""

    reason: BlockReason
    by: LockBlockedBy
    since: Instant
    message: Message | None = None


class LockClearance(StatusModel):
    """An operator's decision to lift a block."""

    by: ShortText
    at: Instant
    reason: Message
    verified: bool | None = None


class TargetLockStatus(StatusModel):
    """Who holds the target, what happened on it, and what stands in the way of the next execution."""

    holder: LockHolder | None = None
    last_execution: LockLastExecution | None = None
    workflows: (
        Annotated[
            list[LockWorkflow],
            Field(max_length=MAX_WORKFLOWS, json_schema_extra=extra(list_type="map", list_map_keys=["workflowId"])),
        ]
        | None
    ) = None
    block: LockBlock | None = None
    clearances: (
        Annotated[list[LockClearance], Field(max_length=MAX_CLEARANCES, json_schema_extra=extra(list_type="atomic"))]
        | None
    ) = None

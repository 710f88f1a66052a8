"""What a phase handler may answer: read something, do one thing, commit the status, or stop here.

Handlers are pure: ``decide(snapshot) -> Step``. The reconciler performs the step, folds its result into the snapshot
and asks again, so that every decision is made on what is known *after* the previous effect (SPEC 2.4: decide purely,
act once). At most one ``Commit`` per reconcile (I-59).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.control.outcomes import Outcome
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import Block, LockRecord
from wfe_controller.locking.transitions import Settlement


class Input(StrEnum):
    """Inputs that are read from the API server when, and only when, a decision depends on them."""

    LOCK = "lock"
    HOLDER = "holder"
    NAMED_RUN = "named-run"
    OWN_RUN = "own-run"
    TASK_RUNS = "task-runs"
    PODS = "pods"
    NAME_USERS = "name-users"
    RUNNER_ACCOUNT = "runner-account"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Read:
    what: Input


@dataclass(frozen=True, slots=True)
class AddFinalizer: ...


@dataclass(frozen=True, slots=True)
class RemoveFinalizer: ...


@dataclass(frozen=True, slots=True)
class Acquire:
    """Compare-and-swap of the holder into the record the decision was made on (None: create the record first)."""

    record: LockRecord | None


@dataclass(frozen=True, slots=True)
class DropHold:
    """Clear the hold without history: nothing was ever started."""

    record: LockRecord


@dataclass(frozen=True, slots=True)
class Settle:
    """The end write: history, cooldown or block, and the hold cleared, in one compare-and-swap."""

    record: LockRecord
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class BlockTarget:
    """Block the target and keep the hold: the status has ended, what it started has not."""

    record: LockRecord
    block: Block


@dataclass(frozen=True, slots=True)
class CreateRun:
    manifest: Json


@dataclass(frozen=True, slots=True)
class StartRun:
    """Take a pending run out of pending; refused by the server when it is another run or already started."""

    run: Json


@dataclass(frozen=True, slots=True)
class CancelRun:
    run: Json
    mode: Literal["CancelledRunFinally", "Cancelled"]


@dataclass(frozen=True, slots=True)
class DeleteRun:
    """Foreground delete with uid (and, when finished, resourceVersion) preconditions."""

    run: Json
    why: str


Effect = (
    AddFinalizer
    | RemoveFinalizer
    | Acquire
    | DropHold
    | Settle
    | BlockTarget
    | CreateRun
    | StartRun
    | CancelRun
    | DeleteRun
)


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to record once the step it belongs to is done."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Act:
    effect: Effect
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Write ``status``. Events follow the write, never precede it."""

    status: Json
    lane: Lane
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    outcome: Outcome


Step = Read | Act | Commit | Stop

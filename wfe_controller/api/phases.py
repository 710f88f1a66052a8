"""Phases of a WorkflowExecution, its two engines, and the only table of legal edges (S-13.3, SPEC 1.1).

Every phase ever written passes through ``transition``; terminal is final here and by CEL in the CRD. "" is an object
without a status: since Pending is written only by an object that waits, a first write may name a later phase at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    PENDING = "Pending"
    PLANNING = "Planning"
    AWAITING_APPROVAL = "AwaitingApproval"
    VALIDATING = "Validating"
    RUNNING = "Running"
    ROLLING_BACK = "RollingBack"
    DEGRADED = "Degraded"
    COMPLETED = "Completed"
    FAILED = "Failed"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"
    SKIPPED = "Skipped"


class Engine(StrEnum):
    TEKTON = "tekton"
    STEPS = "steps"


TERMINAL: frozenset[Phase] = frozenset(
    {Phase.COMPLETED, Phase.FAILED, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED, Phase.SKIPPED}
)

_UNSTARTED = frozenset({Phase.FAILED, Phase.SKIPPED})

EDGES: Mapping[Engine, Mapping[str, frozenset[Phase]]] = {
    Engine.TEKTON: {
        "": _UNSTARTED | {Phase.PENDING, Phase.RUNNING},
        Phase.PENDING: _UNSTARTED | {Phase.RUNNING},
        Phase.RUNNING: frozenset({Phase.COMPLETED, Phase.FAILED}),
    },
    Engine.STEPS: {
        "": _UNSTARTED | {Phase.PENDING, Phase.PLANNING},
        Phase.PENDING: _UNSTARTED | {Phase.PLANNING},
        Phase.PLANNING: frozenset({Phase.FAILED, Phase.AWAITING_APPROVAL, Phase.VALIDATING}),
        Phase.AWAITING_APPROVAL: frozenset({Phase.FAILED, Phase.VALIDATING}),
        Phase.VALIDATING: _UNSTARTED | {Phase.RUNNING},
        Phase.RUNNING: frozenset({Phase.COMPLETED, Phase.FAILED, Phase.ROLLING_BACK, Phase.DEGRADED}),
        Phase.DEGRADED: frozenset({Phase.ROLLING_BACK, Phase.FAILED}),
        Phase.ROLLING_BACK: frozenset({Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED}),
    },
}
# A spec that names no engine, or both, can only wait or fail.
_NO_ENGINE: Mapping[str, frozenset[Phase]] = {
    "": frozenset({Phase.PENDING, Phase.FAILED}),
    Phase.PENDING: frozenset({Phase.FAILED}),
}


class IllegalTransition(Exception):
    """An edge the table does not have. Refuse it, log it, count it; never write it."""

    def __init__(self, from_: str, to: Phase, engine: Engine | None) -> None:
        super().__init__(f"phase {from_ or 'none'} -> {to} is no edge of the {engine or 'unknown'} engine")
        self.from_ = from_
        self.to = to
        self.engine = engine


def transition(from_: str, to: Phase, engine: Engine | None) -> None:
    """Return if a status may go from ``from_`` ("" = none yet) to ``to``; raise IllegalTransition otherwise.

    Staying in the same phase is no transition and always allowed. An unknown ``from_`` has no edges.
    """
    if from_ == to:
        return
    table = EDGES[engine] if engine is not None else _NO_ENGINE
    if to not in table.get(from_, frozenset()):
        raise IllegalTransition(from_, to, engine)


def is_terminal(phase: str) -> bool:
    """True for a terminal phase; False for every other text, "" included."""
    return phase in TERMINAL

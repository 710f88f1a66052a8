"""What the workflow shell reports, as a Protocol; app/metrics implements it with prometheus_client.

Called only after the write that made it true was committed (TH36). Arguments are the API's own words (phases, reasons,
engines): anything else is counted as "other", so that no text of a user ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class WorkflowInstruments(Protocol):
    def started(self, engine: str) -> None:
        """A run was created (not adopted)."""

    def finished(self, outcome: str, engine: str, seconds: float | None) -> None:
        """A terminal phase other than Skipped; ``seconds`` from startTime to completionTime, None if it never ran."""

    def failed(self, reason: str, was_execution_failure: bool) -> None:
        """The failureDetails of an end other than Completed."""

    def skipped(self, reason: str) -> None: ...

    def transition(self, from_: str, to: str) -> None:
        """A committed change of phase; "" = no phase yet."""

    def phase_lasted(self, phase: str, seconds: float) -> None:
        """How long an object was in a phase it has just left."""

    def illegal_transition(self) -> None: ...

    def status_conflict(self) -> None:
        """A status write that met 409."""

    def status_truncated(self) -> None: ...

    def lock_conflict(self) -> None:
        """A hold was re-asserted and found in other hands."""

    def lock_waited(self, seconds: float) -> None:
        """From creation to the acquire."""

    def start_latency(self, seconds: float) -> None:
        """From the acquire to the first step."""

    def ran(self, seconds: float) -> None:
        """From the first step to the end, pods drained."""

    def targets(self, *, held: int, blocked: int, backoff: int, exhausted: int) -> None:
        """TargetLocks by state, all of them at once."""

    def objects(self, by_phase: Mapping[str, int]) -> None:
        """WorkflowExecutions by phase; a phase that is absent is 0."""

    def waiting(self, by_reason: Mapping[str, int]) -> None:
        """Non-terminal WorkflowExecutions by the reason why they wait; a reason that is absent is 0."""

    def blocked(self, reason: str) -> None:
        """A block was written on a target."""

    def cleared(self, *, verified: bool) -> None:
        """A block was cleared by an operator."""

    def orphan(self, kind: str) -> None:
        """Found by a sweep: a run, job, child or hold without a living owner. ``kind``: a plural or "holds"."""


class NoWorkflowInstruments:
    """Counts nothing; for tests and tools."""

    def started(self, engine: str) -> None: ...
    def finished(self, outcome: str, engine: str, seconds: float | None) -> None: ...
    def failed(self, reason: str, was_execution_failure: bool) -> None: ...
    def skipped(self, reason: str) -> None: ...
    def transition(self, from_: str, to: str) -> None: ...
    def phase_lasted(self, phase: str, seconds: float) -> None: ...
    def illegal_transition(self) -> None: ...
    def status_conflict(self) -> None: ...
    def status_truncated(self) -> None: ...
    def lock_conflict(self) -> None: ...
    def lock_waited(self, seconds: float) -> None: ...
    def start_latency(self, seconds: float) -> None: ...
    def ran(self, seconds: float) -> None: ...
    def targets(self, *, held: int, blocked: int, backoff: int, exhausted: int) -> None: ...
    def objects(self, by_phase: Mapping[str, int]) -> None: ...
    def waiting(self, by_reason: Mapping[str, int]) -> None: ...
    def blocked(self, reason: str) -> None: ...
    def cleared(self, *, verified: bool) -> None: ...
    def orphan(self, kind: str) -> None: ...

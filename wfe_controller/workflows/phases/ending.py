"""How an object ends: the terminal status in one write, and the ledger's settlement derived from it.

The settlement is a function of the terminal status alone, so that after a crash between the two writes it is derived
again and comes out the same (SPEC 2.4 "End").
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wfe_controller.api.conditions import get_condition
from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import (
    BlockReason,
    ConditionReason,
    ConditionType,
    EventReason,
    FailureReason,
    LockOutcome,
)
from wfe_controller.api.workflowexecution import InvalidSpec
from wfe_controller.failure.model import FailureDetails, Subject
from wfe_controller.failure.unstarted import cancelled_before_start, configuration_error, start_deadline_exceeded
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.objects import Json, mapping, spec, text
from wfe_controller.locking.decision import Skip
from wfe_controller.locking.record import Block, LockRecord
from wfe_controller.locking.transitions import Settlement, settle
from wfe_controller.workflows.draft import Draft, shorten
from wfe_controller.workflows.plan import Commit, Note
from wfe_controller.workflows.snapshot import Snapshot

UNCOUNTED = (FailureReason.CANCELLED, FailureReason.DEADLINE_EXCEEDED)
"""Pre-execution endings that leave the streak as it is (SPEC 2.3): nobody's configuration was wrong."""


def failed(
    snapshot: Snapshot, details: FailureDetails, draft: Draft | None = None, evidence: Json | None = None
) -> Commit:
    """Failed with ``details``; the streak and the next allowed time as the settlement will record them."""
    draft = draft or Draft(snapshot)
    body = details.to_json()
    if evidence:
        body["evidence"] = evidence
    draft.status["failureDetails"] = body
    draft.status["failureReason"] = body["reason"]
    draft.end(Phase.FAILED, details.failed_at, body["reason"], details.message)
    return _ended(snapshot, draft, Note("Warning", EventReason.WORKFLOW_FAILED, failure_line(body)))


def completed(snapshot: Snapshot, draft: Draft, at: datetime, message: str) -> Commit:
    """Completed at ``at`` (the run's own completion time)."""
    draft.end(Phase.COMPLETED, at, None, message)
    return _ended(snapshot, draft, Note("Normal", EventReason.WORKFLOW_COMPLETED, message))


def skipped(snapshot: Snapshot, skip: Skip) -> Commit:
    """Skipped for ``skip.reason``: never started, owns nothing."""
    draft = Draft(snapshot)
    draft.status["skipDetails"] = skip.skip_details
    draft.end(Phase.SKIPPED, snapshot.now, skip.reason, skip.message)
    return Commit(
        draft.status, Lane.TERMINAL, (Note("Normal", EventReason.WORKFLOW_SKIPPED, f"{skip.reason}: {skip.message}"),)
    )


def _ended(snapshot: Snapshot, draft: Draft, note: Note) -> Commit:
    notes = [note]
    lock = snapshot.inputs.lock
    if isinstance(lock, LockRecord) and snapshot.holds is True:
        settlement = settlement_of(snapshot, draft.status)
        after = settle(lock, snapshot.claim, settlement, snapshot.now, snapshot.settings.limits)
        if isinstance(after, LockRecord):
            entry = after.entry(snapshot.workflow_id)
            if entry is not None and entry.consecutive_failures:
                draft.status["consecutiveFailures"] = entry.consecutive_failures
                if entry.next_allowed is not None:
                    draft.status["nextAllowedExecution"] = rfc3339(entry.next_allowed)
            else:
                draft.status["consecutiveFailures"] = 0
        if settlement.block is not None:
            notes.append(Note("Warning", EventReason.TARGET_BLOCKED, shorten(settlement.block.message)))
    return Commit(draft.status, Lane.TERMINAL, tuple(notes))


def failure_line(details: Mapping[str, Any]) -> str:
    """One line for Events: reason and message, never empty."""
    return shorten(f"{text(details.get('reason')) or 'Unknown'}: {text(details.get('message')) or 'no message'}")


def settlement_of(snapshot: Snapshot, status: Mapping[str, Any]) -> Settlement:
    """What the ledger must learn from a terminal ``status``."""
    phase = text(status.get("phase"))
    at = parse_rfc3339(status.get("completionTime")) or snapshot.now
    if phase == Phase.COMPLETED:
        outcome = LockOutcome.COMPLETED
    else:
        outcome = LockOutcome(phase) if phase in set(LockOutcome) else LockOutcome.UNKNOWN
    details = mapping(status.get("failureDetails"))
    executed = phase != Phase.COMPLETED and details.get("wasExecutionFailure") is not False
    # status.reason too: a status that the server refused was written again with the reason Unknown in its details.
    why = {text(details.get("reason")), text(status.get("reason"))}
    counts = outcome is LockOutcome.FAILED and not executed and why.isdisjoint(UNCOUNTED)
    return Settlement(
        outcome=outcome,
        was_execution_failure=executed,
        counts=counts,
        completed_at=at,
        block=_block(snapshot, status, details, at, executed=executed),
    )


def _block(
    snapshot: Snapshot, status: Mapping[str, Any], details: Mapping[str, Any], at: datetime, *, executed: bool
) -> Block | None:
    uid, name = snapshot.uid, snapshot.key.name
    incomplete = get_condition(status.get("conditions"), ConditionType.CANCELLING) or {}
    if incomplete.get("reason") == ConditionReason.CANCEL_INCOMPLETE:
        return Block(BlockReason.CANCEL_INCOMPLETE, uid, name, at, shorten(text(incomplete.get("message"))))
    if executed:
        why = f"{snapshot.key} failed after it had started to act: {failure_line(details)}"
        return Block(BlockReason.EXECUTION_FAILED, uid, name, at, shorten(why))
    return None


def subject(snapshot: Snapshot) -> Subject:
    """What failed, for the summary."""
    parsed = snapshot.parsed
    timeout = None if isinstance(parsed, InvalidSpec) else parsed.timeout.total_seconds()
    return Subject(snapshot.workflow_id, text(spec(snapshot.wfe).get("targetResource"))[:256], timeout)


def misconfigured(snapshot: Snapshot, problem: str) -> FailureDetails:
    """The spec, or what it refers to, is not usable."""
    return configuration_error(problem, now=snapshot.now, subject=subject(snapshot))


def cancelled_early(snapshot: Snapshot) -> FailureDetails:
    """Cancelled or deleted before anything was started."""
    if snapshot.cancel_reason is None:
        why = "the WorkflowExecution is being deleted"
    else:
        by = f"by {snapshot.cancel_by}: " if snapshot.cancel_by else ""
        why = f"{by}{snapshot.cancel_reason or 'no reason given'}"
    return cancelled_before_start(why, now=snapshot.now, subject=subject(snapshot))


def never_started(snapshot: Snapshot) -> FailureDetails:
    """Past execution.startDeadline."""
    waited_for = text(snapshot.status.get("message")) or "no cause was recorded"
    return start_deadline_exceeded(waited_for, since=snapshot.created, now=snapshot.now, subject=subject(snapshot))

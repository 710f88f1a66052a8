"""What the controller writes into status is what the CRDs take: nothing pruned, nothing refused (TH26)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.crdschema import violations
from wfe_controller.api.conditions import set_condition
from wfe_controller.api.reasons import BlockReason, ConditionType, FailureReason, LockOutcome
from wfe_controller.api.targetlock import MAX_CLEARANCES, MAX_WORKFLOWS
from wfe_controller.failure.model import FailureDetails
from wfe_controller.locking.decision import Claim, ForeignRun, HolderState, Skip, decide
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, LockRecord, WorkflowEntry
from wfe_controller.locking.transitions import Settlement, acquire, clear, settle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits()
TARGET = "prod/deployment/web"
LONG = "x" * 253
CLAIM = Claim(uid="uid-1", name=LONG, namespace="n" * 63, workflow_id="w" * 256, engine="tekton")
OTHER = replace(CLAIM, uid="uid-2", name="other")


def held(claim: Claim = CLAIM) -> LockRecord:
    record = acquire(LockRecord(TARGET), claim, NOW)
    assert isinstance(record, LockRecord)
    return record


def settled(outcome: LockOutcome, *, executed: bool, counts: bool = True, block: Block | None = None) -> LockRecord:
    record = settle(held(), CLAIM, Settlement(outcome, executed, counts, NOW, block), NOW, LIMITS)
    assert isinstance(record, LockRecord)
    return record


@pytest.mark.parametrize("reason", list(FailureReason))
def test_failure_details(reason: FailureReason) -> None:
    details = FailureDetails(
        reason=reason,
        message="m" * 1024,
        failed_at=NOW,
        execution_time=12.3,
        was_execution_failure=True,
        failed_task_index=0,
        failed_task_name=LONG,
        failed_step_name=LONG,
        exit_code=137,
        natural_language_summary="s" * 1024,
    )
    evidence = {"pod": LONG, "container": LONG, "podReason": "OOMKilled", "exitCode": 137, "logTail": "l" * 4096}
    body = {**details.to_json(), "evidence": evidence}
    assert (
        violations("WorkflowExecution", {"failureDetails": body, "failureReason": body["reason"]}, part="status") == []
    )
    bare = replace(details, failed_task_index=None, failed_task_name=None, failed_step_name=None, exit_code=None)
    assert violations("WorkflowExecution", {"failureDetails": bare.to_json()}, part="status") == []


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(held(), id="held"),
        pytest.param(settled(LockOutcome.COMPLETED, executed=False), id="completed"),
        pytest.param(settled(LockOutcome.FAILED, executed=False), id="streak"),
        pytest.param(settled(LockOutcome.FAILED, executed=True), id="blocked"),
        *(
            pytest.param(
                settled(LockOutcome.UNKNOWN, executed=True, block=Block(str(reason), "uid-1", LONG, NOW, "m" * 9999)),
                id=f"block-{reason}",
            )
            for reason in BlockReason
        ),
    ],
)
def test_lock_records(record: LockRecord) -> None:
    assert violations("TargetLock", record.status_json(), part="status") == []


def test_a_full_lock_record() -> None:
    entries = tuple(WorkflowEntry(f"w{i}", 5, NOW, NOW, NOW) for i in range(MAX_WORKFLOWS))
    record = replace(settled(LockOutcome.FAILED, executed=True), workflows=entries)
    assert violations("TargetLock", record.status_json(), part="status") == []
    for i in range(MAX_CLEARANCES + 3):
        record = replace(record, block=Block("ExecutionFailed", "uid-1", "n", NOW, "m"))
        cleared = clear(record, by="b" * 999, at=NOW, reason="r" * 9999 + str(i), verified=False, limits=LIMITS)
        assert isinstance(cleared, LockRecord)
        record = cleared
    assert len(record.status_json()["clearances"]) == MAX_CLEARANCES
    assert violations("TargetLock", record.status_json(), part="status") == []


@pytest.mark.parametrize(
    ("record", "claim", "foreign"),
    [
        pytest.param(held(OTHER), CLAIM, None, id="busy"),
        pytest.param(None, CLAIM, ForeignRun("", "", NOW, ""), id="busy-foreign"),
        pytest.param(settled(LockOutcome.FAILED, executed=True), OTHER, None, id="blocked"),
        pytest.param(settled(LockOutcome.FAILED, executed=False), OTHER, None, id="backoff"),
        pytest.param(settled(LockOutcome.COMPLETED, executed=False), OTHER, None, id="cooldown"),
        pytest.param(
            replace(LockRecord(TARGET), workflows=(WorkflowEntry("w" * 256, 99, NOW, NOW),)),
            OTHER,
            None,
            id="exhausted",
        ),
    ],
)
def test_skip_details(record: LockRecord | None, claim: Claim, foreign: ForeignRun | None) -> None:
    decision = decide(
        record,
        claim,
        holder_state=HolderState.LIVE,
        foreign_run=foreign,
        now=NOW + timedelta(seconds=1),
        limits=LIMITS,
        target=TARGET,
    )
    assert isinstance(decision, Skip)
    assert violations("WorkflowExecution", {"skipDetails": decision.skip_details}, part="status") == []


def test_conditions_of_every_type() -> None:
    conditions = None
    for type_ in ConditionType:
        conditions = set_condition(conditions, type_, True, "PipelineFailedToStart", "m", generation=1, now=NOW)
    assert violations("WorkflowExecution", {"conditions": conditions}, part="status") == []

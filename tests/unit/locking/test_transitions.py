"""Every change of the record: one end write, streaks, backoff, blocks, clearances (SPEC 1.3, 2.2, 2.3, 7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from wfe_controller.api.reasons import BlockReason, LockOutcome
from wfe_controller.api.targetlock import TargetLockStatus
from wfe_controller.locking.decision import (
    Acquire,
    Claim,
    Decision,
    Skip,
    SkipBlocked,
    SkipCooling,
    SkipExhausted,
    decide,
)
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, Clearance, LockRecord, WorkflowEntry
from wfe_controller.locking.transitions import (
    HeldByAnother,
    Settlement,
    Unchanged,
    acquire,
    clear,
    drop_hold,
    is_empty,
    prune,
    settle,
)

TARGET = "shop/deployment/cart"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def claim(number: int, workflow: str = "restart") -> Claim:
    return Claim(f"uid-{number}", f"wfe-{number}", "ops", workflow, "tekton")


def ended(
    outcome: LockOutcome = LockOutcome.FAILED,
    *,
    during: bool = False,
    counts: bool = True,
    when: datetime = NOW,
    block: Block | None = None,
) -> Settlement:
    return Settlement(outcome, during, counts, when, block)


def ran(record: LockRecord, who: Claim, settlement: Settlement, now: datetime | None = None) -> LockRecord:
    """Acquire and settle."""
    moment = now or settlement.completed_at
    held = acquire(record, who, moment)
    assert isinstance(held, LockRecord)
    after = settle(held, who, settlement, moment, LIMITS)
    assert isinstance(after, LockRecord)
    return after


def answer(record: LockRecord, who: Claim, now: datetime) -> Decision:
    return decide(record, who, holder_state=None, foreign_run=None, now=now, limits=LIMITS)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 60), (2, 120), (3, 240), (4, 480), (5, 600), (6, 600), (10**9, 600)],
    ids=lambda v: f"T42-{v}",
)
def test_backoff(failures: int, seconds: float) -> None:
    assert LIMITS.backoff(failures) == seconds


def test_backoff_exponent_is_capped_before_the_maximum() -> None:
    """T42."""
    assert Limits(backoff_max=1e9, backoff_exponent=2).backoff(50) == 240


@pytest.mark.parametrize("field", ["success_cooldown", "backoff_base", "backoff_max", "streak_retention"])
def test_limits_refuse_negative_windows(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: -1.0})


def test_acquire_is_exclusive_and_idempotent() -> None:
    held = acquire(LockRecord(TARGET), claim(1), at(0.9))
    assert isinstance(held, LockRecord)
    assert held.holder is not None
    assert held.holder.acquired_at == NOW, "stored in whole seconds, into the past"
    assert isinstance(acquire(held, claim(1), at(50)), Unchanged), "acquiredAt bounds the create retries: never moved"
    with pytest.raises(HeldByAnother, match="ops/wfe-1"):
        acquire(held, claim(2), NOW)


def test_a_lost_hold_is_asserted_again_even_on_a_blocked_target() -> None:
    blocked = LockRecord(TARGET, block=Block("Degraded", "uid-0", "x", NOW, ""))
    assert isinstance(acquire(blocked, claim(1), NOW), LockRecord)


def test_settle_by_another_than_the_holder_writes_nothing() -> None:
    """A paused old leader, or a second settle after a crash, changes nothing."""
    held = acquire(LockRecord(TARGET), claim(1), NOW)
    assert isinstance(held, LockRecord)
    assert isinstance(settle(held, claim(2), ended(), NOW, LIMITS), Unchanged)
    after = settle(held, claim(1), ended(), NOW, LIMITS)
    assert isinstance(after, LockRecord)
    assert isinstance(settle(after, claim(1), ended(), NOW, LIMITS), Unchanged), "TH36: the count does not move twice"


def test_the_streak_grows_waits_and_exhausts() -> None:
    """T42, T44, TH5, TH7, BR-WE-012: the count is the target's, not the execution's."""
    record, now = LockRecord(TARGET), NOW
    for number, wait in enumerate((60, 120, 240, 480), start=1):
        record = ran(record, claim(number), ended(when=now))
        refused = answer(record, claim(9), now + timedelta(seconds=wait - 1))
        assert isinstance(refused, SkipCooling), number
        now += timedelta(seconds=wait)
        assert isinstance(answer(record, claim(9), now), Acquire), number
    record = ran(record, claim(5), ended(when=now))
    assert isinstance(answer(record, claim(9), now + timedelta(days=30)), SkipExhausted)
    assert isinstance(answer(record, claim(9, "scale"), now), Acquire), "T49: other workflows keep their own count"


def test_success_resets_the_streak_and_starts_the_cooldown() -> None:
    """T45, T40, T31, T17."""
    record = LockRecord(TARGET)
    for number in range(3):
        record = ran(record, claim(number), ended(when=NOW))
    record = ran(record, claim(3), ended(LockOutcome.COMPLETED, when=NOW))
    assert record.workflows == (WorkflowEntry("restart", cooldown_until=at(300)),)
    assert isinstance(answer(record, claim(4), at(299)), SkipCooling)
    assert isinstance(answer(record, claim(4), at(300)), Acquire)
    assert isinstance(answer(record, claim(4, "scale"), NOW), Acquire)


def test_cooldown_zero_leaves_no_entry() -> None:
    """T36."""
    held = acquire(LockRecord(TARGET), claim(1), NOW)
    assert isinstance(held, LockRecord)
    after = settle(held, claim(1), ended(LockOutcome.COMPLETED), NOW, Limits(success_cooldown=0))
    assert isinstance(after, LockRecord)
    assert after.workflows == ()


def test_an_execution_failure_blocks_every_workflow_and_leaves_the_count_alone() -> None:
    """T43, TH37: whatever the caller forgot to say, it blocks; a later success elsewhere does not lift it."""
    record = ran(LockRecord(TARGET), claim(1), ended(when=NOW))
    before = record.workflows
    record = ran(record, claim(2), ended(during=True, counts=True, when=at(60)))
    assert record.workflows == before
    assert record.block is not None
    assert (record.block.reason, record.block.by_uid) == ("ExecutionFailed", "uid-2")
    for workflow in ("restart", "scale"):
        assert isinstance(answer(record, claim(9, workflow), at(10**8)), SkipBlocked)
    record = ran(record, claim(3, "scale"), ended(LockOutcome.COMPLETED, when=at(120)))
    assert record.block is not None, "T48 superseded by SPEC 2.2: only a clearance lifts a block"


def test_an_unknown_outcome_always_blocks() -> None:
    record = ran(LockRecord(TARGET), claim(1), ended(LockOutcome.UNKNOWN, counts=False))
    assert record.block is not None
    assert record.block.reason == BlockReason.ORPHANED_RUN


def test_a_failure_that_does_not_count_changes_no_streak() -> None:
    """Cancelled and DeadlineExceeded before the start: 0."""
    once = ran(LockRecord(TARGET), claim(1), ended(when=NOW))
    again = ran(once, claim(2), ended(counts=False, when=at(60)))
    assert again.workflows == once.workflows
    assert again.block is None
    assert again.last_execution is not None
    assert again.last_execution.uid == "uid-2"


@pytest.mark.parametrize(
    ("reported", "stored"),
    [
        pytest.param(at(500), at(20), id="TH24-future-clamped-to-now"),
        pytest.param(at(-500), NOW, id="TH24-before-acquire-clamped"),
        pytest.param(at(10.7), at(10), id="whole-seconds"),
    ],
)
def test_the_end_lies_between_acquire_and_now(reported: datetime, stored: datetime) -> None:
    held = acquire(LockRecord(TARGET), claim(1), NOW)
    assert isinstance(held, LockRecord)
    after = settle(held, claim(1), ended(when=reported), at(20), LIMITS)
    assert isinstance(after, LockRecord)
    assert after.last_execution is not None
    assert after.last_execution.completed_at == stored
    assert after.last_execution.released_at == at(20)
    assert after.workflows[0].next_allowed == stored + timedelta(seconds=60)


def test_dropping_an_unused_hold_leaves_no_history() -> None:
    held = acquire(LockRecord(TARGET), claim(1), NOW)
    assert isinstance(held, LockRecord)
    assert drop_hold(held, "uid-1") == LockRecord(TARGET)
    assert isinstance(drop_hold(held, "uid-2"), Unchanged), "P:L10: never another's"


def test_clearing_lifts_block_and_all_streaks_and_keeps_evidence_and_cooldowns() -> None:
    record = LockRecord(TARGET)
    for number in range(5):
        record = ran(record, claim(number), ended(when=NOW))
    record = ran(record, claim(6, "scale"), ended(LockOutcome.COMPLETED, when=NOW))
    record = ran(record, claim(7, "patch"), ended(during=True, when=NOW))
    last = record.last_execution
    cleared = clear(record, by="ada", at=at(1), reason="checked replicas", verified=True, limits=LIMITS)
    assert isinstance(cleared, LockRecord)
    assert cleared.block is None
    assert cleared.workflows == (WorkflowEntry("scale", cooldown_until=at(300)),)
    assert cleared.clearances == (Clearance("ada", at(1), "checked replicas", True),)
    assert cleared.last_execution == last
    assert isinstance(answer(cleared, claim(9), at(1)), Acquire), "TH38: the exhausted workflow may run again"
    assert isinstance(clear(cleared, by="b", at=at(2), reason="again", verified=True, limits=LIMITS), Unchanged)


def test_the_newest_ten_clearances_are_kept_within_the_limits_of_the_crd() -> None:
    record = LockRecord(TARGET)
    for number in range(12):
        record = ran(record, claim(number), ended(during=True, when=at(number)))
        after = clear(record, by="x" * 999, at=at(number), reason="r" * 9999, verified=False, limits=LIMITS)
        assert isinstance(after, LockRecord)
        record = after
    assert [c.at for c in record.clearances] == [at(n) for n in range(2, 12)]
    TargetLockStatus.model_validate(record.status_json())


def _block(reason: BlockReason, uid: str, since: float, message: str = "m") -> Block:
    return Block(str(reason), uid, f"name-{uid}", at(since), message)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            _block(BlockReason.EXECUTION_FAILED, "uid-1", 0),
            _block(BlockReason.CANCEL_INCOMPLETE, "uid-1", 9, "survivors"),
            _block(BlockReason.CANCEL_INCOMPLETE, "uid-1", 0, "survivors"),
            id="same-execution-graver-reason-first-since",
        ),
        pytest.param(
            _block(BlockReason.CANCEL_INCOMPLETE, "uid-1", 0, "survivors"),
            _block(BlockReason.EXECUTION_FAILED, "uid-1", 9),
            _block(BlockReason.CANCEL_INCOMPLETE, "uid-1", 0, "survivors"),
            id="same-execution-never-milder",
        ),
    ],
)
def test_a_second_block_of_one_execution(old: Block, new: Block, expected: Block) -> None:
    held = acquire(LockRecord(TARGET, block=old), claim(1), NOW)
    assert isinstance(held, LockRecord)
    after = settle(held, claim(1), ended(during=True, block=new), at(9), LIMITS)
    assert isinstance(after, LockRecord)
    assert after.block == expected


def test_the_block_of_a_newer_execution_cannot_be_cleared_by_a_request_for_the_older() -> None:
    old = _block(BlockReason.CANCEL_INCOMPLETE, "uid-0", 0, "two pods survive")
    held = acquire(LockRecord(TARGET, block=old), claim(1), NOW)
    assert isinstance(held, LockRecord)
    after = settle(held, claim(1), ended(during=True), at(9), LIMITS)
    assert isinstance(after, LockRecord)
    assert after.block is not None
    assert after.block.by_uid == "uid-1"
    assert after.block.reason == BlockReason.CANCEL_INCOMPLETE, "the graver reason stays"
    assert "two pods survive" in after.block.message


def test_expired_entries_go_with_the_next_write() -> None:
    stale = tuple(WorkflowEntry(f"wf-{i}", 1, at(-90000), at(-89940)) for i in range(63))
    record = ran(LockRecord(TARGET, workflows=stale), claim(1), ended(when=NOW))
    assert [e.workflow_id for e in record.workflows] == ["restart"]


def test_a_table_that_overflows_after_a_change_of_limits_loses_the_least() -> None:
    """64 live entries and a 65th result: the entry whose effect ends first goes, and is refused as 'table full'."""
    others = tuple(WorkflowEntry(f"wf-{i}", 5, NOW, at(600)) for i in range(63))
    soon = WorkflowEntry("soon", 1, NOW, at(10))
    record = ran(LockRecord(TARGET, workflows=(*others, soon)), claim(1), ended(when=NOW))
    assert len(record.workflows) == 64
    assert record.entry("soon") is None
    assert record.entry("restart") is not None
    assert isinstance(answer(record, claim(2, "soon"), NOW), SkipExhausted)


def test_empty_is_free_unblocked_and_forgotten() -> None:
    record = ran(LockRecord(TARGET), claim(1), ended(LockOutcome.COMPLETED, when=NOW))
    assert not is_empty(record, at(299.9), LIMITS)
    assert is_empty(record, at(300), LIMITS)
    held = acquire(record, claim(2), at(300))
    assert isinstance(held, LockRecord)
    assert not is_empty(held, at(300), LIMITS)
    assert not is_empty(replace(record, block=_block(BlockReason.DEGRADED, "u", 0)), at(10**8), LIMITS)


def test_pruning_a_record_without_expired_entries_gives_the_very_same_record() -> None:
    record = ran(LockRecord(TARGET), claim(1), ended(when=NOW))
    assert prune(record, at(1), LIMITS) is record


def test_a_restart_changes_no_decision() -> None:
    """T46: what the record says after a round trip through the API is all there is."""
    raw = {"metadata": {"name": "wfe-x"}, "spec": {"target": TARGET}, "status": {}}
    record = ran(LockRecord.from_object(raw), claim(1), ended(when=NOW))
    again = LockRecord.from_object(record.to_object())
    first, second = answer(record, claim(2), at(30)), answer(again, claim(2), at(30))
    assert isinstance(first, Skip)
    assert isinstance(second, Skip)
    assert first.skip_details == second.skip_details

"""The order of the questions, their boundaries and their words (SPEC 2.1, T-5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe_controller.api.reasons import SkipReason
from wfe_controller.api.status import SkipDetails
from wfe_controller.locking.decision import (
    Acquire,
    AwaitHolderCleanup,
    Claim,
    Decision,
    ForeignRun,
    HolderState,
    Mine,
    Skip,
    SkipBlocked,
    SkipBusy,
    SkipCooling,
    SkipExhausted,
    decide,
    live_entry,
)
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, Holder, LastExecution, LockRecord, WorkflowEntry
from wfe_controller.locking.transitions import prune

TARGET = "shop/deployment/cart"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits()
CLAIM = Claim("uid-me", "mine", "ops", "restart", "tekton")
RAW = {"metadata": {"name": "wfe-0123456789abcdef", "namespace": "kubernaut-system"}, "spec": {"target": TARGET}}


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


ME = Holder("uid-me", "mine", "ops", "tekton", at(-5))
OTHER = Holder("uid-other", "theirs", "team-b", "steps", at(-60))
BLOCK = Block("ExecutionFailed", "uid-old", "old", at(-3600), "step apply ended with exit code 137")
LAST = LastExecution("uid-old", "old", "restart", "Failed", at(-3600), at(-3599))
EXHAUSTED = WorkflowEntry("restart", 5, at(-90000), at(-89400))
BACKOFF = WorkflowEntry("restart", 2, at(-60), at(60))
COOLING = WorkflowEntry("restart", cooldown_until=at(100))
FULL = tuple(WorkflowEntry(f"wf-{i}", cooldown_until=at(200)) for i in range(64))
RUN = ForeignRun("run-owner", "uid-run", at(-30), "patch", "team-c")


def record(
    holder: Holder | None = None,
    block: Block | None = None,
    workflows: tuple[WorkflowEntry, ...] = (),
    last: LastExecution | None = None,
) -> LockRecord:
    return LockRecord(TARGET, holder=holder, block=block, workflows=workflows, last_execution=last, raw=RAW)


def ask(
    lock: LockRecord | None,
    *,
    state: HolderState | None = None,
    run: ForeignRun | None = None,
    now: datetime = NOW,
    limits: Limits = LIMITS,
    claim: Claim = CLAIM,
) -> Decision:
    return decide(lock, claim, holder_state=state, foreign_run=run, now=now, limits=limits, target=TARGET)


@pytest.mark.parametrize(
    ("lock", "state", "run", "expected"),
    [
        pytest.param(None, None, None, Acquire, id="no-record"),
        pytest.param(record(), None, None, Acquire, id="empty-record"),
        pytest.param(record(ME, BLOCK, (EXHAUSTED,)), None, RUN, Mine, id="0-mine-before-everything-T4-TH9"),
        pytest.param(
            record(OTHER, BLOCK), HolderState.LIVE, replace(RUN, owner_uid="uid-me"), Mine, id="0-run-is-mine"
        ),
        pytest.param(record(OTHER, BLOCK, (EXHAUSTED,)), HolderState.LIVE, RUN, SkipBlocked, id="2-block-first-T43"),
        pytest.param(record(OTHER, None, (EXHAUSTED,)), HolderState.LIVE, RUN, SkipExhausted, id="3-before-busy-T44"),
        pytest.param(record(None, None, FULL), None, None, SkipExhausted, id="3-table-full"),
        pytest.param(record(OTHER, None, (BACKOFF,)), HolderState.LIVE, RUN, SkipCooling, id="4-before-busy"),
        pytest.param(record(OTHER, None, (COOLING,)), HolderState.LIVE, RUN, SkipCooling, id="5-before-busy-T40"),
        pytest.param(record(OTHER), HolderState.LIVE, RUN, SkipBusy, id="6-held-T9"),
        pytest.param(record(OTHER), None, None, SkipBusy, id="6-held-state-not-given-counts-as-live"),
        pytest.param(record(OTHER), HolderState.TERMINAL, RUN, AwaitHolderCleanup, id="6-holder-ended-never-skipped"),
        pytest.param(record(OTHER), HolderState.GONE, None, AwaitHolderCleanup, id="6-holder-gone-never-taken-over"),
        pytest.param(record(), None, RUN, SkipBusy, id="6-foreign-run-T5"),
        pytest.param(None, None, RUN, SkipBusy, id="6-foreign-run-without-record"),
        pytest.param(record(None, None, FULL[:-1]), None, None, Acquire, id="3-one-place-left"),
        pytest.param(
            record(None, None, (*FULL[:-1], WorkflowEntry("restart", 1, at(-600), at(-540)))),
            None,
            None,
            Acquire,
            id="3-full-but-mine-among-them",
        ),
        pytest.param(
            record(None, None, tuple(replace(e, cooldown_until=NOW) for e in FULL)),
            None,
            None,
            Acquire,
            id="3-full-of-expired-entries-is-not-full",
        ),
        pytest.param(
            record(None, None, (replace(COOLING, workflow_id="scale"),)), None, None, Acquire, id="T40-other-wf"
        ),
        pytest.param(
            record(None, None, (replace(EXHAUSTED, workflow_id="scale"),)), None, None, Acquire, id="T49-other"
        ),
        pytest.param(record(None, None, (), LAST), None, None, Acquire, id="T47-history-alone-blocks-nothing"),
    ],
)
def test_order(lock: LockRecord | None, state: HolderState | None, run: ForeignRun | None, expected: type) -> None:
    """T10."""
    assert type(ask(lock, state=state, run=run)) is expected


def test_mine_says_whose_name_the_record_bears() -> None:
    mine_run = replace(RUN, owner_uid="uid-me")
    assert ask(record(ME)) == Mine(ME)
    assert ask(record(), run=mine_run) == Mine(None), "the hold has to be asserted again"
    assert ask(record(OTHER), state=HolderState.LIVE, run=mine_run) == Mine(OTHER), "LockConflict"


@pytest.mark.parametrize(
    ("entry", "before", "boundary"),
    [
        pytest.param(BACKOFF, at(59.999), at(60), id="T42-backoff"),
        pytest.param(COOLING, at(99.999), at(100), id="T31-cooldown"),
    ],
)
def test_the_boundary_instant_is_allowed(entry: WorkflowEntry, before: datetime, boundary: datetime) -> None:
    assert isinstance(ask(record(None, None, (entry,)), now=before), SkipCooling)
    assert ask(record(None, None, (entry,)), now=boundary) == Acquire()


def test_a_streak_ends_exactly_at_its_retention_an_exhausted_one_never() -> None:
    streak = WorkflowEntry("restart", 4, NOW, at(480))
    assert live_entry(streak, at(86399), LIMITS) == streak
    assert live_entry(streak, at(86400), LIMITS) is None
    exhausted = replace(streak, consecutive_failures=5)
    assert live_entry(exhausted, at(10 * 86400), LIMITS) == exhausted
    assert isinstance(ask(record(None, None, (exhausted,)), now=at(10 * 86400)), SkipExhausted), "T44, TH38"


def test_a_retention_shorter_than_the_backoff_does_not_shorten_the_backoff() -> None:
    entry = WorkflowEntry("restart", 4, NOW, at(480))
    short = Limits(streak_retention=60)
    assert isinstance(ask(record(None, None, (entry,)), now=at(479), limits=short), SkipCooling)
    assert ask(record(None, None, (entry,)), now=at(480), limits=short) == Acquire()


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        pytest.param(WorkflowEntry("restart", 1, at(9000), at(9060)), 60.0, id="TH24-backoff"),
        pytest.param(WorkflowEntry("restart", cooldown_until=at(9000)), 300.0, id="TH24-cooldown"),
    ],
)
def test_a_time_written_by_a_clock_far_ahead_waits_one_window_not_longer(entry: WorkflowEntry, window: float) -> None:
    """The decision shows the window, and the pruned record ends after one window."""
    skewed = record(None, None, (entry,))
    answer = ask(skewed)
    assert isinstance(answer, SkipCooling)
    assert answer.remaining == window
    stored = prune(skewed, NOW, LIMITS)
    assert isinstance(ask(stored), SkipCooling)
    assert ask(stored, now=at(window)) == Acquire()


def test_a_cooldown_that_was_turned_off_stops_counting_at_once() -> None:
    """T36, T74, BR-WE-010: 0 is off."""
    assert ask(record(None, None, (COOLING,)), limits=Limits(success_cooldown=0)) == Acquire()


def test_a_shorter_window_applies_to_times_already_stored() -> None:
    answer = ask(record(None, None, (COOLING,)), limits=Limits(success_cooldown=30))
    assert isinstance(answer, SkipCooling)
    assert answer.remaining == 30


def test_blocked_names_the_cause_and_the_way_out() -> None:
    answer = ask(record(None, BLOCK, (), LAST))
    assert isinstance(answer, SkipBlocked)
    assert answer.reason is SkipReason.PREVIOUS_EXECUTION_FAILED
    for part in (
        TARGET,
        "exit code 137",
        "Manual intervention required",
        "kubernaut-system/wfe-0123456789abcdef",
        "kubernaut.ai/clear-block=uid-old",
        "kubernaut.ai/clear-block-reason",
    ):
        assert part in answer.message
    assert answer.skip_details == {
        "reason": "PreviousExecutionFailed",
        "message": answer.message,
        "skippedAt": "2026-03-01T12:00:00Z",
        "recentRemediation": {
            "name": "old",
            "workflowId": "restart",
            "completedAt": "2026-03-01T11:00:00Z",
            "outcome": "Failed",
            "targetResource": TARGET,
        },
    }


def test_a_long_block_message_does_not_push_the_way_out_of_the_text() -> None:
    answer = ask(record(None, replace(BLOCK, message="x" * 1024)))
    assert isinstance(answer, SkipBlocked)
    assert "clear-block=uid-old" in answer.message
    assert len(answer.message) <= 1024


def test_busy_names_the_holder_with_its_namespace() -> None:
    """TH44."""
    answer = decide(
        record(OTHER),
        CLAIM,
        holder_state=HolderState.LIVE,
        foreign_run=None,
        now=NOW,
        limits=LIMITS,
        holder_workflow_id="patch",
    )
    assert isinstance(answer, SkipBusy)
    assert "team-b/theirs" in answer.message
    assert answer.skip_details["conflictingWorkflow"] == {
        "name": "theirs",
        "workflowId": "patch",
        "startedAt": "2026-03-01T11:59:00Z",
        "targetResource": TARGET,
    }


@pytest.mark.parametrize(
    ("run", "name"),
    [
        pytest.param(RUN, "run-owner", id="labelled"),
        pytest.param(ForeignRun("", "", at(-30), ""), "unknown", id="T5-unlabelled"),
    ],
)
def test_busy_by_a_foreign_run(run: ForeignRun, name: str) -> None:
    answer = ask(None, run=run)
    assert isinstance(answer, SkipBusy)
    assert answer.skip_details["conflictingWorkflow"]["name"] == name
    assert answer.skip_details["conflictingWorkflow"]["targetResource"] == TARGET


def test_busy_by_a_finished_run_that_nobody_waits_for() -> None:
    """Somebody made a PipelineRun under our name by hand; it has ended; "wait for it to end" was the advice."""
    answer = ask(None, run=ForeignRun("", "", at(-30), "", finished=True))
    assert isinstance(answer, SkipBusy)
    assert "Delete it" in answer.message
    assert "unfinished" not in answer.message


def test_cooling_tells_the_time_left() -> None:
    """T40."""
    answer = ask(record(None, None, (BACKOFF,), LAST))
    assert isinstance(answer, SkipCooling)
    assert "1m0s left, next allowed at 2026-03-01T12:01:00Z" in answer.message
    assert answer.skip_details["recentRemediation"]["cooldownRemaining"] == "1m0s"
    assert answer.skip_details["recentRemediation"]["name"] == "old"


def test_exhausted_gives_the_count() -> None:
    answer = ask(record(None, None, (EXHAUSTED,), LAST))
    assert isinstance(answer, SkipExhausted)
    assert "5 times in a row" in answer.message
    assert "Manual intervention required" in answer.message


_entries = st.builds(
    WorkflowEntry,
    st.sampled_from(["restart", "scale"]),
    st.integers(0, 7),
    st.none() | st.integers(-90000, 90000).map(at),
    st.none() | st.integers(-1000, 9000).map(at),
    st.none() | st.integers(-1000, 9000).map(at),
)
_records = st.builds(
    record,
    st.sampled_from([None, ME, OTHER]),
    st.sampled_from([None, BLOCK]),
    st.lists(_entries, max_size=2, unique_by=lambda e: e.workflow_id).map(tuple),
    st.sampled_from([None, LAST]),
)


@settings(deadline=None)
@given(lock=_records, state=st.none() | st.sampled_from(HolderState), run=st.sampled_from([None, RUN]))
def test_every_skip_is_what_the_crd_accepts_and_no_wait_exceeds_its_window(
    lock: LockRecord, state: HolderState | None, run: ForeignRun | None
) -> None:
    answer = ask(lock, state=state, run=run)
    if isinstance(answer, Skip):
        SkipDetails.model_validate(answer.skip_details)
        assert len(answer.message) <= 1024
        assert answer.message == answer.skip_details["message"]
    if isinstance(answer, SkipCooling):
        assert answer.remaining is not None
        assert 0 < answer.remaining <= 600
    if isinstance(answer, Acquire):
        assert lock.holder is None
        assert lock.block is None
        assert run is None


@settings(deadline=None)
@given(lock=_records)
def test_pruning_never_changes_an_answer_except_a_skewed_wait(lock: LockRecord) -> None:
    before, after = ask(lock, state=HolderState.LIVE), ask(prune(lock, NOW, LIMITS), state=HolderState.LIVE)
    assert type(before) is type(after)

"""Model: one target under many executions, workflows, crashes, stale writers, clearances, sweeps and passing time.

The machine drives the real Ledger over a server with the API's rules. The reference knows no records, only what
happened (a list of ended executions and clearances), and answers from that list alone. Held against it after each step:
never two holders; nobody acts without being the holder; what the record says equals what follows from the history; an
execution failure blocks every workflow until a person clears it, across deletion of the execution and the record; the
instant at which a wait ends is allowed and the one before is not (T-18: 1, 4, 5, 8, 9; TH2, TH5, TH21, TH37, TH48).
"""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.locks import LockServer
from wfe_controller.api.reasons import BlockReason, LockOutcome
from wfe_controller.kube.errors import Conflict
from wfe_controller.locking.decision import (
    Acquire,
    AwaitHolderCleanup,
    Claim,
    Decision,
    HolderState,
    Mine,
    SkipBlocked,
    SkipBusy,
    SkipCooling,
    SkipExhausted,
    decide,
)
from wfe_controller.locking.ledger import Ledger
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import Block, LockRecord
from wfe_controller.locking.transitions import HeldByAnother, Settlement

TARGET = "shop/deployment/cart"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORKFLOWS = ("restart", "scale", "patch")
LIMITS = Limits(
    success_cooldown=5, backoff_base=2, backoff_max=7, backoff_exponent=2, max_failures=3, streak_retention=20
)
BACKOFF = {1: 2, 2: 4, 3: 7}
T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The server answers at once, so a call of the ledger never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    raise AssertionError("the ledger waited for something")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def boottime(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


@dataclass
class Execution:
    """One WorkflowExecution as its own object knows it: the truth a settle is derived from after a crash."""

    claim: Claim
    acting: bool = False
    end: Settlement | None = None
    exists: bool = True


@dataclass
class Ended:
    uid: str
    workflow: str
    settlement: Settlement
    completed: datetime
    settled: datetime


@dataclass
class Reference:
    """Everything that happened, and the rules as prose would have them."""

    history: list[Ended | str] = field(default_factory=list)

    def blocked_by(self) -> str:
        by = ""
        for event in self.history:
            if isinstance(event, str):
                by = ""
            elif event.settlement.was_execution_failure or event.settlement.outcome is LockOutcome.UNKNOWN:
                by = event.uid
        return by

    def streak(self, workflow: str, now: datetime) -> tuple[int, datetime | None]:
        """Failures in a row and the last of them, as they stand at ``now``."""
        count, last = 0, None
        for event in self.history:
            if isinstance(event, str):
                count, last = 0, None
                continue
            if event.workflow != workflow:
                continue
            count, last = self._alive(count, last, event.settled)
            if event.settlement.outcome is LockOutcome.COMPLETED:
                count, last = 0, None
            elif event.settlement.counts and not event.settlement.was_execution_failure:
                count, last = count + 1, event.completed
        return self._alive(count, last, now)

    @staticmethod
    def _alive(count: int, last: datetime | None, now: datetime) -> tuple[int, datetime | None]:
        if last is None or count >= 3:
            return count, last
        return (count, last) if now < last + timedelta(seconds=20) else (0, None)

    def cooling_until(self, workflow: str) -> datetime | None:
        ends = [
            event.completed + timedelta(seconds=5)
            for event in self.history
            if isinstance(event, Ended)
            and event.workflow == workflow
            and event.settlement.outcome is LockOutcome.COMPLETED
        ]
        return ends[-1] if ends else None

    def waits_until(self, workflow: str, now: datetime) -> datetime | None:
        count, last = self.streak(workflow, now)
        return last + timedelta(seconds=BACKOFF[count]) if last is not None and count in BACKOFF else None

    def answer(self, workflow: str, now: datetime) -> type[Decision] | None:
        """What history says about a newcomer; None = nothing against it."""
        if self.blocked_by():
            return SkipBlocked
        if self.streak(workflow, now)[0] >= 3:
            return SkipExhausted
        waits, cools = self.waits_until(workflow, now), self.cooling_until(workflow)
        if (waits is not None and now < waits) or (cools is not None and now < cools):
            return SkipCooling
        return None


class LockMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = LockServer()
        self.clock = Clock()
        self.ledger = Ledger(self.server, "kubernaut-system", self.clock)
        self.reference = Reference()
        self.executions: dict[str, Execution] = {}
        self.holder: Execution | None = None
        self.snapshots: list[LockRecord] = []
        self.numbers = itertools.count()

    def newcomer(self, workflow: str, engine: str = "tekton") -> Claim:
        number = next(self.numbers)
        return Claim(f"uid-{number}", f"wfe-{number}", "ops", workflow, engine)

    def read(self) -> LockRecord | None:
        """What a freshly started process knows."""
        return run(self.ledger.read(TARGET))

    def holder_state(self) -> HolderState | None:
        if self.holder is None:
            return None
        if not self.holder.exists:
            return HolderState.GONE
        return HolderState.TERMINAL if self.holder.end is not None else HolderState.LIVE

    def ask(self, claim: Claim, now: datetime) -> Decision:
        return decide(
            self.read(),
            claim,
            holder_state=self.holder_state(),
            foreign_run=None,
            now=now,
            limits=LIMITS,
            target=TARGET,
        )

    def expected(self, workflow: str, now: datetime) -> type[Decision]:
        """For a newcomer of that workflow."""
        history = self.reference.answer(workflow, now)
        if history is not None:
            return history
        state = self.holder_state()
        if state is None:
            return Acquire
        return SkipBusy if state is HolderState.LIVE else AwaitHolderCleanup

    def settle(self, execution: Execution, settlement: Settlement) -> None:
        record = self.read()
        assert record is not None
        assert record.holder is not None
        now = self.clock.now()
        acquired = record.holder.acquired_at
        run(self.ledger.settle(record, execution.claim, settlement, LIMITS))
        completed = min(max(settlement.completed_at, acquired), now).replace(microsecond=0)
        self.reference.history.append(
            Ended(execution.claim.uid, execution.claim.workflow_id, settlement, completed, now)
        )
        execution.acting, self.holder = False, None

    @rule(workflow=st.sampled_from(WORKFLOWS))
    def arrive(self, workflow: str) -> None:
        """A new execution asks, and acts at once on what it was told."""
        claim = self.newcomer(workflow)
        now = self.clock.now()
        answer = self.ask(claim, now)
        assert type(answer) is self.expected(workflow, now)
        if isinstance(answer, Acquire):
            run(self.ledger.acquire(run(self.ledger.ensure(TARGET)), claim))
            self.executions[claim.uid] = self.holder = Execution(claim, acting=True)

    @rule(workflows=st.lists(st.sampled_from(WORKFLOWS), min_size=2, max_size=4))
    def arrive_together(self, workflows: list[str]) -> None:
        """T2, T3: several decide on one reading; at most one gets through, whoever is first."""
        record = self.read() or run(self.ledger.ensure(TARGET))
        winners = []
        for workflow in workflows:
            claim = self.newcomer(workflow, "steps")
            answer = decide(
                record,
                claim,
                holder_state=self.holder_state() if not winners else None,
                foreign_run=None,
                now=self.clock.now(),
                limits=LIMITS,
            )
            if not isinstance(answer, Acquire):
                continue
            try:
                run(self.ledger.acquire(record, claim))
            except Conflict:
                assert winners, "a conflict without a rival"
                continue
            winners.append(claim)
            self.executions[claim.uid] = self.holder = Execution(claim, acting=True)
        assert len(winners) <= 1

    @precondition(lambda self: self.holder is not None and self.holder.exists and self.holder.end is None)
    @rule(
        outcome=st.sampled_from([LockOutcome.COMPLETED, LockOutcome.FAILED, LockOutcome.FAILED, LockOutcome.FAILED]),
        during=st.sampled_from([False, False, False, True]),
        counts=st.sampled_from([True, True, False]),
        earlier=st.sampled_from([0.0, 0.5, 3.0]),
    )
    def end(self, outcome: LockOutcome, during: bool, counts: bool, earlier: float) -> None:
        """The terminal status is written. The process may die before the ledger is."""
        assert self.holder is not None
        during = during and outcome is not LockOutcome.COMPLETED
        self.holder.end = Settlement(outcome, during, counts, self.clock.now() - timedelta(seconds=earlier))

    @precondition(lambda self: self.holder is None and not self.reference.blocked_by())
    @rule(
        workflow=st.sampled_from(WORKFLOWS),
        ends=st.lists(
            st.sampled_from(["refused", "refused", "cancelled", "success", "half done"]), min_size=1, max_size=4
        ),
    )
    def whole_lives(self, workflow: str, ends: list[str]) -> None:
        """Several executions of one workflow one after the other, each as soon as it may."""
        for kind in ends:
            now = self.clock.now()
            waits = [self.reference.waits_until(workflow, now), self.reference.cooling_until(workflow), now]
            self.clock.time = max(moment for moment in waits if moment is not None)
            self.arrive(workflow)
            if self.holder is None:
                return
            outcome = LockOutcome.COMPLETED if kind == "success" else LockOutcome.FAILED
            self.end(outcome, kind == "half done", kind == "refused", 0.0)
            self.record_the_end()

    @precondition(lambda self: self.holder is not None and self.holder.exists and self.holder.end is not None)
    @rule()
    def record_the_end(self) -> None:
        """Right after, or derived again from the terminal status by a later process."""
        assert self.holder is not None
        assert self.holder.end is not None
        self.settle(self.holder, self.holder.end)

    @precondition(lambda self: self.holder is not None and self.holder.end is not None)
    @rule()
    def object_is_force_deleted(self) -> None:
        assert self.holder is not None
        self.holder.exists = False

    @precondition(lambda self: self.holder is not None and not self.holder.exists)
    @rule()
    def sweep_the_gone_holder(self) -> None:
        """SPEC 2.6: the same write records the outcome, and unknown blocks."""
        assert self.holder is not None
        claim = self.holder.claim
        block = Block(BlockReason.ORPHANED_RUN, claim.uid, claim.name, self.clock.now(), "its object is gone")
        self.settle(self.holder, Settlement(LockOutcome.UNKNOWN, True, False, self.clock.now(), block))

    @precondition(lambda self: self.holder is not None and self.holder.exists and self.holder.end is None)
    @rule()
    def foreign_run_appears(self) -> None:
        """The hold goes back without history: nothing was launched."""
        assert self.holder is not None
        record = self.read()
        assert record is not None
        run(self.ledger.drop_hold(record, self.holder.claim.uid))
        self.holder.acting, self.holder = False, None

    @precondition(lambda self: self.reference.blocked_by() or len(self.reference.history) > 4)
    @rule()
    def a_person_clears(self) -> None:
        record = self.read()
        if record is None:
            return
        run(self.ledger.clear(record, by="ada", reason="looked at it", verified=False, limits=LIMITS))
        self.reference.history.append("cleared")

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 4.0, 7.0, 21.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.time += timedelta(seconds=seconds)

    @precondition(lambda self: bool(self.reference.history))
    @rule(workflow=st.sampled_from(WORKFLOWS), off=st.sampled_from([-0.25, 0.0, 0.25]))
    def time_passes_to_a_boundary(self, workflow: str, off: float) -> None:
        now = self.clock.now()
        _, last = self.reference.streak(workflow, now)
        ends = [
            self.reference.waits_until(workflow, now),
            self.reference.cooling_until(workflow),
            last + timedelta(seconds=20) if last is not None else None,
        ]
        later = [end for end in ends if end is not None and end > now]
        if later:
            self.clock.time = max(now, min(later) + timedelta(seconds=off))

    @precondition(lambda self: bool(self.server.objects))
    @rule()
    def sweep(self) -> None:
        """Prune and delete what says nothing: no answer may change by it (the invariants look)."""
        record = self.read()
        if record is not None and not run(self.ledger.delete_if_empty(record, LIMITS)):
            record = self.read()
            assert record is not None
            run(self.ledger.prune(record, LIMITS))

    @precondition(lambda self: bool(self.server.objects))
    @rule()
    def look(self) -> None:
        """Somebody reads, and will act on it later."""
        record = self.read()
        if record is not None:
            self.snapshots = [*self.snapshots[-3:], record]

    @precondition(lambda self: bool(self.snapshots))
    @rule(index=st.integers(0, 3), what=st.sampled_from(["acquire", "settle", "clear", "drop", "delete"]))
    def a_stale_writer_acts(self, index: int, what: str) -> None:
        """A paused old leader wakes up: on an old reading it gets a conflict or writes nothing."""
        old = self.snapshots[index % len(self.snapshots)]
        current = self.read()
        if current is not None and current.resource_version == old.resource_version:
            return
        writes, before = len(self.server.writes), self.server.objects.copy()
        claim = Claim("uid-stale", "stale", "ops", "restart", "tekton")
        if old.holder is not None and what != "acquire":
            claim = Claim(old.holder.uid, old.holder.name, "ops", "restart", "tekton")
        try:
            if what == "acquire":
                run(self.ledger.acquire(old, claim))
            elif what == "settle":
                end = Settlement(LockOutcome.COMPLETED, False, False, self.clock.now())
                run(self.ledger.settle(old, claim, end, LIMITS))
            elif what == "clear":
                run(self.ledger.clear(old, by="x", reason="stale request", verified=False, limits=LIMITS))
            elif what == "drop":
                run(self.ledger.drop_hold(old, claim.uid))
            else:
                run(self.ledger.delete_if_empty(old, LIMITS))
        except (Conflict, HeldByAnother):
            pass
        else:
            assert what == "delete" or len(self.server.writes) == writes
        assert self.server.objects == before

    @precondition(lambda self: bool(self.executions))
    @rule(data=st.data())
    def settled_executions_settle_again(self, data: st.DataObject) -> None:
        """After a crash right behind the ledger write: nothing is counted twice (TH36)."""
        execution = data.draw(st.sampled_from(sorted(self.executions.values(), key=lambda e: e.claim.uid)))
        record = self.read()
        if record is None or execution is self.holder:
            return
        writes = len(self.server.writes)
        run(self.ledger.settle(record, execution.claim, Settlement(LockOutcome.FAILED, True, True, START), LIMITS))
        assert len(self.server.writes) == writes

    @invariant()
    def one_holder(self) -> None:
        record = self.read()
        held_by = record.holder.uid if record is not None and record.holder is not None else None
        acting = [e.claim.uid for e in self.executions.values() if e.acting]
        assert acting == ([held_by] if held_by is not None else [])
        if self.holder is not None:
            assert isinstance(self.ask(self.holder.claim, self.clock.now()), Mine)

    @invariant()
    def the_record_says_what_happened(self) -> None:
        """Answers now, and around every boundary still ahead, follow from the history alone."""
        now = self.clock.now()
        record = self.read()
        by = self.reference.blocked_by()
        assert (record.block.by_uid if record is not None and record.block is not None else "") == by
        for workflow in WORKFLOWS:
            claim = Claim("uid-new", "new", "ops", workflow, "tekton")
            _, last = self.reference.streak(workflow, now)
            ends = [
                now,
                self.reference.waits_until(workflow, now),
                self.reference.cooling_until(workflow),
                last + timedelta(seconds=20) if last is not None else None,
            ]
            for end in ends:
                if end is None or end < now:
                    continue
                for moment in (end - timedelta(microseconds=1), end):
                    if moment >= now:
                        assert type(self.ask(claim, moment)) is self.expected(workflow, moment), (workflow, moment)


LockMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
TestLockDecision = LockMachine.TestCase

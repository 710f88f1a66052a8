"""The work queue against a reference model of I-31..I-39, driven by Hypothesis.

The model knows sets, wake-ups and priorities, and nothing of lanes, heaps or timers. What it leaves open (which of the
ready keys the fairness rules prefer) is checked by a bound instead: no key is passed over too often.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wfe_controller.kube.queue.workqueue import PRIORITY_LOW, Empty, ShutDown, WorkQueue

KEYS = st.sampled_from([f"{tenant}{n}" for tenant in "ab" for n in range(4)])
PRIORITIES = st.sampled_from([PRIORITY_LOW, 0, 0, 10])
SECONDS = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 5.0, 60.0, 400.0])
LOW_SHARE = 4


class Hand:
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


class Model:
    """What the contract says, in the plainest form."""

    def __init__(self, hand: Hand, tenant_limit: int) -> None:
        self.hand = hand
        self.tenant_limit = tenant_limit
        self.queued: dict[str, int] = {}
        self.processing: dict[str, int] = {}
        self.again: dict[str, int] = {}
        self.wakeups: dict[str, tuple[float, int]] = {}
        self.down = False

    def add(self, key: str, priority: int) -> None:
        if self.down:
            return
        dirty = self.again if key in self.processing else self.queued
        dirty[key] = max(dirty.get(key, priority), priority)

    def add_after(self, key: str, seconds: float, priority: int) -> None:
        if seconds <= 0:
            self.add(key, priority)
        elif not self.down:
            at, known = self.wakeups.get(key, (float("inf"), priority))
            self.wakeups[key] = (min(at, self.hand.time + seconds), max(known, priority))

    def promote(self) -> None:
        due = sorted((at, key) for key, (at, _) in self.wakeups.items() if at <= self.hand.time)
        for _, key in due:
            self.add(key, self.wakeups.pop(key)[1])

    def ready(self) -> set[str]:
        self.promote()
        return {key for key in self.queued if self.running(key[0]) < self.tenant_limit}

    def running(self, tenant: str) -> int:
        return sum(key[0] == tenant for key in self.processing)

    def done(self, key: str) -> None:
        del self.processing[key]
        if key in self.again:
            self.add(key, self.again.pop(key))

    def shut_down(self) -> None:
        self.down = True
        for memory in (self.queued, self.again, self.wakeups):
            memory.clear()


class QueueMachine(RuleBasedStateMachine):
    """Compares every observable of the queue with the model after every step."""

    @initialize(tenant_limit=st.sampled_from([1, 2, 100]))
    def begin(self, tenant_limit: int) -> None:
        self.hand = Hand()
        self.model = Model(self.hand, tenant_limit)
        self.queue: WorkQueue[str] = WorkQueue(
            "model",
            clock=self.hand,
            low_share=LOW_SHARE,
            tenant=lambda key: key[0],
            max_per_tenant=tenant_limit if tenant_limit < 100 else 0,
        )
        self.passed_over: dict[str, int] = {}

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: int) -> None:
        self.queue.add(key, priority=priority)
        self.model.add(key, priority)

    @rule(key=KEYS, seconds=SECONDS, priority=PRIORITIES)
    def add_after(self, key: str, seconds: float, priority: int) -> None:
        self.queue.add_after(key, seconds, priority=priority)
        self.model.add_after(key, seconds, priority)

    @rule(key=KEYS)
    def add_rate_limited(self, key: str) -> None:
        retries = self.queue.retries(key)
        self.queue.add_rate_limited(key)
        if self.model.down:
            return
        assert self.queue.retries(key) == retries + 1
        priority = self.model.processing.get(key, 0)
        self.model.add_after(key, min(0.005 * 2**retries, 300.0), priority)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        assert self.queue.retries(key) == 0

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.hand.time += seconds

    @rule()
    def get(self) -> None:
        if self.model.down:
            with pytest.raises(ShutDown):
                self.queue.get_nowait()
            return
        ready = self.model.ready()
        if not ready:
            with pytest.raises(Empty):
                self.queue.get_nowait()
            return
        key = self.queue.get_nowait()
        assert key in ready, "not ready, twice at once, or over its tenant's cap"
        assert key not in self.model.processing
        self.model.processing[key] = self.model.queued.pop(key)
        self.passed_over.pop(key, None)
        for other in ready - {key}:
            self.passed_over[other] = self.passed_over.get(other, 0) + 1
            # 8 keys exist: 7 others once each in its lane, times the share of the lowest lane, doubled by the aged.
            assert self.passed_over[other] <= 8 * LOW_SHARE * 2, f"{other} starves"

    @precondition(lambda self: self.model.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.processing)))
        self.queue.done(key)
        self.model.done(key)

    @rule(key=KEYS)
    def done_without_get(self, key: str) -> None:
        if key not in self.model.processing:
            with pytest.raises(RuntimeError):
                self.queue.done(key)

    @precondition(lambda self: self.hand.time > 200)
    @rule()
    def shut_down(self) -> None:
        self.queue.shut_down()
        self.model.shut_down()

    @invariant()
    def same_sets(self) -> None:
        """I-31, I-32, I-34, Q12: a key with a future deadline always has its wake-up, at exactly its time."""
        if not hasattr(self, "queue"):
            return
        queue, model = self.queue, self.model
        assert set(queue._queued) == set(model.queued)
        assert {key: entry.priority for key, entry in queue._queued.items()} == model.queued
        assert set(queue._processing) == set(model.processing)
        assert not set(queue._queued) & set(queue._processing)
        assert queue._again == model.again
        assert len(queue) == len(model.queued)
        assert {key: (w.ready_at, w.priority) for key, w in queue._wakeups.items()} == model.wakeups
        for key, (at, _) in model.wakeups.items():
            assert any(entry[2] == key and entry[0] == at for entry in queue._heap), "a deadline without a timer"

    @invariant()
    def lanes_hold_each_queued_key_once(self) -> None:
        if not hasattr(self, "queue"):
            return
        queue = self.queue
        listed = [key for level in queue._levels.values() for key in level]
        parked = [key for key in queue._queued if queue._cap and queue._cap.is_parked(key)]
        assert sorted(listed + parked) == sorted(queue._queued)
        assert sorted(listed) == sorted(queue._by_age)
        assert all(queue._levels.values())


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestQueue = QueueMachine.TestCase

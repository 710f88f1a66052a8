"""Model: an informer against a server with a version history, under everything that can go wrong on the way.

Random creates, updates, deletes and recreations, orderly and broken disconnects, lost history (410 both ways),
duplicate events, bookmarks, refused requests, malformed lines and fences, with WatchList on and off. After quiescence:
store == server, indexes == recomputed, each handler's folded view == store, every lost object produced exactly one
Deleted, versions told per object never go backwards.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import looptime
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.watching import BROKEN, WFE, MemoryApi, line, refusal
from wfe_controller.kube.cache import (
    Added,
    CachedObject,
    Change,
    Deleted,
    Informer,
    Updated,
    WatchSettings,
    by_field,
)
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.objects import ObjectKey

NAMES = ("a", "b", "c", "d")
TARGETS = ("t1", "t2", "t3")


def _letters(obj: CachedObject) -> Iterable[str]:
    """Several values per object, some shared, sometimes none."""
    return list(str(obj.field("spec", "targetResource") or ""))[:2]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of injected failures: their log lines would bury Hypothesis' report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Fold:
    """What one handler knows from changes alone; fails on a change that does not follow from the one before."""

    def __init__(self) -> None:
        self.view: dict[ObjectKey, CachedObject] = {}
        self.ever: set[str] = set()
        self.deleted: list[str] = []

    def __call__(self, change: Change) -> None:
        match change:
            case Added(obj):
                assert obj.key not in self.view, "added twice"
                assert obj.uid not in self.ever, "an incarnation was added a second time"
                self.ever.add(obj.uid)
                self.view[obj.key] = obj
            case Updated(old, new, resync):
                assert self.view[new.key].same_as(old), "update from a state that was never told"
                assert old.uid == new.uid
                assert resync or int(new.resource_version) > int(old.resource_version)
                self.view[new.key] = new
            case Deleted(key, last, _):
                known = self.view.pop(key)
                assert last is not None
                assert last.uid == known.uid
                self.deleted.append(known.uid)


class WatcherAndStore(RuleBasedStateMachine):
    @initialize(watch_list=st.booleans(), as_status=st.booleans(), seed=st.integers(0, 2**16), page=st.integers(1, 3))
    def start(self, watch_list: bool, as_status: bool, seed: int, page: int) -> None:
        self.loop = looptime.new_event_loop()
        self.api = MemoryApi(watch_list=watch_list, gone_as_status=as_status)
        self.informer = Informer(
            self.api,
            WFE,
            indexes={"target": by_field("spec", "targetResource"), "letters": _letters},
            clock=LoopClock(),
            rng=random.Random(seed),
            resync_period=40.0,
            settings=WatchSettings(watch_list=seed % 2 == 0, page_size=page, watch_list_pause=20.0),
        )
        self.early = Fold()
        self.informer.add_handler(self.early)
        self.late: Fold | None = None
        self.recreated = 0
        self.task = self.loop.create_task(self.informer.run())

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        assert not self.task.done(), "run() ended"

    def teardown(self) -> None:
        if not hasattr(self, "task"):
            return
        self.quiesce()
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self.task)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # -- the server changes

    @rule(name=st.sampled_from(NAMES), goal=st.sampled_from(TARGETS))
    def write(self, name: str, goal: str) -> None:
        key = ObjectKey("ns", name)
        if key in self.api.objects:
            self.api.update(key, spec={"targetResource": goal})
        else:
            self.api.create(name, target=goal)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if ObjectKey("ns", name) in self.api.objects:
            self.api.delete(ObjectKey("ns", name))

    @rule(name=st.sampled_from(NAMES))
    def recreate(self, name: str) -> None:
        """I-16: another uid under the same name, possibly unseen in between."""
        if ObjectKey("ns", name) in self.api.objects:
            self.api.delete(ObjectKey("ns", name))
        self.api.create(name, target="t1")

    # -- the way breaks

    @rule(broken=st.booleans())
    def disconnect(self, broken: bool) -> None:
        self.api.disconnect(BROKEN if broken else None)

    @rule()
    def lose_history(self) -> None:
        self.api.compact()

    @rule()
    def lose_history_while_away(self) -> None:
        self.api.disconnect(BROKEN)
        self.api.compact()

    @rule()
    def duplicate(self) -> None:
        self.api.duplicate()

    @rule()
    def bookmark(self) -> None:
        self.api.bookmark()

    @rule(code=st.sampled_from((400, 403, 404, 422, 429, 500, 503)), on_list=st.booleans())
    def refuse_next(self, code: int, on_list: bool) -> None:
        faults = self.api.list_faults if on_list else self.api.watch_faults
        faults.append(refusal(code, retry_after=3 if code in (429, 503) else None))

    @rule(data=st.sampled_from((b'{"type":"ADD', line("NEW", {}), line("ADDED", {"metadata": {}}), b"[]")))
    def garbage(self, data: bytes) -> None:
        self.api.send(data)

    # -- time, and the process' own wishes

    @rule(seconds=st.sampled_from((0.0, 0.01, 1.0, 7.0, 33.0)))
    def pass_time(self, seconds: float) -> None:
        self.run(seconds)

    @precondition(lambda self: self.informer.has_synced())
    @rule()
    def register_late(self) -> None:
        """I-22: what is cached is replayed, and the view is whole from then on."""
        if self.late is None:
            self.late = Fold()
            assert self.informer.add_handler(self.late).has_synced()

    @rule()
    def fence(self) -> None:
        """I-30: when relist() returns, everything written before the call is in the store."""
        self.api.list_faults.clear()
        before = {key: obj["metadata"]["resourceVersion"] for key, obj in self.api.objects.items()}
        self.loop.run_until_complete(asyncio.wait_for(self.informer.relist(), 60))
        for key, version in before.items():
            cached = self.informer.store.get(key)
            assert cached is not None
            assert int(cached.resource_version) >= int(version)

    @rule()
    def quiesce(self) -> None:
        self.api.list_faults.clear()
        self.api.watch_faults.clear()
        self.run(200.0)
        store = self.informer.store
        truth = {key: obj["metadata"]["resourceVersion"] for key, obj in self.api.objects.items()}
        assert {obj.key: obj.resource_version for obj in store.list()} == truth
        assert self.informer.has_synced()
        assert self.informer.last_error is None
        assert self.api.watchers == 1
        assert set(self.early.deleted) == self.early.ever - {
            obj["metadata"]["uid"] for obj in self.api.objects.values()
        }

    # -- always

    @invariant()
    def views_and_indexes_agree(self) -> None:
        if not hasattr(self, "informer"):
            return
        store = self.informer.store
        cached = {obj.key: obj for obj in store.list()}
        assert self.early.view == cached
        assert self.late is None or self.late.view == cached
        assert len(self.early.deleted) == len(set(self.early.deleted)), "deleted twice"
        functions: dict[str, Any] = {"target": by_field("spec", "targetResource"), "letters": _letters}
        for name, function in functions.items():
            expected: dict[str, set[ObjectKey]] = {}
            for obj in cached.values():
                for value in function(obj):
                    expected.setdefault(value, set()).add(obj.key)
            assert set(store.index_values(name)) == set(expected)
            for value, keys in expected.items():
                assert {obj.key for obj in store.by_index(name, value)} == keys


TestWatcherAndStore = WatcherAndStore.TestCase
TestWatcherAndStore.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

"""The informer against a server in memory, on virtual time: what handlers see, when it is synced, how it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.watching import BROKEN, WFE, MemoryApi, line, refusal
from wfe_controller.kube.cache import Added, Change, Deleted, Informer, Updated, WatchSettings, by_field
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.errors import ConnectionFailed
from wfe_controller.kube.instruments import NoInstruments
from wfe_controller.kube.objects import ObjectKey

pytestmark = pytest.mark.looptime
A, B, C = (ObjectKey("ns", name) for name in "abc")
LIST = WatchSettings(watch_list=False)


def informer(api: MemoryApi, **options: Any) -> Informer:
    options.setdefault("settings", LIST)
    options.setdefault("resync_period", 0)
    return Informer(
        api,
        WFE,
        indexes={"target": by_field("spec", "targetResource")},
        clock=LoopClock(),
        rng=random.Random(7),
        **options,
    )


@asynccontextmanager
async def running(inf: Informer) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(inf.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}, "run() left tasks behind"


def told(change: Change) -> tuple[Any, ...]:
    match change:
        case Added(obj, initial):
            return ("added", obj.key.name, obj.uid, "initial" if initial else "")
        case Updated(old, new, resync):
            return ("updated", new.key.name, old.resource_version, new.resource_version, "resync" if resync else "")
        case Deleted(key, last, known):
            return ("deleted", key.name, last.uid if last else None, "seen" if known else "tombstone")


async def settle() -> None:
    await asyncio.sleep(0.01)


async def test_what_a_handler_is_told() -> None:
    """Initial adds are marked; an update carries both states; a deletion seen on the watch carries the last one."""
    api, changes = MemoryApi(), []
    api.create("a")
    inf = informer(api)
    inf.add_handler(lambda change: changes.append(told(change)))
    async with running(inf):
        await inf.wait_synced(1)
        api.create("b")
        api.update(A)
        api.delete(A)
        await settle()
        assert changes == [
            ("added", "a", "uid-101", "initial"),
            ("added", "b", "uid-102", ""),
            ("updated", "a", "101", "103", ""),
            ("deleted", "a", "uid-101", "seen"),
        ]
        assert inf.store.resource_version == "104"


async def test_relist_delivers_tombstones_first() -> None:
    """I-14: what vanished during an outage is told once, before what appeared; what did not change is not told."""
    api, changes = MemoryApi(), []
    for name in "abc":
        api.create(name)
    inf = informer(api)
    inf.add_handler(lambda change: changes.append(told(change)))
    async with running(inf):
        await inf.wait_synced(1)
        changes.clear()
        api.disconnect(BROKEN)
        api.delete(A)
        api.update(C)
        api.create("d")
        api.compact()
        await asyncio.sleep(60)
        assert changes == [
            ("deleted", "a", "uid-101", "tombstone"),
            ("updated", "c", "103", "105", ""),
            ("added", "d", "uid-106", ""),
        ]


@pytest.mark.parametrize("lost", [True, False], ids=["missed in an outage", "as one event"])
async def test_another_uid_is_a_deletion_and_an_addition(lost: bool) -> None:
    """I-16: keyed state of the old incarnation must not leak into the new one."""
    api, changes = MemoryApi(), []
    api.create("a")
    inf = informer(api)
    inf.add_handler(lambda change: changes.append(told(change)))
    async with running(inf):
        await inf.wait_synced(1)
        changes.clear()
        if lost:
            api.disconnect(BROKEN)
            api.delete(A)
            api.create("a")
            api.compact()
            await asyncio.sleep(60)
        else:
            api.replace(A)
            await settle()
        assert changes == [
            ("deleted", "a", "uid-101", "tombstone"),
            ("added", "a", api.objects[A]["metadata"]["uid"], ""),
        ]


async def test_store_and_index_change_before_handlers_are_told() -> None:
    """I-15: a handler that looks gets the new state, by key and by index."""
    api, seen = MemoryApi(), []
    inf = informer(api)

    def handler(change: Change) -> None:
        seen.append((change.key in inf.store, [o.key.name for o in inf.store.by_index("target", "t")]))

    inf.add_handler(handler)
    api.create("a", target="t")
    async with running(inf):
        await inf.wait_synced(1)
        api.update(A, spec={"targetResource": "u"})
        api.create("b", target="t")
        api.delete(A)
        await settle()
    assert seen == [(True, ["a"]), (True, []), (True, ["b"]), (False, ["b"])]


async def test_synced_on_two_levels() -> None:
    """I-22: an empty list counts; a registration is synced when its handler has everything, a late one at once."""
    api, early, late = MemoryApi(), [], []
    inf = informer(api)
    first = inf.add_handler(early.append)
    assert not inf.has_synced()
    assert not first.has_synced()
    assert not inf.settled()
    async with running(inf):
        await inf.wait_synced(1)
        assert inf.has_synced()
        assert first.has_synced()
        api.create("a")
        await settle()
        second = inf.add_handler(lambda change: late.append(told(change)))
        assert second.has_synced()
        assert late == [("added", "a", "uid-101", "initial")]


async def test_handlers_are_synced_only_after_their_last_initial_add() -> None:
    """I-22: half-way through the initial delivery, the answer is still no."""
    api, during = MemoryApi(), []
    api.create("a")
    inf = informer(api)
    registration = inf.add_handler(lambda _: during.append((inf.has_synced(), registration.has_synced())))
    async with running(inf):
        await inf.wait_synced(1)
    assert during == [(False, False)]
    assert registration.has_synced()


async def test_a_removed_handler_hears_nothing() -> None:
    api, changes = MemoryApi(), []
    inf = informer(api)
    registration = inf.add_handler(changes.append)
    async with running(inf):
        await inf.wait_synced(1)
        registration.remove()
        registration.remove()
        api.create("a")
        await settle()
    assert changes == []


async def test_wait_synced_says_what_is_missing() -> None:
    """W9, T69: start-up fails with resource and reason, not with a bare time-out."""
    api = MemoryApi()
    api.list_faults = [refusal(403, "Forbidden", 'cannot list resource "workflowexecutions"')] * 99
    inf = informer(api)
    async with running(inf):
        with pytest.raises(TimeoutError, match=r"workflowexecutions\.kubernaut\.ai not synced within 5 s: Forbidden"):
            await inf.wait_synced(5)
        assert inf.last_error is not None
        assert not inf.settled(), "a required kind that is forbidden holds up the start"
    with pytest.raises(TimeoutError, match="no answer yet"):
        await informer(MemoryApi()).wait_synced(5)


@pytest.mark.parametrize("code", [403, 404])
async def test_an_optional_kind_may_be_missing_and_appears_without_restart(code: int) -> None:
    """W9: the start is not held up, the fence neither, and the watch begins within 30 s of the CRD's appearing."""
    api = MemoryApi()
    api.list_faults = [refusal(code)] * 99
    inf = informer(api, optional=True)
    async with running(inf):
        await inf.wait_synced(1)
        assert (inf.settled(), inf.has_synced()) == (True, False)
        assert inf.served is (False if code == 404 else None)
        await asyncio.wait_for(inf.relist(), 1)
        await asyncio.sleep(600)
        api.list_faults = []
        api.create("a")
        appeared = asyncio.get_running_loop().time()
        synced = asyncio.Event()
        inf.add_handler(lambda _: synced.set())
        await synced.wait()
        assert asyncio.get_running_loop().time() - appeared <= 31
        await settle()
        assert (inf.has_synced(), inf.served, inf.last_error, len(inf.store)) == (True, True, None, 1)


async def test_an_unreachable_server_does_not_settle_an_optional_kind() -> None:
    """Not knowing whether the type exists is not knowing that it does not."""
    api = MemoryApi()
    api.list_faults = [ConnectionFailed("refused")] * 99
    inf = informer(api, optional=True)
    async with running(inf):
        with pytest.raises(TimeoutError):
            await inf.wait_synced(20)
        assert inf.served is None


async def test_resync_replays_the_store_without_the_api() -> None:
    """I-23: old is new, marked, at most 10 % late, again and again; no request is made for it."""
    api, at = MemoryApi(), []
    api.create("a")
    inf = informer(api, resync_period=100.0, settings=WatchSettings(watch_list=False, idle_timeout=5000.0))

    def handler(change: Change) -> None:
        if isinstance(change, Updated):
            assert change.resync
            assert change.old is change.new
            at.append(asyncio.get_running_loop().time())

    inf.add_handler(handler)
    async with running(inf):
        await asyncio.sleep(400)
    assert len(at) == 3
    gaps = [b - a for a, b in zip([0.0, *at], at, strict=False)]
    assert all(100.0 <= gap <= 110.1 for gap in gaps)
    assert api.verbs() == ["list", "watch"]


@pytest.mark.parametrize("error", [ValueError("bug"), ConnectionFailed("bug"), TimeoutError("bug")], ids=repr)
@pytest.mark.parametrize("where", ["list", "watch", "resync"])
async def test_a_handler_that_raises_ends_run_with_its_exception(error: Exception, where: str) -> None:
    """I-42: also when its type is one that the watch itself would have healed."""
    api = MemoryApi()
    inf = informer(api, resync_period=50.0)

    def handler(change: Change) -> None:
        if isinstance(change, Updated) or where != "resync":
            raise error

    inf.add_handler(handler)
    if where != "watch":
        api.create("a")
    task = asyncio.create_task(inf.run())
    await asyncio.sleep(1)
    api.create("b")
    with pytest.raises(type(error)) as caught:
        await asyncio.wait_for(task, 60)
    assert caught.value is error
    with pytest.raises(RuntimeError, match="has ended"):
        await inf.relist()


async def test_a_large_list_neither_blocks_the_loop_nor_shows_halves() -> None:
    """I-13, I-25: other tasks run while 2,000 objects are decoded and indexed; they never see a partial store."""
    api, sizes, turns = MemoryApi(), set(), 0
    inf = informer(api)
    for number in range(2000):
        api.create(f"n{number}")

    async def observer() -> None:
        nonlocal turns
        while not inf.has_synced():
            turns += 1
            sizes.add((len(inf.store), len(inf.store.index_values("target"))))
            await asyncio.sleep(0)

    async with running(inf):
        await observer()
    assert sizes == {(0, 0)}
    assert turns >= 2 * (2000 // 250)
    assert (len(inf.store), len(inf.store.index_values("target"))) == (2000, 2000)


# -- the fence


async def test_fence_returns_when_everything_written_before_is_in_the_store() -> None:
    """I-30: a warm cache that lags behind is not good enough for a new leader; a quorum list is."""
    api = MemoryApi()
    inf = informer(api)
    async with running(inf):
        await inf.wait_synced(1)
        await settle()
        api.mute()
        api.create("a")
        await settle()
        assert A not in inf.store
        await inf.relist()
        assert A in inf.store
        assert api.verbs()[:3] == ["list", "watch", "list"]
        assert api.calls[2].parameters["resource_version"] is None


async def test_fence_during_a_list_waits_for_one_that_began_after_it() -> None:
    """I-30: the list under way may be older than the call."""
    api = MemoryApi()
    inf = informer(api)
    gate = asyncio.Event()

    class Slow(MemoryApi):
        async def list_page(self, *args: Any, **parameters: Any) -> Any:
            page = await super().list_page(*args, **parameters)
            await gate.wait()
            return page

    api = Slow()
    inf = informer(api)
    async with running(inf):
        await settle()
        assert api.verbs() == ["list"]
        api.create("a")
        fence = asyncio.create_task(inf.relist())
        await settle()
        assert not fence.done()
        gate.set()
        await fence
        assert A in inf.store
        assert api.verbs()[:2] == ["list", "list"]


async def test_fence_cuts_a_backoff_short_and_survives_failures() -> None:
    """I-30: it does not sit out a long wait; a failing list is retried until one succeeds."""
    api = MemoryApi()
    api.list_faults = [refusal(429, retry_after=3000)]
    inf = informer(api)
    async with running(inf):
        await settle()
        api.list_faults = [BROKEN, refusal(500), refusal(403)]
        await asyncio.wait_for(inf.relist(), 120)
        assert api.verbs()[:5] == ["list"] * 5
        assert inf.has_synced()


async def test_fences_share_a_list_and_cancelled_ones_harm_nobody() -> None:
    api = MemoryApi()
    inf = informer(api)
    async with running(inf):
        await inf.wait_synced(1)
        fences = [asyncio.create_task(inf.relist()) for _ in range(5)]
        await asyncio.sleep(0)
        fences[0].cancel()
        await asyncio.gather(*fences[1:])
        assert api.verbs().count("list") == 2


async def test_ending_run_fails_waiting_fences() -> None:
    """Whoever waits must not hang when the process stops, and must not look cancelled itself."""
    api = MemoryApi()
    api.list_faults = [BROKEN] * 99
    inf = informer(api)
    async with running(inf):
        fence = asyncio.create_task(inf.relist())
        await asyncio.sleep(5)
    with pytest.raises(RuntimeError, match="has ended"):
        await fence


async def test_a_fence_does_not_hang_when_its_own_replace_meets_a_bug() -> None:
    """I-42: run() ends with the handler's exception, and whoever waits is told that it ended."""
    api = MemoryApi()
    inf = informer(api)
    task = asyncio.create_task(inf.run())
    await inf.wait_synced(1)
    await settle()
    api.mute()
    api.create("a")

    def handler(change: Change) -> None:
        raise ValueError("bug")

    inf.add_handler(handler)
    with pytest.raises(RuntimeError, match="has ended"):
        await asyncio.wait_for(inf.relist(), 10)
    with pytest.raises(ValueError, match="bug"):
        await task


# -- the wire


@pytest.mark.parametrize("watch_list", [True, False])
async def test_silence_is_noticed_on_time(watch_list: bool) -> None:
    """I-8, W1: with the limit at 90 s the watch is renewed 90 s after the last line, from the last version, without
    a list; what happened meanwhile arrives."""
    api = MemoryApi()
    inf = informer(api, settings=WatchSettings(watch_list=watch_list, idle_timeout=90.0))
    async with running(inf):
        await inf.wait_synced(1)
        await asyncio.sleep(50 - asyncio.get_running_loop().time())
        api.bookmark()
        await settle()
        api.mute()
        await asyncio.sleep(60)
        api.create("a")
        await asyncio.sleep(140 - asyncio.get_running_loop().time() + 0.1)
        assert api.calls[-1].at == pytest.approx(140, abs=0.1)
        assert api.calls[-1].parameters["resource_version"] == "100"
        assert api.verbs() == (["watchlist", "watch"] if watch_list else ["list", "watch", "watch"])
        assert A in inf.store


async def test_a_server_that_ignores_send_initial_events_is_found_out() -> None:
    """I-4: it never sends the closing bookmark; after 15 quiet seconds the plain list is used."""
    api = MemoryApi()

    class Old(MemoryApi):
        def watch(self, *args: Any, **parameters: Any) -> Any:
            return super().watch(*args, **{**parameters, "send_initial_events": False})

    api = Old()
    api.create("a")
    inf = informer(api, settings=WatchSettings())
    async with running(inf):
        await inf.wait_synced(20)
        assert asyncio.get_running_loop().time() == pytest.approx(15, abs=0.1)
        assert A in inf.store


async def test_trouble_is_logged_once_a_minute() -> None:
    """W9: one ERROR line per minute, however often it is tried; the state is in last_error all the time."""
    api = MemoryApi()
    api.list_faults = [refusal(403, "Forbidden", "no right")] * 999
    inf = informer(api)
    with capture_logs() as logs:
        async with running(inf):
            await asyncio.sleep(300)
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert 4 <= len(errors) <= 5
    assert errors[0]["resource"] == "workflowexecutions.kubernaut.ai"
    assert "no right" in errors[0]["error"]


async def test_last_contact() -> None:
    """W2: seconds since the server said anything; liveness is built on it."""
    api = MemoryApi()
    inf = informer(api)
    assert inf.last_contact() == float("inf")
    async with running(inf):
        await inf.wait_synced(1)
        await asyncio.sleep(30)
        assert inf.last_contact() == pytest.approx(30, abs=0.1)
        api.bookmark()
        await settle()
        assert inf.last_contact() < 1
        api.disconnect(BROKEN)
        api.watch_faults = [BROKEN] * 99
        await asyncio.sleep(90)
        assert inf.last_contact() == pytest.approx(90, abs=0.1)


class Counting(NoInstruments):
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def listed(self, resource: str, items: int, seconds: float) -> None:
        self.seen.append(("listed", items))

    def watch_started(self, resource: str) -> None:
        self.seen.append(("started",))

    def watch_ended(self, resource: str, reason: str) -> None:
        self.seen.append(("ended", reason))

    def event(self, resource: str, kind: str) -> None:
        self.seen.append(("event", kind))

    def objects(self, resource: str, count: int) -> None:
        self.seen.append(("objects", count))


async def test_instruments() -> None:
    """Malformed objects are counted as skipped, in lists and on watches; others are not affected (W5)."""
    api, counting = MemoryApi(), Counting()
    api.create("a")
    api.objects[B] = {"metadata": {"name": "b"}}
    inf = informer(api, instruments=counting)
    async with running(inf):
        await inf.wait_synced(1)
        await settle()
        api.send(line("ADDED", {"metadata": {}}))
        api.create("c")
        api.bookmark()
        await settle()
        api.delete(C)
        await settle()
        api.disconnect(BROKEN)
        await settle()
    assert counting.seen == [
        ("event", "skipped"),
        ("objects", 1),
        ("listed", 1),
        ("started",),
        ("event", "skipped"),
        ("event", "ADDED"),
        ("objects", 2),
        ("event", "BOOKMARK"),
        ("event", "DELETED"),
        ("objects", 1),
        ("ended", "error"),
    ]

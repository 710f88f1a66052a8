"""Lists and watches the server refuses: 410 in both forms, 429, 403, 404, 5xx, WatchList: W3, W6, W9, Q3, I-4, I-10."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.rawserver import Handler, hang_up, refuse, status_body, stream, text
from tests.support.watching import bookmark, line, wfe
from tests.support.watchwire import listed, quiet, wired
from wfe_controller.kube.cache import WatchSettings

pytestmark = pytest.mark.looptime

GONE = "too old resource version: 10 (90)"


def gone_in_stream() -> Handler:
    """HTTP 200 and the 410 as an event (k8s#35068)."""
    return stream(line("ERROR", status_body(410, "Expired", GONE)) + b"\n")


def events(*lines: bytes, then: str = "silence") -> Handler:
    return stream(*(one + b"\n" for one in lines), then=then)


@pytest.mark.parametrize("gone", [refuse(410, "Expired", GONE), gone_in_stream()], ids=["status", "in stream"])
async def test_410_lists_again_at_once_and_tells_what_vanished(tmp_path: Path, gone: Handler) -> None:
    """W3: by quorum, within 2 s, the refused version is not used again; the vanished object is told once."""
    first, second = listed(10, wfe("a", 5), wfe("b", 6)), listed(90, wfe("b", 80), wfe("c", 70))
    async with wired(tmp_path, first, gone, second, quiet) as wire:
        await wire.until("+a@5", "+b@6", "-a", "~b@80", "+c@70")
        await wire.server.wait_for(lambda: len(wire.server.requests) == 4)
        assert wire.asked() == ["list", "watch@10", "list", "watch@90"]
        assert wire.at[2] - wire.at[1] < 2


@pytest.mark.parametrize("gone", [refuse(410, "Expired", GONE), gone_in_stream()], ids=["status", "in stream"])
async def test_410_for_ever_does_not_become_a_loop(tmp_path: Path, gone: Handler) -> None:
    """W3, W6: at most one relist per 30 s and kind."""
    script = [handler for turn in range(1, 5) for handler in (listed(turn * 10), gone)]
    async with wired(tmp_path, *script) as wire:
        await wire.server.wait_for(lambda: len(wire.server.requests) == 8, timeout=200)
        lists = [at for at, asked in zip(wire.at, wire.asked(), strict=True) if asked.startswith("list")]
        gaps = [after - before for before, after in pairwise(lists)]
        assert gaps[0] < 2
        assert all(gap >= 29.9 for gap in gaps[1:])
        assert set(wire.asked()) == {"list", "watch@10", "watch@20", "watch@30", "watch@40"}


async def test_410_between_two_pages(tmp_path: Path) -> None:
    """I-3: the token aged out: one full list without limit, nothing of the first page survives."""
    script = [listed(10, wfe("old", 1), more="t"), refuse(410, "Expired", GONE), listed(20, wfe("a", 15)), quiet]
    async with wired(tmp_path, *script) as wire:
        await wire.until("+a@15")
        await wire.server.wait_for(lambda: len(wire.server.requests) == 4)
        assert wire.asked() == ["list", "list+t", "list", "watch@20"]
        assert [request.query.get("limit") for request in wire.server.requests[:3]] == ["500", "500", None]


async def test_pages_are_put_together(tmp_path: Path) -> None:
    """I-3: one Replace of all pages, the watch from the list's version."""
    script = [listed(10, wfe("a", 1), more="t1"), listed(10, wfe("b", 2), more="t2"), listed(10, wfe("c", 3)), quiet]
    async with wired(tmp_path, *script) as wire:
        await wire.until("+a@1", "+b@2", "+c@3")
        await wire.server.wait_for(lambda: len(wire.server.requests) == 4)
        assert wire.asked() == ["list", "list+t1", "list+t2", "watch@10"]


async def test_429_on_the_watch_waits_as_told_and_does_not_list(tmp_path: Path) -> None:
    """Q3, I-10: at least Retry-After, from the same version."""
    throttled = refuse(429, "TooManyRequests", "slow down", retry_after=17)
    async with wired(tmp_path, listed(10), throttled, events(line("ADDED", wfe("a", 11)))) as wire:
        await wire.until("+a@11")
        assert wire.asked() == ["list", "watch@10", "watch@10"]
        assert 17 <= wire.at[2] - wire.at[1] <= 20
        assert wire.counted.ended == ["throttled"]


async def test_429_on_the_list_waits_as_told(tmp_path: Path) -> None:
    """Q3: the start is late, not lost."""
    throttled = refuse(429, "TooManyRequests", "slow down", retry_after=90)
    async with wired(tmp_path, throttled, listed(10, wfe("a", 5)), quiet) as wire:
        await wire.until("+a@5")
        assert 90 <= wire.at[1] - wire.at[0] <= 100


async def test_a_server_that_closes_every_watch_at_once_is_not_hammered(tmp_path: Path) -> None:
    """I-9: backoff instead of a hot loop, no list."""
    async with wired(tmp_path, listed(10), stream()) as wire:
        await wire.server.wait_for(lambda: len(wire.server.requests) == 12, timeout=600)
        assert wire.asked() == ["list"] + ["watch@10"] * 11
        gaps = [after - before for before, after in pairwise(wire.at[1:])]
        assert all(gap >= 0.8 for gap in gaps)
        assert max(gaps) > 25
        assert set(wire.counted.ended) == {"short"}


async def test_connections_cut_at_once_are_backed_off(tmp_path: Path) -> None:
    """I-10: a broken connection says nothing about the version: no list."""
    async with wired(tmp_path, listed(10), hang_up, hang_up, hang_up, events(line("ADDED", wfe("a", 11)))) as wire:
        await wire.until("+a@11")
        assert wire.asked() == ["list"] + ["watch@10"] * 4


@pytest.mark.parametrize("code", [500, 503])
async def test_5xx_watches_again_and_lists_when_it_lasts(tmp_path: Path, code: int) -> None:
    """I-10: a restarting server costs no list; one that cannot serve this watch is asked for a list in the end."""
    script = [listed(10), *[refuse(code, "InternalError", "etcd")] * 4, events(line("ADDED", wfe("a", 11)))]
    async with wired(tmp_path, *script) as wire:
        await wire.until("+a@11")
        assert wire.asked() == ["list"] + ["watch@10"] * 5
    async with wired(tmp_path, listed(10), refuse(code, "InternalError", "etcd")) as wire:
        await wire.server.wait_for(lambda: "list@10" in wire.asked(), timeout=300)
        assert 60 <= wire.at[wire.asked().index("list@10")] - wire.at[1] <= 180


async def test_a_missing_right_is_named_and_noticed_when_granted(tmp_path: Path) -> None:
    """W9: who may not do what is in last_error; the watch starts within 30 s of the grant."""
    message = 'workflowexecutions.kubernaut.ai is forbidden: User "x" cannot list resource "workflowexecutions"'
    forbidden = refuse(403, "Forbidden", message)
    async with wired(tmp_path, *[forbidden] * 8, listed(10, wfe("a", 5)), quiet) as wire:
        await wire.server.wait_for(lambda: len(wire.server.requests) == 8, timeout=300)
        assert wire.informer.last_error == f"Forbidden: 403 Forbidden: {message}"
        assert not wire.informer.settled()
        await wire.until("+a@5")
        assert wire.at[8] - wire.at[7] <= 30.1
        assert wire.informer.last_error is None


async def test_a_missing_type(tmp_path: Path) -> None:
    """W9: 404 without a Status body, as the server answers for a type it does not know."""
    missing = text(b"404 page not found\n", 404)
    async with wired(tmp_path, missing, missing, listed(10, wfe("a", 5)), quiet, optional=True) as wire:
        await wire.informer.wait_synced(1)
        assert (wire.informer.served, wire.informer.has_synced()) == (False, False)
        await wire.until("+a@5", timeout=60)
        assert wire.informer.served is True


# -- WatchList

WATCH_LIST = WatchSettings()
INITIAL = (line("ADDED", wfe("a", 5)), line("ADDED", wfe("b", 6)), bookmark(10, initial_end=True))


async def test_watch_list(tmp_path: Path) -> None:
    """I-4: one request for content and changes; the same stream goes on; a later watch is an ordinary one."""
    script = [events(*INITIAL, line("DELETED", wfe("a", 11)), then="end"), quiet]
    async with wired(tmp_path, *script, settings=WATCH_LIST) as wire:
        await wire.until("+a@5", "+b@6", "-a")
        await wire.server.wait_for(lambda: len(wire.server.requests) == 2)
        assert wire.asked() == ["watchlist", "watch@11"]
        query = wire.server.requests[0].query
        assert query["resourceVersionMatch"] == "NotOlderThan"
        assert query["allowWatchBookmarks"] == "true"


REFUSALS: dict[str, Handler] = {
    "422": refuse(422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden"),
    "400": refuse(400, "BadRequest", "no"),
    "500, etcd too old": refuse(500, "InternalError", "etcd event received with PrevKv=nil"),
    "404": text(b"404 page not found\n", 404),
    "closed before the end of the initial events": events(*INITIAL[:2], then="end"),
    "cut in the middle": events(*INITIAL[:2], then="close"),
    "ERROR event": events(INITIAL[0], line("ERROR", status_body(500, "InternalError", "x")), then="end"),
    "no closing bookmark, then silence": events(*INITIAL[:2]),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_watch_list_refused(tmp_path: Path, refusal: Handler) -> None:
    """I-4: any refusal falls back to list and watch; a relist soon after does not try again."""
    again = refuse(410, "Expired", GONE)
    script = [refusal, listed(20, wfe("c", 15)), again, listed(30, wfe("c", 15)), quiet]
    async with wired(tmp_path, *script, settings=WATCH_LIST) as wire:
        await wire.until("+c@15")
        await wire.server.wait_for(lambda: len(wire.server.requests) == 5)
        assert wire.asked() == ["watchlist", "list", "watch@20", "list", "watch@30"]

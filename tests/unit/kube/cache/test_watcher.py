"""The watch machine, one row per clause of its contract: inputs -> requests and deliveries (I-1 .. I-12)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.watching import WFE, bookmark, line, raw, refusal, status, wfe
from wfe_controller.kube.cache.cached import ObjectDecoder
from wfe_controller.kube.cache.messages import (
    Apply,
    Bookmark,
    Closed,
    Failed,
    Input,
    Line,
    ListFailed,
    Opened,
    Output,
    Page,
    Relist,
    Replace,
    Silent,
    Skipped,
    Start,
    Timer,
    Wait,
    WatchEnded,
    WatchFailed,
    WatchRequest,
)
from wfe_controller.kube.cache.pager import ListRequest
from wfe_controller.kube.cache.watcher import Watcher, WatchSettings
from wfe_controller.kube.errors import ConnectionFailed, RequestTimeout

DECODE = ObjectDecoder(WFE)


@dataclass(frozen=True)
class At:
    """An input at a time; without it, inputs come 10 s apart."""

    seconds: float
    input: Input


def describe(output: Output) -> Any:
    """An output as a short comparable value."""
    match output:
        case ListRequest():
            return ("list", output.resource_version, output.limit, output.continue_token)
        case WatchRequest():
            return ("watchlist" if output.send_initial_events else "watch", output.resource_version)
        case Wait():
            return "wait"
        case Replace():
            return ("replace", sorted(str(k) for k in output.objects), output.resource_version)
        case Apply():
            return (output.verb.value, output.object.key.name, output.object.resource_version)
        case Bookmark():
            return ("bookmark", output.resource_version)
        case Skipped():
            return "skipped"
        case WatchEnded():
            return ("ended", output.reason)
        case Failed():
            return "surfaced" if output.surface else "failed"


def machine(**settings: Any) -> Watcher:
    return Watcher(DECODE, settings=WatchSettings(**settings), rng=random.Random(1))


def run(watcher: Watcher, inputs: Sequence[Input | At]) -> list[Any]:
    now, seen = 0.0, []
    for given in inputs:
        now += 10.0
        if isinstance(given, At):
            now, given = given.seconds, given.input
        seen += [describe(output) for output in watcher.step(given, now)]
    return seen


def page(*objects: Any, rv: str = "100", more: str = "") -> Page:
    return Page([DECODE(raw(o)) for o in objects], rv, more)


def ev(type_: str, name: str, version: int | str, **more: Any) -> Line:
    return Line(line(type_, wfe(name, version, **more)))


def err(code: int, reason: str = "", message: str = "") -> Line:
    return Line(line("ERROR", status(code, reason, message)))


FIRST = ("list", None, 500, "")
SYNCED = [FIRST, ("replace", [], "100"), ("watch", "100")]
LISTED = [Start(), page(), Opened()]
GONE = refusal(410, "Expired", "too old resource version")
TOO_LARGE = refusal(504, "Timeout", "Too large resource version: 100, current: 7")
HUNDRED_PLUS = [("replace", [], "200"), ("watch", "200")]

LIST_WATCH = {
    "I-1 the watch starts from the list's version, not from an item's": (
        [Start(), page(wfe("a", 7), rv="100")],
        [FIRST, ("replace", ["ns/a"], "100"), ("watch", "100")],
    ),
    "I-1 a later watch starts from the last event": (
        [*LISTED, ev("ADDED", "a", 105), Closed()],
        [*SYNCED, ("ADDED", "a", "105"), ("ended", "closed"), ("watch", "105")],
    ),
    "I-1 an already delivered event does not go backwards": (
        [*LISTED, ev("ADDED", "a", 105), ev("ADDED", "a", 105), ev("MODIFIED", "a", 101), Closed()],
        [*SYNCED, ("ADDED", "a", "105"), "skipped", "skipped", ("ended", "closed"), ("watch", "105")],
    ),
    "I-1 versions that are no numbers are taken as they come": (
        [Start(), page(rv="x7"), Opened(), ev("ADDED", "a", "x6"), Closed()],
        [FIRST, ("replace", [], "x7"), ("watch", "x7"), ("ADDED", "a", "x6"), ("ended", "closed"), ("watch", "x6")],
    ),
    "I-1 a list without version is surfaced and asked again": (
        [Start(), page(rv=""), Timer()],
        [FIRST, "surfaced", "wait", FIRST],
    ),
    "I-2 a relist asks for not older than the last seen, unpaged": (
        [*LISTED, ev("ADDED", "a", 105), WatchFailed(refusal(403, "Forbidden")), Timer()],
        [*SYNCED, ("ADDED", "a", "105"), ("ended", "error"), "surfaced", "wait", ("list", "105", None, "")],
    ),
    "I-2 a list refused with 410 is repeated at once as quorum list": (
        [*LISTED, WatchFailed(refusal(403)), Timer(), ListFailed(GONE), page(rv="200")],
        [*SYNCED, ("ended", "error"), "surfaced", "wait", ("list", "100", None, ""), FIRST, *HUNDRED_PLUS],
    ),
    "I-2 a list refused as too large a version is repeated at once as quorum list": (
        [*LISTED, WatchFailed(refusal(403)), Timer(), ListFailed(TOO_LARGE), page(rv="200")],
        [*SYNCED, ("ended", "error"), "surfaced", "wait", ("list", "100", None, ""), FIRST, *HUNDRED_PLUS],
    ),
    "I-2 the flag is cleared by success: the next relist carries the new version": (
        [*LISTED, WatchFailed(GONE), page(rv="200"), Opened(), WatchFailed(refusal(403)), Timer()],
        [
            *SYNCED,
            ("ended", "gone"),
            FIRST,
            *HUNDRED_PLUS,
            ("ended", "error"),
            "surfaced",
            "wait",
            ("list", "200", None, ""),
        ],
    ),
    "I-2 a quorum list that fails with 410 backs off": (
        [Start(), ListFailed(GONE), Timer()],
        [FIRST, "surfaced", "wait", FIRST],
    ),
    "I-3 pages of 500, the token without version, the first page's objects kept": (
        [Start(), page(wfe("a", 1), more="t1"), page(wfe("b", 2), more="t2"), page(wfe("c", 3))],
        [
            FIRST,
            ("list", None, 500, "t1"),
            ("list", None, 500, "t2"),
            ("replace", ["ns/a", "ns/b", "ns/c"], "100"),
            ("watch", "100"),
        ],
    ),
    "I-3 410 on a later page: one full unpaged list, earlier pages dropped": (
        [Start(), page(wfe("a", 1), more="t1"), ListFailed(GONE), page(wfe("b", 2))],
        [FIRST, ("list", None, 500, "t1"), ("list", None, None, ""), ("replace", ["ns/b"], "100"), ("watch", "100")],
    ),
    "I-3 410 on that full list too: back off, then page again": (
        [Start(), page(wfe("a", 1), more="t1"), ListFailed(GONE), ListFailed(GONE), Timer()],
        [FIRST, ("list", None, 500, "t1"), ("list", None, None, ""), "surfaced", "wait", FIRST],
    ),
    "I-3 a broken later page starts the list again": (
        [Start(), page(wfe("a", 1), more="t1"), ListFailed(ConnectionFailed("x")), Timer(), page(wfe("b", 2))],
        [FIRST, ("list", None, 500, "t1"), "failed", "wait", FIRST, ("replace", ["ns/b"], "100"), ("watch", "100")],
    ),
    "I-6 a bookmark moves the resume point and nothing else": (
        [*LISTED, Line(bookmark(120)), Closed()],
        [*SYNCED, ("bookmark", "120"), ("ended", "closed"), ("watch", "120")],
    ),
    "I-6 odd bookmarks are skipped": (
        [*LISTED, Line(bookmark("")), Line(bookmark(7)), Line(line("BOOKMARK", {})), Closed()],
        [*SYNCED, "skipped", "skipped", "skipped", ("ended", "closed"), ("watch", "100")],
    ),
    "I-8 silence: watch again from the last version, no list": (
        [*LISTED, ev("ADDED", "a", 105), Silent()],
        [*SYNCED, ("ADDED", "a", "105"), ("ended", "silent"), ("watch", "105")],
    ),
    "I-9 an orderly close: watch again at once": (
        [*LISTED, Closed(), Opened(), Closed()],
        [*SYNCED, ("ended", "closed"), ("watch", "100"), ("ended", "closed"), ("watch", "100")],
    ),
    "I-9 a very short watch without any line backs off, then watches": (
        [Start(), page(), At(50, Opened()), At(50.9, Closed()), Timer()],
        [*SYNCED, ("ended", "short"), "wait", ("watch", "100")],
    ),
    "I-9 a short watch with a line is an orderly close": (
        [Start(), page(), At(50, Opened()), At(50.1, Line(bookmark(101))), At(50.9, Closed())],
        [*SYNCED, ("bookmark", "101"), ("ended", "closed"), ("watch", "101")],
    ),
    "I-10 410 as status: quorum list at once, the version not used again": (
        [*LISTED, WatchFailed(GONE), page(rv="200")],
        [*SYNCED, ("ended", "gone"), FIRST, *HUNDRED_PLUS],
    ),
    "I-10 410 as ERROR event": (
        [*LISTED, err(410, "Expired"), page(rv="200")],
        [*SYNCED, ("ended", "gone"), FIRST, *HUNDRED_PLUS],
    ),
    "I-10 410 without reason, reason Gone without code": (
        [*LISTED, err(410), page(rv="200"), At(100, Opened()), err(0, "Gone")],
        [*SYNCED, ("ended", "gone"), FIRST, *HUNDRED_PLUS, ("ended", "gone"), FIRST],
    ),
    "I-10 too large a version on the watch: quorum list": (
        [*LISTED, WatchFailed(TOO_LARGE)],
        [*SYNCED, ("ended", "gone"), FIRST],
    ),
    "I-10 repeated 410: the second list waits": (
        [*LISTED, At(50, WatchFailed(GONE)), page(rv="200"), At(51, WatchFailed(GONE)), Timer()],
        [*SYNCED, ("ended", "gone"), FIRST, *HUNDRED_PLUS, ("ended", "gone"), "wait", FIRST],
    ),
    "I-10 410 again after 30 s: at once": (
        [*LISTED, At(50, WatchFailed(GONE)), page(rv="200"), At(80, WatchFailed(GONE))],
        [*SYNCED, ("ended", "gone"), FIRST, *HUNDRED_PLUS, ("ended", "gone"), FIRST],
    ),
    "I-10 429 on opening: wait, watch again, no list": (
        [*LISTED, WatchFailed(refusal(429, "TooManyRequests")), Timer()],
        [*SYNCED, ("ended", "throttled"), "failed", "wait", ("watch", "100")],
    ),
    "I-10 429 as ERROR event": (
        [*LISTED, err(429, "TooManyRequests"), Timer()],
        [*SYNCED, ("ended", "throttled"), "failed", "wait", ("watch", "100")],
    ),
    "I-10 429 on the list: wait, list again": (
        [Start(), ListFailed(refusal(429)), Timer()],
        [FIRST, "failed", "wait", FIRST],
    ),
    "I-10 a refused or broken connection: wait, watch again, no list": (
        [*LISTED, WatchFailed(ConnectionFailed("refused")), Timer(), WatchFailed(RequestTimeout("slow")), Timer()],
        [*SYNCED, *[("ended", "error"), "failed", "wait", ("watch", "100")] * 2],
    ),
    "I-10 500: watch again within the window, then list": (
        [
            *LISTED,
            At(50, WatchFailed(refusal(500))),
            Timer(),
            At(80, WatchFailed(refusal(503))),
            Timer(),
            At(111, WatchFailed(refusal(500))),
            Timer(),
            page(rv="200"),
        ],
        [
            *SYNCED,
            *([("ended", "error"), "failed", "wait", ("watch", "100")] * 2),
            ("ended", "error"),
            "failed",
            "wait",
            ("list", "100", None, ""),
            *HUNDRED_PLUS,
        ],
    ),
    "I-10 an event in between starts the window of 500 anew": (
        [
            *LISTED,
            At(50, WatchFailed(refusal(500))),
            Timer(),
            Opened(),
            ev("ADDED", "a", 105),
            At(111, WatchFailed(refusal(500))),
            Timer(),
        ],
        [
            *SYNCED,
            ("ended", "error"),
            "failed",
            "wait",
            ("watch", "100"),
            ("ADDED", "a", "105"),
            ("ended", "error"),
            "failed",
            "wait",
            ("watch", "105"),
        ],
    ),
    "I-10 403 and 404 and 401 on the list: surface, back off, list": (
        [Start(), ListFailed(refusal(403)), Timer(), ListFailed(refusal(404)), Timer(), ListFailed(refusal(401))],
        [*[FIRST, "surfaced", "wait"] * 3],
    ),
    "I-10 404 on the watch (the CRD went away): surface, back off, list": (
        [*LISTED, WatchFailed(refusal(404)), Timer()],
        [*SYNCED, ("ended", "error"), "surfaced", "wait", ("list", "100", None, "")],
    ),
    "I-10 an ERROR event without Status is undecodable: surface, list": (
        [*LISTED, Line(line("ERROR", {"what": 1})), Timer()],
        [*SYNCED, ("ended", "error"), "surfaced", "wait", ("list", "100", None, "")],
    ),
    "I-10 half a line: surface, back off, watch from where we were; twice in a row: list": (
        [*LISTED, Line(b'{"type":"ADD'), Timer(), Opened(), Line(b"<html>"), Timer()],
        [
            *SYNCED,
            ("ended", "error"),
            "surfaced",
            "wait",
            ("watch", "100"),
            ("ended", "error"),
            "surfaced",
            "wait",
            ("list", "100", None, ""),
        ],
    ),
    "I-10 bytes that are no text: surface, watch from where we were": (
        [*LISTED, Line(b'{"type":"\xff"}'), Timer()],
        [*SYNCED, ("ended", "error"), "surfaced", "wait", ("watch", "100")],
    ),
    "I-10 half a line, a good one, half a line: no list": (
        [*LISTED, Line(b"{"), Timer(), Opened(), ev("ADDED", "a", 105), Line(b"{"), Timer()],
        [
            *SYNCED,
            ("ended", "error"),
            "surfaced",
            "wait",
            ("watch", "100"),
            ("ADDED", "a", "105"),
            ("ended", "error"),
            "surfaced",
            "wait",
            ("watch", "105"),
        ],
    ),
    "I-12 unknown event type, wrong kind, Table, malformed objects: skipped, the stream goes on": (
        [
            *LISTED,
            Line(line("RENAMED", wfe("a", 105))),
            Line(line("ADDED", {**wfe("a", 105), "kind": "Pod"})),
            Line(line("ADDED", {"kind": "Table", "rows": []})),
            Line(line("MODIFIED", {"metadata": {"name": "a"}})),
            Line(line("ADDED", {"metadata": {"name": "", "resourceVersion": "105"}})),
            Line(line("DELETED", None)),
            Line(line("ADDED", {"metadata": "x"})),
            ev("ADDED", "b", 106),
        ],
        [*SYNCED, *["skipped"] * 7, ("ADDED", "b", "106")],
    ),
    "I-30 the fence lists by quorum out of any state": (
        [*LISTED, ev("ADDED", "a", 105), Relist(), page(rv="200")],
        [*SYNCED, ("ADDED", "a", "105"), FIRST, *HUNDRED_PLUS],
    ),
    "I-30 after the fence, relists are ordinary again": (
        [*LISTED, Relist(), page(rv="200"), Opened(), WatchFailed(refusal(403)), Timer()],
        [*SYNCED, FIRST, *HUNDRED_PLUS, ("ended", "error"), "surfaced", "wait", ("list", "200", None, "")],
    ),
    "I-30 a fence whose list fails stays a quorum list": (
        [*LISTED, Relist(), ListFailed(ConnectionFailed("x")), Timer(), page(rv="200")],
        [*SYNCED, FIRST, "failed", "wait", FIRST, *HUNDRED_PLUS],
    ),
    "I-30 a fence during a wait for a watch lists": (
        [*LISTED, WatchFailed(ConnectionFailed("x")), Relist()],
        [*SYNCED, ("ended", "error"), "failed", "wait", FIRST],
    ),
}

INITIAL = ("watchlist", "")
END = Line(bookmark(100, initial_end=True))

WATCH_LIST = {
    "I-4 initial events become one Replace, and the same stream goes on": (
        [Start(), Opened(), ev("ADDED", "a", 7), ev("ADDED", "b", 3), END, ev("ADDED", "c", 101), Closed()],
        [INITIAL, ("replace", ["ns/a", "ns/b"], "100"), ("ADDED", "c", "101"), ("ended", "closed"), ("watch", "101")],
    ),
    "I-4 changes among the initial events are folded in": (
        [
            Start(),
            Opened(),
            ev("ADDED", "a", 7),
            ev("ADDED", "b", 8),
            ev("MODIFIED", "a", 99),
            ev("DELETED", "b", 98),
            END,
        ],
        [INITIAL, ("replace", ["ns/a"], "100")],
    ),
    "I-4 a bookmark without the annotation does not end the initial events": (
        [Start(), Opened(), ev("ADDED", "a", 7), Line(bookmark(50)), END],
        [INITIAL, ("replace", ["ns/a"], "100")],
    ),
    "I-4 refused with 422: plain list at once, remembered": (
        [Start(), WatchFailed(refusal(422, "Invalid")), page(), WatchFailed(GONE)],
        [INITIAL, ("ended", "error"), *SYNCED, ("ended", "gone"), FIRST],
    ),
    **{
        f"I-4 refused with {code}: plain list at once": (
            [Start(), WatchFailed(refusal(code))],
            [INITIAL, ("ended", "error"), FIRST],
        )
        for code in (400, 403, 404, 405, 500, 503)
    },
    "I-4 refused by an ERROR event": (
        [Start(), Opened(), ev("ADDED", "a", 7), err(500, "InternalError"), page()],
        [INITIAL, ("ended", "error"), *SYNCED],
    ),
    "I-4 no answer in time: plain list": (
        [Start(), WatchFailed(RequestTimeout("x"))],
        [INITIAL, ("ended", "error"), FIRST],
    ),
    "I-4 silence before the closing bookmark: plain list": (
        [Start(), Opened(), ev("ADDED", "a", 7), Silent()],
        [INITIAL, ("ended", "silent"), FIRST],
    ),
    "I-4 closed before the closing bookmark: plain list, nothing of it delivered": (
        [Start(), Opened(), ev("ADDED", "a", 7), Closed(), page()],
        [INITIAL, ("ended", "closed"), *SYNCED],
    ),
    "I-4 broken after some events: plain list": (
        [Start(), Opened(), ev("ADDED", "a", 7), WatchFailed(ConnectionFailed("x"))],
        [INITIAL, ("ended", "error"), FIRST],
    ),
    "I-4 an undecodable line: plain list": (
        [Start(), Opened(), Line(b"<html>")],
        [INITIAL, ("ended", "error"), FIRST],
    ),
    "I-4 nobody answers: back off, and WatchList again": (
        [Start(), WatchFailed(ConnectionFailed("refused")), Timer()],
        [INITIAL, ("ended", "error"), "failed", "wait", INITIAL],
    ),
    "I-4 429: wait, and WatchList again": (
        [Start(), WatchFailed(refusal(429)), Timer()],
        [INITIAL, ("ended", "throttled"), "failed", "wait", INITIAL],
    ),
    "I-4 503 with Retry-After: waits before the plain list": (
        [Start(), WatchFailed(refusal(503, retry_after=7)), Timer()],
        [INITIAL, ("ended", "error"), "failed", "wait", FIRST],
    ),
    "I-4 a leftover of an aborted attempt is not in the next": (
        [Start(), Opened(), ev("ADDED", "a", 7), err(429), Timer(), Opened(), ev("ADDED", "b", 8), END],
        [INITIAL, ("ended", "throttled"), "failed", "wait", INITIAL, ("replace", ["ns/b"], "100")],
    ),
    "I-4 410 later: WatchList again, from no version": (
        [Start(), Opened(), END, WatchFailed(GONE), Opened(), Line(bookmark(200, initial_end=True))],
        [INITIAL, ("replace", [], "100"), ("ended", "gone"), INITIAL, ("replace", [], "200")],
    ),
    "I-4 a re-watch asks for no initial events": (
        [Start(), Opened(), END, Closed()],
        [INITIAL, ("replace", [], "100"), ("ended", "closed"), ("watch", "100")],
    ),
    "I-5 synthetic events do not move the resume point: 410 among them starts from nothing": (
        [Start(), Opened(), ev("ADDED", "a", 7), err(410, "Expired")],
        [INITIAL, ("ended", "gone"), INITIAL],
    ),
    "I-12 malformed initial events are skipped": (
        [Start(), Opened(), Line(line("ADDED", {"metadata": {}})), ev("ADDED", "a", 7), END],
        [INITIAL, "skipped", ("replace", ["ns/a"], "100")],
    ),
    "I-30 the fence uses a plain quorum list": (
        [Start(), Opened(), END, Relist(), page(rv="200")],
        [INITIAL, ("replace", [], "100"), FIRST, *HUNDRED_PLUS],
    ),
}


@pytest.mark.parametrize(("inputs", "expected"), LIST_WATCH.values(), ids=LIST_WATCH.keys())
def test_list_and_watch(inputs: list[Input | At], expected: list[Any]) -> None:
    """I-1."""
    assert run(machine(watch_list=False), inputs) == expected


@pytest.mark.parametrize(("inputs", "expected"), WATCH_LIST.values(), ids=WATCH_LIST.keys())
def test_watch_list(inputs: list[Input | At], expected: list[Any]) -> None:
    """I-4, I-5."""
    assert run(machine(watch_list=True), inputs) == expected


def test_watch_list_is_tried_again_after_the_pause() -> None:
    """I-4: the refusal is remembered for watch_list_pause seconds, not for ever."""
    watcher = machine(watch_list_pause=1800)
    run(watcher, [Start(), At(10, WatchFailed(refusal(422))), page(), Opened()])
    assert run(watcher, [At(1809, WatchFailed(GONE))]) == [("ended", "gone"), FIRST]
    run(watcher, [page(), Opened()])
    assert run(watcher, [At(1850, WatchFailed(GONE))]) == [("ended", "gone"), INITIAL]


def test_relist_carries_match_not_older_than() -> None:
    """I-2: the semantics of the version is said, not left to the server's default."""
    watcher = machine(watch_list=False)
    run(watcher, [Start(), page(), Opened(), WatchFailed(refusal(403))])
    [request] = watcher.step(Timer(), 100.0)
    assert request == ListRequest("100", "NotOlderThan")


def test_timeouts_of_a_watch() -> None:
    """I-7, I-8: timeoutSeconds is spread over 240..300 s; the idle limit is 15 s more, or the one that was set."""
    seen = set()
    for seed in range(200):
        watcher = Watcher(DECODE, settings=WatchSettings(watch_list=False), rng=random.Random(seed))
        watcher.step(Start(), 0.0)
        request = watcher.step(page(), 1.0)[-1]
        assert isinstance(request, WatchRequest)
        assert request.idle_timeout == request.timeout_seconds + 15
        assert watcher.patience == request.idle_timeout
        seen.add(request.timeout_seconds)
    assert min(seen) >= 240
    assert max(seen) <= 300
    assert len(seen) > 30
    watcher = machine(watch_list=False, idle_timeout=90.0)
    watcher.step(Start(), 0.0)
    watcher.step(page(), 1.0)
    assert watcher.patience == 90.0


def test_patience_is_short_only_until_the_closing_bookmark() -> None:
    """I-4, I-8: a server that ignores sendInitialEvents is found out in seconds, a quiet resource is not bothered."""
    watcher = machine(initial_quiet=15.0, idle_timeout=90.0)
    run(watcher, [Start(), Opened()])
    assert watcher.patience == 15.0
    run(watcher, [END])
    assert watcher.patience == 90.0


def waits(watcher: Watcher, *inputs: Input | At) -> list[float]:
    now, out = 0.0, []
    for given in inputs:
        now += 10.0
        if isinstance(given, At):
            now, given = given.seconds, given.input
        out += [o.seconds for o in watcher.step(given, now) if isinstance(o, Wait)]
    return out


def test_retry_after_is_honoured_with_jitter() -> None:
    """I-10: never earlier than the server asked, and not all clients at the same moment."""
    asked = {
        waits(Watcher(DECODE, rng=random.Random(seed)), Start(), WatchFailed(refusal(429, retry_after=40)))[0]
        for seed in range(20)
    }
    assert min(asked) >= 40
    assert max(asked) <= 44
    assert len(asked) == 20


def test_repeated_410_lists_at_most_once_in_30_seconds() -> None:
    """I-10, W3: the wait is exactly the rest of the 30 s since the previous list after a 410."""
    watcher = machine(watch_list=False)
    run(watcher, [Start(), page(), Opened()])
    assert waits(watcher, At(50, WatchFailed(GONE))) == []
    run(watcher, [At(50, page(rv="200"))])
    assert waits(watcher, At(51, WatchFailed(GONE))) == [29.0]
    run(watcher, [At(80, Timer()), At(80, page(rv="300"))])
    assert waits(watcher, At(81, WatchFailed(GONE))) == [29.0]


def test_backoff_doubles_to_the_cap_and_recovers() -> None:
    """I-11: 0.8 s doubled, jitter up to +100 %, capped at 30 s before jitter; base again after two quiet minutes."""
    watcher = machine(watch_list=False)
    watcher.step(Start(), 0.0)
    seen = []
    for turn in range(10):
        seen += waits(watcher, At(turn, ListFailed(ConnectionFailed("x"))), At(turn, Timer()))
    for attempt, seconds in enumerate(seen):
        base = min(0.8 * 2**attempt, 30.0)
        assert base <= seconds <= 2 * base
    assert 0.8 <= waits(watcher, At(200, ListFailed(ConnectionFailed("x"))))[0] <= 1.6


@pytest.mark.parametrize("code", [403, 404])
def test_surfaced_errors_are_retried_every_30_seconds_at_most(code: int) -> None:
    """W9: a right or CRD that appears is noticed within 30 s, jitter included."""
    watcher = machine(watch_list=False)
    watcher.step(Start(), 0.0)
    seen = []
    for turn in range(40):
        seen += waits(watcher, At(turn, ListFailed(refusal(code))), At(turn, Timer()))
    assert max(seen) == 30.0


def test_health_facts() -> None:
    """W9: what fails is known by name until it works again; a missing type and a missing right are told apart."""
    watcher = machine(watch_list=False)
    assert (watcher.served, watcher.last_error) == (None, None)
    run(watcher, [Start(), ListFailed(refusal(404, "NotFound", "the server could not find the requested resource"))])
    assert watcher.served is False
    assert not watcher.forbidden
    assert watcher.last_error == "NotFound: 404 NotFound: the server could not find the requested resource"
    run(watcher, [Timer(), ListFailed(refusal(403, "Forbidden", "cannot list"))])
    assert watcher.forbidden
    run(watcher, [Timer(), ListFailed(ConnectionFailed("refused"))])
    assert watcher.forbidden, "a broken connection says nothing about rights"
    run(watcher, [Timer(), page()])
    assert (watcher.served, watcher.forbidden, watcher.last_error) == (True, False, None)
    run(watcher, [WatchFailed(ConnectionFailed("reset"))])
    assert watcher.last_error == "ConnectionFailed: reset"
    run(watcher, [Timer(), Opened()])
    assert watcher.last_error is None, "a quiet kind must not look broken until its next event"

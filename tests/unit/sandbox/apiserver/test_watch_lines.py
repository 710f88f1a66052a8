"""What many watches cost: an event is encoded once, and one timer is enough for bookmarks and the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver.store import Store, Stored, Table
from wfe_controller.sandbox.apiserver.watch import KEPT_LINES, Lines, Matcher, Watch


def write(store: Store, table: Table, name: str) -> Stored:
    obj: dict[str, Any] = {"metadata": {"name": name, "uid": name}}
    return store.write(table, obj, table.get(name))


class Counting:
    """Encodes, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.lines = Lines(self.encode)

    def encode(self, stored: Stored) -> bytes:
        self.calls += 1
        return stored.data


def watch(
    store: Store,
    table: Table,
    lines: Lines,
    *,
    timeout: float = 150.0,
    bookmarks: bool = False,
    matches: Matcher | None = None,
) -> Watch:
    return Watch(
        table,
        matches=matches,
        render=lines.line,
        bookmark=(lambda at: b"bookmark %d\n" % at) if bookmarks else None,
        revision=lambda: store.revision,
        timeout=timeout,
    )


@pytest.mark.looptime
async def test_an_event_is_encoded_once_however_many_watch() -> None:
    """All of them see every change, in order, though what is kept for them is bounded."""
    store, counting = Store(), Counting()
    table = store.table("things")
    watches = [watch(store, table, counting.lines, timeout=1.0) for _ in range(5)]
    for number in range(100):
        write(store, table, f"n{number % 50}")
    seen = [b"".join([chunk async for chunk in one.lines()]) for one in watches]
    assert counting.calls == 100
    assert len(set(seen)) == 1
    kinds = [line[:12] for line in seen[0].splitlines()]
    assert kinds == [b'{"type":"ADD'] * 50 + [b'{"type":"MOD'] * 50


@pytest.mark.looptime
async def test_who_watches_first_is_told_first() -> None:
    """Wherever the watches lie in memory: the order in which tasks wake is part of a run that can be repeated."""
    store = Store()
    table = store.table("things")
    told: list[int] = []

    def noting(number: int) -> Matcher:
        return lambda stored: told.append(number) is None

    watches = [watch(store, table, Counting().lines, matches=noting(number)) for number in range(50)]
    write(store, table, "a")
    assert len(watches) == len(told)
    assert told == list(range(50))


def test_a_line_that_is_not_kept_any_more_is_made_again_and_is_the_same() -> None:
    store, counting = Store(), Counting()
    table = store.table("things")
    first = write(store, table, "first")
    line = counting.lines.line("ADDED", first)
    assert counting.lines.line("DELETED", first) == line.replace(b"ADDED", b"DELETED")
    for number in range(2 * KEPT_LINES):
        counting.lines.line("ADDED", write(store, table, f"n{number}"))
    before = counting.calls
    assert counting.lines.line("ADDED", first) == line
    assert counting.calls == before + 1


@pytest.mark.looptime
async def test_bookmarks_and_the_end_come_in_time_whether_or_not_events_come_between() -> None:
    store, counting = Store(), Counting()
    table = store.table("things")
    one = watch(store, table, counting.lines, bookmarks=True)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for second in (10, 59, 60, 61, 100):
        loop.call_at(start + second, write, store, table, f"at{second}")
    told = [(round(loop.time() - start), chunk[:8]) async for chunk in one.lines()]
    event, mark = b'{"type":', b"bookmark"
    assert [entry for entry in told if entry[1] == mark] == [(60, mark), (120, mark), (148, mark)]
    assert [second for second, kind in told if kind == event] == [10, 59, 60, 61, 100]
    assert round(loop.time() - start) == 150

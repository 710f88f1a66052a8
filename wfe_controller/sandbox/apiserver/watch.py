"""One open watch: which events of a table it is told, in which form, and when it ends.

``lists`` reads the options and makes one; ``http`` and the in-process transport write what :meth:`Watch.lines` yields.
A watch hears of events synchronously, inside the write; it encodes them when it is read. One that is not read for
QUEUE events is cut, as kube-apiserver's watch cache does with slow readers: nothing is ever left out silently.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec

from wfe_controller.sandbox.apiserver.store import Event, Stored, Table

Json = dict[str, Any]
Matcher = Callable[[Stored], bool]
Renderer = Callable[[str, Stored], bytes]

QUEUE = 10_000
BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_SECONDS = 2.0
CHUNK = 256
"""Events written at once at most: the others of the loop get their turn."""
KEPT_LINES = 4 * CHUNK


class Lines:
    """The lines of the latest events of one kind, each encoded once for however many watch.

    Type and revision name an event, and an event never changes: what is kept here cannot go stale.
    """

    def __init__(self, encode: Callable[[Stored], bytes]) -> None:
        self._encode = encode
        self._known: dict[tuple[str, int], bytes] = {}

    def line(self, type_: str, stored: Stored) -> bytes:
        key = type_, stored.revision
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT_LINES:  # watches read in step: what they share is what came last
                self._known.clear()
            found = self._known[key] = b'{"type":"%b","object":%b}\n' % (type_.encode(), self._encode(stored))
        return found


class Watch:
    """Events of one table after one revision, for one client.

    ``matches`` None = everything. ``render`` gives the line of one event. ``bookmark`` gives the line of a bookmark for
    a revision, or is None when the client did not ask for any. ``timeout`` is in seconds. ``first`` are lines that come
    before every event (initial events, and the bookmark that ends them).
    """

    def __init__(
        self,
        table: Table,
        *,
        matches: Matcher | None,
        render: Renderer,
        bookmark: Callable[[int], bytes] | None,
        revision: Callable[[], int],
        timeout: float,
        first: Iterable[bytes] = (),
        backlog: Iterable[Event] = (),
        interval: float = BOOKMARK_SECONDS,
    ) -> None:
        self._table = table
        self._matches = matches
        self._render = render
        self._bookmark = bookmark
        self._revision = revision
        self._timeout = timeout
        self._interval = interval
        self._first = deque(first)
        self._queue: deque[tuple[str, Stored]] = deque()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._last: bytes | None = None
        for event in backlog:
            self._hear(event)
        # Registered at once, not with the first read: no event may fall between the answer's head and its body.
        table.listeners[self._hear] = None

    def _hear(self, event: Event) -> None:
        seen = transition(event, self._matches)
        if seen is None:
            return
        if len(self._queue) >= QUEUE:
            self.cut()
            return
        self._queue.append(seen)
        self._wake.set()

    def cut(self, last: bytes | None = None) -> None:
        """End the watch after what is queued; ``last`` is one more line (an ERROR event)."""
        self._ended = True
        self._last = last
        self._table.listeners.pop(self._hear, None)
        self._wake.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """Chunks of lines, until the timeout, a cut, or the reader's aclose."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        next_bookmark = self._next_bookmark(loop.time(), end)
        try:
            if self._first:
                yield b"".join(self._first)
                self._first.clear()
            while True:
                while self._queue:
                    part = [self._queue.popleft() for _ in range(min(len(self._queue), CHUNK))]
                    yield b"".join(self._render(type_, stored) for type_, stored in part)
                if self._ended:
                    if self._last is not None:
                        yield self._last
                    return
                now = loop.time()
                if now >= end:
                    return
                if self._bookmark is not None and now >= next_bookmark:
                    next_bookmark = self._next_bookmark(now, end)
                    yield self._bookmark(self._revision())
                    continue
                # One timer until it is due, instead of one for each time that events come.
                if self._timer is None:
                    self._timer = loop.call_at(end if self._bookmark is None else min(end, next_bookmark), self._due)
                self._wake.clear()
                await self._wake.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._table.listeners.pop(self._hear, None)

    def _due(self) -> None:
        self._timer = None
        self._wake.set()

    def _next_bookmark(self, now: float, end: float) -> float:
        """Once a minute, and once shortly before the end, so that the next watch has a fresh place to start from."""
        last = end - LAST_BOOKMARK_SECONDS
        return min(now + self._interval, last) if last > now else now + self._interval


def transition(event: Event, matches: Matcher | None) -> tuple[str, Stored] | None:
    """How an event looks to somebody who sees only matching objects; None: not at all.

    An object that stops matching is DELETED in its old state, with the revision of the change.
    """
    if matches is None:
        return event.type, event.new
    before = event.old is not None and matches(event.old)
    if event.type == "DELETED":
        return ("DELETED", event.new) if before else None
    after = matches(event.new)
    if after:
        return ("MODIFIED" if before else "ADDED"), event.new
    if before and event.old is not None:
        return "DELETED", _with_revision(event.old, event.revision)
    return None


def _with_revision(stored: Stored, revision: int) -> Stored:
    old, new = (b'"resourceVersion":"%d"' % number for number in (stored.revision, revision))
    # Where the server put it: an annotation could hold the same text only with its quotes escaped.
    return msgspec.structs.replace(stored, revision=revision, data=stored.data.replace(old, new, 1))

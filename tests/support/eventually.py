"""Waiting for a real server in another process.

Tests under virtual time never wait. Here the other side is a real API server, Tekton or a controller process: nothing
in them can wake a test, so the test asks again every 50 ms at most, up to a deadline that is far above what a healthy
plane needs. The deadline only bounds a failure; it is never an assertion about speed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.05
TIMEOUT_SECONDS = 30.0


class NeverHappened(AssertionError):
    """The deadline passed; the text says what was last seen."""


def eventually(
    fn: Callable[[], T],
    timeout: float = TIMEOUT_SECONDS,
    *,
    what: str = "",
    on_failure: Callable[[], object] | None = None,
) -> T:
    """Call ``fn`` until it gives something true, and give that.

    An AssertionError inside ``fn`` means "not yet"; any other exception is a failure at once. ``on_failure`` adds
    what a reader needs to see why (its value is put into the message).
    """
    deadline = time.monotonic() + timeout
    while True:
        seen: object
        try:
            if result := fn():
                return result
            seen = result
        except AssertionError as not_yet:
            seen = not_yet
        if time.monotonic() > deadline:
            more = f"\n{on_failure()}" if on_failure is not None else ""
            raise NeverHappened(
                f"not within {timeout:g} s: {what or getattr(fn, '__name__', fn)}; last seen: {seen!r}{more}"
            )
        time.sleep(POLL_SECONDS)


async def eventually_async(fn: Callable[[], Awaitable[T]], timeout: float = TIMEOUT_SECONDS, *, what: str = "") -> T:
    """The same for a coroutine function, without holding up the event loop."""
    deadline = time.monotonic() + timeout
    while True:
        seen: object
        try:
            if result := await fn():
                return result
            seen = result
        except AssertionError as not_yet:
            seen = not_yet
        if time.monotonic() > deadline:
            raise NeverHappened(f"not within {timeout:g} s: {what or getattr(fn, '__name__', fn)}; last seen: {seen!r}")
        await asyncio.sleep(POLL_SECONDS)

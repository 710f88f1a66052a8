"""The reflector with a slow sink: a replace is never cut in half, and nothing asked meanwhile is lost."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from tests.support.watching import WFE, MemoryApi
from wfe_controller.kube.cache.cached import ObjectDecoder
from wfe_controller.kube.cache.messages import Apply, Bookmark, Replace
from wfe_controller.kube.cache.reflector import Reflector
from wfe_controller.kube.cache.watcher import Watcher, WatchSettings
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.instruments import NoInstruments

pytestmark = pytest.mark.looptime


class SlowSink:
    """Needs 100 s for a replace; notes what it finished."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def replace(self, event: Replace) -> None:
        await asyncio.sleep(100)
        self.seen.append(f"={len(event.objects)}")

    def apply(self, event: Apply) -> None:
        self.seen.append(event.object.key.name)

    def bookmark(self, event: Bookmark) -> None: ...


def reflector(api: MemoryApi, sink: SlowSink) -> Reflector:
    decode = ObjectDecoder(WFE)
    return Reflector(
        api,
        WFE,
        namespace=None,
        label_selector="",
        field_selector="",
        watcher=Watcher(decode, settings=WatchSettings(idle_timeout=30.0), rng=random.Random(1)),
        decode=decode,
        sink=sink,
        clock=LoopClock(),
        instruments=NoInstruments(),
    )


async def test_silence_does_not_cut_a_replace_and_the_stream_goes_on() -> None:
    """I-13, I-4: preparing may take longer than any patience with the stream, which is read on afterwards."""
    api, sink = MemoryApi(), SlowSink()
    api.create("a")
    task = asyncio.create_task(reflector(api, sink).run())
    await asyncio.sleep(50)
    api.create("b")
    await asyncio.sleep(51)
    assert sink.seen == ["=1", "b"]
    assert api.verbs() == ["watchlist"]
    await asyncio.sleep(31)
    assert api.verbs() == ["watchlist", "watch"], "patience counts again once the replace is done"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_fence_asked_during_a_replace_follows_at_once() -> None:
    """I-30: the replace under way is of an older list; it is finished, and the new list begins without waiting."""
    api, sink = MemoryApi(), SlowSink()
    api.create("a")
    running = reflector(api, sink)
    task = asyncio.create_task(running.run())
    await asyncio.sleep(50)
    api.create("b")
    fence = asyncio.create_task(running.relist())
    await asyncio.sleep(60)
    assert not fence.done()
    assert api.verbs() == ["watchlist", "list"]
    await asyncio.sleep(91)
    assert fence.done()
    assert sink.seen == ["=1", "=2"]
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

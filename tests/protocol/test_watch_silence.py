"""Watches that die without a word: W1, I-8. Virtual time over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rawserver import Exchange, hang_up, silent, stalled_headers
from tests.support.watching import wfe
from tests.support.watchwire import listed, quiet, wired
from wfe_controller.kube.cache import WatchSettings

pytestmark = pytest.mark.looptime


async def one_event_then_silence(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.event("ADDED", wfe("a", 11))
    await exchange.silence()


async def the_missed_event(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.event("ADDED", wfe("b", 12))
    await exchange.silence()


@pytest.mark.parametrize(
    ("idle_timeout", "at_least", "at_most"), [(90.0, 90, 100), (None, 255, 330)], ids=["W1 at 90 s", "W1 default"]
)
async def test_silence_without_fin(tmp_path: Path, idle_timeout: float | None, at_least: float, at_most: float) -> None:
    """An object created in the silence arrives in time; the watch goes on from the last event, without a list. (I-8)"""
    settings = WatchSettings(watch_list=False, idle_timeout=idle_timeout)
    async with wired(tmp_path, listed(10), one_event_then_silence, the_missed_event, settings=settings) as wire:
        await wire.until("+a@11", "+b@12")
        assert wire.asked() == ["list", "watch@10", "watch@11"]
        assert at_least <= wire.at[2] - wire.at[1] <= at_most
        assert wire.counted.ended == ["silent"]
        assert wire.informer.last_error is None
        await wire.server.wait_for(lambda: wire.server.open_connections <= 2)


@pytest.mark.parametrize("handler", [silent, stalled_headers, hang_up], ids=["no answer", "half headers", "closed"])
async def test_a_watch_that_never_opens(tmp_path: Path, handler: object) -> None:
    """I-10: a time limit on opening too; backed off, from the same version, without a list."""
    async with wired(tmp_path, listed(10), handler, the_missed_event) as wire:  # type: ignore[arg-type]
        await wire.until("+b@12", timeout=60)
        assert wire.asked() == ["list", "watch@10", "watch@10"]


async def test_a_list_that_is_never_answered(tmp_path: Path) -> None:
    """W2: the first list is inside the retry loop."""
    async with wired(tmp_path, silent, listed(10, wfe("a", 5)), quiet) as wire:
        await wire.until("+a@5", timeout=60)
        assert wire.asked()[:2] == ["list", "list"]

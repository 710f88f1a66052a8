"""What comes down a watch, good and bad: W4, W5, I-12."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rawserver import Exchange, stream
from tests.support.watching import line, raw, wfe
from tests.support.watchwire import listed, quiet, wired

pytestmark = pytest.mark.looptime
MIB = 1024 * 1024


def event(type_: str, obj: object) -> bytes:
    return line(type_, obj) + b"\n"


def big(name: str, version: int, size: int) -> bytes:
    return event("ADDED", wfe(name, version, status={"message": "x" * size}))


async def test_an_object_of_3_mib(tmp_path: Path) -> None:
    """W4: in odd chunks, with small neighbours, readable afterwards."""
    lines = (event("ADDED", wfe("a", 11)), big("huge", 12, 3 * MIB), event("ADDED", wfe("b", 13)))
    async with wired(tmp_path, listed(10), stream(*lines, sizes=(100_003, 1, 4096), then="silence")) as wire:
        await wire.until("+a@11", "+huge@12", "+b@13")
        [huge] = [obj for obj in wire.informer.store.list() if obj.key.name == "huge"]
        assert len(str(huge.field("status", "message"))) == 3 * MIB
        assert wire.asked() == ["list", "watch@10"]


async def test_a_line_beyond_the_limit_costs_only_its_object(tmp_path: Path) -> None:
    """W4: counted as skipped, the stream is kept."""
    lines = (event("ADDED", wfe("a", 11)), big("monster", 12, 9 * MIB), event("ADDED", wfe("b", 13)))
    async with wired(tmp_path, listed(10), stream(*lines, then="silence")) as wire:
        await wire.until("+a@11", "+b@13")
        assert wire.counted.kinds == ["ADDED", "skipped", "ADDED"]
        assert wire.asked() == ["list", "watch@10"]


@pytest.mark.parametrize("then", ["close", "reset", "end"])
async def test_half_a_line(tmp_path: Path, then: str) -> None:
    """The broken event is not guessed at: the watch goes on from the last whole one and gets it whole."""
    cut = stream(event("ADDED", wfe("a", 11)), event("ADDED", wfe("b", 12))[:100], then=then)
    whole = stream(event("ADDED", wfe("b", 12)), then="silence")
    async with wired(tmp_path, listed(10), cut, whole) as wire:
        await wire.until("+a@11", "+b@12")
        asked = wire.asked()
        assert asked[:2] == ["list", "watch@10"]
        # A reset may overtake the first line in the kernel; then it is asked for again, too.
        assert asked[2:] == ["watch@11"] or (then == "reset" and asked[2:] == ["watch@10"])
        assert "list" not in asked[1:]


MALFORMED = {
    "no metadata": {"kind": "WorkflowExecution"},
    "metadata is a list": {"kind": "WorkflowExecution", "metadata": []},
    "no resourceVersion": {"metadata": {"name": "x", "namespace": "ns"}},
    "a number as name": {"metadata": {"name": 7, "resourceVersion": "12"}},
    "another kind": {**wfe("x", 12), "kind": "TargetLock"},
    "a Table": {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "rows": []},
    "null": None,
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_object_in_the_middle(tmp_path: Path, bad: object) -> None:
    """W5, I-12: skipped and counted in the list and on the watch; the others arrive on the same stream."""
    lines = (event("ADDED", wfe("b", 11)), event("ADDED", bad), event("MODIFIED", wfe("a", 13)))
    async with wired(tmp_path, listed(10, bad, wfe("a", 5)), stream(*lines, then="silence")) as wire:
        await wire.until("+a@5", "+b@11", "~a@13")
        assert wire.counted.kinds == ["skipped", "ADDED", "skipped", "MODIFIED"]
        assert wire.asked() == ["list", "watch@10"]
        assert wire.informer.last_error is None


async def test_unknown_event_types_are_skipped(tmp_path: Path) -> None:
    """I-12"""
    lines = (event("PATCHED", wfe("a", 11)), event("ADDED", wfe("a", 11)))
    async with wired(tmp_path, listed(10), stream(*lines, then="silence")) as wire:
        await wire.until("+a@11")
        assert wire.counted.kinds == ["skipped", "ADDED"]


async def test_a_proxy_that_answers_with_a_page(tmp_path: Path) -> None:
    """I-10: 200 with HTML instead of events: surfaced, backed off, and started over when it happens again."""
    html = stream(b"<html>\n<body>Gateway login</body>\n")
    fine = stream(event("ADDED", wfe("a", 21)), then="silence")
    async with wired(tmp_path, listed(10), html, html, listed(20), fine) as wire:
        await wire.server.wait_for(lambda: len(wire.server.requests) == 3)
        assert wire.informer.last_error is not None
        assert "watch line is no watch event" in wire.informer.last_error
        await wire.until("+a@21")
        assert wire.asked() == ["list", "watch@10", "watch@10", "list@10", "watch@20"]
        assert wire.informer.last_error is None


async def test_bookmarks_move_the_resume_point(tmp_path: Path) -> None:
    """I-6: an orderly end is followed by a watch from the bookmark, at once."""

    async def marked(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.bookmark("40", kind="WorkflowExecution")
        await exchange.end()

    async with wired(tmp_path, listed(10), marked, quiet) as wire:
        await wire.server.wait_for(lambda: len(wire.server.requests) == 3)
        assert wire.asked() == ["list", "watch@10", "watch@40"]
        assert wire.at[2] - wire.at[1] < 1
        assert wire.informer.store.resource_version == "40"


async def test_objects_are_decoded_as_the_server_sent_them(tmp_path: Path) -> None:
    """List items come without type, events with it: both decode to the same shape, without managedFields."""
    item = wfe("a", 5)
    item.pop("apiVersion")
    item.pop("kind")
    async with wired(tmp_path, listed(10, item), stream(event("ADDED", wfe("b", 11)), then="silence")) as wire:
        await wire.until("+a@5", "+b@11")
        expected = [wfe("a", 5), wfe("b", 11)]
        for obj in expected:
            del obj["metadata"]["managedFields"]
        assert [raw(obj.decode()) for obj in wire.informer.store.list()] == [raw(obj) for obj in expected]

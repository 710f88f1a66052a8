"""The line splitter against its specification, for any cutting of any stream (user pain W4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfe_controller.kube.client.lines import HEAD, LineSplitter

LIMIT = 8
LINES = st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"x")), max_size=12)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    while data:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[:size])
        data = data[size:]
    return chunks


@given(LINES, st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"x")), st.lists(st.integers(1, 9), min_size=1))
def test_every_cutting_gives_the_same_lines(lines: list[bytes], tail: bytes, sizes: list[int]) -> None:
    """W4: lines within the limit come out whole and in order, longer ones are counted, the rest is pending."""
    splitter = LineSplitter(LIMIT)
    got: list[bytes] = []
    for chunk in cut(b"".join(line + b"\n" for line in lines) + tail, sizes):
        got += splitter.feed(chunk)
    assert got == [line for line in lines if 0 < len(line) <= LIMIT]
    assert splitter.skipped == sum(len(line) > LIMIT for line in [*lines, tail])
    assert splitter.pending is bool(tail)


def test_a_skipped_line_tells_its_beginning_and_is_not_kept() -> None:
    """Enough of the line stays to name the object in a log line; the megabytes do not."""
    splitter = LineSplitter(10_000)
    start = b'{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"huge"'
    assert splitter.feed(start) == []
    for _ in range(100):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.feed(b"\nnext\n") == [b"next"]
    assert splitter.skipped == 1
    assert splitter.skipped_head.startswith(start)
    assert len(splitter.skipped_head) == HEAD

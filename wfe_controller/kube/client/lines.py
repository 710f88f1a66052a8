"""Cutting a byte stream into lines, whatever the sizes of the chunks and of the lines.

Used by the transport for watch streams. aiohttp's own line reading refuses lines longer than twice its buffer and
the error ends the stream (user pain W4); this splitter has one explicit limit and skips what exceeds it.
"""

from __future__ import annotations

MAX_LINE = 8 * 1024 * 1024
"""Two copies of an object of etcd's 1.5 MiB limit, JSON-escaped, still fit."""
HEAD = 4096
"""Bytes kept of a skipped line: enough to read the event's type and the object's name from it."""


class LineSplitter:
    """Feed chunks, get whole lines without their newline; empty lines are dropped.

    ``skipped`` counts the lines longer than ``max_line`` bytes; ``skipped_head`` is the start of the last of them.
    Work is linear in the bytes: only the new chunk is searched.
    """

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.max_line = max_line
        self.skipped = 0
        self.skipped_head = b""
        self._parts: list[bytes] = []
        self._pending = 0
        self._skipping = False

    @property
    def pending(self) -> bool:
        """True when the stream stands inside a line."""
        return self._pending > 0 or self._skipping

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, in order."""
        first, *rest = chunk.split(b"\n")
        if not rest:
            self._keep(first)
            return []
        *middle, last = rest
        lines = [line for line in (self._finish(first), *map(self._whole, middle)) if line]
        self._keep(last)
        return lines

    def _keep(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        self._parts.append(part)
        self._pending += len(part)
        if self._pending > self.max_line:
            self._skipped(b"".join(self._parts))
            self._skipping = True
            self._parts, self._pending = [], 0

    def _finish(self, part: bytes) -> bytes:
        if self._skipping:
            self._skipping = False
            return b""
        if self._parts:
            part = b"".join((*self._parts, part))
            self._parts, self._pending = [], 0
        return self._whole(part)

    def _whole(self, line: bytes) -> bytes:
        if len(line) > self.max_line:
            self._skipped(line)
            return b""
        return line

    def _skipped(self, line: bytes) -> None:
        self.skipped += 1
        self.skipped_head = line[:HEAD]

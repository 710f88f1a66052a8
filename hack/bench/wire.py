"""A client that costs as little as Python allows, so that what is measured is the server: HTTP/1.1 by hand.

It knows only what the embedded server answers: a Content-Length, or chunks that end with whole lines.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

READ = 256 * 1024
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_REVISION = re.compile(rb'"resourceVersion":"(\d+)"')
"""Of an object; the fieldsV1 of managedFields never holds it, and the objects of a bench have no annotations."""


@dataclass(frozen=True)
class Address:
    """Where the server is. ``ca`` is PEM, "" for plain HTTP."""

    url: str
    ca: str
    token: str

    async def connect(self) -> Connection:
        parts = urlsplit(self.url)
        secure = ssl.create_default_context(cadata=self.ca) if parts.scheme == "https" else None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=secure, limit=2**26)
        return Connection(reader, writer, f"Host: {parts.netloc}\r\nAuthorization: Bearer {self.token}\r\n")


class Connection:
    """One kept connection with one request in flight."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of a good answer. Raises RuntimeError for every other."""
        head = await self._ask(method, path, body)
        found = _LENGTH.search(head)
        answer = await self._reader.readexactly(int(found[1])) if found else b""
        if not head.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(f"{method} {path}: {head[:60]!r} {answer[:500]!r}")
        return answer

    async def watch(self, path: str) -> None:
        """Open a watch; its events come by :meth:`arrivals`."""
        head = await self._ask("GET", path, b"")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"GET {path}: {head[:60]!r}")

    async def arrivals(self, into: list[tuple[int, float]], count: int) -> None:
        """Note the revision and the time (``time.monotonic``) of each event until there are ``count``."""
        rest = b""
        while len(into) < count:
            data = await self._reader.read(READ)
            if not data:
                raise RuntimeError(f"the watch ended after {len(into)} of {count} events")
            now = time.monotonic()
            whole, newline, rest = (rest + data).rpartition(b"}\n")
            into.extend((int(found), now) for found in _REVISION.findall(whole + newline))

    def close(self) -> None:
        self._writer.close()

    async def _ask(self, method: str, path: str, body: bytes) -> bytes:
        text = f"{method} {path} HTTP/1.1\r\n{self._head}"
        if body:
            text += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(text.encode() + b"\r\n" + body)
        return await self._reader.readuntil(b"\r\n\r\n")

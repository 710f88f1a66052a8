"""One request and one answer, without sockets: what ``http`` and the in-process transport hand to the server.

Header names are lower-case in requests. Query values keep their order and may repeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

JSON = "application/json"
YAML = "application/yaml"


class ConnectionDropped(Exception):
    """The connection ends here without (the rest of) an answer: a fault that was asked for."""


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request. ``path`` is percent-decoded and has no query."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def param(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    def flag(self, name: str) -> bool:
        """A boolean query parameter as Kubernetes reads it: ``?watch``, ``true``, ``1``, ``True`` are true."""
        values = self.query.get(name)
        if not values:
            return False
        return values[0].lower() not in ("false", "0")

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name, default)


@dataclass(slots=True)
class Response:
    """One whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    warnings: tuple[str, ...] = ()
    """Values of Warning headers, one header each."""


@dataclass(slots=True)
class Stream:
    """An answer that goes on: chunks of whole lines (one or more lines each, newline included).

    Whoever stops early calls ``lines.aclose()``.
    """

    status: int
    headers: dict[str, str]
    lines: AsyncIterator[bytes]
    warnings: tuple[str, ...] = ()


def parse_query(text: str) -> dict[str, list[str]]:
    """``a=1&a=2&b`` -> {"a": ["1", "2"], "b": [""]}."""
    query: dict[str, list[str]] = {}
    if text:
        # Bytes that are no UTF-8 are kept apart: refusals show them as Go does.
        for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
            query.setdefault(name, []).append(value)
    return query


def printable(text: str) -> str:
    """Bytes that are no UTF-8 as JSON shows them, in a text of :func:`parse_query`."""
    return text.encode(errors="surrogateescape").decode(errors="replace")

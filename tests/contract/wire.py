"""A raw HTTP client: what goes out is bytes of our own making, so that a case can also send nonsense.

Sending is ours; reading the answer is http.client's parser on the same socket (chunks, keep-alive). One connection is
kept for ordinary requests; everything odd and every watch has a connection of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

TIMEOUT = 20.0


class Closed(Exception):
    """The server ended the connection without an answer."""


@dataclass(frozen=True)
class Answer:
    """Header names are lower-case; repeated ones are joined as HTTP allows."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One TCP (or TLS) connection."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, timeout: float = TIMEOUT) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=host)

    def send(self, data: bytes) -> None:
        """Send as much as the server takes: one that has seen enough answers and stops reading."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            self.socket.sendall(data)

    def open(self, method: str) -> http.client.HTTPResponse:
        """Read the head of the next answer. Raises Closed when there is none."""
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLError) as end:
            response.close()
            raise Closed from end
        return response

    def read(self, method: str) -> Answer:
        """Read one whole answer."""
        with contextlib.closing(self.open(method)) as response:
            return Answer(response.status, _headers(response), response.read())

    def finish_sending(self) -> None:
        """Close our half: the server sees the end of the request and can still answer."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


class Wire:
    """Requests to one server. Not for several threads."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        self.host, self.port, self._context, self._timeout = host, port, context, timeout
        self._kept: Connection | None = None

    def connect(self) -> Connection:
        return Connection(self.host, self.port, self._context, self._timeout)

    def encode(
        self, method: str, path: str, query: Mapping[str, Any], headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        """The bytes of one ordinary request."""
        target = f"{path}?{urlencode(query, doseq=True)}" if query else path
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")

    def exchange(self, method: str, data: bytes) -> Answer:
        """Send on the kept connection, once more on a new one when the server has closed it meanwhile."""
        for connection in ([self._kept] if self._kept else []) + [None]:
            used = connection or self.connect()
            try:
                used.send(data)
                answer = used.read(method)
            except (Closed, BrokenPipeError, ConnectionResetError):
                used.close()
                self._kept = None
                if connection is None:
                    raise
                continue
            except OSError:
                used.close()
                self._kept = None
                raise
            if answer.headers.get("connection", "").lower() == "close":
                used.close()
                self._kept = None
            else:
                self._kept = used
            return answer
        raise AssertionError("unreachable: the last connection answers or raises")

    @contextlib.contextmanager
    def stream(self, method: str, data: bytes) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read line by line on a connection of its own, closed with the block."""
        connection = self.connect()
        try:
            connection.send(data)
            with contextlib.closing(connection.open(method)) as response:
                yield response
        finally:
            connection.close()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found

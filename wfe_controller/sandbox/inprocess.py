"""The controller's Api on the embedded server, without sockets: the same methods as kube.client.transport.Transport.

Requests become messages for :meth:`ApiServer.handle`; everything else (401 for a bad token, RBAC, faults) is the
server's. A dropped connection is ConnectionFailed, as a broken socket would be; timeouts run on the event loop's time,
so that virtual loops drive them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from wfe_controller import __version__
from wfe_controller.kube.client.lines import MAX_LINE
from wfe_controller.kube.client.transport import Response
from wfe_controller.kube.errors import ConnectionFailed, NotLeading, RequestTimeout
from wfe_controller.sandbox.apiserver import message
from wfe_controller.sandbox.apiserver.message import ConnectionDropped
from wfe_controller.sandbox.apiserver.server import ApiServer


class InProcessStream:
    """Lines of one streamed answer; ``body`` holds the refusal when status >= 300."""

    def __init__(self, answer: message.Response | message.Stream, idle_timeout: float, where: str) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.body = answer.body if isinstance(answer, message.Response) else b""
        self.skipped = 0
        self.skipped_head = b""
        self._source = answer.lines if isinstance(answer, message.Stream) else None
        self._idle = idle_timeout
        self._where = where
        self._lines: deque[bytes] = deque()

    def __aiter__(self) -> InProcessStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines:
            if self._source is None:
                raise StopAsyncIteration
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await anext(self._source, b"")
            except TimeoutError:
                raise RequestTimeout(f"silent: no byte for {self._idle:g} s on {self._where}") from None
            except ConnectionDropped as error:
                raise ConnectionFailed(f"{self._where}: the connection was dropped") from error
            if not chunk:
                raise StopAsyncIteration
            self._lines.extend(chunk.split(b"\n")[:-1])
        return self._lines.popleft()

    async def close(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class InProcessTransport:
    """A client of one server, with one token."""

    def __init__(
        self, server: ApiServer, *, token: str = "", namespace: str | None = None, user_agent: str = "wfe-controller"
    ) -> None:
        self._server = server
        self._headers = {"user-agent": user_agent if "/" in user_agent else f"{user_agent}/{__version__}"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._closed = False
        self.server = "http://in-process"
        self.namespace = namespace

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 10,
        gate: Callable[[], float] | None = None,
    ) -> Response:
        """Like Transport.request; raises ConnectionFailed, RequestTimeout, and what ``gate`` raises."""
        where = f"{method} {path}"
        asked = self._request(method, path, params, accept, body, content_type)
        limit = timeout
        if gate is not None:
            limit = min(limit, gate())
            if limit <= 0:
                raise NotLeading(f"{where}: no time left to write")
        answer = await self._ask(asked, limit, where)
        if isinstance(answer, message.Stream):
            raise ConnectionFailed(f"{where}: a stream where one answer was expected")
        headers = answer.headers
        if answer.warnings:
            headers = {**headers, "Warning": ", ".join(answer.warnings)}
        return Response(answer.status, headers, answer.body)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        connect_timeout: float = 10,
        idle_timeout: float = 70,
        accept: str = "application/json",
        max_line: int = MAX_LINE,
    ) -> AsyncIterator[InProcessStream]:
        """Like Transport.stream. Lines are never too long here: what the server stores fits."""
        where = f"GET {path}"
        asked = self._request("GET", path, params, accept, None, "")
        stream = InProcessStream(await self._ask(asked, connect_timeout, where), idle_timeout, where)
        try:
            yield stream
        finally:
            await stream.close()

    async def close(self) -> None:
        """Further requests fail."""
        self._closed = True

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        accept: str,
        body: bytes | None,
        content_type: str,
    ) -> message.Request:
        headers = {**self._headers, "accept": accept}
        if body is not None:
            headers["content-type"] = content_type
        query = {name: [str(value)] for name, value in (params or {}).items()}
        return message.Request(method, path, query, headers, body or b"")

    async def _ask(self, asked: message.Request, limit: float, where: str) -> message.Response | message.Stream:
        if self._closed:
            raise ConnectionFailed("the transport is closed")
        try:
            async with asyncio.timeout(limit):
                return await self._server.handle(asked)
        except TimeoutError as error:
            raise RequestTimeout(f"{where}: no answer within {limit:.3g} s") from error
        except ConnectionDropped as error:
            raise ConnectionFailed(f"{where}: the connection was dropped") from error

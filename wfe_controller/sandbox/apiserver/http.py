"""The sockets of the embedded server: HTTP/1.1 over loopback, by aiohttp.web.

Nothing is decided here. A request is read whole (3 MiB at most), handed to :meth:`ApiServer.handle`, and its answer
written; watch lines go out as they come. Whatever a client sends, or how it leaves, ends that connection and nothing
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError, HttpVersion11
from aiohttp.http_exceptions import ContentLengthError, PayloadEncodingError

from wfe_controller.sandbox.apiserver import message
from wfe_controller.sandbox.apiserver.certificate import Certificate, self_signed
from wfe_controller.sandbox.apiserver.listening import Listening
from wfe_controller.sandbox.apiserver.message import ConnectionDropped, Response, Stream
from wfe_controller.sandbox.apiserver.server import MAX_BODY, TRACE_LINES, ApiServer
from wfe_controller.sandbox.apiserver.status import too_large

SHUTDOWN_SECONDS = 1.0
KEEPALIVE_SECONDS = 75.0
START_SECONDS = 10.0
LINE = 32 * 1024
READ_BUFFER = 256 * 1024
PIECE = 256 * 1024
"""Of an answer, written at once."""

_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")

_log = structlog.get_logger("wfe.sandbox.apiserver")


class HttpFront:
    """One listening address of one server."""

    def __init__(
        self, server: ApiServer, *, host: str = "127.0.0.1", port: int = 0, certificate: Certificate | None = None
    ) -> None:
        self.server = server
        self._certificate = certificate
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._listening: Listening | None = None
        self.address: tuple[str, int] = (host, port)

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{self.address[0]}:{self.address[1]}"

    async def start(self) -> None:
        """Listen; ``address`` holds the port then. Raises OSError when the port is taken."""
        handler = web.Server(
            self._handle,
            handler_cancellation=True,  # an idle watch ends with its client, not with its next event
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=LINE,
            max_field_size=LINE,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,  # nor does the real server: a body is what was sent
            logger=_http_log(),
        )
        runner = web.ServerRunner(handler, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        self._runner = runner
        self._listening = listening = Listening(self._host, self._port)
        context = self._certificate.context() if self._certificate is not None else None
        await web.SockSite(runner, listening, ssl_context=context).start()
        host, port = listening.getsockname()[:2]
        self.address = (host, port)

    async def stop(self) -> None:
        """Close the address and every connection, and return when their sockets are closed; watches end."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._listening is not None:
            await self._listening.cut()
            self._listening.close()
            self._listening = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if _BROKEN_ESCAPE.search(request.raw_path.partition("?")[0]):
            return web.Response(status=400, text="400 Bad Request")
        refused = await self._expectation(request)
        if refused is not None:
            return refused
        # Nobody looks at the body of a GET.
        body = await _body(request) if request.method not in ("GET", "HEAD") else b""
        if body is None:
            refusal = too_large(f"limit is {MAX_BODY}")
            answer = web.Response(status=413, body=refusal.encode(), content_type=message.JSON)
            answer.force_close()
            return answer
        try:
            answer_ = await self.server.handle(_asked(request, body))
        except ConnectionDropped:
            _drop(request)
            return web.Response()  # into the void: the connection is gone
        if isinstance(answer_, Stream):
            return await self._stream(request, answer_)
        if len(answer_.body) > PIECE:
            return await self._stream(request, _pieces(answer_), len(answer_.body))
        response = web.Response(status=answer_.status, headers=answer_.headers, body=answer_.body)
        for warning in answer_.warnings:
            response.headers.add("Warning", warning)
        return response

    async def _expectation(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """Who waits for 100 Continue is told at once when his body would be for nothing."""
        expected = request.headers.get("Expect", "").lower()
        if not expected:
            return None
        if expected != "100-continue":
            answer = web.Response(status=417)
        else:
            refusal = self.server.screen(_asked(request, b""))
            if refusal is None:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
                return None
            answer = web.Response(status=refusal.status, headers=refusal.headers, body=refusal.body)
        answer.force_close()
        return answer

    async def _stream(self, request: web.BaseRequest, stream: Stream, length: int = 0) -> web.StreamResponse:
        """``length`` of the whole body, 0 when it is not known."""
        response = web.StreamResponse(status=stream.status, headers=stream.headers)
        for warning in stream.warnings:
            response.headers.add("Warning", warning)
        if length:
            response.content_length = length
        elif request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        try:
            writer = await response.prepare(request)
            if writer is not None:
                writer.send_headers()  # or they would wait for the first event
            async for chunk in stream.lines:
                await response.write(chunk)
            await response.write_eof()
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError):
            pass  # the client has gone: that ends a watch, and is nobody's fault
        except ConnectionDropped:
            _drop(request)
        finally:
            close = getattr(stream.lines, "aclose", None)
            if close is not None:
                await close()
        return response


def _asked(request: web.BaseRequest, body: bytes) -> message.Request:
    path, _, query = request.raw_path.partition("?")
    return message.Request(
        method=request.method,
        path=unquote(path),
        query=message.parse_query(query),
        headers=_headers(request),
        body=body,
    )


class _Told(logging.Handler):
    """What the HTTP library has to say: a line for what a client did wrong, a trace for what is wrong here."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | ConnectionError | PayloadEncodingError | ContentLengthError):
            why = str(error).splitlines()
            _log.info("a client sent what is no request", error=f"{type(error).__name__}: {''.join(why[:2])[:200]}")
        else:
            trace = "".join(traceback.format_exception(error, limit=-TRACE_LINES)) if error is not None else ""
            _log.error(record.getMessage(), trace=trace)


def _http_log() -> logging.Logger:
    logger = logging.getLogger("wfe.sandbox.apiserver.http")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(_Told(logging.WARNING))
    return logger


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """By lower-case name; what comes more than once is joined, as HTTP allows it."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _pieces(answer: Response) -> Stream:
    """A large answer bit by bit, each sent before the next: the layers of a TLS connection copy what they are given."""

    async def lines() -> AsyncIterator[bytes]:
        for start in range(0, len(answer.body), PIECE):
            yield answer.body[start : start + PIECE]

    return Stream(answer.status, answer.headers, lines(), answer.warnings)


async def _body(request: web.BaseRequest) -> bytes | None:
    """The whole body; None when it is longer than the limit."""
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > MAX_BODY:
        return None
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _drop(request: web.BaseRequest) -> None:
    """End the connection without another byte."""
    if request.transport is not None:
        request.transport.abort()


class Running(Protocol):
    """A server in a thread of its own. ``ca_pem`` is "" without TLS."""

    url: str
    ca_pem: str
    server: ApiServer

    def call(self, function: Callable[[], object]) -> object:
        """Run a function in the server's loop and give back what it returns."""


class _Thread:
    def __init__(self, make: Callable[[], ApiServer], host: str, port: int, tls: bool) -> None:
        self._make = make
        self._tls = tls
        self._host, self._port = host, port
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.server: ApiServer
        self.url = ""
        self.ca_pem = ""
        self.thread = threading.Thread(target=self._main, name="apiserver", daemon=True)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the start
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.server = self._make()
        certificate = self_signed(self.server.core.now()) if self._tls else None
        self.ca_pem = certificate.pem if certificate is not None else ""
        front = HttpFront(self.server, host=self._host, port=self._port, certificate=certificate)
        await front.start()
        self.url = front.url
        self._started.set()
        await self._stop.wait()
        await self.server.close()
        await front.stop()

    def start(self) -> None:
        self.thread.start()
        self._started.wait(START_SECONDS)
        if self._error is not None:
            raise self._error
        if not self.url:
            raise TimeoutError("the embedded server did not start")

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(START_SECONDS)

    def call(self, function: Callable[[], object]) -> object:
        if self._loop is None:
            raise RuntimeError("the server is not running")

        async def run() -> object:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(START_SECONDS)


@contextlib.contextmanager
def serve_in_thread(
    make: Callable[[], ApiServer], *, host: str = "127.0.0.1", port: int = 0, tls: bool = False
) -> Iterator[Running]:
    """Run a server in a thread, for tests and tools that are not asyncio.

    ``make`` is called inside that thread's loop. The server is touched from outside only through ``call``.
    """
    thread = _Thread(make, host, port, tls)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()

"""A scripted HTTP/1.1 server over bare asyncio streams that misbehaves on purpose.

    async with RawServer() as server:
        server.on("GET", "/api/v1/pods", refuse(429, retry_after=1), ok({"kind": "PodList", "items": []}))
        ... connect to server.url ...
        assert [r.path for r in server.requests] == [...]

A script is a list of handlers per method and path; each request consumes one, the last one stays for ever. A handler
is ``async (Exchange) -> None``; the ready-made ones below cover the usual faults, and a test writes its own with the
methods of :class:`Exchange`. A request without script, or a handler that raises, fails the test when the server ends.
Nothing here sleeps: a handler that stalls waits until the client goes away or the test releases it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec


@dataclass(frozen=True)
class Request:
    """What the client sent. ``connection`` numbers the TCP connections from 1; header names are lower case.

    ``client_name`` is the common name of the client's certificate, "" without one.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int
    client_name: str = ""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Exchange:
    """One request and the means to answer it, correctly or not."""

    def __init__(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: RawServer
    ) -> None:
        self.request = request
        self.server = server
        self._reader = reader
        self._writer = writer
        self._chunked = False
        self.closed = False

    async def raw(self, data: bytes) -> None:
        """Bytes as they are, headers included."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer with Content-Length."""
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        await self.raw(_head(status, fields) + body)

    async def json(self, obj: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        await self.answer(status, msgspec.json.encode(obj), headers)

    async def start(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head of a chunked answer; go on with :meth:`send`, :meth:`event`, :meth:`end`."""
        self._chunked = True
        await self.raw(
            _head(status, {"Content-Type": "application/json", "Transfer-Encoding": "chunked", **(headers or {})})
        )

    async def send(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        """``data`` cut into HTTP chunks of these sizes, repeated as needed; one chunk when none are given."""
        cuts = itertools.cycle(list(sizes) or [max(len(data), 1)])
        at = 0
        while at < len(data):
            piece = data[at : at + next(cuts)]
            at += len(piece)
            await self.raw(b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece)

    async def event(self, type_: str, obj: Any, sizes: Iterable[int] = ()) -> None:
        """One watch event with its newline."""
        await self.send(msgspec.json.encode({"type": type_, "object": obj}) + b"\n", sizes)

    async def bookmark(
        self, resource_version: str, kind: str = "Pod", annotations: Mapping[str, str] | None = None
    ) -> None:
        metadata: dict[str, Any] = {"resourceVersion": resource_version, "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = dict(annotations)
        await self.event("BOOKMARK", {"kind": kind, "apiVersion": "v1", "metadata": metadata})

    async def end(self) -> None:
        """The proper end of a chunked answer; the connection stays usable."""
        await self.raw(b"0\r\n\r\n")

    async def silence(self) -> None:
        """Send nothing until the client closes the connection (what it still sends is read and dropped)."""
        while await self._reader.read(65536):
            pass
        self.close()

    def close(self) -> None:
        """FIN, wherever in the answer we are."""
        self.closed = True
        self._writer.close()

    def reset(self) -> None:
        """RST: the client sees 'connection reset by peer'."""
        self.closed = True
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Handler = Callable[[Exchange], Awaitable[None]]


class RawServer:
    """Listens on 127.0.0.1 at a free port while its context is open. ``tls``: a server-side context, or None."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._tls = tls
        self._port = port
        self._scripts: dict[tuple[str, str], deque[Handler]] = defaultdict(deque)
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._failures: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self.requests: list[Request] = []
        self.connections = 0

    # -- script and evidence

    def on(self, method: str, path: str, *handlers: Handler) -> None:
        """Append handlers for that method and exact path; ``"*"`` stands for any."""
        self._scripts[method, path].extend(handlers)

    def forget(self) -> None:
        """Drop every script; requests stay recorded."""
        self._scripts.clear()

    def seen(self, method: str = "", path: str = "") -> list[Request]:
        return [r for r in self.requests if method in ("", r.method) and path in ("", r.path)]

    async def wait_for(self, condition: Callable[[], bool], timeout: float = 10) -> None:
        """Until the condition holds; it is looked at again on each connection, request, and end of a connection."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    @property
    def port(self) -> int:
        assert self._server is not None, "the server is not running"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, *, user: Mapping[str, Any] | None = None, **cluster: Any) -> str:
        """Write a kubeconfig for this server; returns its name. ``cluster`` fields use _ for -."""
        fields = {name.replace("_", "-"): value for name, value in cluster.items()}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "raw",
            "contexts": [{"name": "raw", "context": {"cluster": "raw", "user": "raw", "namespace": "raw-ns"}}],
            "clusters": [{"name": "raw", "cluster": {"server": self.url, **fields}}],
            "users": [{"name": "raw", "user": dict(user or {"token": "raw-token"})}],
        }
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return str(path)

    # -- life

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is None and self._failures:
            raise self._failures[0]

    async def stop(self) -> None:
        """Close the port and every connection; may be called before the context ends (a server that goes away)."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    def drop_connections(self) -> None:
        """Reset everything that is open, as a dying load balancer does; the port stays open."""
        for writer in list(self._writers):
            writer.transport.abort()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while (request := await _read_request(reader, number, _common_name(writer))) is not None:
                self.requests.append(request)
                self._changed.set()
                exchange = Exchange(request, reader, writer, self)
                await self._handler(request)(exchange)
                if exchange.closed:
                    break
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away: that is what many of these tests make it do
        except Exception as error:  # noqa: BLE001 - kept for the end of the test, where it is raised
            self._failures.append(error)
        finally:
            self._writers.discard(writer)
            writer.close()
            self._changed.set()

    def _handler(self, request: Request) -> Handler:
        for key in ((request.method, request.path), ("*", request.path), (request.method, "*"), ("*", "*")):
            script = self._scripts.get(key)
            if script:
                return script.popleft() if len(script) > 1 else script[0]
        self._failures.append(AssertionError(f"no script for {request.method} {request.path} {dict(request.query)}"))
        return refuse(500, "InternalError", "no script")


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _common_name(writer: asyncio.StreamWriter) -> str:
    subject = (writer.get_extra_info("peercert") or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")


async def _read_request(reader: asyncio.StreamReader, number: int, client_name: str) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Request(
        method, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body, number, client_name
    )


# -- ready-made handlers


def status_body(code: int, reason: str = "", message: str = "", **details: Any) -> dict[str, Any]:
    """A metav1.Status as the API server sends it."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return body | {"message": message, "reason": reason, "details": details, "code": code}


def ok(obj: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """A whole, correct JSON answer."""

    async def handle(exchange: Exchange) -> None:
        await exchange.json(obj, status, headers)

    return handle


def text(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """A whole answer that is not JSON, as proxies send."""

    async def handle(exchange: Exchange) -> None:
        await exchange.answer(status, body, {"Content-Type": "text/plain", **(headers or {})})

    return handle


def refuse(
    code: int, reason: str = "", message: str = "", *, retry_after: int | str | None = None, **details: Any
) -> Handler:
    """A Status with that code, with a Retry-After header when given."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return ok(status_body(code, reason, message, **details), code, headers)


def require_token(valid: Callable[[], str], then: Handler) -> Handler:
    """401 unless the bearer token is the valid one of this moment."""

    async def handle(exchange: Exchange) -> None:
        if exchange.request.token != valid():
            await exchange.json(status_body(401, "Unauthorized", "Unauthorized"), 401)
        else:
            await then(exchange)

    return handle


async def silent(exchange: Exchange) -> None:
    """The request is read and never answered."""
    await exchange.silence()


async def reset(exchange: Exchange) -> None:
    """The request is read, then the connection is reset."""
    exchange.reset()


async def hang_up(exchange: Exchange) -> None:
    """The request is read, then the connection is closed without an answer."""
    exchange.close()


async def stalled_headers(exchange: Exchange) -> None:
    """Half of the headers, then nothing."""
    await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: applic")
    await exchange.silence()


def cut_body(obj: Any, keep: int, *, by: str = "close") -> Handler:
    """Content-Length promises all of ``obj``, only ``keep`` bytes come. ``by``: close, reset or stall."""

    async def handle(exchange: Exchange) -> None:
        body = msgspec.json.encode(obj)
        await exchange.raw(_head(200, {"Content-Length": str(len(body))}) + body[:keep])
        if by == "stall":
            await exchange.silence()
        elif by == "reset":
            exchange.reset()
        else:
            exchange.close()

    return handle


def stream(*lines: bytes, sizes: Iterable[int] = (), then: str = "end") -> Handler:
    """A chunked answer of these bytes in chunks of these sizes (a line brings its own newline, or lacks it).

    ``then``: end (properly), close (FIN inside the chunked answer), reset, or silence.
    """
    cuts = list(sizes)

    async def handle(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.send(b"".join(lines), cuts)
        if then == "end":
            await exchange.end()
        elif then == "close":
            exchange.close()
        elif then == "reset":
            exchange.reset()
        else:
            await exchange.silence()

    return handle

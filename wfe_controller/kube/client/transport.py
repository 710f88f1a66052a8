"""HTTP to one API server: the only importer of the aiohttp client.

The Kubernetes library loads configuration, authentication and TLS settings; sessions, timeouts, errors and line
cutting are ours (its own client sends requests without any timeout and cannot replace a CA: libraries.md C1-C3).
Neighbours: ``connection`` loads the configuration, ``credentials`` keeps token and certificates fresh, ``lines`` cuts
watch streams, ``sockets`` knows what is open, ``api`` knows verbs.

Kept here: every wait has an end (user pain W1, W7); watches have connections of their own and never starve requests;
nothing is sent after the write gate's verdict but by the very next step (E1); nothing is silently sent twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import structlog

from wfe_controller import __version__
from wfe_controller.kube.client.connection import ConnectionSettings, loader_for
from wfe_controller.kube.client.credentials import Credentials, CredentialsFailed, Identity
from wfe_controller.kube.client.lines import MAX_LINE, LineSplitter
from wfe_controller.kube.client.sockets import Sockets
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import ConnectionFailed, KubeConfigError, NotLeading, RequestTimeout

__all__ = ["ConnectionSettings", "LineStream", "Response", "Transport"]

KEEPALIVE_SECONDS = 30.0
REQUEST_CONNECTIONS = 50
WATCH_CONNECTIONS = 100
_NEVER = 1e9
"""aiohttp rounds timeouts above its ceil_threshold up to a whole second; ours must not outlive the lease."""

_log = structlog.get_logger("wfe.kube.client")


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer. ``headers`` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Pool:
    """One aiohttp session; when retired it lives on until its last request has ended."""

    def __init__(self, credentials: Credentials, sockets: Sockets, user_agent: str, limit: int) -> None:
        connector = aiohttp.TCPConnector(
            socket_factory=sockets.open,
            limit=limit,
            ssl=credentials.context or True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            timeout_ceil_threshold=_NEVER,
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Compressed lists cost more CPU, inside the event loop, than the bytes they save on a cluster network.
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=10),
            trust_env=False,
            read_bufsize=256 * 1024,
        )
        # aiohttp re-sends PUT and DELETE by itself when a kept connection breaks. It is only an attribute, and must
        # be off: a write whose outcome is unknown is for the caller to look at, and the gate must see every sending.
        self.session._retry_connection = False
        self.generation = credentials.tls_generation
        self.users = 0
        self.retired = False

    async def retire(self) -> None:
        self.retired = True
        if self.users == 0:
            await self.session.close()

    async def leave(self) -> None:
        self.users -= 1
        if self.retired and self.users == 0:
            await self.session.close()


class _Deadline:
    """The end of a request, over all its tries; read on the loop's clock, as the timers of the HTTP library are."""

    def __init__(self, timeout: float, where: str) -> None:
        self._timeout = timeout
        self._where = where
        self._end = asyncio.get_running_loop().time() + timeout

    def left(self) -> float:
        """Seconds left, above 0. Raises RequestTimeout when there are none."""
        left = self._end - asyncio.get_running_loop().time()
        if left <= 0:
            raise RequestTimeout(f"{self._where}: no answer within {self._timeout:.3g} s")
        return left


class LineStream:
    """The body of one streamed answer, line by line; iterate it once. ``body`` holds the refusal when status >= 300.

    Ends when the server ends the stream between two lines. Raises RequestTimeout("silent") when no byte came for
    the idle timeout, ConnectionFailed when the connection broke or the stream ended inside a line.
    ``skipped`` and ``skipped_head`` tell of lines longer than ``max_line``.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, body: bytes, idle_timeout: float, max_line: int, where: str
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.body = body
        self._content = response.content
        self._idle = idle_timeout
        self._where = where
        self._splitter = LineSplitter(max_line)
        self._lines: deque[bytes] = deque()

    @property
    def skipped(self) -> int:
        return self._splitter.skipped

    @property
    def skipped_head(self) -> bytes:
        return self._splitter.skipped_head

    def __aiter__(self) -> LineStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._lines:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await self._content.readany()
            except TimeoutError:
                raise RequestTimeout(f"silent: no byte for {self._idle:g} s on {self._where}") from None
            except (aiohttp.ClientError, OSError) as error:
                raise ConnectionFailed(f"{self._where}: {_describe(error)}") from error
            if not chunk:
                if self._splitter.pending:
                    raise ConnectionFailed(f"{self._where}: the stream ended inside a line")
                raise StopAsyncIteration
            self._lines.extend(self._splitter.feed(chunk))
        return self._lines.popleft()


class Transport:
    """Connections to one API server; make it with :meth:`connect`, end it with :meth:`close`."""

    def __init__(self, credentials: Credentials, *, namespace: str | None, user_agent: str) -> None:
        self._credentials = credentials
        self._user_agent = user_agent
        self._closed = False
        self._sockets = Sockets()
        self._requests = _Pool(credentials, self._sockets, user_agent, REQUEST_CONNECTIONS)
        self._watches = _Pool(credentials, self._sockets, user_agent, WATCH_CONNECTIONS)
        self._retired: list[_Pool] = []
        self.server = credentials.identity.server
        self.namespace = namespace

    @classmethod
    async def connect(cls, settings: ConnectionSettings, *, clock: Clock) -> Transport:
        """Load the configuration; no request is sent yet. Raises KubeConfigError, one line."""
        loader, namespace = loader_for(settings)
        credentials = Credentials(loader, clock)
        try:
            await credentials.load()
        except CredentialsFailed as error:
            raise KubeConfigError(str(error)) from error
        if not _has_host(credentials.identity.server):
            raise KubeConfigError(f"server {credentials.identity.server!r} is not a URL like https://host:6443")
        agent = settings.user_agent if "/" in settings.user_agent else f"{settings.user_agent}/{__version__}"
        return cls(credentials, namespace=namespace(), user_agent=agent)

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
        """Send one request and read the whole answer, whatever its status, within ``timeout`` seconds in all.

        ``gate`` is called right before each sending, nothing awaited in between; it raises, or returns the seconds
        within which the request must have ended. A 401 and a TLS failure cured by re-reading the files are retried
        once: the server did nothing in both cases. Raises ConnectionFailed, RequestTimeout, and what ``gate`` raises.
        """
        where = f"{method} {path}"
        url = self._url(path, params)
        deadline = _Deadline(timeout, where)
        unauthorized = distrusted = False
        while True:
            identity = await self._prepare()
            headers = self._headers(identity, accept, content_type if body is not None else None)
            pool = self._requests
            pool.users += 1
            try:
                limit = deadline.left()
                if gate is not None:
                    limit = min(limit, gate())
                    if limit <= 0:  # to aiohttp 0 means for ever
                        raise NotLeading(f"{where}: no time left to write")
                async with pool.session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=limit, ceil_threshold=_NEVER),
                    **self._common(identity),
                ) as response:
                    answer = Response(response.status, response.headers, await response.read())
            except TimeoutError as error:
                raise RequestTimeout(f"{where}: no answer within {limit:.3g} s") from error
            except aiohttp.ClientSSLError as error:
                if distrusted or not await self._credentials.distrusted(pool.generation, deadline.left()):
                    raise ConnectionFailed(f"{where}: {_describe(error)}") from error
                distrusted = True
                continue
            except (aiohttp.ClientError, OSError) as error:
                raise ConnectionFailed(f"{where}: {_describe(error)}") from error
            finally:
                await pool.leave()
            if answer.status == 401 and not unauthorized:
                unauthorized = True
                await self._credentials.refused(identity.authorization, deadline.left())
                continue
            return answer

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
    ) -> AsyncIterator[LineStream]:
        """Open a streamed GET on a connection of its own; leaving the context closes that connection.

        ``connect_timeout`` covers everything up to the headers, ``idle_timeout`` each wait for bytes after them;
        the stream as a whole has no time limit.
        """
        where = f"GET {path}"
        url = self._url(path, params)
        deadline = _Deadline(connect_timeout, where)
        unauthorized = distrusted = False
        while True:
            identity = await self._prepare()
            pool = self._watches
            pool.users += 1
            try:
                try:
                    async with asyncio.timeout(deadline.left()):
                        response = await pool.session.get(
                            url,
                            headers=self._headers(identity, accept, None),
                            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout, ceil_threshold=_NEVER),
                            **self._common(identity),
                        )
                        body = b"" if response.status < 300 else await response.read()
                except TimeoutError as error:
                    raise RequestTimeout(f"{where}: no answer within {connect_timeout:g} s") from error
                except aiohttp.ClientSSLError as error:
                    if distrusted or not await self._credentials.distrusted(pool.generation, deadline.left()):
                        raise ConnectionFailed(f"{where}: {_describe(error)}") from error
                    distrusted = True
                    continue
                except (aiohttp.ClientError, OSError) as error:
                    raise ConnectionFailed(f"{where}: {_describe(error)}") from error
                try:
                    if response.status == 401 and not unauthorized:
                        unauthorized = True
                        await self._credentials.refused(identity.authorization, deadline.left())
                        continue
                    yield LineStream(response, body, idle_timeout, max_line, where)
                    return
                finally:
                    response.close()
            finally:
                await pool.leave()

    async def close(self) -> None:
        """Close every connection, and return when their sockets are closed; requests in flight fail."""
        self._closed = True
        await self._credentials.close()
        for pool in (self._requests, self._watches, *self._retired):
            await pool.session.close()
        await self._sockets.close()

    async def _prepare(self) -> Identity:
        """Fresh credentials, and new connections when the certificates changed."""
        identity = await self._credentials.fresh()
        if self._closed:
            raise ConnectionFailed("the transport is closed")
        if self._credentials.tls_generation != self._requests.generation:
            old = (self._requests, self._watches)
            self._requests = _Pool(self._credentials, self._sockets, self._user_agent, REQUEST_CONNECTIONS)
            self._watches = _Pool(self._credentials, self._sockets, self._user_agent, WATCH_CONNECTIONS)
            self._retired = [pool for pool in (*self._retired, *old) if not pool.session.closed]
            for pool in old:
                await pool.retire()
        return identity

    def _url(self, path: str, params: Mapping[str, str] | None) -> str:
        return f"{self.server}{path}?{urlencode(params)}" if params else self.server + path

    @staticmethod
    def _headers(identity: Identity, accept: str, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": accept}
        if content_type:
            headers["Content-Type"] = content_type
        if identity.authorization:
            headers["Authorization"] = identity.authorization
        return headers

    @staticmethod
    def _common(identity: Identity) -> dict[str, Any]:
        return {
            "allow_redirects": False,
            "proxy": identity.proxy,
            "server_hostname": identity.tls_server_name,
        }


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _has_host(server: str) -> bool:
    try:
        return bool(urlsplit(server).hostname)
    except ValueError:
        return False

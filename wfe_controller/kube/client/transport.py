"""HTTP to one API server: the only importer of the aiohttp client.

The Kubernetes library loads configuration, authentication and TLS settings; sessions, timeouts, errors and line
cutting are ours (its own client sends requests without any timeout and cannot replace a CA: libraries.md C1-C3).
Neighbours: ``library`` has what is used of it, ``credentials`` keeps token and certificates fresh, ``lines`` cuts
watch streams, ``api`` knows verbs.

Kept here: every wait has an end (user pain W1, W7); watches have connections of their own and never starve requests;
nothing is sent after the write gate's verdict but by the very next step (E1); nothing is silently sent twice.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import structlog

from wfe_controller import __version__
from wfe_controller.kube.client.credentials import Credentials, CredentialsFailed, Identity, Loader
from wfe_controller.kube.client.library import (
    ConfigException,
    Configuration,
    InClusterConfigLoader,
    KubeConfigLoader,
    load_kube_config,
)
from wfe_controller.kube.client.lines import MAX_LINE, LineSplitter
from wfe_controller.kube.client.sockets import Sockets
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import ConnectionFailed, KubeConfigError, NotLeading, RequestTimeout

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
KEEPALIVE_SECONDS = 30.0
REQUEST_CONNECTIONS = 50
WATCH_CONNECTIONS = 100
LOAD_SECONDS = 30.0
"""For an exec plugin: the library waits for it without any limit."""
_NEVER = 1e9
"""aiohttp rounds timeouts above its ceil_threshold up to a whole second; ours must not outlive the lease."""

_log = structlog.get_logger("wfe.kube.client")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where to connect. Nothing given: KUBECONFIG, else the pod's service account, else ~/.kube/config."""

    kubeconfig: str | None = None
    context: str | None = None
    user_agent: str = "wfe-controller"
    service_account_dir: str = SERVICE_ACCOUNT_DIR


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
        loader, namespace = await _loader(settings)
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


async def _loader(settings: ConnectionSettings) -> tuple[Loader, Callable[[], str | None]]:
    """How to read the identity for these settings, and the namespace once it was read."""
    explicit = settings.kubeconfig or os.environ.get("KUBECONFIG")
    directory = Path(settings.service_account_dir)
    if not explicit and not settings.context and (directory / "token").is_file():
        return _in_cluster(directory)
    return _from_kubeconfig(explicit or str(Path.home() / ".kube" / "config"), settings.context)


def _in_cluster(directory: Path) -> tuple[Loader, Callable[[], str | None]]:
    async def load(from_scratch: bool) -> Identity:
        configuration = Configuration()
        try:
            InClusterConfigLoader(
                token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt")
            ).load_and_set(configuration)
        except (ConfigException, OSError, ValueError) as error:
            raise CredentialsFailed(f"service account in {directory}: {error}") from error
        return _identity(configuration, f"service account in {directory}")

    def namespace() -> str | None:
        try:
            return (directory / "namespace").read_text().strip() or None
        except FileNotFoundError:
            return None

    return load, namespace


def _from_kubeconfig(paths: str, context: str | None) -> tuple[Loader, Callable[[], str | None]]:
    """``paths`` as in KUBECONFIG, several separated by colons; at least one must exist."""
    kept: tuple[KubeConfigLoader, Identity] | None = None

    async def load(from_scratch: bool) -> Identity:
        nonlocal kept
        if not _any_file(paths):
            raise CredentialsFailed(f"kubeconfig {paths}: no such file")
        if kept and not from_scratch and _plugin_token_without_end(kept[0]):
            return kept[1]
        configuration = Configuration()
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                if kept and not from_scratch:
                    # The loader remembers when its exec token ends and reads files anew.
                    loader = kept[0]
                    await loader.load_and_set(configuration)
                else:
                    # persist_config=True would write refreshed tokens back, by a call that does not fit its callee.
                    loader = await load_kube_config(paths, context, configuration, persist_config=False)
        except Exception as error:  # a bad file makes the library raise anything; told as one line
            raise CredentialsFailed(f"kubeconfig {paths}: {' '.join(_config_fault(error).split())}") from error
        kept = (loader, _identity(configuration, f"kubeconfig {paths}"))
        return kept[1]

    def namespace() -> str | None:
        current = (kept[0].current_context if kept else None) or {}
        return (current.get("context") or {}).get("namespace") or None

    return load, namespace


def _config_fault(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"the credential plugin gave no answer in {LOAD_SECONDS:g} s"
        case ConfigException() | OSError():
            return str(error)
        case _:
            return f"not a kubeconfig, or its context lacks cluster or user ({_describe(error)})"


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)


def _plugin_token_without_end(loader: KubeConfigLoader) -> bool:
    """Such a token is good until the server refuses it (as in client-go); asking again each minute runs a program."""
    # The library's own refresh_token() looks at the same two attributes; there is no public way.
    return "exec" in (loader._user or ()) and not hasattr(loader, "exec_plugin_expiry")


def _identity(configuration: Configuration, source: str) -> Identity:
    return Identity(
        source=source,
        server=configuration.host or "",
        authorization=configuration.api_key.get("BearerToken", "").strip(),
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=bool(configuration.verify_ssl),
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
    )

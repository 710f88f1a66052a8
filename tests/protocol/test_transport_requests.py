"""Single requests against a server that misbehaves: one typed error per fault, in time, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import rawserver
from tests.support.rawserver import Handler, RawServer, cut_body, ok, refuse
from wfe_controller import __version__
from wfe_controller.kube import errors
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.client.transport import REQUEST_CONNECTIONS, ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.objects import PODS, ObjectKey

PATH = "/api/v1/namespaces/ns/pods/a"
KEY = ObjectKey("ns", "a")
POD = {"metadata": {"namespace": "ns", "name": "a", "resourceVersion": "7"}}
BIG = {"kind": "Pod", "data": "x" * 100_000}

WRITES: dict[str, Callable[[Api], Awaitable[object]]] = {
    "POST": lambda api: api.create(PODS, POD, lane=Lane.START),
    "PUT": lambda api: api.replace(PODS, POD, lane=Lane.TERMINAL),
    "PATCH": lambda api: api.patch(PODS, KEY, patches.merge_patch({}), lane=Lane.PROGRESS),
    "DELETE": lambda api: api.delete(PODS, KEY, uid="u", lane=Lane.RELEASE),
}


class Recording(RealClock):
    """Waits of the client are noted instead of spent."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(0)


class Gate:
    def __init__(self, left: float) -> None:
        self.left = left

    def check(self) -> float:
        if self.left <= 0:
            raise errors.NotLeading("the lease is lost")
        return self.left


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer() as running:
        yield running


@pytest.fixture
async def transport(server: RawServer, tmp_path: Path) -> AsyncIterator[Transport]:
    settings = ConnectionSettings(server.kubeconfig(tmp_path / "kubeconfig"))
    connected = await Transport.connect(settings, clock=RealClock())
    yield connected
    await connected.close()


async def test_what_every_request_carries(
    server: RawServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W7, I-72: own User-Agent, the token, no compression; proxies of the environment are not asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.on("GET", PATH, ok({"a": 1}, headers={"Date": "now"}))
    answer = await transport.request("GET", PATH, params={"labelSelector": "a in (b,c),d=e+f&g"})
    assert (answer.status, answer.body, answer.headers["date"]) == (200, b'{"a":1}', "now")
    (seen,) = server.requests
    assert seen.headers["user-agent"] == f"wfe-controller/{__version__}"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.token == "raw-token"
    assert seen.query == {"labelSelector": "a in (b,c),d=e+f&g"}
    assert transport.namespace == "raw-ns"


@pytest.mark.parametrize(
    "handler",
    [rawserver.silent, rawserver.stalled_headers, cut_body(BIG, 50_000, by="stall")],
    ids=["silence", "half of the headers", "half of the body"],
)
async def test_no_whole_answer_in_time(server: RawServer, transport: Transport, handler: Handler) -> None:
    """W7: the timeout covers the last byte of the body, and the connection is closed, not reused."""
    server.on("GET", PATH, handler, ok({}))
    with pytest.raises(errors.RequestTimeout, match=r"GET /api/v1/namespaces/ns/pods/a: no answer within 0\.2 s"):
        await transport.request("GET", PATH, timeout=0.2)
    assert (await transport.request("GET", PATH)).status == 200
    assert [r.connection for r in server.requests] == [1, 2]


@pytest.mark.parametrize(
    "handler",
    [rawserver.reset, rawserver.hang_up, cut_body(BIG, 50_000), cut_body(BIG, 50_000, by="reset")],
    ids=["reset", "closed unanswered", "body cut", "body cut by reset"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_broken_connection_is_one_error_and_one_request(
    server: RawServer, transport: Transport, handler: Handler, method: str
) -> None:
    """I-44: also on a kept connection, where the HTTP library would send PUT and DELETE again by itself."""
    server.on("GET", "/warm", ok({}))
    server.on(method, PATH, handler)
    await transport.request("GET", "/warm")
    with pytest.raises(errors.ConnectionFailed, match=PATH):
        await transport.request(method, PATH, body=None if method == "GET" else b"{}")
    assert [r.method for r in server.requests] == ["GET", method]
    assert server.connections == 1


async def test_answer_that_is_not_http(server: RawServer, transport: Transport) -> None:
    async def garbage(exchange: rawserver.Exchange) -> None:
        await exchange.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        exchange.close()

    server.on("GET", PATH, garbage)
    with pytest.raises(errors.ConnectionFailed):
        await transport.request("GET", PATH)


async def test_nobody_listens(server: RawServer, transport: Transport) -> None:
    await server.stop()
    with pytest.raises(errors.ConnectionFailed, match="ClientConnectorError"):
        await transport.request("GET", PATH)


async def test_redirects_are_not_followed(server: RawServer, transport: Transport) -> None:
    """The token belongs to this server only."""
    server.on("GET", PATH, rawserver.text(b"", 302, {"Location": f"{server.url}/elsewhere"}))
    assert (await transport.request("GET", PATH)).status == 302
    assert len(server.requests) == 1


async def test_cancellation_passes_and_closes_the_connection(server: RawServer, transport: Transport) -> None:
    server.on("GET", PATH, rawserver.silent)
    task = asyncio.create_task(transport.request("GET", PATH))
    await server.wait_for(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for(lambda: server.open_connections == 0)


async def test_a_closed_transport_says_so(server: RawServer, transport: Transport) -> None:
    await transport.close()
    with pytest.raises(errors.ConnectionFailed, match="closed"):
        await transport.request("GET", PATH)
    assert server.requests == []


async def test_watches_do_not_starve_requests(server: RawServer, transport: Transport) -> None:
    """More open watches than the request pool has connections: a request still goes at once."""
    server.on("GET", "/watch", rawserver.stream(then="silence"))
    server.on("GET", PATH, ok({}))
    async with asyncio.timeout(20), _Streams(transport, REQUEST_CONNECTIONS + 5):
        assert (await transport.request("GET", PATH, timeout=5)).status == 200


class _Streams:
    def __init__(self, transport: Transport, count: int) -> None:
        self._contexts = [transport.stream("/watch", idle_timeout=60) for _ in range(count)]

    async def __aenter__(self) -> None:
        for context in self._contexts:
            await context.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        for context in self._contexts:
            await context.__aexit__(None, None, None)


# -- Retry-After, on the wire


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_retry_after_is_honoured_on_every_verb(server: RawServer, transport: Transport, method: str) -> None:
    """Q3, I-69."""
    clock = Recording()
    api = Api(transport, throttle=None, clock=clock, rng=random.Random(3))
    path = PATH if method != "POST" else "/api/v1/namespaces/ns/pods"
    server.on(method, path, refuse(429, "TooManyRequests", "slow down", retry_after=2), ok({"kind": "Pod"}))
    await (WRITES[method](api) if method != "GET" else api.get(PODS, KEY))
    assert [r.method for r in server.requests] == [method, method]
    assert len(clock.slept) == 1
    assert 2 <= clock.slept[0] <= 2.5
    assert server.requests[0].body == server.requests[1].body


# -- the write gate, on the wire


@pytest.mark.parametrize("method", WRITES)
async def test_gate_that_closes_in_the_limiter_lets_no_byte_out(
    server: RawServer, transport: Transport, method: str
) -> None:
    """E1: the lease was held when the write began to wait; at its turn it is not, and the server sees nothing."""
    gate = Gate(5)
    throttle = Throttle(0.001, 6, 5, clock=RealClock())
    for _ in range(6):
        await throttle.acquire(Lane.TERMINAL)
    api = Api(transport, throttle=throttle, clock=RealClock(), gate=gate)
    task = asyncio.ensure_future(WRITES[method](api))
    await asyncio.sleep(0)
    assert throttle.waiting == 1
    gate.left = 0
    throttle.set_rate(0, 30)
    with pytest.raises(errors.NotLeading):
        await task
    assert server.requests == []
    assert server.connections == 0


async def test_gate_bounds_the_time_of_a_hanging_write(server: RawServer, transport: Transport) -> None:
    """E1: a write that hangs ends before the lease can be another's."""
    server.on("PUT", PATH, rawserver.silent)
    api = Api(transport, throttle=None, clock=RealClock(), gate=Gate(0.2), request_timeout=30)
    async with asyncio.timeout(5):
        with pytest.raises(errors.RequestTimeout, match=r"within 0\.2 s"):
            await WRITES["PUT"](api)


async def test_gate_is_asked_again_for_the_retry_after_401(server: RawServer, transport: Transport) -> None:
    gate = Gate(5)

    async def unauthorized(exchange: rawserver.Exchange) -> None:
        gate.left = 0
        await exchange.json(rawserver.status_body(401, "Unauthorized"), 401)

    server.on("PUT", PATH, unauthorized)
    api = Api(transport, throttle=None, clock=RealClock(), gate=gate)
    with pytest.raises(errors.NotLeading):
        await WRITES["PUT"](api)
    assert len(server.requests) == 1


async def test_gate_without_time_left_is_closed(server: RawServer, transport: Transport) -> None:
    """To the HTTP library a timeout of 0 means none at all."""
    with pytest.raises(errors.NotLeading):
        await transport.request("PUT", PATH, body=b"{}", gate=lambda: 0.0)
    assert server.connections == 0

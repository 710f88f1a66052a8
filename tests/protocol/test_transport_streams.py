"""Watch streams against a server that misbehaves: every line arrives, or the fault has a name in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.support import rawserver
from tests.support.rawserver import Exchange, Handler, RawServer, ok, refuse, require_token, stream
from wfe_controller.kube import errors
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.objects import PODS

PODS_PATH = "/api/v1/namespaces/ns/pods"
MIB = 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer() as running:
        yield running


@pytest.fixture
async def api(server: RawServer, tmp_path: Path) -> AsyncIterator[Api]:
    settings = ConnectionSettings(server.kubeconfig(tmp_path / "kubeconfig"))
    transport = await Transport.connect(settings, clock=RealClock())
    yield Api(transport, throttle=None, clock=RealClock(), request_timeout=5)
    await transport.close()


def event(name: str, padding: int = 0) -> bytes:
    obj = {"kind": "Pod", "metadata": {"name": name}, "pad": "x" * padding}
    return msgspec.json.encode({"type": "MODIFIED", "object": obj}) + b"\n"


async def lines(api: Api, idle: float = 5) -> list[str]:
    """Names of the objects of one whole stream."""
    async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=idle) as opened:
        return [msgspec.json.decode(line)["object"]["metadata"]["name"] async for line in opened]


async def test_parameters_of_a_watch(server: RawServer, api: Api) -> None:
    """I-4, I-7: bookmarks always, a server-side end always, initial events only with their match rule."""
    server.on("GET", PODS_PATH, stream())
    server.on("GET", "/api/v1/pods", stream())
    common = {"watch": "true", "allowWatchBookmarks": "true"}
    async with api.watch(
        PODS, "ns", label_selector="a=b", resource_version="7", timeout_seconds=290, idle_timeout=5
    ) as opened:
        assert [line async for line in opened] == []
    async with api.watch(PODS, timeout_seconds=300, idle_timeout=5, send_initial_events=True) as opened:
        assert [line async for line in opened] == []
    assert server.requests[0].query == {
        **common,
        "labelSelector": "a=b",
        "resourceVersion": "7",
        "timeoutSeconds": "290",
    }
    assert server.requests[1].query == {
        **common,
        "timeoutSeconds": "300",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
    }


@pytest.mark.parametrize("sizes", [(), (1,), (7, 1, 1000), (65_537, 3)], ids=str)
async def test_lines_do_not_depend_on_chunks(server: RawServer, api: Api, sizes: tuple[int, ...]) -> None:
    """W4: the same events whatever the chunks; empty lines are nothing."""
    server.on("GET", PODS_PATH, stream(event("a"), event("b"), b"\n", event("c", 3000), sizes=sizes))
    assert await lines(api) == ["a", "b", "c"]


async def test_a_line_of_3_mib_in_odd_chunks(server: RawServer, api: Api) -> None:
    """W4: two copies of an object of the largest size; the HTTP library's own line reading would give up."""
    server.on("GET", PODS_PATH, stream(event("huge", 3 * MIB), event("next"), sizes=(1, 4095, 65_537, 16)))
    assert await lines(api) == ["huge", "next"]


async def test_a_line_beyond_the_limit_is_skipped_and_the_stream_goes_on(server: RawServer, api: Api) -> None:
    """W4: counted, its beginning kept for the log, the next line delivered on the same stream."""
    server.on("GET", PODS_PATH, stream(event("a"), event("monster", 9 * MIB), event("b"), sizes=(200_001, 17)))
    async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=5) as opened:
        assert b'"a"' in await anext(opened)
        assert opened.skipped == 0
        assert b'"b"' in await anext(opened)
        assert opened.skipped == 1
        assert b'"name":"monster"' in opened.skipped_head
    assert len(server.requests) == 1


async def test_events_arrive_when_they_are_sent(server: RawServer, api: Api) -> None:
    """Nothing waits for a buffer to fill."""
    go = asyncio.Event()

    async def one_by_one(exchange: Exchange) -> None:
        await exchange.start()
        for name in ("a", "b", "c"):
            await exchange.event("ADDED", {"metadata": {"name": name}})
            await go.wait()
            go.clear()
        await exchange.end()

    server.on("GET", PODS_PATH, one_by_one)
    seen = []
    async with asyncio.timeout(5), api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=5) as opened:
        async for line in opened:
            seen.append(msgspec.json.decode(line)["object"]["metadata"]["name"])
            go.set()
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize("tail", [b"", b'{"type":"ADD'], ids=["after a line", "inside a line"])
async def test_silence_has_an_end(server: RawServer, api: Api, tail: bytes) -> None:
    """W1, I-8: a half-open connection sends neither bytes nor FIN; the client hangs up."""
    server.on("GET", PODS_PATH, stream(event("a"), tail, then="silence"))
    async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=0.2) as opened:
        assert b'"a"' in await anext(opened)
        with pytest.raises(errors.RequestTimeout, match=r"silent: no byte for 0\.2 s"):
            await anext(opened)
    await server.wait_for(lambda: server.open_connections == 0)


async def test_every_byte_resets_the_idle_time_and_nothing_limits_the_whole(server: RawServer, api: Api) -> None:
    """W7: twelve pieces, each within the idle time, together much longer than it."""

    async def slowly(exchange: Exchange) -> None:
        await exchange.start()
        for piece in [b'{"type":"A"'] + [b" "] * 10 + [b"}\n"]:
            try:
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()
            except TimeoutError:
                await exchange.send(piece)
        await exchange.end()

    server.on("GET", PODS_PATH, slowly)
    async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=0.4) as opened:
        assert [msgspec.json.decode(line) async for line in opened] == [{"type": "A"}]


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (stream(event("a"), b'{"type":"ADD', then="end"), "inside a line"),
        (stream(event("a"), then="close"), "ClientPayloadError"),
        (stream(event("a"), then="reset"), "reset|ClientPayloadError"),
    ],
    ids=["half a line at the end", "FIN inside the answer", "reset"],
)
async def test_a_broken_stream_is_not_a_clean_end(server: RawServer, api: Api, handler: Handler, message: str) -> None:
    """I-9: only a proper end may be followed by a watch without backoff. Half a line is never delivered."""
    server.on("GET", PODS_PATH, handler)
    seen: list[bytes] = []

    async def collect() -> None:
        async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=5) as opened:
            async for line in opened:
                seen.append(line + b"\n")

    with pytest.raises(errors.ConnectionFailed, match=message):
        await collect()
    # A break that comes with the last bytes may swallow them; the watch resumes from what was delivered.
    assert seen in ([], [event("a")])


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (refuse(410, "Expired", "too old resource version"), errors.Gone),
        (refuse(403, "Forbidden", "no"), errors.Forbidden),
        (refuse(404, "NotFound", "no"), errors.NotFound),
        (refuse(422, "Invalid", "sendInitialEvents is forbidden"), errors.Invalid),
        (refuse(500, "InternalError", "etcd"), errors.Unavailable),
        (rawserver.text(b"<html>403</html>", 403), errors.Forbidden),
    ],
)
async def test_a_refused_watch_is_a_typed_error_on_entering(
    server: RawServer, api: Api, handler: Handler, kind: type[errors.ApiError]
) -> None:
    """I-10. A body that is not JSON is no event (the Kubernetes library would yield it as one, for ever)."""
    server.on("GET", PODS_PATH, handler)
    with pytest.raises(kind):
        await lines(api)
    assert len(server.requests) == 1


async def test_a_throttled_watch_says_how_long_to_wait(server: RawServer, api: Api) -> None:
    """I-10, Q3: the watcher waits; here nothing is retried."""
    server.on("GET", PODS_PATH, refuse(429, "TooManyRequests", "later", retry_after=7), stream(event("a")))
    with pytest.raises(errors.Throttled) as raised:
        await lines(api)
    assert raised.value.retry_after == 7
    assert len(server.requests) == 1
    assert await lines(api) == ["a"]


@pytest.mark.parametrize("handler", [rawserver.silent, rawserver.stalled_headers], ids=["silence", "half headers"])
async def test_opening_has_a_time_limit_of_its_own(server: RawServer, api: Api, handler: Handler) -> None:
    """W1: the idle time may be minutes; a server that does not even answer is known much earlier."""
    server.on("GET", PODS_PATH, handler)
    with pytest.raises(errors.RequestTimeout, match="no answer within"):
        async with api.transport.stream(PODS_PATH, connect_timeout=0.2, idle_timeout=300):
            pytest.fail("opened")
    await server.wait_for(lambda: server.open_connections == 0)


async def test_a_refused_token_is_read_again_for_a_watch_too(server: RawServer, tmp_path: Path) -> None:
    """W10: a 401 on a watch reconnects, it does not end the task."""
    token = tmp_path / "token"
    token.write_text("first")
    server.on("GET", PODS_PATH, require_token(lambda: "second", stream(event("a"))))
    settings = ConnectionSettings(server.kubeconfig(tmp_path / "kc", user={"tokenFile": str(token)}))
    transport = await Transport.connect(settings, clock=RealClock())
    token.write_text("second")
    assert await lines(Api(transport, throttle=None, clock=RealClock())) == ["a"]
    assert [r.token for r in server.requests] == ["first", "second"]
    server.forget()
    server.on("GET", PODS_PATH, require_token(lambda: "third", ok({})))
    with pytest.raises(errors.Unauthorized):
        await lines(Api(transport, throttle=None, clock=RealClock()))
    assert len(server.requests) == 4
    await transport.close()


async def test_leaving_early_closes_the_connection(server: RawServer, api: Api) -> None:
    """A stream cannot be reused half read, and an abandoned watch must not cost the server anything."""
    server.on("GET", PODS_PATH, stream(event("a"), then="silence"))
    async with api.watch(PODS, "ns", timeout_seconds=60, idle_timeout=60) as opened:
        await anext(opened)
    await server.wait_for(lambda: server.open_connections == 0)


async def test_cancellation_passes_and_closes_the_connection(server: RawServer, api: Api) -> None:
    """I-44."""
    server.on("GET", PODS_PATH, stream(event("a"), then="silence"))
    task = asyncio.create_task(lines(api, idle=60))
    await server.wait_for(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for(lambda: server.open_connections == 0)


async def test_300_reconnects_cost_no_file_descriptors(server: RawServer, api: Api) -> None:
    """W7: clean ends, breaks and refusals in turn, with a request between them."""
    turn = [
        stream(event("a")),
        stream(event("a"), then="close"),
        stream(event("a"), then="reset"),
        refuse(500, "InternalError", "etcd"),
        stream(b"{", then="end"),
    ]
    server.on("GET", PODS_PATH, *(turn * 62), ok({}))
    server.on("GET", "/version", ok({}))

    async def connect(times: int) -> None:
        for _ in range(times):
            try:
                await lines(api)
            except (errors.ConnectionFailed, errors.Unavailable):
                await api.raw("GET", "/version")
        await server.wait_for(lambda: server.open_connections <= 2)

    await connect(10)
    before = len(os.listdir("/proc/self/fd"))
    await connect(300)
    assert len(server.seen("GET", PODS_PATH)) == 310
    assert len(os.listdir("/proc/self/fd")) <= before + 1


class Counts:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.waits: list[str] = []

    def request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        self.requests.append((verb, resource, code))

    def throttled(self, lane: str, seconds: float) -> None:
        self.waits.append(lane)

    def gate_refused(self) -> None: ...


async def test_watches_take_tokens_are_counted_and_their_429_quietens_the_rest(server: RawServer, api: Api) -> None:
    """Q3: one closed set of labels, one code per opening; a break later on is the watcher's to count."""
    counts, clock = Counts(), RealClock()
    throttle = Throttle(20, 30, 5, clock=clock, instruments=counts)
    watching = Api(api.transport, throttle=throttle, clock=clock, instruments=counts, request_timeout=0.2)
    server.on(
        "GET",
        PODS_PATH,
        stream(event("a"), then="close"),
        rawserver.silent,
        rawserver.reset,
        refuse(429, "TooManyRequests", "later", retry_after=30),
    )
    for kind in (errors.ConnectionFailed, errors.RequestTimeout, errors.ConnectionFailed, errors.Throttled):
        with pytest.raises(kind):
            await lines(watching)
    assert counts.requests == [("watch", "pods", code) for code in ("200", "timeout", "error", "429")]
    assert counts.waits == ["READ"] * 4
    held = asyncio.create_task(throttle.acquire(Lane.TERMINAL))
    await asyncio.sleep(0)
    await throttle.acquire(Lane.LEASE)
    assert throttle.waiting == 1
    held.cancel()

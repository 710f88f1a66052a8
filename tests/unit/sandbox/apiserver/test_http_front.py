"""The sockets of the embedded server: whatever a client sends or how it leaves, the server goes on."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator

import pytest

from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.apiserver import faults
from wfe_controller.sandbox.apiserver.http import PIECE, HttpFront, serve_in_thread
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import MAX_BODY, ApiServer

CM = "/api/v1/namespaces/default/configmaps"
HEAD = "Host: x\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\n"


def make() -> ApiServer:
    tokens = {"admin": User.known("admin", groups=["system:masters"])}
    return ApiServer(clock=RealClock(), rng=random.Random(1), tokens=tokens)


@pytest.fixture
async def front() -> AsyncIterator[HttpFront]:
    server = make()
    made = HttpFront(server)
    await made.start()
    yield made
    await server.close()
    await made.stop()


async def connect(front: HttpFront) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*front.address)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split(b" ")[1]), await reader.readexactly(length)


async def ask(front: HttpFront, path: str, body: bytes = b"", method: str = "GET") -> tuple[int, bytes]:
    reader, writer = await connect(front)
    writer.write(f"{method} {path} HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    found = await answer(reader)
    writer.close()
    await writer.wait_closed()
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET " + CM.encode(),
        b"POST " + CM.encode() + b" HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        b"\x00\xff\x16\x03garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "half-line", "half-body", "garbage", "long-header", "bad-chunk"],
)
async def test_clients_that_send_nonsense_or_half_and_leave(front: HttpFront, sent: bytes) -> None:
    _, writer = await connect(front)
    writer.write(sent)
    writer.close()
    code, _ = await ask(front, CM)
    assert code == 200


async def test_one_connection_serves_many_requests(front: HttpFront) -> None:
    reader, writer = await connect(front)
    for number in range(3):
        body = json.dumps({"metadata": {"name": f"a{number}"}}).encode()
        writer.write(f"POST {CM} HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        code, _ = await answer(reader)
        assert code == 201
    writer.close()
    await writer.wait_closed()


async def test_a_body_that_is_too_large_is_refused_before_it_was_sent(front: HttpFront) -> None:
    reader, writer = await connect(front)
    writer.write(f"POST {CM} HTTP/1.1\r\n{HEAD}Content-Length: {MAX_BODY + 1}\r\n\r\n".encode())
    code, body = await answer(reader)
    assert (code, json.loads(body)["reason"]) == (413, "RequestEntityTooLarge")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_waits_to_be_asked_for_its_body(front: HttpFront) -> None:
    body = b'{"metadata":{"name":"patient"}}'
    reader, writer = await connect(front)
    head = f"POST {CM} HTTP/1.1\r\n{HEAD}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(body)
    code, _ = await answer(reader)
    assert code == 201
    writer.close()
    await writer.wait_closed()


async def test_a_dropped_connection_ends_without_a_byte(front: HttpFront) -> None:
    front.server.faults.add(faults.drop(verb="list"))
    reader, writer = await connect(front)
    writer.write(f"GET {CM} HTTP/1.1\r\n{HEAD}\r\n".encode())
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert (await ask(front, CM))[0] == 200


async def test_a_watch_ends_with_its_client(front: HttpFront) -> None:
    listeners = front.server.store.table("configmaps").listeners
    reader, writer = await connect(front)
    writer.write(f"GET {CM}?watch=1 HTTP/1.1\r\n{HEAD}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    assert listeners
    writer.transport.abort()
    async with asyncio.timeout(5):
        while listeners:
            await asyncio.wait([asyncio.create_task(ask(front, "/version"))])


def test_a_thread_speaks_tls_with_a_certificate_that_clients_can_verify() -> None:
    with serve_in_thread(make, tls=True) as running:
        context = ssl.create_default_context(cadata=running.ca_pem)
        request = urllib.request.Request(running.url + CM, headers={"Authorization": "Bearer admin"})
        with urllib.request.urlopen(request, context=context, timeout=10) as found:
            assert json.load(found)["kind"] == "ConfigMapList"
        assert running.call(lambda: running.server.store.revision) > 0
        address = running.url.removeprefix("https://").split(":")
    with pytest.raises(OSError, match="refused"), socket.create_connection((address[0], int(address[1])), timeout=5):
        pass


async def test_a_watch_is_answered_before_its_first_event(front: HttpFront) -> None:
    reader, writer = await connect(front)
    writer.write(f"GET {CM}?watch=1&labelSelector=none HTTP/1.1\r\n{HEAD}\r\n".encode())
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_large_answer_comes_whole_and_nobody_minds_who_does_not_wait_for_it(front: HttpFront) -> None:
    """It is sent in pieces, with its length said before."""
    for name in "ab":
        obj = {"metadata": {"name": name}, "data": {"x": name * 400_000}}
        assert (await ask(front, CM, json.dumps(obj).encode(), "POST"))[0] == 201
    assert 2 * PIECE < 800_000 < MAX_BODY
    reader, writer = await connect(front)
    writer.write(f"GET {CM} HTTP/1.1\r\n{HEAD}\r\n".encode())
    await reader.readexactly(1000)
    writer.transport.abort()
    code, body = await ask(front, CM)
    found = {item["metadata"]["name"]: item["data"] for item in json.loads(body)["items"]}
    assert (code, found["a"], found["b"]) == (200, {"x": "a" * 400_000}, {"x": "b" * 400_000})

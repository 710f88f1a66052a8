"""What is left when a transport was closed and the loop ends right after: no socket, whatever the server does.

The end of a connection under TLS is an exchange: asyncio sends its goodbye and keeps the socket for up to 30 s until
the other side has sent its own. aiohttp forgets a connection once it has asked for its end, so nobody waits for that.
A command that leaves a watch, closes its transport and returns then closes the loop with the goodbye under way, and
the socket is left to the garbage collector, with a ResourceWarning in whatever runs at that time. Whether the
server's goodbye comes in time is a race; the server here never says it.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from tests.support.certs import issue, make_ca
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.errors import ConnectionFailed

PATH = "/api/v1/pods"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024
WAIT_SECONDS = 30.0
STALLED_SECONDS = 0.3
"""A client that took nothing for so long has stopped reading."""


class Rude:
    """A server in a thread, for one connection, which it answers as told; then it neither reads nor ends it."""

    def __init__(self, directory: Path) -> None:
        authority = make_ca(directory, "ca")
        self._tls = issue(authority, directory, "server").server_context()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self._silent = threading.Event()
        self._connection: socket.socket | None = None
        self.handshake = True
        self.answer = b""
        self.kubeconfig = directory / "kubeconfig"
        server = {"server": f"https://127.0.0.1:{self._listener.getsockname()[1]}"}
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": server | {"certificate-authority": str(authority.cert)}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        self.kubeconfig.write_bytes(msgspec.json.encode(config))

    def start(self) -> None:
        self._thread.start()

    async def silent(self) -> None:
        """Until the connection got all it will get."""
        assert await asyncio.to_thread(self._silent.wait, WAIT_SECONDS)

    def stop(self) -> None:
        self._thread.join(WAIT_SECONDS)
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        self._connection, _ = self._listener.accept()
        if self.handshake:
            self._connection = self._tls.wrap_socket(self._connection, server_side=True, suppress_ragged_eofs=True)
            self._connection.recv(65536)
        else:
            self._connection.recv(1)
        if self.answer:
            self._connection.settimeout(STALLED_SECONDS)
            with suppress(TimeoutError):
                self._connection.sendall(self.answer)
        self._silent.set()


@pytest.fixture
def rude(tmp_path: Path) -> Iterator[Rude]:
    server = Rude(tmp_path)
    yield server
    server.stop()


def left_behind(rude: Rude, story: Callable[[Transport], Awaitable[None]]) -> list[str]:
    """Warnings of what nobody closed in a loop that connects, lives the story, closes the transport and ends."""

    async def main() -> None:
        transport = await Transport.connect(ConnectionSettings(str(rude.kubeconfig)), clock=RealClock())
        await story(transport)
        await transport.close()

    gc.collect()
    rude.start()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(main())
        gc.collect()
    return [str(warning.message) for warning in told]


async def watched(transport: Transport) -> None:
    async with transport.stream(PATH) as lines:
        async for _ in lines:
            pass


async def requested(transport: Transport) -> None:
    await transport.request("GET", PATH, timeout=WAIT_SECONDS)


@pytest.mark.parametrize("handshake", [True, False], ids=["connected", "handshake"])
@pytest.mark.parametrize("use", [watched, requested])
def test_a_use_that_is_cancelled(
    rude: Rude, use: Callable[[Transport], Coroutine[None, None, None]], handshake: bool
) -> None:
    """Cancelled while it waits for the answer or in the middle of the handshake."""
    rude.handshake = handshake

    async def story(transport: Transport) -> None:
        task = asyncio.create_task(use(transport))
        await rude.silent()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert left_behind(rude, story) == []


@pytest.mark.parametrize("unread", [0, 64 * MIB], ids=["quiet", "busy"])
def test_a_watch_that_is_left(rude: Rude, unread: int) -> None:
    """A quiet one; and a busy one that nobody reads, whose connection has stopped reading too."""
    rude.answer = HEAD + (b"%x\r\n%s\r\n" % (unread, b"x" * unread) if unread else b"")

    async def story(transport: Transport) -> None:
        async with transport.stream(PATH):
            await rude.silent()

    assert left_behind(rude, story) == []


@pytest.mark.parametrize("handshake", [True, False], ids=["connected", "handshake"])
def test_a_request_under_way_when_the_transport_closes(rude: Rude, handshake: bool) -> None:
    """Nobody cancels it: it fails at once, and does not connect anew."""
    rude.handshake = handshake
    failed: list[BaseException] = []

    async def story(transport: Transport) -> None:
        task = asyncio.create_task(requested(transport))
        await rude.silent()
        await transport.close()
        with pytest.raises(ConnectionFailed) as error:
            await task
        failed.append(error.value)

    assert left_behind(rude, story) == []
    assert failed

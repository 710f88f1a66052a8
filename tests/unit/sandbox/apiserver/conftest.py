"""A server of one's own, with an administrator and somebody without rights."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from wfe_controller.kube.clock import LoopClock
from wfe_controller.sandbox.apiserver.message import Request, Response, Stream, parse_query
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer

CM = "/api/v1/namespaces/default/configmaps"


class Client:
    """Requests to one server as the administrator."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response | Stream:
        path, _, query = path.partition("?")
        sent = {"authorization": "Bearer admin", "user-agent": "test/1", "content-type": "application/json"}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.server.handle(Request(method, path, parse_query(query), {**sent, **named}, data))

    async def json(self, method: str, path: str, body: Any = None, code: int = 200, **headers: str) -> Any:
        answer = await self.ask(method, path, body, **headers)
        assert isinstance(answer, Response)
        assert answer.status == code, answer.body
        return json.loads(answer.body)

    async def create(self, obj: Any, path: str = CM) -> Any:
        return await self.json("POST", path, obj, 201)

    async def watch(self, path: str) -> AsyncIterator[Any]:
        stream = await self.ask("GET", path)
        assert isinstance(stream, Stream), stream
        async for chunk in stream.lines:
            for line in chunk.splitlines():
                yield json.loads(line)


def make_server(seed: int = 1, **options: Any) -> ApiServer:
    tokens = {"admin": User.known("admin", groups=["system:masters"]), "nobody": User.known("nobody")}
    return ApiServer(clock=LoopClock(), rng=random.Random(seed), tokens=tokens, **options)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = make_server()
    made = Client(server)
    yield made
    await server.close()

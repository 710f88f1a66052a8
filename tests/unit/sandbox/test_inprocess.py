"""The controller's own client on the embedded server without sockets: answers, refusals, watches, faults, timeouts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from tests.unit.sandbox.apiserver.conftest import make_server
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.errors import (
    AlreadyExists,
    ConnectionFailed,
    NotFound,
    RequestTimeout,
    Throttled,
    Unauthorized,
)
from wfe_controller.kube.objects import ObjectKey, Resource
from wfe_controller.sandbox.apiserver import faults
from wfe_controller.sandbox.apiserver.server import ApiServer
from wfe_controller.sandbox.inprocess import InProcessTransport

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
KEY = ObjectKey("default", "a")
OBJ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "a"}, "data": {"k": "v"}}

pytestmark = pytest.mark.looptime


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    made = make_server()
    yield made
    await made.close()


def api(server: ApiServer, token: str = "admin", timeout: float = 10.0) -> Api:
    transport = InProcessTransport(server, token=token)
    return Api(transport, throttle=None, clock=LoopClock(), request_timeout=timeout, rng=random.Random(1))


async def test_the_life_of_an_object(server: ApiServer) -> None:
    client = api(server)
    made = await client.create(CONFIG_MAPS, dict(OBJ), lane=Lane.START)
    assert (await client.get(CONFIG_MAPS, KEY))["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, dict(OBJ), lane=Lane.START)
    assert [item["kind"] for item in await client.list(CONFIG_MAPS, "default", field_selector="metadata.name=a")] == [
        "ConfigMap"
    ]
    await client.delete(CONFIG_MAPS, KEY, uid=made["metadata"]["uid"], lane=Lane.RELEASE)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, KEY)


async def test_a_watch_gives_one_line_an_event(server: ApiServer) -> None:
    client = api(server)
    watch = client.watch(
        CONFIG_MAPS,
        "default",
        label_selector="",
        field_selector="metadata.name=a",
        resource_version=str(server.store.revision),
        timeout_seconds=30,
        idle_timeout=60,
    )
    async with watch as lines:
        made = await client.create(CONFIG_MAPS, dict(OBJ), lane=Lane.START)
        await client.replace(CONFIG_MAPS, {**made, "data": {}}, lane=Lane.PROGRESS)
        seen = [line async for line in lines]
    # The last one is the bookmark before the end.
    assert [line[:16] for line in seen] == [b'{"type":"ADDED",', b'{"type":"MODIFIE', b'{"type":"BOOKMAR']


async def test_a_bad_token_is_refused(server: ApiServer) -> None:
    with pytest.raises(Unauthorized):
        await api(server, token="guessed").get(CONFIG_MAPS, KEY)


async def test_faults_look_like_those_of_a_network(server: ApiServer) -> None:
    client = api(server)
    server.faults.add(faults.lose_answer(verb="create"))
    with pytest.raises(ConnectionFailed):
        await client.create(CONFIG_MAPS, dict(OBJ), lane=Lane.START)
    await client.get(CONFIG_MAPS, KEY)
    server.faults.add(faults.delay(60, verb="get"))
    with pytest.raises(RequestTimeout):
        await api(server, timeout=5).get(CONFIG_MAPS, KEY)
    server.faults.add(faults.refuse(429, retry_after=1, verb="get", count=None))
    with pytest.raises(Throttled):
        await client.get(CONFIG_MAPS, KEY)


async def test_a_silent_watch_is_told(server: ApiServer) -> None:
    """With resourceVersion "0" too: what is there comes first."""
    client = api(server)
    watch = client.watch(
        CONFIG_MAPS,
        "kube-system",
        label_selector="none=here",
        field_selector="",
        resource_version="0",
        timeout_seconds=300,
        idle_timeout=20,
    )
    async with watch as lines:
        events = aiter(lines)
        assert b"initial-events-end" in await anext(events)  # of nothing
        with pytest.raises(RequestTimeout, match="silent"):
            await anext(events)

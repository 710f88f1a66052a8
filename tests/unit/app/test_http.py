"""app/http: probe pages with every check, metrics, and ports that cannot be had."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from wfe_controller.app.exits import StartFailed
from wfe_controller.app.http import HttpServers
from wfe_controller.app.metrics import Metrics
from wfe_controller.kube.probes import CheckResult, Probe


class Switch:
    """A check whose verdict the test sets."""

    def __init__(self) -> None:
        self.result = CheckResult(True, age=1.234)

    def __call__(self) -> CheckResult:
        return self.result


def servers(live: Probe, ready: Probe, metrics_address: str = ":0", health_address: str = ":0") -> HttpServers:
    return HttpServers(
        metrics_address=metrics_address,
        health_address=health_address,
        render=lambda: b"metric_a 1\n",
        content_type=Metrics.content_type,
        live=live,
        ready=ready,
    )


@pytest.fixture
def caches() -> Switch:
    return Switch()


@pytest.fixture
async def client(caches: Switch) -> AsyncIterator[TestClient]:
    live, ready = Probe(), Probe()
    live.add("loop", lambda: CheckResult(True))
    ready.add("caches", caches)
    ready.add("leader", lambda: CheckResult(True, "standby of pod-b", 0.5))
    async with TestClient(TestServer(servers(live, ready).application())) as client:
        yield client


async def test_readyz_tells_every_check_with_its_age(client: TestClient) -> None:
    """SPEC 12: one line a check."""
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert await answer.text() == (
        "[+]caches ok age=1.2s\n[+]leader ok age=0.5s standby of pod-b\nreadyz check passed\n"
    )


async def test_a_failed_check_is_503_with_the_reason_on_one_line(client: TestClient, caches: Switch) -> None:
    caches.result = CheckResult(False, "list pods in kubernaut-workflows:\n 403 Forbidden", 31)
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert await answer.text() == (
        "[-]caches failed: list pods in kubernaut-workflows: 403 Forbidden\n"
        "[+]leader ok age=0.5s standby of pod-b\nreadyz check failed\n"
    )
    assert (await client.get("/healthz")).status == 200, "readiness says nothing about liveness"


async def test_the_same_as_json(client: TestClient, caches: Switch) -> None:
    caches.result = CheckResult(False, "not synced", 2)
    answer = await client.get("/readyz?format=json")
    assert answer.status == 503
    assert (await answer.json())["checks"]["caches"] == {"ok": False, "why": "not synced", "ageSeconds": 2}
    assert (await answer.json())["ok"] is False


async def test_a_check_that_raises_is_a_failed_check(client: TestClient, caches: Switch) -> None:
    def broken() -> CheckResult:
        raise RuntimeError("oops")

    live = Probe()
    live.add("broken", broken)
    async with TestClient(TestServer(servers(live, Probe()).application())) as other:
        answer = await other.get("/healthz")
        assert answer.status == 503
        assert "[-]broken failed: check raised RuntimeError: oops" in await answer.text()


async def test_metrics_are_served_as_prometheus_expects(client: TestClient) -> None:
    answer = await client.get("/metrics")
    assert (answer.status, await answer.text()) == (200, "metric_a 1\n")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/metrics", 405), ("GET", "/", 404), ("HEAD", "/readyz", 200)]
)
async def test_nothing_else_is_served(client: TestClient, method: str, path: str, status: int) -> None:  # fmt: skip
    assert (await client.request(method, path)).status == status


async def test_two_addresses_are_two_listeners_with_their_own_pages() -> None:
    both = servers(Probe(), Probe(), "127.0.0.1:0", "127.0.0.1:0")
    await both.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def status(port: int, path: str) -> int:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status

            assert both.metrics_port != both.health_port
            assert await status(both.metrics_port, "/metrics") == 200
            assert await status(both.metrics_port, "/readyz") == 404
            assert await status(both.health_port, "/readyz") == 200
            assert await status(both.health_port, "/metrics") == 404
    finally:
        await both.stop()
    await both.stop()  # harmless


async def test_one_address_for_both_is_one_listener(unused_port: int) -> None:
    address = f"127.0.0.1:{unused_port}"
    shared = servers(Probe(), Probe(), address, address)
    await shared.start()
    try:
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/healthz", "/readyz"):
                async with session.get(f"http://{address}{path}") as answer:
                    assert answer.status == 200
        assert shared.metrics_port == shared.health_port == unused_port
    finally:
        await shared.stop()


async def test_a_port_in_use_ends_the_start_with_its_name_and_leaves_nothing_open() -> None:
    """SPEC 12: the environment's fault, exit code 1."""
    first = servers(Probe(), Probe(), "127.0.0.1:0", "127.0.0.1:0")
    await first.start()
    taken = f"127.0.0.1:{first.health_port}"
    second = servers(Probe(), Probe(), "127.0.0.1:0", taken)
    try:
        with pytest.raises(StartFailed) as caught:
            await second.start()
        assert caught.value.code == 1
        assert str(caught.value) == (
            f"cannot listen on port {first.health_port} (controller.healthAddress = {taken}): port is in use; "
            "stop the other process or set controller.healthAddress"
        )
        assert not second._runners
    finally:
        await first.stop()


async def test_an_address_of_another_machine_is_told() -> None:
    wrong = servers(Probe(), Probe(), "192.0.2.1:0", "127.0.0.1:0")
    with pytest.raises(StartFailed, match=r"controller.metricsAddress = 192.0.2.1:0"):
        await wrong.start()


@pytest.fixture
def unused_port() -> int:
    from aiohttp.test_utils import unused_port as find

    return find()

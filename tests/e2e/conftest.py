"""The e2e tier: the shipped manifests, the built image and real pods on a real node.

One cluster per session, two replicas of the controller under restricted Pod Security, limits short enough to wait for.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane
from tests.support.cluster import CONFIG, Controller, Inside, provide
from tests.support.workloads import Workloads

_inside = Inside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of the tier may have to build everything; the verdict is about all that was before it."""
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    mine.sort(key=lambda item: item.path.name == "test_verdict.py")
    for number, item in enumerate(mine):
        item.add_marker(pytest.mark.timeout(3600 if number == 0 else 600))
    items[:] = [*(item for item in items if here not in item.path.parents), *mine]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Other tiers may run in this process too, with servers on the machine's own loopback: leave after each test."""
    _inside.enter()
    try:
        return (yield)
    finally:
        _inside.leave()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    yield from provide(_inside, tmp_path_factory.mktemp("external"))


@pytest.fixture(scope="session")
def controller(cluster: Plane) -> Controller:
    """The installed controller: two replicas with the limits above."""
    deployed = Controller(cluster)
    deployed.configure(CONFIG, replicas=2)
    return deployed


@pytest.fixture
def wfe(cluster: Plane, controller: Controller) -> Iterator[Workloads]:
    """WorkflowExecutions in a namespace of the test's own, which is deleted afterwards (not waited for)."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.ensure_namespace(name)
    yield Workloads(cluster, name)
    cluster.client.delete(f"/api/v1/namespaces/{name}")

"""The simulators write what the real ones wrote in the same situations (tests/recordings).

The recordings are made by ``python -m hack.recordings`` from real Tekton and real pods. Here everything is played at
once, each situation in a namespace of its own, on a real API server, so that its schema, its validation and its garbage
collector judge the simulators too; Jobs and Deployments under the real controllers, to which played pods must look like
real ones. On a busy machine two changes may be seen as one, as with the real ones: what differs is played once more,
alone. That the recordings are still what the real ones write, tests/e2e shows.
"""

from __future__ import annotations

import asyncio

import pytest
import yaml

from hack.controlplane import Plane
from hack.recordings.__main__ import RECORDINGS, path_of
from hack.recordings.company import Company
from hack.recordings.compare import difference
from hack.recordings.lives import LIVES
from hack.recordings.situations import SITUATIONS, Object, Situation
from hack.recordings.stage import NeverOver
from hack.recordings.workloads import WORKS, Work, record
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock

AT_ONCE = 10
SPEED = 4.0
"""Steps take a quarter of the time that they take on a node; time-outs and deadlines count real seconds."""
REGISTRY = "registry.invalid"
Found = Object | NeverOver
EVERYTHING: list[Situation | Work] = [*SITUATIONS, *WORKS, *LIVES]


def name_of(item: Situation | Work) -> str:
    return str(path_of(item).with_suffix(""))


@pytest.fixture(scope="module")
def played(bare_plane: Plane) -> dict[str, Found]:
    namespaces = {name_of(item): f"sim-{name_of(item).replace('/', '-')}" for item in EVERYTHING}
    for namespace in namespaces.values():
        bare_plane.ensure_namespace(namespace)
    return asyncio.run(_play_all(bare_plane, namespaces))


async def _play_all(plane: Plane, namespaces: dict[str, str]) -> dict[str, Found]:
    clock = RealClock()
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(plane.kubeconfig)), clock=clock)
    api = Api(transport, throttle=None, clock=clock)
    company = Company(api, clock=clock, speed=SPEED)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(item: Situation | Work, namespace: str) -> Found:
        async with turn:
            try:
                if isinstance(item, Work):
                    return await record(api, item, namespace=namespace, registry=REGISTRY, clock=clock)
                return await company.play(item, namespace=namespace, bundle=f"{REGISTRY}/{item.name}:v1")
            except NeverOver as error:
                return error

    try:
        async with company.playing():
            everything = await asyncio.gather(*(one(item, namespaces[name_of(item)]) for item in EVERYTHING))
            found = {name_of(item): seen for item, seen in zip(EVERYTHING, everything, strict=True)}
            for item in EVERYTHING:
                if differs(found[name_of(item)], item):
                    again = f"{namespaces[name_of(item)]}-again"
                    plane.ensure_namespace(again)
                    found[name_of(item)] = await one(item, again)
    finally:
        await transport.close()
    return found


def differs(found: Found, item: Situation | Work) -> str:
    """Empty when nothing does."""
    content: Object = yaml.safe_load((RECORDINGS / path_of(item)).read_text())
    assert content.pop("about") == item.about
    return str(found) if isinstance(found, NeverOver) else difference(found, content)


@pytest.mark.parametrize("item", EVERYTHING, ids=name_of)
def test_the_simulators_write_what_the_real_ones_wrote(item: Situation | Work, played: dict[str, Found]) -> None:
    assert not differs(played[name_of(item)], item)


def test_every_recording_has_its_situation() -> None:
    recorded = {path.relative_to(RECORDINGS) for path in RECORDINGS.rglob("*.yaml")}
    assert recorded == {path_of(item) for item in EVERYTHING}

"""The simulated Tekton writes what the real one wrote in the same situations (tests/recordings).

The recordings are made by ``python -m hack.recordings``. All situations are played at once, each in a namespace of
its own, on a real API server, so that its schema, its validation and its garbage collector judge the simulator too.
On a busy machine two changes may be seen as one, as with the real Tekton: what differs is played a second time, alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from hack.controlplane import Plane
from hack.recordings.company import Company
from hack.recordings.situations import SITUATIONS, Object, Situation
from hack.recordings.stage import NeverOver
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock

RECORDINGS = Path(__file__).parents[1] / "recordings"
AT_ONCE = 10


@pytest.fixture(scope="module")
def played(bare_plane: Plane) -> dict[str, Object | NeverOver]:
    namespaces = {situation.name: f"sim-{situation.name}" for situation in SITUATIONS}
    for namespace in namespaces.values():
        bare_plane.ensure_namespace(namespace)
        bare_plane.ensure_namespace(f"{namespace}-again")
    return asyncio.run(_play_all(bare_plane, namespaces))


async def _play_all(plane: Plane, namespaces: dict[str, str]) -> dict[str, Object | NeverOver]:
    clock = RealClock()
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(plane.kubeconfig)), clock=clock)
    company = Company(Api(transport, throttle=None, clock=clock), clock=clock, simulated=True)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(situation: Situation) -> Object | NeverOver:
        async with turn:
            bundle = f"registry.invalid/{situation.name}:v1"
            try:
                return await company.play(situation, namespace=namespaces[situation.name], bundle=bundle)
            except NeverOver as error:
                return error

    try:
        async with company.playing():
            items = await asyncio.gather(*(one(situation) for situation in SITUATIONS))
            found = {situation.name: item for situation, item in zip(SITUATIONS, items, strict=True)}
            for situation in SITUATIONS:
                if found[situation.name] != recorded(situation):
                    namespaces[situation.name] += "-again"
                    found[situation.name] = await one(situation)
    finally:
        await transport.close()
    return found


def recorded(situation: Situation) -> Object:
    content: Object = yaml.safe_load((RECORDINGS / f"{situation.name}.yaml").read_text())
    assert content.pop("about") == situation.about
    return content


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_the_simulated_tekton_writes_what_the_real_one_wrote(
    situation: Situation, played: dict[str, Object | NeverOver]
) -> None:
    found = played[situation.name]
    assert not isinstance(found, NeverOver), str(found)
    assert found == recorded(situation)


def test_every_recording_has_its_situation() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.yaml")} == {situation.name for situation in SITUATIONS}

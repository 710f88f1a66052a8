"""Pods, Jobs and Deployments live on the embedded server as a kubelet and kube-controller-manager had them live."""

from __future__ import annotations

import random

import pytest
import yaml

from hack.recordings.__main__ import PODS, RECORDINGS, WORKLOADS, path_of
from hack.recordings.lives import LIVES
from hack.recordings.workloads import WORKS, Work, record
from tests.support.embedded import embedded
from wfe_controller.sandbox.simulators.deployments import DeploymentSimulator
from wfe_controller.sandbox.simulators.jobs import JobSimulator
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation

pytestmark = pytest.mark.looptime
NAMESPACE = "play"


@pytest.mark.parametrize("work", [*WORKS, *LIVES], ids=lambda work: str(path_of(work).with_suffix("")))
async def test_a_workload_lives_as_on_a_real_cluster(work: Work) -> None:
    async with embedded(random.Random(7)) as place:
        await place.namespace(NAMESPACE)
        simulation = Simulation(place.api, clock=place.clock, rng=random.Random(1))
        PodSimulator(simulation)
        DeploymentSimulator(simulation)
        JobSimulator(simulation)
        async with simulation.running():
            found = await record(place.api, work, namespace=NAMESPACE, registry="registry.invalid", clock=place.clock)
    recorded = yaml.safe_load((RECORDINGS / path_of(work)).read_text())
    del recorded["about"]
    assert found == recorded


def test_every_recording_has_its_workload() -> None:
    for directory, works in ((WORKLOADS, WORKS), (PODS, LIVES)):
        assert {path.stem for path in (RECORDINGS / directory).glob("*.yaml")} == {work.name for work in works}

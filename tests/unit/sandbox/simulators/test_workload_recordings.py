"""Jobs and Deployments come out on the embedded server as kube-controller-manager made them (tests/recordings)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from hack.recordings.workloads import WORKS, Work, record
from tests.support.embedded import embedded
from wfe_controller.sandbox.simulators.deployments import DeploymentSimulator
from wfe_controller.sandbox.simulators.jobs import JobSimulator
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation

RECORDINGS = Path(__file__).parents[3] / "recordings" / "workloads"
pytestmark = pytest.mark.looptime
NAMESPACE = "play"


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
async def test_a_workload_ends_as_the_real_controllers_end_it(work: Work) -> None:
    async with embedded(random.Random(7)) as place:
        await place.namespace(NAMESPACE)
        simulation = Simulation(place.api, clock=place.clock, rng=random.Random(1))
        PodSimulator(simulation)
        DeploymentSimulator(simulation)
        JobSimulator(simulation)
        async with simulation.running():
            found = await record(place.api, work, namespace=NAMESPACE, clock=place.clock)
    recorded = yaml.safe_load((RECORDINGS / f"{work.name}.yaml").read_text())
    del recorded["about"]
    assert found == recorded


def test_every_recording_has_its_workload() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.yaml")} == {work.name for work in WORKS}

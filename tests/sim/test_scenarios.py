"""The shipped scenario ends as it says: the real controller as a process of its own, with its own account's token,
against a real API server, beside the simulated Tekton."""

from __future__ import annotations

import asyncio
import random

from hack.controlplane import Plane
from hack.demo.installed import install, start_controller
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.director import Director, Ending
from wfe_controller.sandbox.simulators import scenario_file
from wfe_controller.sandbox.simulators.cast import Cast
from wfe_controller.sandbox.simulators.scenario import Scenario
from wfe_controller.sandbox.simulators.simulation import Simulation


def test_the_default_scenario_ends_as_it_says(bare_plane: Plane) -> None:
    scenario = scenario_file.default()
    kubeconfig = install(bare_plane)
    for name in scenario.namespaces():
        bare_plane.ensure_namespace(name)
    start_controller(bare_plane, kubeconfig)
    notes: list[str] = []
    try:
        ending = asyncio.run(_play(bare_plane, scenario, notes))
    finally:
        bare_plane.stop_process("wfe-controller")
    assert [verdict for verdict in ending.verdicts if not verdict.ok] == []
    assert ending.in_time
    said = [f"{sample.name}: {sample.say}" for sample in scenario.samples]
    assert sorted(notes) == sorted([*said, *(decision.say for decision in scenario.operator)])


async def _play(plane: Plane, scenario: Scenario, notes: list[str]) -> Ending:
    clock, rng = RealClock(), random.Random(3)
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(plane.kubeconfig)), clock=clock)
    api = Api(transport, throttle=None, clock=clock)
    cast = Cast(Simulation(api, clock=clock, rng=rng, speed=2.0), scenario, workloads=False)
    director = Director(api, scenario, clock=clock, rng=rng, speed=2.0, note=notes.append)
    try:
        await director.prepare()
        await cast.pods.ensure_node()
        async with cast.simulation.running(), director.watching():
            return await director.play()
    finally:
        await transport.close()

"""The shipped scenario on the embedded server, with the controller's own wiring, all in one process in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.embedded import TOKEN, Embedded, embedded
from wfe_controller.api import crd, names
from wfe_controller.app.config import load_settings
from wfe_controller.app.metrics import Metrics
from wfe_controller.app.wiring import assemble
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.objects import SERVICE_ACCOUNTS, Json
from wfe_controller.sandbox.director import Director, Ending
from wfe_controller.sandbox.inprocess import InProcessTransport
from wfe_controller.sandbox.simulators import scenario_file
from wfe_controller.sandbox.simulators.cast import Cast
from wfe_controller.sandbox.simulators.scenario import Scenario
from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton import kinds

pytestmark = pytest.mark.looptime
HOME, EXECUTION = names.DEFAULT_CONTROLLER_NAMESPACE, names.DEFAULT_EXECUTION_NAMESPACE
CRDS = [*kinds.crds(), *(crd.crd(resource.kind) for resource in crd.KINDS)]


def changed(raw: str) -> Scenario:
    return scenario_file.parse(raw, "changed.yaml")


async def play(scenario: Scenario, notes: list[str] | None = None) -> Ending:
    async with embedded(random.Random(5), crds=CRDS) as place:
        for name in (HOME, EXECUTION):
            await place.namespace(name)
        account: Json = {"metadata": {"name": names.RUNNER_SERVICE_ACCOUNT, "namespace": EXECUTION}}
        await place.api.create(SERVICE_ACCOUNTS, account, lane=Lane.READ)
        cast = Cast(Simulation(place.api, clock=place.clock, rng=random.Random(1)), scenario)
        note = [].append if notes is None else notes.append
        director = Director(place.api, scenario, clock=place.clock, rng=random.Random(2), note=note)
        await director.prepare()
        controller = asyncio.create_task(control(place, stop := asyncio.Event()))
        try:
            async with cast.simulation.running(), director.watching():
                return await director.play()
        finally:
            stop.set()
            assert await controller == 0


async def control(place: Embedded, stop: asyncio.Event) -> int:
    """What app.main does, less sockets and signals."""
    metrics = Metrics(clock=place.clock)
    throttle = Throttle(20, 30, clock=place.clock, instruments=metrics)
    main, lease = (InProcessTransport(place.server, token=TOKEN) for _ in range(2))
    api = Api(main, throttle=throttle, clock=place.clock, instruments=metrics)
    lease_api = Api(lease, throttle=None, clock=place.clock, instruments=metrics)
    settings = load_settings(None, {}, {})
    assembly = assemble(settings, api, lease_api, throttle, home=HOME, metrics=metrics, clock=place.clock)
    return await assembly.manager.run(stop)


async def test_the_default_scenario_ends_as_it_says() -> None:
    scenario = scenario_file.default()
    notes: list[str] = []
    ending = await play(scenario, notes)
    assert [verdict for verdict in ending.verdicts if not verdict.ok] == []
    assert ending.in_time
    assert len(notes) == len(scenario.samples) + len(scenario.operator)


async def test_an_end_that_is_not_the_expected_one_is_told() -> None:
    raw = scenario_file.DEFAULT.read_text().replace("exitCode: 3", "exitCode: 0")
    ending = await play(changed(raw))
    wrong = {verdict.name: verdict.found for verdict in ending.verdicts if not verdict.ok}
    assert wrong["resize-checkout"] == "Completed"
    assert not ending.ok

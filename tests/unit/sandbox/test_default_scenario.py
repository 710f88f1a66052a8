"""The shipped scenario on the embedded server, with the controller's own wiring, all in one process in virtual time."""

from __future__ import annotations

import asyncio
import random

import looptime
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


async def play(scenario: Scenario, notes: list[str] | None = None, stored: dict[str, bytes] | None = None) -> Ending:
    """``stored`` takes every object that is there at the end, by kind and name."""
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
            if stored is not None:
                tables = place.server.store.tables.values()
                stored |= {
                    f"{table.name}/{key}": found.data for table in tables for key, found in table.objects.items()
                }


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


def test_the_same_story_leaves_the_same_bytes_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, uids and chance are given; nothing else decides what is written when, in which order, by which name."""
    seeded = random.Random
    monkeypatch.setattr(random, "Random", lambda *seed: seeded(*(seed or (7,))))
    monkeypatch.setenv("POD_NAME", "controller")
    monkeypatch.setenv("POD_UID", "1")
    ends: list[dict[str, bytes]] = []
    for _ in range(2):
        stored: dict[str, bytes] = {}
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            assert runner.run(play(scenario_file.default(), stored=stored)).ok
        ends.append(stored)
    assert len(ends[0]) > 50
    assert ends[0] == ends[1]


def shipped(*changes: tuple[str, str]) -> str:
    """The shipped story with other words in it, each of which is there."""
    raw = scenario_file.DEFAULT.read_text()
    for old, new in changes:
        assert old in raw, old
        raw = raw.replace(old, new, 1)
    return raw


# What was changed in the story, what is told of it, and the latest second at which it may end: the shipped one takes 8,
# its deadline is 60.
WRONG: dict[str, tuple[list[tuple[str, str]], dict[str, str], str, float]] = {
    "an early sample ends otherwise": (
        [("exitCode: 3", "exitCode: 0")],
        {"resize-checkout": "Completed"},
        "",
        9,
    ),
    "with another reason": (
        [("reason: ResourceBusy", "reason: RecentlyRemediated")],
        {"restart-frontend-twice": "Skipped ResourceBusy"},
        "",
        5,
    ),
    "a phase that was never passed is waited for": (
        [("{execution: resize-checkout-again, phase: Skipped}", "{execution: resize-checkout-again, phase: Running}")],
        {},
        "sample resize-checkout-fixed waits for resize-checkout-again to be Running, which cannot come: "
        "it ended Skipped PreviousExecutionFailed",
        9,
    ),
    "a state of a target that nobody brings about": (
        [("operator:\n", "operator: []\nnobody:\n")],
        {},
        "sample resize-checkout-fixed waits for shop/deployment/checkout to be open, and nothing happens any more",
        15,
    ),
    "only the lock is not as expected": (
        [("checkout, outcome: Completed}", "checkout, blocked: true, outcome: Completed}")],
        {"shop/deployment/checkout": "free, not blocked, last Completed"},
        "everything has ended, and nothing happens any more",
        19,
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_end_that_cannot_come_any_more_ends_the_story_at_once(name: str) -> None:
    changes, wrong, stuck, latest = WRONG[name]
    raw = shipped(*changes)
    if "nobody:" in raw:
        raw = raw[: raw.index("nobody:")] + raw[raw.index("\nlocks:") :]
    ending = await play(changed(raw))
    told = {v.name: v.found for v in ending.verdicts if not v.ok and not v.open}
    assert told == wrong or (stuck and wrong.items() <= told.items())
    assert not ending.ok
    assert ending.stuck == stuck
    assert ending.seconds < latest


async def test_what_the_server_refuses_is_told_before_anything_is_played() -> None:
    name = "parameters: {" + "p" * 300 + ": x}"
    raw = shipped(("    bundle: resize-deployment-fixed\n", f"    bundle: resize-deployment-fixed\n    {name}\n"))
    notes: list[str] = []
    with pytest.raises(
        scenario_file.ScenarioError, match=r"scenario changed\.yaml: samples\[5\]: .*parameters"
    ) as told:
        await play(changed(raw), notes)
    assert notes == []
    assert "\n" not in str(told.value)


async def test_a_request_that_somebody_deletes_is_told_as_deleted() -> None:
    """The end that it had counts; one that had none is not waited for."""
    late = """operator:
  - when: [{execution: restart-frontend, phase: Running}]
    delete: restart-frontend
"""
    raw = scenario_file.DEFAULT.read_text()
    raw = raw[: raw.index("operator:")] + late
    ending = await play(changed(raw))
    assert ending.seconds < 30
    assert {v.name: v.found for v in ending.verdicts if not v.ok and not v.open} != {}

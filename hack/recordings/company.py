"""Who plays beside the API server while situations are recorded: pods always, Tekton when it is the simulated one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hack.recordings.situations import Object, Situation
from hack.recordings.stage import Stage
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.objects import Json
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton.resolver import Bundles
from wfe_controller.sandbox.simulators.tekton.simulator import TektonSimulator


class Company:
    """One simulation for any number of situations, each in a namespace of its own."""

    def __init__(self, api: Api, *, clock: Clock, simulated: bool, speed: float = 1.0, seed: int = 1) -> None:
        self._api, self._clock = api, clock
        self._bundles: dict[str, list[Json]] = {}
        self._simulation = Simulation(api, clock=clock, rng=random.Random(seed), speed=speed)
        self._pods = PodSimulator(self._simulation)
        if simulated:
            TektonSimulator(self._simulation, Bundles(self._bundles))

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        async with self._simulation.running():
            await self._pods.ensure_node()
            yield

    async def play(self, situation: Situation, *, namespace: str, bundle: str) -> Object:
        """What was written, normalised. The namespace is there already; raises NeverOver."""
        if not situation.missing:
            self._bundles[bundle] = [situation.pipeline]
        return await Stage(self._api, situation, namespace=namespace, bundle=bundle, clock=self._clock).play()

"""Who plays beside the API server while situations are recorded: pods unless a node runs them, Tekton if it is ours."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hack.recordings.situations import REGISTRY, Object, Situation
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

    def __init__(
        self, api: Api, *, clock: Clock, pods: bool = True, tekton: bool = True, speed: float = 1.0, seed: int = 1
    ) -> None:
        self._api, self._clock, self._speed = api, clock, speed
        self._bundles: dict[str, list[Json]] = {}
        self._refusals: dict[str, str] = {}
        self._simulation = Simulation(api, clock=clock, rng=random.Random(seed), speed=speed)
        self._pods = PodSimulator(self._simulation) if pods else None
        if tekton:
            TektonSimulator(self._simulation, Bundles(self._bundles, self._refusals))

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        async with self._simulation.running():
            if self._pods is not None:
                await self._pods.ensure_node()
            yield

    async def play(self, situation: Situation, *, namespace: str, bundle: str) -> Object:
        """What was written, normalised. The namespace is there already; raises NeverOver."""
        registry = bundle.partition("/")[0]
        if situation.refusal:
            self._refusals[bundle] = situation.refusal.replace(f"{REGISTRY}/", f"{registry}/")
        if not situation.missing:
            self._bundles[bundle] = [situation.pipeline_at(registry)]
        stage = Stage(self._api, situation, namespace=namespace, bundle=bundle, clock=self._clock, speed=self._speed)
        return await stage.play()

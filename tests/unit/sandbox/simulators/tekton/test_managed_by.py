"""Runs of another controller (spec.managedBy) are none of Tekton's business: as documented for Tekton 1.12."""

from __future__ import annotations

import random

import pytest

from tests.support.embedded import embedded
from wfe_controller.api import names
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.objects import ObjectKey, Resource
from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton.kinds import crds
from wfe_controller.sandbox.simulators.tekton.resolver import Bundles
from wfe_controller.sandbox.simulators.tekton.simulator import TektonSimulator


@pytest.mark.looptime
@pytest.mark.parametrize("resource", [names.PIPELINERUNS, names.TASKRUNS], ids=lambda resource: resource.kind)
async def test_only_what_is_tektons_gets_a_status(resource: Resource) -> None:
    spec = {
        names.PIPELINERUNS: {"pipelineRef": {"name": "there-is-none"}},
        names.TASKRUNS: {"taskSpec": {"steps": [{"name": "act", "image": "busybox:1"}]}},
    }[resource]
    managers = {"nobodys": {}, "tektons": {"managedBy": "tekton.dev/pipeline"}, "anothers": {"managedBy": "a.com/b"}}
    async with embedded(random.Random(1), crds=crds()) as place:
        await place.namespace("play")
        simulation = Simulation(place.api, clock=place.clock, rng=random.Random(2))
        TektonSimulator(simulation, Bundles({}))
        async with simulation.running():
            for name, managed_by in managers.items():
                meta = {"name": name, "namespace": "play"}
                body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
                await place.api.create(resource, {**body, "spec": {**spec, **managed_by}}, lane=Lane.START)
            await place.clock.sleep(5)  # virtual
        keys = {name: ObjectKey("play", name) for name in managers}
        told = {name: "status" in await place.api.get(resource, key) for name, key in keys.items()}
    assert told == {"nobodys": True, "tektons": True, "anothers": False}

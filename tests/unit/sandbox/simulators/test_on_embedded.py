"""The recorded situations once more, on the embedded server and in virtual time: the pair that the sandbox runs.

Nothing here waits for real: half a minute of grace passes in milliseconds, and two runs of a test are the same.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import yaml

from hack.recordings.__main__ import RECORDINGS, path_of
from hack.recordings.company import Company
from hack.recordings.situations import SITUATIONS, Situation
from tests.support.embedded import Embedded, embedded
from wfe_controller.sandbox.simulators.tekton.kinds import crds

pytestmark = pytest.mark.looptime
NAMESPACE = "play"


@pytest.fixture
async def place() -> AsyncIterator[Embedded]:
    async with embedded(random.Random(7), crds=crds()) as found:
        await found.namespace(NAMESPACE)
        yield found


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
async def test_the_embedded_pair_writes_what_the_real_one_wrote(situation: Situation, place: Embedded) -> None:
    company = Company(place.api, clock=place.clock)
    async with company.playing():
        found = await company.play(situation, namespace=NAMESPACE, bundle=f"registry.invalid/{situation.name}:v1")
    recorded = yaml.safe_load((RECORDINGS / path_of(situation)).read_text())
    del recorded["about"]
    assert found == recorded

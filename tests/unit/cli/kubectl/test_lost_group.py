"""A custom kind's target as a lock shows it, without its group: what explain prints can be typed (SPEC 1.1, 12)."""

from __future__ import annotations

import random

import click
import pytest

from tests.support.embedded import embedded
from wfe_controller.api.crd import crd
from wfe_controller.api.names import TARGETLOCKS, lock_name
from wfe_controller.api.targets import parse_target
from wfe_controller.cli.kubectl.clearing import _find
from wfe_controller.cli.kubectl.reading import locks_of
from wfe_controller.cli.kubectl.session import Session
from wfe_controller.cli.kubectl.words import CommandLine
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.objects import Json, name_of

HOME = "kubernaut-system"


def lock(written: str) -> Json:
    target = parse_target(written).canonical
    metadata = {"name": lock_name(target), "namespace": HOME}
    kind = {"apiVersion": TARGETLOCKS.api_version, "kind": TARGETLOCKS.kind}
    return {**kind, "metadata": metadata, "spec": {"target": target}}


CUSTOM = lock("ingress.config.openshift.io/cluster")
BUILT_IN = lock("shop/deployment/web")


def test_locks_takes_what_it_shows_and_what_a_spec_says() -> None:
    both = [CUSTOM, BUILT_IN]
    assert locks_of(both, "ingress/cluster") == [CUSTOM]
    assert locks_of(both, "ingress.config.openshift.io/cluster") == [CUSTOM]
    assert locks_of(both, "shop/deploy/web") == [BUILT_IN]
    assert locks_of(both, name_of(BUILT_IN)) == [BUILT_IN]
    with pytest.raises(click.UsageError, match="has no namespace"):
        locks_of([], "deployment/web")


@pytest.mark.looptime
async def test_clear_block_takes_what_a_lock_shows() -> None:
    async with embedded(random.Random(4), crds=[crd(TARGETLOCKS.kind)]) as place:
        await place.namespace(HOME)
        await place.api.create(TARGETLOCKS, CUSTOM, lane=Lane.READ)
        session = Session(place.api, place.clock, "shop", HOME, "kubernaut-workflows", CommandLine())
        for written in ("ingress/cluster", "ingress.config.openshift.io/cluster"):
            found, _ = await _find(session, written)
            assert name_of(found) == name_of(CUSTOM)
        with pytest.raises(click.UsageError, match="has no namespace"):
            await _find(session, "deployment/web")

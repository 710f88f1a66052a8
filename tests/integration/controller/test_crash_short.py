"""The short form of the crash suite: the four most telling points; ``make crash`` is the full one.

Two replicas with leases of 3/2/0.5 s on real Tekton; the observer is a process of its own, with watches of its own and
the API server's audit log.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from hack.crash.replicas import Site, Watcher
from hack.crash.scene import play
from hack.crash.stories import DELETE, DELETE_EARLY, SUCCESS, SUCCESSOR, Story
from hack.crash.work import bundle


@pytest.fixture(scope="module")
def watcher(plane: Plane) -> Iterator[Watcher]:
    started = Watcher(plane)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def site(plane: Plane) -> Iterator[Site]:
    started = Site(plane, f"crash-{uuid.uuid4().hex[:6]}").start()
    yield started
    started.stop()
    assert started.complaints() == []


@pytest.mark.parametrize(
    ("story", "point", "moment", "action"),
    [
        # The end is two writes: whoever dies between verdict and record leaves a hold that its successor settles.
        pytest.param(SUCCESS, "update-targetlocks-status-settle", "before", "kill", id="killed-between-end-and-record"),
        # Frozen behind the write gate while the other leads to the end and the next run acts under the same name.
        pytest.param(SUCCESSOR, "patch-pipelineruns-start", "sending", "stop", id="a-start-that-comes-too-late"),
        # Created, and nobody was told: found again by its name and owner; deleted meanwhile, it must never start.
        pytest.param(DELETE_EARLY, "create-pipelineruns", "after", "kill", id="deleted-before-its-run-was-known"),
        pytest.param(DELETE, "patch-pipelineruns-cancelledrunfinally", "after", "lose", id="cancelled-unheard"),
    ],
)
def test_one_write_goes_wrong_and_all_that_is_promised_holds(
    plane: Plane, kubelet: Kubelet, site: Site, watcher: Watcher, story: Story, point: str, moment: str, action: str
) -> None:
    """SPEC 2.4, 2.5, 13: never two live runs, one start, history = what was seen, everything ended, nothing locked."""
    bundles = {word: bundle(plane, word) for word in (story.behaviour, story.successor) if word}
    outcome = play(site, watcher, story, bundles, point, moment, action)
    assert outcome.hits == 1, "the failpoint was never hit"
    assert outcome.wrong == []


def test_an_observer_without_the_audit_log_trusts_nothing(plane: Plane, tmp_path: Path) -> None:
    """Issue 4, point 5: of two witnesses one is missing. The watches alone would call everything well."""
    lonely = Watcher(plane, tmp_path / "audit.log")
    try:
        answer = lonely.ask(targets=["ops/deployment/any"])
    finally:
        lonely.stop()
    assert any("the audit log cannot be read" in why for why in answer["blind"])

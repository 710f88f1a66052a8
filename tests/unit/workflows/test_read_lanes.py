"""A finished run is not held up by those that start: the reads before a terminal write go in its lane."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.shell import running, snapshot, wfe
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.objects import Json
from wfe_controller.workflows.reader import _lane

PENDING: Json = {"spec": {"status": "PipelineRunPending"}}
STARTED: Json = {"spec": {}}


@pytest.mark.parametrize(
    ("status", "run", "lane"),
    [
        pytest.param({}, None, Lane.READ, id="not-begun"),
        pytest.param(running(), PENDING, Lane.READ, id="not-started-yet"),
        pytest.param(running(), None, Lane.READ, id="its-run-not-seen-yet"),
        pytest.param(running(), STARTED, Lane.TERMINAL, id="it-runs-or-has-ended"),
        pytest.param({"phase": "Completed"}, STARTED, Lane.RELEASE, id="to-be-let-go"),
    ],
)
def test_reads_take_the_lane_of_what_they_are_for(status: Json, run: Json | None, lane: Lane) -> None:
    """With 20 requests a second and a burst of 60, an ended run waited 26 s for its status."""
    seen = dataclasses.replace(snapshot(wfe(status)), cached_run=run)
    assert _lane(seen) is lane

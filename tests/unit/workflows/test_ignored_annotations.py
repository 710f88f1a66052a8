"""Annotations that look like a wish and are none: said, not passed over in silence (SPEC 2.5, 12)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.bench import Bench
from tests.support.shell import UID, acts, committed, decide, lock, run, running, snapshot, task_run, wfe, working
from wfe_controller.api import names
from wfe_controller.api.conditions import get_condition
from wfe_controller.workflows.plan import Input, StartRun, Stop


@pytest.mark.parametrize("value", ["false", " False ", "OFF", "0", "no", "No", "n"])
def test_a_cancel_that_says_no_cancels_nothing(value: str) -> None:
    """Somebody writes ``cancel=false`` to take a cancellation back, or from a template; the run was cancelled.
    ``cancel=no`` came later: it says the same, and ended a run as one "cancelled: no"."""
    seen = snapshot(
        wfe(running(), finalizer=True, annotations={"kubernaut.ai/cancel": value}), 5, cached_run=run(working())
    )
    assert seen.cancel_reason is None
    assert "cancels nothing" in seen.cancel_ignored
    step, _, _ = decide(seen)
    assert all(c["type"] != "Cancelling" for c in committed(step).get("conditions", []))


@pytest.mark.parametrize("value", ["", "wrong target", "true", "not needed any more", "no pods left", "false alarm"])
def test_every_other_cancel_is_a_reason(value: str) -> None:
    """SPEC 12: the value is the reason. An empty one is a wish without a reason: ending is the safe direction."""
    seen = snapshot(wfe(running(), annotations={"kubernaut.ai/cancel": value}))
    assert (seen.cancel_reason, seen.cancel_ignored) == (value, "")


@pytest.mark.parametrize("value", ["True", "yes", "1", "", "false"])
def test_a_pause_that_pauses_nothing_says_so_in_status(value: str) -> None:
    """``pause=True``: nothing was paused, and nothing said so. SPEC 12 has one word, "true"."""
    obj = wfe(running(), finalizer=True, annotations={"kubernaut.ai/pause": value})
    step, _, _ = decide(snapshot(obj, 5, cached_run=run(pending=True)), {Input.LOCK: lock(UID)})
    assert isinstance(acts(step), StartRun)
    seen = snapshot(obj, 6, cached_run=run(working()), cached_task_runs=(task_run(),))
    step, _, _ = decide(seen)
    status = committed(step)
    said = get_condition(status["conditions"], "Paused")
    assert said is not None
    assert (said["status"], said["reason"]) == ("False", "AnnotationIgnored")
    assert "pauses nothing" in said["message"]
    again, _, _ = decide(
        snapshot({**obj, "status": status}, 7, cached_run=run(working()), cached_task_runs=(task_run(),))
    )
    assert isinstance(again, Stop), "said once"


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({"kubernaut.ai/pause": "yes"}, 1),
        ({"kubernaut.ai/cancel": "false"}, 1),
        ({"kubernaut.ai/pause": "true"}, 0),
        ({}, 0),
    ],
)
async def test_a_warning_tells_it(annotations: dict[str, Any], told: int) -> None:
    bench = Bench()
    key = bench.create(wfe(annotations=annotations))
    await bench.reconcile(key)
    assert [reason for _, reason in bench.told.events].count("AnnotationIgnored") == told


async def test_a_phase_of_nobody_is_told_once() -> None:
    """An operator has to find out who writes it: nothing else will ever change that object."""
    bench = Bench()
    key = bench.create(wfe())
    await bench.reconcile(key)
    bench.set_status(*_astray(bench))
    for _ in range(3):
        await bench.reconcile(key)
    assert [reason for _, reason in bench.told.events].count("IllegalTransition") == 1
    assert bench.status(key)["phase"] == "Planning"


def _astray(bench: Bench) -> Any:
    (obj,) = bench.server.all(names.WORKFLOWEXECUTIONS)
    return names.WORKFLOWEXECUTIONS, obj, {**obj["status"], "phase": "Planning"}

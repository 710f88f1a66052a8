"""The keeper's answer to clear-block (SPEC 7): what is not acted on is said, and stays to be corrected."""

from __future__ import annotations

import pytest

from tests.support.bench import Bench
from tests.support.shell import TARGET, at
from tests.support.stepping import HOME
from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json, ObjectKey

LOCK = ObjectKey(HOME, names.lock_name(TARGET))
EXHAUSTED: Json = {
    "lastExecution": {
        "uid": "uid-last",
        "name": "cart-0",
        "workflowId": "restart",
        "outcome": "Failed",
        "completedAt": rfc3339(at(0)),
        "releasedAt": rfc3339(at(0)),
    },
    "workflows": [{"workflowId": "restart", "consecutiveFailures": 5, "lastFailureAt": rfc3339(at(0))}],
    "clearances": [{"by": "ann", "at": rfc3339(at(-60)), "reason": "checked last week", "verified": False}],
}


@pytest.mark.parametrize(
    ("value", "why"), [("true", "looked at it twice"), ("uid-last", "short")], ids=["not-a-uid", "no-reason"]
)
async def test_a_wrong_request_after_an_earlier_clearance_is_not_swallowed(value: str, why: str) -> None:
    """The target was cleared last week and is exhausted now; a tired person annotates nonsense: the annotations
    vanished without a word and nothing was cleared."""
    bench = Bench()
    meta = {
        "name": LOCK.name,
        "namespace": LOCK.namespace,
        "annotations": {
            names.ANNOTATION_CLEAR_BLOCK: value,
            names.reason(names.ANNOTATION_CLEAR_BLOCK): why,
        },
    }
    made = bench.server.create(names.TARGETLOCKS, {"metadata": meta, "spec": {"target": TARGET}})
    bench.set_status(names.TARGETLOCKS, made, EXHAUSTED)
    await bench.keep(LOCK)
    assert (LOCK.name, "ClearBlockRefused") in bench.told.events
    obj = bench.server.objects[names.TARGETLOCKS][LOCK]
    assert names.ANNOTATION_CLEAR_BLOCK in obj["metadata"]["annotations"]
    assert bench.lock_status(TARGET)["workflows"]

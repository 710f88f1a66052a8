"""What holds the next execution back, with the limits that these tests set while the controller runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.cluster import CONFIG, Controller
from tests.support.eventually import eventually
from tests.support.workloads import Workloads, step, task, workflow

QUICK = workflow(task("one", step("true")))
SHORT = {
    "cooldownPeriod": "15s",
    "baseCooldownPeriod": "2s",
    "maxCooldownPeriod": "3s",
    "maxConsecutiveFailures": 3,
}


@pytest.fixture(scope="module", autouse=True)
def short(controller: Controller) -> Iterator[None]:
    """P:U4: the ConfigMap changes under the replicas that run; no pod is made anew for it."""
    execution: dict[str, Any] = CONFIG["execution"]
    before = [pod["metadata"]["uid"] for pod in controller.pods()]
    controller.reconfigure({**CONFIG, "execution": {**execution, **SHORT}})
    assert [pod["metadata"]["uid"] for pod in controller.pods()] == before
    yield
    controller.reconfigure(CONFIG)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_cooldown(wfe: Workloads) -> None:
    """SPEC 2.1, 2.2: after a success the same workflow waits; another one on this target, and this one elsewhere, do
    not. When the time is over it runs again."""
    target = wfe.target()
    assert wfe.finish(QUICK, target)["phase"] == "Completed"
    second = wfe.finish(QUICK, target)
    assert (second["phase"], second["skipDetails"]["reason"]) == ("Skipped", "RecentlyRemediated")
    assert wfe.finish(QUICK, target, workflow="another")["phase"] == "Completed"
    assert wfe.finish(QUICK)["phase"] == "Completed"
    (until,) = (
        entry["cooldownUntil"] for entry in wfe.lock_status(target)["workflows"] if entry["workflowId"] == "restart"
    )

    def again() -> dict[str, Any] | None:
        status = wfe.finish(QUICK, target)
        return status if status["phase"] == "Completed" else None

    third = eventually(again, 60, what="the cooldown to be over")
    assert third is not None
    assert instant(third["startTime"]) >= instant(until)


def test_backoff_and_exhausted_retries(wfe: Workloads) -> None:
    """BR-WE-012: a bundle that is not there fails before anything starts; each time the pause is longer, and after the
    third nothing runs any more, not even a good bundle, however long it waits, until a person says so."""
    target = wfe.target()
    ends: Counter[str] = Counter()
    pauses = []

    def exhausted() -> bool:
        name = wfe.create(target, f"{wfe.plane.registry}/no/such:bundle")
        status = wfe.await_phase(name, timeout=60)
        details = status.get("failureDetails") or status["skipDetails"]
        ends[details["reason"]] += 1
        if status["phase"] == "Failed":
            wfe.await_released(name)
            (entry,) = wfe.lock_status(target)["workflows"]
            pauses.append((instant(entry["nextAllowedExecution"]) - instant(entry["lastFailureAt"])).total_seconds())
        return bool(details["reason"] == "ExhaustedRetries")

    eventually(exhausted, 90, on_failure=lambda: (ends, wfe.lock_status(target)))
    assert set(ends) <= {"ConfigurationError", "RecentlyRemediated", "ExhaustedRetries"}
    assert ends["ConfigurationError"] == 3
    assert pauses[:2] == [2.0, 3.0]
    (entry,) = wfe.lock_status(target)["workflows"]
    assert entry["consecutiveFailures"] == 3
    refused = wfe.finish(QUICK, target)
    assert refused["skipDetails"]["reason"] == "ExhaustedRetries"
    assert wfe.finish(QUICK, target, workflow="another")["phase"] == "Completed"
    assert wfe.finish(QUICK, target)["skipDetails"]["reason"] == "ExhaustedRetries"
    wfe.clear_block(target)
    eventually(lambda: not wfe.failures(target), what="the streak to be cleared")
    assert wfe.finish(QUICK, target)["phase"] == "Completed"

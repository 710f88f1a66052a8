"""Asked last, about everything that the other tests of this tier made the controller do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hack.controlplane import Plane
from hack.controlplane.plane import REPOSITORY
from tests.support.cluster import CONTROLLER_USER, Controller
from wfe_controller.app.rights import RIGHTS, Place, Right

NAMESPACES = {Place.HOME: "kubernaut-system", Place.EXECUTION: "kubernaut-workflows", Place.CLUSTER: ""}
# Granted, but not needed by anything that these tests do.
JUSTIFIED = {
    "patch events (watched)": "repeats of an Event are counted by one write when ten minutes are over",
    "patch events (controller)": "the same for the Events of a lock",
    "get namespaces (cluster)": "doctor tells a missing namespace from a missing right",
}


def test_the_api_server_never_had_to_refuse_the_controller(cluster: Plane, controller: Controller) -> None:
    """Issue 4, rights: not one request of the controller was forbidden by RBAC, and none was answered 403 for any other
    reason but that its namespace is going away."""
    events = cluster.audit(user=CONTROLLER_USER)
    assert len(events) > 50, "the audit log does not hold the controller's requests"
    refused: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision", "")
        answer = event.get("responseStatus", {})
        going = "because it is being terminated" in answer.get("message", "")
        if decision == "forbid" or (answer.get("code") == 403 and not going):
            refused[(event["verb"], event["requestURI"].partition("?")[0], answer.get("message", ""))] += 1
    assert not refused


def test_every_right_is_used_or_justified(
    cluster: Plane, controller: Controller, request: pytest.FixtureRequest
) -> None:
    """Issue 4, rights: what nobody needs is not granted. How often each was used is left in .work/e2e-rights.txt."""
    here = Path(__file__).parent
    collected = {item.path for item in request.session.items}
    if not set(here.glob("test_*.py")) <= collected or request.config.getoption("keyword"):
        pytest.skip("only the whole tier says what is used")
    used: Counter[tuple[str, ...]] = Counter()
    for event in cluster.audit(user=CONTROLLER_USER):
        if reference := event.get("objectRef"):
            request_for = (reference.get("apiGroup", ""), reference["resource"], reference.get("subresource", ""))
            used[(*request_for, event["verb"], reference.get("namespace", ""))] += 1

    def uses(right: Right) -> int:
        wanted = (right.resource.group, right.resource.plural, right.subresource, right.verb)
        return sum(
            count
            for (*asked, place), count in used.items()
            if tuple(asked) == wanted and (right.place is Place.WATCHED or place == NAMESPACES[right.place])
        )

    counts = {f"{right} ({right.place})": uses(right) for right in RIGHTS}
    (REPOSITORY / ".work").mkdir(exist_ok=True)
    lines = (
        f"{count:8} {right}{f': {JUSTIFIED[right]}' if right in JUSTIFIED else ''}" for right, count in counts.items()
    )
    (REPOSITORY / ".work" / "e2e-rights.txt").write_text("\n".join(lines) + "\n")
    assert set(JUSTIFIED) <= set(counts), "a right is justified that does not exist"
    assert not {right for right, count in counts.items() if not count} - set(JUSTIFIED)


def test_no_replica_ever_crashed(controller: Controller) -> None:
    """A container starts again when its lease could not be renewed (the API server was away), for nothing else."""
    assert set(controller.ends()) <= {"lost leadership"}

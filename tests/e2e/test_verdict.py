"""Asked last, about everything that the other tests of this tier made the controller do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hack.controlplane import Plane
from tests.support.cluster import CONTROLLER_USER, Controller
from wfe_controller.app.rights import RIGHTS, Place, Right

NAMESPACES = {Place.HOME: "kubernaut-system", Place.EXECUTION: "kubernaut-workflows", Place.CLUSTER: ""}
# Granted, but not needed by anything that these tests do.
JUSTIFIED = {
    "patch events (watched)": "an Event that comes again within ten minutes is counted, not repeated",
    "patch events (controller)": "the same for the Events of a lock",
    "delete targetlocks.kubernaut.ai (controller)": "a record goes when it has nothing left to say, hours later",
    "get namespaces (cluster)": "doctor tells a missing namespace from a missing right",
    "get taskruns.tekton.dev (execution)": "no use found; a candidate for removal",
    "get pods (execution)": "no use found; a candidate for removal",
}


def test_the_api_server_never_had_to_refuse_the_controller(cluster: Plane, controller: Controller) -> None:
    """Issue 4, rights: not one request of the controller was forbidden by RBAC."""
    events = cluster.audit(user=CONTROLLER_USER)
    assert len(events) > 50, "the audit log does not hold the controller's requests"
    refused: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            refused[(event["verb"], event["requestURI"].partition("?")[0])] += 1
    assert not refused


def test_every_right_is_used_or_justified(
    cluster: Plane, controller: Controller, request: pytest.FixtureRequest
) -> None:
    """Issue 4, rights: what nobody needs is not granted."""
    here = Path(__file__).parent
    collected = {item.path for item in request.session.items}
    if not set(here.glob("test_*.py")) <= collected or request.config.getoption("keyword"):
        pytest.skip("only the whole tier says what is used")
    used = {
        (
            reference.get("apiGroup", ""),
            reference["resource"],
            reference.get("subresource", ""),
            event["verb"],
            reference.get("namespace", ""),
        )
        for event in cluster.audit(user=CONTROLLER_USER)
        if (reference := event.get("objectRef"))
    }

    def is_used(right: Right) -> bool:
        wanted = (right.resource.group, right.resource.plural, right.subresource, right.verb)
        somewhere = {place for *request, place in used if tuple(request) == wanted}
        return bool(somewhere if right.place is Place.WATCHED else somewhere & {NAMESPACES[right.place]})

    unused = {f"{right} ({right.place})" for right in RIGHTS if not is_used(right)}
    assert not unused - set(JUSTIFIED)


def test_no_replica_ever_crashed(controller: Controller) -> None:
    """A container starts again when its lease could not be renewed (the API server was away), for nothing else."""
    assert set(controller.ends()) <= {"lost leadership"}

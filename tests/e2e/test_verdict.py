"""Asked last, about everything that the other tests of this tier made the controller do."""

from __future__ import annotations

from collections import Counter

from hack.controlplane import Plane
from tests.support.cluster import CONTROLLER_USER, Controller


def test_the_api_server_never_had_to_refuse_the_controller(cluster: Plane, controller: Controller) -> None:
    """Issue 4, rights: not one request of the controller was forbidden by RBAC."""
    events = cluster.audit(user=CONTROLLER_USER)
    assert len(events) > 50, "the audit log does not hold the controller's requests"
    refused: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            refused[(event["verb"], event["requestURI"].partition("?")[0])] += 1
    assert not refused


def test_no_replica_ever_crashed(controller: Controller) -> None:
    """A container starts again when its lease could not be renewed (the API server was away), for nothing else."""
    assert set(controller.ends()) <= {"lost leadership"}

"""One controller per module, run with the token of its own service account under exactly the shipped RBAC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support import planes
from tests.support.executions import Executions
from tests.support.replicas import ControllerProcess, Controllers

FAST = {
    "execution": {"pollInterval": "2s", "sweepInterval": "2s", "cooldownPeriod": "0s", "runRetention": "60s"},
    "client": {"qps": 0},
}
"""No cooldown unless a test is about it; a sweep often enough that a test can wait for one."""


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    """Keys of the section ``execution`` beyond FAST; modules override this fixture."""
    return {}


@pytest.fixture(scope="module")
def controller(
    plane: Plane, controller_kubeconfig: Path, execution_settings: dict[str, Any], request: pytest.FixtureRequest
) -> Iterator[ControllerProcess]:
    started = Controllers(plane, controller_kubeconfig, request.path.stem)
    config = {**FAST, "execution": {**FAST["execution"], **execution_settings}}  # type: ignore[dict-item]
    try:
        yield started(config)
    finally:
        started.stop()


@pytest.fixture
def wfe(plane: Plane, controller: ControllerProcess, kubelet: Kubelet, namespace: str) -> Executions:
    """Executions in a namespace of the test's own, with a controller and a kubelet at work."""
    return Executions(plane, namespace)


@pytest.fixture(scope="session")
def bare_plane(plane_kind: planes.Kind) -> Iterator[Plane]:
    """A plane that starts without Tekton and without our CRDs, for tests that bring, leave out or loosen them."""
    plane = planes.start(plane_kind, "-bare", tekton=False)
    try:
        for name in ("kubernaut-system", "kubernaut-workflows"):
            plane.ensure_namespace(name)
        yield plane
    finally:
        planes.stop(plane)

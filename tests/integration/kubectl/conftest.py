"""kubectl wfe against a real server: one controller per module, its commands run as an operator runs them.

Nothing but the kubeconfig of the fixture is used to reach the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.executions import Executions
from tests.support.plugin import Plugin
from tests.support.replicas import ControllerProcess, Controllers

FAST: dict[str, Any] = {
    "pollInterval": "2s",
    "sweepInterval": "2s",
    "cooldownPeriod": "0s",
    "runRetention": "120s",
    "resolutionTimeout": "10s",
    "startTimeout": "12s",
    "startDeadline": "60s",
    "createRetryTimeout": "40s",
    "cancelFinallyTimeout": "3s",
    "cancelTimeout": "6s",
    "cancelDeadline": "12s",
    "baseCooldownPeriod": "25s",
}


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    """Keys of the section ``execution`` beyond FAST; modules override this fixture."""
    return {}


def config(settings: dict[str, Any]) -> dict[str, Any]:
    return {"execution": {**FAST, **settings}, "client": {"qps": 0}}


@pytest.fixture(scope="module")
def controller(
    plane: Plane, controller_kubeconfig: Path, execution_settings: dict[str, Any], request: pytest.FixtureRequest
) -> Iterator[ControllerProcess]:
    started = Controllers(plane, controller_kubeconfig, f"kubectl-{request.path.stem}")
    try:
        yield started(config(execution_settings))
    finally:
        started.stop()


@pytest.fixture
def executions(plane: Plane, kubelet: Kubelet, namespace: str) -> Executions:
    """Executions in a namespace of the test's own, a kubelet at work; nobody said that a controller is."""
    return Executions(plane, namespace)


@pytest.fixture
def wfe(executions: Executions, controller: ControllerProcess) -> Executions:
    """The same with the module's controller at work."""
    return executions


@pytest.fixture
def kubectl(plane: Plane, tmp_path: Path, namespace: str) -> Plugin:
    """The administrator with the plugin on PATH."""
    return Plugin(tmp_path / "bin", plane.kubectl_path, plane.kubeconfig, namespace)

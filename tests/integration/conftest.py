"""The plane of the integration tier: one per test session.

It is stopped at the end of the session, or at the start of the next one when the session was killed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import BinariesMissing, Plane
from hack.controlplane.binaries import complete
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import planes_root, sweep
from tests.support.replicas import Controllers, install_rights

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "manifests" / "crds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs the plane; no file has to say so again."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if not complete():  # whoever calls pytest without make builds the servers inside the first test
                item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """A real control plane with Tekton, and our CRDs where they have been generated.

    Without one the tier is skipped with the remedy, or fails where REQUIRE_TIERS=1 (CI).
    """
    sweep()
    name = f"pytest-{os.getpid()}"
    manifests = [path for path in sorted(CRDS.glob("*.yaml")) if path.name != "kustomization.yaml"]
    try:
        plane = Plane.start(planes_root() / name, manifests=manifests, owner_pid=os.getpid())
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"the integration tier is required here: {missing}")
        pytest.skip(f"no control plane: {missing}")
    try:
        plane.ensure_namespace("kubernaut-system")
        plane.ensure_namespace("kubernaut-workflows")
        yield plane
    finally:
        plane.stop(keep=os.environ.get("KEEP_PLANE") == "1")


@pytest.fixture(scope="session")
def _kubelet(plane: Plane) -> Iterator[Kubelet]:
    kubelet = Kubelet(plane.kubeconfig).start()
    yield kubelet
    kubelet.stop()


@pytest.fixture
def kubelet(_kubelet: Kubelet) -> Iterator[Kubelet]:
    """Plays every pod of the plane; rules given to ``behave`` and hanging pods end with the test."""
    yield _kubelet
    _kubelet.reset()


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """A namespace of the test's own, deleted afterwards (the deletion is not waited for)."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    plane.ensure_namespace(name)
    yield name
    plane.client.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def controller_kubeconfig(plane: Plane) -> Path:
    """A token of the controller's own service account, which has the generated RBAC and nothing else."""
    return install_rights(plane)


@pytest.fixture
def controllers(plane: Plane, controller_kubeconfig: Path) -> Iterator[Controllers]:
    """``controllers()`` starts one more ``wfe-controller run``; all are stopped with the test."""
    started = Controllers(plane, controller_kubeconfig, f"wfe-{uuid.uuid4().hex[:6]}")
    yield started
    started.stop()

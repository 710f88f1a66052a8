"""The planes of the integration tier: one of real servers per test session, then an embedded one.

``--planes real`` or ``--planes embedded`` chooses one of them; the same tests run on both, with the same controller
process and the same kubectl. What cannot run on the embedded one is listed in tests/support/planes.py. A plane is
stopped when its tests are over, or at the start of the next session when this one was killed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane
from hack.controlplane.binaries import complete
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import sweep
from tests.support import planes
from tests.support.playedpods import PlayedPods
from tests.support.replicas import Controllers, install_rights

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "manifests" / "crds"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that needs a plane runs on each, first all of them on the one, then all on the other."""
    if "plane_kind" in metafunc.fixturenames:
        kinds = planes.chosen(metafunc.config.getoption("--planes"))
        metafunc.parametrize("plane_kind", kinds, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs the plane; no file has to say so again."""
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.integration)
        if not complete():  # whoever calls pytest without make builds the servers inside the first test
            item.add_marker(pytest.mark.timeout(3600))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            name = f"{item.path.relative_to(here)}::{item.originalname}"
            if item.callspec.params.get("plane_kind") == "embedded" and name in planes.NOT_EMBEDDED:
                item.add_marker(pytest.mark.skip(reason=f"not on the embedded plane: {planes.NOT_EMBEDDED[name]}"))


@pytest.fixture(scope="session")
def plane(plane_kind: planes.Kind) -> Iterator[Plane]:
    """A control plane with Tekton and our CRDs: real servers, or the embedded ones (tests/support/planes.py)."""
    sweep()
    manifests = [path for path in sorted(CRDS.glob("*.yaml")) if path.name != "kustomization.yaml"]
    plane = planes.start(plane_kind, manifests=manifests)
    try:
        plane.ensure_namespace("kubernaut-system")
        plane.ensure_namespace("kubernaut-workflows")
        yield plane
    finally:
        planes.stop(plane)


@pytest.fixture(scope="session")
def _kubelet(plane: Plane) -> Iterator[Kubelet | PlayedPods]:
    kubelet = planes.kubelet(plane).start()
    yield kubelet
    kubelet.stop()


@pytest.fixture
def kubelet(_kubelet: Kubelet | PlayedPods) -> Iterator[Kubelet | PlayedPods]:
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

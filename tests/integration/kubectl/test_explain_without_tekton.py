"""explain on a cluster without Tekton: it says so, and the command that installs it ends the wait.

The command fetches Tekton's release from the network; here the same objects come from a file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane
from hack.controlplane.binaries import TEKTON_OBJECTS, cache_dir
from tests.support import planes
from tests.support.commands import REPOSITORY
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION, HOME, Executions
from tests.support.plugin import Plugin
from tests.support.replicas import Controllers, install_rights
from wfe_controller.cli.kubectl.explain.waiting import TEKTON_RELEASE


@pytest.fixture
def without_tekton(plane_kind: planes.Kind) -> Iterator[Plane]:
    manifests = [
        REPOSITORY / f"manifests/crds/kubernaut.ai_{kind}.yaml" for kind in ("workflowexecutions", "targetlocks")
    ]
    plane = planes.start(plane_kind, "-kubectl", tekton=False, manifests=manifests)
    try:
        for name in (HOME, EXECUTION):
            plane.ensure_namespace(name)
        yield plane
    finally:
        planes.stop(plane)


def test_tekton_is_missing_and_comes(without_tekton: Plane, tmp_path: Path) -> None:
    plane = without_tekton
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    plane.ensure_namespace(namespace)
    wfe = Executions(plane, namespace)
    kubectl = Plugin(tmp_path / "bin", plane.kubectl_path, plane.kubeconfig, namespace)
    controllers = Controllers(plane, install_rights(plane), "without-tekton")
    try:
        controllers({"controller": {"requireTekton": False}})
        name = wfe.create(wfe.target(), "registry.example.com/wf/restart:v1")
        told = kubectl.await_situation(name, "engine-unavailable")
        assert told["headline"] == "waits for the tekton engine, which is not there"
        assert "Tekton's kinds are not served by this cluster" in told["evidence"]
        assert any("PipelineRun" in line and "not served" in line for line in told["unread"])
        assert told["endsAt"] == wfe.status(name)["deadlineAt"]
        doctor = kubectl("doctor")
        assert "warn  tekton" in doctor.stdout
        command = told["next"]["command"]
        assert command == f"kubectl apply --server-side -f {TEKTON_RELEASE}"
        objects = json.loads((cache_dir() / TEKTON_OBJECTS).read_text())
        release = tmp_path / "release.json"
        release.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        installed = kubectl.shell(command.replace(TEKTON_RELEASE, str(release)))
        assert installed.code == 0, installed
        # Its kinds are there, its controller is not: the run exists and nothing starts it.
        told = kubectl.await_situation(name, "starting", timeout=90)
        assert (told["waitingFor"], told["holder"]["name"]) == ("its first pod to start", name)
        assert told["changed"] == "nothing yet: no step has started"
        cancelled = kubectl("cancel", name, "--reason", "the test is over")
        assert cancelled.code == 0
        eventually(lambda: kubectl.explain(name)["situation"] != "starting")
    finally:
        controllers.stop()

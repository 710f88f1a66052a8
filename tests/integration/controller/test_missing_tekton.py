"""A cluster that lacks what the controller needs, and gets it later (SPEC 3 "Missing Tekton", P:W9).

The tests of this file share one plane, which only ever gains something; each brings what it needs.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane, tekton
from hack.controlplane.binaries import TEKTON_OBJECTS, cache_dir
from tests.support.commands import REPOSITORY, wfe_controller
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION, Executions
from tests.support.replicas import ControllerProcess, Controllers, install_rights
from tests.support.tekton import runs_path

IMAGE = "registry.example.com/wf/restart:v1"
READY = ("cache-workflowexecutions", "cache-targetlocks", "cache-pods", "rights", "crds", "engine-tekton", "config")


@pytest.fixture(scope="module")
def account(bare_plane: Plane) -> Path:
    return install_rights(bare_plane)


@pytest.fixture
def controllers(bare_plane: Plane, account: Path) -> Iterator[Controllers]:
    started = Controllers(bare_plane, account, f"late-{uuid.uuid4().hex[:6]}")
    yield started
    started.stop()


def test_missing_crds_are_told_with_the_command_that_brings_them(bare_plane: Plane, account: Path) -> None:
    """Exit 1; and the command in the message does what it says."""
    ended = wfe_controller("run", f"--kubeconfig={account}", "--no-require-tekton")
    assert ended.code == 1, ended.stderr
    said, _, remedy = ended.complaint.partition(" (")
    assert said == "workflowexecutions.kubernaut.ai is not served by the cluster: apply the CRDs first"
    ours, theirs = remedy.removesuffix(")").split(" | ")
    printed = subprocess.run(
        [sys.executable, "-m", *shlex.split(ours.replace("wfe-controller", "wfe_controller"))],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    ).stdout
    _, *arguments = shlex.split(theirs)
    bare_plane.kubectl(*arguments, input=printed, check=True)
    eventually(lambda: tekton.crds_established(bare_plane.client))


@pytest.fixture
def with_crds(bare_plane: Plane) -> Plane:
    for name in ("workflowexecutions", "targetlocks"):
        path = REPOSITORY / "manifests" / "crds" / f"kubernaut.ai_{name}.yaml"
        bare_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path), check=True)
    eventually(lambda: tekton.crds_established(bare_plane.client))
    return bare_plane


def test_required_tekton_that_is_missing_ends_the_start(with_crds: Plane, account: Path) -> None:
    """T68: the default of an installation with the tekton engine."""
    ended = wfe_controller("run", f"--kubeconfig={account}")
    assert ended.code == 1, ended.stderr
    assert ended.complaint == (
        "required dependency check failed: Tekton is not installed (tekton.dev/v1 pipelineruns is not served); "
        "install Tekton Pipelines, or start with --no-require-tekton"
    )


def checks(controller: ControllerProcess) -> dict[str, tuple[bool, str]]:
    """/readyz by check."""
    code, body = controller.get("/readyz?format=json")
    assert code in (200, 503)
    return {name: (check["ok"], check["why"]) for name, check in json.loads(body)["checks"].items()}


def test_late_tekton_is_used_without_a_restart(with_crds: Plane, controllers: Controllers) -> None:
    """P:W9: up without Tekton, objects wait without owning anything, and go on within 60 s of its CRDs."""
    plane = with_crds
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    plane.ensure_namespace(namespace)
    wfe = Executions(plane, namespace)
    controller = controllers({"controller": {"requireTekton": False}}, start=False)
    plane.processes.start(controller.name)
    eventually(lambda: controller.get("/healthz")[0] == 200)
    seen = eventually(lambda: all(checks(controller).get(name, (False,))[0] for name in READY) and checks(controller))
    assert seen["engine-tekton"][1].startswith("Tekton is not installed")
    assert controller.get("/readyz")[0] == 200, "not required, so a rollout must not hang on it"

    target = wfe.target()
    name = wfe.create(target, IMAGE)
    status = wfe.await_phase(name, "Pending")
    assert status["reason"] == "EngineUnavailable"
    assert status["message"].startswith("Tekton is not installed")
    assert wfe.condition(name, "Ready")["reason"] == "EngineUnavailable"
    assert wfe.lock(target) is None
    assert "finalizers" not in wfe.get(name)["metadata"]

    tekton.install(plane.client, cache_dir() / TEKTON_OBJECTS)
    wfe.await_phase(name, "Running", timeout=60)
    (run,) = wfe.runs(name)
    eventually(lambda: "status" not in plane.client.get(runs_path(EXECUTION, run["metadata"]["name"]))["spec"])
    assert wfe.lock_status(target)["holder"]["uid"] == wfe.get(name)["metadata"]["uid"]
    assert checks(controller)["engine-tekton"] == (True, "")
    created = {"resource": "pipelineruns", "verb": "create", "namespace": EXECUTION, "name": run["metadata"]["name"]}
    assert len(plane.audit(**created)) == 1
    assert controller.running

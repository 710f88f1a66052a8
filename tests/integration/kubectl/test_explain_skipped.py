"""explain of what was skipped: what stands in the way now, until when, and the ONE command that ends it."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME, Executions
from tests.support.plugin import Plugin
from tests.support.replicas import ControllerProcess
from tests.support.tekton import runs_path, task_spec


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    return {"cooldownPeriod": "40s", "startDeadline": "300s"}


def of(name: str) -> Any:
    return lambda pod: pod["metadata"]["annotations"].get("kubernaut.ai/workflow-execution") == name


@dataclass
class Orphan:
    """A run whose execution is gone, and one that comes to its target."""

    wfe: Executions
    kubectl: Plugin
    target: str
    lost: str
    skipped: str = ""
    watching: subprocess.Popen[str] | None = None

    def newcomer(self) -> tuple[dict[str, Any], subprocess.Popen[str]]:
        """What is said to it while the run lives, and the command that it is told, which goes on until the end."""
        self.skipped = self.skipped or self.wfe.create(self.target)
        told = self.kubectl.await_situation(self.skipped, "waiting-for-orphan")
        self.watching = self.kubectl.start(told["next"]["command"])
        return told, self.watching


@pytest.fixture(scope="module")
def orphan(
    plane: Plane,
    controller: ControllerProcess,
    _kubelet: Kubelet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Orphan]:
    """Its finalizer was taken off by hand. Made first and looked at last: its grace of a minute is not a setting."""
    namespace = f"test-orphan-{uuid.uuid4().hex[:6]}"
    plane.ensure_namespace(namespace)
    wfe = Executions(plane, namespace)
    kubectl = Plugin(tmp_path_factory.mktemp("orphan") / "bin", plane.kubectl_path, plane.kubeconfig, namespace)
    target = wfe.target()
    lost = wfe.create(target, "busybox:slow-3600")
    eventually(lambda: wfe.condition(lost, "TektonPipelineRunning"))
    plane.client.merge_patch(wfe.path(lost), {"metadata": {"finalizers": None}})
    wfe.delete(lost)
    eventually(lambda: wfe.gone(lost))
    found = Orphan(wfe, kubectl, target, lost)
    yield found
    if found.watching is not None:
        found.watching.kill()
        found.watching.communicate()
    plane.client.delete(f"/api/v1/namespaces/{namespace}")


def test_a_run_without_its_execution(orphan: Orphan) -> None:
    """While it runs: who has the target, and for what a newcomer waits. ``test_blocked_by_an_orphan`` sees the end."""
    kubectl = orphan.kubectl
    gone = kubectl.explain(orphan.lost)
    assert gone["situation"] == "gone-holding"
    assert gone["holder"]["name"] == orphan.lost
    assert "Held" in kubectl.follow(gone).stdout
    waiting, _ = orphan.newcomer()
    assert waiting["holder"]["name"] == orphan.lost
    assert waiting["headline"].endswith("which does not exist any more")


def test_busy(wfe: Executions, kubectl: Plugin, kubelet: Kubelet) -> None:
    target = wfe.target()
    holder = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(holder, "TektonPipelineRunning"))
    name = wfe.create(target, workflow="another")
    wfe.await_phase(name, "Skipped")
    told = kubectl.explain(name)
    assert told["situation"] == "busy"
    assert told["headline"] == f"was skipped: {holder} was working on its target"
    assert (told["holder"]["name"], told["holder"]["namespace"]) == (holder, wfe.namespace)
    assert told["waitingFor"] == f"{wfe.namespace}/{holder} to end"
    assert told["next"]["command"] == f"kubectl wfe watch {holder} -n {wfe.namespace}"
    refused = kubectl("retry", name)
    assert refused.code == 1
    assert refused.complaint.endswith(f"next: {told['next']['command']}")
    watching = kubectl.start(told["next"]["command"])
    try:
        assert watching.stdout is not None
        assert "Running" in watching.stdout.readline()
        kubelet.finish(of(holder))
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert (watching.returncode, "Completed" in out) == (0, True), err
    told = kubectl.explain(name)
    assert told["situation"] == "skipped"
    kubectl.follow(told)
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def test_cooldown(wfe: Executions, kubectl: Plugin) -> None:
    target = wfe.target()
    wfe.await_released(completed(wfe, target))
    name = wfe.create(target)
    wfe.await_phase(name, "Skipped")
    told = kubectl.explain(name)
    assert told["situation"] == "cooldown"
    assert "the same workflow had just succeeded there" in told["headline"]
    (entry,) = wfe.lock_status(target)["workflows"]
    assert told["allowedAt"] == entry["cooldownUntil"]
    refused = kubectl("retry", name)
    assert (refused.code, "cools down" in refused.complaint) == (1, True)
    said = kubectl.follow(told)
    assert told["allowedAt"].replace("T", " ") in said.stderr
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def completed(wfe: Executions, target: str) -> str:
    name = wfe.create(target)
    assert wfe.await_phase(name)["phase"] == "Completed"
    return name


def test_exhausted(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    target = wfe.target()
    first = wfe.create(target, f"{plane.registry}/no/such:bundle")
    wfe.await_phase(first, "Failed")
    eventually(lambda: wfe.lock_status(target).get("workflows"))
    lock = wfe.lock(target)
    assert lock is not None
    # Waiting through the backoff of five failures would prove no more than writing the streak as the controller does.
    lock["status"]["workflows"][0]["consecutiveFailures"] = 5
    plane.client.request("PUT", f"{API}/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}/status", lock)
    name = wfe.create(target)
    wfe.await_phase(name, "Skipped")
    told = kubectl.explain(name)
    assert told["situation"] == "exhausted"
    assert "failed 5 times in a row before its first step" in told["evidence"][0]
    assert f"the last one was {first} (Failed)" in told["evidence"]
    assert told["next"]["command"].startswith(f"kubectl wfe clear-block {target} ")
    kubectl.follow(told)
    told = kubectl.explain(name)
    assert told["situation"] == "skipped"
    kubectl.follow(told)
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def test_blocked_by_a_failure(wfe: Executions, kubectl: Plugin) -> None:
    target = wfe.target()
    first = wfe.create(target, "busybox:fail-1")
    wfe.await_phase(first, "Failed")
    name = wfe.create(target)
    wfe.await_phase(name, "Skipped")
    told = kubectl.explain(name)
    assert told["situation"] == "blocked-execution-failed"
    assert told["headline"] == f"was skipped: its target was blocked by {first}"
    assert told["evidence"][0] == f"now the target is blocked (ExecutionFailed) by {first}"
    assert "TaskFailed" in told["evidence"][1]
    assert told["since"] == wfe.lock_status(target)["block"]["since"]
    # The name of the execution does as well as the target.
    short = kubectl("clear-block", name, "--reason", "short")
    assert (short.code, "at least 10 characters" in short.complaint) == (2, True)
    kubectl.follow(told)
    assert kubectl.explain(name)["situation"] == "skipped"


def test_block_of_an_execution_that_is_gone(wfe: Executions, kubectl: Plugin) -> None:
    target = wfe.target()
    lost = wfe.create(target, "busybox:fail-2")
    wfe.await_phase(lost, "Failed")
    wfe.await_released(lost)
    wfe.delete(lost)
    eventually(lambda: wfe.gone(lost))
    told = kubectl.explain(lost)
    assert told["situation"] == "gone-blocking"
    assert told["target"] == target
    assert "exit code 2" in " ".join(told["evidence"]) or "TaskFailed" in " ".join(told["evidence"])
    said = kubectl("clear-block", lost, "--reason", "the deployment is as it was before")
    assert said.code == 0, said
    assert "block" not in wfe.lock_status(target)
    assert kubectl.explain(lost)["situation"] == "gone"


def test_run_of_somebody_else_under_our_name(wfe: Executions, kubectl: Plugin, plane: Plane, kubelet: Kubelet) -> None:
    """While it runs it is waited for; once it has ended it is deleted; then the execution is created again."""
    target = wfe.target()
    foreign = "wfe-" + hashlib.sha256(target.encode()).hexdigest()[:16]
    plane.client.create(
        runs_path(EXECUTION),
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": foreign, "namespace": EXECUTION},
            "spec": {"pipelineSpec": {"tasks": [{"name": "act", "taskSpec": task_spec("busybox:hang")}]}},
        },
    )
    eventually(lambda: [pod for pod in kubelet.hanging() if foreign in pod], what="its pod")
    name = wfe.create(target)
    wfe.await_phase(name, "Skipped")
    told = kubectl.explain(name)
    assert told["situation"] == "foreign-run"
    assert "not ours" in told["headline"]
    assert told["holder"] is None
    assert any("kubernaut.ai/workflow-execution-uid" in line for line in told["evidence"])
    assert told["next"]["command"].startswith(f"kubectl -n {EXECUTION} wait pipelinerun/{foreign} ")
    waiting = kubectl.start(told["next"]["command"])
    try:
        kubelet.finish(lambda pod: foreign in pod["metadata"]["name"])
        _, err = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
    assert waiting.returncode == 0, err
    told = kubectl.explain(name)
    assert told["next"]["command"] == f"kubectl -n {EXECUTION} delete pipelinerun {foreign}"
    kubectl.follow(told)
    told = kubectl.await_situation(name, "skipped")
    kubectl.follow(told)
    assert wfe.await_phase(f"{name}-r2", timeout=60)["phase"] == "Completed"


def test_blocked_by_an_orphan(orphan: Orphan) -> None:
    """The run was found and ended and the target blocked: the command that waited for it ends, and clearing helps."""
    watching = orphan.watching or orphan.newcomer()[1]
    out, err = watching.communicate(timeout=120)
    assert (watching.returncode, "Skipped" in out) == (0, True), err
    kubectl, name = orphan.kubectl, orphan.skipped
    assert orphan.wfe.phase(name) == "Skipped"
    told = kubectl.await_situation(name, "blocked-orphaned-run")
    assert told["next"]["command"].startswith(f"kubectl wfe clear-block {orphan.target} ")
    assert kubectl.explain(orphan.lost)["situation"] == "gone-blocking"
    kubectl.follow(told)
    assert kubectl.explain(name)["situation"] == "skipped"

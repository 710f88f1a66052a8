"""explain of what has ended: cause, evidence, what changed, and the ONE next command, which is run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, Executions, execution
from tests.support.plugin import REASON, Plugin
from tests.support.replicas import ControllerProcess
from tests.support.tekton import runs_path


@pytest.fixture(scope="module")
def execution_settings() -> dict[str, Any]:
    return {"startDeadline": "12s", "createRetryTimeout": "4s", "allowedServiceAccounts": ["special-runner"]}


@pytest.fixture(scope="module", autouse=True)
def overdue(plane: Plane, controller: ControllerProcess, _kubelet: Kubelet) -> Iterator[tuple[Executions, str]]:
    """One that does not end within the shortest time-out there is, a minute; the other tests run meanwhile."""
    namespace = f"test-overdue-{uuid.uuid4().hex[:6]}"
    plane.ensure_namespace(namespace)
    wfe = Executions(plane, namespace)
    _kubelet.behave(lambda pod: "slow:3600" if name_of_owner(pod) == "overdue" else None)
    body = execution(namespace, wfe.target(), wfe.bundle(), name="overdue", executionConfig={"timeout": "1m"})
    plane.client.create(f"{API}/namespaces/{namespace}/workflowexecutions", body)
    eventually(lambda: wfe.condition("overdue", "TektonPipelineRunning"))
    yield wfe, "overdue"
    plane.client.delete(f"/api/v1/namespaces/{namespace}")


def name_of_owner(pod: Any) -> Any:
    return pod["metadata"].get("annotations", {}).get("kubernaut.ai/workflow-execution")


def test_completed(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target())
    wfe.await_phase(name, "Completed")
    wfe.await_released(name)
    told = kubectl.explain(name)
    assert (told["situation"], told["changed"], told["holder"]) == ("completed", "1 task completed", None)
    assert told["since"] == wfe.status(name)["completionTime"]
    shown = kubectl.follow(told).stdout
    assert "Task remediate  Succeeded" in shown
    assert "Step act  Succeeded  exit code 0" in shown


def test_failed_with_an_exit_code(wfe: Executions, kubectl: Plugin) -> None:
    """The way back: clear the block, retry, completed."""
    target = wfe.target()
    name = wfe.create(target, "busybox:fail-3")
    wfe.await_phase(name, "Failed")
    wfe.await_released(name)
    told = kubectl.explain(name)
    assert told["situation"] == "failed-execution"
    assert told["headline"] == "failed in step act of task remediate with exit code 3 (TaskFailed)"
    assert any("exit code 3" in line and "-pod" in line for line in told["evidence"])
    assert any(line.startswith("now the target is blocked (ExecutionFailed)") for line in told["evidence"])
    assert "the state of the target is unknown" in told["changed"]
    assert "allowedAt" not in told, "never, until somebody clears it"
    assert told["next"]["command"] == f"kubectl wfe clear-block {target} --reason '<what you found on the target>'"
    said = kubectl.follow(told)
    assert said.stdout.strip() == f"{target} is cleared"
    assert wfe.status(name)["blockClearance"]["clearReason"] == REASON
    told = kubectl.explain(name)
    assert told["next"]["command"] == f"kubectl wfe retry {name} -n {wfe.namespace}"
    assert any(REASON in line for line in told["evidence"])
    assert f"{wfe.namespace}/{name}-r2 created" in kubectl.follow(told).stdout
    wfe.await_phase(f"{name}-r2", "Failed")
    assert wfe.get(f"{name}-r2")["metadata"]["annotations"]["kubernaut.ai/retry-of"] == name


def test_cancelled_before_anything_started(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    kubectl.await_situation(name, "paused")
    assert kubectl("cancel", name, "--reason", "not needed").code == 0
    told = kubectl.await_situation(name, "cancelled-before-start")
    assert "not needed" in told["evidence"][0]
    assert told["changed"] == "nothing: no step ever started"
    kubectl.follow(told)
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed", "the clone does not inherit pause and cancel"


def test_never_started(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    told = kubectl.await_situation(name, "never-started")
    assert "not started within" in told["evidence"][0]
    assert "paused" in told["evidence"][0]
    kubectl.follow(told)
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def test_run_deleted_by_somebody(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    name = wfe.create(wfe.target(), "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    (run,) = wfe.runs(name)
    plane.client.delete(runs_path(EXECUTION, run["metadata"]["name"]))
    wfe.await_phase(name, "Failed")
    wfe.await_released(name)
    told = kubectl.explain(name)
    assert told["situation"] == "run-deleted"
    assert "somebody deleted its PipelineRun" in told["headline"]
    assert " clear-block " in told["next"]["command"]
    kubectl.follow(told)
    assert " retry " in kubectl.explain(name)["next"]["command"]


def test_missing_service_account(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    config = {"serviceAccountName": "special-runner"}
    name = wfe.create(wfe.target(), executionConfig=config)
    wfe.await_phase(name, "Failed")
    told = kubectl.explain(name)
    assert told["situation"] == "missing-service-account"
    assert f"ServiceAccount {EXECUTION}/special-runner does not exist now either" in told["evidence"]
    assert told["next"]["command"] == f"kubectl -n {EXECUTION} create serviceaccount special-runner"
    try:
        kubectl.follow(told)
        told = kubectl.explain(name)
        assert told["situation"] == "failed-before-start"
        kubectl.follow(told)
        assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"
    finally:
        plane.client.delete(f"/api/v1/namespaces/{EXECUTION}/serviceaccounts/special-runner")


def test_spec_that_cannot_be_used(wfe: Executions, kubectl: Plugin) -> None:
    """Accepted by the schema, refused by the controller; corrected in an editor, created again."""
    name = wfe.create(wfe.target(), parameters={"NOTE": "ü" * 20000})
    wfe.await_phase(name, "Failed")
    told = kubectl.explain(name)
    assert told["situation"] == "invalid-spec"
    assert told["evidence"][0].startswith("spec.parameters[NOTE] <redacted")
    assert told["next"]["command"] == f"kubectl wfe retry {name} --edit -n {wfe.namespace}"
    refused = kubectl("retry", name)
    assert refused.code == 1
    assert "--edit" in refused.complaint
    unchanged = kubectl.shell(told["next"]["command"], env=kubectl.editor("s/nothing/of this/"))
    assert unchanged.code == 1
    assert "nothing was changed" in unchanged.complaint
    kubectl.follow(told, env=kubectl.editor("s/NOTE: .*/NOTE: short/; s/^ {4}\\\\?ü.*//"))
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def test_right_that_the_controller_never_got(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{EXECUTION}/roles"
    for role in plane.client.get(path)["items"]:
        rules = [dict(rule) for rule in role["rules"]]
        for rule in rules:
            if "pipelineruns" in rule["resources"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
        plane.client.merge_patch(f"{path}/{role['metadata']['name']}", {"rules": rules})
    try:
        name = wfe.create(wfe.target())
        wfe.await_phase(name, "Failed")
        told = kubectl.explain(name)
    finally:
        kubectl.shell("wfe-controller manifests rbac | kubectl apply --server-side --force-conflicts -f -")
    assert told["situation"] == "permission-denied"
    assert "pipelineruns" in told["evidence"][0]
    kubectl.follow(told)
    again = kubectl("retry", name, "--when-allowed", "-o", "name")
    assert again.code == 0, again
    assert wfe.await_phase(f"{name}-r2")["phase"] == "Completed"


def test_cancellation_that_was_given_up(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """CancelIncomplete: first what is left is ended, then the block is cleared; another execution says the same."""
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    stray = f"stray-{name}"
    plane.client.create(
        f"/api/v1/namespaces/{EXECUTION}/pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": stray,
                "namespace": EXECUTION,
                "labels": {"kubernaut.ai/workflow-execution-uid": wfe.get(name)["metadata"]["uid"]},
                "annotations": {"test.kubelet/behaviour": "hang"},
            },
            "spec": {"containers": [{"name": "act", "image": "busybox:hang"}]},
        },
    )
    assert kubectl("cancel", name, "--reason", "stop this").code == 0
    wfe.await_phase(name, "Failed", timeout=60)
    wfe.await_released(name)
    told = kubectl.explain(name)
    assert told["situation"] == "cancel-incomplete"
    assert f"still there: {stray}" in told["evidence"]
    assert told["next"]["command"] == f"kubectl -n {EXECUTION} delete pod {stray}"
    refused = kubectl("clear-block", target, "--reason", "looked at the target")
    assert refused.code == 1
    assert stray in refused.complaint
    assert refused.complaint.endswith(f"next: {told['next']['command']}")
    other = wfe.create(target)
    wfe.await_phase(other, "Skipped")
    assert kubectl.explain(other)["situation"] == "blocked-cancel-incomplete"
    kubectl.follow(told)
    told = kubectl.explain(other)
    assert " clear-block " in told["next"]["command"]
    kubectl.follow(told)
    assert kubectl.explain(other)["situation"] == "skipped"


def test_time_out(kubectl: Plugin, overdue: tuple[Executions, str]) -> None:
    """Tekton's own time-out ended it, after a step had started."""
    wfe, name = overdue
    wfe.await_phase(name, "Failed", timeout=150)
    wfe.await_released(name)
    kubectl.namespace = wfe.namespace
    told = kubectl.explain(name)
    assert (told["situation"], told["headline"]) == ("failed-deadline", "failed: it did not end in its time")
    assert "the state of the target is unknown" in told["changed"]
    assert " clear-block " in told["next"]["command"]
    kubectl.follow(told)
    assert " retry " in kubectl.explain(name)["next"]["command"]

"""explain before a run exists: each situation is produced, its ONE next command is run, and the situation ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME, Executions
from tests.support.plugin import Plugin


def test_paused(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true", "kubernaut.ai/pause-by": "alice"})
    told = kubectl.await_situation(name, "paused")
    assert told["evidence"] == ["paused by alice"]
    assert told["endsAt"] == wfe.status(name)["deadlineAt"]
    assert told["holder"] is None
    assert told["changed"] == "nothing: no run was started"
    assert told["next"]["command"] == f"kubectl wfe resume {name} -n {wfe.namespace}"
    kubectl.follow(told)
    assert wfe.await_phase(name)["phase"] == "Completed"
    assert kubectl.explain(name)["situation"] == "completed"


def test_engine_that_this_version_does_not_have(wfe: Executions, kubectl: Plugin) -> None:
    body = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": "steps", "namespace": wfe.namespace},
        "spec": {
            "remediationRequestRef": {"name": "rr"},
            "targetResource": wfe.target(),
            "workflowDefinition": {"steps": [{"name": "a", "action": "scale_deployment"}]},
        },
    }
    wfe.plane.client.create(f"{API}/namespaces/{wfe.namespace}/workflowexecutions", body)
    told = kubectl.await_situation("steps", "engine-unavailable")
    assert "steps engine" in told["headline"]
    assert told["evidence"] == ["this version of the controller has no steps engine"]
    kubectl.follow(told)
    kubectl.await_situation("steps", "cancelled-before-start")


def test_controller_that_may_not_create_runs(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    """The right is taken away; the command that explain names brings it back, and the execution completes."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{EXECUTION}/roles"
    for role in plane.client.get(path)["items"]:
        rules = [dict(rule) for rule in role["rules"]]
        for rule in rules:
            if "pipelineruns" in rule["resources"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
        plane.client.merge_patch(f"{path}/{role['metadata']['name']}", {"rules": rules})
    name = wfe.create(wfe.target())
    try:
        told = kubectl.await_situation(name, "create-retrying")
        assert "forbidden" in told["evidence"][0].lower()
        assert "pipelineruns" in told["evidence"][0]
        assert told["holder"]["name"] == name
        assert told["next"]["command"].startswith("wfe-controller manifests rbac | kubectl apply")
        assert told["endsAt"]
    finally:
        brought = kubectl.shell("wfe-controller manifests rbac | kubectl apply --server-side --force-conflicts -f -")
    assert (
        told["next"]["command"] == "wfe-controller manifests rbac | kubectl apply --server-side --force-conflicts -f -"
    )
    assert brought.code == 0, brought
    assert wfe.await_phase(name, timeout=60)["phase"] == "Completed"


def test_quota_that_is_used_up(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    path = f"/api/v1/namespaces/{EXECUTION}/resourcequotas"
    plane.client.create(
        path,
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "runs", "namespace": EXECUTION},
            "spec": {"hard": {"count/pipelineruns.tekton.dev": "0"}},
        },
    )
    try:
        eventually(lambda: "hard" in plane.client.get(f"{path}/runs").get("status", {}), what="the quota to count")
        name = wfe.create(wfe.target())
        told = kubectl.await_situation(name, "create-retrying")
        assert "exceeded quota: runs" in told["evidence"][0]
        assert told["next"]["command"] == f"kubectl -n {EXECUTION} edit resourcequota"
        raised = kubectl.follow(told, env=kubectl.editor('s#(count/pipelineruns.tekton.dev: )"0"#\\1"500"#'))
        assert "edited" in raised.stdout
        assert wfe.await_phase(name, timeout=60)["phase"] == "Completed"
    finally:
        plane.client.delete(f"{path}/runs")


def test_lock_that_cannot_be_understood(wfe: Executions, kubectl: Plugin, plane: Plane) -> None:
    target = wfe.target()
    wfe.await_released(wfe_done(wfe, target))
    lock = wfe.lock(target)
    assert lock is not None
    broken: dict[str, Any] = {"reason": "ExecutionFailed", "by": {"uid": "", "name": "spoilt-by-hand"}}
    lock["status"]["block"] = {**broken, "since": "2026-01-01T00:00:00Z", "message": ""}
    where = f"{API}/namespaces/{HOME}/targetlocks/{lock['metadata']['name']}"
    plane.client.request("PUT", f"{where}/status", lock)
    name = wfe.create(target)
    told = kubectl.await_situation(name, "lock-unknown")
    assert "status.block.by.uid is not a non-empty string" in told["evidence"][0]
    assert "holder" not in told, "nobody can say who has it"
    assert told["next"]["command"] == (
        f"kubectl -n {HOME} edit targetlock {lock['metadata']['name']} --subresource=status"
    )
    kubectl.follow(told, env=kubectl.editor('s/uid: ""/uid: "nobody"/'))
    # Now it can be understood, and says that the target is blocked.
    wfe.await_phase(name, "Skipped", timeout=60)
    told = kubectl.explain(name)
    assert told["situation"] == "blocked-execution-failed"
    kubectl.follow(told)
    assert kubectl.explain(name)["situation"] == "skipped"


def wfe_done(wfe: Executions, target: str) -> str:
    name = wfe.create(target, workflow="first")
    assert wfe.await_phase(name)["phase"] == "Completed"
    return name


def test_bundle_that_does_not_come(wfe: Executions, kubectl: Plugin) -> None:
    """Resolving, then failed by itself, backing off, and created again as soon as it is allowed."""
    target = wfe.target()
    name = wfe.create(target, f"{wfe.plane.registry}/no/such:bundle")
    told = kubectl.await_situation(name, "resolving-bundle")
    assert told["waitingFor"] == f"the bundle {wfe.plane.registry}/no/such:bundle"
    assert told["changed"] == "nothing yet: no step has started"
    assert " watch " in told["next"]["command"]
    kubectl.follow(told)
    failed = kubectl.await_situation(name, "failed-before-start")
    assert "ConfigurationError" in failed["headline"]
    assert failed["changed"] == "nothing: no step ever started"
    assert any("backs off for another" in line for line in failed["evidence"])
    assert failed["allowedAt"] > failed["since"]
    assert failed["next"]["command"].endswith("--when-allowed -n " + wfe.namespace)
    again = kubectl.follow(failed)
    assert f"{name}-r2 created" in again.stdout
    assert "waiting until" in again.stderr
    assert wfe.await_phase(f"{name}-r2", timeout=60)["failureDetails"]["reason"] == "ConfigurationError"
    skipped = wfe.create(target, f"{wfe.plane.registry}/no/such:bundle")
    wfe.await_phase(skipped, "Skipped")
    told = kubectl.explain(skipped)
    assert told["situation"] == "backoff"
    assert "failed 2 times in a row" in told["evidence"][0]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_forms_for_machines_say_the_same(wfe: Executions, kubectl: Plugin, form: str) -> None:
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    kubectl.await_situation(name, "paused")
    said = kubectl("explain", name, "-o", form).stdout
    assert (json.loads(said) if form == "json" else yaml.safe_load(said))["situation"] == "paused"

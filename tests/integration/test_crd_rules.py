"""The CRDs on a real API server: immutability, finality, defaults, columns, selectable fields (SPEC 1.1, 1.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hack.controlplane import Plane
from tests.support.badinput import STEPS, TEKTON
from wfe_controller.api import crd
from wfe_controller.api.names import lock_name
from wfe_controller.api.targets import TargetError, parse_target

SPEC_IS_IMMUTABLE = (
    'The WorkflowExecution "x" is invalid: spec: Invalid value: '
    "spec is immutable: create a new WorkflowExecution instead\n"
)
FINAL = (
    "status.{0}: Invalid value: status.{0} is final once the phase is terminal: create a new WorkflowExecution instead"
)
FAILED = {
    "phase": "Failed",
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:01:00Z",
    "failureDetails": {
        "reason": "TaskFailed",
        "message": "exit code 1",
        "failedAt": "2026-01-01T00:01:00Z",
        "executionTimeBeforeFailure": "1m0s",
        "naturalLanguageSummary": "It failed.",
        "wasExecutionFailure": True,
    },
}
SKIPPED = {
    "phase": "Skipped",
    "completionTime": "2026-01-01T00:01:00Z",
    "skipDetails": {"reason": "ResourceBusy", "message": "busy", "skippedAt": "2026-01-01T00:01:00Z"},
}

HEADINGS = ["NAME", "PHASE", "ENGINE", "TARGET", "PROGRESS", "REASON", "DURATION", "AGE", "WORKFLOW", "HOLDER"]

Patch = Callable[..., str]


@pytest.fixture
def patch(plane: Plane, namespace: str) -> Patch:
    """Patch ``x`` with a merge patch (a dict) or a JSON patch (a list); gives stderr, "" when it was accepted."""

    def run(body: dict[str, Any] | list[Any], *, kind: str = "wfe", name: str = "x", status: bool = False) -> str:
        done = plane.kubectl(
            "patch",
            kind,
            name,
            f"--namespace={namespace}",
            f"--type={'json' if isinstance(body, list) else 'merge'}",
            f"--patch={json.dumps(body)}",
            *(["--subresource=status"] if status else []),
        )
        assert bool(done.returncode) == bool(done.stderr)
        return done.stderr

    return run


def execution(namespace: str, spec: dict[str, Any], name: str = "x") -> dict[str, Any]:
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def path_of(namespace: str, name: str = "") -> str:
    return f"/apis/kubernaut.ai/v1alpha1/namespaces/{namespace}/workflowexecutions/{name}".rstrip("/")


@pytest.mark.parametrize("resource", crd.KINDS, ids=lambda resource: resource.kind)
def test_the_server_stores_the_crd_as_it_is_generated(plane: Plane, resource: Any) -> None:
    """A structural schema that every rule of fits into the cost budget; nothing pruned, nothing added but defaults."""
    found = plane.client.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{resource.group_resource}")
    assert found is not None
    conditions = {entry["type"]: entry for entry in found["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert found["spec"]["versions"] == crd.crd(resource.kind)["spec"]["versions"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"spec": {"targetResource": "prod/deployment/other"}}, id="change"),
        pytest.param({"spec": {"parameters": None}}, id="remove-parameters"),
        pytest.param({"spec": {"rationale": "later"}}, id="add"),
        pytest.param({"spec": {"workflowRef": {"containerDigest": "sha256:" + "0" * 64}}}, id="add-digest"),
        pytest.param([{"op": "replace", "path": "/spec/parameters/REPLICAS", "value": "4"}], id="json-patch"),
    ],
)
def test_the_spec_is_immutable(plane: Plane, namespace: str, patch: Patch, body: Any) -> None:
    """TH35, T84: an edited target would be another lock, and the run an orphan."""
    plane.apply(execution(namespace, TEKTON))
    assert patch(body) == SPEC_IS_IMMUTABLE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"spec": None}, id="null"),
        pytest.param([{"op": "remove", "path": "/spec"}], id="remove"),
    ],
)
def test_the_spec_cannot_be_taken_away_first(plane: Plane, namespace: str, patch: Patch, body: Any) -> None:
    """SPEC 1.1: null and then another value would get past a rule placed on .spec."""
    plane.apply(execution(namespace, TEKTON))
    assert patch(body).split("\n")[1] == "* spec: Required value"
    assert plane.client.get(path_of(namespace, "x"))["spec"] == TEKTON


@pytest.mark.parametrize(
    "path", ["/spec/workflowDefinition/steps/0/parameters/replicas", "/spec/rollbackStrategy/type"]
)
def test_free_parameters_of_steps_are_immutable_too(plane: Plane, namespace: str, patch: Patch, path: str) -> None:
    """x-kubernetes-preserve-unknown-fields is not invisible to the rule."""
    spec = {
        **STEPS,
        "workflowDefinition": {"steps": [{"name": "a", "action": "scale_deployment", "parameters": {"replicas": 3}}]},
        "rollbackStrategy": {"type": "Manual"},
    }
    plane.apply(execution(namespace, spec))
    assert (
        patch([{"op": "replace", "path": path, "value": "Automatic" if path.endswith("type") else 4}])
        == SPEC_IS_IMMUTABLE
    )


@pytest.mark.parametrize(
    ("end", "body", "fields"),
    [
        pytest.param(FAILED, {"phase": "Running"}, ["phase"], id="another-phase"),
        pytest.param(FAILED, {"phase": "Completed"}, ["phase"], id="another-terminal-phase"),
        pytest.param(FAILED, {"phase": None}, ["phase"], id="phase-null"),
        pytest.param(FAILED, {"startTime": "2026-01-02T00:00:00Z"}, ["startTime"], id="start"),
        pytest.param(FAILED, {"completionTime": None}, ["completionTime"], id="completion-null"),
        pytest.param(FAILED, {"failureDetails": {"wasExecutionFailure": False}}, ["failureDetails"], id="evidence"),
        pytest.param(FAILED, {"failureDetails": None}, ["failureDetails"], id="evidence-null"),
        pytest.param(FAILED, SKIPPED, ["phase", "skipDetails"], id="skip-after-failure"),
        pytest.param(SKIPPED, {"skipDetails": None}, ["skipDetails"], id="skip-null"),
        pytest.param(SKIPPED, {"startTime": "2026-01-01T00:00:00Z"}, ["startTime"], id="start-after-skip"),
        pytest.param(
            FAILED,
            None,
            ["phase", "startTime", "completionTime", "failureDetails"],
            id="status-null",
        ),
    ],
)
def test_a_terminal_status_is_final(
    plane: Plane, namespace: str, patch: Patch, end: dict[str, Any], body: Any, fields: list[str]
) -> None:
    """SPEC 1.1, 13: terminal is final by CEL too, also for whoever sets status or phase to null first."""
    plane.apply(execution(namespace, TEKTON))
    assert patch({"status": end}, status=True) == ""
    refused = patch({"status": body}, status=True)
    assert refused.startswith('The WorkflowExecution "x" is invalid: ')
    for field in fields:
        assert FINAL.format(field) in refused
    assert plane.client.get(path_of(namespace, "x"))["status"] == end


def test_conditions_and_clearance_stay_writable_after_the_end(plane: Plane, namespace: str, patch: Patch) -> None:
    plane.apply(execution(namespace, TEKTON))
    assert patch({"status": FAILED}, status=True) == ""
    condition = {
        "type": "AuditRecorded",
        "status": "True",
        "reason": "AuditSucceeded",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:02:00Z",
    }
    clearance = {
        "clearedAt": "2026-01-01T00:03:00Z",
        "clearedBy": "ann",
        "clearReason": "checked by hand",
        "clearMethod": "Annotation",
    }
    assert patch({"status": {"conditions": [condition]}}, status=True) == ""
    assert patch({"status": {"blockClearance": clearance}}, status=True) == ""
    assert patch({"status": {"conditions": None}}, status=True) == ""


def test_a_running_status_may_change(plane: Plane, namespace: str, patch: Patch) -> None:
    plane.apply(execution(namespace, TEKTON))
    assert patch({"status": {"phase": "Pending"}}, status=True) == ""
    assert patch({"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}, status=True) == ""
    assert patch({"status": {"phase": "Completed", "completionTime": "2026-01-01T00:00:00Z"}}, status=True) == ""
    assert (
        patch({"status": {"phase": "Sleeping"}}, status=True)
        .split("\n")[1]
        .startswith('* status.phase: Unsupported value: "Sleeping": supported values: "Pending"')
    )


def test_defaults_are_what_the_models_fill_in(plane: Plane, namespace: str) -> None:
    """Constants of the language are stored; durations the controller decides are not."""
    plane.apply(execution(namespace, {**STEPS, "executionConfig": {}, "rollbackStrategy": {}}))
    stored = plane.client.get(path_of(namespace, "x"))["spec"]
    assert stored["workflowDefinition"]["steps"] == [
        {"name": "scale", "action": "scale_deployment", "criticalStep": True, "runPolicy": "OnSuccess"}
    ]
    assert stored["rollbackStrategy"] == {"type": "None", "onRollbackFailure": "StopBranch", "requireReversible": False}
    assert stored["executionConfig"] == {}


def test_columns_and_selectable_fields(plane: Plane, namespace: str, patch: Patch) -> None:
    plane.apply(
        execution(namespace, TEKTON),
        execution(namespace, {**STEPS, "workflowDefinition": {"name": "fix", **STEPS["workflowDefinition"]}}, "y"),
        execution(namespace, {**TEKTON, "targetResource": "node/worker-1"}, "z"),
    )
    skip = {
        **SKIPPED["skipDetails"],  # type: ignore[dict-item]  # the value is a dict
        "conflictingWorkflow": {
            "name": "other",
            "workflowId": "w",
            "startedAt": "2026-01-01T00:00:00Z",
            "targetResource": "prod/deployment/web",
        },
    }
    status = {**SKIPPED, "skipDetails": skip, "executionEngine": "tekton", "reason": "ResourceBusy", "progress": 50}
    assert patch({"status": status}, status=True) == ""
    table = plane.kubectl("get", "wfe", "-n", namespace, "-o", "wide", check=True).stdout.splitlines()
    assert table[0].split() == HEADINGS
    row = table[1].split()
    assert row[:6] == ["x", "Skipped", "tekton", "prod/deployment/web", "50", "ResourceBusy"]
    assert row[-2:] == ["restart", "other"]
    assert table[2].split()[-1] == "fix"

    def selected(selector: str) -> list[str]:
        done = plane.kubectl("get", "wfe", "-n", namespace, f"--field-selector={selector}", "-o", "name", check=True)
        return [line.rsplit("/", 1)[1] for line in done.stdout.split()]

    assert selected("spec.targetResource=prod/deployment/web") == ["x", "y"]
    assert selected("status.phase=Skipped") == ["x"]
    assert selected("spec.targetResource=node/worker-1,status.phase!=Skipped") == ["z"]
    assert (
        plane.kubectl("get", "kubernaut", "-n", namespace, "-o", "name", check=True).stdout.count("workflowexecution")
        == 3
    )


def test_the_server_and_the_controller_agree_on_targets(plane: Plane, namespace: str) -> None:
    """The CEL rules refuse nothing that parse_target accepts, and miss only names per kind."""
    kinds = [
        "pod",
        "Deployments",
        "deploy.apps",
        "node",
        "no",
        "Node.example.com",
        "Widget",
        "ingress.networking.k8s.io",
    ]
    raws = [f"{prefix}{kind}/{name}" for prefix in ("", "ns/") for kind in kinds for name in ("x", "a.b:c", "-x")]
    raws += ["ns//x", "/pod/x", "ns/pod/", "ns/pod", "a/b/c/d", "ns/pod./x", "ns/po d/x", "n" * 64 + "/pod/x"]
    items = [execution(namespace, {**TEKTON, "targetResource": raw}, f"t{i}") for i, raw in enumerate(raws)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    accepted = plane.kubectl("create", "--dry-run=server", "-o", "name", "-f", "-", input=text).stdout.split()
    by_server = {raw for i, raw in enumerate(raws) if f"workflowexecution.kubernaut.ai/t{i}" in accepted}
    by_controller = set()
    for raw in raws:
        try:
            parse_target(raw)
        except TargetError:
            continue
        by_controller.add(raw)
    assert by_controller <= by_server
    assert {raw.rsplit("/", 1)[1] for raw in by_server - by_controller} == {"a.b:c"}


def test_a_lock_keeps_its_target(plane: Plane, namespace: str, patch: Patch) -> None:
    """SPEC 1.3: spec.target is required and immutable; everything else is status."""
    name = lock_name("prod/deployment/web")
    plane.apply(
        {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "TargetLock",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"target": "prod/deployment/web"},
        }
    )
    why = "spec is immutable: a lock belongs to one target for ever, the controller makes one for each"
    refused = f'The TargetLock "{name}" is invalid: spec: Invalid value: {why}\n'
    assert patch({"spec": {"target": "x/y/z"}}, kind="tlock", name=name) == refused
    assert "spec.target: Required value" in patch({"spec": {"target": None}}, kind="tlock", name=name)
    assert "spec: Required value" in patch({"spec": None}, kind="tlock", name=name)
    status = {
        "holder": {
            "uid": "u",
            "name": "wfe-a",
            "namespace": "n",
            "engine": "tekton",
            "acquiredAt": "2026-01-01T00:00:00Z",
        },
        "workflows": [
            {"workflowId": "cooling", "consecutiveFailures": 0, "cooldownUntil": "2026-01-01T00:09:00Z"},
            {"workflowId": "w", "consecutiveFailures": 2, "nextAllowedExecution": "2026-01-01T00:05:00Z"},
        ],
        "block": {
            "reason": "ExecutionFailed",
            "by": {"uid": "u", "name": "wfe-0"},
            "since": "2026-01-01T00:00:00Z",
            "message": "m",
        },
    }
    assert patch({"status": status}, kind="tlock", name=name, status=True) == ""
    table = plane.kubectl("get", "tlock", "-n", namespace, check=True).stdout.splitlines()
    assert table[0].split() == ["NAME", "TARGET", "HOLDER", "BLOCKED", "FAILURES", "NEXTALLOWED", "AGE"]
    assert table[1].split()[1:6] == ["prod/deployment/web", "wfe-a", "ExecutionFailed", "2", "2026-01-01T00:05:00Z"]
    assert patch({"status": {"holder": None, "block": None}}, kind="tlock", name=name, status=True) == ""


def test_the_name_of_a_run_stays(plane: Plane, namespace: str, patch: Patch) -> None:
    """A run is deleted by hand and ``status: null`` written in the same second: nothing remembered that there was a
    run, and a second one was started. The server refuses to forget or change it; everything else may change."""
    plane.apply(execution(namespace, TEKTON))
    ref = {"name": "wfe-1", "namespace": "kubernaut-workflows", "uid": "r-1"}
    assert patch({"status": {"phase": "Pending", "message": "no run yet"}}, status=True) == ""
    assert patch({"status": None}, status=True) == ""
    assert patch({"status": {"phase": "Running", "pipelineRunRef": ref}}, status=True) == ""
    wrong: list[dict[str, Any]] = [
        {"status": None},
        {"status": {"pipelineRunRef": None}},
        {"status": {"pipelineRunRef": {"uid": "r-2"}}},
        {"status": {"pipelineRunRef": {"namespace": "elsewhere"}}},
    ]
    for body in wrong:
        assert "status.pipelineRunRef stays as it is once a run is named" in patch(body, status=True)
    assert patch({"status": {"phase": "Planning"}}, status=True) == ""
    assert patch({"status": {"phase": "Completed", "completionTime": "2026-01-01T00:01:00Z"}}, status=True) == ""

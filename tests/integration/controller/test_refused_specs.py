"""Specs that the API server let through end Failed/ConfigurationError, in the exact words of the controller (point 8).

Two ways lead past the schema: rules it cannot say (bytes, names per kind, settings of the controller), and objects that
are older than the CRD. For the second, a plane of its own serves WorkflowExecutions with an empty schema of the spec.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hack.controlplane import Plane, tekton
from hack.controlplane.client import Refused
from tests.support.badinput import ACCEPTED, CASES, Case
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME, Executions
from tests.support.replicas import Controllers, install_rights
from wfe_controller.api import names
from wfe_controller.api.crd import crd

Object = dict[str, Any]
MESSAGE_MAX = 1024


def failed_status(wfe: Executions, name: str) -> Object:
    """The status of one that was refused: nothing was owned, nothing was started."""
    status = wfe.await_phase(name)
    assert status["phase"] == "Failed", status
    assert status["failureDetails"]["reason"] == status["reason"] == "ConfigurationError"
    assert status["failureDetails"]["wasExecutionFailure"] is False
    assert "finalizers" not in wfe.get(name)["metadata"]
    assert "pipelineRunRef" not in status
    return status


def shortened(message: str) -> str:
    """As a status message may be: at most 1024 characters."""
    return message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 3] + "..."


# -- what the schema cannot say ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def execution_settings(plane: Plane) -> Object:
    return {
        "allowedRegistries": [plane.registry, "registry.example.com/team", "reg.example"],
        "allowedServiceAccounts": ["not-there"],
    }


@pytest.mark.parametrize("case", [c for c in CASES if c.server == ACCEPTED], ids=lambda case: case.id)
def test_rules_beyond_the_schema(wfe: Executions, case: Case) -> None:
    """The live server takes it with its real schema; the message names field, value, rule and remedy."""
    body = case.build(case.id, wfe.namespace)
    wfe.plane.client.create(f"{API}/namespaces/{wfe.namespace}/workflowexecutions", body)
    said = failed_status(wfe, case.id)["message"]
    if case.id == "spec-too-many-bytes":  # the server has filled in the defaults of sixty steps
        bytes_ = re.compile(r"has \d+ bytes")
        assert bytes_.sub("", said) == bytes_.sub("", case.controller)
    else:
        assert said == case.controller


def test_a_registry_that_is_not_allowed(wfe: Executions) -> None:
    target = wfe.target()
    name = wfe.create(target, "registry.example.com/teamster/restart:v1")
    assert failed_status(wfe, name)["message"] == (
        "spec.workflowRef.containerImage 'registry.example.com/teamster/restart:v1' comes from none of "
        f"execution.allowedRegistries ({wfe.plane.registry}, registry.example.com/team, reg.example): use a bundle "
        f"from one of them, or have the registry allowed"
    )
    assert wfe.lock(target) is None


def test_a_runner_account_that_does_not_exist(wfe: Executions) -> None:
    """Never a fall back to ``default`` (SPEC 2.1)."""
    name = wfe.create(wfe.target(), executionConfig={"serviceAccountName": "not-there"})
    assert failed_status(wfe, name)["message"] == (
        f"service account 'not-there' does not exist in namespace '{EXECUTION}': create it (the manifests ship "
        f"kubernaut-workflow-runner); the run never falls back to 'default'"
    )


def test_an_account_outside_the_allow_list_is_ignored_and_told(wfe: Executions) -> None:
    """TH16: the run goes ahead under the installation's own account; a Warning says so."""
    name = wfe.create(wfe.target(), executionConfig={"serviceAccountName": "cluster-admin"})
    assert wfe.await_phase(name)["phase"] == "Completed"
    (run,) = wfe.runs(name)
    assert run["spec"]["taskRunTemplate"]["serviceAccountName"] == "kubernaut-workflow-runner"
    where = f"/api/v1/namespaces/{wfe.namespace}/events"

    def told() -> list[Object]:
        return [e for e in wfe.plane.client.get(where)["items"] if e["reason"] == "ServiceAccountIgnored"]

    (event,) = eventually(told)
    assert event["type"] == "Warning"
    assert event["involvedObject"]["name"] == name
    assert event["message"] == (
        "spec.executionConfig.serviceAccountName 'cluster-admin' is not in execution.allowedServiceAccounts and is "
        "ignored; the run uses 'kubernaut-workflow-runner'"
    )


def test_two_targets_with_one_hash(wfe: Executions) -> None:
    """TH41: the record under the name of my target belongs to another; both are named, nothing is ever started."""
    target = wfe.target()
    name = names.lock_name(target)
    where = f"{API}/namespaces/{HOME}/targetlocks"
    wfe.plane.client.create(
        where,
        {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "TargetLock",
            "metadata": {"name": name, "namespace": HOME, "annotations": {"test": "played"}},
            "spec": {"target": "prod/deployment/twin"},
        },
    )
    try:
        assert failed_status(wfe, wfe.create(target))["message"] == (
            f"TargetLock {name} belongs to target 'prod/deployment/twin', and '{target}' has the same hash: both "
            f"cannot be locked at once; rename one of the resources or run its workflow in another installation"
        )
    finally:
        wfe.plane.kubectl("delete", "targetlock", "-n", HOME, name, "--ignore-not-found")


# -- what an older schema let through ----------------------------------------------------------------------------------


def loosened() -> Object:
    """The CRD of WorkflowExecutions as an earlier version might have had it: anything goes in the spec."""
    definition = copy.deepcopy(crd("WorkflowExecution"))
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    schema.pop("required", None)
    schema.pop("x-kubernetes-validations", None)
    schema["properties"]["spec"] = {"x-kubernetes-preserve-unknown-fields": True}
    # A selectable field must be in the schema.
    version["selectableFields"] = [{"jsonPath": ".status.phase"}]
    return definition


@pytest.fixture(scope="module")
def old(bare_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executions]:
    """Executions in a namespace of the plane with the loose schema, where a controller without Tekton is at work."""
    path = tmp_path_factory.mktemp("crd") / "crds.yaml"
    path.write_text(yaml.safe_dump_all([loosened(), crd("TargetLock")]))
    bare_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path), check=True)
    eventually(lambda: tekton.crds_established(bare_plane.client))
    controllers = Controllers(bare_plane, install_rights(bare_plane), f"old-{uuid.uuid4().hex[:6]}")
    controller = controllers({"controller": {"requireTekton": False}, "client": {"qps": 0}}, start=False)
    bare_plane.processes.start(controller.name)
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    bare_plane.ensure_namespace(namespace)
    controllers.leader()
    yield Executions(bare_plane, namespace)
    controllers.stop()


def test_whatever_an_older_schema_let_through_is_refused_in_words(old: Executions) -> None:
    """Every case of the table as a stored object: none stops a worker, each says what is wrong with it."""
    path = f"{API}/namespaces/{old.namespace}/workflowexecutions"
    sent: dict[str, str] = {}
    for case in CASES:
        try:
            old.plane.client.create(path, case.build(case.id, old.namespace))
        except Refused as refused:
            pytest.fail(f"{case.id}: {refused}")
        sent[case.id] = case.controller
    assert len(sent) >= 60
    said = {name: failed_status(old, name)["message"] for name in sent}
    assert said == {name: shortened(message) for name, message in sent.items()}

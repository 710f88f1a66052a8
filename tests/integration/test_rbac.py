"""The manifests on a real API server: accepted as they are, and the rights they give are exactly those asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from hack.controlplane import Plane, RestClient
from tests.support.eventually import eventually
from wfe_controller.api.names import (
    COMPONENT,
    DEFAULT_CONTROLLER_NAMESPACE,
    DEFAULT_EXECUTION_NAMESPACE,
    LEASE_NAME,
    RUNNER_SERVICE_ACCOUNT,
)
from wfe_controller.app.rights import RIGHTS, Scope, review
from wfe_controller.cli import rbac

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
SCOPE = Scope(DEFAULT_CONTROLLER_NAMESPACE, DEFAULT_EXECUTION_NAMESPACE)
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture(scope="module")
def installed(plane: Plane) -> Plane:
    """The plane with our RBAC, applied twice: a second apply must not meet a conflict."""
    for _ in range(2):
        plane.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "rbac"), check=True)
    return plane


@pytest.fixture(scope="module")
def controller(installed: Plane) -> Iterator[RestClient]:
    """A client with the rights of the controller's account and no others."""
    with closing(
        RestClient.from_kubeconfig(installed.kubeconfig_for(COMPONENT, DEFAULT_CONTROLLER_NAMESPACE))
    ) as client:
        yield client


@pytest.fixture(scope="module")
def runner(installed: Plane) -> Iterator[RestClient]:
    """A client with the rights of a run."""
    with closing(
        RestClient.from_kubeconfig(installed.kubeconfig_for(RUNNER_SERVICE_ACCOUNT, DEFAULT_EXECUTION_NAMESPACE))
    ) as client:
        yield client


def may(client: RestClient, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    plural, _, group = resource.partition(".")
    plural, _, subresource = plural.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "namespace": namespace}},
    }
    return bool(client.create(REVIEWS, body)["status"]["allowed"])


def test_the_controller_has_every_right_it_asks_for(controller: RestClient) -> None:
    """P:W9: the account of the Deployment passes its own preflight."""
    denied = [
        str(question)
        for question in SCOPE.questions(RIGHTS)
        if not controller.create(REVIEWS, review(question))["status"]["allowed"]
    ]
    assert denied == []


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "name"),
    [
        ("get", "secrets", DEFAULT_CONTROLLER_NAMESPACE, ""),
        ("list", "secrets", DEFAULT_EXECUTION_NAMESPACE, ""),
        ("get", "leases.coordination.k8s.io", DEFAULT_CONTROLLER_NAMESPACE, "another"),
        ("update", "leases.coordination.k8s.io", "default", LEASE_NAME),
        ("get", "targetlocks.kubernaut.ai", "default", ""),
        ("patch", "targetlocks.kubernaut.ai/status", DEFAULT_CONTROLLER_NAMESPACE, ""),
        ("create", "workflowexecutions.kubernaut.ai", DEFAULT_CONTROLLER_NAMESPACE, ""),
        ("delete", "workflowexecutions.kubernaut.ai", DEFAULT_CONTROLLER_NAMESPACE, ""),
        ("create", "pipelineruns.tekton.dev", "default", ""),
        ("create", "pods", DEFAULT_EXECUTION_NAMESPACE, ""),
        ("create", "pods/exec", DEFAULT_EXECUTION_NAMESPACE, ""),
        ("patch", "taskruns.tekton.dev", DEFAULT_EXECUTION_NAMESPACE, ""),
        ("get", "customresourcedefinitions.apiextensions.k8s.io", "", "others.example.com"),
        ("create", "rolebindings.rbac.authorization.k8s.io", DEFAULT_EXECUTION_NAMESPACE, ""),
        ("create", "serviceaccounts/token", DEFAULT_EXECUTION_NAMESPACE, RUNNER_SERVICE_ACCOUNT),
        ("impersonate", "serviceaccounts", DEFAULT_EXECUTION_NAMESPACE, RUNNER_SERVICE_ACCOUNT),
    ],
)
def test_the_controller_may_not(controller: RestClient, verb: str, resource: str, namespace: str, name: str) -> None:
    assert not may(controller, verb, resource, namespace, name)


def test_the_runner_may_nothing_until_it_is_bound(installed: Plane, runner: RestClient, namespace: str) -> None:
    """T-12: then it may change workloads there, and there only; Secrets never."""
    assert not may(runner, "get", "deployments.apps", namespace)
    binding = yaml.safe_load((MANIFESTS / "samples/runner-binding.yaml").read_text())
    binding["metadata"]["namespace"] = namespace
    installed.apply(binding)
    eventually(lambda: may(runner, "patch", "deployments.apps", namespace), what="the bound and aggregated rights")
    assert not may(runner, "patch", "deployments.apps", "default")
    assert not may(runner, "get", "secrets", namespace)
    assert not may(runner, "delete", "deployments.apps", namespace)


@pytest.mark.parametrize("overlay", ["base", "overlays/dev", "overlays/prod"])
def test_the_server_accepts_an_overlay(plane: Plane, overlay: str) -> None:
    """Deployment, budget, policy, flow schema, namespaces and the rest, validated strictly."""
    done = plane.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(MANIFESTS / overlay))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_roles_for_a_list_of_namespaces_are_accepted(plane: Plane, namespace: str) -> None:
    objects = rbac.controller(Scope(DEFAULT_CONTROLLER_NAMESPACE, DEFAULT_EXECUTION_NAMESPACE, (namespace,)))
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=text, check=True)


def test_the_pod_passes_pod_security_restricted(plane: Plane, namespace: str) -> None:
    """The prod overlay enforces it for the controller's own namespace."""
    plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted", check=True)
    template = yaml.safe_load((MANIFESTS / "base/deployment.yaml").read_text())["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "controller", "namespace": namespace},
        "spec": {**template["spec"], "serviceAccountName": "default"},
    }
    done = plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((MANIFESTS / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_server_accepts_the_samples(plane: Plane, path: Path) -> None:
    plane.ensure_namespace("shop")
    done = plane.kubectl("create", "--dry-run=server", "-f", str(path))
    assert done.returncode == 0, done.stderr

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from wfe_controller.app.rights import RIGHTS, Place, Scope
from wfe_controller.cli import rbac
from wfe_controller.cli.manifests import generated_files, manifests

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
SCOPE = Scope("home", "exec")


def run(*args: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(manifests, args)
    assert result.exit_code == 0, result.output
    return list(yaml.safe_load_all(result.output))


def names(objects: list[dict[str, Any]]) -> list[str]:
    return [f"{obj['kind']}/{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}" for obj in objects]


def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str, tuple[str, ...]]]:
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("name", sorted(generated_files()))
def test_the_generated_files_are_up_to_date(name: str) -> None:
    assert (MANIFESTS / name).read_text() == generated_files()[name], "run: make crds"


@pytest.mark.parametrize("place", list(Place))
def test_each_role_grants_exactly_the_table_of_rights(place: Place) -> None:
    """SPEC 13, P:X3: what start and doctor ask for is what is granted, and nothing more."""
    asked = {
        (
            right.resource.group,
            f"{right.resource.plural}/{right.subresource}" if right.subresource else right.resource.plural,
            right.verb,
            right.names,
        )
        for right in RIGHTS
        if right.place is place
    }
    assert granted(rbac.rules_for(place, SCOPE)) == asked


def test_nothing_is_granted_on_secrets_and_nothing_by_a_wildcard() -> None:
    """Point 4: least privilege, for the controller, the runs and people alike."""
    for obj in rbac.rbac(SCOPE):
        for group, resource, verb, _ in granted(obj.get("rules", [])):
            assert "*" not in (group, resource, verb), obj["metadata"]["name"]
            assert not resource.startswith("secrets"), obj["metadata"]["name"]
            assert verb not in {"escalate", "bind", "impersonate"}, obj["metadata"]["name"]
            assert group != "rbac.authorization.k8s.io", obj["metadata"]["name"]


def test_only_what_is_cluster_wide_is_in_a_cluster_role() -> None:
    bound = {obj["roleRef"]["name"]: obj["kind"] for obj in rbac.controller(SCOPE) if "roleRef" in obj}
    assert bound == {
        "workflowexecution-controller": "ClusterRoleBinding",
        "workflowexecution-controller-cluster": "ClusterRoleBinding",
        "workflowexecution-controller-home": "RoleBinding",
        "workflowexecution-controller-execution": "RoleBinding",
    }
    wide = [obj for obj in rbac.controller(SCOPE) if obj["kind"] == "ClusterRole"]
    assert {resource for obj in wide for _, resource, _, _ in granted(obj["rules"])} == {
        "workflowexecutions",
        "workflowexecutions/status",
        "events",
        "customresourcedefinitions",
        "namespaces",
    }


def test_a_list_of_namespaces_needs_roles_only() -> None:
    """SPEC 8: controller.watchNamespaces."""
    objects = rbac.controller(Scope("home", "exec", ("team-a", "team-b")))
    assert not [obj for obj in objects if obj["kind"].startswith("Cluster")]
    assert "Role/team-a/workflowexecution-controller" in names(objects)
    assert "RoleBinding/team-b/workflowexecution-controller" in names(objects)


def test_every_binding_names_a_role_and_an_account_that_are_there() -> None:
    objects = rbac.rbac(SCOPE)
    accounts = {
        (obj["metadata"]["name"], obj["metadata"]["namespace"]) for obj in objects if obj["kind"] == "ServiceAccount"
    }
    roles = {(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in objects}
    for obj in objects:
        if "roleRef" in obj:
            assert (obj["roleRef"]["kind"], obj["metadata"].get("namespace"), obj["roleRef"]["name"]) in roles
            assert {(who["name"], who["namespace"]) for who in obj["subjects"]} <= accounts


def test_the_runner_is_bound_to_nothing() -> None:
    """T-12: the shipped account can change nothing until an administrator binds it, namespace by namespace."""
    subjects = [who["name"] for obj in rbac.rbac(SCOPE) for who in obj.get("subjects", ())]
    assert set(subjects) == {"workflowexecution-controller"}


def test_requesting_is_not_part_of_a_built_in_role() -> None:
    """TH44: whoever creates a WorkflowExecution acts with the rights of the runner."""
    for obj in rbac.users():
        aggregated = [key for key in obj["metadata"]["labels"] if "aggregate-to" in key]
        if aggregated:
            assert aggregated == ["rbac.authorization.k8s.io/aggregate-to-view"]
            assert {verb for *_, verb, _ in granted(obj["rules"])} == {"get", "list", "watch"}


def test_the_commands_print_what_they_say() -> None:
    assert names(run("crds")) == [
        "CustomResourceDefinition//workflowexecutions.kubernaut.ai",
        "CustomResourceDefinition//targetlocks.kubernaut.ai",
    ]
    everything = run("all")
    assert names(everything)[:2] == ["Namespace//kubernaut-system", "Namespace//kubernaut-workflows"]
    assert everything[2:4] == run("crds")
    assert everything[4:] == run("rbac")
    assert "Deployment" not in {obj["kind"] for obj in everything}


def test_other_namespaces_go_everywhere() -> None:
    objects = run("all", "-n", "ops", "--execution-namespace", "runs", "--watch-namespace", "team-a")
    places = {obj["metadata"].get("namespace", "") for obj in objects}
    assert places == {"", "ops", "runs", "team-a"}
    assert not [obj for obj in objects if "kubernaut-system" in str(obj) or "kubernaut-workflows" in str(obj)]


def test_another_lease_is_granted_by_its_name() -> None:
    """controller.leaderElectionId: the Role names the Lease, so it has to follow."""
    rules = [rule for obj in run("rbac", "--lease", "second") for rule in obj.get("rules", ())]
    assert [rule["resourceNames"] for rule in rules if "leases" in rule["resources"] and "update" in rule["verbs"]] == [
        ["second"]
    ]


def test_one_namespace_for_both_is_created_once() -> None:
    objects = run("all", "-n", "one", "--execution-namespace", "one")
    assert names(objects).count("Namespace//one") == 1


@pytest.mark.parametrize("option", ["--namespace", "--execution-namespace", "--watch-namespace"])
def test_a_bad_namespace_is_wrong_usage(option: str) -> None:
    result = CliRunner().invoke(manifests, ["rbac", option, "Not_One"])
    assert result.exit_code == 2
    assert "'Not_One' is not a namespace name: use at most 63 lower-case letters" in result.output

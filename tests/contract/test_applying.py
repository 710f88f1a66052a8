"""Server-side apply and managed fields."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Session

MANAGED = "metadata.managedFields"


def data(name: str = "a", **values: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": values}


def applied(api: Session, body: Any, manager: str = "one", code: int = 200, **query: Any) -> Any:
    options = {"keep": f"data metadata.labels {MANAGED}", "managed": True, **query}
    return api.patch(api.cm("a"), body, "apply", code, fieldManager=manager, **options)


def test_apply_creates(api: Session) -> None:
    made = applied(api, data(k="v"), code=201)
    assert made["metadata"]["uid"]


def test_apply_again_changes_nothing(api: Session) -> None:
    made = applied(api, data(k="v"), code=201)
    again = applied(api, data(k="v"))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert again["metadata"]["managedFields"] == made["metadata"]["managedFields"]


def test_apply_removes_what_is_no_longer_said(api: Session) -> None:
    applied(api, data(a="1", b="2"), code=201)
    assert applied(api, data(a="1"))["data"] == {"a": "1"}


def test_apply_leaves_what_others_said(api: Session) -> None:
    applied(api, data(a="1"), code=201)
    applied(api, data(b="2"), "two")
    assert applied(api, data(c="3"))["data"] == {"b": "2", "c": "3"}


def test_apply_conflict(api: Session) -> None:
    applied(api, data(a="1", b="1"), code=201)
    applied(api, data(a="2", b="2"), "two", 409)
    applied(api, data(a="2"), "two", force="true")
    api.get(api.cm("a"), keep=f"data {MANAGED}", managed=True)


def test_apply_conflict_of_one_field(api: Session) -> None:
    applied(api, data(a="1"), code=201)
    applied(api, data(a="2"), "two", 409)


def test_apply_the_same_value_is_shared(api: Session) -> None:
    applied(api, data(a="1"), code=201)
    applied(api, data(a="1"), "two")
    applied(api, data(), "one")
    assert applied(api, data(), "two").get("data") is None


def test_apply_conflict_with_an_update(api: Session) -> None:
    api.make(api.cm(), data(a="1"))
    applied(api, data(a="2"), "two", 409)
    applied(api, data(b="2"), "two")


def test_update_takes_over_what_it_changes(api: Session) -> None:
    applied(api, data(a="1", b="1"), code=201)
    api.patch(api.cm("a"), {"data": {"a": "2"}}, keep=f"data {MANAGED}", managed=True)
    applied(api, data(a="1", b="1"), "one", 409)


def test_update_that_removes(api: Session) -> None:
    applied(api, data(a="1", b="1"), code=201)
    api.patch(api.cm("a"), {"data": {"a": None}}, keep=f"data {MANAGED}", managed=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, 400),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, 400),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": [{}]}}, 400),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}}, 201),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "x"}}, 409),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": "text"}, 500),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": 1}}, 500),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "nothing": 1}, 500),
    ],
    ids=[
        "no-version", "no-kind", "other-kind", "other-name", "no-metadata", "managed-fields", "version", "uid",
        "wrong-type", "wrong-value", "unknown-field",
    ],
)  # fmt: skip
def test_apply_bodies(api: Session, body: Any, code: int) -> None:
    applied(api, body, code=code)


def test_apply_needs_a_manager(api: Session) -> None:
    api.patch(api.cm("a"), data(), "apply", 422)
    api.patch(api.cm("a"), data(), "apply", 422, fieldManager="x" * 129)
    api.patch(api.cm("a"), data(), "apply", 422, fieldManager="a\nb")


def test_force_is_for_apply_only(api: Session) -> None:
    api.make(api.cm(), data())
    api.patch(api.cm("a"), {}, "merge", 422, force="true")
    api.patch(api.cm("a"), {}, "merge", 422, fieldManager="x" * 129)
    api.post(api.cm(), data("b"), 422, fieldManager="x" * 129)


def test_apply_yaml(api: Session) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n"
    applied(api, body, code=201)
    applied(api, b"{ nonsense", code=400)
    applied(api, b"a: b: c", code=400)


def test_apply_in_a_missing_namespace(api: Session) -> None:
    api.patch(api.cm("a", namespace="not-there"), data(), "apply", 404, fieldManager="one")


def test_managed_fields_of_create_update_patch(api: Session) -> None:
    """One entry for each manager and operation; the manager is the user agent when nobody says another."""
    made = api.post(api.cm(), {**data(a="1"), "immutable": False}, managed=True)
    body = {**made, "data": {"a": "2", "b": "1"}}
    api.put(api.cm("a"), body, managed=True, fieldManager="two")
    api.patch(api.cm("a"), {"metadata": {"labels": {"x": "y"}, "annotations": {"c": "d"}}}, managed=True)


def test_managed_fields_of_custom_objects(api: Session) -> None:
    api.post(api.wfe(), api.execution(labels={"a": "b"}, finalizers=["example.com/f"]), managed=True, keep=MANAGED)
    status = {"status": {"phase": "Pending", "conditions": [condition("A"), condition("B")]}}
    api.patch(api.wfe("x") + "/status", status, managed=True, keep=MANAGED, fieldManager="controller")
    status = {"status": {"phase": "Running", "conditions": [condition("A", "False")]}}
    api.patch(api.wfe("x") + "/status", status, managed=True, keep=MANAGED, fieldManager="other")


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def test_managed_fields_of_deployments(api: Session) -> None:
    """Lists by key, atomic ones, defaults of the server belong to whoever created."""
    from tests.contract.test_patches import deployment

    path = api.path("deployments", group="apps/v1")
    api.post(path, deployment(), managed=True, keep=MANAGED, dryRun="All")


def test_managed_fields_of_pods(api: Session) -> None:
    api.accounts()
    spec = {
        "containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}
        ],
        "automountServiceAccountToken": False,
    }
    body = {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec}
    api.post(api.path("pods"), body, managed=True, keep=MANAGED, dryRun="All")


def test_managed_fields_can_be_cleared(api: Session) -> None:
    api.make(api.cm(), data(a="1"))
    api.patch(api.cm("a"), {"metadata": {"managedFields": [{}]}}, managed=True, keep=MANAGED)
    api.patch(api.cm("a"), {"data": {"a": "2"}}, managed=True, keep=MANAGED)


def test_managed_fields_of_the_client_that_are_broken(api: Session) -> None:
    """They do not count; nobody is told."""
    entry = {"manager": "m", "operation": "Jump", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}
    api.post(api.cm(), {**data(), "metadata": {"name": "a", "managedFields": [entry]}}, managed=True)


def test_the_manager_is_the_user_agent_up_to_its_slash(api: Session) -> None:
    api.post(api.cm(), data(a="1"), headers={"User-Agent": "some-tool/v1.2 (linux)"}, managed=True, keep=MANAGED)
    api.patch(api.cm("a"), {"data": {"b": "1"}}, headers={"User-Agent": "other"}, managed=True, keep=MANAGED)


def ours(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": "x"},
        "spec": {
            "remediationRequestRef": {"name": "rr-1"},
            "targetResource": "prod/deployment/web",
            "workflowDefinition": {
                "steps": [{"name": "a", "action": "cordon_node"}, {"name": "b", "action": "drain_node"}]
            },
            **spec,
        },
    }


def test_apply_custom_objects(api: Session) -> None:
    """Defaults are stored and belong to nobody; a map list is managed by its keys."""
    api.patch(api.wfe("x"), ours(), "apply", 201, fieldManager="one", managed=True)
    labelled = {**ours(), "metadata": {"name": "x", "labels": {"a": "b"}}}
    api.patch(api.wfe("x"), labelled, "apply", fieldManager="one", managed=True, keep=f"metadata.labels {MANAGED}")
    api.patch(api.wfe("x"), ours(targetResource="a/pod/b"), "apply", 409, fieldManager="two")
    api.patch(api.wfe("x"), ours(targetResource="a/pod/b"), "apply", 422, fieldManager="two", force="true")


def test_apply_custom_objects_invalid(api: Session) -> None:
    api.patch(api.wfe("x"), ours(nothing=1), "apply", 500, fieldManager="one")
    api.patch(api.wfe("x"), ours(targetResource=5), "apply", 500, fieldManager="one")
    twice = ours(workflowDefinition={"steps": [{"name": "a", "action": "b"}, {"name": "a", "action": "c"}]})
    api.patch(api.wfe("x"), twice, "apply", 500, fieldManager="one")


def test_apply_status(api: Session) -> None:
    """Conditions are a map list: two managers, one condition each."""
    api.make(api.wfe(), api.execution())
    base = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "WorkflowExecution"}
    path = api.wfe("x") + "/status"
    for manager, kind in (("one", "A"), ("two", "B")):
        body = {**base, "status": {"conditions": [condition(kind)]}}
        api.patch(path, body, "apply", fieldManager=manager, managed=True, keep=f"status {MANAGED}")
    body = {**base, "status": {"conditions": [condition("A", "False")]}}
    api.patch(path, body, "apply", 409, fieldManager="two")
    body = {**base, "status": {"conditions": []}}
    api.patch(path, body, "apply", fieldManager="one", keep="status")


def test_apply_status_of_a_missing_object(api: Session) -> None:
    body = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "WorkflowExecution", "status": {"phase": "Pending"}}
    api.patch(api.wfe("x") + "/status", body, "apply", 404, fieldManager="one")


def test_apply_deployment_by_two(api: Session) -> None:
    """Containers merge by name, ports by number and protocol; one takes its own away and leaves the other's."""
    path = api.path("deployments", "d", "apps/v1")

    def body(containers: list[Any], **spec: Any) -> Any:
        labels = {"matchLabels": {"app": "d"}}
        template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": containers}}
        base = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
        return {**base, "spec": {"selector": labels, "template": template, "paused": True, **spec}}

    keep = "spec.template.spec.containers spec.replicas"
    first = [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}]
    api.patch(path, body(first, replicas=0), "apply", 201, fieldManager="one", keep=keep)
    second = [{"name": "b", "image": "b:1"}, {"name": "a", "env": [{"name": "X", "value": "1"}]}]
    api.patch(path, body(second), "apply", fieldManager="two", keep=keep)
    api.patch(path, body([{"name": "a", "image": "a:2"}]), "apply", 409, fieldManager="two")
    api.patch(path, body([{"name": "b", "image": "b:1"}]), "apply", fieldManager="two", keep=keep)
    api.patch(path, body([{"name": "a", "image": "a:3"}]), "apply", fieldManager="one", keep=keep)


def test_apply_dry_run(api: Session) -> None:
    applied(api, data(k="v"), code=201, dryRun="All")
    api.get(api.cm("a"), 404)


def test_apply_takes_over_from_kubectl(api: Session) -> None:
    """kubectl apply --server-side goes on from what a client-side apply has left in the annotation."""
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}'
    body = data(k="v")
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
    api.make(api.cm(), body, fieldManager="kubectl-client-side-apply")
    applied(api, data(k="w"), "other", 409)
    applied(api, data(k="w"), "kubectl")


def test_managed_fields_have_at_most_ten_updaters(api: Session) -> None:
    """The oldest become one entry."""
    api.make(api.cm(), data(a="0"), fieldManager="m0")
    for number in range(1, 12):
        api.patch(api.cm("a"), {"data": {f"k{number}": "1"}}, quiet=True, fieldManager=f"m{number}")
    found = api.get(api.cm("a"), quiet=True)["metadata"]["managedFields"]
    api.show("managers", sorted(entry["manager"] for entry in found))


def test_apply_after_managed_fields_were_cleared(api: Session) -> None:
    """Somebody must have said what is there: before-first-apply."""
    api.make(api.cm(), {**data(a="1"), "metadata": {"name": "a"}})
    api.patch(api.cm("a"), {"metadata": {"managedFields": [{}]}}, quiet=True)
    applied(api, data(a="2"), "one", 409)
    applied(api, data(b="2"), "one")


def test_apply_lists_of_words(api: Session) -> None:
    """Finalizers are a set: everybody has their own."""
    for manager, name in (("one", "example.com/a"), ("two", "example.com/b")):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": [name]}}
        code = 201 if manager == "one" else 200
        api.patch(api.cm("a"), body, "apply", code, fieldManager=manager, keep="metadata.finalizers")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    api.patch(api.cm("a"), body, "apply", fieldManager="one", keep="metadata.finalizers")


@pytest.mark.parametrize(
    "body", [b"[]", b"x", b"5", b"null", b"---\n"], ids=["list", "text", "number", "null", "empty"]
)
def test_apply_what_is_no_object(api: Session, body: bytes) -> None:
    api.patch(api.cm("a"), body, "apply", 400, fieldManager="m")

"""PUT: conflicts, what may not change, generation, the status endpoint, finalizers."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.contract.session import Session

META = "metadata.generation metadata.resourceVersion spec status"


def changed(obj: Any, **data: str) -> Any:
    found = copy.deepcopy(obj)
    found.setdefault("data", {}).update(data)
    return found


def test_update(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a", {"k": "v"}))
    after = api.put(api.cm("a"), changed(made, k="w"))
    assert int(after["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert after["metadata"]["uid"] == made["metadata"]["uid"]


def test_update_replaces(api: Session) -> None:
    """What is not in the body is gone, also labels."""
    made = api.make(api.cm(), api.config_map("a", {"k": "v"}, labels={"l": "1"}, annotations={"a": "1"}))
    body = {"metadata": {"name": "a", "resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"new": "1"}}
    api.put(api.cm("a"), body)


def test_update_stale(api: Session) -> None:
    for path, body in ((api.cm(), api.config_map("a")), (api.wfe(), api.execution("a"))):
        made = api.make(path, body)
        newer = copy.deepcopy(made)
        newer["metadata"]["labels"] = {"n": "1"}
        api.put(f"{path}/a", newer, quiet=True)
        made["metadata"]["labels"] = {"n": "2"}
        api.put(f"{path}/a", made, 409)


def test_update_without_version(api: Session) -> None:
    """Last write wins for a built-in kind; a custom object must say which version it was."""
    api.make(api.cm(), api.config_map("a"))
    api.put(api.cm("a"), api.config_map("a", {"k": "v"}))
    api.make(api.wfe(), api.execution("x"))
    api.put(api.wfe("x"), api.execution("x", labels={"a": "b"}), 422)


def test_update_with_a_broken_version(api: Session) -> None:
    for path, body in ((api.cm(), api.config_map("a")), (api.wfe(), api.execution("a"))):
        made = api.make(path, body)
        made["metadata"]["resourceVersion"] = "abc"
        api.put(f"{path}/a", made, 500)


def test_update_without_a_change_is_no_write(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a", {"k": "v"}))
    assert api.put(api.cm("a"), made)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    ours = api.make(api.wfe(), api.execution())
    assert api.put(api.wfe("x"), ours)["metadata"]["resourceVersion"] == ours["metadata"]["resourceVersion"]


def test_update_missing(api: Session) -> None:
    api.put(api.cm("a"), api.config_map("a"), 404)
    api.put(api.wfe("x"), api.execution(), 404)
    made = api.make(api.wfe(), api.execution("y"))
    made["metadata"]["name"] = "z"
    api.put(api.wfe("z"), made, 404)


def test_update_missing_lease_creates_it(api: Session) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    api.put(api.path("leases", "l", "coordination.k8s.io/v1"), lease, 201)


def test_update_with_another_name(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a"))
    made["metadata"]["name"] = "b"
    api.put(api.cm("a"), made, 400)
    ours = api.make(api.wfe(), api.execution("x"))
    ours["metadata"]["name"] = "y"
    api.put(api.wfe("x"), ours, 400)


def test_update_with_another_namespace(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a"))
    made["metadata"]["namespace"] = "default"
    api.put(api.cm("a"), made, 400)


def test_update_with_another_uid(api: Session) -> None:
    for path, body in ((api.cm(), api.config_map("a")), (api.wfe(), api.execution("a"))):
        made = api.make(path, body)
        made["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
        api.put(f"{path}/a", made, 409)


def test_update_cannot_touch_what_the_server_owns(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a"))
    body = copy.deepcopy(made)
    body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z"
    body["data"] = {"k": "v"}
    after = api.put(api.cm("a"), body)
    assert after["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    ours = api.make(api.wfe(), api.execution())
    body = copy.deepcopy(ours)
    body["metadata"] |= {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9, "labels": {"a": "b"}}
    api.put(api.wfe("x"), body)


def test_update_cannot_delete(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    made["metadata"] |= {"deletionTimestamp": "2001-01-01T00:00:00Z"}
    api.put(api.wfe("x"), made, 422)


def test_update_without_uid(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    del made["metadata"]["uid"]
    made["metadata"]["labels"] = {"a": "b"}
    api.put(api.wfe("x"), made)


def test_generation_moves_with_spec_only(api: Session) -> None:
    made = api.make(api.path("targetlocks", group="kubernaut.ai/v1alpha1"), lock())
    assert made["metadata"]["generation"] == 1
    path = api.path("targetlocks", "l", "kubernaut.ai/v1alpha1")
    api.patch(path, {"metadata": {"labels": {"a": "b"}}}, keep="metadata")
    api.patch(path + "/status", {"status": {"schemaVersion": 1}}, keep="metadata.generation")


def test_generation_of_built_ins(api: Session) -> None:
    """Deployments have one, config maps have not; a network policy counts its spec."""
    api.post(api.cm(), api.config_map("a"), keep="metadata")
    path = api.path("networkpolicies", group="networking.k8s.io/v1")
    body = {"metadata": {"name": "n"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    api.post(path, body, keep="metadata.generation")
    api.patch(f"{path}/n", {"spec": {"policyTypes": ["Egress"]}}, keep="metadata.generation")
    api.patch(f"{path}/n", {"metadata": {"labels": {"a": "b"}}}, keep="metadata.generation")


def lock(name: str = "l", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "TargetLock",
        "metadata": {"name": name, **metadata},
        "spec": {"target": "prod/deployment/web"},
    }


def test_status_is_dropped_on_create(api: Session) -> None:
    body = api.execution()
    body["status"] = {"phase": "Running"}
    assert "status" not in api.post(api.wfe(), body)


def test_status_is_not_written_by_the_main_endpoint(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    made["status"] = {"phase": "Running"}
    made["metadata"]["labels"] = {"a": "b"}
    api.put(api.wfe("x"), made, keep=META)
    api.patch(api.wfe("x"), {"status": {"phase": "Running"}}, keep=META)


def test_status_endpoint_writes_nothing_else(api: Session) -> None:
    """No spec, no labels, no annotations, no finalizers; generation stays."""
    made = api.make(api.wfe(), api.execution())
    made["status"] = {"phase": "Pending"}
    made["spec"]["targetResource"] = "a/pod/b"
    made["metadata"] |= {"labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["example.com/f"]}
    api.put(api.wfe("x") + "/status", made)


def test_status_merge_patch(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    body = {"status": {"phase": "Pending"}, "spec": {"targetResource": "a/pod/b"}, "metadata": {"labels": {"a": "b"}}}
    api.patch(api.wfe("x") + "/status", body)
    api.patch(api.wfe("x") + "/status", {"status": None})


def test_status_conflict(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x") + "/status", {"status": {"phase": "Pending"}}, quiet=True)
    made["status"] = {"phase": "Running"}
    api.put(api.wfe("x") + "/status", made, 409)
    made["metadata"]["resourceVersion"] = ""
    api.put(api.wfe("x") + "/status", made, 422)


def test_status_of_a_missing_object(api: Session) -> None:
    api.patch(api.wfe("x") + "/status", {"status": {}}, code=404)
    api.put(api.wfe("x") + "/status", api.execution(), 404)


def test_status_of_built_ins(api: Session) -> None:
    api.make(api.path("jobs", group="batch/v1"), job())
    path = api.path("jobs", "j", "batch/v1")
    api.patch(path, {"status": {"active": 3}}, keep="status")
    api.patch(
        path + "/status", {"status": {"active": 3}, "metadata": {"labels": {"a": "b"}}}, keep="metadata.labels status"
    )


def job(**spec: Any) -> dict[str, Any]:
    """A job that no controller of the server touches."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    more = {"managedBy": "example.com/nobody", "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {**more, **spec}}


def test_finalizers_keep_the_object(api: Session) -> None:
    """Delete only marks; the last finalizer's removal ends it."""
    api.make(api.wfe(), api.execution(finalizers=["example.com/a", "example.com/b"]))
    api.delete(api.wfe("x"))
    again = api.delete(api.wfe("x"), keep="metadata")
    assert again["metadata"]["deletionTimestamp"]
    api.patch(api.wfe("x"), {"metadata": {"finalizers": ["example.com/a"]}}, keep="metadata")
    api.patch(api.wfe("x"), {"metadata": {"finalizers": []}}, keep="metadata")
    api.get(api.wfe("x"), 404)


def test_finalizers_cannot_be_added_while_deleting(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    api.delete(api.wfe("x"), quiet=True)
    api.patch(api.wfe("x"), {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}, code=422)
    api.make(api.cm(), api.config_map(finalizers=["example.com/a"]))
    api.delete(api.cm("a"), quiet=True)
    api.patch(api.cm("a"), {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}, code=422)


def test_deleting_objects_can_be_changed_otherwise(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    before = api.delete(api.wfe("x"), quiet=True)
    api.patch(api.wfe("x"), {"metadata": {"labels": {"a": "b"}}}, keep="metadata")
    api.patch(api.wfe("x") + "/status", {"status": {"phase": "Pending"}}, keep="metadata status")
    body = {"metadata": {"deletionTimestamp": None}}
    after = api.patch(api.wfe("x"), body, keep="metadata")
    assert after["metadata"]["deletionTimestamp"] == before["metadata"]["deletionTimestamp"]


def test_delete_raises_the_generation(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    assert api.delete(api.wfe("x"), keep="metadata")["metadata"]["generation"] == 2
    assert api.delete(api.wfe("x"), keep="metadata")["metadata"]["generation"] == 2


def test_create_with_a_name_that_is_being_deleted(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    api.delete(api.wfe("x"), quiet=True)
    api.post(api.wfe(), api.execution(), 409)


@pytest.mark.parametrize("name", ["no-slash", "UPPER.example.com/x", "a b/c", "a/" + "x" * 64, ""])
def test_finalizer_names(api: Session, name: str) -> None:
    """A bare word is refused for built-in kinds (but for the known ones), and warned of for custom ones."""
    api.post(api.wfe(), api.execution(finalizers=[name]), 201 if name == "no-slash" else 422, keep="metadata")
    api.post(api.cm(), api.config_map(finalizers=[name]), 422, keep="metadata")


@pytest.mark.parametrize("name", ["orphan", "foregroundDeletion", "kubernetes"])
def test_standard_finalizer_names(api: Session, name: str) -> None:
    api.post(api.wfe(), api.execution(finalizers=[name]), keep="metadata")
    api.post(api.cm(), api.config_map(finalizers=[name]), keep="metadata")


@pytest.mark.parametrize("kind", ["merge", "json"])
def test_patch_that_takes_the_version_away(api: Session, kind: str) -> None:
    """Custom objects are never written without one."""
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution("a"))
    body: Any = {"metadata": {"resourceVersion": None, "labels": {"x": "y"}}}
    if kind == "json":
        body = [{"op": "remove", "path": "/metadata/resourceVersion"}]
    api.patch(api.cm("a"), body, kind, keep="metadata.labels")
    api.patch(api.wfe("a"), body, kind, 422)


def test_generate_name_is_checked_later_too(api: Session) -> None:
    """Of built-in kinds; custom ones may carry anything there once they exist."""
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution("a"))
    api.patch(api.cm("a"), {"metadata": {"generateName": "A_"}}, code=422)
    api.patch(api.wfe("a"), {"metadata": {"generateName": "A_"}}, keep="metadata.generateName")

"""The four kinds of patch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Session

DATA = "metadata.labels metadata.annotations data"


@pytest.mark.parametrize(
    "patch",
    [
        {"data": {"b": "2"}},
        {"data": {"a": None}},
        {"data": None},
        {"data": {}},
        {"metadata": {"labels": {"x": "y"}}},
        {"data": {"nothing": None}},
        {},
    ],
    ids=["add", "remove", "remove-all", "empty", "labels", "remove-missing", "nothing"],
)
def test_merge(api: Session, patch: Any) -> None:
    api.make(api.cm(), api.config_map("a", {"a": "1"}))
    api.patch(api.cm("a"), patch, keep=DATA)


def test_merge_replaces_lists(api: Session) -> None:
    api.make(api.wfe(), api.execution(finalizers=["example.com/a", "example.com/b"]))
    api.patch(api.wfe("x"), {"metadata": {"finalizers": ["example.com/b"]}}, keep="metadata.finalizers")
    api.patch(api.wfe("x"), {"metadata": {"finalizers": None}}, keep="metadata")


def test_merge_with_a_version(api: Session) -> None:
    """The version of the patch must be the one that is stored."""
    made = api.make(api.wfe(), api.execution())
    meta = {"resourceVersion": made["metadata"]["resourceVersion"]}
    api.patch(api.wfe("x"), {"metadata": {**meta, "labels": {"a": "b"}}}, keep="metadata.labels")
    api.patch(api.wfe("x"), {"metadata": {**meta, "labels": {"a": "c"}}}, code=409)
    api.make(api.cm(), api.config_map())
    api.patch(api.cm("a"), {"metadata": {"resourceVersion": "1"}, "data": {"k": "v"}}, code=409)
    api.patch(api.cm("a"), {"metadata": {"resourceVersion": ""}, "data": {"k": "v"}}, keep=DATA)


def test_merge_with_another_uid(api: Session) -> None:
    uid = "11111111-1111-1111-1111-111111111111"
    api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x"), {"metadata": {"uid": uid}}, code=422)
    api.make(api.cm(), api.config_map())
    api.patch(api.cm("a"), {"metadata": {"uid": uid}}, code=422)


def test_merge_with_another_name(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x"), {"metadata": {"name": "y"}}, code=400)
    api.make(api.cm(), api.config_map())
    api.patch(api.cm("a"), {"metadata": {"name": "b"}}, code=400)
    api.patch(api.cm("a"), {"metadata": {"namespace": "other"}}, code=400)


def test_merge_with_another_kind(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x"), {"kind": "TargetLock"}, code=422)
    api.make(api.cm(), api.config_map())
    api.patch(api.cm("a"), {"kind": "Secret"}, code=422)
    api.patch(api.cm("a"), {"apiVersion": "v2"}, code=422)


def test_merge_missing(api: Session) -> None:
    api.patch(api.cm("a"), {}, code=404)
    api.patch(api.wfe("x"), {}, code=404)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"", b"null", b"a: b"], ids=["half", "list", "text", "empty", "null", "yaml"]
)
def test_merge_garbage(api: Session, body: bytes) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.make(api.wfe(), api.execution())
    code = {b"null": None}.get(body, 400)
    for path in (api.cm("a"), api.wfe("x")):
        api.patch(path, body, code=code or 400)


def test_merge_wrong_type(api: Session) -> None:
    """Text where an object belongs."""
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.patch(api.cm("a"), {"data": "text"}, code=422)
    api.patch(api.cm("a"), {"data": {"k": 1}}, code=422)
    api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x"), {"spec": "text"}, code=422)


def test_merge_that_changes_nothing_is_no_write(api: Session) -> None:
    made = api.make(api.cm(), api.config_map("a", {"k": "v"}))
    after = api.patch(api.cm("a"), {"data": {"k": "v"}})
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([{"op": "add", "path": "/data/b", "value": "2"}], 200),
        ([{"op": "replace", "path": "/data/a", "value": "2"}], 200),
        ([{"op": "remove", "path": "/data/a"}], 200),
        ([{"op": "copy", "from": "/data/a", "path": "/data/c"}], 200),
        ([{"op": "move", "from": "/data/a", "path": "/data/c"}], 200),
        ([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/a"}], 200),
        ([{"op": "test", "path": "/data/a", "value": "2"}], 422),
        ([{"op": "test", "path": "/data/nothing", "value": "2"}], 422),
        ([{"op": "test", "path": "/data/nothing", "value": None}], 200),
        ([{"op": "remove", "path": "/data/nothing"}], 422),
        ([{"op": "replace", "path": "/data/nothing", "value": "1"}], 200),
        ([{"op": "add", "path": "/binaryData/x", "value": "eA=="}], 422),
        ([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}], 200),
        ([{"op": "add", "path": "/metadata/annotations", "value": {"a/b": "1", "c.d": "2"}},
          {"op": "remove", "path": "/metadata/annotations/a~1b"},
          {"op": "replace", "path": "/metadata/annotations/c.d", "value": "3"}], 200),
        ([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]},
          {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/c"},
          {"op": "add", "path": "/metadata/finalizers/1", "value": "example.com/b"},
          {"op": "remove", "path": "/metadata/finalizers/0"}], 200),
        ([{"op": "add", "path": "/metadata/finalizers", "value": []},
          {"op": "remove", "path": "/metadata/finalizers/3"}], 422),
        ([{"op": "add", "path": "/metadata/finalizers", "value": []},
          {"op": "add", "path": "/metadata/finalizers/3", "value": "example.com/a"}], 422),
        ([{"op": "jump", "path": "/data/a"}], 422),
        ([{"op": "add", "value": "x"}], 422),
        ([{"op": "add", "path": "data", "value": "x"}], 422),
        ([{"path": "/data/a", "value": "1"}], 422),
        ([], 200),
    ],
    ids=[
        "add", "replace", "remove", "copy", "move", "test-then-remove", "test-fails", "test-missing", "test-null",
        "remove-missing", "replace-missing", "add-below-nothing", "labels", "escapes", "lists", "list-index-remove",
        "list-index-add", "unknown-op", "no-path", "no-slash", "no-op", "empty",
    ],
)  # fmt: skip
def test_json(api: Session, operations: Any, code: int) -> None:
    api.make(api.cm(), api.config_map("a", {"a": "1"}))
    api.patch(
        api.cm("a"), operations, "json", code, keep="metadata.labels metadata.annotations metadata.finalizers data"
    )


@pytest.mark.parametrize(
    "body", [b"{", b"{}", b'"x"', b"", b"[1]", b"null"], ids=["half", "object", "text", "empty", "number", "null"]
)
def test_json_garbage(api: Session, body: bytes) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.make(api.wfe(), api.execution())
    code = 200 if body == b"null" else 400
    api.patch(api.cm("a"), body, "json", code)
    api.patch(api.wfe("x"), body, "json", code)


def test_json_on_custom_objects(api: Session) -> None:
    made = api.make(api.wfe(), api.execution(labels={"a": "1"}))
    version = made["metadata"]["resourceVersion"]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/labels/a", "value": "2"},
    ]
    api.patch(api.wfe("x"), operations, "json", keep="metadata.labels")
    api.patch(api.wfe("x"), [{"op": "test", "path": "/metadata/uid", "value": "other"}], "json", 422)
    api.patch(api.wfe("x"), [{"op": "remove", "path": "/spec/nothing"}], "json", 422)


def test_json_too_many_operations(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    operations = [{"op": "test", "path": "/data/k", "value": "v"}] * 10001
    api.patch(api.cm("a"), operations, "json", 413)


def test_json_on_status(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    path = api.wfe("x") + "/status"
    api.patch(path, [{"op": "add", "path": "/status", "value": {"phase": "Pending"}}], "json", keep="status")
    operations = [
        {"op": "replace", "path": "/status/phase", "value": "Running"},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]
    api.patch(path, operations, "json", keep="status metadata.labels")


def test_strategic_on_custom_objects(api: Session) -> None:
    """415 with the kinds that are known."""
    api.make(api.wfe(), api.execution())
    api.patch(api.wfe("x"), {"spec": {}}, "strategic", 415)


def deployment() -> dict[str, Any]:
    """Scaled to nothing and paused: the controller manager has nothing to do with it."""
    containers = [
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}], "args": ["1", "2"]},
        {"name": "b", "image": "b:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "paused": True,
            "replicas": 0,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {
                    "containers": containers,
                    "tolerations": [{"key": "t", "operator": "Exists"}],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                },
            },
        },
    }


def in_template(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        (in_template(containers=[{"name": "a", "image": "a:2"}]), 200),
        (in_template(containers=[{"name": "c", "image": "c:1"}]), 200),
        (in_template(containers=[{"name": "a", "$patch": "delete"}]), 200),
        (in_template(containers=[{"name": "z", "$patch": "delete"}]), 200),
        (in_template(containers=[{"name": "a", "env": [{"name": "Y", "value": "2"}]}]), 200),
        (in_template(containers=[{"name": "a", "env": [{"name": "X", "value": None}]}]), 200),
        (in_template(containers=[{"name": "a", "args": ["3"]}]), 200),
        (in_template(containers=[{"name": "n", "image": "n"}, {"$patch": "replace"}]), 200),
        (in_template(**{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}), 200),
        (in_template(**{"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
                        "containers": [{"name": "c", "image": "c"}]}), 200),
        (in_template(tolerations=[{"key": "u", "operator": "Exists"}]), 200),
        (in_template(volumes=[{"name": "v", "emptyDir": None, "configMap": {"name": "c"}}]), 200),
        (in_template(volumes=[{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]), 200),
        (in_template(**{"$deleteFromPrimitiveList/nothing": ["x"]}), 200),
        (in_template(containers=[{"image": "no-name"}]), 500),
        (in_template(containers=None), 422),
        (in_template(containers=[]), 200),
        ({"metadata": {"labels": {"x": "y"}, "annotations": None}}, 200),
        ({"spec": {"$patch": "replace", "replicas": 1}}, 422),
        ({"spec": {"$patch": "nonsense"}}, 500),
        ({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, 200),
        ({"spec": {"selector": {"matchLabels": {"app": "e"}}}}, 422),
        ({"spec": {"replicas": "many"}}, 422),
        ({"spec": {"nothing": 1}}, 200),
    ],
    ids=[
        "merge-by-name", "add-element", "delete-element", "delete-missing", "nested-list", "nested-null", "atomic-list",
        "replace-list", "order", "order-with-new", "atomic-tolerations", "change-source", "retain-keys",
        "primitive-directive", "no-merge-key", "null-list", "empty-list", "metadata", "replace-map", "bad-directive",
        "retain-strategy", "immutable-selector", "wrong-type", "unknown-field",
    ],
)  # fmt: skip
def test_strategic(api: Session, patch: Any, code: int) -> None:
    path = api.path("deployments", group="apps/v1")
    api.make(path, deployment())
    api.patch(f"{path}/d", patch, "strategic", code, dryRun="All", keep="metadata.labels spec")


def test_strategic_finalizers(api: Session) -> None:
    """A list of words that merges, and the directive that takes words away."""
    api.make(api.cm(), api.config_map(finalizers=["example.com/a"]))
    api.patch(api.cm("a"), {"metadata": {"finalizers": ["example.com/b"]}}, "strategic", keep="metadata.finalizers")
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
    api.patch(api.cm("a"), patch, "strategic", keep="metadata.finalizers")


def test_strategic_owner_references(api: Session) -> None:
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": api.ns}
    uid = api.get(f"/api/v1/namespaces/{api.ns}", quiet=True)["metadata"]["uid"]
    api.make(api.cm(), api.config_map(ownerReferences=[{**owner, "uid": uid}]))
    patch = {"metadata": {"ownerReferences": [{"uid": uid, "controller": True}]}}
    api.patch(api.cm("a"), patch, "strategic", keep="metadata.ownerReferences")
    patch = {"metadata": {"ownerReferences": [{"uid": uid, "$patch": "delete"}]}}
    api.patch(api.cm("a"), patch, "strategic", keep="metadata.ownerReferences")


@pytest.mark.parametrize("body", [b"{", b"[]", b""], ids=["half", "list", "empty"])
def test_strategic_garbage(api: Session, body: bytes) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.patch(api.cm("a"), body, "strategic", 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "text/plain",
        "",
        "application/json-patch",
        "application/yaml",
        "application/apply-patch+json",
    ],
)
def test_patch_content_types(api: Session, content_type: str) -> None:
    """A client that sends application/json with PATCH is told."""
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution())
    for path in (api.cm("a"), api.wfe("x")):
        api.call("PATCH", path, b"{}", 415, content_type=content_type or None)


def test_patch_content_type_with_parameters(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    body = b'{"data":{"a":"b"}}'
    api.call("PATCH", api.cm("a"), body, 200, content_type="application/merge-patch+json; charset=utf-8", keep="data")


def test_patch_is_tried_again_by_the_server(api: Session) -> None:
    """Without a version in it a patch never conflicts."""
    api.make(api.cm(), api.config_map())
    for number in range(5):
        api.patch(api.cm("a"), {"data": {str(number): "x"}}, quiet=True)
    api.get(api.cm("a"), keep="data")


@pytest.mark.parametrize("level", ["Warn", "Strict"])
def test_json_unknown_and_duplicate_fields(api: Session, level: str) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    body = b'[{"op":"test","path":"/data/k","value":"v","bogus":1,"op":"test"}]'
    code = 422 if level == "Strict" else 200
    api.patch(
        api.cm("a"),
        body,
        "json",
        code,
        fieldValidation=level,
        show=lambda seen: seen.get("message", "").rpartition(": strict")[2],
    )


def test_merge_duplicate_fields(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.patch(api.cm("a"), b'{"data":{"x":"1","x":"2"}}', keep="data")


def test_json_negative_index(api: Session) -> None:
    api.make(api.cm(), api.config_map(finalizers=["example.com/a", "example.com/b"]))
    api.patch(api.cm("a"), [{"op": "remove", "path": "/metadata/finalizers/-1"}], "json", keep="metadata.finalizers")
    api.patch(api.cm("a"), [{"op": "remove", "path": "/metadata/finalizers/-5"}], "json", 422)


def test_json_most_operations(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    operations = [{"op": "test", "path": "/data/k", "value": "v"}] * 10000
    api.patch(api.cm("a"), operations, "json", keep="data")

"""The patch languages; every expectation was taken from a real kube-apiserver 1.36."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import definitions
from wfe_controller.sandbox.apiserver.patches import json_patch, merge_patch, problems, strategic_merge
from wfe_controller.sandbox.apiserver.status import StatusError

Json = dict[str, Any]

REJECTED = (422, "Invalid", "the server rejected our request due to an error in our request", {})
DOC: Json = {"metadata": {"name": "j", "finalizers": ["a", "b"]}, "data": {"x": "1", "flag": True, "none": None}}


def encoded(patch: object) -> bytes:
    return patch.encode() if isinstance(patch, str) else json.dumps(patch).encode()


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[int, str, str, Any]:
    with pytest.raises(StatusError) as caught:
        call(*arguments, **named)
    return caught.value.code, caught.value.reason, caught.value.message, caught.value.details


@pytest.mark.parametrize(
    ("operations", "path", "value"),
    [
        ([{"op": "test", "path": "/data/x", "value": "1"}], "data", DOC["data"]),
        ([{"op": "test", "path": "/data/missing", "value": None}], "data", DOC["data"]),
        ([{"op": "add", "path": "/data/a~1b~0c", "value": 1}], "data", {**DOC["data"], "a/b~c": 1}),
        ([{"op": "replace", "path": "/data/new", "value": 1}], "data", {**DOC["data"], "new": 1}),
        ([{"op": "remove", "path": "/metadata/finalizers/-1"}], "finalizers", ["a"]),
        ([{"op": "add", "path": "/metadata/finalizers/-", "value": "c"}], "finalizers", ["a", "b", "c"]),
        ([{"op": "add", "path": "/metadata/finalizers/1", "value": "c"}], "finalizers", ["a", "c", "b"]),
        ([{"op": "replace", "path": "/metadata/finalizers/0", "value": "c"}], "finalizers", ["c", "b"]),
        ([{"op": "move", "from": "/data/x", "path": "/data/y"}], "data", {"flag": True, "none": None, "y": "1"}),
        ([{"op": "copy", "from": "/data/x", "path": "/data/y"}], "data", {**DOC["data"], "y": "1"}),
        ([{"op": "add", "path": "data/x", "value": "9"}], "data", DOC["data"]),
        ([], "data", DOC["data"]),
        ("null", "data", DOC["data"]),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, list) else None,
)
def test_operations_that_apply(operations: object, path: str, value: object) -> None:
    before = copy.deepcopy(DOC)
    patched = json_patch(DOC, encoded(operations))
    assert (patched["metadata"] if path == "finalizers" else patched)[path] == value
    assert before == DOC


@pytest.mark.parametrize(
    "operation",
    [
        None,
        {"op": "zork", "path": "/data"},
        {"op": "add"},
        {"op": "test", "path": "/data/x", "value": "2"},
        {"op": "test", "path": "/data/x"},
        {"op": "test", "path": "/data/flag", "value": 1},
        {"op": "test", "path": "/nope/x", "value": None},
        {"op": "remove", "path": "/data/missing"},
        {"op": "remove", "path": "/data/x/y"},
        {"op": "remove", "path": "/metadata/finalizers/2"},
        {"op": "add", "path": "/metadata/finalizers/3", "value": "c"},
        {"op": "add", "path": "/data/none/y", "value": "c"},
        {"op": "replace", "path": "/metadata/finalizers/-", "value": "c"},
        {"op": "replace", "path": "", "value": 3},
        {"op": "move", "from": "/data/missing", "path": "/data/y"},
        {"op": "move", "path": "/data/y"},
        {"op": "copy", "from": "/data/x", "path": "/nope/y"},
    ],
    ids=json.dumps,
)
def test_operations_that_do_not_apply_are_rejected_without_a_reason(operation: Json | None) -> None:
    assert refusal(json_patch, DOC, encoded([operation])) == REJECTED


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("[", "unexpected end of JSON input"),
        ("{}", "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ("[1]", "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        ('[{"op":1}]', "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
    ],
)
def test_what_is_no_json_patch_is_a_bad_request(body: str, text: str) -> None:
    assert refusal(json_patch, DOC, body.encode())[:3] == (400, "BadRequest", f"error decoding patch: {text}")


def test_without_field_validation_the_texts_are_those_of_the_library() -> None:
    text = "json: cannot unmarshal number into Go value of type jsonpatch.Operation"
    assert refusal(json_patch, DOC, b"[1]", validates=False)[2] == text
    assert refusal(merge_patch, DOC, b"[", validates=False)[2] == "Invalid JSON Patch"


def test_ten_thousand_operations_are_the_limit() -> None:
    operations = [{"op": "test", "path": "/data/x", "value": "1"}] * 10_000
    assert json_patch(DOC, encoded(operations)) == DOC
    assert refusal(json_patch, DOC, encoded([*operations, operations[0]]))[:3] == (
        413,
        "RequestEntityTooLarge",
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    )


def test_fields_given_twice_and_unknown_ones_are_told() -> None:
    body = b'[{"op":"add","op":"test","path":"/data/x","value":"1","bogus":1}]'
    assert problems(body, operations=True) == [
        'json patch unknown field "[0].bogus"',
        'json patch duplicate field "[0].op"',
    ]
    assert problems(b'{"a":{"b":1,"b":2}}', operations=False) == ['duplicate field "a.b"']


@pytest.mark.parametrize(
    ("patch", "data"),
    [
        ({}, DOC["data"]),
        ({"data": {"x": None, "y": "2"}}, {"flag": True, "none": None, "y": "2"}),
        ({"data": {"x": {"a": None, "b": [{"c": None}]}}}, {**DOC["data"], "x": {"b": [{}]}}),
        ({"data": [{"c": None}]}, [{"c": None}]),
        ({"data": "s"}, "s"),
    ],
    ids=json.dumps,
)
def test_merge_patches(patch: Json, data: object) -> None:
    """A null inside of a list goes only when the list is new; where it replaces an object it stays."""
    assert merge_patch(DOC, encoded(patch))["data"] == data


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("[]", "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("", "error decoding patch: unexpected end of JSON input"),
        ("null", "Invalid JSON Patch"),
    ],
)
def test_what_is_no_merge_patch_is_a_bad_request(body: str, text: str) -> None:
    assert refusal(merge_patch, DOC, body.encode())[:3] == (400, "BadRequest", text)


# -- strategic --------------------


POD = definitions.schema("io.k8s.api.core.v1.Pod")


def pod() -> Json:
    def container(name: str) -> Json:
        return {"name": name, "image": "i", "ports": [{"containerPort": 80}], "args": ["1"]}

    return {
        "metadata": {"name": "p", "finalizers": ["a", "b"]},
        "spec": {
            "containers": [container(name) for name in "abcde"],
            "volumes": [{"name": "v", "configMap": {"name": "x"}}],
            "tolerations": [{"key": "k"}],
        },
    }


def names(patch: Json) -> str:
    merged = strategic_merge(pod(), encoded({"spec": patch}), POD)
    return "".join(container["name"] for container in merged["spec"]["containers"])


def order(letters: str) -> list[Json]:
    return [{"name": letter} for letter in letters]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"containers": [{"name": "c", "image": "z"}]}, "abcde"),
        ({"containers": [{"name": "n"}, {"name": "a", "$patch": "delete"}]}, "nbcde"),
        ({"containers": [{"name": "n"}, {"$patch": "replace"}]}, "n"),
        ({"$setElementOrder/containers": order("edcba"), "containers": [{"name": "c", "image": "z"}]}, "edcba"),
        ({"$setElementOrder/containers": order("edcba")}, "edcba"),
        (
            {
                "$setElementOrder/containers": order("ybdz"),
                "containers": [{"name": "y"}, {"name": "z"}, {"name": "a", "$patch": "delete"}],
            },
            "ceybdz",
        ),
    ],
    ids=["merge", "add-and-delete", "replace", "order", "order-only", "order-after-deletion"],
)
def test_containers_are_merged_by_name(patch: Json, expected: str) -> None:
    assert names(patch) == expected


def test_lists_without_a_strategy_are_replaced_and_those_of_primitives_united() -> None:
    patch = {
        "metadata": {"finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"]},
        "spec": {"tolerations": [{"key": "z"}], "containers": [{"name": "a", "args": ["9"]}]},
    }
    merged = strategic_merge(pod(), encoded(patch), POD)
    assert merged["spec"]["tolerations"] == [{"key": "z"}]
    assert merged["spec"]["containers"][0] == {**pod()["spec"]["containers"][0], "args": ["9"]}
    assert merged["metadata"]["finalizers"] == ["c", "b"]


def test_retained_keys_drop_the_other_members_of_a_union() -> None:
    volume = {"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}, "configMap": None}
    merged = strategic_merge(pod(), encoded({"spec": {"volumes": [volume]}}), POD)
    assert merged["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(("directive", "labels"), [("replace", {"n": "1"}), ("delete", {})])
def test_maps_are_replaced_or_emptied(directive: str, labels: Json) -> None:
    doc = {"metadata": {"labels": {"o": "1"}}}
    patch = {"metadata": {"labels": {"$patch": directive, "n": "1"}}}
    assert strategic_merge(doc, encoded(patch), POD)["metadata"]["labels"] == labels


@pytest.mark.parametrize(
    ("patch", "code", "text"),
    [
        ([], 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (
            {"spec": {"containers": [{"image": "z"}]}},
            500,
            "map: map[image:z] does not contain declared merge key: name",
        ),
        (
            {"spec": {"containers": [{"name": "a", "$patch": "zork"}]}},
            500,
            "unknown patch type: zork in map: map[$patch:zork name:a]",
        ),
        ({"spec": {"$patch": "foo"}}, 500, "unknown patch type: foo in map: map[$patch:foo]"),
        ({"metadata": {"$retainKeys": "name"}}, 400, "invalid patch format of retainKeys"),
        ({"metadata": {"$retainKeys": ["name"], "labels": {}}}, 400, "invalid patch format of retainKeys"),
        ({"metadata": {"$setElementOrder/finalizers": "x"}}, 500, "expected a []interface {}, but received a string"),
        (
            {"metadata": {"$setElementOrder/finalizers": ["e", "d"], "finalizers": ["d", "e"]}},
            500,
            "The order in patch list:\n[d e]\n doesn't match $setElementOrder list:\n[e d]\n",
        ),
        (
            {"spec": {"$setElementOrder/zork": [1]}},
            500,
            'unable to find api field in struct PodSpec for the json field "zork"',
        ),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, (dict, list)) else None,
)
def test_broken_strategic_patches(patch: object, code: int, text: str) -> None:
    assert refusal(strategic_merge, pod(), encoded(patch), POD)[::2][:2] == (code, text)

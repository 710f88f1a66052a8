"""Structural schemas prune, default and refuse as a real server (1.36) did; texts and fields are from its answers."""

from __future__ import annotations

from typing import Any

import pytest

from wfe_controller.sandbox.apiserver.definitions import definitions, schema
from wfe_controller.sandbox.apiserver.gotypes import Mismatch
from wfe_controller.sandbox.apiserver.schema import Schema

FIELDS: dict[str, Any] = {
    "must": {"type": "string"},
    "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
    "i": {"type": "integer", "minimum": 1, "maximum": 10},
    "open": {"type": "integer", "minimum": 1, "maximum": 10, "exclusiveMinimum": True, "exclusiveMaximum": True},
    "i32": {"type": "integer", "format": "int32"},
    "i64": {"type": "integer", "format": "int64"},
    "n": {"type": "number", "minimum": 0.5},
    "b": {"type": "boolean"},
    "e": {"type": "string", "enum": ["a", "b"]},
    "l": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
    "lo": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["k"],
            "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 7}},
        },
    },
    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    "map": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a", "b"],
        "items": {
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string"},
                "b": {"type": "integer", "default": 1},
                "c": {"type": "string", "maxLength": 3},
            },
        },
    },
    "ap": {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "integer"}},
    "dt": {"type": "string", "format": "date-time"},
    "dur": {"type": "string", "format": "duration"},
    "nul": {"type": "string", "nullable": True},
    "nuld": {"type": "string", "nullable": True, "default": "dd"},
    "nond": {"type": "string", "default": "dd"},
    "ios": {"x-kubernetes-int-or-string": True},
    "any": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"known": {"type": "object", "properties": {"x": {"type": "string"}}}},
    },
    "emb": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    },
    "obj": {
        "type": "object",
        "default": {"x": 1},
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 5}},
    },
    "one": {
        "type": "object",
        "properties": {"p": {"type": "string"}, "q": {"type": "string"}},
        "oneOf": [{"required": ["p"]}, {"required": ["q"]}],
    },
}
SCHEMA = Schema.compile(
    {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {"type": "object", "required": ["must"], "properties": FIELDS},
            "status": {"type": "object", "properties": {"l": FIELDS["l"], "phase": FIELDS["e"]}},
        },
    }
)
DEFAULTED = {"nond": "dd", "nuld": "dd", "obj": {"x": 1, "y": 5}}


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.y/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"must": "x", **spec}}


def defaulted(**spec: Any) -> dict[str, Any]:
    obj = thing(**spec)
    SCHEMA.default(obj)
    return obj


def said(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str, str]]:
    return [(one.field, one.reason.removeprefix("FieldValue"), one.message) for one in SCHEMA.validate(obj, old)]


def wrong(path: str, wanted: str, actual: str) -> tuple[str, str, str]:
    return (path, "TypeInvalid", f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"')


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"must": None}, [("spec.must", "Required", "Required value")]),
        ({"must": 1}, [wrong("spec.must", "string", "integer")]),
        ({"s": "abcde"}, [("spec.s", "TooLong", "Too long: may not be more than 4 bytes")]),
        ({"s": "A"}, [("spec.s", "Invalid", 'Invalid value: "A": spec.s in body should be at least 2 chars long')]),
        ({"s": "aa\n"}, [("spec.s", "Invalid", "Invalid value: \"aa\\n\": spec.s in body should match '^[a-z]+$'")]),
        ({"i": 0}, [("spec.i", "Invalid", "Invalid value: 0: spec.i in body should be greater than or equal to 1")]),
        ({"i": 11}, [("spec.i", "Invalid", "Invalid value: 11: spec.i in body should be less than or equal to 10")]),
        ({"open": 1}, [("spec.open", "Invalid", "Invalid value: 1: spec.open in body should be greater than 1")]),
        ({"open": 10}, [("spec.open", "Invalid", "Invalid value: 10: spec.open in body should be less than 10")]),
        (
            {"i": 1.5},
            [
                wrong("spec.i", "integer", "number"),
                (
                    "<nil>",
                    "Invalid",
                    'Invalid value: "": Checked value must be of type integer (default format) in spec.i',
                ),
            ],
        ),
        (
            {"i32": 2**31},
            [
                (
                    "<nil>",
                    "Invalid",
                    'Invalid value: "": Checked value must be of type integer with format int32 in spec.i32',
                )
            ],
        ),
        ({"i64": True}, [wrong("spec.i64", "int64", "")]),
        (
            {"n": 0.1},
            [("spec.n", "Invalid", "Invalid value: 0.1: spec.n in body should be greater than or equal to 0.5")],
        ),
        ({"b": 0}, [wrong("spec.b", "boolean", "integer")]),
        ({"e": "c"}, [("spec.e", "NotSupported", 'Unsupported value: "c": supported values: "a", "b"')]),
        ({"l": []}, [("spec.l", "Invalid", "Invalid value: 0: spec.l in body should have at least 1 items")]),
        ({"l": ["a", "b", "c"]}, [("spec.l", "TooMany", "Too many: 3: must have at most 2 items")]),
        ({"l": [None]}, [wrong("spec.l[0]", "string", "null")]),
        ({"lo": [{"k": "a"}, {}]}, [("spec.lo[1].k", "Required", "Required value")]),
        ({"set": ["a", "b", "a", "a"]}, [("spec.set[2]", "Duplicate", 'Duplicate value: "a"')]),
        ({"map": [{"a": "x"}, {"a": "x"}]}, [("spec.map[1]", "Duplicate", 'Duplicate value: {"a":"x","b":1}')]),
        ({"ap": {}}, [("spec.ap", "Invalid", "Invalid value: 0: spec.ap in body should have at least 1 properties")]),
        ({"ap": {"a": 1, "b": 2, "c": 3}}, [("spec.ap", "TooMany", "Too many: 3: must have at most 2 items")]),
        ({"ap": {"a": "x"}}, [wrong("spec.ap.a", "integer", "string")]),
        ({"dt": "x"}, [wrong("spec.dt", "date-time", "x")]),
        ({"dt": 1}, [wrong("spec.dt", "date-time", "int64")]),
        ({"dt": "2020-01-01T24:00:00Z"}, [wrong("spec.dt", "date-time", "2020-01-01T24:00:00Z")]),
        ({"dur": "x"}, [wrong("spec.dur", "duration", "x")]),
        ({"ios": 1.5}, [wrong("spec.ios", "integer,string", "number")]),
        ({"emb": {"kind": "Pod"}}, [("spec.emb.apiVersion", "Required", "Required value")]),
        (
            {"emb": {"kind": "Pod", "apiVersion": ""}},
            [("spec.emb.apiVersion", "Invalid", 'Invalid value: "": must not be empty')],
        ),
        (
            {"one": {"p": "1", "q": "2"}},
            [
                (
                    "<nil>",
                    "Invalid",
                    'Invalid value: "": "spec.one" must validate one and only one schema (oneOf). '
                    "Found 2 valid alternatives",
                )
            ],
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_refusals(spec: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert said(defaulted(**spec)) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {"dt": "2020-01-01t00:00:00z"},
        {"dt": "2020-01-01T00:00:00.123456789+01:00"},
        {"dt": [1]},  # lists get past a format
        {"dur": "3 days"},
        {"dur": "1h30m"},
        {"ios": "a"},
        {"nul": None},
        {"i64": 2**63 - 1},
    ],
    ids=str,
)
def test_what_the_real_server_lets_through(spec: dict[str, Any]) -> None:
    assert said(defaulted(**spec)) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, DEFAULTED),
        ({"nuld": None}, {**DEFAULTED, "nuld": None}),
        ({"nond": None}, DEFAULTED),
        ({"nul": None}, {**DEFAULTED, "nul": None}),
        ({"i": None, "l": None}, DEFAULTED),
        ({"ap": {"a": None}}, {**DEFAULTED, "ap": {}}),
        ({"obj": {}}, {**DEFAULTED, "obj": {"y": 5}}),
        ({"lo": [{"k": "a"}]}, {**DEFAULTED, "lo": [{"k": "a", "v": 7}]}),
    ],
    ids=str,
)
def test_defaults_and_nulls(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert defaulted(**spec)["spec"] == {"must": "x", **expected}


def test_defaults_are_not_shared_between_objects() -> None:
    defaulted()["spec"]["obj"]["x"] = 99
    assert defaulted()["spec"]["obj"] == {"x": 1, "y": 5}


def test_unknown_fields_go_and_are_told_in_order() -> None:
    """Those of metadata first, the others sorted; preserved ones stay, but not inside what the schema knows."""
    obj = thing(zz=1, lo=[{"k": "a", "q": 1}], any={"free": {"a": 1}, "known": {"x": "1", "y": 2}}, l={"a": 1})
    obj["root"] = 1
    obj["metadata"] = {"name": "a", "foo": 1, "labels": {}, "ownerReferences": [{"uid": "u", "zz": 1}]}
    told = [text.removeprefix("unknown field ").strip('"') for text in SCHEMA.prune(obj)]
    assert told == [
        "metadata.foo",
        "metadata.ownerReferences[0].zz",
        "root",
        "spec.any.known.y",
        "spec.l.a",
        "spec.lo[0].q",
        "spec.zz",
    ]
    assert obj["spec"]["any"] == {"free": {"a": 1}, "known": {"x": "1"}}
    assert obj["metadata"] == {"name": "a", "ownerReferences": [{"uid": "u"}]}


def test_what_was_broken_before_and_has_not_changed_is_forgiven() -> None:
    """Ratcheting, down to single items of list maps; not for items of plain lists."""
    old = thing(i=0, map=[{"a": "x", "c": "much too long"}], lo=[{}], set=["a", "a"])
    new = thing(i=0, map=[{"a": "y"}, {"a": "x", "c": "much too long"}], lo=[{}, {"k": "a"}], set=["a", "a", "b"])
    assert said(new, old) == [("spec.lo[0].k", "Required", "Required value")]
    assert [field for field, _, _ in said(thing(i=-1), old)] == ["spec.i"]


def test_a_write_to_status_looks_at_the_status_only() -> None:
    """Texts speak of paths inside the status, fields of whole paths: so does the real server."""
    obj = {**thing(i=0), "status": {"phase": "z", "l": []}}
    causes = [(one.field, one.message) for one in SCHEMA.validate_status(obj, thing())]
    assert causes == [
        ("status.phase", 'Unsupported value: "z": supported values: "a", "b"'),
        ("status.l", "Invalid value: 0: l in body should have at least 1 items"),
    ]


# -- built-in kinds --------------------


def builtin(name: str) -> Schema:
    return Schema.compile(schema(name))


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            {"metadata": {"name": 1}},
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
        ),
        ({"metadata": "x"}, "cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ({"data": {"a": 1}}, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ({"data": [1]}, "cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"),
        ({"immutable": "x"}, "cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"),
    ],
)
def test_go_types_of_built_in_kinds(obj: dict[str, Any], message: str) -> None:
    with pytest.raises(Mismatch) as caught:
        builtin("io.k8s.api.core.v1.ConfigMap").prune(obj)
    assert str(caught.value) == f"json: {message}"


def test_a_broken_base64_is_told_by_its_byte() -> None:
    with pytest.raises(Mismatch, match="illegal base64 data at input byte 0"):
        builtin("io.k8s.api.core.v1.ConfigMap").prune({"binaryData": {"a": "*"}})


def test_struct_fields_are_always_there_and_quantities_have_one_form() -> None:
    pod = {
        "metadata": {"name": "a"},
        "spec": {
            "containers": [{"name": "c", "env": [], "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}}],
            "foo": 1,
            "nodeName": None,
        },
    }
    assert builtin("io.k8s.api.core.v1.Pod").prune(pod) == ['unknown field "spec.foo"']
    container = {"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}
    assert pod == {"metadata": {"name": "a"}, "spec": {"containers": [container]}, "status": {}}


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        ("2020-01-01T00:00:00.000001Z", None),
        (
            "2020-01-01T00:00:00Z",
            'parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
    ],
)
def test_a_lease_wants_six_digits_behind_the_second(time: str, problem: str | None) -> None:
    lease = {"metadata": {"name": "a"}, "spec": {"renewTime": time}}
    if problem is None:
        assert builtin("io.k8s.api.coordination.v1.Lease").prune(lease) == []
        assert lease["spec"]["renewTime"] == time
    else:
        with pytest.raises(Mismatch) as caught:
            builtin("io.k8s.api.coordination.v1.Lease").prune(lease)
        assert str(caught.value) == problem


def test_the_committed_definitions_are_whole() -> None:
    """Every reference leads somewhere; a definition is one object wherever it is used."""
    for name in definitions():
        assert schema(name)["x-definition"] == name
    pod, template = schema("io.k8s.api.core.v1.Pod"), schema("io.k8s.api.core.v1.PodTemplateSpec")
    assert pod["properties"]["spec"]["properties"] is template["properties"]["spec"]["properties"]

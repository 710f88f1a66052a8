"""CEL rules: what they see, when they are asked, and what they say; compared with a real server (1.36) when written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wfe_controller.sandbox.apiserver import cel
from wfe_controller.sandbox.apiserver.cel import RuleError, Rules
from wfe_controller.sandbox.apiserver.status import cause

CRDS = sorted((Path(__file__).resolve().parents[4] / "manifests/crds").glob("kubernaut*.yaml"))


def spec_of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}


def ruled(schema: dict[str, Any], *rules: str | dict[str, Any]) -> dict[str, Any]:
    listed = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {**schema, "x-kubernetes-validations": listed}


def said(fields: dict[str, Any], new: Any, old: Any = None) -> list[tuple[str, str, str]]:
    rules = Rules.compile(spec_of(**fields))
    causes = rules.evaluate({"spec": new}, None if old is None else {"spec": old})
    return [(one.field, one.reason.removeprefix("FieldValue"), one.message) for one in causes]


INT = {"type": "integer"}
TEXT = {"type": "string", "maxLength": 64}


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_every_rule_of_ours_compiles(path: Path) -> None:
    for version in yaml.safe_load(path.read_text())["spec"]["versions"]:
        assert Rules.compile(version["schema"]["openAPIV3Schema"])


def test_a_schema_without_rules_is_false() -> None:
    assert not Rules.compile(spec_of(a=INT))
    assert not Rules.compile(None)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (ruled(INT, "self > 0"), -1, ("spec.f", "Invalid", "Invalid value: -1: failed rule: self > 0")),
        (
            ruled(TEXT, {"rule": "self != 'bad'", "message": " no "}),
            "bad",
            ("spec.f", "Invalid", 'Invalid value: "bad": no'),
        ),
        (
            ruled({"type": "array", "items": INT}, {"rule": "self.size() < 2", "message": "short"}),
            [1, 2],
            ("spec.f", "Invalid", "Invalid value: short"),
        ),
        (
            ruled({"type": "object", "properties": {"x": INT}}, "self.x < 100"),
            {},
            ("spec.f", "Invalid", 'Invalid value: "object": no such key: x evaluating rule: self.x < 100'),
        ),
        (
            ruled({"type": "array", "items": INT}, "self[1] == 3"),
            [1],
            ("spec.f", "Invalid", 'Invalid value: "array": index out of bounds: 1 evaluating rule: self[1] == 3'),
        ),
        (
            ruled(INT, "1 / self == 1"),
            0,
            ("spec.f", "Invalid", 'Invalid value: "integer": division by zero evaluating rule: 1 / self == 1'),
        ),
        (
            ruled(TEXT, {"rule": "self != 'd'", "reason": "FieldValueDuplicate", "message": "never said"}),
            "d",
            ("spec.f", "Duplicate", 'Duplicate value: "d"'),
        ),
        (
            ruled(TEXT, {"rule": "self != 'f'", "reason": "FieldValueForbidden", "message": "m"}),
            "f",
            ("spec.f", "Forbidden", "Forbidden: m"),
        ),
        (
            ruled(
                {"type": "object", "properties": {"a-b": TEXT}},
                {
                    "rule": "self.a__dash__b != 'x'",
                    "reason": "FieldValueRequired",
                    "message": "m",
                    "fieldPath": "['a-b']",
                },
            ),
            {"a-b": "x"},
            ("spec.f.a-b", "Required", "Required value: m"),
        ),
        (
            ruled(INT, {"rule": "self != 5", "messageExpression": "'it is ' + string(self)"}),
            5,
            ("spec.f", "Invalid", "Invalid value: 5: it is 5"),
        ),
        (
            ruled(INT, {"rule": "self != 5", "messageExpression": "string(1 / 0)", "message": "fallback"}),
            5,
            ("spec.f", "Invalid", "Invalid value: 5: fallback"),
        ),
    ],
    ids=[
        "scalar",
        "message",
        "list",
        "missing-key",
        "index",
        "zero",
        "duplicate",
        "forbidden",
        "path",
        "said",
        "fallback",
    ],
)
def test_what_a_failing_rule_says(schema: dict[str, Any], value: Any, expected: tuple[str, str, str]) -> None:
    assert said({"f": schema}, {"f": value}) == [expected]


def test_rules_below_maps_and_lists() -> None:
    schema = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": ruled(INT, {"rule": "self > 0", "message": "m"})},
    }
    assert said({"f": schema}, {"f": {"k": [1, 0]}}) == [("spec.f[k][1]", "Invalid", "Invalid value: 0: m")]


@pytest.mark.parametrize(
    ("rule", "value", "good"),
    [
        ("self.at < timestamp('2025-01-01T00:00:00Z')", {"at": "2024-06-01T00:00:00+02:00"}, True),
        ("self.at < timestamp('2025-01-01T00:00:00Z')", {"at": "2026-06-01T00:00:00Z"}, False),
        ("!has(self.at) || self.wait < duration('1h')", {"at": "2026-06-01T00:00:00Z", "wait": "59m"}, True),
        ("!has(self.at) || self.wait < duration('1h')", {"at": "2026-06-01T00:00:00Z", "wait": "61m"}, False),
        ("!has(self.at) || self.wait < duration('1h')", {}, True),
        ("self.__namespace__ == 'a'", {"namespace": "a"}, True),
        ("self.list.map(x, x * 2).sum() == 6", {"list": [1, 2]}, True),
        ("self.list.exists_one(x, x == 1) && self.list.all(x, x < 3)", {"list": [1, 2]}, True),
        ("type(self.either) == int ? self.either > 1 : self.either == 'x'", {"either": "x"}, True),
        ("self.number / 2.0 == 2.5", {"number": 5}, True),
        ("self.text.split('/').size() == 2 && self.text.matches('^a.b$')", {"text": "a/b"}, True),
        ("self.text.matches('^a$')", {"text": "a\n"}, False),
        ("self.text.contains('.matches(\\'x\\')')", {"text": ".matches('x')"}, True),
    ],
)
def test_what_rules_see(rule: str, value: dict[str, Any], good: bool) -> None:
    fields = {
        "at": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "namespace": TEXT,
        "list": {"type": "array", "items": INT},
        "either": {"x-kubernetes-int-or-string": True},
        "number": {"type": "number"},
        "text": TEXT,
    }
    found = said({"f": ruled({"type": "object", "properties": fields}, rule)}, {"f": value})
    assert found == ([] if good else [("spec.f", "Invalid", f"Invalid value: failed rule: {rule}")])


FROZEN = ruled(TEXT, {"rule": "self == oldSelf", "message": "frozen"})


def test_transition_rules_need_a_past() -> None:
    assert said({"f": FROZEN}, {"f": "a"}) == []
    assert said({"f": FROZEN}, {"f": "a"}, {}) == []
    assert said({"f": FROZEN}, {}, {"f": "a"}) == []
    assert said({"f": FROZEN}, {"f": "b"}, {"f": "a"}) == [("spec.f", "Invalid", 'Invalid value: "b": frozen')]


def test_optional_old_self_is_asked_on_create_too() -> None:
    rule = {"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": True, "message": "m"}
    assert said({"f": ruled(TEXT, rule)}, {"f": "a"}) == []
    assert [one[0] for one in said({"f": ruled(TEXT, rule)}, {"f": "b"}, {"f": "a"})] == ["spec.f"]


def test_a_rule_that_was_broken_before_is_forgiven_while_the_value_stays() -> None:
    fields = {"f": ruled(TEXT, "self != 'bad'"), "g": TEXT}
    assert said(fields, {"f": "bad", "g": "new"}, {"f": "bad", "g": "old"}) == []
    assert len(said(fields, {"f": "bad"}, {"f": "good"})) == 1


STEPS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"],
    "items": ruled(
        {"type": "object", "properties": {"k": TEXT, "v": TEXT}},
        {"rule": "self.v == oldSelf.v", "message": "m", "fieldPath": ".v"},
    ),
}


def test_items_of_list_maps_have_a_past_by_their_key() -> None:
    old = {"f": [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]}
    assert said({"f": STEPS}, {"f": [{"k": "b", "v": "3"}, {"k": "a", "v": "1"}, {"k": "c", "v": "9"}]}, old) == [
        ("spec.f[0].v", "Invalid", "Invalid value: m")
    ]


def test_the_order_of_a_list_map_is_no_change() -> None:
    """A real server takes a spec with its steps in another order for the same spec."""
    whole = ruled({"type": "object", "properties": {"steps": STEPS}}, {"rule": "self == oldSelf", "message": "fixed"})
    old = {"f": {"steps": [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]}}
    assert said({"f": whole}, {"f": {"steps": old["f"]["steps"][::-1]}}, old) == []
    assert said({"f": whole}, {"f": {"steps": old["f"]["steps"][:1]}}, old) == [
        ("spec.f", "Invalid", "Invalid value: fixed")
    ]


GO_RULE = '{"Rule":"%s","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}'


@pytest.mark.parametrize(
    ("schema", "field", "message"),
    [
        (ruled(INT, ""), "rule", "Required value: rule is not specified"),
        (
            ruled(INT, "foo(self)"),
            "rule",
            f"Invalid value: {GO_RULE % 'foo(self)'}: compilation failed: ERROR: <input>:1:4: undeclared reference to "
            "'foo' (in container '')\n | foo(self)\n | ...^",
        ),
        (
            ruled(INT, "self == 'a'"),
            "rule",
            "Invalid value: "
            + GO_RULE % "self == 'a'"
            + ": compilation failed: ERROR: <input>:1:6: found no matching overload for '_==_' applied to "
            "'(int, string)'\n | self == 'a'\n | .....^",
        ),
        (
            ruled(INT, "self.x == 1"),
            "rule",
            f"Invalid value: {GO_RULE % 'self.x == 1'}: compilation failed: ERROR: <input>:1:5: type 'int' does not "
            "support field selection\n | self.x == 1\n | ....^",
        ),
        (
            ruled({"type": "object", "properties": {"x": INT}}, "has(self.foo) && self.x > 0"),
            "rule",
            "Invalid value: "
            + GO_RULE % r"has(self.foo) \u0026\u0026 self.x \u003e 0"
            + ": compilation failed: ERROR: <input>:1:4: undefined field 'foo'\n"
            " | has(self.foo) && self.x > 0\n | ...^",
        ),
        (
            ruled(INT, "self + 1"),
            "rule",
            f"Invalid value: {GO_RULE % 'self + 1'}: cel expression must evaluate to a bool",
        ),
        (
            ruled(INT, {"rule": "self > 0", "reason": "Odd"}),
            "reason",
            'Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", '
            '"FieldValueInvalid", "FieldValueRequired"',
        ),
        (
            ruled({"type": "object", "properties": {"x": INT}}, {"rule": "self.x > 0", "fieldPath": ".y"}),
            "fieldPath",
            'Invalid value: ".y": must be a valid path',
        ),
        (
            ruled(INT, "self > 0 &&\nself < 9"),
            "message",
            "Required value: message must be specified if rule contains line breaks",
        ),
        (
            ruled(INT, {"rule": "self > 0", "message": "  "}),
            "message",
            'Invalid value: "  ": must be non-empty if specified',
        ),
    ],
    ids=["empty", "unknown", "overload", "selection", "field", "no-bool", "reason", "path", "lines", "blank"],
)
def test_rules_that_cannot_be(schema: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rules.compile(spec_of(f=schema))
    (only,) = caught.value.causes
    place = "spec.validation.openAPIV3Schema.properties[spec].properties[f].x-kubernetes-validations[0]"
    assert (only.field, only.message) == (f"{place}.{field}", message)


def test_items_of_plain_lists_have_no_past() -> None:
    with pytest.raises(RuleError, match="oldSelf cannot be used on the uncorrelatable portion of the schema"):
        Rules.compile(spec_of(f={"type": "array", "items": FROZEN}))


def test_which_causes_keep_rules_from_being_asked() -> None:
    blocking = ("Required", "TypeInvalid", "TooLong", "TooMany", "NotSupported")
    assert all(cel.blocked([cause(kind, "f", "m")]) for kind in blocking)
    assert not cel.blocked([cause("Invalid", "f", "m"), cause("Duplicate", "f", "m")])

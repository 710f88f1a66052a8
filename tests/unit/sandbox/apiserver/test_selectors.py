"""Label and field selectors: what they choose, and how a real server (1.36) refuses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wfe_controller.sandbox.apiserver import selectors
from wfe_controller.sandbox.apiserver.status import StatusError

OBJECTS = {"1": {"a": "b"}, "2": {"a": "c", "n": "5"}, "3": {}}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", "123"),
        ("a=b", "1"),
        ("a==b", "1"),
        ("a!=b", "23"),
        ("a in (b,c)", "12"),
        ("a notin (b)", "23"),
        ("a", "12"),
        ("!a", "3"),
        ("n>4", "2"),
        ("n<5", ""),
        ("a,n", "2"),
        ("a in (b,),!n", "1"),
        (" a = b ", "1"),
        ("a=", ""),
        ("in=in", ""),
    ],
)
def test_labels(text: str, chosen: str) -> None:
    matches = selectors.parse_labels(text)
    assert "".join(name for name, labels in OBJECTS.items() if matches(labels)) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in ((", "unable to parse requirement: found '(', expected: ',', ')' or identifier"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        (
            "a<x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
            "an integer",
        ),
        (
            "a=" + "x" * 64,
            f'unable to parse requirement: values[0][a]: Invalid value: "{"x" * 64}": must be no more than 63 bytes',
        ),
    ],
)
def test_bad_label_selectors(text: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_labels(text)
    assert (caught.value.code, caught.value.message) == (400, message)


FIELDS = {"x": {"metadata.name": "x", "spec.a": ""}, "y": {"metadata.name": "y", "spec.a": "1,2"}}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", "xy"),
        ("metadata.name=x", "x"),
        ("metadata.name!=x", "y"),
        ("metadata.name==x,spec.a=", "x"),
        (r"spec.a=1\,2", "y"),
        ("=", "xy"),
        ("metadata.name=x,", "x"),
    ],
)
def test_fields(text: str, chosen: str) -> None:
    matches = selectors.parse_fields(text, {"spec.a"}, True)
    assert "".join(name for name, values in FIELDS.items() if matches(values)) == chosen


@pytest.mark.parametrize(
    ("text", "allowed", "custom", "message"),
    [
        ("metadata.name", (), True, "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("foo=bar", (), True, "field label not supported: foo"),
        (
            "foo=bar",
            (),
            False,
            '"foo" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("foo=bar", ("status.phase",), False, "field label not supported: foo"),
        ("foo=bar", ("status.successful",), False, 'field label "foo" not supported for Job'),
        (r"metadata.name=a\q", (), True, r"invalid field selector: invalid escape sequence: \q"),
        ("metadata.name=a=b", (), True, "invalid field selector: unescaped character in value: 61"),
    ],
)
def test_bad_field_selectors(text: str, allowed: tuple[str, ...], custom: bool, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_fields(text, allowed, custom)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (None, ""),
        ({}, "123"),
        ({"matchLabels": {"a": "b"}}, "1"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, "23"),
        ({"matchLabels": {"a": "c"}, "matchExpressions": [{"key": "n", "operator": "Exists"}]}, "2"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "3"),
    ],
)
def test_selectors_of_objects(selector: dict[str, object] | None, chosen: str) -> None:
    matches: Callable[..., bool] = selectors.parse_selector(selector)
    assert "".join(name for name, labels in OBJECTS.items() if matches(labels)) == chosen

"""fieldsV1: read and written as the real server does, and the set operations ownership rests on."""

from __future__ import annotations

import json

import pytest

from wfe_controller.sandbox.apiserver.fieldsets import FieldSet, key_element, path_text, value_element

REAL = {
    "f:metadata": {"f:finalizers": {".": {}, 'v:"x.y/a"': {}}, "f:labels": {".": {}, "f:app": {}}},
    "f:spec": {
        "f:containers": {
            'k:{"name":"a"}': {
                ".": {},
                "f:image": {},
                "f:ports": {
                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                    'k:{"containerPort":443,"protocol":"UDP"}': {".": {}, "f:containerPort": {}},
                },
            }
        },
        "f:paused": {},
    },
}


def test_what_the_real_server_wrote_comes_back_in_its_order() -> None:
    """Ports are ordered as numbers: 80 before 443."""
    assert json.dumps(FieldSet.from_json(REAL).to_json()) == json.dumps(REAL)


def test_an_item_that_is_owned_without_its_fields_is_a_member() -> None:
    read = FieldSet.from_json({"f:ownerReferences": {".": {}, 'k:{"uid":"u"}': {}}})
    assert read.has(("f:ownerReferences",))
    assert read.has(("f:ownerReferences", 'k:{"uid":"u"}'))


@pytest.mark.parametrize("fields", [{"x": {}}, {"fname": {}}, {"k:{": {}}, {"f:a": 1}, []], ids=repr)
def test_what_is_not_fields_v1_is_refused(fields: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the text of a JSON error is not ours
        FieldSet.from_json(fields)


def test_elements_of_a_future_version_are_dropped() -> None:
    assert FieldSet.from_json({"z:1": {"f:a": {}}, "f:b": {}}).to_json() == {"f:b": {}}


def test_elements_are_named_as_conflicts_name_them() -> None:
    path = ("f:spec", key_element({"name": "a", "containerPort": 80}), value_element('q"'), "i:3")
    assert path_text(path) == '.spec[containerPort=80,name="a"][="q\\""][3]'


def test_letters_that_html_minds_are_escaped_in_values() -> None:
    assert value_element("a<b>&") == 'v:"a\\u003cb\\u003e\\u0026"'
    assert FieldSet.from_json({'v:"a<b"': {}}).has((value_element("a<b"),))


def test_difference_keeps_what_lies_below_and_without_does_not() -> None:
    both = FieldSet.of(("f:a",), ("f:a", "f:b"), ("f:c",))
    assert both.difference(FieldSet.of(("f:a",))).to_json() == {"f:a": {"f:b": {}}, "f:c": {}}
    assert both.without(FieldSet.of(("f:a",))).to_json() == {"f:c": {}}


def test_an_intersection_of_strangers_is_empty() -> None:
    mine, theirs = FieldSet.of(("f:a", "f:b")), FieldSet.of(("f:a", "f:c"))
    assert not mine.intersection(theirs)
    assert mine.union(theirs).to_json() == {"f:a": {"f:b": {}, "f:c": {}}}

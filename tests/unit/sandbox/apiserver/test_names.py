"""Names, labels, finalizers and owners are refused as by a real server (1.36)."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import names
from wfe_controller.sandbox.apiserver.resources import ResourceInfo

CONFIGMAPS = ResourceInfo(group="", version="v1", plural="configmaps", kind="ConfigMap")
NAMESPACES = ResourceInfo(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
CLUSTERROLES = ResourceInfo(group="rbac.authorization.k8s.io", version="v1", plural="clusterroles", kind="ClusterRole")
THINGS = ResourceInfo(group="probe.example", version="v1", plural="things", kind="Thing", custom=True)


def said(metadata: dict[str, Any], info: ResourceInfo = CONFIGMAPS) -> list[tuple[str, str]]:
    """Fields and the beginnings of the texts."""
    return [(one.field, one.message[:70]) for one in names.validate_metadata({"metadata": metadata}, info)]


@pytest.mark.parametrize(
    ("name", "info", "why"),
    [
        ("A", CONFIGMAPS, "a lowercase RFC 1123 subdomain must consist of"),
        ("a..b", CONFIGMAPS, "a lowercase RFC 1123 subdomain must consist of"),
        ("a" * 254, CONFIGMAPS, "must be no more than 253 characters"),
        ("a.b", NAMESPACES, "must not contain dots"),
        ("A", NAMESPACES, "a lowercase RFC 1123 label must consist of"),
        ("a/b", CLUSTERROLES, "may not contain '/'"),
        ("..", CLUSTERROLES, "may not be '..'"),
    ],
)
def test_bad_names(name: str, info: ResourceInfo, why: str) -> None:
    (only,) = names.validate_metadata({"metadata": {"name": name}}, info)
    assert (only.field, only.message.partition(": ")[2].partition(": ")[2][: len(why)]) == ("metadata.name", why)


@pytest.mark.parametrize(
    ("name", "info"), [("a.b-c.9", CONFIGMAPS), ("a" * 253, CONFIGMAPS), ("A:b c", CLUSTERROLES), ("a", NAMESPACES)]
)
def test_good_names(name: str, info: ResourceInfo) -> None:
    assert said({"name": name}, info) == []


def test_without_a_name() -> None:
    assert said({}) == [("metadata.name", "Required value: name or generateName is required")]


def test_a_base_may_end_in_a_hyphen_but_not_be_anything() -> None:
    assert said({"name": "x", "generateName": "a-"}) == []
    assert [field for field, _ in said({"name": "x", "generateName": "A_"})] == ["metadata.generateName"]


def test_generated_names_are_at_most_63_characters_without_vowels() -> None:
    name = names.generate_name("a" * 70, random.Random(1))
    assert re.fullmatch("a{58}[bcdfghjklmnpqrstvwxz2456789]{5}", name)


@pytest.mark.parametrize(
    ("key", "value", "count"),
    [
        ("a", "b c", 1),
        ("A B", "x", 1),
        ("a/b/c", "x", 1),
        ("/a", "x", 1),
        ("x.y/", "x", 2),
        ("X_/a", "x", 1),
        ("a" * 64, "x", 1),
        ("a", "x" * 64, 1),
        ("", "x", 2),
        ("a", "-", 1),
        ("a.b/c_D.e", "x_y.z", 0),
        ("a", "", 0),
    ],
)
def test_labels(key: str, value: str, count: int) -> None:
    found = said({"name": "a", "labels": {key: value}})
    assert [field for field, _ in found] == ["metadata.labels"] * count


def test_annotation_keys_have_no_case_and_all_together_a_limit() -> None:
    assert said({"name": "a", "annotations": {"Xy.Z/a": "any thing\n"}}) == []
    assert said({"name": "a", "annotations": {"a": "x" * 262144}}) == [
        ("metadata.annotations", "Too long: may not be more than 262144 bytes")
    ]


@pytest.mark.parametrize(
    ("finalizers", "builtin", "custom"),
    [
        (["a.b/c"], [], []),
        (["orphan"], [], []),
        (["a"], ["metadata.finalizers[0]"], []),
        (["A B"], ["metadata.finalizers", "metadata.finalizers[0]"], ["metadata.finalizers"]),
        (["orphan", "foregroundDeletion"], ["metadata.finalizers"], ["metadata.finalizers"]),
    ],
)
def test_finalizers_need_a_domain_in_the_old_groups_only(
    finalizers: list[str], builtin: list[str], custom: list[str]
) -> None:
    metadata = {"name": "a", "finalizers": finalizers}
    assert [field for field, _ in said(metadata)] == builtin
    assert [field for field, _ in said(metadata, THINGS)] == custom


def test_finalizers_of_custom_resources_are_warned_about() -> None:
    (only,) = names.warnings({"metadata": {"finalizers": ["foo", "a.b/c", "orphan"]}})
    assert only.startswith('metadata.finalizers: "foo": prefer a domain-qualified finalizer name')


def owner(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u", **fields}


@pytest.mark.parametrize(
    ("owners", "fields"),
    [
        ([owner()], []),
        ([owner(controller=True), owner(uid="v", controller=True)], ["metadata.ownerReferences"]),
        ([owner(kind="Event")], ["metadata.ownerReferences"]),
        ([owner(apiVersion="a/b/c")], ["metadata.ownerReferences.apiVersion"]),
        ([{}], [f"metadata.ownerReferences.{name}" for name in ("apiVersion", "kind", "name", "uid")]),
    ],
)
def test_owners(owners: list[dict[str, Any]], fields: list[str]) -> None:
    assert [field for field, _ in said({"name": "a", "ownerReferences": owners})] == fields


def update(old: dict[str, Any], **changed: Any) -> list[tuple[str, str]]:
    causes = names.validate_update({"metadata": {**old, **changed}}, {"metadata": old})
    return [(one.field, one.message) for one in causes]


def test_what_an_update_may_not_change() -> None:
    old = {"name": "a", "uid": "u", "creationTimestamp": "2020-01-01T00:00:00Z"}
    assert update(old, labels={"a": "b"}) == []
    assert update(old, uid="v") == [("metadata.uid", 'Invalid value: "v": field is immutable')]


def test_finalizers_only_go_while_an_object_is_being_deleted() -> None:
    old = {"name": "a", "deletionTimestamp": "2020-01-01T00:00:00Z", "finalizers": ["x.y/z"]}
    assert update(old, finalizers=[]) == []
    assert update(old, finalizers=["x.y/z", "a.b/c"]) == [
        (
            "metadata.finalizers",
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
            '[]string{"a.b/c"}',
        )
    ]

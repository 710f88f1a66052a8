"""CustomResourceDefinitions: refusals, accepted names, the way to Established, what is served then."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from wfe_controller.sandbox.apiserver import crds
from wfe_controller.sandbox.apiserver.crds import CrdStrategy

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CRDS = sorted((Path(__file__).resolve().parents[4] / "manifests/crds").glob("kubernaut*.yaml"))
SCHEMA = "spec.validation.openAPIV3Schema"


def version(name: str = "v1", storage: bool = True, schema: Any = None, **more: Any) -> dict[str, Any]:
    given = schema if schema is not None else {"type": "object"}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": given}, **more}


def crd(*versions: dict[str, Any], plural: str = "bars", kind: str = "Bar", **names: Any) -> dict[str, Any]:
    made = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.probe.example"},
        "spec": {
            "group": "probe.example",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version()],
        },
    }
    CrdStrategy().default(made)
    CrdStrategy().prepare_create(made)
    return made


def said(obj: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.field, one.message) for one in CrdStrategy().validate_create(obj)]


def settled(obj: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    while (status := crds.settle(obj, others, NOW)) is not None:
        obj["status"] = status
    return obj


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_ours_are_taken_as_they_are(path: Path) -> None:
    obj = yaml.safe_load(path.read_text())
    CrdStrategy().default(obj)
    CrdStrategy().prepare_create(obj)
    assert said(obj) == []
    (info,) = crds.resources(settled(obj))
    assert (info.custom, info.generation, info.has_status, info.storage_version) == (True, True, True, "v1alpha1")


def test_what_is_filled_in() -> None:
    obj = crd()
    assert obj["spec"]["names"] == {"plural": "bars", "kind": "Bar", "singular": "bar", "listKind": "BarList"}
    assert obj["spec"]["conversion"] == {"strategy": "None"}
    assert obj["status"] == {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": ["v1"],
    }


def test_the_way_to_established_has_two_steps() -> None:
    obj = crd(shortNames=["b"])
    first = crds.settle(obj, [], NOW)
    assert first is not None
    assert [(one["type"], one["status"], one["reason"]) for one in first["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"),
        ("Established", "False", "Installing"),
    ]
    assert not crds.is_established(obj)
    done = settled(obj)
    assert crds.is_established(done)
    assert done["status"]["conditions"][1] == {
        "type": "Established",
        "status": "True",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "reason": "InitialNamesAccepted",
        "message": "the initial names have been accepted",
    }
    assert done["status"]["acceptedNames"]["shortNames"] == ["b"]


@pytest.mark.parametrize(
    ("names", "reason", "name", "accepted"),
    [
        ({"plural": "foos", "kind": "Bar"}, "ListKindConflict", "BarList", {"plural": "foos", "kind": ""}),
        (
            {"plural": "foos", "kind": "Foo", "singular": "bars"},
            "SingularConflict",
            "bars",
            {"plural": "foos", "kind": "Foo", "listKind": "FooList"},
        ),
        (
            {"plural": "foos", "kind": "Foo", "shortNames": ["bar", "z"]},
            "ShortNamesConflict",
            "bar",
            {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        ),
    ],
)
def test_names_of_others_are_not_given_away(
    names: dict[str, Any], reason: str, name: str, accepted: dict[str, str]
) -> None:
    obj = settled(crd(**names), settled(crd()))
    assert [(one["status"], one["reason"], one["message"]) for one in obj["status"]["conditions"]] == [
        ("False", reason, f'"{name}" is already in use'),
        ("False", "NotAccepted", "not all names are accepted"),
    ]
    assert obj["status"]["acceptedNames"] == accepted


def test_names_become_free() -> None:
    """A definition that had to wait is established when the other one goes."""
    obj = settled(crd(plural="foos", kind="Bar"), settled(crd()))
    assert crds.is_established(settled(obj))


def prop(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


A = f"{SCHEMA}.properties[a]"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, (f"{SCHEMA}.type", 'Invalid value: "string": must be object at the root')),
        (prop({}), (f"{A}.type", "Required value: must not be empty for specified object fields")),
        (
            prop({"type": "foo"}),
            (
                f"{A}.type",
                'Unsupported value: "foo": supported values: "array", "boolean", "integer", "number", "object", '
                '"string"',
            ),
        ),
        (prop({"type": "array"}), (f"{A}.items", "Required value: must be specified")),
        (prop({"$ref": "#/x"}), (f"{A}.$ref", "Forbidden: $ref is not supported")),
        (
            prop({"type": "integer", "default": "x"}),
            (f"{A}.default", 'Invalid value: "string":  in body must be of type integer: "string"'),
        ),
        (
            prop({"type": "string", "pattern": "("}),
            (
                f"{A}.pattern",
                'Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: missing '
                "closing ): `(`",
            ),
        ),
        (
            prop(
                {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}}
            ),
            (f"{A}.additionalProperties", "Forbidden: additionalProperties and properties are mutual exclusive"),
        ),
        (
            prop(
                {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": prop({"type": "string"}) | {"properties": {"k": {"type": "string"}}},
                }
            ),
            (
                f"{A}.items.properties[k].default",
                "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a "
                "required property",
            ),
        ),
        (
            prop({"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self + 1"}]}),
            (f"{A}.default", 'Invalid value: "integer": rule compile error: cel expression must evaluate to a bool'),
        ),
        (
            prop({"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}]}),
            (f"{A}.default", "Invalid value: 1: failed rule: self > 1"),
        ),
    ],
)
def test_schemas_that_are_not_structural(schema: dict[str, Any], expected: tuple[str, str]) -> None:
    assert said(crd(version(schema=schema))) == [expected]


def test_versions_that_differ_have_paths_of_their_own() -> None:
    found = said(crd(version(schema=prop({})), version("v2", storage=False)))
    assert [field for field, _ in found] == ["spec.versions[0].schema.openAPIV3Schema.properties[a].type"]


def change(**changed: Any) -> dict[str, Any]:
    obj = crd()
    for path, value in changed.items():
        *parents, last = path.split("__")
        place = obj
        for parent in parents:
            place = place[parent]
        place[last] = value
    return obj


@pytest.mark.parametrize(
    ("obj", "fields"),
    [
        (change(metadata__name="foo"), ["metadata.name"]),
        (change(spec__scope="Foo"), ["spec.scope"]),
        (change(spec__preserveUnknownFields=True), ["spec.preserveUnknownFields"]),
        (crd(version(storage=False)), ["spec.versions", "status.storedVersions"]),
        (crd(version(), version("v2")), ["spec.versions", "status.storedVersions"]),
        (crd(version(), version(storage=False)), ["spec.versions"]),
        (
            crd(version(additionalPrinterColumns=[{"name": "", "type": "foo", "jsonPath": "a["}])),
            [f"spec.additionalPrinterColumns[0].{name}" for name in ("name", "type", "JSONPath")],
        ),
        (crd(version(selectableFields=[{"jsonPath": ".spec.x"}])), ["spec.selectableFields[0].jsonPath"]),
        (
            crd(version(subresources={"scale": {}})),
            ["spec.subresources.scale.specReplicasPath", "spec.subresources.scale.statusReplicasPath"],
        ),
        (
            change(spec__group="a.k8s.io", metadata__name="bars.a.k8s.io"),
            ["metadata.annotations[api-approved.kubernetes.io]"],
        ),
    ],
)
def test_refusals(obj: dict[str, Any], fields: list[str]) -> None:
    assert [field for field, _ in said(obj)] == fields


def test_what_an_established_definition_keeps() -> None:
    old = settled(crd())
    for path in (("scope", "Cluster"), ("names", {**old["spec"]["names"], "kind": "Foo"})):
        new = copy.deepcopy(old)
        new["spec"][path[0]] = path[1]
        assert [one.message.rpartition(": ")[2] for one in CrdStrategy().validate_update(new, old)] == [
            "field is immutable"
        ]
    new = copy.deepcopy(old)
    new["spec"]["versions"] = [version("v2")]
    CrdStrategy().prepare_update(new, old)
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    (only,) = CrdStrategy().validate_update(new, old)
    assert (only.field, "must remain in spec.versions" in only.message) == ("status.storedVersions[0]", True)


def test_every_served_version_is_a_resource_of_the_same_store() -> None:
    versions = [version("v1", storage=False, deprecated=True), version("v2", subresources={"status": {}})]
    obj = settled(crd(*versions, {**version("v3", storage=False), "served": False}, shortNames=["b"]))
    one, two = crds.resources(obj)
    assert (one.version, one.deprecated, one.subresources) == ("v1", "probe.example/v1 Bar is deprecated", frozenset())
    assert (two.version, two.deprecated, two.has_status, two.short_names) == ("v2", "", True, ("b",))
    assert one.storage == two.storage == "bars.probe.example"
    assert one.storage_version == two.storage_version == "v2"


def test_formats_that_nobody_checks_are_warned_about() -> None:
    obj = crd(version(schema=prop({"type": "string", "format": "frob"})))
    assert CrdStrategy().warnings(obj, None) == ['unrecognized format "frob"']

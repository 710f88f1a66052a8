"""app/drift: an old or foreign CRD is recognised by field and rule (P:U1)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wfe_controller.api.crd import crd
from wfe_controller.app.drift import Drift, compare, schema_of

LIST_TYPE = "x-kubernetes-list-type"


def schema() -> dict[str, Any]:
    found = schema_of(crd("WorkflowExecution"), "v1alpha1")
    assert found is not None
    return copy.deepcopy(dict(found))


def spec_of(wfe: dict[str, Any]) -> Any:
    return wfe["properties"]["spec"]["properties"]


def status_of(wfe: dict[str, Any]) -> Any:
    return wfe["properties"]["status"]["properties"]


def condition_of(wfe: dict[str, Any]) -> Any:
    return status_of(wfe)["conditions"]["items"]["properties"]


def test_the_built_in_schema_does_not_differ_from_itself() -> None:
    assert compare(schema(), schema()) == Drift()
    assert not Drift().harmful


def test_what_the_server_adds_and_reorders_is_no_drift() -> None:
    """The server sorts nothing, but drops empty values, and other tools sort."""
    served = schema()
    served["required"] = list(reversed(served["required"]))
    served["description"] = "edited"
    for rule in served.get("x-kubernetes-validations", []):
        rule["message"] = "reworded"
    served["x-kubernetes-validations"].reverse()
    assert compare(schema(), served) == Drift()


def test_a_missing_field_is_named_with_its_path() -> None:
    old = schema()
    del status_of(old)["failureDetails"]["properties"]["reason"]
    del status_of(old)["skipDetails"]
    drift = compare(schema(), old)
    assert drift.missing == ("status.failureDetails.reason", "status.skipDetails")
    assert drift.harmful
    assert str(drift) == "missing fields: status.failureDetails.reason, status.skipDetails"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda s: spec_of(s)["targetResource"].pop("maxLength"), "spec.targetResource.maxLength"),
        (lambda s: status_of(s)["phase"]["enum"].remove("Skipped"), "status.phase.enum"),
        (lambda s: s.pop("x-kubernetes-validations"), "x-kubernetes-validations"),
        (lambda s: s.pop("required"), "required"),
        (lambda s: status_of(s)["conditions"].pop(LIST_TYPE), f"status.conditions.{LIST_TYPE}"),
        (lambda s: condition_of(s)["type"].update(type="integer"), "status.conditions[].type.type"),
    ],
    ids=["limit", "enum", "cel", "required", "list-type", "in-a-list"],
)
def test_a_weaker_rule_is_harmful(change: Any, path: str) -> None:
    old = schema()
    change(old)
    drift = compare(schema(), old)
    assert drift.different == (path,)
    assert drift.harmful


def test_a_newer_crd_only_deserves_a_word() -> None:
    newer = schema()
    status_of(newer)["novelty"] = {"type": "string"}
    drift = compare(schema(), newer)
    assert (drift.extra, drift.harmful) == (("status.novelty",), False)


def test_many_differences_are_not_all_listed() -> None:
    drift = Drift(missing=tuple("abcdefgh"))
    assert str(drift) == "missing fields: a, b, c, d, e and more"


def test_a_version_that_is_not_served_has_no_schema() -> None:
    definition = crd("TargetLock")
    definition["spec"]["versions"][0]["served"] = False
    assert schema_of(definition, "v1alpha1") is None
    assert schema_of({}, "v1alpha1") is None

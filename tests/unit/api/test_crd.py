from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

from tests.support.crdschema import violations
from wfe_controller.api import crd, reasons
from wfe_controller.api.names import TARGETLOCKS, WORKFLOWEXECUTIONS
from wfe_controller.api.phases import Engine, Phase
from wfe_controller.kube.objects import Resource

CRDS = Path(__file__).resolve().parents[3] / "manifests" / "crds"
KINDS = [pytest.param(resource, id=resource.kind) for resource in crd.KINDS]


def schema(resource: Resource) -> dict[str, Any]:
    root: dict[str, Any] = crd.crd(resource.kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield where, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{where}[]")


def at(resource: Resource, path: str) -> Mapping[str, Any]:
    return dict(nodes(schema(resource)))[path]


@pytest.mark.parametrize("resource", KINDS)
def test_the_files_are_what_the_models_say(resource: Resource) -> None:
    """The models are the single source; `wfe-controller manifests crds` writes these files."""
    committed = (CRDS / crd.file_name(resource)).read_text()
    assert committed == crd.to_yaml(crd.crd(resource.kind)), "run: make crds"
    assert yaml.safe_load(committed) == crd.crd(resource.kind)


@pytest.mark.parametrize("resource", KINDS)
def test_every_schema_is_structural_and_bounded(resource: Resource) -> None:
    """Unbounded strings and lists make the API server refuse a CEL rule by its estimated cost."""
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "title", "nullable", "const", "exclusiveMinimum", "uniqueItems"}
    for where, node in nodes(schema(resource)):
        # The one value that may be null, so that a rule can refuse it instead of the server dropping its key.
        allowed = {"nullable"} if where == ".spec.parameters[]" else set()
        assert not (forbidden - allowed) & node.keys(), where
        assert not ({"properties", "additionalProperties"} <= node.keys()), where
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}, where
        if where in {".apiVersion", ".kind", ".metadata"}:
            continue
        if node["type"] == "string" and "enum" not in node and node.get("format") != "date-time":
            assert "maxLength" in node, where
        if node["type"] == "array":
            assert "maxItems" in node, where
        if node["type"] == "integer":
            assert node.get("format") in {"int32", "int64"}, where
        if "x-kubernetes-preserve-unknown-fields" in node:
            assert where.endswith(".parameters"), f"{where}: only the parameters of a step are free"


@pytest.mark.parametrize("resource", KINDS)
def test_every_rule_speaks(resource: Resource) -> None:
    """Each message names field, rule and remedy; rules about the past stand at the root: null dodges the others."""
    for where, node in nodes(schema(resource)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert ": " in rule["message"], rule
            assert len(rule["message"]) <= 2048
            if "oldSelf" in rule["rule"]:
                assert where == "", "a rule with oldSelf below the root is skipped when its field is removed"


@pytest.mark.parametrize(
    ("resource", "path", "words"),
    [
        (WORKFLOWEXECUTIONS, ".status.phase", Phase),
        (WORKFLOWEXECUTIONS, ".status.executionEngine", Engine),
        (WORKFLOWEXECUTIONS, ".status.failureDetails.reason", reasons.FailureReason),
        (WORKFLOWEXECUTIONS, ".status.failureReason", reasons.FailureReason),
        (WORKFLOWEXECUTIONS, ".status.skipDetails.reason", reasons.SkipReason),
        (TARGETLOCKS, ".status.block.reason", reasons.BlockReason),
        (TARGETLOCKS, ".status.lastExecution.outcome", reasons.LockOutcome),
        (TARGETLOCKS, ".status.holder.engine", Engine),
    ],
)
def test_enums_are_the_constants_of_the_code(resource: Resource, path: str, words: type[Any]) -> None:
    """TH26, T16: a constant the server refuses would loop for ever on a 422."""
    assert at(resource, path)["enum"] == [str(word) for word in words]


def test_there_are_twelve_failure_reasons_and_four_skip_reasons() -> None:
    assert len(reasons.FailureReason) == 12
    assert [str(reason) for reason in reasons.SkipReason] == [
        "ResourceBusy",
        "RecentlyRemediated",
        "ExhaustedRetries",
        "PreviousExecutionFailed",
    ]


def test_the_documented_limits() -> None:
    """SPEC 1.1, 1.3."""
    parameters = at(WORKFLOWEXECUTIONS, ".spec.parameters")
    assert (parameters["maxProperties"], parameters["additionalProperties"]["maxLength"]) == (64, 32768)
    steps = at(WORKFLOWEXECUTIONS, ".spec.workflowDefinition.steps")
    assert (steps["maxItems"], steps["x-kubernetes-list-map-keys"]) == (100, ["name"])
    assert at(WORKFLOWEXECUTIONS, ".spec.workflowDefinition.steps[].preConditions")["maxItems"] == 20
    assert at(WORKFLOWEXECUTIONS, ".status.conditions")["x-kubernetes-list-map-keys"] == ["type"]
    assert at(TARGETLOCKS, ".status.workflows")["maxItems"] == 64
    assert at(TARGETLOCKS, ".status.clearances")["maxItems"] == 10


def test_names_columns_and_selectable_fields() -> None:
    """SPEC 1.1 and 1.3."""
    wfe, lock = crd.crd("WorkflowExecution")["spec"], crd.crd("TargetLock")["spec"]
    assert (wfe["names"]["shortNames"], lock["names"]["shortNames"]) == (["wfe"], ["tlock"])
    assert wfe["names"]["categories"] == lock["names"]["categories"] == ["kubernaut"]
    version = wfe["versions"][0]
    assert version["subresources"] == {"status": {}}
    assert version["selectableFields"] == [{"jsonPath": ".spec.targetResource"}, {"jsonPath": ".status.phase"}]
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns if "priority" not in column] == [
        "Phase",
        "Engine",
        "Target",
        "Progress",
        "Reason",
        "Duration",
        "Age",
    ]
    assert [column["name"] for column in columns if "priority" in column] == ["Workflow", "Holder"]
    assert [column["name"] for column in lock["versions"][0]["additionalPrinterColumns"]] == [
        "Target",
        "Holder",
        "Blocked",
        "Failures",
        "NextAllowed",
        "Age",
    ]


def test_defaults_are_constants_only() -> None:
    """What the configuration can change has no schema default: a stored default would outlive the configuration."""
    defaults = {where for where, node in nodes(schema(WORKFLOWEXECUTIONS)) if "default" in node}
    assert not {where for where in defaults if where.startswith((".status", ".spec.executionConfig"))}
    assert ".spec.workflowDefinition.steps[].criticalStep" in defaults
    assert ".spec.rollbackStrategy.type" in defaults


def test_the_checker_of_the_tests_finds_what_a_server_would() -> None:
    status = {
        "phase": "Sleeping",
        "progress": 101,
        "startTime": "yesterday",
        "secret": 1,
        "pipelineRunRef": {"name": "x"},
    }
    assert violations("WorkflowExecution", status, part="status") == [
        f"status.phase: 'Sleeping' is not one of {[str(phase) for phase in Phase]}",
        "status.progress: 101 is out of bounds",
        "status.startTime: 'yesterday' is no instant",
        "status.secret: unknown, would be pruned",
        "status.pipelineRunRef.namespace: required",
        "status.pipelineRunRef.uid: required",
    ]


class _Unbounded(BaseModel):
    text: str


class _UnboundedList(BaseModel):
    numbers: list[int]


class _UnboundedMap(BaseModel):
    numbers: dict[str, int]


class _Union(BaseModel):
    either: int | bool


class _Exclusive(BaseModel):
    number: Annotated[int, Field(gt=0)]


class _Anything(BaseModel):
    anything: Any


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (_Unbounded, "_Unbounded.text: a string without maxLength"),
        (_UnboundedList, "_UnboundedList.numbers: a list without maxItems"),
        (_UnboundedMap, "_UnboundedMap.numbers: a map without maxProperties"),
        (_Union, "_Union.either: a structural schema has no unions"),
        (_Exclusive, "_Exclusive.number: a structural schema has no exclusiveMinimum"),
        (_Anything, "_Anything.anything: no type"),
    ],
)
def test_a_model_that_no_crd_can_say_is_refused_with_the_place(model: type[BaseModel], why: str) -> None:
    """Found when the CRD is generated, not when a server refuses it."""
    with pytest.raises(crd.SchemaError) as refused:
        crd.structural(model)
    assert str(refused.value) == why


def test_an_unknown_kind_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="Pod"):
        crd.crd("Pod")

"""CustomResourceDefinitions made from the pydantic models: the only way manifests/crds comes to be.

A pydantic JSON schema becomes a structural schema: references are inlined, ``X | None`` becomes an optional X,
titles go, ``additionalProperties: false`` goes (the API server prunes, and refuses unknown keys under strict
field validation, which is kubectl's default).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from wfe_controller.api import names, rules
from wfe_controller.api.schema import SAID_BY_RULE
from wfe_controller.api.spec import WorkflowExecutionSpec
from wfe_controller.api.status import WorkflowExecutionStatus
from wfe_controller.api.targetlock import TargetLockSpec, TargetLockStatus
from wfe_controller.kube.objects import Json, Resource

_KEPT = frozenset(
    {
        "type",
        "format",
        "description",
        "enum",
        "default",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "nullable",
        "pattern",
        "required",
    }
)
_DROPPED = frozenset({"title", "$defs", "const", "additionalProperties", "properties", "items", "anyOf", "$ref"})


class SchemaError(Exception):
    """A model says something a structural schema cannot; the message names the place."""


def structural(model: type[BaseModel]) -> Json:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}), model.__name__)


def _convert(schema: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Json:
    flat = _flatten(schema, defs, where)
    out: Json = {}
    if "const" in flat:
        out["enum"] = [flat["const"]]
        out["type"] = "string"
    spoken = flat.pop(SAID_BY_RULE, False)
    for key, value in flat.items():
        if key == "pattern" and spoken:
            continue
        if key in _KEPT or key.startswith("x-kubernetes-"):
            if not (key == "default" and value is None):
                out[key] = value
        elif key not in _DROPPED:
            raise SchemaError(f"{where}: a structural schema has no {key}")
    if "description" in out:
        out["description"] = " ".join(str(out["description"]).split())
    if "properties" in flat:
        out["properties"] = {
            name: _convert(child, defs, f"{where}.{name}") for name, child in flat["properties"].items()
        }
    elif isinstance(flat.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _convert(flat["additionalProperties"], defs, f"{where}[]")
    if "items" in flat:
        out["items"] = _convert(flat["items"], defs, f"{where}[]")
    if "type" not in out and not out.get("x-kubernetes-preserve-unknown-fields"):
        raise SchemaError(f"{where}: no type")
    _bounded(out, where)
    return out


def _flatten(schema: Mapping[str, Any], defs: Mapping[str, Any], where: str) -> Json:
    """Follow references and take ``null`` out of unions; what stands beside a reference wins."""
    merged = dict(schema)
    while "$ref" in merged or "anyOf" in merged:
        if "$ref" in merged:
            inner = defs[merged.pop("$ref").removeprefix("#/$defs/")]
        else:
            choices = [choice for choice in merged.pop("anyOf") if choice.get("type") != "null"]
            if len(choices) != 1:
                raise SchemaError(f"{where}: a structural schema has no unions")
            inner = choices[0]
        merged = {**inner, **merged}
    return merged


def _bounded(out: Mapping[str, Any], where: str) -> None:
    """Refuse what would make the API server estimate a rule's cost as unlimited."""
    kind = out.get("type")
    if kind == "string" and not ({"maxLength", "enum", "format"} & out.keys()):
        raise SchemaError(f"{where}: a string without maxLength")
    if kind == "array" and "maxItems" not in out:
        raise SchemaError(f"{where}: a list without maxItems")
    if "additionalProperties" in out and "maxProperties" not in out:
        raise SchemaError(f"{where}: a map without maxProperties")


def _column(name: str, kind: str, path: str, description: str, *, wide: bool = False) -> Json:
    column: Json = {"name": name, "type": kind, "jsonPath": path, "description": description}
    if wide:
        column["priority"] = 1
    return column


_AGE = _column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")

_WORKFLOWEXECUTION_COLUMNS = [
    _column("Phase", "string", ".status.phase", "Where the execution stands."),
    _column("Engine", "string", ".status.executionEngine", "tekton or steps."),
    _column("Target", "string", ".spec.targetResource", "What is remediated."),
    _column("Progress", "integer", ".status.progress", "Percent of the work done."),
    _column("Reason", "string", ".status.reason", "Why it failed, was skipped, or waits."),
    _column("Duration", "string", ".status.duration", "How long the work took."),
    _AGE,
    _column(
        "Workflow",
        "string",
        ".spec['workflowRef','workflowDefinition']['workflowId','name']",
        "Id of the workflow.",
        wide=True,
    ),
    _column(
        "Holder",
        "string",
        ".status.skipDetails.conflictingWorkflow.name",
        "Execution that held the target when this one was skipped.",
        wide=True,
    ),
]
# A column shows one value, the first that its path finds: the first workflow with a streak, and when that may go on.
_TARGETLOCK_COLUMNS = [
    _column("Target", "string", ".spec.target", "Canonical form of the target."),
    _column("Holder", "string", ".status.holder.name", "Execution that may act on the target now."),
    _column("Blocked", "string", ".status.block.reason", "Why nothing may run until it is cleared."),
    _column(
        "Failures",
        "integer",
        ".status.workflows[?(@.consecutiveFailures>0)].consecutiveFailures",
        "Streak of pre-execution failures of the first workflow that has one.",
    ),
    _column(
        "NextAllowed",
        "string",
        ".status.workflows[?(@.consecutiveFailures>0)].nextAllowedExecution",
        "When that workflow may be tried again.",
    ),
    _AGE,
]


def _definition(
    resource: Resource,
    *,
    short_name: str,
    description: str,
    spec: type[BaseModel],
    status: type[BaseModel],
    root_rules: tuple[dict[str, str], ...],
    columns: list[Json],
    selectable: tuple[str, ...] = (),
) -> Json:
    version: Json = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": description,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": structural(spec),
                    "status": structural(status),
                },
                "x-kubernetes-validations": list(root_rules),
            }
        },
        "subresources": {"status": {}},
    }
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.group_resource, "labels": {"app.kubernetes.io/part-of": "kubernaut"}},
        "spec": {
            "group": resource.group,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [short_name],
                "categories": ["kubernaut"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def crd(kind: str) -> Json:
    """The CustomResourceDefinition of ``WorkflowExecution`` or ``TargetLock``; raises KeyError for another kind."""
    if kind == names.WORKFLOWEXECUTIONS.kind:
        return _definition(
            names.WORKFLOWEXECUTIONS,
            short_name="wfe",
            description="One remediation of one target resource, run by one of two engines.",
            spec=WorkflowExecutionSpec,
            status=WorkflowExecutionStatus,
            root_rules=rules.WORKFLOWEXECUTION_ROOT,
            columns=_WORKFLOWEXECUTION_COLUMNS,
            selectable=(".spec.targetResource", ".status.phase"),
        )
    if kind == names.TARGETLOCKS.kind:
        return _definition(
            names.TARGETLOCKS,
            short_name="tlock",
            description="Lock and ledger of one target. Written by the controller; operators may annotate it.",
            spec=TargetLockSpec,
            status=TargetLockStatus,
            root_rules=rules.TARGETLOCK_ROOT,
            columns=_TARGETLOCK_COLUMNS,
        )
    raise KeyError(kind)


KINDS = (names.WORKFLOWEXECUTIONS, names.TARGETLOCKS)


def file_name(resource: Resource) -> str:
    """The name of the generated file in manifests/crds."""
    return f"{resource.group}_{resource.plural}.yaml"


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(obj: Json) -> str:
    """One YAML document, keys in the order they were made, no anchors."""
    return yaml.dump(obj, Dumper=_NoAliases, sort_keys=False, width=120, allow_unicode=True)

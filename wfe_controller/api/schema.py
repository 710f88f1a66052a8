"""Field types shared by the models of spec and status: each carries the limits that end up in the CRDs.

Every string, list and map has a bound: without one the API server estimates a CEL rule's cost as unlimited and refuses
the CRD. Kubernetes' own schema extensions travel in ``json_schema_extra``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from wfe_controller.api import durations

SAID_BY_RULE = "x-said-by-rule"
"""Marks a schema node whose pattern is spoken by its first CEL rule; never reaches a CRD."""


def extra(**values: Any) -> dict[str, Any]:
    """Schema extensions by keyword: ``list_type="map"`` is ``x-kubernetes-list-type: map``."""
    return {f"x-kubernetes-{key.replace('_', '-')}": value for key, value in values.items()}


def rule(expression: str, message: str, *, field_path: str = "") -> dict[str, str]:
    """One entry of ``x-kubernetes-validations``. ``message`` names the field, the rule and the remedy."""
    out = {"rule": expression, "message": message}
    if field_path:
        out["fieldPath"] = field_path
    return out


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """``json_schema_extra`` of a field or model whose only extension is validations."""
    return {"x-kubernetes-validations": list(entries)}


@dataclass(frozen=True, slots=True)
class Form:
    """A pattern with the words for missing it; the API server says them by a rule, the controller by a Problem."""

    pattern: str
    rule: str
    remedy: str

    def cel(self) -> dict[str, str]:
        escaped = self.pattern.replace("\\", "\\\\")
        return rule(f"self.matches('{escaped}')", f"{self.rule}: {self.remedy}")


def text(form: Form, max_length: int, *more: dict[str, str]) -> FieldInfo:
    """A string of that form. In the CRD a CEL rule stands in the place of the bare pattern, which nobody can read."""
    extension: dict[str, Any] = {"x-kubernetes-validations": [form.cel(), *more], SAID_BY_RULE: True}
    info: FieldInfo = Field(max_length=max_length, pattern=form.pattern, json_schema_extra=extension)
    return info


class SpecModel(BaseModel):
    """What users write: strict types, unknown keys refused, immutable after parsing. Python name -> camelCase."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        use_attribute_docstrings=True,
    )


class StatusModel(BaseModel):
    """What the controller writes: the source of the schema; odd shapes are read with kube.objects, not with these."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)


DNS_LABEL = Form(
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    "is not a DNS label",
    "use lower-case letters, digits and '-', a letter or digit first and last",
)
DNS_SUBDOMAIN = Form(
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    "is not a DNS subdomain",
    "use lower-case letters, digits, '-' and '.', a letter or digit first and last",
)
DURATION = Form(
    durations.PATTERN, "is not a duration", "write a number with a unit (ms, s, m, h), such as 30m or 1h30m"
)

DnsLabel = Annotated[str, text(DNS_LABEL, 63)]
DnsSubdomain = Annotated[str, text(DNS_SUBDOMAIN, 253)]
Uid = Annotated[str, Field(max_length=128)]
Name = Annotated[str, Field(max_length=253)]
Namespace = Annotated[str, Field(max_length=63)]
ShortText = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=1024)]
LongMessage = Annotated[str, Field(max_length=4096)]
Duration = Annotated[str, text(DURATION, 32)]
GoDuration = Annotated[str, Field(max_length=32)]
Instant = Annotated[datetime, Field()]
Count = Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int32"})]
Percent = Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"})]
Generation = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]


class Condition(StatusModel):
    """A metav1.Condition."""

    type: Annotated[
        str,
        Field(
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    observed_generation: Generation | None = None
    last_transition_time: Instant
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=32768)]


Conditions = Annotated[
    list[Condition], Field(max_length=32, json_schema_extra=extra(list_type="map", list_map_keys=["type"]))
]

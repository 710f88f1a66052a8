"""Printing objects as JSON or YAML, and lists as kubectl does. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from wfe_controller.failure.redaction import MASK, is_secret_key, redact
from wfe_controller.kube.objects import Json, mapping

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def machine(value: Any, form: str) -> str:
    """``value`` in the form ``json`` or ``yaml``."""
    if form == "json":
        return json_text(value, indent=2)
    said = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip("\n")
    if not _harmless(said):
        said = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=100).rstrip("\n")
    return said


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON whose strings keep every character; those that could play with a terminal are escaped."""
    said = json.dumps(value, indent=indent, ensure_ascii=False)
    return said if _harmless(said) else json.dumps(value, indent=indent)


def _harmless(said: str) -> bool:
    return said.replace("\n", "").isprintable()


def as_list(items: Sequence[Json]) -> Json:
    """A v1 List, as kubectl prints several objects."""
    return {"apiVersion": "v1", "kind": "List", "items": [tidied(item) for item in items]}


def tidied(obj: Mapping[str, Any]) -> Json:
    """The object without ``managedFields``, which nobody reads; kubectl leaves them out too.

    Values of parameters whose name calls them secret are masked (SPEC 12), also in kubectl's copy of what was applied.
    """
    meta = {key: value for key, value in mapping(obj.get("metadata")).items() if key != "managedFields"}
    notes = mapping(meta.get("annotations"))
    if isinstance(notes.get(APPLIED), str):
        meta["annotations"] = {**notes, APPLIED: redact(notes[APPLIED])}
    head = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    rest = {key: value for key, value in obj.items() if key not in head}
    if isinstance(rest.get("spec"), dict):
        rest["spec"] = _masked(rest["spec"])
    return {**head, **rest, "metadata": meta}


def _masked(value: Any) -> Any:
    """The same with the values of secret parameters masked, at any depth."""
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _secrets_masked(item) if key == "parameters" and isinstance(item, dict) else _masked(item)
        for key, item in value.items()
    }


def _secrets_masked(parameters: Mapping[str, Any]) -> Json:
    return {key: MASK if is_secret_key(str(key)) else item for key, item in parameters.items()}

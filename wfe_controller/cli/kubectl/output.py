"""Printing objects as JSON or YAML, and lists as kubectl does. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from wfe_controller.kube.objects import Json, mapping


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
    """The object without ``managedFields``, which nobody reads; kubectl leaves them out too."""
    meta = {key: value for key, value in mapping(obj.get("metadata")).items() if key != "managedFields"}
    head = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    return {**head, **{key: value for key, value in obj.items() if key not in head}, "metadata": meta}

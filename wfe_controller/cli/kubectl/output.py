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
        return json.dumps(value, indent=2, ensure_ascii=False)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip("\n")


def as_list(items: Sequence[Json]) -> Json:
    """A v1 List, as kubectl prints several objects."""
    return {"apiVersion": "v1", "kind": "List", "items": [tidied(item) for item in items]}


def tidied(obj: Mapping[str, Any]) -> Json:
    """The object without ``managedFields``, which nobody reads; kubectl leaves them out too."""
    meta = {key: value for key, value in mapping(obj.get("metadata")).items() if key != "managedFields"}
    head = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    return {**head, **{key: value for key, value in obj.items() if key not in head}, "metadata": meta}

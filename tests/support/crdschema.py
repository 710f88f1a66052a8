"""Checks an object against our generated CRD schema without a server: what would be pruned, and what refused.

CEL rules are not evaluated here; the integration tier has them evaluated by the real API server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from wfe_controller.api.crd import crd
from wfe_controller.kube.clock import parse_rfc3339

_TYPES: Mapping[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool}


@cache
def _schema(kind: str) -> Mapping[str, Any]:
    root: Mapping[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def violations(kind: str, obj: Mapping[str, Any], *, part: str = "") -> list[str]:
    """One line for each defect, empty for an object the server stores as it is. ``part``: "spec" or "status" alone."""
    schema = _schema(kind)["properties"][part] if part else _schema(kind)
    checked = dict(obj)
    if not part:
        checked.pop("metadata", None)
    return list(_check(checked, schema, part))


def _check(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    kind = schema.get("type")
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(str(kind), isinstance(value, _TYPES.get(str(kind), object)))
    if not fits:
        yield f"{where}: {value!r} is not of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    if isinstance(value, str):
        yield from _string(value, schema, where)
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            yield f"{where}: {len(value)} items"
        for index, item in enumerate(value):
            yield from _check(item, schema["items"], f"{where}[{index}]")
        keys = schema.get("x-kubernetes-list-map-keys")
        if keys:
            ids = [tuple(item.get(key) for key in keys) for item in value]
            if len(set(ids)) != len(ids):
                yield f"{where}: duplicate {keys}"
    elif isinstance(value, dict):
        yield from _object(value, schema, where)
    elif kind in ("integer", "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: {value} is out of bounds"


def _string(value: str, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{where}: {len(value)} characters"
    pattern = schema.get("pattern")
    if pattern and not re.search(pattern.replace("$", r"\Z"), value):
        yield f"{where}: {value!r} does not match {pattern}"
    if schema.get("format") == "date-time" and (parse_rfc3339(value) is None or "T" not in value):
        yield f"{where}: {value!r} is no instant"


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}.{name}: required"
    known = schema.get("properties", {})
    values = schema.get("additionalProperties")
    if values is not None and len(value) > schema["maxProperties"]:
        yield f"{where}: {len(value)} entries"
    for name, child in value.items():
        if name in known:
            yield from _check(child, known[name], f"{where}.{name}")
        elif values is not None:
            yield from _check(child, values, f"{where}[{name}]")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{where}.{name}: unknown, would be pruned"

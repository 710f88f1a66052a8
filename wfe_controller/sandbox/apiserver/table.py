"""Server-side printing: ``meta.k8s.io`` Tables for kubectl get.

Rows of custom resources come from the JSONPaths of their columns, those of built-in kinds from ``columns``. The caller
sets the Table's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from wfe_controller.sandbox.apiserver import columns as builtin
from wfe_controller.sandbox.apiserver import jsonpath
from wfe_controller.sandbox.apiserver.columns import Row, definition
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request, quote
from wfe_controller.sandbox.apiserver.words import human, parse_time

Json = dict[str, Any]

INCLUDE = ("None", "Metadata", "Object")


def table(
    info: ResourceInfo,
    objs: Sequence[Json],
    *,
    include_object: str = "Metadata",
    now: datetime,
    columns: bool = True,
    version: str = "meta.k8s.io/v1",
) -> Json:
    """A Table of objects. ``columns`` False leaves the definitions out, as in all but the first event of a watch.

    ``include_object`` is the query parameter; raises 400 for a value it does not have. ``version`` is the apiVersion
    that was asked for (v1 or v1beta1).
    """
    if include_object and include_object not in INCLUDE:
        raise _unknown_include(include_object)
    row = _row_maker(info)
    rows = []
    for obj in objs:
        made = row(obj, now)
        entry: Json = {"cells": made.cells}
        if made.conditions:
            entry["conditions"] = made.conditions
        entry["object"] = _included(obj, include_object, version)
        rows.append(entry)
    return {
        "kind": "Table",
        "apiVersion": version,
        "metadata": {},
        "columnDefinitions": definitions(info) if columns else None,
        "rows": rows,
    }


def _unknown_include(value: str) -> StatusError:
    return bad_request(
        f"Unable to convert to Table as requested: includeObject: Invalid value: {quote(value)}: "
        "must be 'Metadata', 'Object', 'None', or empty"
    )


def _included(obj: Json, include: str, version: str) -> Json | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": obj.get("metadata") or {}}


def definitions(info: ResourceInfo) -> list[Json]:
    """The column definitions of a resource."""
    if not info.custom:
        known = builtin.BUILTIN.get(info.group_resource)
        return list(known.definitions if known is not None else builtin.GENERIC.definitions)
    found = [definition("Name", format="name")]
    for column in info.columns or DEFAULT_COLUMNS:
        shown = f"Custom resource definition column (in JSONPath format): {column.get('jsonPath', '')}"
        found.append(
            definition(
                column["name"],
                column["type"],
                format=column.get("format", ""),
                description=column.get("description") or shown,
                priority=column.get("priority", 0),
            )
        )
    return found


DEFAULT_COLUMNS: tuple[Json, ...] = (
    {
        "name": "Age",
        "type": "date",
        "jsonPath": ".metadata.creationTimestamp",
        "description": "When the object was created, as the time since then.",
    },
)


def _row_maker(info: ResourceInfo) -> Callable[[Json, datetime], Row]:
    if not info.custom:
        return (builtin.BUILTIN.get(info.group_resource) or builtin.GENERIC).row
    chosen = info.columns or DEFAULT_COLUMNS

    def row(obj: Json, now: datetime) -> Row:
        cells: list[Any] = [(obj.get("metadata") or {}).get("name", "")]
        cells += [_cell(column, obj, now) for column in chosen]
        return Row(cells)

    return row


def _cell(column: Json, obj: Json, now: datetime) -> Any:
    try:
        found = jsonpath.find(column.get("jsonPath", ""), obj)
    except ValueError:
        return None
    if not found or found[0] is None:
        return None
    value, kind = found[0], column["type"]
    if kind == "string":
        return _text(value)
    if kind == "date":
        return _date(value, now)
    if isinstance(value, bool):
        return value if kind == "boolean" else None
    if isinstance(value, (int, float)):
        return {"integer": int, "number": float}[kind](value) if kind in ("integer", "number") else None
    return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _date(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str):
        return None
    if not value:
        return "<unknown>"
    when = parse_time(value)
    return human((now - when).total_seconds()) if when is not None else "<invalid>"

"""Values against a structural schema, with the causes a real server gives, word for word.

Companion of ``schema``. The texts come from two layers of the real server: the OpenAPI validator (``spec.a in body
should be ...``) and the checks of list types and embedded resources; both stay recognisable.
"""

from __future__ import annotations

import json
from typing import Any

from wfe_controller.sandbox.apiserver.formats import FORMATS, pattern
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote
from wfe_controller.sandbox.apiserver.structural import MISSING, Node

Json = dict[str, Any]

_NO_FIELD = "<nil>"
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_NUMERIC = ("integer", "number")
_compact = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode
_GO_NUMBERS = {"integer": "int64", "number": "float64"}


def validate(root: Node, obj: Json, old: Json | None) -> list[Cause]:
    """Everything below the root; ``old`` forgives what has not changed."""
    found: list[Cause] = []
    _value(root, obj, MISSING if old is None else old, "", found, root=True)
    _embedded(root, obj, "", found)
    # List types are checked as a whole, and not at all when the old object broke them too.
    before: list[Cause] = []
    if old is not None:
        _list_types(root, old, "", before)
    if not before:
        _list_types(root, obj, "", found)
    return found


def validate_status(root: Node, obj: Json, old: Json) -> list[Cause]:
    """A write to /status: only the status is held against the schema, and texts speak of paths inside it."""
    found: list[Cause] = []
    node = root.properties.get("status")
    if node is not None and "status" in obj:
        inner: list[Cause] = []
        _value(node, obj["status"], old.get("status", MISSING), "", inner, root=False)
        for one in inner:
            where = one.field
            if where != _NO_FIELD:
                where = "status" + (where if not where or where.startswith("[") else f".{where}")
            found.append(Cause(one.reason, one.message, where))
    _embedded(root, obj, "", found)
    before: list[Cause] = []
    _list_types(root, old, "", before)
    if not before:
        _list_types(root, obj, "", found)
    return found


def compact(value: Any) -> str:
    """A value as it stands behind ``Invalid value:``."""
    return _compact(value)


def type_name(value: Any) -> str:
    """The JSON type of a value, in the validator's words."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"  # also 1e30: what fits 64 bits has been made an int when it was read
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "null" if value is None else "object"


def _value(node: Node, value: Any, old: Any, path: str, found: list[Cause], *, root: bool = False) -> None:
    if old is not MISSING and value == old and type(value) is type(old):
        return
    if value is None and node.nullable:
        return
    _type(node, value, path, found)
    raw = node.raw
    for key in ("allOf", "anyOf", "oneOf", "not"):
        if key in raw:
            _logic(key, raw[key], value, path, found)
    if isinstance(value, str):
        _string(node, value, path, found)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number(node, value, path, found)
    elif isinstance(value, list):
        _list(node, value, old, path, found)
    elif isinstance(value, dict):
        _map(node, value, old, path, found, root=root)
    if "enum" in raw and not any(value == item and type(value) is type(item) for item in raw["enum"]):
        supported = ", ".join(quote(item if isinstance(item, str) else compact(item)) for item in raw["enum"])
        found.append(cause("NotSupported", path, f"Unsupported value: {compact(value)}: supported values: {supported}"))


def _wrong_type(path: str, wanted: str, actual: str, found: list[Cause]) -> None:
    shown = quote(actual)
    found.append(
        cause("TypeInvalid", path, f"Invalid value: {shown}: {path} in body must be of type {wanted}: {shown}")
    )


def _type(node: Node, value: Any, path: str, found: list[Cause]) -> None:
    actual = type_name(value)
    if node.int_or_string:
        if actual not in ("integer", "string"):
            _wrong_type(path, "integer,string", actual, found)
        return
    wanted = node.type
    if not wanted or actual == wanted or (wanted == "number" and actual == "integer"):
        return
    form = str(node.raw.get("format") or "")
    if (form in FORMATS and wanted == "string") or (form and wanted in _NUMERIC and actual in ("number", "boolean")):
        # With a format the real validator speaks of Go's types, knows only those of numbers, and lets lists through.
        if actual != "array":
            _wrong_type(path, form, _GO_NUMBERS.get(actual, ""), found)
    else:
        _wrong_type(path, wanted, actual, found)


def _string(node: Node, value: str, path: str, found: list[Cause]) -> None:
    raw = node.raw
    longest, shortest, expression = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
    if longest is not None and len(value) > longest:
        found.append(cause("TooLong", path, f"Too long: may not be more than {longest} bytes"))
    elif shortest is not None and len(value) < shortest:
        text = f"Invalid value: {quote(value)}: {path} in body should be at least {shortest} chars long"
        found.append(cause("Invalid", path, text))
    elif expression and not pattern(expression).search(value):
        text = f"Invalid value: {quote(value)}: {path} in body should match '{expression}'"
        found.append(cause("Invalid", path, text))
    check = FORMATS.get(raw.get("format", ""))
    if check is not None and node.type == "string" and not check(value):
        shown = quote(value)
        text = f"Invalid value: {shown}: {path} in body must be of type {raw['format']}: {shown}"
        found.append(cause("TypeInvalid", path, text))


def _number(node: Node, value: float, path: str, found: list[Cause]) -> None:
    raw = node.raw
    form = str(raw.get("format") or "")
    whole = isinstance(value, int)
    if node.type == "integer":
        low, high = _INTEGERS.get(form, _INTEGERS["int64"])
        if not whole or not low <= value <= high:
            shown = f"with format {form}" if form else "(default format)"
            text = f'Invalid value: "": Checked value must be of type integer {shown} in {path}'
            found.append(cause("Invalid", _NO_FIELD, text))
    factor = raw.get("multipleOf")
    if factor and whole:
        # The real validator compares whole numbers with whole bounds, cut off.
        factor = int(factor)
    if factor == 0:
        text = f"Invalid value: 0: factor MultipleOf declared for {path} must be positive: 0"
        found.append(cause("Invalid", path, text))
    elif factor and (value / factor) % 1:
        text = f"Invalid value: {compact(value)}: {path} in body should be a multiple of {compact(factor)}"
        found.append(cause("Invalid", path, text))
    for bound, exclusive, word, sign in (
        ("maximum", "exclusiveMaximum", "less", 1),
        ("minimum", "exclusiveMinimum", "greater", -1),
    ):
        limit = raw.get(bound)
        if limit is None:
            continue
        limit = int(limit) if whole else limit
        strict = bool(raw.get(exclusive))
        if (value - limit) * sign > 0 or (strict and value == limit):
            relation = f"{word} than {compact(limit)}" if strict else f"{word} than or equal to {compact(limit)}"
            text = f"Invalid value: {compact(value)}: {path} in body should be {relation}"
            found.append(cause("Invalid", path, text))


def _list(node: Node, value: list[Any], old: Any, path: str, found: list[Cause]) -> None:
    if node.items is not None:
        previous = _correlated(node, old)
        for index, child in enumerate(value):
            before = previous.get(_map_key(node, child), MISSING) if previous is not None else MISSING
            _value(node.items, child, before, f"{path}[{index}]", found)
    fewest, most = node.raw.get("minItems"), node.raw.get("maxItems")
    if fewest is not None and len(value) < fewest:
        text = f"Invalid value: {len(value)}: {path} in body should have at least {fewest} items"
        found.append(cause("Invalid", path, text))
    if most is not None and len(value) > most:
        found.append(cause("TooMany", path, f"Too many: {len(value)}: must have at most {most} items"))


def _correlated(node: Node, old: Any) -> dict[str, Any] | None:
    """Old items by their keys; only list maps can be matched item by item."""
    if not isinstance(old, list) or node.list_type != "map":
        return None
    return {_map_key(node, child): child for child in old}


def _map_key(node: Node, item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    items = node.items
    shown: Json = {}
    for key in node.list_keys:
        value = item.get(key, MISSING)
        if value is MISSING and items is not None and key in items.properties:
            value = items.properties[key].default
        if value is not MISSING:
            shown[key] = value
    return compact(shown)


def _map(node: Node, value: Json, old: Any, path: str, found: list[Cause], *, root: bool) -> None:
    before = old if isinstance(old, dict) else {}
    skipped = ("apiVersion", "kind", "metadata") if root else ()
    for name, child in value.items():
        below = node.child(name)
        if below is not None and name not in skipped:
            _value(below, child, before.get(name, MISSING), f"{path}.{name}" if path else name, found)
    required = (*node.required, "apiVersion", "kind") if node.embedded and not root else node.required
    for name in dict.fromkeys(required):
        if name not in value:
            found.append(cause("Required", f"{path}.{name}" if path else name, "Required value"))
    fewest, most = node.raw.get("minProperties"), node.raw.get("maxProperties")
    if fewest is not None and len(value) < fewest:
        text = f"Invalid value: {len(value)}: {path} in body should have at least {fewest} properties"
        found.append(cause("Invalid", path, text))
    if most is not None and len(value) > most:
        found.append(cause("TooMany", path, f"Too many: {len(value)}: must have at most {most} items"))


def _logic(key: str, schemas: Any, value: Any, path: str, found: list[Cause]) -> None:
    alternatives = [schemas] if key == "not" else schemas
    results: list[list[Cause]] = []
    for schema in alternatives:
        results.append([])
        _value(Node.compile(schema), value, MISSING, path, results[-1])
    good = sum(1 for causes in results if not causes)
    shown = quote(path)
    if key == "not":
        problem = f"{shown} must not validate the schema (not)" if good else ""
    elif key == "allOf":
        problem = "" if good == len(results) else f"{shown} must validate all the schemas (allOf)"
    elif key == "anyOf":
        problem = "" if good else f"{shown} must validate at least one schema (anyOf)"
    elif good == 1:
        problem = ""
    else:
        count = f"Found {good} valid alternatives" if good else "Found none valid"
        problem = f"{shown} must validate one and only one schema (oneOf). {count}"
    if not problem:
        return
    found.append(cause("Invalid", _NO_FIELD, f'Invalid value: "": {problem}'))
    if key == "allOf":
        found.extend(one for causes in results for one in causes)
    elif not good:
        found.extend(results[0])


def _embedded(node: Node, value: Any, path: str, found: list[Cause]) -> None:
    if not node.embedded_below:
        return
    if isinstance(value, list):
        if node.items is not None:
            for index, child in enumerate(value):
                _embedded(node.items, child, f"{path}[{index}]", found)
    elif isinstance(value, dict):
        if node.embedded and path:
            for key in ("apiVersion", "kind"):
                if value.get(key) == "":
                    found.append(cause("Invalid", f"{path}.{key}", 'Invalid value: "": must not be empty'))
        for name, child in value.items():
            below = node.child(name) if isinstance(child, dict | list) else None
            if below is not None:
                _embedded(below, child, f"{path}.{name}" if path else name, found)


def _list_types(node: Node, value: Any, path: str, found: list[Cause]) -> None:
    if not node.keyed_below:
        return
    if isinstance(value, dict):
        for name, child in value.items():
            below = node.child(name) if isinstance(child, dict | list) else None
            if below is not None:
                _list_types(below, child, f"{path}.{name}" if path else name, found)
        return
    if not isinstance(value, list) or node.items is None:
        return
    if node.list_type in ("set", "map"):
        seen: dict[str, int] = {}
        for index, child in enumerate(value):
            if node.list_type == "map" and not isinstance(child, dict):
                text = f"Invalid value: {compact(child)}: must be an object for an array of list-type map"
                found.append(cause("Invalid", f"{path}[{index}]", text))
                continue
            key = compact(child) if node.list_type == "set" else _map_key(node, child)
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == 2:
                found.append(cause("Duplicate", f"{path}[{index}]", f"Duplicate value: {key}"))
    for index, child in enumerate(value):
        if isinstance(child, dict | list):
            _list_types(node.items, child, f"{path}[{index}]", found)


def validate_value(node: Node, value: Any) -> list[Cause]:
    """A value that stands nowhere (a default): fields and texts are relative to it."""
    found: list[Cause] = []
    _value(node, value, MISSING, "", found)
    return found

"""Whether the schema of a CustomResourceDefinition is structural: the refusals a writer of CRDs meets.

Companion of ``crds``. Rules of CEL are ``cel``'s. What is not checked here is accepted and then does what it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wfe_controller.sandbox.apiserver.formats import FORMATS, BadPattern, pattern
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote
from wfe_controller.sandbox.apiserver.structural import Node
from wfe_controller.sandbox.apiserver.validation import validate_value

Json = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_KNOWN_FORMATS = frozenset(FORMATS) | frozenset(
    {"int32", "int64", "float", "double", "password", "email", "hostname", "mac", "binary", "bsonobjectid", "isbn"}
    | {"isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "uuid3", "uuid4", "uuid5"}
    | {"k8s-short-name", "k8s-long-name"}
)


def check_schema(schema: Json, path: str) -> list[Cause]:
    """Causes of one ``openAPIV3Schema`` standing at ``path``."""
    forbidden: list[Cause] = []
    for place, where in places(schema, path):
        _forbidden(place, where, forbidden)
    found: list[Cause] = []
    if not forbidden:
        # Types and defaults are looked at only in schemas that use nothing forbidden.
        _check(schema, path, found, root=True)
    kind = schema.get("type")
    if kind and kind != "object":
        text = f"Invalid value: {quote(kind)}: must be object at the root"
        found.append(cause("Invalid", f"{path}.type", text))
    elif not kind:
        found.append(cause("Required", f"{path}.type", "Required value: must not be empty at the root"))
    return found + forbidden


def places(schema: Json, path: str) -> Iterable[tuple[Json, str]]:
    """Every schema in a schema, with its path."""
    yield schema, path
    for name, child in (schema.get("properties") or {}).items():
        yield from places(child, f"{path}.properties[{name}]")
    for key in ("additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            yield from places(schema[key], f"{path}.{key}")


def unknown_formats(schema: Json) -> list[str]:
    """Warnings about formats nobody checks."""
    return [f'unrecognized format "{form}"' for form in dict.fromkeys(_formats(schema)) if form not in _KNOWN_FORMATS]


def _formats(schema: Any) -> Iterable[str]:
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("format"), str):
        yield schema["format"]
    for child in (*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")):
        yield from _formats(child)


def _check(schema: Json, path: str, found: list[Cause], *, root: bool = False) -> None:
    before = len(found)
    kind = schema.get("type")
    anything = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not anything and not root:
        place = "array items" if path.endswith(".items") else "object fields"
        text = f"Required value: must not be empty for specified {place}"
        found.append(cause("Required", f"{path}.type", text))
    elif kind and kind not in _TYPES:
        listed = ", ".join(quote(known) for known in _TYPES)
        text = f"Unsupported value: {quote(kind)}: supported values: {listed}"
        found.append(cause("NotSupported", f"{path}.type", text))
    _lists(schema, path, found)
    if schema.get("properties") and isinstance(schema.get("additionalProperties"), dict):
        text = "Forbidden: additionalProperties and properties are mutual exclusive"
        found.append(cause("Forbidden", f"{path}.additionalProperties", text))
    _pattern(schema, path, found)
    for name, child in (schema.get("properties") or {}).items():
        _check(child, f"{path}.properties[{name}]", found)
    if isinstance(schema.get("additionalProperties"), dict):
        _check(schema["additionalProperties"], f"{path}.additionalProperties", found)
    if isinstance(schema.get("items"), dict):
        _check(schema["items"], f"{path}.items", found)
    if "default" in schema and len(found) == before:
        _default(schema, path, found)


def _forbidden(schema: Json, path: str, found: list[Cause]) -> None:
    if schema.get("$ref"):
        found.append(cause("Forbidden", f"{path}.$ref", "Forbidden: $ref is not supported"))
    if schema.get("uniqueItems"):
        text = "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(cause("Forbidden", f"{path}.uniqueItems", text))
    for key in ("id", "definitions", "patternProperties", "dependencies"):
        if schema.get(key):
            found.append(cause("Forbidden", f"{path}.{key}", f"Forbidden: {key} is not supported"))
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        text = "Invalid value: false: must be true or undefined"
        found.append(cause("Invalid", f"{path}.x-kubernetes-preserve-unknown-fields", text))


def _lists(schema: Json, path: str, found: list[Cause]) -> None:
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        found.append(cause("Required", f"{path}.items", "Required value: must be specified"))
    kind = schema.get("x-kubernetes-list-type")
    if kind is not None and kind not in ("atomic", "set", "map"):
        text = f'Unsupported value: {quote(kind)}: supported values: "atomic", "set", "map"'
        found.append(cause("NotSupported", f"{path}.x-kubernetes-list-type", text))
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if kind == "map" and not keys:
        text = "Required value: must not be empty if x-kubernetes-list-type is map"
        found.append(cause("Required", f"{path}.x-kubernetes-list-map-keys", text))
    items = schema.get("items") if isinstance(schema.get("items"), dict) else {}
    assert isinstance(items, dict)
    for key in keys if kind == "map" else []:
        known = (items.get("properties") or {}).get(key)
        if known is None:
            text = f"Invalid value: {quote(key)}: entries must all be names of item properties"
            found.append(cause("Invalid", f"{path}.x-kubernetes-list-map-keys[{keys.index(key)}]", text))
        elif key not in (items.get("required") or []) and "default" not in known:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            found.append(cause("Required", f"{path}.items.properties[{key}].default", f"Required value: {why}"))


def _pattern(schema: Json, path: str, found: list[Cause]) -> None:
    expression = schema.get("pattern")
    if not expression:
        return
    try:
        pattern(expression)
    except BadPattern as error:
        text = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
        found.append(cause("Invalid", f"{path}.pattern", f"Invalid value: {quote(expression)}: {text}"))


def _default(schema: Json, path: str, found: list[Cause]) -> None:
    if schema["default"] is None and schema.get("nullable"):
        return
    for one in validate_value(Node.compile(schema), schema["default"]):
        where = f"{path}.default" + (f".{one.field}" if one.field and one.field != "<nil>" else "")
        found.append(Cause(one.reason, one.message, where))

"""The patch languages of PATCH: JSON patch, merge patch and strategic merge patch (apply is in ``apply``).

Every function takes the current object and the patch as it came, returns a new object that may share parts with the
current one, and raises StatusError with the code and text of a real kube-apiserver. Whether the result is a valid
object is not asked here. ``validates`` says that the request has fieldValidation Warn or Strict (the default), which
changes some texts; :func:`problems` are what Warn warns of and Strict refuses in the patch itself.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from wfe_controller.sandbox.apiserver import decode, gojson, strategic
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request, cause, invalid, quote, too_large
from wfe_controller.sandbox.apiserver.typed import MISSING

Json = dict[str, Any]

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""Bytes that the copies of one JSON patch may add up to: each can double the object."""
_OPERATION_FIELDS = ("op", "path", "from", "value")
_INDEX = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NO_VERSION = (
    "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct "
    '{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


class _Fails(Exception):
    """An operation cannot be applied; the real server does not say why."""


def _rejected() -> StatusError:
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _parse(body: bytes, prefix: str) -> Any:
    try:
        return decode.loads(body)
    except (gojson.SyntaxProblem, gojson.NumberProblem) as error:
        raise bad_request(f"{prefix}{error}") from error


def _cannot(value: Any, into: str, prefix: str) -> StatusError:
    return bad_request(f"{prefix}json: cannot unmarshal {_kind_of(value)} into Go {into}")


def problems(body: bytes, *, operations: bool) -> list[str]:
    """Fields given twice, and unknown fields of JSON patch operations, as ``duplicate field "[0].op"``."""
    try:
        value, duplicates = decode.duplicates(body)
    except (gojson.SyntaxProblem, gojson.NumberProblem):
        return []
    if not operations:
        return [f"duplicate field {quote(path)}" for path in duplicates]
    found = []
    for index, operation in enumerate(value if isinstance(value, list) else []):
        for name in operation if isinstance(operation, dict) else ():
            if name not in _OPERATION_FIELDS:
                found.append(f"json patch unknown field {quote(f'[{index}].{name}')}")
    return found + [f"json patch duplicate field {quote(path)}" for path in duplicates]


# -- JSON patch --------------------


def json_patch(doc: Json, body: bytes, *, validates: bool = True) -> Json:
    """RFC 6902 with the habits of the real server: 400 for what is no patch, 413 for more than 10,000 operations, 422
    for one that does not apply (a failing test among them).
    """
    operations = _operations(body, validates)
    if len(operations) > MAX_OPERATIONS:
        raise too_large(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}")
    root: Any = copy.deepcopy(doc)
    copied = 0
    for operation in operations:
        try:
            root, size = _apply(root, operation or {})
            copied += size
            if copied > MAX_COPIED:
                raise _Fails
        except _Fails:
            raise _rejected() from None
    return _as_object(root)


def _operations(body: bytes, validates: bool) -> list[Json | None]:
    prefix = "error decoding patch: " if validates else ""
    patch = _parse(body, prefix)
    if patch is None:
        return []
    if not isinstance(patch, list):
        raise _cannot(patch, f"value of type {'[]handlers.jsonPatchOp' if validates else 'jsonpatch.Patch'}", prefix)
    for operation in patch:
        if operation is None:
            continue
        if not isinstance(operation, dict):
            wanted = "handlers.jsonPatchOp" if validates else "jsonpatch.Operation"
            raise _cannot(operation, f"value of type {wanted}", prefix)
        for name in ("op", "path", "from") if validates else ():
            value = operation.get(name)
            if value is not None and not isinstance(value, str):
                raise _cannot(value, f"struct field jsonPatchOp.{name} of type string", prefix)
    return patch


def _as_object(root: Any) -> Json:
    if isinstance(root, dict):
        return root
    shown = json.dumps(root, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    raise invalid("", "", "", [cause("Invalid", "patch", f"Invalid value: {quote(shown)}: {_NO_VERSION}")])


def _text(operation: Json, name: str) -> str:
    value = operation.get(name)
    if not isinstance(value, str):
        raise _Fails
    return value


def _apply(root: Any, operation: Json) -> tuple[Any, int]:
    """What becomes of the document, and how many bytes were copied."""
    kind = operation.get("op")
    if kind not in ("add", "remove", "replace", "move", "test", "copy"):
        raise _Fails
    if kind in ("move", "copy"):
        source, name = _container(root, _text(operation, "from"))
        moved = _get(source, name)
        if kind == "move":
            _remove(source, name)
        moved = None if moved is MISSING else copy.deepcopy(moved)
        _add(*_container(root, _text(operation, "path")), moved)
        return root, len(msgspec.json.encode(moved)) if kind == "copy" else 0
    path = _text(operation, "path")
    value = copy.deepcopy(operation.get("value"))
    if path == "" and kind == "replace":
        if not isinstance(value, (dict, list)):
            raise _Fails
        return value, 0
    if path == "" and kind == "test":
        if not _equal(root, value):
            raise _Fails
        return root, 0
    container, name = _container(root, path)
    if kind == "test":
        found = _get(container, name)
        if not _equal(None if found is MISSING else found, value):
            raise _Fails
    elif kind == "add":
        _add(container, name, value)
    elif kind == "remove":
        _remove(container, name)
    else:
        _get(container, name)
        _set(container, name, value)
    return root, 0


def _container(root: Any, path: str) -> tuple[Any, str]:
    """Where the last part of a pointer lives, and that part. What stands before the first slash does not count."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    if len(parts) < 2:
        raise _Fails
    node = root
    for part in parts[1:-1]:
        node = _get(node, part)
        if not isinstance(node, (dict, list)):
            raise _Fails
    return node, parts[-1]


def _position(items: list[Any], name: str, size: int) -> int:
    if not _INDEX.fullmatch(name) or len(name) > 20:
        raise _Fails
    index = int(name)
    if index < 0:
        index += size
    if not 0 <= index < size:
        raise _Fails
    return index


def _get(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, name, len(node))]
    return node.get(name, MISSING)


def _add(node: Any, name: str, value: Any) -> None:
    if isinstance(node, list):
        if name == "-":
            node.append(value)
        else:
            node.insert(_position(node, name, len(node) + 1), value)
    else:
        node[name] = value


def _set(node: Any, name: str, value: Any) -> None:
    if isinstance(node, list):
        node[_position(node, name, len(node))] = value
    else:
        node[name] = value


def _remove(node: Any, name: str) -> None:
    if isinstance(node, list):
        del node[_position(node, name, len(node))]
    elif name in node:
        del node[name]
    else:
        raise _Fails


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON values, where ``1`` is neither ``true`` nor ``1.0``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


# -- merge patch --------------------


def merge_patch(doc: Json, body: bytes, *, validates: bool = True) -> Json:
    """RFC 7386, except that nulls inside of new arrays' objects go too, as the real server has it."""
    if validates:
        patch = _parse(body, "error decoding patch: ")
        if patch is not None and not isinstance(patch, dict):
            raise _cannot(patch, "value of type map[string]interface {}", "error decoding patch: ")
    else:
        try:
            patch = decode.loads(body)
        except (gojson.SyntaxProblem, gojson.NumberProblem):
            patch = None
    if isinstance(patch, list):
        return _as_object(_without_nulls(patch))
    if not isinstance(patch, dict):
        raise bad_request("Invalid JSON Patch")
    return _merge(doc, patch)


def _merge(doc: Json, patch: Json) -> Json:
    out = dict(doc)
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
            continue
        current = out.get(name)
        if isinstance(current, dict):
            out[name] = _merge(current, value) if isinstance(value, dict) else value
        else:
            out[name] = _without_nulls(value)
    return out


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


# -- strategic merge patch --------------------


def strategic_merge(doc: Json, body: bytes, schema: Json, definitions: Mapping[str, Json] | None = None) -> Json:
    """A strategic merge patch of a built-in kind; custom resources refuse it by its media type (415)."""
    patch = _parse(body, "")
    if patch is None:
        patch = {}
    if not isinstance(patch, dict):
        raise _cannot(patch, "value of type map[string]interface {}", "")
    return strategic.Merger(definitions).merge(copy.deepcopy(doc), patch, schema)

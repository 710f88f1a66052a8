"""Bodies of requests: from bytes to an object, refused in the words of kube-apiserver.

``decode`` knows bytes only. ``read`` is the way of a POST or PUT and ``check`` that of an object that came out of a
patch: both compare kind and version with the resource, look at Go types, and treat unknown and duplicate fields as
``fieldValidation`` asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.apiserver import gojson, gotypes, goyaml, protobuf
from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo
from wfe_controller.sandbox.apiserver.schema import Schema
from wfe_controller.sandbox.apiserver.status import (
    StatusError,
    bad_request,
    cause,
    invalid,
    quote,
    too_large,
    unsupported_media_type,
)

Json = dict[str, Any]

ACCEPTED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_LANGUAGES = dict(zip(ACCEPTED, ("json", "yaml", "protobuf"), strict=True))
_PARAMETER = re.compile(r"\s*[^\s=;\"]+=([^\s;\"]+|\"[^\"]*\")\s*")
MAX_BODY = 3 * 1024 * 1024
MAX_KEPT_DEPTH = 400
"""Deeper values are read and refused: everything behind this module may recurse."""

_SHOWN = 30
_HALF_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(r"[0-9]{19}")
# How Go prints the type that kind and apiVersion are read into.
_HEAD = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")


@dataclass(slots=True)
class Decoded:
    """``problems`` are duplicate keys, as they stand in a strict error or a warning, ``paths`` the same without words;
    ``depth`` 0 = not deep."""

    value: Any
    problems: list[str] = field(default_factory=list)
    depth: int = 0
    yaml: bool = False
    paths: list[str] = field(default_factory=list)


class _Slow(Exception):
    """The fast parser cannot say what is wrong, or must not be trusted."""


def media_type(content_type: str) -> str:
    """``json``, ``yaml`` or ``protobuf``; 415 for the rest, also for none at all."""
    essence, *parameters = content_type.rstrip().removesuffix(";").split(";")
    kind = _LANGUAGES.get(essence.strip().lower())
    if kind is None or not all(_PARAMETER.fullmatch(parameter) for parameter in parameters):
        raise unsupported_media_type(ACCEPTED)
    return kind


def decode(body: bytes, content_type: str, *, kind: str = "", merge: bool = False) -> Decoded:
    """The JSON value of a body. ``kind`` is what the request is about and stands in the refusal; "" leaves it out.

    ``merge`` is how duplicate keys of built-in kinds work (gojson.parse).
    """
    language = media_type(content_type)
    if len(body) > MAX_BODY:
        raise too_large(f"limit is {MAX_BODY}")
    if language == "protobuf":
        if body[:4] == protobuf.PREFIX:
            return _protobuf(body)
        text = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        raise unrecognized(text, body, kind)
    try:
        if language == "yaml":
            parsed = goyaml.parse(body)
            return Decoded(parsed.value, parsed.duplicates, parsed.depth, yaml=True)
        return _json(body, merge)
    except gojson.SyntaxProblem as error:
        raise unrecognized(f"couldn't get version/kind; json parse error: {error}", body, kind) from error
    except goyaml.YamlProblem as error:
        raise unrecognized(str(error), body, kind) from error
    except gojson.NumberProblem as error:
        raise bad_request(f"{kind} cannot be handled as a {kind}: {error}" if kind else str(error)) from error


def _protobuf(body: bytes) -> Decoded:
    try:
        return Decoded(protobuf.decode(body))
    except protobuf.ProtobufProblem as error:
        raise bad_request(str(error)) from error
    except KeyError as error:
        # Kinds that no typed client sends: it is told what this server reads.
        raise unsupported_media_type(ACCEPTED[:2]) from error


def loads(body: bytes) -> Any:
    """JSON without a kind (patches); raises gojson.SyntaxProblem."""
    return _json(body).value


def duplicates(body: bytes) -> tuple[Any, list[str]]:
    """The same with the paths that are given twice."""
    found = _json(body)
    return found.value, found.paths


def _json(body: bytes, merge: bool = False) -> Decoded:
    read = float if merge else gojson.number  # a Go struct takes no 1.0 for an integer
    try:
        text = body.decode("utf-8", "replace")
        if _HALF_SURROGATE.search(text) or _LONG_NUMBER.search(text):
            raise _Slow
        return Decoded(json.loads(text, object_pairs_hook=_pairs, parse_float=read, parse_constant=_constant))
    except (_Slow, ValueError, RecursionError):
        parsed = gojson.parse(body, merge=merge)
    problems = [f'duplicate field "{path}"' for path in parsed.duplicates]
    return Decoded(parsed.value, problems, parsed.depth, paths=parsed.duplicates)


def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Slow
    return found


def _constant(_name: str) -> Any:
    raise _Slow


def summary(body: bytes) -> str:
    """The body as a refusal quotes it."""
    if not body:
        return "<empty>"
    shown = body[:_SHOWN].decode("utf-8", "replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    return f"{shown} ..." if len(body) > _SHOWN else shown


def unrecognized(why: str, body: bytes, kind: str) -> StatusError:
    if not kind:
        return bad_request(why)
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({summary(body)})")


def unhandled(kind: str, version: str, expected: str, why: str) -> StatusError:
    """400 of an object whose kind is known and whose content does not fit."""
    return bad_request(f"{kind} in version {quote(version)} cannot be handled as a {expected}: {why}")


def read(
    body: bytes,
    content_type: str,
    info: ResourceInfo,
    schema: Schema,
    field_validation: str,
    registry: Registry,
    *,
    action: str = "Create",
    told: list[str] | None = None,
) -> tuple[Json, list[str]]:
    """A body as an object of ``info``, unknown fields gone, and the warnings about it.

    Defaults are not filled in and values not validated. ``action`` names the options kind of a bad fieldValidation;
    ``told`` takes warnings that go with a refusal.
    """
    check_field_validation(field_validation, action)
    try:
        decoded = decode(body, content_type, kind=info.kind, merge=not info.custom)
    except StatusError as error:
        if isinstance(error.__cause__, gojson.NumberProblem):
            raise unhandled(info.kind, info.version, info.kind, str(error.__cause__)) from error
        raise
    if info.custom and field_validation != "Ignore":
        _other_version(decoded.value, info, field_validation, [] if told is None else told)
    obj = _head(decoded.value, body, info, registry)
    warnings = check(obj, decoded.problems, info, schema, field_validation, yaml=decoded.yaml)
    if _may_be_deep(body, decoded) and depth(obj) > MAX_KEPT_DEPTH:
        raise bad_request(f"the object is nested deeper than {MAX_KEPT_DEPTH} levels, which this server does not keep")
    return obj, warnings


def _other_version(value: Any, info: ResourceInfo, field_validation: str, told: list[str]) -> None:
    """A custom resource of a version that is not served has no schema: the real server knows none of its fields."""
    version = value.get("apiVersion") if isinstance(value, dict) else None
    if not isinstance(version, str) or version == info.api_version or not version.startswith(f"{info.group}/"):
        return
    unknown = sorted(f'unknown field "{name}"' for name in value if name not in ("apiVersion", "kind", "metadata"))
    if unknown and field_validation == "Strict" and value.get("kind"):
        why = f"strict decoding error: {', '.join(unknown)}"
        raise unhandled(str(value["kind"]), version.partition("/")[2], info.kind, why)
    told.extend(unknown)


def _may_be_deep(body: bytes, decoded: Decoded) -> bool:
    """Cheap, for most bodies: the fast parser does not say how deep it went."""
    if decoded.depth:
        return decoded.depth > MAX_KEPT_DEPTH
    return body.count(b"{") + body.count(b"[") > MAX_KEPT_DEPTH


def check_field_validation(value: str, action: str) -> None:
    """422 unless the query parameter is one of the four."""
    if value not in _FIELD_VALIDATION:
        supported = ", ".join(quote(known) for known in _FIELD_VALIDATION)
        text = f"Unsupported value: {quote(value)}: supported values: {supported}"
        raise invalid("meta.k8s.io", f"{action}Options", "", [cause("NotSupported", "fieldValidation", text)])


def check(
    obj: Json, problems: list[str], info: ResourceInfo, schema: Schema, field_validation: str, *, yaml: bool = False
) -> list[str]:
    """Go types, unknown fields (pruned) and what ``fieldValidation`` makes of both; returns the warnings."""
    try:
        unknown = schema.prune(obj)
    except gotypes.Mismatch as error:
        raise unhandled(info.kind, info.version, info.kind, str(error)) from error
    found = [*problems, *unknown]
    if found and field_validation == "Strict":
        listed = list(found)
        if yaml and problems:
            listed = ["yaml: unmarshal errors:\n" + "\n".join(f"  {problem}" for problem in problems), *unknown]
        raise unhandled(info.kind, info.version, info.kind, f"strict decoding error: {', '.join(listed)}")
    return [] if field_validation == "Ignore" else found


def head_problem(value: Any) -> str:
    """Why apiVersion and kind of a body cannot be read, "" when they can."""
    prefix = "couldn't get version/kind; json parse error: json: cannot unmarshal"
    if not isinstance(value, dict):
        return f"{prefix} {gotypes.json_kind(value)} into Go value of type {_HEAD}"
    for key in ("apiVersion", "kind"):
        if value.get(key) is not None and not isinstance(value[key], str):
            return f"{prefix} {gotypes.json_kind(value[key])} into Go struct field .{key} of type string"
    return ""


def _head(value: Any, body: bytes, info: ResourceInfo, registry: Registry) -> Json:
    """Kind and apiVersion against the resource; built-in kinds may leave them out."""
    if value is None and not info.custom:
        value = {}
    obj: Json = {} if value is None else value
    why = head_problem(obj)
    if why:
        raise unrecognized(why, body, info.kind)
    kind, version = obj.get("kind") or "", obj.get("apiVersion") or ""
    if info.custom and not kind:
        shown = body.decode("utf-8", "replace")
        raise unrecognized(f"Object 'Kind' is missing in '{shown}'", body, info.kind)
    if version.count("/") > 1:
        raise unrecognized(f"unexpected GroupVersion string: {version}", body, info.kind)
    if info.custom:
        _check_custom(obj, info, kind, version)
    else:
        _check_builtin(info, registry, kind or info.kind, version or info.api_version)
    obj["apiVersion"], obj["kind"] = info.api_version, info.kind
    return obj


def _check_custom(obj: Mapping[str, Any], info: ResourceInfo, kind: str, version: str) -> None:
    if version != info.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({info.api_version})"
        )
    if kind != info.kind:
        metadata = obj.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        text = f"Invalid value: {quote(kind)}: must be {info.kind}"
        raise invalid(info.group, kind, name if isinstance(name, str) else "", [cause("Invalid", "kind", text)])


def _check_builtin(info: ResourceInfo, registry: Registry, kind: str, version: str) -> None:
    if (kind, version) == (info.kind, info.api_version):
        return
    group, _, short = version.rpartition("/")
    known = registry.by_kind(group, short, kind)
    if known is None or known.custom:
        why = f'no kind {quote(kind)} is registered for version {quote(version)} in scheme "pkg/runtime/scheme.go:111"'
    else:
        why = f"converting ({short}.{kind}) to ({_package(info.group)}.{info.kind}): unknown conversion"
    raise unhandled(kind, short, info.kind, why)


def _package(group: str) -> str:
    """The Go package of a group's internal types."""
    return group.partition(".")[0] if group else "core"


def depth(value: Any) -> int:
    """How deep a value is nested; without recursion."""
    deepest, pending = 0, [(value, 1)]
    while pending:
        current, level = pending.pop()
        if isinstance(current, dict | list):
            deepest = max(deepest, level)
            children = current.values() if isinstance(current, dict) else current
            pending.extend((child, level + 1) for child in children if isinstance(child, dict | list))
    return deepest

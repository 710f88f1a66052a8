"""Request bodies in protobuf, which typed Go clients send: read into the JSON form, never written.

``decode`` is the caller; the numbers of the fields are data (``python -m hack.protobuf_fields``). kubectl sends
protobuf for create ns, create token, auth can-i and the like, and takes JSON for an answer.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from wfe_controller.sandbox.apiserver import definitions

Json = dict[str, Any]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
PREFIX = b"k8s\0"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_MAX_DEPTH = 100


class ProtobufProblem(ValueError):
    """The body is not what its prefix promises."""


@cache
def _messages() -> dict[str, dict[int, tuple[str, str]]]:
    text = resources.files(f"{__package__}.builtin").joinpath("protobuf.json").read_text(encoding="utf-8")
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for name, fields in json.loads(text).items():
        found[name] = {int(number): tuple(field.split(" ")) for number, field in fields.items()}
    return found


@cache
def _kinds() -> dict[tuple[str, str], str]:
    """(apiVersion, kind) -> message."""
    found: dict[tuple[str, str], str] = {
        ("authentication.k8s.io/v1", "TokenRequest"): "io.k8s.api.authentication.v1.TokenRequest",
        ("policy/v1", "Eviction"): "io.k8s.api.policy.v1.Eviction",
        ("v1", "DeleteOptions"): _META + "DeleteOptions",
    }
    for entry in definitions.data()["resources"]:
        version = f"{entry['group']}/{entry['version']}" if entry["group"] else entry["version"]
        found[version, entry["kind"]] = entry["definition"]
    return found


def decode(body: bytes) -> Json:
    """The object of a protobuf body, with apiVersion and kind.

    Empty strings and empty maps are left out, as the JSON of a typed client leaves them out. Raises ProtobufProblem
    for broken bodies and KeyError((apiVersion, kind)) for a kind that is not known.
    """
    if not body.startswith(PREFIX):
        raise ProtobufProblem("the prefix is missing")
    try:
        envelope = {number: value for number, value in _fields(body[len(PREFIX) :]) if isinstance(value, bytes)}
        head = {number: value for number, value in _fields(envelope.get(1, b"")) if isinstance(value, bytes)}
        version, kind = head.get(1, b"").decode(), head.get(2, b"").decode()
        message = _kinds()[version, kind]
        return {"apiVersion": version, "kind": kind, **_message(envelope.get(2, b""), message, 0)}
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise ProtobufProblem(f"broken message: {error}") from error


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ProtobufProblem("a number is too long")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes | float]]:
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
        elif wire == 1:
            yield number, struct.unpack_from("<d", data, place)[0]
            place += 8
        elif wire == 2:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise ProtobufProblem("the message ends early")
            yield number, data[place : place + size]
            place += size
        elif wire == 5:
            yield number, struct.unpack_from("<f", data, place)[0]
            place += 4
        else:
            raise ProtobufProblem(f"unknown wire type {wire}")


def _message(data: bytes, name: str, depth: int) -> Json:
    if depth > _MAX_DEPTH:
        raise ProtobufProblem("the message is nested too deeply")
    known = _messages().get(name, {})
    declared = definitions.definitions().get(name, {}).get("properties", {})
    out: Json = {}
    for number, raw in _fields(data):
        if number not in known:
            continue
        field, kind = known[number]
        if kind[0] == "*":
            out.setdefault(field, []).append(_value(raw, kind[1:], depth))
        elif kind[0] == "%":
            entry = dict(_fields(raw)) if isinstance(raw, bytes) else {}
            key = entry.get(1, b"")
            if isinstance(key, bytes):
                out.setdefault(field, {})[key.decode()] = _value(entry.get(2, b""), kind[1:], depth)
        else:
            value = _value(raw, kind.lower() if len(kind) == 1 else kind, depth)
            if kind in ("I", "B") and not value:
                continue  # no pointer in Go: zero is as good as absent
            if kind.startswith("m:") and declared and field not in declared and isinstance(value, dict):
                # A struct that JSON writes without its name.
                out.update(value)
            elif value not in ("", None):
                out[field] = value
    return out


def _value(raw: int | bytes | float, kind: str, depth: int) -> Any:
    if kind == "b":
        return bool(raw)
    if kind == "i" and isinstance(raw, int):
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    if kind == "d":
        return raw
    if not isinstance(raw, bytes):
        raise ProtobufProblem("a number stands where a text belongs")
    if kind == "s":
        return raw.decode()
    if kind == "y":
        return base64.b64encode(raw).decode()
    return _special(raw, kind.removeprefix("m:"), depth)


def _special(raw: bytes, name: str, depth: int) -> Any:
    """Messages whose JSON is no object, and all others."""
    short = name.rpartition(".")[2]
    if name in (_META + "Time", _META + "MicroTime"):
        parts = dict(_fields(raw))
        seconds, nanos = int(parts.get(1, 0)), int(parts.get(2, 0))
        if not raw:
            return None
        if seconds >= 1 << 63:
            seconds -= 1 << 64
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=nanos // 1000)
        return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if short == "MicroTime" else "%Y-%m-%dT%H:%M:%SZ")
    if short in ("Quantity", "IntOrString", "Duration", "FieldsV1", "RawExtension", "JSON", "ExtraValue", "Verbs"):
        return _plain(raw, short)
    return _message(raw, name, depth + 1)


def _plain(raw: bytes, short: str) -> Any:
    parts = list(_fields(raw))
    values = dict(parts)
    text = values.get(1, b"")
    if short in ("ExtraValue", "Verbs"):
        return [item.decode() for _, item in parts if isinstance(item, bytes)]
    if short == "Duration":
        return f"{int(values.get(1, 0)) / 1e9:g}s"
    if short == "IntOrString":
        if not values.get(1):
            return _value(int(values.get(2, 0)), "i", 0)
        written = values.get(3, b"")
        return written.decode() if isinstance(written, bytes) else ""
    if not isinstance(text, bytes):
        raise ProtobufProblem("a number stands where a text belongs")
    if short == "Quantity":
        return text.decode()
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise ProtobufProblem(f"broken JSON in {short}") from error

"""Objects of Go struct types: what decoding refuses, drops and adds.

Built-in kinds and everybody's metadata are structs on a real server. Decoding one refuses a value of the wrong JSON
type, reports unknown fields, forgets nulls and empty collections, writes times in one form, and what is not a pointer
is always there afterwards (``status: {}``). :func:`compiled` makes a type from an OpenAPI schema whose references have
been replaced by shared dicts (``builtin``); ``schema`` is the caller.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from wfe_controller.sandbox.apiserver.quantities import canonical, is_quantity
from wfe_controller.sandbox.apiserver.status import quote

Json = dict[str, Any]

DEFINITION = "x-definition"
"""Key under which a resolved schema says which component it was."""

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))",
)
_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_MICROS = re.compile(r":\d\d\.\d{6}(Z|[+-])")
_BASE64 = re.compile(r"[A-Za-z0-9+/]")
_SIZES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
# Times that are no pointers are written even when they are not set.
_NULL_TIMES: dict[str, tuple[str, ...]] = {
    "PodCondition": ("lastProbeTime", "lastTransitionTime"),
    "JobCondition": ("lastProbeTime", "lastTransitionTime"),
    "DeploymentCondition": ("lastUpdateTime", "lastTransitionTime"),
    "ReplicaSetCondition": ("lastTransitionTime",),
    "NodeCondition": ("lastHeartbeatTime", "lastTransitionTime"),
    "NamespaceCondition": ("lastTransitionTime",),
    "CustomResourceDefinitionCondition": ("lastTransitionTime",),
    "ContainerStateRunning": ("startedAt",),
    "ContainerStateTerminated": ("startedAt", "finishedAt"),
}
_ZERO: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "bytes": ""}


class Mismatch(ValueError):
    """What Go says about a value that does not fit its type."""


@dataclass(slots=True, eq=False)
class GoType:
    """``shape`` is one of any struct map list string integer number boolean bytes time microtime quantity intorstring.

    ``name`` is how Go prints the type; ``always`` are fields that are written even when nobody set them, with the value
    they get; ``kept`` are fields whose empty collection stays.
    """

    shape: str
    name: str
    fields: dict[str, GoType] = field(default_factory=dict)
    element: GoType | None = None
    always: dict[str, Any] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    @property
    def short(self) -> str:
        """The struct's name without its package."""
        return self.name.rpartition(".")[2]


_UID = GoType("string", "types.UID")
_EXTRA = GoType("list", "v1.ExtraValue", element=GoType("string", "string"))
_compiled: dict[int, tuple[Json, GoType]] = {}


def compiled(schema: Json) -> GoType:
    """The Go type of a schema; made once for each dict (which is kept alive, so that its id stays its own)."""
    known = _compiled.get(id(schema))
    if known is not None:
        return known[1]
    definition = str(schema.get(DEFINITION, ""))
    made = GoType("any", ".".join(definition.split(".")[-2:]) if definition else "interface {}")
    _compiled[id(schema)] = (schema, made)
    _fill(made, schema, definition)
    return made


def _fill(made: GoType, schema: Json, definition: str) -> None:
    if definition.endswith((".Time", ".MicroTime")):
        made.shape = "microtime" if definition.endswith(".MicroTime") else "time"
    elif definition.endswith(".IntOrString"):
        made.shape = "intorstring"
    elif definition.endswith(".Quantity"):
        made.shape = "quantity"
    elif "properties" in schema:
        made.shape = "struct"
        made.fields = {name: compiled(child) for name, child in schema["properties"].items()}
        for name, child in schema["properties"].items():
            if child.get("default") in ({}, "", 0, False) and "default" in child:
                made.always[name] = child["default"]
        made.always.update(dict.fromkeys(_NULL_TIMES.get(made.short, ())))
        if made.fields.get("uid", made).shape == "string":
            made.fields["uid"] = _UID
        if made.short in ("SubjectAccessReviewSpec", "UserInfo") and "extra" in made.fields:
            made.fields["extra"] = GoType("map", "map[string]v1.ExtraValue", element=_EXTRA)
        made.kept = frozenset(schema.get("required", ()))
    elif isinstance(schema.get("additionalProperties"), dict):
        made.shape, made.element = "map", compiled(schema["additionalProperties"])
        made.name = f"map[string]{made.element.name}"
    elif schema.get("type") == "array":
        made.shape, made.element = "list", compiled(schema["items"])
        made.name = f"[]{made.element.name}"
    else:
        _fill_scalar(made, schema)


def _fill_scalar(made: GoType, schema: Json) -> None:
    kind = schema.get("type")
    if kind == "string" and schema.get("format") == "byte":
        made.shape, made.name = "bytes", "[]uint8"
    elif kind in ("string", "boolean"):
        made.shape, made.name = kind, {"string": "string", "boolean": "bool"}[kind]
    elif kind in ("integer", "number"):
        made.shape, made.name = kind, str(schema.get("format") or "int64").replace("double", "float64")


def json_kind(value: Any) -> str:
    """The JSON type of a value, in Go's words."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "number"


class Decoder:
    """One decoding. The first mismatch is kept and raised at the end, as Go does it; ``unknown`` are field paths."""

    def __init__(self, *, fill: bool = True) -> None:
        self.unknown: list[str] = []
        self._first: str | None = None
        self._fill = fill

    def run(self, value: Any, kind: GoType, path: str = "") -> Any:
        """The decoded value (parts may be changed in place); raises Mismatch."""
        decoded = self._take(value, kind, "", (), path)
        if self._first is not None:
            raise Mismatch(self._first)
        return decoded

    def _wrong(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...], shown: str = "") -> Any:
        if self._first is None:
            where = f"Go struct field {struct}.{'.'.join(keys)}" if struct else "Go value"
            self._first = f"json: cannot unmarshal {shown or json_kind(value)} into {where} of type {kind.name}"
        return value

    def _say(self, text: str) -> None:
        if self._first is None:
            self._first = text

    def _take(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...], path: str) -> Any:
        shape = kind.shape
        if shape == "string":
            return value if isinstance(value, str) else self._wrong(value, kind, struct, keys)
        if shape == "struct":
            if not isinstance(value, dict):
                return self._wrong(value, kind, struct, keys)
            return self._struct(value, kind, keys, path)
        if shape == "map":
            if not isinstance(value, dict):
                return self._wrong(value, kind, struct, keys)
            return self._map(value, kind, struct, keys, path)
        if shape == "list":
            if not isinstance(value, list):
                return self._wrong(value, kind, struct, keys)
            return self._list(value, kind, struct, keys, path)
        if shape == "any":
            return value
        return self._scalar(value, kind, struct, keys)

    def _struct(self, value: Json, kind: GoType, keys: tuple[str, ...], path: str) -> Json:
        short, fields = kind.short, kind.fields
        for name in list(value):
            child = fields.get(name)
            where = f"{path}.{name}" if path else name
            if child is None:
                self.unknown.append(where)
                del value[name]
                continue
            given = value[name]
            if given is None:
                del value[name]
                continue
            taken = self._take(given, child, short, (*keys, name), where)
            empty = (
                taken == [] or (taken == {} and child.shape == "map") or (taken == "" and short == "ObjectReference")
            )
            if not taken and empty and name not in kind.kept:
                del value[name]
            elif taken is not given:
                value[name] = taken
        if self._fill:
            self._complete(value, kind)
        return value

    def _complete(self, value: Json, kind: GoType) -> None:
        for name, zero in kind.always.items():
            if name not in value:
                value[name] = {} if zero == {} else zero
                if zero == {} and kind.fields[name].shape == "struct":
                    self._complete(value[name], kind.fields[name])

    def _map(self, value: Json, kind: GoType, struct: str, keys: tuple[str, ...], path: str) -> Json:
        element = kind.element
        assert element is not None
        if element.shape == "string":
            for name, child in value.items():
                if not isinstance(child, str):
                    value[name] = "" if child is None else self._wrong(child, element, struct, keys)
            return value
        for name, child in value.items():
            where = f"{path}.{name}" if path else name
            value[name] = self._element(child, element, struct, keys, where)
        return value

    def _list(self, value: list[Any], kind: GoType, struct: str, keys: tuple[str, ...], path: str) -> list[Any]:
        element = kind.element
        assert element is not None
        for index, child in enumerate(value):
            value[index] = self._element(child, element, struct, keys, f"{path}[{index}]")
        return value

    def _element(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...], path: str) -> Any:
        if value is not None:
            return self._take(value, kind, struct, keys, path)
        if kind.shape == "struct":
            return self._struct({}, kind, keys, path)
        return _ZERO.get(kind.shape)

    def _scalar(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...]) -> Any:
        shape = kind.shape
        if shape == "boolean":
            return value if isinstance(value, bool) else self._wrong(value, kind, struct, keys)
        if shape in ("integer", "number"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return self._wrong(value, kind, struct, keys)
            if shape == "integer":
                low, high = _SIZES.get(kind.name, _SIZES["int64"])
                if not isinstance(value, int) or not low <= value <= high:
                    return self._wrong(value, kind, struct, keys, f"number {value}")
            return value
        if shape == "bytes":
            return self._bytes(value, kind, struct, keys)
        if shape == "intorstring":
            if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
                return value
            self._say(f"json: cannot unmarshal {json_kind(value)} into Go value of type int32")
            return value
        if shape == "quantity":
            return self._quantity(value)
        return self._time(value, kind, struct, keys)

    def _bytes(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...]) -> Any:
        if isinstance(value, list):  # as numbers, which Go takes too
            numbers = [0 if one is None else one for one in value]
            for one in numbers:
                if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < 256:
                    shown = f"number {one}" if json_kind(one) == "number" else ""
                    return self._wrong(one, _BYTE, struct, keys, shown)
            return base64.b64encode(bytes(numbers)).decode()
        if not isinstance(value, str):
            return self._wrong(value, kind, struct, keys)
        place = bad_base64(value)
        if place is not None:
            self._say(f"illegal base64 data at input byte {place}")
        return value

    def _quantity(self, value: Any) -> Any:
        text = value if isinstance(value, str) else json_number(value)
        if text is None or not is_quantity(text):
            self._say(_QUANTITY_TEXT)
            return value
        return canonical(text)

    def _time(self, value: Any, kind: GoType, struct: str, keys: tuple[str, ...]) -> Any:
        if not isinstance(value, str):
            return self._wrong(value, _STRING, struct, keys)
        micro = kind.shape == "microtime"
        parsed = parse_time(value) if not micro or _MICROS.search(value) else None
        if parsed is None:
            self._say(time_problem(value, micro=micro))
            return value
        return parsed.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


_STRING = GoType("string", "string")
_BYTE = GoType("integer", "uint8")


def json_number(value: Any) -> str | None:
    """A number as its JSON text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value)


def parse_time(text: str) -> datetime | None:
    """RFC 3339 as Go reads it, in UTC, cut to microseconds; None when it is not."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match.group(index)) for index in range(1, 7))
    fraction = (match.group(7) or "")[:6].ljust(6, "0")
    zone = UTC
    if match.group(8):
        offset = timedelta(hours=int(match.group(9)), minutes=int(match.group(10)))
        if offset >= timedelta(days=1):
            return None
        zone = timezone(-offset if match.group(8) == "-" else offset)
    try:
        return datetime(year, month, day, hour, minute, second, int(fraction), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def time_problem(text: str, *, micro: bool) -> str:
    """Why ``text`` is no RFC 3339 time (``micro``: with six digits behind the second), in Go's words."""
    shown = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
    rest = text
    for part, layout, low, high, name in _MICRO_PARTS if micro else _TIME_PARTS:
        match = re.match(part, rest)
        if match is None:
            return f"parsing time {quote(text)} as {quote(shown)}: cannot parse {quote(rest)} as {quote(layout)}"
        if name and not low <= int(match.group()) <= high:
            return f"parsing time {quote(text)}: {name} out of range"
        rest = rest[match.end() :]
    why = f"extra text: {quote(rest)}" if rest else "day out of range"
    return f"parsing time {quote(text)}: {why}"


_TIME_PARTS: tuple[tuple[str, str, int, int, str], ...] = (
    (r"\d{4}", "2006", 0, 0, ""),
    ("-", "-", 0, 0, ""),
    (r"\d\d", "01", 1, 12, "month"),
    ("-", "-", 0, 0, ""),
    (r"\d\d", "02", 1, 31, "day"),
    ("T", "T", 0, 0, ""),
    (r"\d\d", "15", 0, 23, "hour"),
    (":", ":", 0, 0, ""),
    (r"\d\d", "04", 0, 59, "minute"),
    (":", ":", 0, 0, ""),
    (r"\d\d", "05", 0, 59, "second"),
    (r"([.,]\d+)?(Z|[+-]\d\d:\d\d)", "Z07:00", 0, 0, ""),
)
_MICRO_PARTS = (
    *_TIME_PARTS[:-1],
    (r"\.\d{6}", ".000000", 0, 0, ""),
    (r"Z|[+-]\d\d:\d\d", "Z07:00", 0, 0, ""),
)


def bad_base64(text: str) -> int | None:
    """Where standard base64 (padded; line breaks allowed) is broken, as Go counts; None when it is whole."""
    compact = text.replace("\n", "").replace("\r", "")
    body = compact.rstrip("=")
    for index, char in enumerate(body):
        if not _BASE64.match(char):
            return index
    padding = len(compact) - len(body)
    if len(compact) % 4 == 0 and padding <= 2 and (padding == 0 or len(body) % 4 == 4 - padding):
        return None
    return len(body) if padding else len(compact) - len(compact) % 4


def decode_metadata(value: Any, kind: GoType) -> tuple[Any, list[str]]:
    """metadata of a custom resource (on its own, as the real server reads it): the value and unknown field paths.

    Empty strings, zeros and empty collections go: none of them is written back.
    """
    decoder = Decoder(fill=False)
    decoded = decoder.run(value, kind, "metadata")
    return drop_zeros(decoded), decoder.unknown


def drop_zeros(metadata: Mapping[str, Any]) -> Json:
    """Top-level fields of ObjectMeta whose value is zero are never written."""
    return {
        name: value for name, value in metadata.items() if value not in ("", 0, None) and value != {} and value != []
    }

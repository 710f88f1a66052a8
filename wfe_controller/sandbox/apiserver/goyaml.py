"""YAML as the API server reads it: YAML 1.1 without timestamps and sexagesimals, only the first document.

Built on libyaml's events with a stack of its own: nesting costs memory only, a document whose aliases
would explode is refused. ``decode`` is the caller.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from wfe_controller.sandbox.apiserver.gojson import MAX_DEPTH, Parsed

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_NODES = 400_000
"""After all aliases are followed; more is an attack, not a manifest."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_INTEGERS: tuple[tuple[re.Pattern[str], Callable[[str], int]], ...] = (
    (re.compile(r"[-+]?0b[01]+"), lambda text: int(text, 2)),
    (re.compile(r"[-+]?0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?0o?[0-7]+"), lambda text: int(text.replace("o", ""), 8)),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), int),
)
_INFINITE = {".inf": "+Inf", "+.inf": "+Inf", "-.inf": "-Inf", ".nan": "NaN"}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"


class YamlProblem(ValueError):
    """What the API server's YAML library says; the text starts with ``yaml: ``."""


@dataclass(slots=True)
class _Frame:
    container: dict[str, Any] | list[Any]
    anchor: str | None
    key: str | None = None
    merges: list[Any] = field(default_factory=list)
    nodes: int = 1
    merging: bool = False


def parse(body: bytes) -> Parsed:
    """The first document; ``duplicates`` are whole texts (``line 5: key "name" already set in map``)."""
    text = body.decode("utf-8", "replace")
    builder = _Builder()
    try:
        for event in _events(text):
            if builder.take(event):
                break
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(_message(error)) from error
    except yaml.YAMLError as error:
        raise YamlProblem("yaml: control characters are not allowed") from error
    return Parsed(builder.result, builder.duplicates, builder.deepest)


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "unknown problem parsing YAML content"
    line = 0
    at, since = error.problem_mark, error.context_mark
    if at is not None and at.line:
        line = at.line + (1 if isinstance(error, yaml.scanner.ScannerError) else 0)
    elif since is not None:
        line = since.line
    return f"yaml: line {line}: {problem}" if line else f"yaml: {problem}"


class _Builder:
    def __init__(self) -> None:
        self.result: Any = None
        self.duplicates: list[str] = []
        self.deepest = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def take(self, event: Any) -> bool:
        """One event; True when the first document is complete."""
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, event.start_mark.line + 1 if event.start_mark else 0)
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            return self._close()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise YamlProblem(f"yaml: unknown anchor '{event.anchor}' referenced")
            value, nodes = self._anchors[event.anchor]
            if sum(frame.nodes for frame in self._stack) + nodes > _MAX_NODES:
                raise YamlProblem("yaml: document contains excessive aliasing")
            return self._add(_copied(value), nodes)
        elif isinstance(event, yaml.DocumentStartEvent) and event.version not in (None, (1, 1)):
            raise YamlProblem("yaml: found incompatible YAML document")
        return isinstance(event, yaml.DocumentEndEvent)

    def _scalar(self, event: Any, line: int) -> bool:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None and not frame.merging:
            self._take_key(frame, event, line)
            return False
        value = _resolve(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        return self._add(value, 1)

    def _take_key(self, frame: _Frame, event: Any, line: int) -> None:
        if event.value == "<<" and event.implicit[0]:
            frame.merging = True
            return
        key = _key_text(_resolve(event))
        if event.anchor:
            self._anchors[event.anchor] = (key, 1)
        if key in frame.container:
            self.duplicates.append(f'line {line}: key "{key}" already set in map')
        frame.key = key

    def _open(self, event: Any) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise YamlProblem(f"yaml: exceeded max depth of {MAX_DEPTH}")
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None and not frame.merging:
            raise YamlProblem(f"yaml: invalid map key: line {event.start_mark.line + 1}")
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(container, event.anchor))
        self.deepest = max(self.deepest, len(self._stack))

    def _close(self) -> bool:
        frame = self._stack.pop()
        if isinstance(frame.container, dict):
            for merged in frame.merges:
                for source in merged if isinstance(merged, list) else [merged]:
                    if not isinstance(source, dict):
                        raise YamlProblem("yaml: map merge requires map or sequence of maps as the value")
                    for key, value in source.items():
                        frame.container.setdefault(key, value)
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.container, frame.nodes)
        return self._add(frame.container, frame.nodes)

    def _add(self, value: Any, nodes: int) -> bool:
        if not self._stack:
            self.result = value
            return True
        frame = self._stack[-1]
        frame.nodes += nodes
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif frame.merging:
            frame.merges.append(value)
            frame.merging = False
        elif frame.key is None:
            frame.key = _key_text(value)
        else:
            frame.container[frame.key] = value
            frame.key = None
        return False


def _copied(value: Any) -> Any:
    """A copy an alias can have to itself; without recursion."""
    if not isinstance(value, dict | list):
        return value
    top: Any = type(value)()
    pending = [(value, top)]
    while pending:
        source, target = pending.pop()
        for key, child in source.items() if isinstance(source, dict) else enumerate(source):
            if isinstance(child, dict | list):
                pending.append((child, type(child)()))
                child = pending[-1][1]
            if isinstance(target, dict):
                target[key] = child
            else:
                target.append(child)
    return top


def _key_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise YamlProblem("unsupported map key of type: %!s(<nil>), key: <nil>")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise YamlProblem(f"yaml: invalid map key: {value!r}")


def _resolve(event: Any) -> Any:
    text: str = event.value
    tag: str | None = event.tag
    if tag is not None and tag.startswith(_TAG):
        short = tag.removeprefix(_TAG)
        if short == "binary":
            try:
                return base64.b64decode(text, validate=True).decode("utf-8", "replace")
            except ValueError as error:
                raise YamlProblem("yaml: !!binary value contains invalid base64 data") from error
        return text if short == "str" else _plain(text)
    if not event.implicit[0]:
        return text
    return _plain(text)


def _plain(text: str) -> Any:
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text.lower() in _INFINITE:
        raise YamlProblem(f"json: unsupported value: {_INFINITE[text.lower()]}")
    compact = text.replace("_", "")
    for pattern, convert in _INTEGERS:
        if pattern.fullmatch(compact):
            try:
                whole = convert(compact)
                return whole if -(2**63) <= whole < 2**64 else float(whole)
            except (ValueError, OverflowError):
                return text  # beyond any number, so it is none
    if _FLOAT.fullmatch(compact):
        real = float(compact)
        if real in (float("inf"), float("-inf")):
            raise YamlProblem(f"json: unsupported value: {'+' if real > 0 else '-'}Inf")
        return int(real) if real.is_integer() and abs(real) < 2**63 else real
    return text

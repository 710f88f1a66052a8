"""What CEL rules see: values of an object under its schema, and which fields there are.

Companion of ``cel``, without the library. Names that are no identifiers are escaped, and where two versions of an
object are compared, lists that are maps or sets come in one order, because that is how rules compare them. The library
cannot be given times and durations, so they stay strings, and the rule is rewritten to read them: ``self.at`` becomes
``timestamp(self.at)`` (not for variables of macros).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from wfe_controller.sandbox.apiserver.structural import Node

Json = dict[str, Any]

CACHED_MATCHES = "wfeMatches"
"""Stands for ``matches`` where the expression is a literal: the library would compile it on every evaluation.

It takes a number for the literal: the library forgets to free what it hands to Python, and small numbers are free.
"""
_MATCHES = re.compile(r"\.matches\(('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")\)")
_FORMATS = {"date": "timestamp", "date-time": "timestamp", "duration": "duration"}
LITERALS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_SELECTION = re.compile(r"(?<![\w.])(has\()?\b(self|oldSelf)((?:\.\w+)+)(?!\w*\()")
_BARE = re.compile(r"(?<![\w.])(self|oldSelf)\b")
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)


def self_type(node: Node) -> str:
    """The type of a value in rules: timestamp, duration, dyn, or its JSON type."""
    if node.int_or_string or node.type == "object":
        return "dyn"
    if node.type == "string":
        return _FORMATS.get(node.raw.get("format", ""), "string")
    return node.type


class Converter:
    """Makes values of one node visible to rules. ``ordered``: for rules that compare with the old value."""

    def __init__(self, root: Node, *, ordered: bool) -> None:
        self._ordered = ordered
        self._busy: set[int] = set()
        self._root = root
        self._mark(root)

    def _mark(self, node: Node) -> bool:
        busy = node.type == "number" or any(escaped(name) != name for name in node.properties)
        busy = busy or (self._ordered and node.list_type in ("map", "set"))
        for child in (*node.properties.values(), node.items, node.additional):
            if isinstance(child, Node):
                busy = self._mark(child) or busy
        if busy:
            self._busy.add(id(node))
        return busy

    def convert(self, value: Any) -> Any:
        return self._convert(self._root, value)

    def _convert(self, node: Node, value: Any) -> Any:
        if id(node) not in self._busy:
            return value
        if isinstance(value, dict):
            out: Json = {}
            for name, child in value.items():
                below = node.child(name)
                shown = escaped(name) if name in node.properties else name
                out[shown] = child if below is None else self._convert(below, child)
            return out
        if isinstance(value, list):
            return self._list(node, value)
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def _list(self, node: Node, value: list[Any]) -> list[Any]:
        if self._ordered and node.list_type in ("map", "set"):
            value = sorted(value, key=lambda item: _order(node, item))
        return value if node.items is None else [self._convert(node.items, child) for child in value]


def _order(node: Node, item: Any) -> str:
    keys: Mapping[str, Any] = item if isinstance(item, dict) else {}
    shown = [keys.get(key) for key in node.list_keys] if node.list_type == "map" else item
    return json.dumps(shown, sort_keys=True)


def escaped(name: str) -> str:
    """A field's name as rules write it."""
    if name in _RESERVED:
        return f"__{name}__"
    for char, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(char, word)
    return name


def go_rule(rule: Json) -> str:
    """A rule as the real server prints its Go struct."""
    fields = {
        "Rule": rule.get("rule", ""),
        "Message": rule.get("message", ""),
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath", ""),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def undefined(node: Node, text: str) -> str:
    """Fields behind ``self`` that the schema does not have; the library itself sees maps, where any key may be."""
    problems: list[str] = []
    for match in _SELECTION.finditer(_blanked(text)):
        _, lost, at = _follow(node, match)
        if lost:
            column = match.start() + 4 if match.group(1) else at + 1
            line = f"ERROR: <input>:1:{column}: undefined field '{lost}'"
            problems.append(f"{line}\n | {text}\n | {'.' * (column - 1)}^")
    return "\n".join(problems)


def typed(node: Node, text: str) -> str:
    """The rule with times and durations read from the strings they are."""
    out, done = [], 0
    blanked = _blanked(text)
    for match in _SELECTION.finditer(blanked) if self_type(node) == "dyn" else _BARE.finditer(blanked):
        found = _follow(node, match)[0] if match.re is _SELECTION else node
        kind = self_type(found) if found is not None else ""
        if kind in ("timestamp", "duration") and not (match.re is _SELECTION and match.group(1)):
            out.append(f"{text[done : match.start()]}{kind}({match.group()})")
            done = match.end()
    return "".join(out) + text[done:]


def with_cached_patterns(text: str, number: Callable[[str], int]) -> str:
    """The rule with the matching of literal expressions left to Python; only for rules that are known to compile.

    ``number`` tells which number a literal gets.
    """
    visible = {match.start() for match in re.finditer(r"\.matches\(", _blanked(text))}
    out, done = [], 0
    for match in _MATCHES.finditer(text):
        if match.start() in visible:
            out.append(text[done : match.start()] + f".{CACHED_MATCHES}({number(match.group(1))})")
            done = match.end()
    return "".join(out) + text[done:]


def _blanked(text: str) -> str:
    return LITERALS.sub(lambda match: "'" + " " * (len(match.group()) - 2) + "'", text)


def _follow(node: Node, match: re.Match[str]) -> tuple[Node | None, str, int]:
    """Where a selection leads, the field that is not there ("" = none), and where its dot stands."""
    here: Node | None = node
    at = match.start(3)
    for name in match.group(3)[1:].split("."):
        if here is None or here.additional is not None or here.type != "object" or here.preserve:
            return None, "", at
        children = {escaped(known): child for known, child in here.properties.items()}
        if name not in children:
            return None, "" if name in ("apiVersion", "kind", "metadata") else name, at
        here = children[name]
        at += len(name) + 1
    return here, "", at

"""Label and field selectors: parsed once, asked for every object. Errors are the real server's, as 400.

Results are plain predicates over string maps; ``lists`` and ``watch`` use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wfe_controller.sandbox.apiserver.names import label_value, qualified_name
from wfe_controller.sandbox.apiserver.status import bad_request, quote

Json = dict[str, Any]
Values = Mapping[str, str]
Predicate = Callable[[Values], bool]

_OPERATORS = ("!=", "==", "=", ">", "<")
_TOKEN = re.compile(r"\s*(?:(==|!=|[=!(),<>])|([^\s=!(),<>]+))")
_START = "!, identifier, or 'end of string'"
_END = "',' or 'end of string'"


class _Wrong(ValueError):
    """The text is no selector."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """``operator`` is one of = == != in notin exists ! gt lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Values) -> bool:
        present = self.key in labels
        if self.operator == "exists":
            return present
        if self.operator == "!":
            return not present
        if self.operator in ("!=", "notin"):
            return not present or labels[self.key] not in self.values
        if not present:
            return False
        if self.operator in ("gt", "lt"):
            number = _integer(labels[self.key])
            limit = int(self.values[0])
            return number is not None and (number > limit if self.operator == "gt" else number < limit)
        return labels[self.key] in self.values


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**63 else None


def parse_labels(text: str) -> Predicate:
    """A label selector as it stands in a query (``a=b,c in (d,e),!f``)."""
    requirements = label_requirements(text)
    if len(requirements) == 1:
        return requirements[0].matches
    return lambda labels: all(requirement.matches(labels) for requirement in requirements)


def label_requirements(text: str) -> list[Requirement]:
    """The parts of a label selector; raises 400."""
    try:
        return _Parser(text).requirements()
    except _Wrong as error:
        raise bad_request(str(error)) from error


def parse_selector(selector: Json | None) -> Predicate:
    """A ``LabelSelector`` object (matchLabels, matchExpressions). None matches nothing, an empty one everything."""
    if selector is None:
        return lambda labels: False
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    parts = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        values = tuple(expression.get("values") or ())
        parts.append(Requirement(expression["key"], words[expression["operator"]], values))
    return lambda labels: all(part.matches(labels) for part in parts)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [(bool(match.group(1)), match.group(1) or match.group(2)) for match in _TOKEN.finditer(text)]
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _word(self) -> bool:
        """Whether the next token is an identifier."""
        return self._at < len(self._tokens) and not self._tokens[self._at][0]

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token = self._peek()
            if not token:
                return found
            if token != "!" and not self._word():
                raise _Wrong(f"found '{token}', expected: {_START}")
            try:
                found.append(self._requirement())
            except _Wrong as error:
                raise _Wrong(f"unable to parse requirement: {error}") from error
            token = self._next()
            if not token:
                return found
            if token != ",":
                raise _Wrong(f"found '{token}', expected: {_END}")
            if self._peek() != "!" and not self._word():
                raise _Wrong(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._at += 1
        if not self._word():
            raise _Wrong(f"found '{self._peek()}', expected: identifier")
        key = self._next()
        wrong = qualified_name(key)
        if wrong:
            raise _Wrong(f"<nil>: Invalid value: {quote(key)}: {'; '.join(wrong)}")
        if absent or self._peek() in ("", ","):
            return Requirement(key, "!" if absent else "exists")
        operator = self._next()
        if operator in ("in", "notin"):
            return self._checked(key, operator, self._set())
        if operator not in _OPERATORS:
            raise _Wrong(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        if not self._word() and self._peek() not in ("", ","):
            raise _Wrong(f"found '{self._peek()}', expected: identifier")
        value = self._next() if self._word() else ""
        return self._checked(key, {">": "gt", "<": "lt", "==": "="}.get(operator, operator), (value,))

    def _set(self) -> tuple[str, ...]:
        token = self._next()
        if token != "(":
            raise _Wrong(f"found '{token}' expected: '('")
        values: list[str] = []
        expects_value = True
        if not self._word() and self._peek() not in (",", ")"):
            raise _Wrong(f"found '{self._peek()}', expected: ',', ')' or identifier")
        while True:
            word = self._word()
            token = self._next()
            if word and expects_value:
                values.append(token)
                expects_value = False
            elif token == ",":
                if expects_value:
                    values.append("")
                expects_value = True
            elif token == ")":
                if expects_value:
                    values.append("")
                return tuple(dict.fromkeys(values))
            else:
                raise _Wrong(f"found '{token}', expected: ',' or ')'")

    @staticmethod
    def _checked(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
        for index, value in enumerate(values):
            if operator in ("gt", "lt") and _integer(value) is None:
                why = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise _Wrong(f"values[{index}]: Invalid value: {quote(value)}: {why}")
            wrong = label_value(value)
            if wrong:
                raise _Wrong(f"values[{index}][{key}]: Invalid value: {quote(value)}: {'; '.join(wrong)}")
        return Requirement(key, operator, values)


def parse_fields(text: str, allowed: Collection[str], custom: bool, unknown: str | None = None) -> Predicate:
    """A field selector (``metadata.name=a,spec.x!=b``) over the values of ``allowed`` fields.

    ``unknown`` is how the kind refuses another field, with ``{}`` for its name; by default as most kinds do.
    """
    parts: list[tuple[str, bool, str]] = []
    for term in _split_terms(text):
        if not term:
            continue
        found = next(((at, op) for at in range(len(term)) for op in ("!=", "==", "=") if term.startswith(op, at)), None)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        at, operator = found
        value = _unescaped(term[at + len(operator) :])
        field = term[:at]
        if not field and not value:
            continue  # the real server takes "=" for everything
        if field not in allowed and field not in ("metadata.name", "metadata.namespace"):
            default = _unknown_field(frozenset(allowed), custom)
            raise bad_request((unknown or default).replace("{}", field))
        parts.append((field, operator != "!=", value))
    return lambda values: all((values.get(field, "") == value) is equal for field, equal, value in parts)


def _unknown_field(allowed: frozenset[str], custom: bool) -> str:
    """Kinds with selectable fields of their own refuse another one in other words than kinds without."""
    if allowed == {"status.successful"} and not custom:
        return 'field label "{}" not supported for Job'
    if custom or allowed - {"metadata.name", "metadata.namespace"}:
        return "field label not supported: {}"
    return '"{}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _split_terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(text[start:at])
            start = at + 1
    return [*terms, text[start:]]


def _unescaped(text: str) -> str:
    out: list[str] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            following = next(chars, "")
            if following not in ("\\", ",", "="):
                raise bad_request(f"invalid field selector: invalid escape sequence: \\{following}")
            out.append(following)
        elif char in ",=":
            raise bad_request(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            out.append(char)
    return "".join(out)

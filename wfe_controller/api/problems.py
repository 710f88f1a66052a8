"""What is wrong with a spec: field, value (shortened, parameters redacted), rule, remedy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 64
_MAX_PROBLEMS = 10


def shorten(text: str) -> str:
    """At most 64 printable ASCII characters, the rest escaped or cut."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= SHOWN else escaped[: SHOWN - 3] + "..."


def shown(value: object) -> str:
    """A value as a message shows it: strings quoted, everything shortened, objects and lists by their size only."""
    match value:
        case str():
            return f'"{shorten(value)}"'
        case None:
            return "null"
        case bool() | int() | float():
            return shorten(json.dumps(value))
        case dict():
            return f"<object with {len(value)} key{'' if len(value) == 1 else 's'}>"
        case list() | tuple():
            return f"<list with {len(value)} item{'' if len(value) == 1 else 's'}>"
        case _:
            return f"<{type(value).__name__}>"


def redacted(value: object) -> str:
    """Kind and size of a parameter's value, never the value (P:Q8)."""
    if isinstance(value, str):
        return f"<redacted, {len(value)} characters>"
    return f"<redacted {json_kind(value)}>"


def json_kind(value: object) -> str:
    """The JSON type of a value, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "list"
        case _:
            return "object"


def article(kind: str) -> str:
    """``kind`` with its article: "a string", "an object", "null"."""
    if kind == "null":
        return kind
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect. ``value`` is already fit to be shown; "" when there is none (a missing field)."""

    field: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        return f"{self.field}{value} {self.rule}: {self.remedy}"


class InvalidSpec(ValueError):
    """A spec the controller refuses (ConfigurationError). str() is one line with at most ten problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        told = "; ".join(str(problem) for problem in self.problems[:_MAX_PROBLEMS])
        more = len(self.problems) - _MAX_PROBLEMS
        super().__init__(f"{told}; and {more} more" if more > 0 else told)


def path_of(loc: Sequence[str | int], root: str = "spec") -> str:
    """``("parameters", "A")`` -> ``spec.parameters[A]``, ``("steps", 0, "name")`` -> ``spec.steps[0].name``."""
    out = root
    previous: str | int = root
    for part in loc:
        if isinstance(part, int):
            out += f"[{part}]"
        elif previous == "parameters":
            out += f"[{shorten(part)}]"
        else:
            out += f".{shorten(part)}"
        previous = part
    return out

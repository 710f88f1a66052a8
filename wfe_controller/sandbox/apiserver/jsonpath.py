"""The JSONPath of printer columns: fields, quoted ones and unions of them, indexes, wildcards, filters by a value.

``table`` uses it, and whoever checks a CRD's columns; scripts (``range``) and slices are not spoken.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\'"\s])+)      # .name, with \. for a dot
      | \[(?P<quoted>['"][^'"]+['"](?:,['"][^'"]+['"])*)\]   # ['name'] or ['one','other']
      | \[(?P<index>-?\d+)\]                      # [0]
      | \[(?P<all>\*)\]                           # [*]
      | \[\?\(@(?P<path>(?:\.(?:\\.|[^.\[\]\\'"\s=!<>)])+)+)\s*                    # [?(@.a.b
            (?:(?P<sign>[=!<>]=|[<>])\s*(?P<value>"[^"]*"|'[^']*'|[^)\s]+)\s*)?\)\]  #   == "x")]
    """,
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def find(path: str, value: Any) -> list[Any]:
    """What a path (``.spec.a[0]``) finds, in order; nothing when something on the way is missing.

    Raises ValueError when the path cannot be read.
    """
    found: Iterable[Any] = (value,)
    for step in parse(path):
        found = [item for one in found for item in step(one)]
    return list(found)


@lru_cache(maxsize=1024)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path; raises ValueError when it cannot be read."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    if not text.startswith((".", "[")):
        text = "." + text
    if text == ".":
        return ()
    steps: list[Step] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"unrecognized column definition {path!r}")
        steps.append(_step(match))
        place = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["all"] or match["field"] == "*":
        return _every
    names = [part.strip("'\"") for part in (match["quoted"] or "").split(",") if part]
    if match["field"]:
        names = [re.sub(r"\\(.)", r"\1", match["field"])]
    if names:
        return lambda value: (value[name] for name in names if isinstance(value, dict) and name in value)
    if match["index"]:
        index = int(match["index"])
        return lambda value: iter((value[index],) if isinstance(value, list) and _inside(index, value) else ())
    path, sign, wanted = match["path"], match["sign"], match["value"]
    expected = _literal(wanted) if wanted else None

    def chosen(value: Any) -> Iterator[Any]:
        for item in _every(value):
            found = find(path, item)
            if found and (sign is None or _compares(sign, found[0], expected)):
                yield item

    return chosen


def _inside(index: int, items: list[Any]) -> bool:
    return -len(items) <= index < len(items)


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        for name in sorted(value):
            yield value[name]


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _compares(sign: str, found: Any, expected: Any) -> bool:
    if isinstance(found, bool) is not isinstance(expected, bool):
        return sign == "!="
    try:
        return _COMPARE[sign](found, expected)
    except TypeError:
        return False

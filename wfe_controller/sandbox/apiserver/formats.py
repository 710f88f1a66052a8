"""Formats of strings a schema can ask for, as far as the sandbox's clients use them; an unknown one is not checked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

import re2

_DATE_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(.\d+)?(z|[+-]\d{2}:\d{2})")
_BYTE = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_GO_DURATION = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_LONG_DURATION = re.compile(r"(\d+)\s*([A-Za-zµ]+)")
_UNITS = ("ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d", "day")
_MORE_UNITS = ("w", "week", "wk")


def _date_time(text: str) -> bool:
    day, separator, time = text.lower().partition("t")
    match = _DATE_TIME.fullmatch(time) if separator else None
    if match is None or not _date(day):
        return False
    return int(match.group(1)) <= 23 and int(match.group(2)) <= 59 and int(match.group(3)) <= 59


def _date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    found = _LONG_DURATION.findall(text)
    return bool(found) and all(unit.lower().startswith((*_UNITS, *_MORE_UNITS)) for _, unit in found)


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version
        except ValueError:
            return False

    return check


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _uri(text: str) -> bool:
    return text.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "datetime": _date_time,
    "date": _date,
    "duration": _duration,
    "byte": lambda text: _BYTE.fullmatch(text) is not None,
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _network,
    "uri": _uri,
}


@cache
def pattern(expression: str) -> Any:
    """An expression as Go reads and matches it: ``search(text)`` takes time in proportion to the text, whatever the
    expression is, and so holds up nobody. Raises BadPattern, in Go's words."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        why, _, where = error.args[0].decode().partition(": ")
        raise BadPattern(f"{_GO_WORDS.get(why, why)}: `{where}`") from error


class BadPattern(ValueError):
    """No regular expression; the text says why."""


_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}
"""What RE2 says, and Go's package of the same author."""

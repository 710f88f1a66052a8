"""Formats of strings a schema can ask for, as far as the sandbox's clients use them; an unknown one is not checked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import cache

_DATE_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(.\d+)?(z|[+-]\d{2}:\d{2})")
_BYTE = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_GO_DURATION = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_LONG_DURATION = re.compile(r"(\d+)\s*([A-Za-zµ]+)")
_UNITS = ("ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d", "day")
_MORE_UNITS = ("w", "week", "wk")
_POSIX = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z", "space": r"\s"}


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
def pattern(expression: str) -> re.Pattern[str]:
    """An expression of Go's syntax; raises re.error when Python cannot read it either."""
    return re.compile(_translate(expression), re.ASCII)


def _translate(expression: str) -> str:
    """``$`` and ``\\z`` are the very end in Go, and character classes may have POSIX names."""
    out: list[str] = []
    index, in_class = 0, False
    while index < len(expression):
        char = expression[index]
        if char == "\\":
            pair = expression[index : index + 2]
            out.append(r"\Z" if pair == r"\z" else pair)
            index += 2
            continue
        if in_class and expression.startswith("[:", index):
            name, end, _ = expression[index + 2 :].partition(":]")
            if end and name in _POSIX:
                out.append(_POSIX[name])
                index += len(name) + 4
                continue
        if char == "[" and in_class:
            char = r"\["
        elif char == "[":
            in_class = True
            # A bracket right behind the opening one is a member of the class.
            ahead = 2 if expression.startswith("[^]", index) else 1 if expression.startswith("[]", index) else 0
            if ahead:
                out.append("[^\\]" if ahead == 2 else "[\\]")
                index += ahead + 1
                continue
        elif char == "]":
            in_class = False
        elif char == "$" and not in_class:
            char = r"\Z"
        out.append(char)
        index += 1
    return "".join(out)

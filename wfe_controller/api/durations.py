"""Go duration strings, the form of every duration in specs, status and configuration."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),  # U+00B5 micro sign
    "μs": Decimal(1),  # U+03BC greek mu
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_MAX_MICROSECONDS = 2**63 // 1000  # Go keeps nanoseconds in an int64: about 292 years

PATTERN = r"^([0-9]{1,5}(\.[0-9]{1,3})?(ms|s|m|h))+$"
"""What the CRDs accept: the useful subset of Go's grammar. Five digits: with 32 characters, no sum can overflow."""


class DurationError(ValueError):
    """Not a duration; the message names the value, the rule and an example."""


def parse_duration(text: str) -> timedelta:
    """``"1h30m"``, ``"90s"``, ``"1.5h"``, ``"250ms"``, ``"0"`` as a timedelta (microsecond resolution).

    Raises DurationError for anything Go's time.ParseDuration refuses, and for a negative value.
    """
    shown = text if len(text) <= 64 else text[:61] + "..."
    if text.startswith("-"):
        raise DurationError(f"duration {shown!r} is negative: write a positive one such as 30m")
    body = text.removeprefix("+")
    if body == "0":
        return timedelta(0)
    total = Decimal(0)
    position = 0
    for match in _PART.finditer(body):
        if match.start() != position:
            break
        total += Decimal(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not body or position != len(body):
        raise DurationError(
            f"duration {shown!r} is not a number with a unit (ms, s, m, h): write it as 90s, 30m or 1h30m"
        )
    if total > _MAX_MICROSECONDS:
        raise DurationError(f"duration {shown!r} is longer than 292 years")
    return timedelta(microseconds=int(total))


def format_duration(value: timedelta | float) -> str:
    """A duration (or seconds) rounded to whole seconds, as Go prints it: ``45s``, ``1m30s``, ``5m0s``, ``1h0m0s``.

    Go's form, because it is compared with what other controllers write. Negative values print as ``0s``.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    whole = max(0, int(seconds + 0.5))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{second}s"
    if minutes:
        return f"{minutes}m{second}s"
    return f"{second}s"

"""Words of kube-apiserver's printers: times since, and selectors. ``columns`` and ``table`` are the callers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def parse_time(text: Any) -> datetime | None:
    """An RFC 3339 time; None when it is none."""
    if not isinstance(text, str) or "T" not in text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def human(seconds: float) -> str:
    """A duration as people read it: two units while it is short."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    if hours < 24 * 365 * 8 and days % 365:
        return f"{days // 365}y{days % 365}d"
    return f"{days // 365}y"


def since(text: Any, now: datetime) -> str:
    when = parse_time(text)
    return human((now - when).total_seconds()) if when is not None else "<unknown>"


def selector_text(selector: Json | None) -> str:
    """A label selector as people write it; "" when it selects everything."""
    selector = selector or {}
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or []:
        key, how = rule.get("key", ""), rule.get("operator")
        values = ",".join(sorted(rule.get("values") or []))
        text = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(how, key)
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0]))

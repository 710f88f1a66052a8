"""Small checks that the kinds share, with the real server's texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wfe_controller.sandbox.apiserver.status import Cause, cause, quote


def shown(value: Any) -> str:
    """A value as it stands behind ``Invalid value:``."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def required(field: str, why: str = "") -> Cause:
    return cause("Required", field, f"Required value: {why}" if why else "Required value")


def invalid(field: str, value: Any, why: str) -> Cause:
    return cause("Invalid", field, f"Invalid value: {shown(value)}: {why}")


def immutable(field: str, value: Any) -> Cause:
    return invalid(field, value, "field is immutable")


def supported(value: Any, known: Sequence[str], field: str) -> list[Cause]:
    """Nothing when the value is empty or one of ``known``."""
    if not value or value in known:
        return []
    listed = ", ".join(quote(one) for one in known)
    return [cause("NotSupported", field, f"Unsupported value: {shown(value)}: supported values: {listed}")]


def not_negative(value: int | None, field: str) -> list[Cause]:
    if value is None or value >= 0:
        return []
    return [invalid(field, value, "must be greater than or equal to 0")]


def between(value: int, low: int, high: int, field: str) -> list[Cause]:
    return [] if low <= value <= high else [invalid(field, value, f"must be between {low} and {high}, inclusive")]

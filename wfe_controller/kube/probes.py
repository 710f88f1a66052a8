"""Named health checks. Two aggregates of the same form: liveness and readiness (I-58)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``age`` is seconds since the fact behind the verdict was last confirmed."""

    ok: bool
    why: str = ""
    age: float = 0.0


Check = Callable[[], CheckResult]


class Probe:
    """An ordered set of checks; healthy when every one is. A check that raises is a failed check, never a crash."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        if name in self._checks:
            raise ValueError(f"health check {name!r} is registered twice")
        self._checks[name] = check

    def results(self) -> dict[str, CheckResult]:
        out: dict[str, CheckResult] = {}
        for name, check in self._checks.items():
            try:
                out[name] = check()
            except Exception as error:  # noqa: BLE001 - a broken check must show as failed, with its error
                out[name] = CheckResult(False, f"check raised {type(error).__name__}: {error}")
        return out

    def ok(self) -> bool:
        return all(result.ok for result in self.results().values())

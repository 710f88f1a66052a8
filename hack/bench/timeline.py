"""When what happened to each WorkflowExecution, on one clock: that of the bench process."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Moments:
    """Seconds of ``time.monotonic``; 0 = has not happened.

    ``asked`` and ``run_ended`` are taken before the bench sends its own write, all others when the watch shows the
    controller's: so each interval contains the whole of the bench's write and errs to the slow side.
    """

    asked: float = 0.0
    run_created: float = 0.0
    run_released: float = 0.0
    run_ended: float = 0.0
    ended: float = 0.0
    let_go: float = 0.0
    run_gone: float = 0.0
    phase: str = ""


@dataclass
class Timeline:
    """The moments by name of the WorkflowExecution."""

    moments: dict[str, Moments] = field(default_factory=dict)

    def of(self, name: str) -> Moments:
        return self.moments.setdefault(name, Moments())

    def mark(self, name: str, what: str) -> None:
        """The first time counts."""
        moments = self.of(name)
        if not getattr(moments, what):
            setattr(moments, what, time.monotonic())

    def between(self, first: str, second: str) -> list[float]:
        """Seconds between two moments, of those that have both."""
        pairs = ((getattr(m, first), getattr(m, second)) for m in self.moments.values())
        return sorted(end - start for start, end in pairs if start and end)

    def span(self, first: str, last: str) -> float:
        """Seconds from the earliest ``first`` to the latest ``last``."""
        starts = [getattr(m, first) for m in self.moments.values() if getattr(m, first)]
        ends = [getattr(m, last) for m in self.moments.values() if getattr(m, last)]
        return max(ends) - min(starts) if starts and ends else 0.0


def quantile(ordered: list[float], share: float) -> float:
    """The value that ``share`` of a sorted list does not exceed (nearest rank); nan of an empty list."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def milliseconds(values: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and max of seconds, in milliseconds."""
    ordered = sorted(values)
    wanted = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    return {name: round(quantile(ordered, share) * 1000, 1) for name, share in wanted}

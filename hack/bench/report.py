"""Figures of several runs as a table for people: median, and the spread when there was more than one run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Figures = dict[str, Any]
Targets = Mapping[str, tuple[str, float]]
"""By flat key: ``>=`` or ``<``, and a number."""
QUIET = 0.2
"""Cores that others may use meanwhile."""


def flat(figures: Figures, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``("create_to_run_created_ms.p50", 12.0)`` ..."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def table(title: str, runs: list[Figures], targets: Targets = {}) -> Iterable[str]:  # noqa: B006 - only read
    """One line per figure; behind those with a target stands what it is, and whether the median meets it."""
    yield f"{title} ({len(runs)} run{'s' if len(runs) > 1 else ''})"
    flats = [dict(flat(run)) for run in runs]
    keys = list(dict.fromkeys(key for one in flats for key in one))
    width = max(map(len, keys), default=0)
    for key in keys:
        values = [one.get(key, 0) for one in flats]
        line = f"  {key:<{width}}  {_cell(values)}"
        yield f"{line:<{width + 32}}  {_verdict(values, *targets[key])}" if key in targets else line
    foreign = [one[key] for one in flats for key in one if key.rpartition(".")[2] == "foreign_cores"]
    if max(foreign, default=0) > QUIET:
        yield f"  Not a quiet machine: others used up to {max(foreign):g} cores. Rates are too low and CPU is too high."


def _verdict(values: list[Any], relation: str, target: float) -> str:
    middle = statistics.median(values)
    met = middle >= target if relation == ">=" else middle < target
    return f"target {relation} {target:g}: {'met' if met else 'MISSED'}"


def _cell(values: list[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != len(values) or not numbers:
        return " | ".join(dict.fromkeys(str(value) for value in values))
    middle = statistics.median(numbers)
    if len(set(numbers)) == 1:
        return f"{middle:g}"
    return f"{middle:g}  ({min(numbers):g} to {max(numbers):g})"

"""The recordings of the real server: expected/<group>.yaml, case id -> steps. Read by every run, written on request."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parent / "expected"
Steps = list[dict[str, Any]]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_recorded: dict[str, dict[str, Steps]] = {}


@functools.cache
def load(group: str) -> dict[str, Steps]:
    """All recordings of a group; {} when there is none yet."""
    path = DIRECTORY / f"{group}.yaml"
    found: dict[str, Steps] = yaml.load(path.read_text(), Loader=_LOADER) if path.exists() else {}
    return found


def compare(case: str, steps: Steps) -> None:
    """Raises AssertionError with a diff, recording first, when a step differs."""
    group, _, name = case.partition("/")
    expected = load(group).get(name, [])
    if expected == steps:
        return
    for number, (wanted, seen) in enumerate(zip(expected, steps, strict=False), start=1):
        if wanted != seen:
            raise AssertionError(f"step {number} of {case} differs (- recorded, + seen):\n{_diff(wanted, seen)}")
    raise AssertionError(
        f"{case} has {len(steps)} steps and {len(expected)} recorded ones"
        + ("" if expected else ": write them with CONTRACT_RECORD=1")
    )


def record(case: str, steps: Steps) -> None:
    """Keep the steps for :func:`write`."""
    group, _, name = case.partition("/")
    _recorded.setdefault(group, {})[name] = steps


def write(*, whole_files: bool) -> None:
    """Write what was recorded; cases that were not run stay only when ``whole_files`` is false."""
    for group, cases in _recorded.items():
        every = cases if whole_files else {**load(group), **cases}
        text = yaml.dump(dict(sorted(every.items())), Dumper=_Dumper, sort_keys=False, width=116, allow_unicode=True)
        (DIRECTORY / f"{group}.yaml").write_text(text)


class _Dumper(yaml.SafeDumper):
    """Without anchors: a step is readable by itself."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _diff(wanted: Any, seen: Any) -> str:
    def lines(value: Any) -> list[str]:
        return yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=200, allow_unicode=True).splitlines()

    return "\n".join(difflib.unified_diff(lines(wanted), lines(seen), "recorded", "seen", lineterm="", n=4))

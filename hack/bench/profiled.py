"""``python -m hack.bench.profiled FILE SKIP ARGUMENT ...``: the controller, its stack sampled by CPU time.

A profiler that is called for every call quadruples what it measures, and wall time says where the process waited for
the server. FILE gets, in per cent of the samples after the first SKIP seconds of CPU (imports, first lists):
functions by own time, functions with all they call, and the share of each package.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from wfe_controller.cli.main import main

INTERVAL = 0.002
"""Seconds; most kernels tick more slowly than that, and then one sample stands for a tick."""
SHOWN = 60


class Sampler:
    """Counts where the process was, by function."""

    def __init__(self, skip: float) -> None:
        self._skip = skip
        self.total = 0
        self.own: Counter[CodeType] = Counter()
        self.all: Counter[CodeType] = Counter()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if frame is None or time.process_time() < self._skip:
            return
        self.total += 1
        self.own[frame.f_code] += 1
        seen: set[CodeType] = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self.all.update(seen)

    def report(self) -> str:
        packages: Counter[str] = Counter()
        for code, number in self.own.items():
            packages[_package(code.co_filename)] += number
        parts = [f"{self.total} samples"]
        for title, rows in (
            ("own", self._rows(self.own)),
            ("with callees", self._rows(self.all)),
            ("packages, own", [(name, number) for name, number in packages.most_common()]),
        ):
            parts += ["", title, *(f"{100 * number / max(self.total, 1):6.2f}  {name}" for name, number in rows)]
        return "\n".join(parts) + "\n"

    def _rows(self, counted: Counter[CodeType]) -> list[tuple[str, int]]:
        return [
            (f"{_short(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}", number)
            for code, number in counted.most_common(SHOWN)
        ]


def _short(file: str) -> str:
    for mark in ("site-packages/", "lib/python3.", "wfe_controller/"):
        _head, found, tail = file.rpartition(mark)
        if found:
            return tail if mark != "wfe_controller/" else mark + tail
    return file


def _package(file: str) -> str:
    parts = _short(file).split("/")
    return (
        "/".join(parts[:3]) if parts[0] == "wfe_controller" else parts[0 if "site-packages" in file else 1 % len(parts)]
    )


if __name__ == "__main__":
    file, skip, *sys.argv[1:] = sys.argv[1:]
    sampler = Sampler(float(skip))
    signal.signal(signal.SIGPROF, sampler)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(file).write_text(sampler.report())

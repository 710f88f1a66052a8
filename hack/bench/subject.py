"""The controller under test, as a process: started, stopped, and looked at from outside (/proc, /metrics)."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hack.controlplane import RestClient
from hack.controlplane.plane import REPOSITORY
from hack.controlplane.processes import ProcessTable, free_ports

TICKS = os.sysconf("SC_CLK_TCK")
NAME = "bench-controller"
READY_SECONDS = 120.0


@dataclass(frozen=True)
class Usage:
    """Of one process: CPU in seconds since its start, memory in MiB."""

    cpu: float
    rss: float
    peak: float


class Subject:
    """One controller process at a time; ``config`` as in its YAML file."""

    def __init__(self, processes: ProcessTable, work: Path, kubeconfig: Path) -> None:
        self._processes, self._work, self._kubeconfig = processes, work, kubeconfig
        self._address = ""

    def start(self, config: dict[str, Any], profile: Path | None = None) -> float:
        """Start it and wait for /readyz; seconds from exec to ready. ``profile``: sampled, report there."""
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        addresses = {"metricsAddress": self._address, "healthAddress": self._address}
        file = self._work / f"{NAME}.json"
        file.write_text(json.dumps({**config, "controller": {**config.get("controller", {}), **addresses}}))
        program = ["-m", "hack.bench.profiled", str(profile), "2"] if profile else ["-m", "wfe_controller"]
        argv = [sys.executable, *program, "run"]
        argv += [f"--kubeconfig={self._kubeconfig}", f"--config={file}"]
        self._processes.define(NAME, argv, env={"PYTHONPATH": str(REPOSITORY)})
        began = time.monotonic()
        self._processes.start(NAME)
        while self._get("/readyz")[0] != 200:
            if not self._processes.running(NAME) or time.monotonic() - began > READY_SECONDS:
                raise RuntimeError(f"the controller does not get ready:\n{self._processes.log_tail(NAME, 40)}")
            time.sleep(0.01)
        return time.monotonic() - began

    def stop(self) -> None:
        if NAME in self._processes.records:
            self._processes.stop([NAME], grace=30.0)

    def family(self) -> list[int]:
        """Process ids of the controller, of the plane it runs on, and of the bench."""
        return [os.getpid(), *(record.pid for record in self._processes.records.values() if record.alive)]

    def usage(self) -> Usage:
        return usage(self._processes.records[NAME].pid)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its full name with labels."""
        _, body = self._get("/metrics")
        lines = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def _get(self, path: str) -> tuple[int, str]:
        client = RestClient(f"http://{self._address}", timeout=5.0)
        try:
            status, _, body = client.exchange("GET", path)
        except (OSError, HTTPException):
            return 0, ""
        finally:
            client.close()
        return status, body.decode()


def usage(pid: int) -> Usage:
    """Of a process that lives."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    rss, peak = (int(re.search(rf"{key}:\s+(\d+)", status)[1]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, rss, peak)


def loop_lag(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Bounds in milliseconds under which 99 % and all of the event loop's timers were late, between two scrapes."""
    bucket = re.compile(r'event_loop_lag_seconds_bucket\{.*?le="([^"]+)".*\}')
    late = {
        float(found[1]): after[name] - before.get(name, 0.0)
        for name in after
        if (found := bucket.search(name)) is not None
    }
    total = max(late.values(), default=0.0)
    bounds = {}
    for label, share in (("p99", 0.99), ("max", 1.0)):
        bounds[label] = min((le for le, n in late.items() if total and n >= share * total), default=float("nan")) * 1000
    return bounds


def per_label(before: dict[str, float], after: dict[str, float], family: str, count: int) -> dict[str, float]:
    """Growth of each series of a counter between two scrapes, divided by ``count``; those that stood still left out."""
    grown = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith(f"{family}{{")}
    label = re.compile(r'="([^"]*)"')
    return {" ".join(label.findall(name)): round(n / count, 2) for name, n in grown.items() if n}

"""``wfe-controller`` as an operator starts it: a process of its own that ends by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIX = "wfe-controller: error: "


@dataclass(frozen=True)
class Ended:
    """A command that has ended. The log of ``run`` goes to stderr too, as JSON lines."""

    code: int
    stdout: str
    stderr: str

    @property
    def plain(self) -> list[str]:
        """The lines on stderr that are not log lines."""
        return [line for line in self.stderr.splitlines() if not line.startswith("{")]

    @property
    def complaint(self) -> str:
        """The one line that says why it ended; nothing else may stand there, above all no traceback."""
        assert "Traceback" not in self.stderr, self.stderr
        assert self.stdout == ""
        (line,) = self.plain
        assert line.startswith(PREFIX), line
        loud = [item for item in map(json.loads, self.log) if item["level"] in ("error", "critical")]
        assert loud == [], "the reason is told once"
        return line.removeprefix(PREFIX)

    @property
    def log(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("{")]


class Started:
    """One that is on its way to its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ended(self, timeout: float = 60) -> Ended:
        """Wait for the end; killed after ``timeout`` seconds."""
        try:
            stdout, stderr = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return Ended(self._process.returncode, stdout, stderr)

    def stop(self) -> None:
        """Nobody asks for its end any more."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


def start(*arguments: str, env: Mapping[str, str] | None = None) -> Started:
    """Start it away from the settings of the machine; ``env`` is added to an environment without them."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WFE_", "KUBE"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "wfe_controller", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**clean, "HOME": "/nonexistent", **(env or {})},
    )
    return Started(process)


def wfe_controller(*arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """Run it to its end."""
    return start(*arguments, env=env).ended()

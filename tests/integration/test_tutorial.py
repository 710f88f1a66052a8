"""docs/tutorial.md is followed word by word, against a sandbox that is started as it says.

With TUTORIAL_RECORD=1 what is really said is written into the page: read the diff.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane.binaries import BinariesMissing, resolve
from tests.support import console
from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
RECORD = os.environ.get("TUTORIAL_RECORD") == "1"


class Reader:
    """Follows a page in a directory that looks like a clone: exports stay, the sandbox runs in another terminal."""

    def __init__(self, home: Path, kubectl: str) -> None:
        self.home = home
        (home / ".venv").mkdir(parents=True)
        (home / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (home / "Makefile").symlink_to(ROOT / "Makefile")
        (home / "tools").mkdir()
        (home / "tools" / "kubectl").symlink_to(kubectl)
        dropped = ("KUBECONFIG", "COLUMNS", "NO_COLOR")
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        path = f"{home / 'tools'}:{kept['PATH']}"
        self.environment = {**kept, "PATH": path, "TMPDIR": str(home), "HOME": str(home), "PWD": str(home)}
        self.exports: list[str] = []
        self.sandbox: subprocess.Popen[str] | None = None

    def does(self, command: str) -> str:
        """What is said, on either stream."""
        if command.startswith("make demo"):
            self._starts(command)
            return ""
        if command.startswith("export "):
            self.exports.append(command)
            return ""
        done = subprocess.run(
            ["bash", "-c", "\n".join([*self.exports, command])],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout.rstrip("\n")

    def _starts(self, command: str) -> None:
        """As make starts it; only that the environment is there already."""
        self.sandbox = subprocess.Popen(
            [*shlex.split(command), "READY="],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.sandbox.stdout is not None
        for line in self.sandbox.stdout:
            if line.startswith("# It stays"):
                return
        raise AssertionError("the sandbox did not start")

    def leaves(self) -> str:
        """ctrl-C in the first terminal: its whole foreground gets the signal. Returns what was said after."""
        assert self.sandbox is not None
        os.killpg(self.sandbox.pid, signal.SIGINT)
        said, _ = self.sandbox.communicate(timeout=60)
        return said


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    try:
        kubectl = str(resolve(["kubectl"], tekton=False)["kubectl"])
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"kubectl is required here: {missing}")
        pytest.skip(f"no kubectl: {missing}")
    found = Reader(tmp_path / "clone", kubectl)
    yield found
    if found.sandbox is not None and found.sandbox.poll() is None:
        os.killpg(found.sandbox.pid, signal.SIGKILL)
        found.sandbox.communicate()


def compared(command: str, output: str) -> list[str]:
    """Of a watch only the end: what it sees in between depends on when it begins."""
    return console.words(output.splitlines()[-1] if " wfe watch " in command and output else output)


@pytest.mark.timeout(400)
def test_the_tutorial_says_what_happens(reader: Reader) -> None:
    page = PAGE.read_text(encoding="utf-8")
    said: list[str] = []
    for step in console.steps(page):
        if isinstance(step, console.Saved):
            (reader.home / step.name).write_text(step.content, encoding="utf-8")
            continue
        said.append(reader.does(step.command))
        if not RECORD:
            assert compared(step.command, said[-1]) == compared(step.command, step.output), f"$ {step.command}"
    assert (reader.home / "sandbox.kubeconfig").exists()
    reader.leaves()
    # make, which the signal reaches too, may be gone before the sandbox is.
    eventually(lambda: not (reader.home / "sandbox.kubeconfig").exists())
    eventually(lambda: not list(reader.home.glob("wfe-sandbox-*")))
    if RECORD:
        outputs = iter(said)
        PAGE.write_text(console.rewritten(page, lambda _: next(outputs)), encoding="utf-8")


def test_the_tutorial_shows_every_decision_of_an_operator() -> None:
    shown = [step.command for step in console.steps(PAGE.read_text()) if isinstance(step, console.Shown)]
    used = {match[1] for command in shown if (match := re.match(r"kubectl wfe ([a-z-]+)", command))}
    assert {"watch", "tree", "explain", "locks", "retry", "clear-block", "pause", "resume", "cancel"} <= used

"""Planes side by side, from the command line, and what is left when the program that started one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from hack.controlplane import Plane
from hack.controlplane.plane import sweep
from hack.controlplane.processes import start_time
from tests.support.eventually import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
START_AND_WAIT = """
import os, pathlib, signal, sys
from hack.controlplane import Plane
Plane.start(pathlib.Path(sys.argv[1]), tekton=False, owner_pid=os.getpid())
print("up", flush=True)
signal.pause()
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hack.controlplane", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_up_twice_env_status_down(plane: Plane, tmp_path: Path) -> None:
    """A second plane runs beside the session's; a second `up` starts only what has died."""
    here = ("--work-dir", str(tmp_path / "second"))
    first = command("up", "--no-tekton", *here)
    try:
        assert first.returncode == 0, first.stderr
        second = Plane.open(tmp_path / "second")
        assert second.server != plane.server
        exports = dict(item.removeprefix("export ").split("=", 1) for item in command("env", *here).stdout.splitlines())
        assert exports["PLANE_REGISTRY"] == second.registry
        script = f"export PATH={exports['PATH']}; kubectl get namespaces -o name"
        listed = subprocess.run(
            ["sh", "-c", script],
            env={"KUBECONFIG": exports["KUBECONFIG"], "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "namespace/kube-system" in listed.stdout, listed.stderr

        etcd = second.processes.records["etcd"].pid
        registry = second.processes.records["registry"].pid
        os.kill(registry, signal.SIGKILL)
        eventually(lambda: start_time(registry) is None)
        broken = command("status", *here)
        assert broken.returncode == 1
        assert "NOT HEALTHY" in next(line for line in broken.stdout.splitlines() if line.startswith("registry"))
        assert command("up", "--no-tekton", *here).returncode == 0
        again = Plane.open(tmp_path / "second")
        assert again.processes.records["etcd"].pid == etcd
        assert again.processes.records["registry"].pid != registry
        assert command("status", *here).returncode == 0
    finally:
        down = command("down", *here)
    assert down.returncode == 0, down.stderr
    assert not (tmp_path / "second").exists()
    assert plane.healthy("kube-apiserver")


def test_a_killed_owner_leaves_nothing_behind_the_next_start(plane: Plane, tmp_path: Path) -> None:
    """SIGKILL gives no chance to clean up; the next session finds the plane by its owner and stops it."""
    owner = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(tmp_path / "orphan")], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"up\n"
    assert sweep(tmp_path) == []
    owner.kill()
    owner.wait()
    recorded = json.loads((tmp_path / "orphan" / "processes.json").read_text())
    assert all(start_time(item["pid"]) == item["started"] for item in recorded)
    assert sweep(tmp_path) == ["orphan"]
    assert [item["name"] for item in recorded if start_time(item["pid"]) == item["started"]] == []
    assert not (tmp_path / "orphan").exists()


def test_there_is_a_remedy_when_no_plane_is_there(tmp_path: Path) -> None:
    """The error names the command that helps, and is one line."""
    done = command("status", "--work-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "python -m hack.controlplane up" in done.stderr
    assert len(done.stderr.splitlines()) == 1

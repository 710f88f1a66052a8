"""``make demo-real``: the demo on real servers. ``make demo`` is the sandbox: test_sandbox.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hack.controlplane import Plane
from hack.controlplane.plane import planes_root

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_demo_ends_as_told_and_leaves_no_plane(plane: Plane) -> None:
    """Six requests, six endings, exit 0, and nothing of it is left."""
    before = set(planes_root().glob("demo-*"))
    done = subprocess.run(
        [sys.executable, "-m", "hack.demo"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 ended as expected" in done.stdout
    assert set(planes_root().glob("demo-*")) <= before

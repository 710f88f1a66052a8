"""A control plane with Tekton's kinds but without Tekton: what the simulators play on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hack.controlplane import BinariesMissing, Plane
from hack.controlplane.plane import planes_root, sweep
from hack.recordings.__main__ import bare


@pytest.fixture(scope="session")
def bare_plane() -> Iterator[Plane]:
    """Without one the tests are skipped with the remedy, or fail where REQUIRE_TIERS=1 (CI)."""
    sweep()
    try:
        plane = bare(planes_root() / f"pytest-sim-{os.getpid()}")
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"the tests of the simulators are required here: {missing}")
        pytest.skip(f"no control plane: {missing}")
    try:
        yield plane
    finally:
        plane.stop(keep=os.environ.get("KEEP_PLANE") == "1")

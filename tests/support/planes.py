"""On which planes the integration tier runs, and what cannot run on the embedded one: all exceptions, with reasons.

``pytest tests/integration --planes embedded`` needs no servers (``--planes real``, default: both). Neighbours:
``tests/integration/conftest.py`` has the fixtures, ``embeddedplane`` and ``hack.controlplane`` the planes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import pytest

from hack.controlplane import BinariesMissing, Plane
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import planes_root
from tests.support.embeddedplane import EmbeddedPlane
from tests.support.playedpods import PlayedPods

Kind = Literal["real", "embedded"]
KINDS: Sequence[Kind] = get_args(Kind)

_MEMORY = "what the embedded server knows is the memory of its process: it does not come back after its end"
_SERVERS = "it is about the processes of the real servers"
NOT_EMBEDDED: Mapping[str, str] = {
    "controller/test_outages.py::test_a_killed_server_is_waited_for": _MEMORY,
    "kubectl/test_explain_waiting.py::test_quota_that_is_used_up": "the embedded server has no quotas",
    "test_demo.py::test_the_demo_ends_as_told_and_leaves_no_plane": "it is the demo on real servers",
    "test_plane.py::test_the_api_server_can_go_away_and_come_back": _MEMORY,
    "test_plane_lifecycle.py::test_a_killed_owner_leaves_nothing_behind_the_next_start": _SERVERS,
    "test_plane_lifecycle.py::test_up_twice_env_status_down": _SERVERS,
    "test_rbac.py::test_the_runner_may_nothing_until_it_is_bound": "nobody fills in aggregated ClusterRoles there",
    "test_rbac.py::test_the_server_accepts_an_overlay": "FlowSchemas are not served there",
}
"""``file::test`` below tests/integration -> why. One line each: there is no other way to leave a test out."""


def chosen(option: str) -> list[Kind]:
    """The planes of a ``--planes`` option. Raises pytest.UsageError."""
    wanted = [word.strip() for word in option.split(",")]
    if unknown := [word for word in wanted if word not in KINDS]:
        raise pytest.UsageError(f"--planes: {', '.join(unknown)} is none of {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in wanted]


def start(kind: Kind, suffix: str = "", *, tekton: bool = True, manifests: Sequence[Path] = ()) -> Plane:
    """A plane of this session. Without the servers for it the test is skipped with the remedy, or fails where
    REQUIRE_TIERS=1 (CI)."""
    directory = planes_root() / f"pytest-{os.getpid()}-{kind}{suffix}"
    plane = EmbeddedPlane if kind == "embedded" else Plane
    try:
        return plane.start(directory, tekton=tekton, manifests=manifests, owner_pid=os.getpid())
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"the integration tier is required here: {missing}")
        pytest.skip(f"no control plane: {missing}")


def stop(plane: Plane) -> None:
    """``KEEP_PLANE=1`` leaves its directory, with the logs."""
    plane.stop(keep=os.environ.get("KEEP_PLANE") == "1")


def kubelet(plane: Plane) -> Kubelet | PlayedPods:
    """Who plays the pods of that plane; not started yet."""
    return PlayedPods(plane.kubeconfig) if isinstance(plane, EmbeddedPlane) else Kubelet(plane.kubeconfig)

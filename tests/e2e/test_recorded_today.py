"""The recordings are what real Tekton, a real kubelet and real controllers write today.

tests/sim and tests/unit hold the simulators to the files in tests/recordings; here a good part of them is recorded anew
and held against the files, so that a file can be neither made up nor out of date. On a busy node a state may be missed:
what differs is recorded once more, alone.
"""

from __future__ import annotations

import pytest
import yaml

from hack.controlplane import Plane
from hack.recordings.__main__ import PODS, RECORDINGS, path_of
from hack.recordings.compare import difference
from hack.recordings.lives import LIVES
from hack.recordings.recorder import Pods, record
from hack.recordings.situations import SITUATIONS, Object, Situation
from hack.recordings.stage import NeverOver
from hack.recordings.workloads import WORKS, Work

AT_ONCE = 10
CHOSEN = (
    "done-before-pods", f"{PODS}/restarts", "job-fails-twice", "image-missing", "cancelled-run-finally", "name-reused",
    "task-times-out", "deployment-updated", "job-too-long", "retries", "step-fails", "results", "pending", "oom",
    "pod-deleted", "run-deleted", "cancelled-between-steps", "unschedulable", "bundle-refused", "job-completes",
    "job-suspended-while-it-runs", f"{PODS}/two", f"{PODS}/init", f"{PODS}/ignores-term", f"{PODS}/too-long",
)  # fmt: skip
"""The long ones first: together they take as long as the longest, half a minute of grace."""


def test_what_is_recorded_now_is_what_was_recorded(cluster: Plane) -> None:
    known: dict[str, Situation | Work] = {item.name: item for item in SITUATIONS}
    known |= {item.name: item for item in WORKS}
    known |= {f"{PODS}/{item.name}": item for item in LIVES}
    chosen = [known[name] for name in CHOSEN]
    if not hasattr(cluster, "ctr"):
        pytest.skip("recordings are of the pinned Tekton, kubelet and images of hack/cluster")
    differing = [item for item, told in _compared(cluster, chosen, AT_ONCE) if told]
    again = _compared(cluster, differing, 1)
    assert not [told for _, told in again if told], "\n\n".join(told for _, told in again)


def _compared(cluster: Plane, items: list[Situation | Work], at_once: int) -> list[tuple[Situation | Work, str]]:
    found = record(cluster, items, Pods.REAL, at_once=at_once)
    return [(item, _difference(item, seen)) for item, seen in zip(items, found, strict=True)]


def _difference(item: Situation | Work, found: Object | NeverOver) -> str:
    recorded: Object = yaml.safe_load((RECORDINGS / path_of(item)).read_text())
    assert recorded.pop("about") == item.about
    told = str(found) if isinstance(found, NeverOver) else difference(found, recorded)
    return f"{path_of(item)}:\n{told}" if told else ""

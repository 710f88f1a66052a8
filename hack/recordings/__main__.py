"""``python -m hack.recordings [NAME ...]``: record the real Tekton, real pods, Jobs and Deployments.

Writes tests/recordings. Starts a cluster of its own (hack/cluster: Linux and root) and takes it down again, or uses
one that runs (--cluster). What a node cannot be made to do is recorded on a control plane without one, where our
simulator plays the pods (--plane names a running one). ``--simulated`` records our own Tekton and pods instead: for a
look at differences, with --into.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from hack.cluster import Cluster, MachineUnfit
from hack.cluster.cluster import sweep as sweep_clusters
from hack.controlplane import BinariesMissing, Plane, PlaneError
from hack.controlplane.binaries import resolve
from hack.controlplane.plane import planes_root, sweep
from hack.recordings.lives import LIVES
from hack.recordings.recorder import Pods, record
from hack.recordings.situations import SITUATIONS, Object, Situation
from hack.recordings.stage import NeverOver
from hack.recordings.workloads import WORKS, Work

RECORDINGS = Path(__file__).resolve().parents[2] / "tests" / "recordings"
WORKLOADS, PODS = "workloads", "pods"
"""Below the recordings of Tekton."""
AT_ONCE = 4
"""Few, so that a machine of two cores shows every state for long enough to be seen."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.recordings", description=__doc__)
    parser.add_argument("situations", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--cluster", help="the name of a running cluster (python -m hack.cluster up --name ...)")
    parser.add_argument("--plane", help="the name of a running plane (python -m hack.controlplane up --name ...)")
    parser.add_argument("--simulated", action="store_true", help="a plane without Tekton, and ours in its place")
    parser.add_argument("--into", type=Path, default=RECORDINGS)
    options = parser.parse_args()
    tekton_and_workloads: list[Situation | Work] = [*SITUATIONS, *WORKS]
    known = {item.name: item for item in tekton_and_workloads}
    known |= {f"{PODS}/{item.name}": item for item in LIVES}
    unknown = [name for name in options.situations if name not in known]
    if unknown:
        print(f"error: no such situation: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.situations or known]
    played = [item for item in chosen if options.simulated or item.played]
    real = [item for item in chosen if item not in played]
    failed = 0
    sweep()
    try:
        if real:
            with _cluster(options.cluster) as cluster, cluster.entered():
                failed += _write_all(cluster, real, Pods.REAL, options.into)
        if played:
            with _plane(options.plane, simulated=options.simulated) as plane:
                pods = Pods.SIMULATED if options.simulated else Pods.PLAYED
                failed += _write_all(plane, played, pods, options.into)
    except MachineUnfit as error:
        print(f"error: the recordings are of real pods, which need a node. {error}", file=sys.stderr)
        return 1
    except (BinariesMissing, PlaneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


@contextlib.contextmanager
def _cluster(name: str | None) -> Iterator[Cluster]:
    """The running one of that name, or one of our own, without our controller, which nothing is left of."""
    if name:
        yield Cluster.attach(name)
        return
    sweep_clusters()
    cluster = Cluster.launch(f"recordings-{os.getpid()}", owner_pid=os.getpid(), install=False)
    try:
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def _plane(name: str | None, *, simulated: bool) -> Iterator[Plane]:
    """The running one of that name, or one of our own: with Tekton, or with nothing but Tekton's kinds."""
    if name:
        yield Plane.open(name=name)
        return
    place = planes_root() / f"recordings-{os.getpid()}"
    plane = bare(place) if simulated else Plane.start(place, owner_pid=os.getpid())
    try:
        yield plane
    finally:
        plane.stop()


def bare(place: Path) -> Plane:
    """A plane with Tekton's kinds, which are there before the garbage collector starts, and without Tekton."""
    objects = resolve([], tekton=True).tekton_objects
    assert objects is not None
    with tempfile.TemporaryDirectory() as directory:
        kinds = Path(directory) / "tekton.json"
        kinds.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": json.loads(objects.read_text())}))
        return Plane.start(place, tekton=False, manifests=[kinds], owner_pid=os.getpid())


def _write_all(plane: Plane, items: Sequence[Situation | Work], pods: Pods, into: Path) -> int:
    """One file each; gives how many did not end."""

    def done(item: Situation | Work, found: Object | NeverOver) -> None:
        if isinstance(found, NeverOver):
            print(f"error: {found}", file=sys.stderr, flush=True)
            return
        write(into, item, found)
        print(f"{item.name}: recorded", flush=True)

    found = record(plane, items, pods, at_once=AT_ONCE, done=done)
    return sum(isinstance(item, NeverOver) for item in found)


def path_of(item: Situation | Work) -> Path:
    """Below the directory of the recordings."""
    if isinstance(item, Situation):
        return Path(f"{item.name}.yaml")
    return Path(PODS if item in LIVES else WORKLOADS, f"{item.name}.yaml")


def write(into: Path, item: Situation | Work, found: Object) -> None:
    path = into / path_of(item)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"about": item.about, **found}, sort_keys=True, width=120))


if __name__ == "__main__":
    raise SystemExit(main())

"""``python -m hack.crash``: the full crash suite on a control plane of its own; ``make crash`` calls it.

Prints a table (story, point, moment, action, hits, outcome) while it goes, writes it to .work/crash/, and ends with 1
when anything was wrong, when a failpoint was never hit, or when no contention was seen where it was meant.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from hack.cluster.cluster import Cluster
from hack.controlplane import Plane
from hack.controlplane.client import Refused
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import planes_root, sweep
from hack.crash import contest, failover, report
from hack.crash.replicas import REPOSITORY, Site, Watcher, wait
from hack.crash.scene import API, Outcome, play
from hack.crash.stories import BEHAVIOURS, STORIES, Story
from hack.crash.work import bundle

OUT = Path(".work/crash")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hack.crash", description="Crashes at every write, on real servers."
    )
    parser.add_argument("--only", default="", help="a regular expression on 'story point moment action'")
    parser.add_argument("--lanes", type=int, default=3, help="pairs of replicas at work side by side")
    parser.add_argument("--kills", type=int, default=100, help="random kills (0: leave that part out)")
    parser.add_argument("--executions", type=int, default=60, help="contended executions during the random kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-failover", action="store_true", help="leave out the figures with leases 15/10/2 s")
    parser.add_argument("--cluster", metavar="NAME", help="a running hack.cluster instead: real pods on a real node")
    parser.add_argument("--keep", action="store_true", help="leave the plane's directory, with the logs")
    options = parser.parse_args()
    if options.cluster:
        cluster = Cluster.attach(options.cluster)
        with cluster.entered():  # threads and processes started from here are in the cluster's network, too
            _install_crds(cluster)
            return _suite(cluster, options, real=True)
    sweep()
    crds = [
        path for path in sorted((REPOSITORY / "manifests/crds").glob("*.yaml")) if path.name != "kustomization.yaml"
    ]
    plane = Plane.start(planes_root() / f"crash-{os.getpid()}", manifests=crds, owner_pid=os.getpid())
    failed = True
    try:
        kubelet = Kubelet(plane.kubeconfig).start()
        try:
            failed = bool(_suite(plane, options))
        finally:
            kubelet.stop()
    finally:
        plane.stop(keep=options.keep or failed)
    return int(failed)


def _crds() -> list[Path]:
    return [p for p in sorted((REPOSITORY / "manifests/crds").glob("*.yaml")) if p.name != "kustomization.yaml"]


def _install_crds(cluster: Cluster) -> None:
    """A cluster without our Deployment has none of our kinds; one with it has them already."""
    for path in _crds():
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path), check=True)

    def served() -> bool:
        try:
            return all(bool(cluster.client.get(f"{API}/{kind}")) for kind in ("workflowexecutions", "targetlocks"))
        except Refused:
            return False  # not established yet, or its storage is being initialized

    wait(served, 30.0, "our kinds to be served")


def _suite(plane: Plane, options: argparse.Namespace, *, real: bool = False) -> int:
    """All parts on a plane that is up; 1 when anything was wrong."""
    watcher = Watcher(plane)
    book = report.Book(OUT)
    try:
        _scenes(plane, watcher, book, options, real=real)
        if options.kills:
            site = Site(plane, "contest")
            book.add(contest.play(site, watcher, options.executions, options.kills, options.seed, real=real))
        if not options.no_failover:
            for outcome in failover.measure(plane, real=real):
                book.add(outcome)
        book.audit(plane.audit())
    finally:
        watcher.stop()
    book.close()
    return int(book.failed)


def _scenes(plane: Plane, watcher: Watcher, book: report.Book, options: argparse.Namespace, *, real: bool) -> None:
    lanes, only = options.lanes, options.only
    bundles = {word: bundle(plane, word, real=real) for word in BEHAVIOURS}
    sites: Queue[Site] = Queue()
    every = [Site(plane, f"lane{number}") for number in range(lanes)]
    try:
        for site in every:
            sites.put(site.start())

        def run(story: Story, point: str = "", moment: str = "", action: str = "") -> Outcome:
            site = sites.get()
            try:
                outcome = play(site, watcher, story, bundles, point, moment, action)
            finally:
                sites.put(site)
            book.add(outcome, history=lambda: watcher.ask(history=outcome.target))
            return outcome

        with ThreadPoolExecutor(lanes) as pool:
            wanted = [s for s in STORIES if s.name in only] or list(STORIES)
            learned = dict(zip(wanted, pool.map(lambda s: _points(s, run), wanted), strict=True))
            plays = [
                (story, point, moment, action)
                for story, points in learned.items()
                for point in points
                for moment, action in story.troubles
                if re.search(only, f"{story.name} {point} {moment} {action}")
            ]
            list(pool.map(lambda p: run(*p), plays))
    finally:
        for site in every:
            site.stop()
            book.complaints(site.complaints())


def _points(story: Story, run: object) -> list[str]:
    assert callable(run)
    found: list[str] = run(story).points
    return [p for p in found if not story.only or p.startswith(story.only)]


if __name__ == "__main__":
    sys.exit(main())

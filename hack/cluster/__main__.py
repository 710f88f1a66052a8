"""``python -m hack.cluster install|build|up|down|env|status|run``: a real one-node cluster here, without Docker."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from hack.cluster import machine
from hack.cluster.cluster import Cluster, prepare
from hack.cluster.machine import MachineUnfit
from hack.controlplane.binaries import BinariesMissing
from hack.controlplane.plane import PlaneError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("install", "apt-get install the Debian packages that are missing"),
        ("build", "build what is not in the cache: the node's binaries, our image and the base that it stands on"),
        ("up", "start the cluster, or what is missing of it; builds what is not in the cache"),
        ("down", "take the cluster down; nothing is left of it"),
        ("env", "print the shell's export lines; KUBECONFIG works inside the network namespace"),
        ("status", "show each process and its health; exit 1 when one is not healthy"),
        ("run", "run a command inside the cluster's network, for example: run kubectl get pods -A"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--name", default="default", help="which cluster (default: default)")
        if name == "build":
            command.add_argument("--optional", action="store_true", help="where it cannot be built: say why, exit 0")
        if name == "up":
            command.add_argument("--no-controller", action="store_true", help="Tekton only, without our Deployment")
        if name == "down":
            command.add_argument("--keep", action="store_true", help="keep the logs")
        if name == "run":
            command.add_argument("words", nargs=argparse.REMAINDER, help="the command")
    options = parser.parse_args(argv)
    try:
        return _COMMANDS[options.command](options)
    except (MachineUnfit, BinariesMissing, PlaneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _install(options: argparse.Namespace) -> int:
    packages = machine.install()
    print(f"installed {', '.join(packages)}" if packages else "every package is there")
    for problem in machine.problems(building=True):
        print(f"still missing: {problem}", file=sys.stderr)
    return 1 if machine.problems(building=True) else 0


def _build(options: argparse.Namespace) -> int:
    try:
        for path in prepare(install=True).archives:
            print(path)
    except (MachineUnfit, BinariesMissing) as unfit:
        if not options.optional:
            raise
        print(f"{unfit}\nthe e2e tier will not run", file=sys.stderr)
    return 0


def _up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cluster = Cluster.launch(options.name, install=not options.no_controller)
    stages = ", ".join(f"{stage} {seconds} s" for stage, seconds in cluster.times.items())
    print(f"ready after {time.monotonic() - began:.1f} s ({stages}); state in {cluster.work_dir}")
    print(f"use it:   python -m hack.cluster run --name {cluster.name} kubectl get pods --all-namespaces")
    return 0


def _down(options: argparse.Namespace) -> int:
    cluster = Cluster.attach(options.name, broken=True)
    cluster.stop(keep=options.keep)
    print(f"stopped {options.name}" + (f", logs in {cluster.work_dir}" if options.keep else ""))
    return 0


def _env(options: argparse.Namespace) -> int:
    for name, value in _environment(Cluster.attach(options.name)).items():
        print(f'export {name}="{value}"')
    return 0


def _environment(cluster: Cluster) -> dict[str, str]:
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "PLANE_REGISTRY": cluster.registry,
        "CLUSTER_NETNS": str(cluster.network.path),
        "CONTAINERD_ADDRESS": str(cluster.places.socket),
        "CONTAINERD_NAMESPACE": "k8s.io",
        "PATH": f"{cluster.kubectl_path.parent}:{os.environ.get('PATH', '')}",
    }


def _status(options: argparse.Namespace) -> int:
    cluster = Cluster.attach(options.name)
    healthy = True
    with cluster.entered():
        for record, state in cluster.processes.states():
            good = cluster.healthy(record.name)
            healthy = healthy and good
            health = "healthy" if good else "NOT HEALTHY"
            print(f"{record.name:<24} {state:<8} {health:<12} pid {record.pid:<8} {record.health}")
    return 0 if healthy else 1


def _run(options: argparse.Namespace) -> int:
    cluster = Cluster.attach(options.name)
    if not options.words:
        print("error: which command? for example: run kubectl get pods -A", file=sys.stderr)
        return 2
    with cluster.entered():
        return subprocess.run(options.words, env={**os.environ, **_environment(cluster)}, check=False).returncode


_COMMANDS = {
    "install": _install,
    "build": _build,
    "up": _up,
    "down": _down,
    "env": _env,
    "status": _status,
    "run": _run,
}

if __name__ == "__main__":
    raise SystemExit(main())

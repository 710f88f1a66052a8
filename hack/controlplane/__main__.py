"""``python -m hack.controlplane build|up|down|env|status``: a real control plane here, without containers or root."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hack.controlplane.binaries import TOOLS, BinariesMissing, resolve
from hack.controlplane.plane import Plane, PlaneError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "build the servers that are not there yet; minutes, once"),
        ("up", "start a plane, or what is missing of it; builds the servers once"),
        ("down", "stop a plane and remove its work directory"),
        ("env", "print the shell's export lines for a plane"),
        ("status", "show each process and its health; exit 1 when one is not healthy"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--name", default="default", help="which plane (default: default)")
        command.add_argument("--work-dir", type=Path, help="its state, when not under the default place")
        if name == "up":
            command.add_argument(
                "--no-tekton", action="store_true", help="API server, controller manager and registry only"
            )
            command.add_argument(
                "--manifests", type=Path, action="append", default=[], help="apply this file or directory"
            )
        if name == "build":
            command.add_argument("--optional", action="store_true", help="exit 0 when they cannot be had")
        if name == "down":
            command.add_argument("--keep", action="store_true", help="keep the work directory with its logs")
    options = parser.parse_args(argv)
    try:
        return _COMMANDS[options.command](options)
    except (BinariesMissing, PlaneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build(options: argparse.Namespace) -> int:
    try:
        resolve([tool.name for tool in TOOLS], tekton=True)
    except BinariesMissing as missing:
        if not options.optional:
            raise
        print(f"going on without a control plane: {missing}", file=sys.stderr)
    return 0


def _up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    plane = Plane.start(options.work_dir, options.name, tekton=not options.no_tekton, manifests=options.manifests)
    seconds = time.monotonic() - began
    print(f"ready after {seconds:.1f} s: {plane.server}, registry {plane.registry}, state in {plane.work_dir}")
    where = f"--work-dir {plane.work_dir}" if options.work_dir else f"--name {plane.name}"
    print(f'use it:   eval "$(python -m hack.controlplane env {where})"')
    return 0


def _down(options: argparse.Namespace) -> int:
    plane = Plane.open(options.work_dir, options.name)
    plane.stop(keep=options.keep)
    print(f"stopped {plane.name}")
    return 0


def _env(options: argparse.Namespace) -> int:
    plane = Plane.open(options.work_dir, options.name)
    print(f"export KUBECONFIG={plane.kubeconfig}")
    # Not WFE_...: the controller refuses an environment variable of that prefix that is none of its settings.
    print(f"export PLANE_REGISTRY={plane.registry}")
    print(f'export PATH="{plane.kubectl_path.parent}:$PATH"')
    return 0


def _status(options: argparse.Namespace) -> int:
    plane = Plane.open(options.work_dir, options.name)
    healthy = True
    for record, state in plane.processes.states():
        good = plane.healthy(record.name)
        healthy = healthy and good
        health = "healthy" if good else "NOT HEALTHY"
        print(f"{record.name:<24} {state:<8} {health:<12} pid {record.pid:<8} {record.health}")
    return 0 if healthy else 1


_COMMANDS = {"build": _build, "up": _up, "down": _down, "env": _env, "status": _status}

if __name__ == "__main__":
    raise SystemExit(main())

"""``python -m hack.bench [SCENARIO ...]``: figures of the controller, as a table and with --json as JSON.

Scenarios: burst (unlimited client, all at once), rate (unlimited client, --rate a second), limits (a burst under the
default client limits), full (a start with --objects ended WorkflowExecutions: ready, memory, idle CPU). Without
--kubeconfig an own control plane is started and removed; with it the cluster needs our CRDs, the namespaces bench,
kubernaut-system and kubernaut-workflows with the runner account, and no other controller. And embedded: the sandbox's
API server instead of the controller, for which neither is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hack.bench.embedded import TARGETS, embedded
from hack.bench.objects import SAMPLES
from hack.bench.place import Place, cluster, own_plane
from hack.bench.report import table
from hack.bench.scenarios import UNLIMITED, Figures, Load, drive, full
from hack.controlplane import BinariesMissing, PlaneError
from hack.controlplane.plane import planes_root
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock

EMBEDDED = "embedded"
SCENARIOS = ("burst", "rate", "limits", "full", EMBEDDED)


def main() -> int:
    args = _arguments()
    results: dict[str, list[Figures]] = {}
    try:
        if EMBEDDED in args.scenarios:
            results |= asyncio.run(_embedded(args))
        if set(args.scenarios) != {EMBEDDED}:
            with _place(args) as place:
                results |= asyncio.run(_run(args, place))
    except (BinariesMissing, PlaneError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for name, runs in results.items():
        targets = TARGETS if name.startswith(EMBEDDED) else {}
        print("\n" + "\n".join(table(name, runs, targets)))
    if args.json:
        about = {"python": platform.python_version(), "machine": platform.platform(), "arguments": sys.argv[1:]}
        args.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    return 0


def _place(args: argparse.Namespace) -> AbstractContextManager[Place]:
    real = args.tekton == "real"
    if args.kubeconfig is None:
        return own_plane(real_tekton=real, name=args.plane)
    if real and not args.image:
        raise SystemExit("--tekton=real on a given cluster needs --image, a bundle with a pipeline named workflow")
    controllers = args.controller_kubeconfig or args.kubeconfig
    work = planes_root().parent / "bench"
    image = args.image or "registry.example.com/bench:1"
    return cluster(
        args.kubeconfig, controllers, work, real_tekton=real, image=image, audit=args.audit_log, user=args.audit_user
    )


async def _embedded(args: argparse.Namespace) -> dict[str, list[Figures]]:
    results: dict[str, list[Figures]] = {}
    for turn in range(args.runs):
        for sample in args.samples:
            print(f"run {turn + 1} of {args.runs}: {EMBEDDED}, {sample} ...", file=sys.stderr, flush=True)
            figures = await embedded(sample, args.embedded_objects)
            results.setdefault(f"{EMBEDDED}, {sample}", []).append(figures)
    return results


async def _run(args: argparse.Namespace, place: Place) -> dict[str, list[Figures]]:
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(place.kubeconfig)), clock=RealClock())
    api = Api(transport, throttle=None, clock=RealClock(), request_timeout=60.0)
    client: dict[str, Any] = {**UNLIMITED} if args.client_qps == 0 else {"qps": args.client_qps}
    common = {"run_seconds": args.run_seconds, "task_runs": args.task_runs}
    loads = {
        "burst": Load(args.number, 0, client, **common),
        "rate": Load(args.number, args.rate, client, **common),
        "limits": Load(args.limits_number, 0, {}, **common),
    }
    results: dict[str, list[Figures]] = {}
    stamp = f"{int(time.time()) % 1_000_000:06}"
    try:
        for turn in range(args.runs):
            for name in (name for name in args.scenarios if name != EMBEDDED):
                print(f"run {turn + 1} of {args.runs}: {name} ...", file=sys.stderr, flush=True)
                if name == "full":
                    for count in args.objects:
                        figures = await full(place, api, count, args.idle_seconds)
                        results.setdefault(f"full, {count} objects", []).append(figures)
                else:
                    prefix = f"{name}-{stamp}-{turn}"
                    figures = await drive(place, api, loads[name], prefix, args.profile)
                    results.setdefault(name, []).append(figures)
    finally:
        await transport.close()
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hack.bench", description=__doc__.partition("\n\n")[2])
    add = parser.add_argument
    add("scenarios", nargs="*", default=["burst", "rate"], help=f"of {', '.join(SCENARIOS)} (default: burst rate)")
    add("-n", "--number", type=int, default=500, help="WorkflowExecutions of a burst and of a rate (default 500)")
    add("--rate", type=float, default=20.0, help="creations a second (default 20)")
    add("--limits-number", type=int, default=100, help="WorkflowExecutions under the default limits (default 100)")
    add("--objects", type=int, nargs="+", default=[1000, 10000], help="ended objects of full (default 1000 10000)")
    add("--embedded-objects", type=int, default=10000, help="objects that embedded creates (default 10000)")
    add("--samples", nargs="+", choices=list(SAMPLES), default=list(SAMPLES), help="kinds of them (default: all)")
    add("--idle-seconds", type=float, default=60.0, help="how long full watches it do nothing (default 60)")
    add("--runs", type=int, default=1, help="repeat everything; the table shows median and spread")
    add("--client-qps", type=float, default=0, help="client.qps of burst and rate; 0 = unlimited (default)")
    add("--tekton", choices=("played", "real"), default="played")
    add("--run-seconds", type=float, default=0.5, help="how long a played run takes (default 0.5)")
    add("--task-runs", type=int, default=0, help="TaskRuns of a played run (default 0: the pure overhead)")
    add("--kubeconfig", type=Path, help="an existing cluster; administrator rights in the bench's namespaces")
    add("--controller-kubeconfig", type=Path, help="what the controller runs with (default: --kubeconfig)")
    add("--image", default="", help="bundle, for --tekton=real on a given cluster")
    add("--audit-log", type=Path, help="the given cluster's audit log (level Metadata), if it is on this machine")
    add("--audit-user", default="", help="the controller's user name in it")
    add("--plane", default="", help="use and keep the own plane of this name (default: a fresh one, removed)")
    add("--profile", type=Path, help="write a sampled CPU profile of the controller there")
    add("--json", type=Path, help="write everything there too")
    args = parser.parse_args()
    if unknown := [name for name in args.scenarios if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return args


if __name__ == "__main__":
    raise SystemExit(main())

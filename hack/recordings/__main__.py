"""``python -m hack.recordings [NAME ...]``: record the real Tekton; writes tests/recordings/*.yaml.

Without --plane a control plane of its own is started and stopped. Pods are played by the simulator of pods, so that
what is recorded is Tekton's answer to known pods. ``--simulated`` records the simulated Tekton instead: for a look
at differences, with --into.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import yaml

from hack.controlplane import BinariesMissing, Plane, PlaneError
from hack.controlplane.binaries import resolve
from hack.controlplane.plane import planes_root, sweep
from hack.recordings.company import Company
from hack.recordings.situations import SITUATIONS, Object, Situation
from hack.recordings.stage import NeverOver
from hack.recordings.workloads import WORKS, Work
from hack.recordings.workloads import record as record_work
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock

RECORDINGS = Path(__file__).resolve().parents[2] / "tests" / "recordings"
WORKLOADS = "workloads"
"""Below the recordings of Tekton."""
AT_ONCE = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.recordings", description=__doc__)
    parser.add_argument("situations", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--plane", help="the name of a running plane (python -m hack.controlplane up --name ...)")
    parser.add_argument("--simulated", action="store_true", help="a plane without Tekton, and ours in its place")
    parser.add_argument("--into", type=Path, default=RECORDINGS)
    options = parser.parse_args()
    known: dict[str, Situation | Work] = {situation.name: situation for situation in SITUATIONS}
    if not options.simulated:  # a plane has the real controllers of Jobs and Deployments in any case
        known |= {work.name: work for work in WORKS}
    unknown = [name for name in options.situations if name not in known]
    if unknown:
        print(f"error: no such situation: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.situations or known]
    sweep()
    try:
        if options.plane:
            return asyncio.run(record(Plane.open(name=options.plane), chosen, options.into, options.simulated))
        plane = start(simulated=options.simulated)
        try:
            return asyncio.run(record(plane, chosen, options.into, options.simulated))
        finally:
            plane.stop()
    except (BinariesMissing, PlaneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def start(*, simulated: bool) -> Plane:
    """A plane with Tekton, or with nothing but Tekton's kinds."""
    place = planes_root() / f"recordings-{os.getpid()}"
    return bare(place) if simulated else Plane.start(place, owner_pid=os.getpid())


def bare(place: Path) -> Plane:
    """A plane with Tekton's kinds, which are there before the garbage collector starts, and without Tekton."""
    objects = resolve([], tekton=True).tekton_objects
    assert objects is not None
    with tempfile.TemporaryDirectory() as directory:
        kinds = Path(directory) / "tekton.json"
        kinds.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": json.loads(objects.read_text())}))
        return Plane.start(place, tekton=False, manifests=[kinds], owner_pid=os.getpid())


async def record(plane: Plane, situations: Sequence[Situation | Work], into: Path, simulated: bool) -> int:
    """Play ``situations`` on the plane, some at once, and write one file each; 1 when one of them does not end."""
    clock = RealClock()
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(plane.kubeconfig)), clock=clock)
    api = Api(transport, throttle=None, clock=clock)
    company = Company(api, clock=clock, simulated=simulated)
    failed: list[str] = []
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(situation: Situation | Work) -> None:
        async with turn:
            namespace = f"rec-{uuid.uuid4().hex[:8]}"
            await asyncio.to_thread(plane.ensure_namespace, namespace)
            if isinstance(situation, Work):
                write(into / WORKLOADS, situation, await record_work(api, situation, namespace=namespace, clock=clock))
                print(f"{situation.name}: recorded", flush=True)
                await asyncio.to_thread(plane.client.delete, f"/api/v1/namespaces/{namespace}")
                return
            reference = f"registry.invalid/wf/{situation.name}:v1"
            if not simulated:
                reference = await asyncio.to_thread(plane.push_bundle, f"wf/{situation.name}", [situation.pipeline])
            if situation.missing:
                reference = f"{plane.registry}/wf/there-is-none:v1"
            try:
                write(into, situation, await company.play(situation, namespace=namespace, bundle=reference))
                print(f"{situation.name}: recorded", flush=True)
            except NeverOver as error:
                print(f"error: {error}", file=sys.stderr)
                failed.append(situation.name)
            finally:
                await asyncio.to_thread(plane.client.delete, f"/api/v1/namespaces/{namespace}")

    try:
        async with company.playing():
            await asyncio.gather(*(one(situation) for situation in situations))
    finally:
        await transport.close()
    return 1 if failed else 0


def write(into: Path, situation: Situation | Work, found: Object) -> None:
    into.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"about": situation.about, **found}, sort_keys=True, width=120)
    (into / f"{situation.name}.yaml").write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())

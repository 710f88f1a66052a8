"""What runs in the processes of an embedded plane: ``python -m tests.support.embeddedprocesses NAME WORK_DIR PORT``.

kube-apiserver is the embedded server with an audit log beside it; tekton-controller and kube-controller-manager are
the simulators, clients with the administrator's kubeconfig, each in a process of its own so that a test can kill it.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.embeddedplane import API_SERVER, MANAGER, TEKTON, bundle_file
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.apiserver import routes
from wfe_controller.sandbox.apiserver.certificate import self_signed
from wfe_controller.sandbox.apiserver.http import HttpFront
from wfe_controller.sandbox.apiserver.message import Request, Response, Stream
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer
from wfe_controller.sandbox.apiserver.status import StatusError
from wfe_controller.sandbox.simulators.deployments import DeploymentSimulator
from wfe_controller.sandbox.simulators.jobs import JobSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation
from wfe_controller.sandbox.simulators.tekton.resolver import Answer, Bundles
from wfe_controller.sandbox.simulators.tekton.simulator import TektonSimulator

Object = dict[str, Any]
AUDITED_GROUPS = ("kubernaut.ai", "tekton.dev", "coordination.k8s.io")
AUDITED_ACCOUNTS = "system:serviceaccounts:kubernaut-system"


class AuditedServer(ApiServer):
    """Writes one line for each request that a real plane's audit policy names (hack.controlplane.servers)."""

    def __init__(self, log: Path, **options: Any) -> None:
        super().__init__(**options)
        self._log = log.open("ab", buffering=0)

    async def handle(self, request: Request) -> Response | Stream:
        answer = await super().handle(request)
        route = routes.parse(request)
        if route.resource:
            try:
                user = self.auth.user(request)
            except StatusError:
                return answer
            if route.group in AUDITED_GROUPS or AUDITED_ACCOUNTS in user.groups:
                self._log.write(json.dumps(self._event(request, route, user, answer.status)).encode() + b"\n")
        return answer

    @staticmethod
    def _event(request: Request, route: routes.Route, user: User, status: int) -> Object:
        ref: Object = {"resource": route.resource, "namespace": route.namespace, "name": route.name}
        ref |= {"apiGroup": route.group, "apiVersion": route.version, "subresource": route.subresource}
        body = _json(request.body)
        if isinstance(body, dict) and isinstance(metadata := body.get("metadata"), dict):
            ref["name"] = ref["name"] or metadata.get("name", "")
            ref["resourceVersion"] = metadata.get("resourceVersion", "")
        query = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values)
        event: Object = {
            "kind": "Event",
            "level": "Metadata",
            "stage": "ResponseComplete",
            "verb": route.verb,
            "requestURI": request.path + (f"?{query}" if query else ""),
            "user": {"username": user.name, "groups": list(user.groups)},
            "objectRef": {key: value for key, value in ref.items() if value},
            "responseStatus": {"code": status},
        }
        if user.extra:
            event["user"]["extra"] = {name: list(values) for name, values in user.extra.items()}
        if route.resource == "pipelineruns" and route.verb == "patch":
            event |= {"level": "Request", "requestObject": body}
        return event


class Files:
    """Bundles that tests have pushed, read when they are asked for."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir

    def resolve(self, resolver: str, params: Mapping[str, str]) -> Answer:
        reference = params.get("bundle", "")
        path = bundle_file(self._work_dir, reference)
        known = {reference: json.loads(path.read_text())} if path.exists() else {}
        return Bundles(known).resolve(resolver, params)


async def serve(work_dir: Path, port: int, stop: asyncio.Event) -> None:
    """The API server, until ``stop``."""
    clock = RealClock()
    with (work_dir / "tokens.csv").open() as file:
        # Whoever has no groups in a token file has one without a name: the real server reads the file so.
        tokens = {row[0]: User.known(row[1], row[2], row[3].split(",")) for row in csv.reader(file)}
    (work_dir / "logs").mkdir(exist_ok=True)
    server = AuditedServer(work_dir / "logs" / "audit.log", clock=clock, rng=random.Random(), tokens=tokens)
    certificate = self_signed(clock.now())
    (work_dir / "certificates").mkdir(exist_ok=True)
    (work_dir / "certificates" / "apiserver.crt").write_text(certificate.pem)
    front = HttpFront(server, port=port, certificate=certificate)
    await front.start()
    await stop.wait()
    await server.close()
    await front.stop()


async def simulate(work_dir: Path, port: int, stop: asyncio.Event, register: Callable[[Simulation], object]) -> None:
    """Simulators against the plane's API server, until ``stop``; ``port`` answers once they work."""
    clock = RealClock()
    kubeconfig = work_dir / "kubeconfigs" / "admin"
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(kubeconfig)), clock=clock)
    try:
        simulation = Simulation(Api(transport, throttle=None, clock=clock), clock=clock, rng=random.Random())
        register(simulation)
        async with simulation.running(), await asyncio.start_server(_well, "127.0.0.1", port):
            await stop.wait()
    finally:
        await transport.close()


async def _well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:  # no body, or one in another form
        return None


async def main(name: str, work_dir: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def workloads(simulation: Simulation) -> object:
        return DeploymentSimulator(simulation), JobSimulator(simulation)

    if name == API_SERVER:
        await serve(work_dir, port, stop)
    elif name == TEKTON:
        await simulate(work_dir, port, stop, lambda simulation: TektonSimulator(simulation, Files(work_dir)))
    elif name == MANAGER:
        await simulate(work_dir, port, stop, workloads)
    else:
        raise SystemExit(f"no process {name}")


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))

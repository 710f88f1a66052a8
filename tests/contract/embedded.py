"""The embedded server as a :class:`Server`: in a thread behind HTTP, with our CRDs, the token users, kubeconfigs."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from hack.controlplane import credentials
from hack.controlplane.binaries import BinariesMissing, resolve
from tests.contract.servers import CRDS, Server
from tests.contract.wire import Wire
from wfe_controller.kube.clock import RealClock

PACKAGE = "wfe_controller.sandbox.apiserver"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextlib.contextmanager
def running(directory: Path | None = None, *, package: str = PACKAGE) -> Iterator[Server]:
    """Start the server of ``package`` (a mutated copy has another name); ``directory`` takes the kubeconfigs."""
    http = importlib.import_module(f"{package}.http")
    server_module = importlib.import_module(f"{package}.server")
    rbac = importlib.import_module(f"{package}.rbac")
    tokens = {name: f"token-of-{name}" for name in credentials.USERS}
    # Whoever has no groups in a token file has one without a name: the real server reads the file so.
    users = {
        tokens[name]: rbac.User.known(name, f"{name}-uid", groups or ("",))
        for name, groups in credentials.USERS.items()
    }

    def make() -> object:
        return server_module.ApiServer(clock=RealClock(), rng=random.Random(5), tokens=users)

    with http.serve_in_thread(make, tls=directory is not None) as thread:
        parts = urlsplit(thread.url)
        kubeconfigs: dict[str, Path] = {}
        if directory is not None:
            for name, token in tokens.items():
                kubeconfigs[name] = credentials.write_kubeconfig(
                    directory / name, server=thread.url, ca_pem=thread.ca_pem, token=token, user=name
                )
        server = Server(
            name="embedded",
            host=parts.hostname or "",
            port=parts.port or 0,
            context=ssl.create_default_context(cadata=thread.ca_pem) if thread.ca_pem else None,
            tokens=tokens,
            kubeconfigs=kubeconfigs,
            kubectl=_kubectl() if directory is not None else None,
            forget=lambda: thread.call(lambda: thread.server.compact()),
        )
        _install(server)
        yield server


def _kubectl() -> Path | None:
    with contextlib.suppress(BinariesMissing):
        return Path(resolve(["kubectl"], tekton=False)["kubectl"])
    return None


def _install(server: Server) -> None:
    """Our CRDs, and a wait until they are served."""
    with contextlib.closing(Wire(server.host, server.port, server.context)) as wire:
        _create_definitions(server, wire)


def _create_definitions(server: Server, wire: Wire) -> None:
    headers = {"Authorization": f"Bearer {server.tokens['admin']}", "Content-Type": "application/json"}
    for path in CRDS:
        definition = yaml.safe_load(path.read_text())
        body = json.dumps(definition).encode()
        answer = wire.exchange("POST", wire.encode("POST", CRD_PATH, {}, headers, body))
        assert answer.status == 201, answer.body[:2000]
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        for _ in range(2000):
            if wire.exchange("GET", wire.encode("GET", served, {}, headers, None)).status == 200:
                break
            os.sched_yield()
        else:
            raise AssertionError(f"{path.name} is never served")

"""The two servers: a real kube-apiserver of a plane, and the embedded one behind HTTP in a thread.

Both know the same token users (hack.controlplane.credentials.USERS) and have our CRDs.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from hack.controlplane import Plane
from hack.controlplane.credentials import USERS

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = sorted((REPOSITORY / "manifests" / "crds").glob("kubernaut.ai_*.yaml"))


@dataclass(frozen=True)
class Server:
    """Where a server is and how to be somebody there. ``forget()`` makes old versions expire."""

    name: str
    host: str
    port: int
    context: ssl.SSLContext | None
    tokens: Mapping[str, str]
    kubeconfigs: Mapping[str, Path] = field(default_factory=dict)
    kubectl: Path | None = None
    forget: Callable[[], None] = lambda: None

    def run_kubectl(
        self, *args: str, user: str = "admin", input: str | None = None, cache: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """kubectl with this server; stdout and stderr as text."""
        assert self.kubectl is not None, "this server was started without kubectl"
        kubeconfig = self.kubeconfigs[user]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(kubeconfig.parent),
            "KUBECACHEDIR": str(cache or kubeconfig.parent / f"cache-{self.name}"),
        }
        command = [str(self.kubectl), f"--kubeconfig={kubeconfig}", *args]
        return subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=env, timeout=60)


def real(plane: Plane) -> Server:
    """The API server of a plane."""
    kubeconfigs = {name: plane.kubeconfig if name == "admin" else plane.kubeconfig_for_user(name) for name in USERS}
    read = {name: json.loads(path.read_text()) for name, path in kubeconfigs.items()}
    authority = read["admin"]["clusters"][0]["cluster"]["certificate-authority-data"]
    parts = urlsplit(plane.server)
    return Server(
        name="real",
        host=parts.hostname or "",
        port=parts.port or 0,
        context=ssl.create_default_context(cadata=base64.b64decode(authority).decode()),
        tokens={name: config["users"][0]["user"]["token"] for name, config in read.items()},
        kubeconfigs=kubeconfigs,
        kubectl=plane.kubectl_path,
        forget=lambda: _compact(plane),
    )


def _compact(plane: Plane) -> None:
    """Make etcd forget every revision but the newest, as it does by itself after five minutes."""
    port = json.loads((plane.work_dir / "plane.json").read_text())["ports"]["etcd"]
    seen = _etcd(port, "kv/range", {"key": base64.b64encode(b"x").decode()})
    _etcd(port, "kv/compaction", {"revision": seen["header"]["revision"]})


def _etcd(port: int, method: str, body: Mapping[str, str]) -> dict[str, dict[str, str]]:
    request = Request(f"http://127.0.0.1:{port}/v3/{method}", data=json.dumps(body).encode(), method="POST")
    with urlopen(request, timeout=10) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
        return found

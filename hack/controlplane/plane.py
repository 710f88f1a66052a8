"""One control plane: which processes, in which order, on which ports, and what a test may do to them.

State of a plane is its work directory: ``plane.json`` (ports, owner), ``processes.json``, the keys, etcd's data, the
registry's blobs, logs/ and kubeconfigs/. :meth:`Plane.start` is idempotent and restarts what has died;
:meth:`Plane.stop` needs nothing but the directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hack.controlplane import credentials, registry, servers, tekton
from hack.controlplane.binaries import Binaries, Progress, print_progress, resolve
from hack.controlplane.client import Refused, RestClient, plural_path
from hack.controlplane.processes import POLL_SECONDS, ProcessTable, free_ports, start_time

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = ("etcd", "registry", "kube-apiserver", "kube-controller-manager")
TEKTON = ("tekton-controller", "tekton-resolvers")
_PORTS = (
    "etcd", "etcd-peer", "registry", "kube-apiserver", "kube-controller-manager",
    "tekton-controller-metrics", "tekton-controller-profiling", "tekton-controller",
    "tekton-resolvers-metrics", "tekton-resolvers-profiling", "tekton-resolvers",
)  # fmt: skip
START_TIMEOUT = 60.0
_EXPECTED = (OSError, HTTPException, Refused, ssl.SSLError)


class PlaneError(Exception):
    """A plane does not come up, or a process of it does not do what was asked; the text ends with its log."""


def planes_root() -> Path:
    """Where planes without a given directory live."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "wfe-controller" / "planes" if state else REPOSITORY / ".work" / "planes"


class Plane:
    """A control plane in ``work_dir``.

    Build one with :meth:`start` (runs it) or :meth:`open` (looks at what is there).
    """

    port_names: Sequence[str] = _PORTS

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.name = work_dir.name
        work_dir.mkdir(parents=True, exist_ok=True)
        self.processes = ProcessTable(work_dir)
        self._state_file = work_dir / "plane.json"
        self._state: dict[str, Any] = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        self._client: RestClient | None = None

    # -- life --------------------

    @classmethod
    def start(
        cls,
        work_dir: str | Path | None = None,
        name: str = "default",
        tekton: bool = True,
        *,
        manifests: Sequence[Path] = (),
        owner_pid: int | None = None,
        progress: Progress = print_progress,
    ) -> Plane:
        """Bring a plane up, or what is missing of it; returns when Tekton works (``tekton=False``: the API server).

        ``manifests`` (files or directories for ``kubectl create``) are there before the controller manager starts:
        its garbage collector looks for new kinds only every 30 s. ``owner_pid`` lets :func:`sweep` stop the plane
        when that process is gone. Raises PlaneError, and BinariesMissing when the servers can neither be found nor
        built.
        """
        directory = Path(work_dir) if work_dir is not None else planes_root() / name
        needed = ["etcd", "crane", "kube-apiserver", "kube-controller-manager", "kubectl", *(TEKTON if tekton else ())]
        binaries = resolve(needed, tekton=tekton, progress=progress)
        plane = cls(directory.resolve())
        with plane._locked():
            try:
                plane._up(binaries, manifests, owner_pid)
            except BaseException:
                plane._stop_processes()
                plane.close()
                raise
        return plane

    @classmethod
    def open(cls, work_dir: str | Path | None = None, name: str = "default") -> Plane:
        """A plane that was started by somebody else, as its directory records it.

        Raises PlaneError when there is none.
        """
        directory = Path(work_dir) if work_dir is not None else planes_root() / name
        if not (directory / "plane.json").exists():
            raise PlaneError(
                f"there is no plane in {directory}; start one with: python -m hack.controlplane up --name {name}"
            )
        return cls(directory.resolve())

    def stop(self, *, keep: bool = False) -> None:
        """Stop every recorded process and remove the work directory (``keep``: leave it, with the logs)."""
        with self._locked():
            self._stop_processes()
        self.close()
        if not keep:
            shutil.rmtree(self.work_dir, ignore_errors=True)

    def close(self) -> None:
        """Close this thread's connection to the API server; the plane goes on."""
        if self._client is not None:
            self._client.close()

    def _stop_processes(self) -> None:
        # etcd goes last: servers that lose it first spend their last seconds in retries.
        clients = [name for name in self.processes.records if name not in ("etcd", "kube-apiserver")]
        for group in (clients, ["kube-apiserver"], ["etcd"]):
            self.processes.stop([name for name in group if name in self.processes.records], grace=3.0)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with (self.work_dir / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _up(self, binaries: Binaries, manifests: Sequence[Path], owner_pid: int | None) -> None:
        self._remember(binaries, owner_pid)
        with_tekton = binaries.tekton_objects is not None
        self._define(binaries)
        for name in ("etcd", "registry"):
            self.processes.start(name)
        self._await_healthy("etcd")
        self.processes.start("kube-apiserver")
        self._await_healthy("kube-apiserver")
        if not self.kubeconfig.exists():
            self._write_kubeconfig("admin", self._tokens()["admin"], "admin")
        if binaries.tekton_objects is not None:
            tekton.install(self.client, binaries.tekton_objects)
        for path in manifests:
            self._create_all(path)
        self._wait("the CRDs to be established", lambda: tekton.crds_established(self.client))
        names = ["kube-controller-manager", *(TEKTON if with_tekton else ())]
        fresh = [name for name in names if self.processes.start(name)]
        for name in ["registry", *names]:
            self._await_healthy(name)
        if any(name in TEKTON for name in fresh):
            tekton.wait_until_working(self.client, self._wait)

    def _remember(self, binaries: Binaries, owner_pid: int | None) -> None:
        if "ports" not in self._state:
            self._state["ports"] = dict(zip(self.port_names, free_ports(len(self.port_names)), strict=True))
        self._state["kubectl"] = str(binaries["kubectl"])
        self._state["owner"] = [owner_pid, start_time(owner_pid)] if owner_pid else None
        self._state_file.write_text(json.dumps(self._state, indent=1))

    # -- processes --------------------

    def _define(self, binaries: Binaries) -> None:
        port, work = self._state["ports"], self.work_dir
        (work / "registry").mkdir(exist_ok=True)
        self._tokens()
        credentials.write_private(work / "service-accounts.key", credentials.ec_private_key_pem())
        servers.define(self.processes, binaries, work, self.kubeconfig, port)
        if binaries.tekton_objects is not None:
            for name, command in zip(TEKTON, (tekton.controller_command, tekton.resolvers_command), strict=True):
                ports = (port[f"{name}-metrics"], port[f"{name}-profiling"], port[name])
                argv, env = command(binaries[name], self.kubeconfig, ports)
                health = (
                    f"http://127.0.0.1:{port['tekton-controller']}/readiness" if name == "tekton-controller" else ""
                )
                self.processes.define(name, argv, env=env, health=health)

    def _tokens(self) -> dict[str, str]:
        return credentials.token_file(self.work_dir / "tokens.csv")

    # -- health --------------------

    def healthy(self, name: str) -> bool:
        """Whether the process runs and its health address answers 200 (without an address: runs)."""
        record = self.processes.records[name]
        if not record.alive or not record.health:
            return record.alive
        return _answers(record.health)

    def _await_healthy(self, name: str) -> None:
        def check() -> bool:
            if not self.processes.records[name].alive:
                raise PlaneError(f"{name} has ended by itself; its log ends with:\n{self.processes.log_tail(name)}")
            return self.healthy(name)

        self._wait(f"{name} to be healthy", check, log=name)

    def _wait(self, what: str, check: Callable[[], bool], *, log: str = "kube-apiserver") -> None:
        """Poll every 20 ms: real servers in other processes offer nothing to wait on before they answer."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                if check():
                    return
                problem = ""
            except _EXPECTED as error:
                problem = f" ({error})"
            if time.monotonic() > deadline:
                tail = self.processes.log_tail(log)
                raise PlaneError(
                    f"waited {START_TIMEOUT:.0f} s for {what}{problem}; the log of {log} ends with:\n{tail}"
                )
            time.sleep(POLL_SECONDS)

    # -- use --------------------

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.work_dir / "kubeconfigs" / "admin"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._state['ports']['kube-apiserver']}"

    @property
    def registry(self) -> str:
        """host:port of the OCI registry, spoken to in plain HTTP."""
        return f"127.0.0.1:{self._state['ports']['registry']}"

    @property
    def kubectl_path(self) -> Path:
        return Path(self._state["kubectl"])

    @property
    def client(self) -> RestClient:
        """A client with the administrator's rights."""
        if self._client is None:
            self._client = RestClient.from_kubeconfig(self.kubeconfig)
        return self._client

    def _write_kubeconfig(self, file_name: str, token: str, user: str, namespace: str = "default") -> Path:
        ca_pem = (self.work_dir / "certificates" / "apiserver.crt").read_text()
        path = self.work_dir / "kubeconfigs" / file_name
        return credentials.write_kubeconfig(
            path, server=self.server, ca_pem=ca_pem, token=token, user=user, namespace=namespace
        )

    def kubeconfig_for_user(self, user: str) -> Path:
        """A kubeconfig of one of :data:`credentials.USERS`, who have no rights but those a test binds."""
        return self._write_kubeconfig(f"user-{user}", self._tokens()[user], user)

    def kubeconfig_for(self, service_account: str, namespace: str, *, seconds: int = 86400) -> Path:
        """A kubeconfig with a real token of an existing service account, asked from the TokenRequest API."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token = self.client.create(path, body)["status"]["token"]
        return self._write_kubeconfig(f"sa-{namespace}-{service_account}", token, service_account, namespace)

    def kubectl(
        self, *args: str, input: str | None = None, kubeconfig: Path | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator (or with another kubeconfig); stdout and stderr are captured as text."""
        command = [str(self.kubectl_path), f"--kubeconfig={kubeconfig or self.kubeconfig}", *args]
        env = {**os.environ, "KUBECACHEDIR": str(self.work_dir / "kubectl-cache")}
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=env)
        if check and done.returncode != 0:
            raise PlaneError(f"kubectl {' '.join(args)} failed: {done.stderr.strip()}")
        return done

    def _create_all(self, path: Path) -> None:
        # apply --server-side: a CRD is too big for the annotation of a client-side apply, and a second `up` must not
        # fail.
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path), check=True)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of objects as the administrator."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text, check=True)

    def ensure_namespace(self, name: str) -> None:
        """Create a namespace and wait for its default service account, without which no pod is admitted."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.client.ensure(plural_path(namespace), namespace)
        self._wait(
            f"the default service account of {name}",
            lambda: bool(self.client.get(f"/api/v1/namespaces/{name}/serviceaccounts/default")),
            log="kube-controller-manager",
        )

    def push_bundle(self, ref_name: str, objects: Sequence[dict[str, Any]]) -> str:
        """Push a Tekton bundle under ``name`` or ``name:tag`` (default tag latest).

        Gives ``host:port/name@sha256:...``.
        """
        return registry.push_bundle(self.registry, ref_name, objects)

    def audit(self, **matching: str) -> list[dict[str, Any]]:
        """Requests on our kinds, Tekton's and leases that the API server has answered, oldest first.

        ``matching`` filters by ``verb``, ``user``, ``resource``, ``subresource``, ``namespace``, ``name``.
        """
        found = []
        for line in (self.work_dir / "logs" / "audit.log").read_text().splitlines():
            event = json.loads(line)
            facts = {**event.get("objectRef", {}), "verb": event["verb"], "user": event["user"]["username"]}
            if all(facts.get(key, "") == value for key, value in matching.items()):
                found.append(event)
        return found

    # -- outages --------------------

    def stop_process(self, name: str, *, kill: bool = False) -> None:
        """End one process (TERM, or KILL at once) and return when it is gone."""
        self.processes.stop([name], kill=kill)

    def start_process(self, name: str) -> None:
        """Start a stopped process again with the same ports and data.

        Returns when it is healthy and, for Tekton, works.
        """
        self.processes.start(name)
        self._await_healthy(name)
        if name in TEKTON:
            tekton.wait_until_working(self.client, self._wait)

    def pause_process(self, name: str) -> None:
        """SIGSTOP: connections stay open and nothing answers, as with a hung server."""
        self.processes.signal(name, signal.SIGSTOP)

    def resume_process(self, name: str) -> None:
        """SIGCONT after :meth:`pause_process`; returns when the process is healthy again."""
        self.processes.signal(name, signal.SIGCONT)
        self._await_healthy(name)


def _answers(url: str) -> bool:
    """Whether a health address of our own process answers 200. Its certificate says nothing that the port does not."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    probe = RestClient(f"{scheme}://{host}", timeout=2.0, verify=False)
    try:
        return probe.exchange("GET", f"/{path}")[0] == 200
    except (OSError, HTTPException):
        return False
    finally:
        probe.close()


def sweep(root: Path | None = None) -> list[str]:
    """Stop every plane whose owner is gone (a test session that was killed); gives the names."""
    stopped = []
    for state_file in sorted((root or planes_root()).glob("*/plane.json")):
        owner = json.loads(state_file.read_text()).get("owner")
        if owner and start_time(owner[0]) != owner[1]:
            Plane(state_file.parent).stop()
            stopped.append(state_file.parent.name)
    return stopped

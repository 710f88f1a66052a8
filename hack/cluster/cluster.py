"""One real cluster: the control plane, a node, Tekton as shipped, our image and our manifests, in one namespace.

A :class:`Cluster` is a :class:`Plane` whose every process lives in a network namespace, so whatever takes a plane
(bundles, audit, kubectl, outages) takes a cluster too, from inside :meth:`Cluster.entered`. State: ``work`` under
/var/lib/wfe-cluster (it holds mounts, which no build tool may walk into) and ``run`` under /run/wfe-cluster.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster import build, cleanup, images, machine, node, tools, webhook
from hack.cluster.netns import ADDRESS, NetworkNamespace
from hack.controlplane import tekton
from hack.controlplane.binaries import TOOLS, Binaries, Progress, print_progress, resolve
from hack.controlplane.client import plural_path
from hack.controlplane.plane import REPOSITORY, TEKTON, Plane, PlaneError
from hack.controlplane.processes import start_time

ROOT = Path("/var/lib/wfe-cluster")
RUN_ROOT = Path("/run/wfe-cluster")
OVERLAY = REPOSITORY / "manifests" / "overlays" / "dev"
CONTROLLER_NAMESPACE = "kubernaut-system"
DEPLOYMENT = "workflowexecution-controller"
_DEPLOYMENT_PATH = f"/apis/apps/v1/namespaces/{CONTROLLER_NAMESPACE}/deployments/{DEPLOYMENT}"
_ABSENT_WEBHOOKS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


@dataclass(frozen=True)
class Parts:
    """What a cluster is made of, all of it built. ``ours``: the archive of our image, None where it is not wanted."""

    binaries: Binaries
    node_tools: Mapping[str, Path]
    helpers: Sequence[Path]
    ours: Path | None

    @property
    def archives(self) -> list[Path]:
        """Every image that the node gets."""
        return [*self.helpers, *([self.ours] if self.ours is not None else [])]


def prepare(*, install: bool, progress: Progress = print_progress) -> Parts:
    """Build what is not in the cache. Raises MachineUnfit, BinariesMissing or BuildFailed."""
    machine.require(building=install and not build.archive().exists())
    binaries = resolve([tool.name for tool in TOOLS], tekton=True, progress=progress)
    node_tools = tools.resolve(binaries["kubectl"], progress)
    helpers = images.write_all(tools.cache_root() / "images", node_tools["entrypoint"])
    return Parts(binaries, node_tools, helpers, build.image(progress) if install else None)


class Cluster(Plane):
    """A cluster by its name. Build one with :meth:`launch` (runs it) or :meth:`attach` (looks at what is there)."""

    port_names = (*Plane.port_names, *node.PORTS, *webhook.PORTS)

    def __init__(self, work_dir: Path) -> None:
        super().__init__(work_dir)
        self.places = node.Places(work_dir, RUN_ROOT / work_dir.name)
        self.network = NetworkNamespace(f"wfe-{work_dir.name}")
        self.times: dict[str, float] = {}
        """Seconds since the start of :meth:`launch` at which each stage was done."""

    # -- life --------------------

    @classmethod
    def launch(
        cls,
        name: str = "default",
        *,
        owner_pid: int | None = None,
        install: bool = True,
        progress: Progress = print_progress,
    ) -> Cluster:
        """Bring a cluster up, or what is missing of it; returns when our Deployment is ready.

        ``install=False`` leaves our manifests out. What has to be built is built first. Raises MachineUnfit,
        BinariesMissing or PlaneError; nothing is left then.
        """
        parts = prepare(install=install, progress=progress)
        cluster = cls(ROOT / name)
        with cluster._locked():
            cluster._state["image"] = str(parts.ours or "")
            try:
                cluster.network.create()
                with cluster.entered():
                    cluster._bring_up(parts, owner_pid)
            except BaseException:
                cluster._take_down()
                raise
        return cluster

    @classmethod
    def attach(cls, name: str = "default", *, broken: bool = False) -> Cluster:
        """A cluster that was started by somebody else; ``broken``: or half of one, to take it down.

        Raises PlaneError when there is none.
        """
        if not (ROOT / name if broken else ROOT / name / "plane.json").exists():
            raise PlaneError(f"there is no cluster {name!r}; start it with: python -m hack.cluster up --name {name}")
        return cls(ROOT / name)

    def stop(self, *, keep: bool = False) -> None:
        """Take everything down and remove it (``keep``: leave the logs in the work directory)."""
        with self._locked():
            self._take_down(keep=keep)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Inside this block, sockets and processes of this thread are in the cluster's network namespace."""
        return self.network.entered()

    @property
    def image(self) -> Path | None:
        """The archive of our image that the node runs; sources that change meanwhile do not change it."""
        path = Path(self._state.get("image", ""))
        return path if path.is_file() else None

    # -- up --------------------

    def _bring_up(self, parts: Parts, owner_pid: int | None) -> None:
        began = time.monotonic()

        def done(stage: str) -> None:
            self.times[stage] = round(time.monotonic() - began, 1)

        self._remember(parts.binaries, owner_pid)
        self._define(parts.binaries)
        node.define(self.processes, parts.node_tools, self.places, self.kubeconfig, self._state["ports"])
        webhook.define(self.processes, parts.binaries["tekton-webhook"], self.kubeconfig, self._state["ports"])
        self._mount_image_store()
        for name in ("etcd", "registry", "containerd"):
            self.processes.start(name)
        importing = _Background(lambda: self._import(parts.archives))
        self._await_healthy("etcd")
        self.processes.start("kube-apiserver")
        self._await_healthy("kube-apiserver")
        self._write_kubeconfig("admin", self._tokens()["admin"], "admin")
        done("API server")
        for name in ("kube-scheduler", "kube-proxy"):
            self.processes.start(name)
        self._install_tekton()
        done("Tekton's objects")
        self.processes.start(webhook.NAME)
        for name in ("kube-controller-manager", *TEKTON):
            self.processes.start(name)
        self._wait("the pause image", lambda: images.PAUSE in self._images(), log="containerd")
        self.processes.start("kubelet")
        for name in self.processes.records:
            self._await_healthy(name)
        done("all processes")
        self._wait("Tekton's webhook", lambda: webhook.works(self.client), log=webhook.NAME)
        done("Tekton's webhook")
        tekton.wait_until_working(self.client, self._wait)
        done("Tekton")
        self._wait("the node to be ready", self._node_ready, log="kubelet")
        done("node")
        importing.result()
        done("images")
        if parts.ours is not None:
            self.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(OVERLAY), check=True)
            self.await_deployment()
            done("controller")

    def _define(self, binaries: Binaries) -> None:
        super()._define(binaries)
        policy = self.work_dir / "audit-policy.json"
        policy.write_text(json.dumps(_AUDIT_POLICY))
        # Of two flags with one name the later one counts.
        self.processes.records["kube-apiserver"].argv += [
            "--bind-address=0.0.0.0",
            f"--advertise-address={ADDRESS}",
            "--endpoint-reconciler-type=lease",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        self.processes.records["kube-controller-manager"].argv += [
            f"--node-monitor-grace-period={node.GRACE_SECONDS}s",
            "--node-monitor-period=2s",
        ]

    @property
    def server(self) -> str:
        return f"https://{ADDRESS}:{self._state['ports']['kube-apiserver']}"

    def _install_tekton(self) -> None:
        """Everything but the webhook configurations first: they would refuse what is created before anybody answers."""
        objects = tools.tekton_objects()
        for item in objects:
            if item["kind"] not in _ABSENT_WEBHOOKS:
                self.client.ensure(plural_path(item), item)
        webhook.route(self.client, self._state["ports"][webhook.NAME])
        self._wait("the CRDs to be established", lambda: tekton.crds_established(self.client))
        for item in objects:
            if item["kind"] in _ABSENT_WEBHOOKS:
                self.client.ensure(plural_path(item), item)

    # -- the node --------------------

    def _mount_image_store(self) -> None:
        """Images in memory: on a disk that discards, deleting thousands of files takes longer than all the rest."""
        store = self.places.work / "containerd"
        store.mkdir(exist_ok=True)
        if not store.is_mount():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g,mode=0711", "tmpfs", str(store)], check=True)

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run containerd's own client on this cluster's containerd, in the namespace of the kubelet."""
        command = ["ctr", f"--address={self.places.socket}", "--namespace=k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _import(self, archives: Sequence[Path]) -> None:
        deadline = time.monotonic() + 30
        while not self.places.socket.exists() or self.ctr("version").returncode != 0:
            if time.monotonic() > deadline:
                raise PlaneError(f"containerd does not answer:\n{self.processes.log_tail('containerd')}")
            time.sleep(0.05)
        for path in archives:
            done = self.ctr("images", "import", str(path))
            if done.returncode != 0:
                raise PlaneError(f"importing {path.name} failed: {done.stderr.strip()[-1000:]}")

    def _images(self) -> list[str]:
        return self.ctr("images", "list", "--quiet").stdout.split()

    def _node_ready(self) -> bool:
        for item in self.client.get("/api/v1/nodes")["items"]:
            conditions = item.get("status", {}).get("conditions", [])
            if any(found["type"] == "Ready" and found["status"] == "True" for found in conditions):
                return True
        return False

    def await_deployment(self) -> None:
        """Wait until every replica of the controller that is wanted is there, new and available."""

        def settled() -> bool:
            found = self.client.get(_DEPLOYMENT_PATH)
            wanted, status = found["spec"]["replicas"], found.get("status", {})
            seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            counts = (status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas"))
            return seen and all(count == wanted for count in counts)

        try:
            self._wait("the controller's Deployment to be ready", settled, log="kubelet")
        except PlaneError as error:
            pods = self.kubectl("describe", "pods", "-n", CONTROLLER_NAMESPACE).stdout[-4000:]
            last_try = sorted((self.work_dir / "pod-logs").glob(f"{CONTROLLER_NAMESPACE}_*/controller/*.log"))[-1:]
            said = "\n".join(path.read_text(errors="replace")[-4000:] for path in last_try)
            raise PlaneError(f"{error}\n{pods}\n{said}") from error

    # -- down --------------------

    def _take_down(self, *, keep: bool = False) -> None:
        """In this order, each step also when an earlier one found nothing: see :mod:`hack.cluster.cleanup`."""
        self.close()
        with self.network.entered() if self.network.exists() else contextlib.nullcontext():
            self._stop_named(["kubelet"])
            cleanup.end_containers(self.places)
            self._stop_processes()
        cleanup.end_orphans(self.places, self.network)
        self.network.delete()
        cleanup.remove_traces(self.places)
        cleanup.unmount(self.places)
        if keep:
            for path in [self.places.run, *(p for p in self.work_dir.iterdir() if p.name not in _KEPT)]:
                shutil.rmtree(path, ignore_errors=True)
        else:
            cleanup.remove_directories(self.places)
        for root in (ROOT, RUN_ROOT):
            with contextlib.suppress(OSError):  # another cluster is there, or it is gone
                root.rmdir()

    def _stop_named(self, names: Sequence[str]) -> None:
        self.processes.stop([name for name in names if name in self.processes.records], grace=5.0)


class _Background:
    """A function in a thread of its own, which has the namespace of the thread that starts it."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:  # noqa: BLE001 - told by result(), in the thread that waits
            self._error = error

    def result(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def sweep() -> list[str]:
    """Take down every cluster whose owner is gone (a test session that was killed); gives the names."""
    stopped = []
    for state_file in sorted(ROOT.glob("*/plane.json")):
        owner = json.loads(state_file.read_text()).get("owner")
        if owner and start_time(owner[0]) != owner[1]:
            Cluster(state_file.parent).stop()
            stopped.append(state_file.parent.name)
    return stopped


_KEPT = ("logs", "pod-logs", "config", "lock")
# Every answer to the controller and to runs, whatever it asked; of others what concerns our kinds, Tekton's and leases.
# The bodies of patches of runs tell a start from a cancellation.
_AUDIT_POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Request", "verbs": ["patch"], "resources": [{"group": "tekton.dev", "resources": ["pipelineruns"]}]},
        {
            "level": "Metadata",
            "userGroups": [
                f"system:serviceaccounts:{CONTROLLER_NAMESPACE}",
                "system:serviceaccounts:kubernaut-workflows",
            ],
        },
        {
            "level": "Metadata",
            "resources": [{"group": "kubernaut.ai"}, {"group": "tekton.dev"}, {"group": "coordination.k8s.io"}],
        },
        {"level": "None"},
    ],
}

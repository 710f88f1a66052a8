"""The cluster of the e2e tier: our own in its network namespace, or any other by its kubeconfig.

Environment: E2E_KUBECONFIG (with E2E_REGISTRY, host:port of a registry that Tekton's resolvers reach under that name
too, in plain HTTP) takes a cluster where manifests/overlays/dev is installed, hack/kind for one. E2E_CLUSTER takes the
named cluster of hack/cluster that runs already and leaves it running. Otherwise one is started and taken down again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import Cluster, MachineUnfit, traces
from hack.cluster.cluster import ROOT, sweep
from hack.controlplane import BinariesMissing, Plane, RestClient
from tests.support.eventually import eventually

Object = dict[str, Any]
HOME = "kubernaut-system"
DEPLOYMENT = "workflowexecution-controller"
CONTROLLER_USER = f"system:serviceaccount:{HOME}:{DEPLOYMENT}"


# Limits short enough to wait for.
CONFIG: Object = {
    "controller": {"namespace": "kubernaut-system", "metricsAddress": ":9090", "healthAddress": ":8081"},
    "execution": {
        "namespace": "kubernaut-workflows",
        "serviceAccount": "kubernaut-workflow-runner",
        "cooldownPeriod": "0s",
        "baseCooldownPeriod": "20s",
        "resolutionTimeout": "15s",
        "startTimeout": "40s",
        "sweepInterval": "5s",
        "runRetention": "60s",
    },
    "logging": {"level": "debug", "format": "json"},
}


class External(Plane):
    """A cluster that is not ours to break: no audit log, no outages; tests that need them are skipped."""

    def __init__(self, work_dir: Path, kubeconfig: Path, registry: str) -> None:
        super().__init__(work_dir)
        self._path, self._registry = kubeconfig, registry
        command = [str(self.kubectl_path), f"--kubeconfig={kubeconfig}", "proxy", "--port=0"]
        # kubectl knows every way to log in; the tests only have to speak plain HTTP to it.
        self._proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._proxy.stdout is not None
        self._client = RestClient(f"http://{self._proxy.stdout.readline().split()[-1]}")

    @property
    def kubeconfig(self) -> Path:
        return self._path

    @property
    def registry(self) -> str:
        return self._registry

    @property
    def kubectl_path(self) -> Path:
        return Path(shutil.which("kubectl") or "kubectl")

    def audit(self, **matching: str) -> list[Object]:
        pytest.skip("the audit log of this cluster cannot be read from here")

    def stop_process(self, name: str, *, kill: bool = False) -> None:
        pytest.skip("outages are only played on a cluster of hack/cluster")

    def start_process(self, name: str) -> None:
        """Nothing was stopped."""

    def close(self) -> None:
        super().close()
        self._proxy.terminate()
        self._proxy.wait()
        if self._proxy.stdout is not None:
            self._proxy.stdout.close()


class Inside:
    """Keeps the tests of this tier, and only them, in the cluster's network namespace."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._stack = contextlib.ExitStack()

    def use(self, cluster: Cluster | None) -> None:
        """From now on, until the test that asked first ends, and in every later test of the tier."""
        self._stack.close()
        self._cluster = cluster
        self.enter()

    def enter(self) -> None:
        if self._cluster is not None:
            self._stack.enter_context(self._cluster.entered())

    def leave(self) -> None:
        self._stack.close()


def provide(inside: Inside, work_dir: Path) -> Iterator[Plane]:
    """Yield the cluster of the session. Skips, or fails where the tier is required, with what to get."""
    if kubeconfig := os.environ.get("E2E_KUBECONFIG"):
        external = External(work_dir, Path(kubeconfig), os.environ.get("E2E_REGISTRY", "localhost:5000"))
        yield external
        external.close()
        return
    if name := os.environ.get("E2E_CLUSTER"):
        running = Cluster.attach(name)
        inside.use(running)
        yield running
        running.close()
        running.processes.disown()
        inside.use(None)
        return
    sweep()
    before = traces.machine()
    try:
        cluster = Cluster.launch(f"pytest-{os.getpid()}", owner_pid=os.getpid())
    except (MachineUnfit, BinariesMissing) as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"the e2e tier is required here: {missing}")
        pytest.skip(str(missing))
    try:
        inside.use(cluster)
        yield cluster
    finally:
        inside.use(None)
        keep = os.environ.get("KEEP_PLANE") == "1"
        cluster.stop(keep=keep)
    if not keep:
        left = partial(left_since, before, cluster.name)
        # The kernel takes its time over control groups and mounts.
        eventually(lambda: not left(), what="the cluster to leave nothing", on_failure=left)


def left_since(before: set[str], name: str) -> set[str]:
    """What a cluster has left: nothing, after all that the tests of this tier did to it.

    While another one runs here, only what names this one is surely of this one.
    """
    left = traces.machine() - before
    return {trace for trace in left if name in trace} if any(ROOT.glob("*")) else left


class Controller:
    """The Deployment of the controller: settings, replicas, roll-outs, log."""

    def __init__(self, cluster: Plane) -> None:
        self.cluster = cluster
        self._path = f"/apis/apps/v1/namespaces/{HOME}/deployments/{DEPLOYMENT}"

    def configure(self, config: Object, replicas: int) -> None:
        """Replace the configuration (JSON is YAML) and roll out. Its namespace enforces restricted Pod Security."""
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        self.cluster.client.merge_patch(f"/api/v1/namespaces/{HOME}", label)
        self._write(config)
        self.cluster.client.merge_patch(self._path, {"spec": {"replicas": replicas}})
        self.roll_out()

    def reconfigure(self, config: Object) -> None:
        """Replace the configuration under the running replicas; returns when each of them says that it took it."""
        before = {pod["metadata"]["name"]: self.metrics(pod, "workflowexecution_config_info") for pod in self.pods()}
        self._write(config)
        # The kubelet looks at a ConfigMap when it next looks at the pod: within a minute, or when the pod changes.
        stamp = {"metadata": {"annotations": {"e2e.kubernaut.ai/config": str(time.time_ns())}}}
        for name in before:
            self.cluster.client.merge_patch(f"/api/v1/namespaces/{HOME}/pods/{name}", stamp)

        def taken() -> bool:
            return all(
                self.metrics(pod, "workflowexecution_config_info") != before.get(pod["metadata"]["name"])
                for pod in self.pods()
            )

        eventually(taken, 120, what="every replica to take the configuration")

    def _write(self, config: Object) -> None:
        data = {"data": {"config.yaml": json.dumps(config)}}
        self.cluster.client.merge_patch(f"/api/v1/namespaces/{HOME}/configmaps/workflowexecution-config", data)

    def metrics(self, pod: Object, prefix: str) -> list[str]:
        """The lines of one metric of one replica, through the API server."""
        port = next(port for port in pod["spec"]["containers"][0]["ports"] if port["name"] == "metrics")
        path = f"/api/v1/namespaces/{HOME}/pods/{pod['metadata']['name']}:{port['containerPort']}/proxy/metrics"
        _, _, answer = self.cluster.client.exchange("GET", path)
        return [line for line in answer.decode().splitlines() if line.startswith(prefix)]

    def roll_out(self) -> None:
        """New pods for old ones, one after the other; returns when they are all new and ready."""
        stamp = {"metadata": {"annotations": {"e2e.kubernaut.ai/restarted": str(time.time_ns())}}}
        self.cluster.client.merge_patch(self._path, {"spec": {"template": stamp}})
        self.settle()

    def settle(self) -> None:
        """Returns when every wanted replica is there, new and available."""
        self._await("rollout", "status", "--timeout=120s", f"deployment/{DEPLOYMENT}")

    def scale(self, replicas: int) -> None:
        """Returns when there are exactly so many pods."""
        self.cluster.client.merge_patch(self._path, {"spec": {"replicas": replicas}})
        self.settle()
        if replicas == 0:
            self._await("wait", "--for=delete", "--timeout=90s", "pod", "-l", f"app.kubernetes.io/name={DEPLOYMENT}")

    def pods(self) -> list[Object]:
        selector = f"labelSelector=app.kubernetes.io/name%3D{DEPLOYMENT}"
        found: list[Object] = self.cluster.client.get(f"/api/v1/namespaces/{HOME}/pods?{selector}")["items"]
        return found

    def restarts(self) -> int:
        return sum(status["restartCount"] for pod in self.pods() for status in pod["status"]["containerStatuses"])

    def ends(self) -> list[str]:
        """Why each container that was started again had ended, by the last line of its log."""
        said = []
        for pod in self.pods():
            if any(status["restartCount"] for status in pod["status"]["containerStatuses"]):
                name = pod["metadata"]["name"]
                log = self.cluster.kubectl("-n", HOME, "logs", "--previous", "--tail=1", name, check=True).stdout
                said.append(str(json.loads(log).get("why", log)) if log.startswith("{") else log)
        return said

    def _await(self, *arguments: str) -> None:
        self.cluster.kubectl("-n", HOME, *arguments, check=True)

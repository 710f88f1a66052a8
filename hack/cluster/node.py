"""Configuration and command lines of the node: containerd, kubelet, kube-proxy, scheduler, pod network.

Pure but for the files it writes. What looks odd is needed on a machine with cgroup v1 beside v2, no systemd, and
neighbours: nothing may reserve, limit or evict by what the whole machine does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster.images import PAUSE
from hack.cluster.netns import ADDRESS
from hack.controlplane.processes import ProcessTable

NAME = "node-1"
POD_NETWORK = "10.88.0.0/24"
# A node that says nothing for so long is called not ready, not after 50 s. Longer than a restart of the API server.
GRACE_SECONDS = 20
PORTS = ("kube-scheduler", "kube-proxy-health", "kube-proxy-metrics", "kubelet-health")


@dataclass(frozen=True)
class Places:
    """Where one cluster keeps what: ``work`` is on disk, ``run`` (sockets, container state) has a short path."""

    work: Path
    run: Path

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def network(self) -> str:
        """Name of the pod network; the files that CNI plugins keep for the whole machine start with it."""
        return f"wfe-{self.work.name}"

    @property
    def kubelet_root(self) -> Path:
        return self.work / "kubelet"


def define(
    processes: ProcessTable, tools: Mapping[str, Path], places: Places, kubeconfig: Path, port: Mapping[str, int]
) -> None:
    """Describe the node's four processes to the process table and write their configuration files."""
    config = places.work / "config"
    config.mkdir(parents=True, exist_ok=True)
    places.run.mkdir(parents=True, exist_ok=True)
    (config / "containerd.toml").write_text(_containerd(places))
    _write(config / "cni" / "10-bridge.conflist", _cni(places))
    _write(config / "kubelet.json", _kubelet(places, port))
    _write(config / "kube-proxy.json", _proxy(kubeconfig, port))
    # Packages put these into directories that are not in everybody's PATH.
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    processes.define("containerd", ["/usr/bin/containerd", f"--config={config / 'containerd.toml'}"], env=path)
    processes.define(
        "kube-scheduler",
        [
            str(tools["kube-scheduler"]),
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={port['kube-scheduler']}",
        ],
        health=f"https://127.0.0.1:{port['kube-scheduler']}/healthz",
    )
    processes.define(
        "kube-proxy",
        [str(tools["kube-proxy"]), f"--config={config / 'kube-proxy.json'}"],
        env=path,
        health=f"http://127.0.0.1:{port['kube-proxy-health']}/livez",
    )
    processes.define(
        "kubelet",
        [
            str(tools["kubelet"]),
            f"--config={config / 'kubelet.json'}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={places.kubelet_root}",
            f"--cert-dir={places.kubelet_root / 'pki'}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
        ],
        env=path,
        health=f"http://127.0.0.1:{port['kubelet-health']}/healthz",
    )


def _containerd(places: Places) -> str:
    """TOML, where a JSON string is a string too."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return "\n".join(
        [
            "version = 2",
            f"root = {json.dumps(str(places.work / 'containerd'))}",
            f"state = {json.dumps(str(places.run / 'containerd'))}",
            "[grpc]",
            f"address = {json.dumps(str(places.socket))}",
            f"[{cri}]",
            f"sandbox_image = {json.dumps(PAUSE)}",
            # A process may not lower its score below that of its parent unless it has more rights than we may have.
            "restrict_oom_score_adj = true",
            "disable_apparmor = true",
            f"[{cri}.containerd]",
            'default_runtime_name = "runc"',
            f"[{cri}.containerd.runtimes.runc]",
            'runtime_type = "io.containerd.runc.v2"',
            f"[{cri}.containerd.runtimes.runc.options]",
            f"Root = {json.dumps(str(places.run / 'runc'))}",
            'BinaryName = "/usr/sbin/runc"',  # crun refuses a machine with both cgroup versions
            f"[{cri}.cni]",
            'bin_dir = "/usr/lib/cni"',
            f"conf_dir = {json.dumps(str(places.work / 'config' / 'cni'))}",
            "",
        ]
    )


def _cni(places: Places) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": str(places.run / "addresses"),
        "ranges": [[{"subnet": POD_NETWORK}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": places.network, "plugins": [bridge, portmap]}


def _kubelet(places: Places, port: Mapping[str, int]) -> dict[str, Any]:
    never = "0%"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": port["kubelet-health"],
        "containerRuntimeEndpoint": f"unix://{places.socket}",
        # Nobody outside the namespace can reach it; the API server comes without a client certificate.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "podLogsDir": str(places.work / "pod-logs"),
        "volumePluginDir": str(places.work / "volume-plugins"),
        "resolvConf": "",
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "evictionHard": {
            "memory.available": never,
            "nodefs.available": never,
            "nodefs.inodesFree": never,
            "imagefs.available": never,
            "imagefs.inodesFree": never,
        },
        # A full disk of the machine must not cost us the images that no registry could give again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "shutdownGracePeriod": "0s",
        # Renewed every quarter of it.
        "nodeLeaseDurationSeconds": 8,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }


def _proxy(kubeconfig: Path, port: Mapping[str, int]) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": NAME,
        "bindAddress": ADDRESS,
        "clusterCIDR": POD_NETWORK,
        "healthzBindAddress": f"127.0.0.1:{port['kube-proxy-health']}",
        "metricsBindAddress": f"127.0.0.1:{port['kube-proxy-metrics']}",
        # These are settings of the whole machine, which is not ours.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"minSyncPeriod": "0s"},
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))

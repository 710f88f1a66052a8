"""Command lines of the four servers under Tekton. Pure: a function of the work directory and the ports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hack.controlplane.binaries import Binaries
from hack.controlplane.processes import ProcessTable


def define(processes: ProcessTable, binaries: Binaries, work: Path, kubeconfig: Path, port: Mapping[str, int]) -> None:
    """Describe etcd, the registry, the API server and the controller manager to the process table."""
    etcd = f"http://127.0.0.1:{port['etcd']}"
    processes.define("etcd", [str(binaries["etcd"]), *_etcd(work, etcd, port)], health=f"{etcd}/health")
    registry = f"127.0.0.1:{port['registry']}"
    processes.define(
        "registry",
        [str(binaries["crane"]), "registry", "serve", f"--address={registry}", f"--disk={work / 'registry'}"],
        health=f"http://{registry}/v2/",
    )
    processes.define(
        "kube-apiserver",
        [str(binaries["kube-apiserver"]), *_api_server(work, etcd, port["kube-apiserver"])],
        health=f"https://127.0.0.1:{port['kube-apiserver']}/readyz",
    )
    processes.define(
        "kube-controller-manager",
        [
            str(binaries["kube-controller-manager"]),
            *_controller_manager(work, kubeconfig, port["kube-controller-manager"]),
        ],
        health=f"https://127.0.0.1:{port['kube-controller-manager']}/healthz",
    )


def _etcd(work: Path, client: str, port: Mapping[str, int]) -> list[str]:
    peer = f"http://127.0.0.1:{port['etcd-peer']}"
    return [
        f"--data-dir={work / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def _api_server(work: Path, etcd: str, port: int) -> list[str]:
    key = work / "service-accounts.key"
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # A loopback address may not be an endpoint of the kubernetes Service, and no pod is there to use it.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={work / 'certificates'}",
        f"--token-auth-file={work / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        f"--audit-policy-file={_audit_policy(work)}",
        f"--audit-log-path={work / 'logs' / 'audit.log'}",
    ]


def _controller_manager(work: Path, kubeconfig: Path, port: int) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        f"--service-account-private-key-file={work / 'service-accounts.key'}",
        f"--root-ca-file={work / 'certificates' / 'apiserver.crt'}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={work / 'certificates'}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def _audit_policy(work: Path) -> Path:
    """Who did what to the kinds that tests ask about, and all that the controller asked for: one line per finished
    request, without bodies but those of patches of runs, which tell a start from a cancellation."""
    kinds = [{"group": "kubernaut.ai"}, {"group": "tekton.dev"}, {"group": "coordination.k8s.io"}]
    rules = [
        {"level": "Request", "verbs": ["patch"], "resources": [{"group": "tekton.dev", "resources": ["pipelineruns"]}]},
        {"level": "Metadata", "resources": kinds},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:kubernaut-system"]},
        {"level": "None"},
    ]
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    path = work / "audit-policy.json"
    path.write_text(json.dumps(policy))
    return path

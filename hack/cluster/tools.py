"""The node's binaries and Tekton's objects as shipped, built once from the pinned Go modules into the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.controlplane import binaries
from hack.controlplane.binaries import TEKTON_MODULE, Progress, Tool

NODE_TOOLS: tuple[Tool, ...] = (
    # From the module of Tekton's servers, so that the entrypoint in the pods is always the controller's own version.
    Tool("entrypoint", "tekton", f"{TEKTON_MODULE}/cmd/entrypoint"),
    Tool("kube-scheduler", "node", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Tool("kube-proxy", "node", "k8s.io/kubernetes/cmd/kube-proxy"),
    Tool("kubelet", "node", "k8s.io/kubernetes/cmd/kubelet"),
)
_OBJECTS = "tekton-as-shipped.json"
# The controller, resolvers and webhook run as processes with the administrator's rights: their RBAC, accounts and
# Deployments stay out. Webhook configurations come last, when their Service exists.
_CONFIG = (
    "100-namespace/100-namespace.yaml",
    "300-crds",
    "config-*.yaml",
    "resolvers/100-namespace.yaml",
    "resolvers/*config*.yaml",
    "500-webhooks.yaml",
)


def cache_root(env: Mapping[str, str] = os.environ) -> Path:
    """Where everything of the cluster is cached: binaries by version, images, buildah's layers."""
    return binaries.cache_dir(env).parent / "cluster"


def directory(env: Mapping[str, str] = os.environ) -> Path:
    return cache_root(env) / f"node-{binaries.cache_key(tools=NODE_TOOLS)}"


def complete() -> bool:
    """Whether everything is built already."""
    return all((directory() / name).exists() for name in [*(tool.name for tool in NODE_TOOLS), _OBJECTS])


def resolve(kubectl: Path, progress: Progress) -> dict[str, Path]:
    """Paths of the node's binaries by name, built when they are not there. Raises BinariesMissing."""
    home = directory()
    home.mkdir(parents=True, exist_ok=True)
    with binaries.locked(home / "lock", progress):
        missing = [tool for tool in NODE_TOOLS if not (home / tool.name).exists()]
        for number, tool in enumerate(missing, start=1):
            binaries.build_tool(tool, home, f"[{number}/{len(missing)}]", progress)
        if not (home / _OBJECTS).exists():
            binaries.write_json(home / _OBJECTS, binaries.read_tekton_config(kubectl, *_CONFIG))
    return {tool.name: home / tool.name for tool in NODE_TOOLS}


def tekton_objects() -> list[dict[str, Any]]:
    """Tekton's namespaces, CRDs with their conversion webhook, ConfigMaps and admission webhooks, unchanged."""
    found: list[dict[str, Any]] = json.loads((directory() / _OBJECTS).read_text())
    return found

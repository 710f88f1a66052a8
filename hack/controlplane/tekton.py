"""Tekton on a plane: its objects, its two processes, and the wait until they really work.

The processes run with the administrator's kubeconfig; their own RBAC belongs to the e2e tier, which installs Tekton
as shipped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hack.controlplane.client import RestClient, plural_path

NAMESPACE = "tekton-pipelines"
RESOLVERS_NAMESPACE = "tekton-pipelines-resolvers"
CRDS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Tekton's default of about 20 requests per second would be what a test of the controller measures; these take it out
# of the way.
_CLIENT_FLAGS = ["-kube-api-qps=1000", "-kube-api-burst=2000", "-threads-per-controller=8"]
# A fixed tag, because :latest means imagePullPolicy Always. Nobody pulls them on a plane.
_IMAGE_FLAGS = [
    "-entrypoint-image=entrypoint:1",
    "-nop-image=nop:1",
    "-sidecarlogresults-image=sidecarlogresults:1",
    "-workingdirinit-image=workingdirinit:1",
    "-shell-image=busybox:1",
    "-shell-image-win=powershell:1",
]
CANARY = "plane-canary"


def environment(ports: tuple[int, int, int], **more: str) -> dict[str, str]:
    metrics, profiling, probes = ports
    return {
        "KUBERNETES_MIN_VERSION": "v1.28.0",
        "CONFIG_LOGGING_NAME": "config-logging",
        "CONFIG_OBSERVABILITY_NAME": "config-observability",
        # Both processes take the same default ports, and several planes run side by side.
        "METRICS_PROMETHEUS_HOST": "127.0.0.1",
        "METRICS_PROMETHEUS_PORT": str(metrics),
        "PROFILING_PORT": str(profiling),
        "PROBES_PORT": str(probes),
        **more,
    }


def controller_command(binary: Path, kubeconfig: Path, ports: tuple[int, int, int]) -> tuple[list[str], dict[str, str]]:
    """argv and environment of Tekton's controller; ``ports`` are metrics, profiling, probes."""
    env = environment(
        ports,
        SYSTEM_NAMESPACE=NAMESPACE,
        CONFIG_DEFAULTS_NAME="config-defaults",
        CONFIG_FEATURE_FLAGS_NAME="feature-flags",
        CONFIG_LEADERELECTION_NAME="config-leader-election-controller",
        CONFIG_SPIRE="config-spire",
        CONFIG_TRACING_NAME="config-tracing",
        METRICS_DOMAIN="tekton.dev/pipeline",
    )
    # Without leader election a killed controller can come back at once instead of after the lease's time.
    return [str(binary), f"-kubeconfig={kubeconfig}", "-disable-ha", *_CLIENT_FLAGS, *_IMAGE_FLAGS], env


def resolvers_command(binary: Path, kubeconfig: Path, ports: tuple[int, int, int]) -> tuple[list[str], dict[str, str]]:
    """argv and environment of the process without which no bundle is ever resolved."""
    env = environment(
        ports,
        SYSTEM_NAMESPACE=RESOLVERS_NAMESPACE,
        CONFIG_FEATURE_FLAGS_NAME="resolvers-feature-flags",
        CONFIG_LEADERELECTION_NAME="config-leader-election-resolvers",
        METRICS_DOMAIN="tekton.dev/resolution",
        ARTIFACT_HUB_API="https://artifacthub.io/",
    )
    return [str(binary), f"-kubeconfig={kubeconfig}", *_CLIENT_FLAGS], env


def install(client: RestClient, objects: Path) -> None:
    """Create Tekton's namespaces, CRDs and ConfigMaps; what exists already stays as it is."""
    for item in json.loads(objects.read_text()):
        client.ensure(plural_path(item), item)


def crds_established(client: RestClient) -> bool:
    """Whether every CRD of the server is established, Tekton's and those of the caller."""
    return all(_established(item) for item in client.get(CRDS_PATH)["items"])


def _established(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []  # null on a CRD just created
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


def wait_until_working(client: RestClient, wait: Callable[[str, Callable[[], bool]], None]) -> None:
    """Wait until both processes do work, seen in what they write.

    Their readiness addresses answer 200 as soon as the process listens, long before a run is reconciled. A run that
    names no pipeline is therefore given to the controller, which must refuse it; the resolvers take a Lease when
    their workers start.
    """
    runs = f"/apis/tekton.dev/v1/namespaces/{NAMESPACE}/pipelineruns"
    name = f"{CANARY}-{time.time_ns()}"
    client.create(
        runs,
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"pipelineRef": {"name": "there-is-no-such-pipeline"}},
        },
    )
    wait(
        "Tekton's controller to reconcile a run",
        lambda: bool(client.get(f"{runs}/{name}").get("status", {}).get("conditions")),
    )
    client.delete(f"{runs}/{name}")
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{RESOLVERS_NAMESPACE}/leases"
    wait("Tekton's bundle resolver to start", lambda: _bundle_resolver_leads(client.get(leases)["items"]))


def _bundle_resolver_leads(leases: list[dict[str, Any]]) -> bool:
    return any("bundleresolver" in item["metadata"]["name"] and item["spec"].get("holderIdentity") for item in leases)

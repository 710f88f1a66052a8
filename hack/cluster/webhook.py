"""Tekton's webhook as a process: admission, defaults and conversion as in any installation.

Its configurations name a Service. Here that Service has no pods behind it but an EndpointSlice with the node's own
address; kube-proxy brings the API server there. The webhook makes its own certificate and writes the CA into the
configurations and CRDs itself, as shipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.cluster.netns import ADDRESS
from hack.controlplane import tekton
from hack.controlplane.client import RestClient
from hack.controlplane.processes import ProcessTable

NAME = "tekton-webhook"
SERVICE = "tekton-pipelines-webhook"
PORTS = (NAME, f"{NAME}-probes", f"{NAME}-metrics", f"{NAME}-profiling")
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def define(processes: ProcessTable, binary: Path, kubeconfig: Path, port: Mapping[str, int]) -> None:
    env = tekton.environment(
        (port[f"{NAME}-metrics"], port[f"{NAME}-profiling"], port[f"{NAME}-probes"]),
        SYSTEM_NAMESPACE=tekton.NAMESPACE,
        CONFIG_LEADERELECTION_NAME="config-leader-election-webhook",
        CONFIG_FEATURE_FLAGS_NAME="feature-flags",
        CONFIG_DEFAULTS_NAME="config-defaults",
        WEBHOOK_PORT=str(port[NAME]),
        WEBHOOK_ADMISSION_CONTROLLER_NAME="webhook.pipeline.tekton.dev",
        WEBHOOK_SERVICE_NAME=SERVICE,
        WEBHOOK_SECRET_NAME="webhook-certs",
        METRICS_DOMAIN="tekton.dev/pipeline",
    )
    health = f"http://127.0.0.1:{port[f'{NAME}-probes']}/readiness"
    # Without leader election (as the controller here): one that was killed works again at once, not after its lease.
    processes.define(NAME, [str(binary), f"-kubeconfig={kubeconfig}", "-disable-ha"], env=env, health=health)


def route(client: RestClient, port: int) -> None:
    """The Service and where it leads."""
    metadata = {"name": SERVICE, "namespace": tekton.NAMESPACE}
    # Once for all: a port of a Service keeps its name, and the slice must have the same one.
    ports = [{"name": "https-webhook", "port": 443, "targetPort": port, "protocol": "TCP"}]
    client.ensure(
        f"/api/v1/namespaces/{tekton.NAMESPACE}/services",
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}},
    )
    client.ensure(
        f"/apis/discovery.k8s.io/v1/namespaces/{tekton.NAMESPACE}/endpointslices",
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "ports": [{"name": "https-webhook", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
    )


def works(client: RestClient) -> bool:
    """Whether every configuration and CRD has the CA of the webhook, and the API server gets an answer from it."""
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        for item in client.get(f"{_ADMISSION}/{kind}")["items"]:
            if not all(_has_ca(hook) for hook in item.get("webhooks") or []):
                return False
    for crd in client.get(tekton.CRDS_PATH)["items"]:
        conversion = crd["spec"].get("conversion") or {}
        if conversion.get("strategy") == "Webhook" and not _has_ca(conversion["webhook"]):
            return False
    return _refuses_nonsense(client)


def _has_ca(hook: Mapping[str, Any]) -> bool:
    return bool(hook.get("clientConfig", {}).get("caBundle"))


def _refuses_nonsense(client: RestClient) -> bool:
    """A dry run that only the webhook refuses; the schema takes it."""
    task = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": "webhook-canary", "namespace": tekton.NAMESPACE},
        "spec": {},
    }
    path = f"/apis/tekton.dev/v1/namespaces/{tekton.NAMESPACE}/tasks?dryRun=All"
    status, _, answer = client.exchange("POST", path, _json(task), {"Content-Type": "application/json"})
    return status == 400 and b"admission webhook" in answer


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()

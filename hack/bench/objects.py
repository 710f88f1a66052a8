"""The objects of a bench: WorkflowExecutions, each on a target of its own, ended ones for full caches, ConfigMaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
NAMESPACE = "bench"
DIGEST = "sha256:" + "5b1d" * 16
IMAGE = f"registry.example.com/workflows/restart-deployment@{DIGEST}"


def execution(name: str, image: str = IMAGE) -> Object:
    """A tekton WorkflowExecution with three parameters, about 1.2 kB on the server."""
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "remediationRequestRef": {"name": f"rr-{name}", "namespace": NAMESPACE},
            "targetResource": f"{NAMESPACE}/deployment/{name}",
            "workflowRef": {
                "workflowId": "restart-deployment",
                "version": "1.4.2",
                "containerImage": image,
                "containerDigest": image.partition("@")[2],
            },
            "parameters": {
                "DEPLOYMENT_NAME": name,
                "NAMESPACE": NAMESPACE,
                "REASON": "memory of the pods grows until they are killed; a restart frees it",
            },
            "confidence": 0.93,
            "rationale": "three similar incidents of the last month were ended by the same workflow",
        },
    }


def ended_status(name: str, number: int) -> Object:
    """What the controller leaves on a WorkflowExecution that completed."""
    at = f"2026-11-21T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    told = {
        "TektonPipelineCreated": ("PipelineCreated", f"PipelineRun kubernaut-workflows/wfe-{number:016x} created"),
        "TektonPipelineRunning": ("PipelineStarted", "the run has started steps"),
        "TektonPipelineComplete": ("PipelineSucceeded", "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0"),
        "Finished": ("Completed", "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0"),
        "Ready": ("Ready", "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0"),
    }
    return {
        "phase": "Completed",
        "observedGeneration": 1,
        "executionEngine": "tekton",
        "startTime": at,
        "completionTime": at,
        "duration": "42s",
        "progress": 100,
        "completedSteps": 1,
        "totalSteps": 1,
        "consecutiveFailures": 0,
        "pipelineRunRef": {
            "name": f"wfe-{number:016x}",
            "namespace": "kubernaut-workflows",
            "uid": f"00000000-0000-4000-8000-{number:012x}",
        },
        "conditions": [
            {
                "type": type_,
                "status": "True",
                "reason": reason,
                "message": message,
                "observedGeneration": 1,
                "lastTransitionTime": at,
            }
            for type_, (reason, message) in told.items()
        ],
    }


def config_map(name: str) -> Object:
    """The small object beside it: no schema of ours, no rules."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"owner": name, "state": "ready"},
    }


@dataclass(frozen=True)
class Sample:
    """What is created, and where. ``path`` is that of the collection; ``status`` is what is written later, if any."""

    path: str
    make: Callable[[str], Object]
    status: Callable[[str, int], Object] | None = None


_EXECUTIONS = f"/apis/kubernaut.ai/v1alpha1/namespaces/{NAMESPACE}/workflowexecutions"
SAMPLES = {
    "workflowexecution": Sample(_EXECUTIONS, execution, ended_status),
    "configmap": Sample(f"/api/v1/namespaces/{NAMESPACE}/configmaps", config_map),
}

"""Tekton objects for tests on a plane."""

from __future__ import annotations

import uuid
from typing import Any

from hack.controlplane import Plane

Object = dict[str, Any]


def task_spec(image: str = "busybox:1", args: list[str] | None = None) -> Object:
    return {"steps": [{"name": "act", "image": image, "command": ["/bin/true"], "args": args or []}]}


def pipeline(name: str = "workflow", *, image: str = "busybox:1", params: list[Object] | None = None) -> Object:
    """A Pipeline with one embedded task; the image's tag is what the test kubelet plays (``busybox:fail-3``)."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "spec": {"params": params or [], "tasks": [{"name": "remediate", "taskSpec": task_spec(image)}]},
    }


def pipeline_run(bundle: str, namespace: str, *, pipeline_name: str = "workflow", name: str | None = None) -> Object:
    """A PipelineRun that takes its Pipeline from ``bundle`` by the bundles resolver."""
    params = {"bundle": bundle, "name": pipeline_name, "kind": "pipeline"}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name or f"run-{uuid.uuid4().hex[:10]}", "namespace": namespace},
        "spec": {
            "pipelineRef": {
                "resolver": "bundles",
                "params": [{"name": key, "value": value} for key, value in params.items()],
            }
        },
    }


def runs_path(namespace: str, name: str = "") -> str:
    return f"/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns" + (f"/{name}" if name else "")


def start(plane: Plane, run: Object) -> str:
    """Create the run as the administrator; gives its name."""
    plane.client.create(runs_path(run["metadata"]["namespace"]), run)
    return str(run["metadata"]["name"])


def condition(run: Object) -> Object:
    """The Succeeded condition, or one that says Unknown while there is none."""
    for item in run.get("status", {}).get("conditions", []):
        if item["type"] == "Succeeded":
            found: Object = item
            return found
    return {"type": "Succeeded", "status": "Unknown", "reason": "", "message": ""}

"""Pipelines that really run: busybox steps, the bundles that hold them, and what their pods said."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.support.executions import EXECUTION, Executions

Object = dict[str, Any]
SHELL = "busybox:1"


def step(script: str, *args: str, name: str = "act", image: str = SHELL, **more: Any) -> Object:
    """A step that runs a shell script; ``args`` ($(params.X) among them) are its $0, $1 ..., never part of it."""
    return {"name": name, "image": image, "command": ["sh", "-c", script], "args": list(args), **more}


def task(name: str, *steps: Object, after: str = "") -> Object:
    return {"name": name, "taskSpec": {"steps": list(steps)}, **({"runAfter": [after]} if after else {})}


def workflow(*tasks: Object, params: tuple[str, ...] = ("TARGET_RESOURCE",), **more: Any) -> Object:
    """The Pipeline of a bundle. Parameters of the Pipeline are seen in embedded tasks without being handed on."""
    declared = [{"name": name, "type": "string"} for name in params]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": "workflow"},
        "spec": {"params": declared, "tasks": list(tasks), **more},
    }


def sleeping(seconds: int) -> Object:
    """One step that ends well after so many seconds, and at once when it is told to."""
    return workflow(task("wait", step(f"trap 'exit 143' TERM; sleep {seconds} & wait $!")))


class Workloads(Executions):
    """WorkflowExecutions of one namespace whose pods are real."""

    def push(self, pipeline: Object) -> str:
        """The bundle of a pipeline, by digest."""
        name = hashlib.sha256(json.dumps(pipeline, sort_keys=True).encode()).hexdigest()[:12]
        return self.plane.push_bundle(f"e2e/{name}", [pipeline])

    def start(self, pipeline: Object, target: str = "", **spec: Any) -> str:
        """Create a WorkflowExecution of a pipeline; gives its name."""
        return self.create(target or self.target(), self.push(pipeline), **spec)

    def finish(self, pipeline: Object, target: str = "", timeout: float = 90, **spec: Any) -> Object:
        """The terminal status of a new WorkflowExecution of a pipeline."""
        return self.await_phase(self.start(pipeline, target, **spec), timeout=timeout)

    def pods(self, name: str) -> list[Object]:
        """Pods that carry the UID of a WorkflowExecution."""
        uid = self.get(name)["metadata"]["uid"]
        selector = f"labelSelector=kubernaut.ai/workflow-execution-uid%3D{uid}"
        found: list[Object] = self.plane.client.get(f"/api/v1/namespaces/{EXECUTION}/pods?{selector}")["items"]
        return found

    def running_pod(self, name: str) -> bool:
        return any(pod["status"].get("phase") == "Running" for pod in self.pods(name))

    def log(self, name: str, container: str = "step-act") -> str:
        """What the only pod of a WorkflowExecution wrote."""
        (pod,) = self.pods(name)
        return self.plane.kubectl("logs", "-n", EXECUTION, pod["metadata"]["name"], "-c", container, check=True).stdout

    def said(self, name: str) -> str:
        """All that Events say about a WorkflowExecution."""
        items = self.plane.client.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        return "\n".join(item["message"] for item in items if item["involvedObject"]["name"] == name)

    def failures(self, target: str) -> int:
        """Pre-execution failures in a row that the ledger holds against a target, of all workflows."""
        return sum(entry.get("consecutiveFailures", 0) for entry in self.lock_status(target).get("workflows", []))

    def clear_block(self, target: str) -> None:
        """As an operator: looked at it, may go on. Without a block it is the streak of failures that is cleared."""
        lock = self.lock(target)
        assert lock is not None
        prefix = "kubernaut.ai/clear-block"
        status = lock["status"]
        annotations = {
            prefix: status["block"]["by"]["uid"] if "block" in status else status["lastExecution"]["uid"],
            f"{prefix}-by": "e2e",
            f"{prefix}-reason": "looked at the target, it is as before",
        }
        path = f"/apis/kubernaut.ai/v1alpha1/namespaces/kubernaut-system/targetlocks/{lock['metadata']['name']}"
        self.plane.client.merge_patch(path, {"metadata": {"annotations": annotations}})

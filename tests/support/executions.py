"""WorkflowExecutions and TargetLocks for tests on a plane: build, create, wait, look."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.replicas import ControllerProcess
from tests.support.tekton import pipeline, runs_path

Object = dict[str, Any]
HOME = "kubernaut-system"
EXECUTION = "kubernaut-workflows"
API = "/apis/kubernaut.ai/v1alpha1"
TERMINAL = ("Completed", "Failed", "Skipped")


def execution(
    namespace: str, target: str, image: str, *, name: str = "", workflow: str = "restart", **spec: Any
) -> Object:
    """A tekton WorkflowExecution; ``spec`` adds or replaces fields of the spec."""
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name or f"wfe-{uuid.uuid4().hex[:8]}", "namespace": namespace},
        "spec": {
            "remediationRequestRef": {"name": f"rr-{name or 'test'}"},
            "targetResource": target,
            "workflowRef": {"workflowId": workflow, "version": "1.0.0", "containerImage": image},
            **spec,
        },
    }


class Executions:
    """One namespace of WorkflowExecutions."""

    def __init__(self, plane: Plane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self._bundles: dict[str, str] = {}

    def bundle(self, image: str = "busybox:1", **spec: Any) -> str:
        """A bundle whose only step has that image (its tag is what the test kubelet plays)."""
        if image not in self._bundles or spec:
            name = "wfe/" + hashlib.sha256(f"{image}{spec}".encode()).hexdigest()[:10]
            self._bundles[image] = self.plane.push_bundle(name, [pipeline(image=image, **spec)])
        return self._bundles[image]

    def target(self, kind: str = "deployment") -> str:
        """A target nobody else uses."""
        return f"{self.namespace}/{kind}/t-{uuid.uuid4().hex[:8]}"

    def create(self, target: str, image: str = "busybox:1", *, annotations: Object | None = None, **spec: Any) -> str:
        """Create one; ``image`` is a step image, or a whole bundle reference when it has a slash. Returns its name."""
        reference = image if "/" in image else self.bundle(image)
        body = execution(self.namespace, target, reference, **spec)
        body["metadata"]["annotations"] = annotations or {}
        self.plane.client.create(f"{API}/namespaces/{self.namespace}/workflowexecutions", body)
        return str(body["metadata"]["name"])

    def path(self, name: str) -> str:
        return f"{API}/namespaces/{self.namespace}/workflowexecutions/{name}"

    def get(self, name: str) -> Object:
        return self.plane.client.get(self.path(name))

    def status(self, name: str) -> Object:
        found: Object = self.get(name).get("status", {})
        return found

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase", ""))

    def await_phase(self, name: str, *phases: str, timeout: float = 30) -> Object:
        """The status once the phase is one of ``phases`` (any terminal one when none is named)."""
        wanted = phases or TERMINAL
        eventually(
            lambda: self.phase(name) in wanted,
            timeout,
            what=f"{name} in phase {'|'.join(wanted)}",
            on_failure=lambda: self.status(name),
        )
        return self.status(name)

    def await_released(self, name: str) -> Object:
        """The object once its finalizer is off."""
        eventually(lambda: not self.get(name)["metadata"].get("finalizers"), what=f"{name} released")
        return self.get(name)

    def annotate(self, name: str, **annotations: str | None) -> None:
        """``cancel="why"`` sets kubernaut.ai/cancel; None removes."""
        named = {f"kubernaut.ai/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.plane.client.merge_patch(self.path(name), {"metadata": {"annotations": named}})

    def delete(self, name: str) -> None:
        self.plane.client.delete(self.path(name))

    def gone(self, name: str) -> bool:
        listed = self.plane.client.get(f"{API}/namespaces/{self.namespace}/workflowexecutions")["items"]
        return name not in [item["metadata"]["name"] for item in listed]

    def lock(self, target: str) -> Object | None:
        """The TargetLock of a canonical target, None when there is none."""
        for item in self.plane.client.get(f"{API}/namespaces/{HOME}/targetlocks")["items"]:
            if item["spec"]["target"] == target:
                found: Object = item
                return found
        return None

    def lock_status(self, target: str) -> Object:
        return (self.lock(target) or {}).get("status", {})

    def runs(self, name: str = "") -> list[Object]:
        """PipelineRuns of this namespace's executions (of one of them when named)."""
        return [
            run
            for run in self.plane.client.get(runs_path(EXECUTION))["items"]
            if run["metadata"].get("annotations", {}).get("kubernaut.ai/source-namespace") == self.namespace
            and name in ("", run["metadata"]["annotations"].get("kubernaut.ai/workflow-execution"))
        ]

    def events(self, name: str) -> list[str]:
        """Reasons of the Events on an object, oldest first."""
        items = self.plane.client.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]
        mine = [i for i in items if i["involvedObject"]["name"] == name]
        return [
            i["reason"]
            for i in sorted(mine, key=lambda i: (i["firstTimestamp"] or "", i["metadata"]["resourceVersion"]))
        ]

    def condition(self, name: str, type_: str) -> Object:
        for item in self.status(name).get("conditions", []):
            if item["type"] == type_:
                found: Object = item
                return found
        return {}


def metric(controller: ControllerProcess, series: str) -> float:
    """The value of one series as it stands on /metrics; 0.0 when it is not there."""
    for line in controller.get("/metrics")[1].splitlines():
        if line.startswith(series + " "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0

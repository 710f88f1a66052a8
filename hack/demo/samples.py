"""What the demo asks for: bundles, WorkflowExecutions, and when each of them is created. Pure data and predicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
NAMESPACE = "shop"
FRONTEND = f"{NAMESPACE}/deployment/frontend"
CHECKOUT = f"{NAMESPACE}/deployment/checkout"
BUNDLE_NAME = "workflow"  # the Pipeline's name inside every bundle


@dataclass(frozen=True)
class Seen:
    """What the API server says now: WorkflowExecutions by name, TargetLocks by target."""

    executions: dict[str, Object]
    locks: dict[str, Object]

    def phase(self, name: str) -> str:
        return str(self.executions.get(name, {}).get("status", {}).get("phase", ""))

    def reason(self, name: str) -> str:
        return str(self.executions.get(name, {}).get("status", {}).get("reason", ""))

    def free(self, target: str) -> bool:
        return target in self.locks and "holder" not in self.locks[target].get("status", {})

    def open(self, target: str) -> bool:
        """Held by nobody and not blocked: so is a target whose lock, having nothing left to say, is gone already."""
        return (target not in self.locks or self.free(target)) and not self.block(target)

    def block(self, target: str) -> Object:
        found: Object = self.locks.get(target, {}).get("status", {}).get("block") or {}
        return found


@dataclass(frozen=True)
class Step:
    """One WorkflowExecution of the story: created when ``when`` holds, expected to end in ``phase`` with ``reason``."""

    name: str
    target: str
    bundle: str
    phase: str
    reason: str
    say: str
    when: Callable[[Seen], bool]


def pipeline(image: str) -> Object:
    """A Pipeline of one task. The image's tag tells the test kubelet what its pod does."""
    step = {"name": "act", "image": image, "command": ["/bin/true"]}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": BUNDLE_NAME},
        "spec": {
            "params": [{"name": "TARGET_RESOURCE", "type": "string"}],
            "tasks": [{"name": "remediate", "taskSpec": {"steps": [step]}}],
        },
    }


BUNDLES: dict[str, Object] = {
    "restart-deployment": pipeline("busybox:slow-5"),
    "resize-deployment": pipeline("busybox:fail-3"),
    "resize-deployment-fixed": pipeline("busybox:slow-2"),
}

STEPS = (
    Step(
        "restart-frontend", FRONTEND, "restart-deployment", "Completed", "",
        "frontend is to be restarted; the target is free", lambda seen: True,
    ),
    Step(
        "resize-checkout", CHECKOUT, "resize-deployment", "Failed", "TaskFailed",
        "another target, at the same time; its pod will exit with 3", lambda seen: True,
    ),
    Step(
        "restart-frontend-twice", FRONTEND, "restart-deployment", "Skipped", "ResourceBusy",
        "frontend again while the first one runs", lambda seen: seen.phase("restart-frontend") == "Running",
    ),
    Step(
        "resize-checkout-again", CHECKOUT, "resize-deployment", "Skipped", "PreviousExecutionFailed",
        "checkout again: something was changed and failed, so a human has to look first",
        lambda seen: seen.phase("resize-checkout") == "Failed" and bool(seen.block(CHECKOUT)),
    ),
    Step(
        "restart-frontend-soon", FRONTEND, "restart-deployment", "Skipped", "RecentlyRemediated",
        "frontend again right after a success: the cooldown holds",
        lambda seen: seen.phase("restart-frontend") == "Completed" and seen.free(FRONTEND),
    ),
    Step(
        "resize-checkout-fixed", CHECKOUT, "resize-deployment-fixed", "Completed", "",
        "the block is cleared, and the repaired workflow may run",
        lambda seen: seen.phase("resize-checkout-again") == "Skipped" and seen.open(CHECKOUT),
    ),
)  # fmt: skip


def execution(step: Step, image: str) -> Object:
    """The WorkflowExecution of a step; ``image`` is the bundle's reference by digest."""
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": step.name, "namespace": NAMESPACE},
        "spec": {
            "remediationRequestRef": {"name": "demo", "namespace": NAMESPACE},
            "targetResource": step.target,
            "workflowRef": {
                "workflowId": step.bundle.removesuffix("-fixed"),
                "version": "1.0.0",
                "containerImage": image,
                "containerDigest": image.partition("@")[2],
            },
        },
    }


def clearance(block: Object) -> Object:
    """The merge patch by which an operator clears a block: its value names the execution that caused it."""
    prefix = "kubernaut.ai/clear-block"
    annotations = {
        prefix: block["by"]["uid"],
        f"{prefix}-by": "demo-operator",
        f"{prefix}-reason": "looked at the deployment, it is as before",
    }
    return {"metadata": {"annotations": annotations}}


def as_expected(step: Step, seen: Seen) -> bool:
    return seen.phase(step.name) == step.phase and (not step.reason or seen.reason(step.name) == step.reason)

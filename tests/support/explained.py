"""Facts for ``kubectl wfe explain`` as a healthy cluster gives them, and the objects around one execution."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support import runs
from wfe_controller.api.names import FINALIZER, lock_name, run_name
from wfe_controller.cli.kubectl.explain.facts import Facts
from wfe_controller.kube.clock import rfc3339, rfc3339_micro
from wfe_controller.kube.objects import Json, ObjectKey

NOW = datetime(2026, 3, 1, 12, 5, 0, tzinfo=UTC)
UID, OTHER_UID = "11111111-aaaa-bbbb-cccc-000000000001", "22222222-aaaa-bbbb-cccc-000000000002"
TARGET = "shop/deployment/web"
KEY = ObjectKey("shop", "restart-web")


def ago(seconds: float) -> str:
    return rfc3339(NOW - timedelta(seconds=seconds))


def ahead(seconds: float) -> str:
    return rfc3339(NOW + timedelta(seconds=seconds))


def condition(type_: str, status: str, reason: str, message: str = "", since: float = 60) -> Json:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(since)}


def wfe(phase: str = "", *, name: str = KEY.name, uid: str = UID, created: float = 300, **more: Any) -> Json:
    """``more``: status fields; ``spec``, ``annotations``, ``finalizers``, ``deleting`` (seconds ago) are taken out."""
    meta: Json = {"name": name, "namespace": KEY.namespace, "uid": uid, "creationTimestamp": ago(created)}
    meta |= {"resourceVersion": "7", "annotations": more.pop("annotations", {})}
    meta["finalizers"] = more.pop("finalizers", [FINALIZER] if phase == "Running" else [])
    if "deleting" in more:
        meta["deletionTimestamp"] = ago(more.pop("deleting"))
    spec = {
        "remediationRequestRef": {"name": "rr"},
        "targetResource": "shop/Deployment/web",
        "workflowRef": {"workflowId": "restart", "version": "1", "containerImage": "registry.example.com/wf/restart:1"},
    }
    out: Json = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": meta,
        "spec": {**spec, **more.pop("spec", {})},
    }
    if phase:
        out["status"] = {"phase": phase, "executionEngine": "tekton", **more}
    return out


def running(**more: Any) -> Json:
    """Running since two minutes, its first step started."""
    fields: Json = {
        "startTime": ago(120),
        "deadlineAt": ahead(2000),
        "pipelineRunRef": {"name": run_name(TARGET), "namespace": "kubernaut-workflows", "uid": runs.RUN_UID},
        "pipelineRunStatus": {"status": "Unknown", "reason": "Running", "message": "Tasks Completed: 1"},
        "totalSteps": 2,
        "completedSteps": 1,
        "progress": 50,
        "conditions": [condition("TektonPipelineRunning", "True", "PipelineStarted")],
    }
    return wfe("Running", **{**fields, **more})


def failed(reason: str = "TaskFailed", *, executed: bool = True, **more: Any) -> Json:
    details: Json = {
        "reason": reason,
        "message": more.pop("message", "step act exited with 3"),
        "failedAt": ago(30),
        "executionTimeBeforeFailure": "1m30s",
        "naturalLanguageSummary": "",
        "wasExecutionFailure": executed,
        **more.pop("details", {}),
    }
    fields = {"startTime": ago(120), "completionTime": ago(30), "reason": reason, "message": details["message"]}
    return wfe("Failed", **{**fields, "failureDetails": details, **more})


def skipped(reason: str, **details: Any) -> Json:
    said = {"reason": reason, "message": "skipped", "skippedAt": ago(30), **details}
    return wfe("Skipped", completionTime=ago(30), reason=reason, message="skipped", skipDetails=said)


def lock(**status: Any) -> Json:
    meta = {"name": lock_name(TARGET), "namespace": "kubernaut-system", "uid": "lock-uid", "resourceVersion": "3"}
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "TargetLock",
        "metadata": {**meta, "creationTimestamp": ago(600)},
        "spec": {"target": TARGET},
        "status": status,
    }


def held(name: str = KEY.name, uid: str = UID, seconds: float = 125) -> Json:
    return {"holder": {"uid": uid, "name": name, "namespace": "shop", "engine": "tekton", "acquiredAt": ago(seconds)}}


def blocked(reason: str = "ExecutionFailed", name: str = KEY.name, uid: str = UID, message: str = "it failed") -> Json:
    return {"block": {"reason": reason, "by": {"uid": uid, "name": name}, "since": ago(29), "message": message}}


def lease(renewed: float = 1.0, holder: str = "pod-a_1") -> Json:
    at = NOW - timedelta(seconds=renewed)
    return {
        "metadata": {"name": "lease"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": rfc3339_micro(at)},
    }


def facts(obj: Json | None, **more: Any) -> Facts:
    """A controller leads and nothing else is there, unless it is given."""
    given = {"lease": lease(), **more}
    return Facts(KEY, NOW, obj, "kubernaut-system", "kubernaut-workflows", **given)

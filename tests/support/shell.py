"""The shell without a server: snapshots, the answers of live reads, and one decision at a time (SPEC 2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import Json
from wfe_controller.locking.record import Holder, LockRecord
from wfe_controller.workflows.phases.dispatch import decide_step
from wfe_controller.workflows.plan import Act, Commit, Input, Read, Step
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.snapshot import Snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = "shop/deployment/cart"
UID = "uid-me"
RUN_UID = "run-mine"
RUN_NAME = names.run_name(TARGET)
EXECUTION = "kubernaut-workflows"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def wfe(
    status: Json | None = None,
    *,
    finalizer: bool | str = False,
    annotations: Json | None = None,
    created: float = 0.0,
    deleted: float | None = None,
    **spec: Any,
) -> Json:
    """A tekton WorkflowExecution; ``created`` and ``deleted`` are seconds from NOW."""
    meta: Json = {
        "name": "cart-1",
        "namespace": "ops",
        "uid": UID,
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": rfc3339(at(created)),
        "annotations": annotations or {},
    }
    if finalizer:
        meta["finalizers"] = [finalizer if isinstance(finalizer, str) else names.FINALIZER]
    if deleted is not None:
        meta["deletionTimestamp"] = rfc3339(at(deleted))
    body: Json = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": meta,
        "spec": {
            "remediationRequestRef": {"name": "rr-1"},
            "targetResource": TARGET,
            "workflowRef": {"workflowId": "restart", "version": "1", "containerImage": "reg.example/wf/restart:v1"},
            **spec,
        },
    }
    if status is not None:
        body["status"] = status
    return body


def running(**more: Any) -> Json:
    """The status of an object whose run has been named, started at NOW."""
    ref = {"name": RUN_NAME, "namespace": EXECUTION, "uid": RUN_UID}
    return {"phase": "Running", "startTime": rfc3339(NOW), "pipelineRunRef": ref, **more}


def ended(phase: str = "Completed", *, seconds: float | None = 0.0, **more: Any) -> Json:
    """A terminal status; ``seconds`` from NOW to the end, None = no completionTime."""
    status = {"phase": phase, **more}
    return status if seconds is None else {**status, "completionTime": rfc3339(at(seconds))}


def run(
    status: Json | None = None,
    *,
    owner: str | None = UID,
    uid: str = RUN_UID,
    pending: bool = False,
    created: float = 0.0,
    deleting: bool = False,
    labels: Json | None = None,
    target: str = TARGET,
) -> Json:
    """A PipelineRun under the name of TARGET. ``owner`` None: not one of ours."""
    meta: Json = {
        "name": RUN_NAME,
        "namespace": EXECUTION,
        "uid": uid,
        "resourceVersion": "11",
        "creationTimestamp": rfc3339(at(created)),
        "labels": labels or {},
    }
    if owner is not None:
        meta["labels"] = {names.OWNER_UID: owner, names.TARGET_HASH: names.target_hash(TARGET)}
        meta["annotations"] = {
            names.OWNER_UID: owner,
            names.OWNER_NAME: "cart-1" if owner == UID else "cart-0",
            names.OWNER_NAMESPACE: "ops",
            names.WORKFLOW_ID: "restart",
            names.TARGET_RESOURCE: target,
        }
    if deleting:
        meta["deletionTimestamp"] = rfc3339(NOW)
        meta["finalizers"] = ["foregroundDeletion", "chains.tekton.dev/results"]
    spec: Json = {"pipelineRef": {"resolver": "bundles", "params": [{"name": "bundle", "value": "reg.example/wf:v1"}]}}
    if pending:
        spec["status"] = "PipelineRunPending"
    return {"metadata": meta, "spec": spec, "status": status or {}}


def condition(status: str, reason: str, message: str = "") -> Json:
    return {"type": "Succeeded", "status": status, "reason": reason, "message": message}


def working(seconds: float = 1.0) -> Json:
    """The status of a run whose pipeline is resolved and whose only task runs."""
    return {
        "startTime": rfc3339(at(seconds)),
        "pipelineSpec": {"tasks": [{"name": "act"}]},
        "childReferences": [{"kind": "TaskRun", "name": f"{RUN_NAME}-act", "pipelineTaskName": "act"}],
        "conditions": [condition("Unknown", "Running")],
    }


def finished(status: str = "True", *, seconds: float = 60.0) -> Json:
    done = {"completionTime": rfc3339(at(seconds)), "conditions": [condition(status, _REASON[status], "Tasks: 1")]}
    return {**working(), **done}


_REASON = {"True": "Succeeded", "False": "Failed"}


def task_run(status: str = "Unknown", *, code: int = 0, started: bool = True) -> Json:
    """The TaskRun of ``working``; its step runs, or ended with ``code``."""
    step: Json = {"name": "act", "container": "step-act"}
    if status == "Unknown":
        step |= {"running": {"startedAt": rfc3339(at(5))}} if started else {"waiting": {"reason": "PodInitializing"}}
    else:
        ended_ = {"startedAt": rfc3339(at(5)), "finishedAt": rfc3339(at(50)), "exitCode": code}
        step |= {"terminated": {**ended_, "reason": "Error" if code else "Completed"}, "imageID": "i"}
    return {
        "metadata": {
            "name": f"{RUN_NAME}-act",
            "namespace": EXECUTION,
            "uid": "tr-1",
            "creationTimestamp": rfc3339(at(2)),
            "labels": {"tekton.dev/pipelineTask": "act", names.OWNER_UID: UID},
            "ownerReferences": [{"kind": "PipelineRun", "name": RUN_NAME, "uid": RUN_UID}],
        },
        "status": {
            "podName": f"{RUN_NAME}-act-pod",
            "startTime": rfc3339(at(2)),
            "steps": [step],
            "conditions": [condition(status, _REASON.get(status, "Running"), f"step act exited with code {code}")],
        },
    }


def pod(phase: str = "Running") -> Json:
    return {
        "metadata": {
            "name": f"{RUN_NAME}-act-pod",
            "namespace": EXECUTION,
            "uid": "pod-1",
            "labels": {
                names.OWNER_UID: UID,
                "tekton.dev/taskRun": f"{RUN_NAME}-act",
                "tekton.dev/pipelineRunUID": RUN_UID,
            },
            "ownerReferences": [{"kind": "TaskRun", "name": f"{RUN_NAME}-act", "uid": "tr-1"}],
        },
        "status": {"phase": phase},
    }


def lock(holder: str | None = None, *, acquired: float = 0.0, **more: Any) -> LockRecord:
    """The record of TARGET, held by the execution with that UID since ``acquired``."""
    who = None
    if holder is not None:
        name = "cart-1" if holder == UID else "cart-0"
        who = Holder(holder, name, "ops", "tekton", at(acquired))
    meta = {"name": names.lock_name(TARGET), "namespace": "kubernaut-system", "uid": "lock-1", "resourceVersion": "3"}
    return LockRecord(TARGET, holder=who, raw={"metadata": meta, "spec": {"target": TARGET}}, **more)


def snapshot(obj: Json, seconds: float = 0.0, *, settings: ShellSettings | None = None, **more: Any) -> Snapshot:
    """``obj`` as seen ``seconds`` after NOW; ``more`` are fields of Snapshot."""
    return Snapshot(wfe=obj, now=at(seconds), settings=settings or ShellSettings(), **more)


FREE: dict[Input, Any] = {Input.LOCK: None, Input.RUNNER_ACCOUNT: True, Input.NAMED_RUN: None, Input.NAME_USERS: ()}
"""What the server says about a target that nobody uses."""
HELD: dict[Input, Any] = {**FREE, Input.LOCK: lock(UID)}
"""The same after our acquire."""


def decide(seen: Snapshot, answers: dict[Input, Any] | None = None) -> tuple[Step, list[Input], Snapshot]:
    """The first step that is not a read, what was read before it, and the snapshot it was decided on.

    ``answers``: what the server says to each read; a read that it does not name is an error of the test or the code.
    """
    reads: list[Input] = []
    while True:
        step = decide_step(seen)
        if not isinstance(step, Read):
            return step, reads, seen
        assert step.what not in reads, f"{step.what} is read twice"
        reads.append(step.what)
        assert step.what in (answers or {}), f"unexpected read of {step.what}"
        field = step.what.value.replace("-", "_")
        seen = replace(seen, inputs=replace(seen.inputs, **{field: (answers or {})[step.what]}))


def acts(step: Step) -> Any:
    """The effect of an Act."""
    assert isinstance(step, Act), step
    return step.effect


def committed(step: Step) -> Json:
    """The status of a Commit."""
    assert isinstance(step, Commit), step
    return step.status

"""PipelineRuns, TaskRuns and pods as Tekton 1.12 writes them, built for one test each."""

from __future__ import annotations

from typing import Any

from wfe_controller.kube.objects import Json

RUN_UID = "run-uid"
CREATED = "2026-03-01T12:00:00Z"
STARTED = "2026-03-01T12:00:01Z"
STEP_STARTED = "2026-03-01T12:00:20Z"
ENDED = "2026-03-01T12:02:01Z"


def condition(status: str, reason: str, message: str = "", at: str = ENDED) -> Json:
    return {"type": "Succeeded", "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


def pipeline(tasks: list[str], finally_: list[str] | None = None) -> Json:
    spec: Json = {"tasks": [{"name": name, "taskRef": {"name": name}} for name in tasks]}
    if finally_:
        spec["finally"] = [{"name": name} for name in finally_]
    return spec


def run(
    status: str = "Unknown",
    reason: str = "Running",
    message: str = "",
    *,
    tasks: list[str] | None = None,
    finally_: list[str] | None = None,
    children: list[Any] | None = None,
    started: str | None = STARTED,
    ended: str | None = None,
) -> Json:
    """``children``: pipelineTaskNames (their TaskRuns are called ``wfe-x-<task>``) or whole childReferences."""
    current: Json = {"conditions": [condition(status, reason, message)]}
    if started:
        current["startTime"] = started
    if ended or status != "Unknown":
        current["completionTime"] = ended or ENDED
    if tasks is not None:
        current["pipelineSpec"] = pipeline(tasks, finally_)
    if children:
        current["childReferences"] = [
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": f"wfe-x-{c}", "pipelineTaskName": c}
            if isinstance(c, str)
            else c
            for c in children
        ]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "wfe-x", "namespace": "kubernaut-workflows", "uid": RUN_UID, "creationTimestamp": CREATED},
        "spec": {},
        "status": current,
    }


def task_run(
    task: str,
    status: str = "True",
    reason: str = "Succeeded",
    message: str = "",
    *,
    steps: list[Json] | None = None,
    owner: str = RUN_UID,
    ended: str | None = ENDED,
    pod: str | None = None,
    **more: Any,
) -> Json:
    current: Json = {
        "conditions": [condition(status, reason, message)],
        "podName": f"wfe-x-{task}-pod" if pod is None else pod,
        "startTime": STARTED,
        **more,
    }
    if ended and status != "Unknown":
        current["completionTime"] = ended
    if steps is not None:
        current["steps"] = steps
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {
            "name": f"wfe-x-{task}",
            "namespace": "kubernaut-workflows",
            "uid": f"tr-{task}",
            "creationTimestamp": STARTED,
            "labels": {"tekton.dev/pipelineTask": task, "tekton.dev/pipelineRun": "wfe-x"},
            "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "wfe-x", "uid": owner}],
        },
        "status": current,
    }


def ended_step(name: str, code: int = 0, reason: str = "", *, started: str = STEP_STARTED, **more: Any) -> Json:
    return {
        "name": name,
        "container": f"step-{name}",
        "imageID": "docker.io/library/busybox@sha256:aa",
        "terminated": {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "startedAt": started,
            "finishedAt": ENDED,
            "containerID": "containerd://1",
        },
        **more,
    }


def running_step(name: str) -> Json:
    return {"name": name, "container": f"step-{name}", "imageID": "i", "running": {"startedAt": STEP_STARTED}}


def waiting_step(name: str, reason: str = "PodInitializing") -> Json:
    return {"name": name, "container": f"step-{name}", "waiting": {"reason": reason}}


def made_up_step(name: str, reason: str) -> Json:
    """What Tekton's terminateStepsInPod writes for a step that was still waiting."""
    return {
        "name": name,
        "container": f"step-{name}",
        "terminationReason": reason,
        "terminated": {
            "exitCode": 1,
            "reason": reason,
            "startedAt": STARTED,
            "finishedAt": ENDED,
            "message": f"Step {name} terminated as pod wfe-x-pod is terminated",
        },
    }


def cut_off_step(name: str, reason: str) -> Json:
    """What it writes for a step that was running: the real start, the image, and an invented exit code."""
    return {**made_up_step(name, reason), "imageID": "i"} | {
        "terminated": {"exitCode": 1, "reason": reason, "startedAt": STEP_STARTED, "finishedAt": ENDED}
    }


def pod(
    task: str,
    phase: str = "Pending",
    *,
    containers: list[Json] | None = None,
    init: list[Json] | None = None,
    conditions: list[Json] | None = None,
    run_uid: str = RUN_UID,
) -> Json:
    status: Json = {"phase": phase}
    for field, value in (
        ("containerStatuses", containers),
        ("initContainerStatuses", init),
        ("conditions", conditions),
    ):
        if value is not None:
            status[field] = value
    return {
        "metadata": {
            "name": f"wfe-x-{task}-pod",
            "namespace": "kubernaut-workflows",
            "uid": f"pod-{task}",
            "labels": {
                "tekton.dev/taskRun": f"wfe-x-{task}",
                "tekton.dev/pipelineTask": task,
                "tekton.dev/pipelineRunUID": run_uid,
            },
            "ownerReferences": [{"kind": "TaskRun", "name": f"wfe-x-{task}", "uid": f"tr-{task}"}],
        },
        "status": status,
    }


def container(name: str, **state: Any) -> Json:
    return {"name": name, "state": state, "ready": False, "restartCount": 0}

"""Tekton's own names, reasons and small rules, and accessors of its objects. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from wfe_controller.api.durations import DurationError, parse_duration
from wfe_controller.kube.objects import Json, Resource, condition, mapping, text

API_VERSION = "tekton.dev/v1"
PIPELINES = Resource("tekton.dev", "v1", "pipelines", "Pipeline")

LABEL_PIPELINE = "tekton.dev/pipeline"
LABEL_RUN = "tekton.dev/pipelineRun"
LABEL_RUN_UID = "tekton.dev/pipelineRunUID"
LABEL_TASK = "tekton.dev/pipelineTask"
LABEL_MEMBER_OF = "tekton.dev/memberOf"
LABEL_TASK_RUN = "tekton.dev/taskRun"
LABEL_TASK_RUN_UID = "tekton.dev/taskRunUID"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "tekton-pipelines"
OURS = "tekton.dev/pipeline"
"""In spec.managedBy: Tekton itself. With anything else there the object is another controller's."""
ANNOTATION_RELEASE = "pipeline.tekton.dev/release"
ANNOTATION_ON_ERROR = "pipeline.tekton.dev/pipeline-task-on-error"

PENDING = "PipelineRunPending"
CANCELLED = "Cancelled"
CANCELLED_RUN_FINALLY = "CancelledRunFinally"
STOPPED_RUN_FINALLY = "StoppedRunFinally"
TASK_RUN_CANCELLED = "TaskRunCancelled"

BY_PIPELINE = "TaskRun cancelled as the PipelineRun it belongs to has been cancelled."
BY_TIMEOUT = "TaskRun cancelled as the PipelineRun it belongs to has timed out."

DEFAULT_TIMEOUT, DEFAULT_TIMEOUT_TEXT = timedelta(minutes=60), "1h0m0s"
"""default-timeout-minutes of Tekton's config-defaults."""
USER_ERROR = "[User error] "
_LONGEST = 63
_HASH = 32


def is_ours(obj: Json) -> bool:
    """Whether Tekton reconciles this PipelineRun or TaskRun at all."""
    return mapping(obj.get("spec")).get("managedBy") in (None, OURS)


def child_name(parent: str, suffix: str) -> str:
    """``parent`` + ``suffix`` in at most 63 characters, as knative cuts names."""
    if len(parent) <= _LONGEST - len(suffix):
        return parent + suffix
    head = _LONGEST - _HASH
    if head <= len(suffix):
        return parent[:head] + hashlib.md5((parent + suffix).encode(), usedforsecurity=False).hexdigest()
    return parent[: head - len(suffix)] + hashlib.md5(parent.encode(), usedforsecurity=False).hexdigest() + suffix


def verdict(obj: Mapping[str, Any] | None) -> str:
    """``"True"``, ``"False"`` or ``"Unknown"``, for a missing condition too."""
    found = text(condition(obj, "Succeeded").get("status")) if obj is not None else ""
    return found if found in ("True", "False") else "Unknown"


def is_done(obj: Mapping[str, Any]) -> bool:
    return verdict(obj) != "Unknown"


def set_verdict(status: Json, value: str, reason: str, message: str, now: str) -> None:
    """Tekton has one condition; its transition time moves with any change of it."""
    old: Json = next((c for c in status.get("conditions", []) if c["type"] == "Succeeded"), {})
    new = {"type": "Succeeded", "status": value, "reason": reason, "message": message}
    if any(old.get(key) != item for key, item in new.items()):
        status["conditions"] = [{**new, "lastTransitionTime": now}]


def duration(value: object) -> timedelta | None:
    """A Go duration of a spec; None when there is none. Zero means: no limit."""
    raw = text(value)
    if not raw:
        return None
    try:
        return parse_duration(raw)
    except DurationError:
        return timedelta(0) if raw in ("0", "0s") else None


def timeouts(run: Json) -> tuple[timedelta, timedelta | None, timedelta | None]:
    """(pipeline, tasks, finally); zero = no limit, None = not set."""
    given = mapping(mapping(run.get("spec")).get("timeouts"))
    whole, tasks, last = (duration(given.get(name)) for name in ("pipeline", "tasks", "finally"))
    pipeline = DEFAULT_TIMEOUT if whole is None else whole
    if tasks is None and whole and last:
        tasks = whole - last
    elif last is None and whole and tasks:
        last = whole - tasks
    return pipeline, tasks, last

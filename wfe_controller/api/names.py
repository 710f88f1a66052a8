"""Every name this controller reads or writes on the wire: group, resources, finalizers, labels, annotations.

Labels are an index for selectors and hold only values the API server accepts; the true value always stands in an
annotation of the same name, and ownership is decided by UID (TH1, TH2, TH3).
"""

from __future__ import annotations

import hashlib
import re

from wfe_controller.kube.objects import Resource

GROUP = "kubernaut.ai"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

WORKFLOWEXECUTIONS = Resource(GROUP, VERSION, "workflowexecutions", "WorkflowExecution")
TARGETLOCKS = Resource(GROUP, VERSION, "targetlocks", "TargetLock")
PIPELINERUNS = Resource("tekton.dev", "v1", "pipelineruns", "PipelineRun")
TASKRUNS = Resource("tekton.dev", "v1", "taskruns", "TaskRun")

COMPONENT = "workflowexecution-controller"
FIELD_MANAGER = "wfe-controller"
LEASE_NAME = "workflowexecution.kubernaut.ai"
DEFAULT_CONTROLLER_NAMESPACE = "kubernaut-system"
DEFAULT_EXECUTION_NAMESPACE = "kubernaut-workflows"
RUNNER_SERVICE_ACCOUNT = "kubernaut-workflow-runner"

FINALIZER = f"{GROUP}/workflowexecution-cleanup"
"""On a WorkflowExecution from just before the acquire until just after the release (SPEC 2.5)."""
LEGACY_FINALIZERS = ("workflowexecution.kubernaut.ai/workflowexecution-cleanup",)
"""Finalizers of earlier releases; taken off together with ours (TH42)."""
LOCK_FINALIZER = f"{GROUP}/targetlock"
"""On a TargetLock for all its life; only the sweeper takes it off (SPEC 1.3)."""

# Decisions of operators (SPEC 7, 12): value, who, why.
ANNOTATION_CANCEL = f"{GROUP}/cancel"
ANNOTATION_PAUSE = f"{GROUP}/pause"
ANNOTATION_CLEAR_BLOCK = f"{GROUP}/clear-block"
ANNOTATION_APPROVE = f"{GROUP}/approve"
ANNOTATION_REJECT = f"{GROUP}/reject"
ANNOTATION_ROLLBACK = f"{GROUP}/rollback"
ANNOTATION_ACKNOWLEDGE = f"{GROUP}/acknowledge"
ANNOTATION_OVERRIDE = f"{GROUP}/override"
DECISION_ANNOTATIONS = (
    ANNOTATION_CANCEL,
    ANNOTATION_PAUSE,
    ANNOTATION_CLEAR_BLOCK,
    ANNOTATION_APPROVE,
    ANNOTATION_REJECT,
    ANNOTATION_ROLLBACK,
    ANNOTATION_ACKNOWLEDGE,
    ANNOTATION_OVERRIDE,
)

# Identity of the owner on a run, a Job or an Event: the same key is a label (safe form) and an annotation (raw value).
OWNER_NAME = f"{GROUP}/workflow-execution"
OWNER_UID = f"{GROUP}/workflow-execution-uid"
OWNER_NAMESPACE = f"{GROUP}/source-namespace"
WORKFLOW_ID = f"{GROUP}/workflow-id"
TARGET_RESOURCE = f"{GROUP}/target-resource"
TARGET_HASH = f"{GROUP}/target-hash"
CORRELATION_ID = f"{GROUP}/correlation-id"
MANAGED_BY = "app.kubernetes.io/managed-by"

LABEL_WORKFLOW_EXECUTION = ANNOTATION_WORKFLOW_EXECUTION = OWNER_NAME
LABEL_WORKFLOW_EXECUTION_UID = ANNOTATION_WORKFLOW_EXECUTION_UID = OWNER_UID
LABEL_SOURCE_NAMESPACE = ANNOTATION_SOURCE_NAMESPACE = OWNER_NAMESPACE
LABEL_WORKFLOW_ID = ANNOTATION_WORKFLOW_ID = WORKFLOW_ID
LABEL_TARGET_RESOURCE = ANNOTATION_TARGET_RESOURCE = TARGET_RESOURCE
LABEL_TARGET_HASH = ANNOTATION_TARGET_HASH = TARGET_HASH
LABEL_MANAGED_BY = MANAGED_BY

# Tekton's own labels.
TEKTON_PIPELINE_RUN = "tekton.dev/pipelineRun"
TEKTON_PIPELINE_RUN_UID = "tekton.dev/pipelineRunUID"
TEKTON_PIPELINE_TASK = "tekton.dev/pipelineTask"
TEKTON_TASK_RUN = "tekton.dev/taskRun"

TARGET_RESOURCE_PARAMETER = "TARGET_RESOURCE"
"""The built-in parameter every run receives; it wins over a user parameter of the same name (TH32)."""

LABEL_VALUE_MAX = 63
_LABEL_VALUE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_UNSAFE = re.compile(r"[^-A-Za-z0-9_.]")
_SUFFIX_HEX = 10


def by(annotation: str) -> str:
    """The annotation that names who took the decision."""
    return f"{annotation}-by"


def reason(annotation: str) -> str:
    """The annotation that says why the decision was taken."""
    return f"{annotation}-reason"


def safe_label(value: str) -> str:
    """``value`` as a label value: at most 63 characters, always accepted by the API server.

    ``/`` becomes ``__`` (T59). What does not fit even then is cut and ends in 10 hex digits of its hash, so two long
    values stay apart. Empty stays empty.
    """
    plain = value.replace("/", "__")
    if not plain or (len(plain) <= LABEL_VALUE_MAX and _LABEL_VALUE.fullmatch(plain)):
        return plain
    suffix = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_SUFFIX_HEX]
    stem = _UNSAFE.sub("-", plain)[: LABEL_VALUE_MAX - _SUFFIX_HEX - 1].strip("-_.")
    return f"{stem}-{suffix}" if stem else suffix


def target_hash(canonical: str) -> str:
    """The first 16 hex digits of the SHA-256 of a canonical target."""
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def lock_name(canonical: str) -> str:
    """The name of the target's TargetLock: 20 characters, the same for the same target always (T1)."""
    return f"wfe-{target_hash(canonical)}"


def run_name(canonical: str) -> str:
    """The name of the target's PipelineRun: the second, independent barrier against two runs (DD-WE-003)."""
    return lock_name(canonical)

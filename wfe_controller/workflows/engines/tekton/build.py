"""WorkflowExecution -> PipelineRun manifest. Pure (SPEC 3, T-1.6, holes TH1, TH16, TH32).

The run is born pending: it starts only by a second, guarded write (SPEC 2.4), so that a request of a deposed leader
that lands late can create a pending run but never a running one. There is no ownerReference: owner and run live in
different namespaces, and the garbage collector deletes dependents whose owner it cannot find in their namespace.
"""

from __future__ import annotations

from wfe_controller.api import names
from wfe_controller.api.durations import format_duration
from wfe_controller.api.targets import Target
from wfe_controller.api.workflowexecution import WorkflowExecutionSpec
from wfe_controller.kube.objects import Json, name_of, namespace_of, uid_of
from wfe_controller.workflows.settings import ShellSettings

PENDING = "PipelineRunPending"
CANCELLED_WHILE_PENDING = f"{names.GROUP}/cancelled-while-pending"
"""Annotation written by the same guarded patch that cancels a pending run: proof that nobody ever released it."""


def bundle_reference(image: str, digest: str | None) -> str:
    """``image@digest`` when a digest is given (a tag is dropped: the digest decides), else the image as it stands."""
    if not digest or "@" in image:
        return image
    head, slash, last = image.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


def registry_trouble(image: str, settings: ShellSettings) -> str:
    """Why the image may not be used ("" = it may): ``execution.allowedRegistries`` holds prefixes up to a ``/``."""
    allowed = settings.allowed_registries
    if not allowed or any(image == entry or image.startswith(entry.rstrip("/") + "/") for entry in allowed):
        return ""
    return (
        f"spec.workflowRef.containerImage {image[:128]!r} comes from none of execution.allowedRegistries "
        f"({', '.join(allowed)}): use a bundle from one of them, or have the registry allowed"
    )


def service_account(spec: WorkflowExecutionSpec, settings: ShellSettings) -> tuple[str, str | None]:
    """(account to run as, account asked for but not allowed, or None). The allow-list is empty by default (TH16)."""
    wanted = spec.service_account_name
    if not wanted or wanted == settings.service_account:
        return settings.service_account, None
    if wanted in settings.allowed_service_accounts:
        return wanted, None
    return settings.service_account, wanted


def workflow_timeout(spec: WorkflowExecutionSpec, settings: ShellSettings) -> float:
    """T in seconds: how long the main tasks may take."""
    written = spec.execution_config.timeout if spec.execution_config else None
    return spec.timeout.total_seconds() if written is not None else settings.default_timeout


def pipeline_run(wfe: Json, spec: WorkflowExecutionSpec, target: Target, settings: ShellSettings) -> Json:
    """The manifest to create. Labels carry only values that are legal label values; annotations carry the raw ones."""
    if spec.workflow_ref is None:
        raise ValueError("a PipelineRun needs spec.workflowRef")
    ref = spec.workflow_ref
    seconds = workflow_timeout(spec, settings)
    parameters = {**(spec.parameters or {}), names.TARGET_RESOURCE_PARAMETER: spec.target_resource}
    account, _ = service_account(spec, settings)
    return {
        "apiVersion": names.PIPELINERUNS.api_version,
        "kind": names.PIPELINERUNS.kind,
        "metadata": {
            "name": names.run_name(target.canonical),
            "namespace": settings.execution_namespace,
            "labels": {
                names.MANAGED_BY: names.FIELD_MANAGER,
                names.OWNER_UID: uid_of(wfe),
                names.OWNER_NAME: names.safe_label(name_of(wfe)),
                names.OWNER_NAMESPACE: names.safe_label(namespace_of(wfe)),
                names.WORKFLOW_ID: names.safe_label(ref.workflow_id),
                names.TARGET_RESOURCE: names.safe_label(target.canonical),
                names.TARGET_HASH: names.target_hash(target.canonical),
            },
            "annotations": {
                names.OWNER_UID: uid_of(wfe),
                names.OWNER_NAME: name_of(wfe),
                names.OWNER_NAMESPACE: namespace_of(wfe),
                names.WORKFLOW_ID: ref.workflow_id,
                f"{names.GROUP}/workflow-version": ref.version,
                names.TARGET_RESOURCE: target.canonical,
                names.CORRELATION_ID: spec.remediation_request_ref.name,
            },
        },
        "spec": {
            "status": PENDING,
            "pipelineRef": {
                "resolver": "bundles",
                "params": [
                    {"name": "bundle", "value": bundle_reference(ref.container_image, ref.container_digest)},
                    {"name": "name", "value": "workflow"},
                    {"name": "kind", "value": "pipeline"},
                ],
            },
            "params": [{"name": key, "value": parameters[key]} for key in sorted(parameters)],
            "taskRunTemplate": {"serviceAccountName": account},
            "timeouts": {
                "tasks": format_duration(seconds),
                "finally": format_duration(settings.finally_timeout),
                "pipeline": format_duration(seconds + settings.finally_timeout),
            },
        },
    }

"""Checks and changes that concern more than one object: the life of namespaces, service accounts of pods.

These are the admission plugins of a real server that its users notice. Policies (ValidatingAdmissionPolicy) are stored
and not evaluated.
"""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.status import Cause, forbidden, not_found
from wfe_controller.sandbox.apiserver.store import Stored

Json = dict[str, Any]

NAMESPACES = "namespaces"
PERMANENT = ("default", "kube-system", "kube-public")
_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # a path, not a secret
_TOKEN_SECONDS = 3607
_TOLERATED_SECONDS = 300


def may_create(core: Core, kind: Kind, namespace: str, name: str) -> None:
    """Raises 404 for a namespace that is not there, 403 for one (or a CRD) that is going."""
    info = kind.info
    if info.custom and info.storage in core.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(info.group, info.plural, name, why)
    if not info.namespaced:
        return
    stored = core.store.table(NAMESPACES).get(namespace)
    if stored is None:
        raise not_found("", NAMESPACES, namespace)
    if stored.deleting:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
        raise forbidden(info.group, info.plural, name, why, [cause])


def may_delete(kind: Kind, stored: Stored) -> None:
    """Raises 403 for the namespaces every cluster has."""
    if kind.info.storage == NAMESPACES and stored.name in PERMANENT:
        raise forbidden("", NAMESPACES, stored.name, "this namespace may not be deleted")


def mutate(core: Core, kind: Kind, obj: Json) -> None:
    """What the server adds to a new object."""
    if kind.info.storage == "pods":
        _service_account(core, obj)
        _tolerations(obj)
        spec = obj.get("spec") or {}
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _service_account(core: Core, pod: Json) -> None:
    """The account a pod runs as, and the volume with its token, as the ServiceAccount plugin adds them."""
    spec, metadata = pod.setdefault("spec", {}), pod["metadata"]
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = metadata["namespace"]
    stored = core.store.table("serviceaccounts").get(f"{namespace}/{name}")
    if stored is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden("", "pods", metadata.get("name") or "", why)
    account = stored.decode()
    mounts = spec.get("automountServiceAccountToken")
    if mounts is None:
        mounts = account.get("automountServiceAccountToken")
    if mounts is False:
        return
    containers = [c for key in ("initContainers", "containers") for c in spec.get(key) or () if isinstance(c, dict)]
    needy = [
        container
        for container in containers
        if not any(mount.get("mountPath") == _TOKEN_DIRECTORY for mount in container.get("volumeMounts") or ())
    ]
    if not needy:
        return
    volume = f"kube-api-access-{core.suffix()}"
    for container in needy:
        mount = {"name": volume, "readOnly": True, "mountPath": _TOKEN_DIRECTORY}
        container.setdefault("volumeMounts", []).append(mount)
    field_ref = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources: list[Json] = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field_ref}]}},
    ]
    spec.setdefault("volumes", []).append({"name": volume, "projected": {"sources": sources, "defaultMode": 420}})


def _tolerations(pod: Json) -> None:
    """Every pod bears a lost node for five minutes unless it says otherwise."""
    spec = pod["spec"]
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        borne = any(t.get("key") in (key, "", None) and t.get("effect") in ("NoExecute", "", None) for t in tolerations)
        if not borne:
            entry = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_SECONDS}
            tolerations.append(entry)

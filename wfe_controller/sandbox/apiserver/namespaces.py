"""The life of namespaces: what every new one gets, and how one that is deleted is emptied and ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wfe_controller.sandbox.apiserver.core import Call, Core
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.negotiation import Form
from wfe_controller.sandbox.apiserver.options import DeleteOptions, WriteOptions
from wfe_controller.sandbox.apiserver.rbac import MASTERS, User
from wfe_controller.sandbox.apiserver.store import Stored
from wfe_controller.sandbox.apiserver.verbs import commit_update, create_object
from wfe_controller.sandbox.apiserver.verbs_delete import delete_object

Json = dict[str, Any]

TABLE = "namespaces"
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
CONTROLLER = "kube-controller-manager"
_SYSTEM = User("system:apiserver", groups=(MASTERS,))
_CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
CA = (
    "-----BEGIN CERTIFICATE-----\nthe sandbox speaks plain HTTP on loopback and has no certificate\n"
    "-----END CERTIFICATE-----\n"
)


def bootstrap(core: Core, objects: Iterable[Json]) -> None:
    """Store the namespaces of every cluster and other objects a server writes at its first start."""
    for name in SYSTEM_NAMESPACES:
        put(core, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, manager="kube-apiserver")
    for obj in objects:
        put(core, obj, manager="kube-apiserver")


def put(core: Core, obj: Json, *, manager: str) -> None:
    """Create an object on the server's own behalf. Raises StatusError as a request would."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    info = core.registry.by_kind(group, version, str(obj["kind"]))
    if info is None:
        return
    kind, metadata = core.kind_of(info), obj["metadata"]
    namespace = metadata.get("namespace") or ""
    request = Request("POST", "")
    call = Call(request, _SYSTEM, kind, namespace, "", "", "create", Form())
    create_object(
        core, call, kind.identify({**obj, "metadata": dict(metadata)}), WriteOptions(False, manager, "Ignore", False)
    )


def work(core: Core, name: str) -> None:
    """Look at one namespace: fill a new one, empty one that goes."""
    stored = core.store.table(TABLE).get(name)
    if stored is None:
        return
    if stored.deleting:
        _empty(core, stored)
    else:
        _fill(core, name)


def _fill(core: Core, name: str) -> None:
    # Only when missing: a real controller puts them back whenever somebody deletes them, and so is it here at the
    # next change of the namespace.
    if core.store.table("serviceaccounts").get(f"{name}/default") is None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        put(core, account, manager=CONTROLLER)
    if core.store.table("configmaps").get(f"{name}/kube-root-ca.crt") is None:
        annotations = {"kubernetes.io/description": _CA_DESCRIPTION}
        metadata = {"name": "kube-root-ca.crt", "namespace": name, "annotations": annotations}
        put(
            core,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": CA}},
            manager=CONTROLLER,
        )


def _empty(core: Core, stored: Stored) -> None:
    """Delete everything in a namespace; without content it loses its own finalizer and ends."""
    name = stored.name
    remaining: dict[str, int] = {}
    finalizers: dict[str, int] = {}
    for storage in list(core.store.tables):
        kind = core.kind_for(storage)
        if kind is None or not kind.info.namespaced:
            continue
        info = kind.info
        for key in list(kind.table.keys(name)):
            found = kind.table.get(key)
            if found is not None and not found.deleting:
                delete_object(core, kind, found, DeleteOptions(False, "Background", None, found.uid, None))
            found = kind.table.get(key)
            if found is not None:
                resource = f"{info.plural}.{info.group}"  # with the dot, whatever the group
                remaining[resource] = remaining.get(resource, 0) + 1
                for finalizer in found.decode()["metadata"].get("finalizers") or ():
                    finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    current = core.store.table(TABLE).get(name)
    if current is None or current.uid != stored.uid:
        return
    kind = core.kind("", "v1", TABLE)
    old = kind.load(current)
    new = kind.load(current)
    if remaining:
        new.setdefault("status", {})["conditions"] = _conditions(core, new, remaining, finalizers)
    else:
        left = [f for f in (new.get("spec") or {}).get("finalizers") or () if f != "kubernetes"]
        new["spec"] = {"finalizers": left} if left else {}
    _save(core, kind, current, old, new)


def _save(core: Core, kind: Kind, stored: Stored, old: Json, new: Json) -> None:
    kind.manager("status").update(old, new, manager=CONTROLLER, now=core.now())
    commit_update(core, kind, stored, old, new)


def _conditions(core: Core, namespace: Json, remaining: dict[str, int], finalizers: dict[str, int]) -> list[Json]:
    """The conditions that tell why a namespace is still there."""
    resources = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remaining.items()))
    names = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", True, "SomeResourcesRemain", f"Some resources are remaining: {resources}"),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {names}"
            if finalizers
            else "All content-preserving finalizers finished",
        ),
    ]
    known = {c.get("type"): c for c in (namespace.get("status") or {}).get("conditions") or ()}
    conditions = []
    for type_, true, reason, message in wanted:
        status = "True" if true else "False"
        before = known.get(type_) or {}
        since = before["lastTransitionTime"] if before.get("status") == status else core.timestamp()
        entry = {"type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        conditions.append(entry)
    return conditions

"""What becomes of CustomResourceDefinitions: their names are accepted, their kinds served, and cleaned up at the end.

``crds`` knows what a definition means; here is when: a kind is served as soon as its definition says Established, in
the same turn of the loop; a definition that is deleted ends when its last object is gone, and its table with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wfe_controller.sandbox.apiserver import crds
from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.options import DeleteOptions
from wfe_controller.sandbox.apiserver.store import Event, Stored
from wfe_controller.sandbox.apiserver.verbs import commit_update
from wfe_controller.sandbox.apiserver.verbs_delete import delete_object

Json = dict[str, Any]

TABLE = "customresourcedefinitions.apiextensions.k8s.io"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
MANAGER = "kube-apiserver"


class Definers:
    """The definitions of one server."""

    table = TABLE

    def __init__(self, core: Core) -> None:
        self._core = core
        for info in core.registry.all():
            if info.storage == TABLE:
                core.registry.add(replace(info, strategy=DefinitionStrategy(core)))

    def noticed(self, event: Event) -> None:
        """Serve what is established, stop serving what is gone. Called inside the write."""
        core, stored = self._core, event.new
        obj = stored.decode()
        group, plural = obj["spec"]["group"], obj["spec"]["names"]["plural"]
        if event.type == "DELETED":
            core.terminating.discard(stored.name)
            core.registry.remove(group, plural)
            self._cut(stored.name)
            core.store.drop_table(stored.name)
            return
        if stored.deleting:
            core.terminating.add(stored.name)
        if not crds.is_established(obj):
            return
        infos = crds.resources(self._kind().identify(obj))
        served = {info.version for info in infos}
        for info in core.registry.all():
            if (info.group, info.plural) == (group, plural) and info.custom and info.version not in served:
                core.registry.remove(group, plural, info.version)
        before = event.old.decode() if event.old is not None else None
        same = before is not None and before["spec"] == obj["spec"] and crds.is_established(before)
        if before is None or not crds.is_established(before):
            core.store.table(stored.name).watched_from = core.store.revision
        if not same or event.old is None or event.old.deleting != stored.deleting:
            for info in infos:
                core.registry.add(info)

    def _cut(self, table: str) -> None:
        for listener in tuple(self._core.store.table(table).listeners):
            cut = getattr(getattr(listener, "__self__", None), "cut", None)
            if cut is not None:
                cut()

    def work(self, name: str) -> None:
        """Bring the status of one definition up to date, or go on with its end."""
        core, kind = self._core, self._kind()
        stored = kind.table.get(name)
        if stored is None:
            return
        if stored.deleting:
            self._end(kind, stored)
            return
        others = [kind.load(other) for other in kind.table.objects.values() if other.name != name]
        old = kind.load(stored)
        status = crds.settle(kind.load(stored), others, core.now())
        if status is not None:
            self._write_status(kind, stored, old, status)

    def _write_status(self, kind: Kind, stored: Stored, old: Json, status: Json) -> None:
        new = kind.load(stored)
        new["status"] = status
        kind.manager("status").update(old, new, manager=MANAGER, now=self._core.now())
        commit_update(self._core, kind, stored, old, new)

    def _end(self, kind: Kind, stored: Stored) -> None:
        core = self._core
        table = core.store.table(stored.name)
        instances = core.kind_for(stored.name)
        if instances is not None:
            for key in list(table.keys()):
                found = table.get(key)
                if found is not None and not found.deleting:
                    delete_object(core, instances, found, DeleteOptions(False, "Background", None, found.uid, None))
        current = kind.table.get(stored.name)
        if current is None or current.uid != stored.uid:
            return
        old = kind.load(current)
        if len(table):
            status = dict(old.get("status") or {})
            reason, text = "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            if not _says(old, reason):
                status["conditions"] = _with_terminating(status, reason, text, core.timestamp())
                self._write_status(kind, current, old, status)
            return
        new = kind.load(current)
        left = [name for name in new["metadata"].get("finalizers") or () if name != FINALIZER]
        new["metadata"].pop("finalizers", None)
        if left:
            new["metadata"]["finalizers"] = left
        commit_update(core, kind, current, old, new)

    def _kind(self) -> Kind:
        return self._core.kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")


class DefinitionStrategy(crds.CrdStrategy):
    """What a definition does on its way out, besides what ``crds`` says of its life."""

    end_finalizer = FINALIZER

    def __init__(self, core: Core) -> None:
        self._core = core

    def may_end(self, obj: Json) -> bool:
        return FINALIZER not in (obj["metadata"].get("finalizers") or ())

    def mark_deleting(self, obj: Json) -> None:
        mark_deleting(obj, self._core.timestamp())


def mark_deleting(definition: Json, now: str) -> None:
    """What a DELETE writes into a definition besides the deletionTimestamp."""
    status = definition.setdefault("status", {})
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    status["conditions"] = _with_terminating(status, "InstanceDeletionPending", text, now)


def _with_terminating(status: Json, reason: str, text: str, now: str) -> list[Json]:
    conditions = list(status.get("conditions") or ())
    since = next((c["lastTransitionTime"] for c in conditions if c.get("type") == "Terminating"), now)
    entry = {"type": "Terminating", "status": "True", "lastTransitionTime": since, "reason": reason, "message": text}
    return [*(c for c in conditions if c.get("type") != "Terminating"), entry]


def _condition(obj: Json, type_: str) -> Json:
    for entry in (obj.get("status") or {}).get("conditions") or ():
        if entry.get("type") == type_:
            found: Json = entry
            return found
    return {}


def _says(obj: Json, reason: str) -> bool:
    return _condition(obj, "Terminating").get("reason") == reason

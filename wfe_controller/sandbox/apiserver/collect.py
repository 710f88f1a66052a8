"""What a real cluster's controller manager does so that deletions end: garbage collection by owner, namespaces, CRDs.

One task works through a queue that writes fill; it yields between items, so that clients see the states in between
(foregroundDeletion, Terminating) as they do with a real one. It never waits for time to pass.

Kept here: dependents are found by the owner's uid only; an owner counts as there only with that uid; nothing is deleted
that another live owner holds.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable
from typing import Any

import structlog

from wfe_controller.sandbox.apiserver import budgets, namespaces
from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.definers import Definers
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.options import DeleteOptions
from wfe_controller.sandbox.apiserver.status import StatusError
from wfe_controller.sandbox.apiserver.store import Event, Stored, Table
from wfe_controller.sandbox.apiserver.verbs import commit_update
from wfe_controller.sandbox.apiserver.verbs_delete import FOREGROUND, ORPHAN, delete_object

Json = dict[str, Any]
Place = tuple[str, str]
"""A table and a key in it."""

TRACE_LINES = 12
_log = structlog.get_logger("wfe.sandbox.apiserver")


class Collector:
    """The background work of one server."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dependents: dict[str, set[Place]] = {}
        self._queue: dict[tuple[str, Place], None] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.definers = Definers(core)
        core.store.observers.append(self._notice)

    def bootstrap(self, objects: Iterable[Json]) -> None:
        """Store what every server starts with: its namespaces, and these objects."""
        namespaces.bootstrap(self._core, objects)

    # -- queue --------------------

    def _notice(self, table: Table, event: Event) -> None:
        new, old = event.new, event.old
        place = (table.name, new.key)
        gone = event.type == "DELETED"
        before = old.owners if old is not None else ()
        after = () if gone else new.owners
        if before != after:
            for uid in before:
                self._dependents.get(uid, set()).discard(place)
            for uid in after:
                self._dependents.setdefault(uid, set()).add(place)
            if after:
                self._add("dependent", place)
        if gone:
            for dependent in sorted(self._dependents.pop(new.uid, ())):
                self._add("dependent", dependent)
            self._owners_of(new, before)
        elif new.deleting:
            self._add("owner", place)
            self._owners_of(new, after)
        self._cluster(table, event)

    def _owners_of(self, dependent: Stored, uids: Iterable[str]) -> None:
        """Owners that wait for their dependents are looked at again when one of those goes."""
        for reference in (dependent.decode()["metadata"].get("ownerReferences") or ()) if uids else ():
            found = self._owner(reference, dependent.namespace)
            if found is not None and found[1].deleting:
                self._add("owner", (found[0].info.storage, found[1].key))

    def _cluster(self, table: Table, event: Event) -> None:
        new = event.new
        if table.name == budgets.TABLE:
            self._add("budget", (table.name, new.key))
        elif table.name == budgets.PODS and self._core.store.tables.get(budgets.TABLE):
            for key in budgets.of_pod(self._core, new):
                self._add("budget", (budgets.TABLE, key))
        if table.name == namespaces.TABLE:
            self._add("namespace", (table.name, new.key))
        elif table.name == self.definers.table:
            self.definers.noticed(event)
            self._add("definition", (table.name, new.key))
        elif event.type == "DELETED":
            home = self._core.store.table(namespaces.TABLE).get(new.namespace) if new.namespace else None
            if home is not None and home.deleting:
                self._add("namespace", (namespaces.TABLE, new.namespace))
            if table.name in self._core.terminating:
                self._add("definition", (self.definers.table, table.name))

    def _add(self, what: str, place: Place) -> None:
        self._queue[what, place] = None
        self.wake()

    def wake(self) -> None:
        """Start working when there is something to do and a loop to do it in."""
        if not self._queue or self._closed or (self._task is not None and not self._task.done()):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the first request; it wakes us
        self._task = loop.create_task(self._run(), name="collector")

    async def close(self) -> None:
        """End the background work where it is."""
        self._closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def idle(self) -> None:
        """Return when nothing is left to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._queue:
            await self._core.clock.sleep(0)
            item = next(iter(self._queue), None)
            if item is None:
                return
            del self._queue[item]
            what, (table, key) = item
            try:
                self._work(what, table, key)
            except StatusError as error:
                # As with a real one: somebody else changed it meanwhile, and that change is in the queue itself.
                _log.info("left for later", what=what, table=table, key=key, error=str(error))
            except Exception:  # noqa: BLE001 - one odd object must not end the work on all others; it is logged
                trace = traceback.format_exc(limit=-TRACE_LINES)
                _log.error("background work failed", what=what, table=table, key=key, trace=trace)

    def _work(self, what: str, table: str, key: str) -> None:
        if what == "namespace":
            namespaces.work(self._core, key)
            return
        if what == "budget":
            budgets.count(self._core, key)
            return
        if what == "definition":
            self.definers.work(key)
            return
        kind = self._core.kind_for(table)
        stored = self._core.store.table(table).get(key)
        if kind is None or stored is None:
            return
        if what == "owner":
            self._finish_owner(kind, stored)
        else:
            self._check_dependent(kind, stored)

    # -- garbage --------------------

    def _owner(self, reference: Json, namespace: str) -> tuple[Kind, Stored] | None:
        """The stored owner of a reference, whatever its uid; None when there is none."""
        group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
        info = self._core.registry.by_kind(group, version, str(reference.get("kind") or ""))
        if info is None:
            return None
        name = str(reference.get("name") or "")
        kind = self._core.kind_of(info)
        stored = kind.table.get(f"{namespace}/{name}" if info.namespaced else name)
        return None if stored is None else (kind, stored)

    def _unknown(self, reference: Json) -> bool:
        """Whether the owner's kind is not served: nobody can say then whether it is there."""
        group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
        return self._core.registry.by_kind(group, version, str(reference.get("kind") or "")) is None

    def _check_dependent(self, kind: Kind, stored: Stored) -> None:
        obj = kind.load(stored)
        metadata = obj["metadata"]
        references = metadata.get("ownerReferences") or []
        if stored.deleting or not references:
            return
        solid, gone, waiting = [], [], []
        for reference in references:
            if self._unknown(reference):
                return
            found = self._owner(reference, stored.namespace)
            if found is None or found[1].uid != reference.get("uid"):
                gone.append(reference)
            elif self._waits(found[1]) and reference.get("blockOwnerDeletion"):
                waiting.append(reference)
            else:
                solid.append(reference)
        if solid:
            if gone or waiting:
                self._rewrite(kind, stored, obj, solid)
            return
        finalizers = metadata.get("finalizers") or ()
        if waiting and self._dependents.get(stored.uid):
            policy = "Foreground"
        elif ORPHAN in finalizers:
            policy = "Orphan"
        else:
            policy = "Foreground" if FOREGROUND in finalizers else "Background"
        delete_object(self._core, kind, stored, DeleteOptions(False, policy, None, stored.uid, None))

    @staticmethod
    def _waits(owner: Stored) -> bool:
        return owner.deleting and FOREGROUND in (owner.decode()["metadata"].get("finalizers") or ())

    def _rewrite(self, kind: Kind, stored: Stored, obj: Json, references: list[Json]) -> None:
        """Leave a dependent only these owners."""
        new = dict(obj, metadata=dict(obj["metadata"]))
        if references:
            new["metadata"]["ownerReferences"] = references
        else:
            new["metadata"].pop("ownerReferences", None)
        self._save(kind, stored, obj, new)

    def _save(self, kind: Kind, stored: Stored, old: Json, new: Json) -> None:
        kind.manager().update(old, new, manager="kube-controller-manager", now=self._core.now())
        commit_update(self._core, kind, stored, old, new)

    def _finish_owner(self, kind: Kind, stored: Stored) -> None:
        """Do for an object that is being deleted what its propagation finalizers ask, and take them away when done."""
        obj = kind.load(stored)
        finalizers = obj["metadata"].get("finalizers") or []
        if ORPHAN in finalizers:
            for place in sorted(self._dependents.get(stored.uid, ())):
                self._orphan(place, stored.uid)
            self._drop_finalizer(kind, stored, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = [
                place for place in sorted(self._dependents.get(stored.uid, ())) if self._blocks(place, stored.uid)
            ]
            if not blocking:
                self._drop_finalizer(kind, stored, FOREGROUND)
            for place in blocking:
                self._add("dependent", place)

    def _blocks(self, place: Place, uid: str) -> bool:
        dependent = self._core.store.table(place[0]).get(place[1])
        if dependent is None:
            return False
        references = dependent.decode()["metadata"].get("ownerReferences") or ()
        return any(r.get("uid") == uid and r.get("blockOwnerDeletion") for r in references)

    def _orphan(self, place: Place, uid: str) -> None:
        kind = self._core.kind_for(place[0])
        stored = self._core.store.table(place[0]).get(place[1])
        if kind is None or stored is None:
            return
        obj = kind.load(stored)
        kept = [r for r in obj["metadata"].get("ownerReferences") or () if r.get("uid") != uid]
        self._rewrite(kind, stored, obj, kept)

    def _drop_finalizer(self, kind: Kind, stored: Stored, finalizer: str) -> None:
        current = kind.table.get(stored.key)
        if current is None or current.uid != stored.uid:
            return
        old = kind.load(current)
        new = kind.load(current)
        left = [name for name in new["metadata"].get("finalizers") or () if name != finalizer]
        if left:
            new["metadata"]["finalizers"] = left
        else:
            new["metadata"].pop("finalizers", None)
        self._save(kind, current, old, new)

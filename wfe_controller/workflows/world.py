"""What the workers of this room act through: API, ledger, caches, recorder. Built by app/wiring, one per process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from wfe_controller.api import names
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.changes import Change, Deleted
from wfe_controller.kube.cache.consistency import Consistency
from wfe_controller.kube.cache.store import Store
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.objects import Json, ObjectKey, condition
from wfe_controller.locking.ledger import Ledger
from wfe_controller.workflows.instruments import NoWorkflowInstruments, WorkflowInstruments
from wfe_controller.workflows.settings import ShellSettings

V = TypeVar("V")

BY_UID = "uid"
BY_OWNER = "ownerUid"
BY_TARGET = "targetResource"
BY_TARGET_HASH = "targetHash"
BY_HOLDER = "holderUid"
GRAVEYARD = 512


class EventSink(Protocol):
    """What the recorder offers: never blocks, never fails."""

    def event(
        self, regarding: Mapping[str, Any], type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None: ...


class Graveyard:
    """Last states of deleted runs, TaskRuns and pods: results and evidence deleted under our eyes (TH13, P:T1).

    Tekton deletes the pods of a cancelled run, and only the pod could prove that no step ever started.

    Bounded, in memory only: after a restart such a run counts as vanished, which is the safe reading.
    """

    def __init__(self, size: int = GRAVEYARD) -> None:
        self._size = size
        self._runs: OrderedDict[str, Json] = OrderedDict()
        self._task_runs: OrderedDict[str, tuple[str, Json]] = OrderedDict()
        self._pods: OrderedDict[str, tuple[str, Json]] = OrderedDict()

    def saw_run(self, change: Change) -> None:
        if isinstance(change, Deleted) and change.last is not None and _final(change, change.last):
            self._put(self._runs, change.last.uid, change.last.decode())

    def saw_task_run(self, change: Change) -> None:
        if isinstance(change, Deleted) and change.last is not None and _final(change, change.last):
            owner = change.last.labels.get(names.OWNER_UID, "")
            self._put(self._task_runs, change.last.uid, (owner, change.last.decode()))

    def saw_pod(self, change: Change) -> None:
        """Only a deletion that was seen tells the pod's final state; a tombstone might hide that it was started."""
        if isinstance(change, Deleted) and change.last is not None and change.final_state_known:
            owner = change.last.labels.get(names.OWNER_UID, "")
            self._put(self._pods, change.last.uid, (owner, change.last.decode()))

    def run(self, uid: str) -> Json | None:
        return self._runs.get(uid)

    def pods(self, owner_uid: str) -> list[Json]:
        return [obj for owner, obj in self._pods.values() if owner == owner_uid]

    def task_runs(self, owner_uid: str) -> list[Json]:
        return [obj for owner, obj in self._task_runs.values() if owner == owner_uid]

    def _put(self, into: OrderedDict[str, V], key: str, value: V) -> None:
        into[key] = value
        while len(into) > self._size:
            into.popitem(last=False)


def _final(change: Deleted, last: CachedObject) -> bool:
    """Whether ``last`` is how it ended. A tombstone may hide that a step was started after it: what was not done then
    proves nothing, and nothing is what it has to look like."""
    return change.final_state_known or condition(last.decode(), "Succeeded").get("status") in ("True", "False")


@dataclass(slots=True)
class World:
    """``engine(name)`` says whether an engine can run now, and if not why. ``wake`` enqueues another object's key."""

    api: Api
    ledger: Ledger
    clock: Clock
    settings: Callable[[], ShellSettings]
    executions: Store
    locks: Store
    runs: Store
    task_runs: Store
    pods: Store
    consistency: Consistency
    events: EventSink
    engine: Callable[[str], tuple[bool, str]]
    wake: Callable[[ObjectKey], None]
    wake_lock: Callable[[ObjectKey], None]
    instruments: WorkflowInstruments = field(default_factory=NoWorkflowInstruments)
    graveyard: Graveyard = field(default_factory=Graveyard)


def index_uid(obj: CachedObject) -> list[str]:
    return [obj.uid] if obj.uid else []


def index_owner(obj: CachedObject) -> list[str]:
    """The UID of the WorkflowExecution a run, TaskRun or pod belongs to."""
    uid = obj.labels.get(names.OWNER_UID, "")
    return [uid] if uid else []


def index_target(obj: CachedObject) -> list[str]:
    """The canonical target; nothing when it cannot be parsed."""
    try:
        return [parse_target(str(obj.field("spec", "targetResource") or "")).canonical]
    except TargetError:
        return []


def index_target_hash(obj: CachedObject) -> list[str]:
    value = obj.labels.get(names.TARGET_HASH, "")
    return [value] if value else []


def index_holder(obj: CachedObject) -> list[str]:
    """The UID of whoever holds a TargetLock."""
    uid = obj.field("status", "holder", "uid")
    return [uid] if isinstance(uid, str) and uid else []

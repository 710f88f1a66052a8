"""Everything a phase handler may look at, frozen for one decision.

Parsed late (I: a bad object becomes a Failed object, never a dead worker). ``UNREAD`` marks an input that has not been
read from the server in this reconcile; handlers ask for it with a ``Read`` step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, Final, Literal

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL, Engine, Phase
from wfe_controller.api.targets import Target, TargetError, parse_target
from wfe_controller.api.workflowexecution import InvalidSpec, WorkflowExecutionSpec, parse_spec
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.errors import KubeError
from wfe_controller.kube.objects import (
    Json,
    ObjectKey,
    annotations_of,
    finalizers_of,
    is_deleting,
    key_of,
    mapping,
    metadata,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.decision import Claim, HolderState
from wfe_controller.locking.record import LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.settings import ShellSettings


class Unread(Enum):
    """The type of ``UNREAD``: not asked for yet, which is not the same as absent (None)."""

    UNREAD = "unread"


UNREAD: Final = Unread.UNREAD

_NO = ("false", "off", "0", "no", "n")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Saved from the failing container before anything is cleaned up (P:T9). ``log_tail``: at most 4 KiB, redacted."""

    container: str = ""
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Live reads of this reconcile, each UNREAD until a handler asked for it."""

    lock: LockRecord | LockUnreadable | TargetCollision | Unread | None = UNREAD
    holder: HolderState | Unread = UNREAD
    holder_workflow: str = ""
    named_run: Json | Unread | None = UNREAD
    own_run: Json | Unread | None = UNREAD
    task_runs: tuple[Json, ...] | Unread = UNREAD
    pods: tuple[Json, ...] | Unread = UNREAD
    name_users: tuple[str, ...] | Unread = UNREAD
    runner_account: bool | Unread = UNREAD
    evidence: Evidence | Unread = UNREAD


@dataclass(frozen=True)
class Snapshot:
    """One WorkflowExecution with what is known about it at ``now``.

    ``cached_run``, ``cached_task_runs`` and ``cached_pods`` come from the informers (may lag); ``inputs`` are live.
    ``create_error`` is the refusal of the run's create in this reconcile. ``last_seen_run`` and ``last_seen_pods`` are
    the final states of an own run and of its pods that the watch saw being deleted. ``cached_hold``: a cached lock
    names me as its holder. ``restated``: the phase here is not the one that is stored, so it is to be written.
    """

    wfe: Json
    now: datetime
    settings: ShellSettings
    engine_available: bool = True
    engine_why: str = ""
    cached_run: Json | None = None
    cached_task_runs: tuple[Json, ...] = ()
    cached_pods: tuple[Json, ...] = ()
    last_seen_run: Json | None = None
    last_seen_pods: tuple[Json, ...] = ()
    lock_conflict_with: str = ""
    cached_hold: bool = False
    create_error: KubeError | None = None
    inputs: Inputs = field(default_factory=Inputs)
    committed: bool = False
    restated: bool = False
    derived: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was worked out of the spec; shared with every snapshot that ``replace`` makes of this one."""

    # identity -------------------------------------------------------------------------------------------------------

    @cached_property
    def key(self) -> ObjectKey:
        return key_of(self.wfe)

    @cached_property
    def uid(self) -> str:
        return uid_of(self.wfe)

    @cached_property
    def status(self) -> Mapping[str, Any]:
        return status(self.wfe)

    @cached_property
    def phase(self) -> str:
        """The phase as written; "" when none was written yet. May be a word this version does not know."""
        return text(self.status.get("phase"))

    @property
    def terminal(self) -> bool:
        return self.phase in TERMINAL

    @property
    def astray(self) -> bool:
        """In a phase that nobody here handles: another writer's word, or that of a version with more engines."""
        return bool(self.phase) and not self.terminal and self.phase not in (Phase.PENDING, Phase.RUNNING)

    def as_running(self) -> Snapshot:
        """The same object in the phase Running: whatever its status says, it named a run or holds a target, and what
        it started has to be looked at."""
        return replace(self, wfe={**self.wfe, "status": {**self.status, "phase": str(Phase.RUNNING)}}, restated=True)

    @property
    def deleting(self) -> bool:
        return is_deleting(self.wfe)

    @property
    def has_finalizer(self) -> bool:
        """Ours, under its present name or a former one: both keep the object, and both are taken off (TH42)."""
        return not {names.FINALIZER, *names.LEGACY_FINALIZERS}.isdisjoint(finalizers_of(self.wfe))

    @cached_property
    def generation(self) -> int:
        value = metadata(self.wfe).get("generation")
        return value if isinstance(value, int) else 0

    @cached_property
    def created(self) -> datetime:
        return parse_rfc3339(metadata(self.wfe).get("creationTimestamp")) or self.now

    @cached_property
    def deletion_time(self) -> datetime | None:
        return parse_rfc3339(metadata(self.wfe).get("deletionTimestamp"))

    @cached_property
    def start_time(self) -> datetime | None:
        return parse_rfc3339(self.status.get("startTime"))

    # wishes of operators --------------------------------------------------------------------------------------------

    @cached_property
    def cancel_reason(self) -> str | None:
        """The value of the cancel annotation; "" counts as a request without a reason; None = not requested.

        A word that plainly says no is no request: whoever writes ``cancel=false`` does not want the run to end.
        """
        value = annotations_of(self.wfe).get(names.ANNOTATION_CANCEL)
        return value if isinstance(value, str) and value.strip().lower() not in _NO else None

    @property
    def cancel_by(self) -> str:
        return text(annotations_of(self.wfe).get(names.by(names.ANNOTATION_CANCEL)))

    @property
    def paused(self) -> bool:
        return annotations_of(self.wfe).get(names.ANNOTATION_PAUSE) == "true"

    @property
    def pause_ignored(self) -> str:
        """Why the pause annotation that stands there pauses nothing ("" = none, or it does)."""
        value = annotations_of(self.wfe).get(names.ANNOTATION_PAUSE)
        if value is None or self.paused:
            return ""
        return f"{names.ANNOTATION_PAUSE}={text(value)[:64]!r} pauses nothing: the value that does is 'true'"

    @property
    def cancel_ignored(self) -> str:
        """Why the cancel annotation that stands there cancels nothing ("" = none, or it does)."""
        value = annotations_of(self.wfe).get(names.ANNOTATION_CANCEL)
        if value is None or self.cancel_reason is not None:
            return ""
        return f"{names.ANNOTATION_CANCEL}={text(value)[:64]!r} cancels nothing: its value is the reason to cancel"

    # spec -----------------------------------------------------------------------------------------------------------

    @cached_property
    def engine(self) -> Engine:
        """steps when only workflowDefinition is there, else tekton."""
        raw = spec(self.wfe)
        return Engine.STEPS if raw.get("workflowDefinition") and not raw.get("workflowRef") else Engine.TEKTON

    @cached_property
    def parsed(self) -> WorkflowExecutionSpec | InvalidSpec:
        known = self.derived.get("parsed")
        if known is not None and known[0] == self.wfe.get("spec"):
            return known[1]  # type: ignore[no-any-return]  # written below, and nowhere else
        try:
            found: WorkflowExecutionSpec | InvalidSpec = parse_spec(self.wfe)
        except InvalidSpec as error:
            found = error
        self.derived["parsed"] = (self.wfe.get("spec"), found)
        return found

    @cached_property
    def target(self) -> Target | TargetError:
        try:
            return parse_target(text(spec(self.wfe).get("targetResource")))
        except TargetError as error:
            return error

    @cached_property
    def canonical(self) -> str | None:
        """The canonical target, or None when it cannot be parsed (then there is no lock to speak of)."""
        return None if isinstance(self.target, TargetError) else self.target.canonical

    @cached_property
    def workflow_id(self) -> str:
        if isinstance(self.parsed, InvalidSpec):
            return text(mapping(spec(self.wfe).get("workflowRef")).get("workflowId"))
        return self.parsed.workflow_id

    @cached_property
    def claim(self) -> Claim:
        return Claim(
            uid=self.uid,
            name=self.key.name,
            namespace=self.key.namespace,
            workflow_id=self.workflow_id,
            engine=str(self.engine),
        )

    # the run --------------------------------------------------------------------------------------------------------

    @cached_property
    def run_uid(self) -> str:
        """``status.pipelineRunRef.uid``; "" = no run of mine was ever started."""
        return text(mapping(self.status.get("pipelineRunRef")).get("uid"))

    @property
    def run_key(self) -> ObjectKey | None:
        """Where my run is: the reference in status, else the deterministic name."""
        ref = mapping(self.status.get("pipelineRunRef"))
        name, namespace = text(ref.get("name")), text(ref.get("namespace"))
        if name and namespace:
            return ObjectKey(namespace, name)
        if self.canonical is None:
            return None
        return ObjectKey(self.settings.execution_namespace, names.run_name(self.canonical))

    @property
    def lock(self) -> LockRecord | LockUnreadable | TargetCollision | Unread | None:
        return self.inputs.lock

    @property
    def holds(self) -> bool | Literal[Unread.UNREAD]:
        """Whether the live lock names me as its holder."""
        lock = self.inputs.lock
        if isinstance(lock, Unread):
            return UNREAD
        return isinstance(lock, LockRecord) and lock.holder is not None and lock.holder.uid == self.uid

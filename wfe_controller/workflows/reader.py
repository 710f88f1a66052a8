"""Live reads, one per ``Input``. Absent is an answer; unreadable is an error that stops the decision (SPEC 2.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import structlog

from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL, Phase
from wfe_controller.api.workflowexecution import InvalidSpec
from wfe_controller.failure.redaction import redact
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import Forbidden, KubeError, NotFound
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, Json, ObjectKey, Resource, name_of, status, text, uid_of
from wfe_controller.locking.decision import HolderState
from wfe_controller.locking.record import Holder, LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.engines.tekton import launch
from wfe_controller.workflows.engines.tekton.build import service_account
from wfe_controller.workflows.engines.tekton.follow import own_run
from wfe_controller.workflows.engines.tekton.verdict import judge
from wfe_controller.workflows.plan import Input
from wfe_controller.workflows.snapshot import Evidence, Inputs, Snapshot, Unread
from wfe_controller.workflows.world import BY_UID, World

log = structlog.get_logger("wfe.workflows")

LOG_TAIL_BYTES = 4096
LOG_LINES = 200
LOG_LIMIT_BYTES = 4 << 20
"""More than that many lines can hold (runtimes cut them at 16 KiB): the server would cut the *end* off, which is the
part that is wanted, so the limit only guards against a runtime that cuts nothing."""
REDACTED_BYTES = 32 * LOG_TAIL_BYTES
"""What is looked at for secrets: the end, and the longest secret that may reach into it (64 KiB)."""
ACCOUNT_TTL = 30.0
"""Seconds a runner account that was seen to exist is not asked for again; its absence is never remembered."""


class Reader:
    """Fills ``Snapshot.inputs``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accounts: dict[ObjectKey, float] = {}

    async def read(self, snapshot: Snapshot, what: Input) -> Snapshot:
        """The snapshot with that input read. Raises the KubeError of the read."""
        return replace(snapshot, inputs=await self._read(snapshot, what))

    async def _read(self, snapshot: Snapshot, what: Input) -> Inputs:
        inputs = snapshot.inputs
        match what:
            case Input.LOCK:
                return replace(inputs, lock=await self._lock(snapshot))
            case Input.HOLDER:
                return replace(
                    inputs, holder=await self._holder(snapshot), holder_workflow=self._holder_workflow(snapshot)
                )
            case Input.NAMED_RUN:
                return replace(inputs, named_run=await self._run(_named_key(snapshot)))
            case Input.OWN_RUN:
                return replace(inputs, own_run=await self._run(snapshot.run_key, _lane(snapshot)))
            case Input.TASK_RUNS:
                return replace(inputs, task_runs=await self.owned(names.TASKRUNS, snapshot))
            case Input.PODS:
                return replace(inputs, pods=await self.owned(PODS, snapshot))
            case Input.NAME_USERS:
                return replace(inputs, name_users=await self._name_users(snapshot))
            case Input.RUNNER_ACCOUNT:
                return replace(inputs, runner_account=await self._account(snapshot))
            case Input.EVIDENCE:
                return replace(inputs, evidence=await self._evidence(snapshot))
            case _:
                assert_never(what)

    async def _lock(self, snapshot: Snapshot) -> LockRecord | LockUnreadable | TargetCollision | None:
        if snapshot.canonical is None:
            return None
        try:
            return await self._world.ledger.read(snapshot.canonical, _lane(snapshot))
        except (LockUnreadable, TargetCollision) as error:
            return error
        except Forbidden as error:
            return LockUnreadable(f"reading the lock is forbidden: {error.message}")

    async def _holder(self, snapshot: Snapshot) -> HolderState:
        lock = snapshot.inputs.lock
        holder = lock.holder if isinstance(lock, LockRecord) else None
        if holder is None:
            return HolderState.GONE
        state = await self.holder_state(holder)
        if state is HolderState.TERMINAL:
            self._world.wake(ObjectKey(holder.namespace, holder.name))
        elif state is HolderState.GONE and isinstance(lock, LockRecord):
            self._world.wake_lock(ObjectKey(lock.namespace, lock.name))
        return state

    def _holder_workflow(self, snapshot: Snapshot) -> str:
        """The holder's workflow id from the cache, for the message only; "" when it is not known."""
        lock = snapshot.inputs.lock
        holder = lock.holder if isinstance(lock, LockRecord) else None
        found = self._world.executions.by_index(BY_UID, holder.uid) if holder is not None else []
        return text(found[0].field("spec", "workflowRef", "workflowId")) if found else ""

    async def holder_state(self, holder: Holder) -> HolderState:
        """Live GET of a holder: another UID under its name = gone; a namespace we may not read = live (kept)."""
        try:
            obj = await self._world.api.get(names.WORKFLOWEXECUTIONS, ObjectKey(holder.namespace, holder.name))
        except NotFound:
            return HolderState.GONE
        except Forbidden:
            return HolderState.LIVE
        if uid_of(obj) != holder.uid:
            return HolderState.GONE
        return HolderState.TERMINAL if text(status(obj).get("phase")) in TERMINAL else HolderState.LIVE

    async def _run(self, key: ObjectKey | None, lane: Lane = Lane.READ) -> Json | None:
        if key is None:
            return None
        try:
            return await self._world.api.get(names.PIPELINERUNS, key, lane=lane)
        except NotFound:
            return None

    async def owned(self, resource: Resource, snapshot: Snapshot) -> tuple[Json, ...]:
        """TaskRuns or pods that carry the UID of this WorkflowExecution, by a quorum LIST."""
        key = snapshot.run_key
        namespace = key.namespace if key is not None else snapshot.settings.execution_namespace
        return await list_owned(self._world, resource, namespace, snapshot.uid, _lane(snapshot))

    async def _name_users(self, snapshot: Snapshot) -> tuple[str, ...]:
        """What still carries the name of the run: Tekton finds TaskRuns by it without an owner check (SPEC 3)."""
        key = _named_key(snapshot)
        if key is None:
            return ()
        found: list[str] = []
        for resource in (names.TASKRUNS, PODS):
            listed = await _list(self._world, resource, key.namespace, f"{names.TEKTON_PIPELINE_RUN}={key.name}")
            found += [f"{resource.kind} {name_of(obj)}" for obj in listed]
        return tuple(found)

    async def _account(self, snapshot: Snapshot) -> bool:
        if isinstance(snapshot.parsed, InvalidSpec):
            return True
        account, _ = service_account(snapshot.parsed, snapshot.settings)
        key = ObjectKey(snapshot.settings.execution_namespace, account)
        seen = self._accounts.get(key)
        if seen is not None and self._world.clock.monotonic() - seen < ACCOUNT_TTL:
            return True
        try:
            await self._world.api.get(SERVICE_ACCOUNTS, key)
        except NotFound:
            return False
        self._accounts[key] = self._world.clock.monotonic()
        return True

    async def _evidence(self, snapshot: Snapshot) -> Evidence:
        """Best effort within ``evidence_timeout``: the verdict never waits longer for it (SPEC 2.3)."""
        run = own_run(snapshot)
        facts = judge(snapshot, None if isinstance(run, Unread) else run, None).facts
        key = snapshot.run_key
        if not facts.pod or not facts.container or key is None:
            return Evidence()
        pod, container = ObjectKey(key.namespace, facts.pod), facts.container
        path = PODS.path(pod.namespace, pod.name, "log")
        params = {"container": container, "limitBytes": str(LOG_LIMIT_BYTES), "tailLines": str(LOG_LINES)}
        try:
            log_text = await self._world.api.text(path, params=params, timeout=snapshot.settings.evidence_timeout)
        except KubeError as error:
            log.info(
                "log of the failing container could not be saved", pod=str(pod), container=container, why=str(error)
            )
            return Evidence(container=container)
        # Redacted before it is cut: a cut could part a secret from the word that gives it away, and a replacement makes
        # the text longer than the schema allows.
        tail = redact(log_text[-REDACTED_BYTES:]).encode()[-LOG_TAIL_BYTES:].decode(errors="ignore")
        return Evidence(container=container, log_tail=tail)


def _lane(snapshot: Snapshot) -> Lane:
    """What a read is for: the terminal write's lane helps nobody when the reads before it wait behind every start."""
    if snapshot.terminal:
        return Lane.RELEASE
    run = snapshot.cached_run
    started = snapshot.phase == Phase.RUNNING and run is not None and not launch.is_pending(run)
    return Lane.TERMINAL if started else Lane.READ


def _named_key(snapshot: Snapshot) -> ObjectKey | None:
    if snapshot.canonical is None:
        return None
    return ObjectKey(snapshot.settings.execution_namespace, names.run_name(snapshot.canonical))


async def list_owned(
    world: World, resource: Resource, namespace: str, uid: str, lane: Lane = Lane.READ
) -> tuple[Json, ...]:
    """Everything of that kind that carries the owner UID, live."""
    return tuple(await _list(world, resource, namespace, f"{names.OWNER_UID}={uid}", lane))


async def _list(world: World, resource: Resource, namespace: str, selector: str, lane: Lane = Lane.READ) -> list[Json]:
    try:
        return await world.api.list(resource, namespace, label_selector=selector, lane=lane)
    except NotFound as error:
        if error.type_missing:
            return []
        raise

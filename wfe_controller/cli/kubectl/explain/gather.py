"""Reading the facts of ``explain``: as few requests as answer the questions, a refusal is a fact too.

Neighbours: decide judges what is read here. Nothing is written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from wfe_controller.api.names import (
    COMPONENT,
    LEASE_NAME,
    OWNER_UID,
    PIPELINERUNS,
    RUNNER_SERVICE_ACCOUNT,
    TARGETLOCKS,
    TASKRUNS,
    WORKFLOWEXECUTIONS,
    lock_name,
    run_name,
)
from wfe_controller.api.reasons import FailureReason
from wfe_controller.cli.kubectl.explain.facts import Facts, Leader, Unread
from wfe_controller.cli.kubectl.session import Session
from wfe_controller.cli.kubectl.words import one_line
from wfe_controller.kube.errors import Forbidden, KubeError, NotFound
from wfe_controller.kube.objects import (
    EVENTS,
    LEASES,
    PODS,
    SERVICE_ACCOUNTS,
    Json,
    ObjectKey,
    Resource,
    key_of,
    mapping,
    name_of,
    namespace_of,
    resource_version_of,
    spec,
    status,
    text,
    uid_of,
)

T = TypeVar("T")

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
LOOK, LOOKS = 1.0, 6
"""Seconds between two looks at a Lease, and how many: a leader renews its every two seconds."""
_ACCOUNT = re.compile(r"service account '([^']{1,253})'")


async def gather(session: Session, wfe: Json) -> Facts:
    """Everything about one execution."""
    facts = Facts(key_of(wfe), await session.now(), wfe, session.home, session.execution, commands=session.commands)
    lock, lease, run, events, task_runs, pods = await asyncio.gather(
        _lock(session, facts),
        _object(session, LEASES, ObjectKey(session.home, LEASE_NAME)),
        _run(session, facts),
        _events(session, facts.key.namespace, facts.uid, f"Events of {facts.key}"),
        _owned(session, TASKRUNS, facts.uid),
        _owned(session, PODS, facts.uid),
    )
    facts = replace(facts, lock=lock, lease=lease, run=run, events=events, task_runs=task_runs, pods=pods)
    return await _around(session, await looked_twice(session, facts))


async def looked_twice(session: Session, facts: Facts) -> Facts:
    """The Lease watched for some seconds when its time alone says that nobody renews it: clocks differ."""
    if not facts.lease_is_doubtful or not isinstance(facts.lease, dict):
        return facts
    before = resource_version_of(facts.lease)
    for _ in range(LOOKS):
        await session.clock.sleep(LOOK)
        fresh = await _object(session, LEASES, ObjectKey(session.home, LEASE_NAME))
        if not isinstance(fresh, dict):
            return facts
        if resource_version_of(fresh) != before:
            return replace(facts, lease=fresh, lease_moves=True, now=await session.now())
    return replace(facts, lease_moves=False)


async def leases_elsewhere(session: Session) -> tuple[str, ...]:
    """Namespaces in which a controller of ours says that it leads; nothing when that may not be asked."""
    try:
        found = await session.api.list(LEASES, field_selector=f"metadata.name={LEASE_NAME}")
    except KubeError:
        return ()
    held = (namespace_of(lease) for lease in found if text(spec(lease).get("holderIdentity")))
    return tuple(sorted({namespace for namespace in held if namespace != session.home}))


async def gather_gone(session: Session, name: str) -> Facts | None:
    """What the targets remember of an execution that does not exist; None when they remember nothing, or are silent."""
    key = ObjectKey(session.namespace, name)
    locks = await _read("TargetLocks", session.api.list(TARGETLOCKS, session.home), [])
    if isinstance(locks, Unread):
        return None
    for lock in locks:
        if _remembers(lock, key):
            facts = Facts(key, await session.now(), None, session.home, session.execution, lock=lock)
            return await _around(session, replace(facts, commands=session.commands))
    return None


def _remembers(lock: Json, key: ObjectKey) -> bool:
    current = status(lock)
    holder = mapping(current.get("holder"))
    if (holder.get("namespace"), holder.get("name")) == (key.namespace, key.name):
        return True
    names = {mapping(mapping(current.get("block")).get("by")).get("name")}
    return key.name in names | {mapping(current.get("lastExecution")).get("name")}


async def _around(session: Session, facts: Facts) -> Facts:
    """What is worth a look only now that lock, Lease and status are known."""
    holder, survivors, lock_events, deployment, accounts, elsewhere = await asyncio.gather(
        _holder(session, facts),
        _survivors(session, facts),
        _lock_events(session, facts),
        _deployment(session, facts),
        _accounts(session, facts),
        _elsewhere(session, facts),
    )
    return replace(
        facts,
        holder=holder,
        survivors=survivors,
        lock_events=lock_events,
        deployment=deployment,
        accounts=accounts,
        leads_elsewhere=elsewhere,
    )


async def _elsewhere(session: Session, facts: Facts) -> tuple[str, ...]:
    """Before anybody is told to start a controller: is there one whose namespace was not given?"""
    return await leases_elsewhere(session) if facts.leader is Leader.NONE else ()


async def _read(what: str, answer: Awaitable[T], absent: T) -> T | Unread:
    """The answer; ``absent`` for what is not there; Unread for what may not be looked at, is not served, or fails."""
    try:
        return await answer
    except NotFound as error:
        return Unread(what, "not served by this cluster") if error.type_missing else absent
    except Forbidden:
        return Unread(what, "forbidden")
    except KubeError as error:
        return Unread(what, one_line(str(error))[:200])


async def _object(session: Session, resource: Resource, key: ObjectKey) -> Json | Unread | None:
    async def get() -> Json | None:
        return await session.api.get(resource, key)

    return await _read(f"{resource.kind} {key}", get(), None)


async def _lock(session: Session, facts: Facts) -> Json | Unread | None:
    return await _object(session, TARGETLOCKS, ObjectKey(session.home, lock_name(facts.target)))


async def _run(session: Session, facts: Facts) -> Json | Unread | None:
    """The run that status names, else the one under the name of the target's run."""
    ref = mapping(facts.status.get("pipelineRunRef"))
    named = ObjectKey(text(ref.get("namespace")), text(ref.get("name")))
    key = named if all(named) else ObjectKey(session.execution, run_name(facts.target))
    return await _object(session, PIPELINERUNS, key)


async def _owned(session: Session, resource: Resource, uid: str) -> list[Json] | Unread:
    where = f"{resource.plural} in {session.execution}"
    listed = session.api.list(resource, session.execution, label_selector=f"{OWNER_UID}={uid}")
    return await _read(where, listed, [])


async def _events(session: Session, namespace: str, uid: str, what: str) -> list[Json] | Unread:
    listed = session.api.list(EVENTS, namespace, field_selector=f"involvedObject.uid={uid}")
    return await _read(what, listed, [])


async def _holder(session: Session, facts: Facts) -> Json | Unread | None:
    who = facts.who
    if who is None or who.uid == facts.uid:
        return None
    return await _object(session, WORKFLOWEXECUTIONS, ObjectKey(who.namespace, who.name))


async def _survivors(session: Session, facts: Facts) -> list[Json] | Unread:
    """Pods of the execution that caused the block."""
    if not isinstance(facts.lock, dict):
        return []
    uid = text(mapping(mapping(status(facts.lock).get("block")).get("by")).get("uid"))
    return await _owned(session, PODS, uid) if uid else []


async def _lock_events(session: Session, facts: Facts) -> list[Json] | Unread:
    if not isinstance(facts.lock, dict) or not mapping(status(facts.lock)):
        return []
    what = f"Events of {facts.lock.get('kind') or 'TargetLock'} {key_of(facts.lock)}"
    return await _events(session, namespace_of(facts.lock), uid_of(facts.lock), what)


async def _deployment(session: Session, facts: Facts) -> Json | Unread | None:
    if facts.leader in (Leader.ALIVE, Leader.UNKNOWN):
        return None
    return await _object(session, DEPLOYMENTS, ObjectKey(session.home, COMPONENT))


async def _accounts(session: Session, facts: Facts) -> Mapping[str, bool | Unread]:
    """Whether the accounts exist that a refused execution may have meant."""
    details: Mapping[str, Any] = mapping(facts.status.get("failureDetails"))
    if details.get("reason") != FailureReason.CONFIGURATION_ERROR:
        return {}
    wanted = text(mapping(spec(facts.obj).get("executionConfig")).get("serviceAccountName"))
    named = _ACCOUNT.findall(text(details.get("message")))
    out: dict[str, bool | Unread] = {}
    for name in dict.fromkeys(n for n in (*named, wanted, RUNNER_SERVICE_ACCOUNT) if n):
        found = await _object(session, SERVICE_ACCOUNTS, ObjectKey(session.execution, name))
        out[name] = found if isinstance(found, Unread) else found is not None and name_of(found) == name
    return out

"""Plays the controllers of Deployments and ReplicaSets: rollouts, scaling, and the status that kubectl rollout reads.

The pods they create are played by ``pods``. Left out: rollbacks by revision, partitions, pod disruption budgets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.control.sources import myself
from wfe_controller.kube.errors import AlreadyExists, NotFound
from wfe_controller.kube.objects import (
    PODS,
    Json,
    ObjectKey,
    Resource,
    annotations_of,
    condition,
    is_deleting,
    items,
    mapping,
    text,
    uid_of,
)
from wfe_controller.sandbox.simulators.simulation import BEHIND_SECONDS, Simulation, controller_keys, owner_reference

log = structlog.get_logger("wfe.sandbox")

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_FINAL = ("Succeeded", "Failed")


def deployment(namespace: str, name: str, *, replicas: int, image: str) -> Json:
    """A Deployment of one container."""
    labels = {"app": name}
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def template_hash(template: Mapping[str, Any]) -> str:
    """Ten letters as kubectl shows them; equal templates have equal ones."""
    digest = hashlib.sha256(msgspec.json.encode(template, order="deterministic")).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])


class DeploymentSimulator:
    """Registers both controllers with the simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._unseen: dict[str, set[str]] = {}
        simulation.controller(
            "deployments",
            self.deployment,
            (DEPLOYMENTS, myself),
            (REPLICASETS, controller_keys("Deployment")),
            workers=2,
        )
        simulation.controller(
            "replicasets", self.replica_set, (REPLICASETS, myself), (PODS, controller_keys("ReplicaSet")), workers=2
        )

    # -- Deployments

    async def deployment(self, key: ObjectKey) -> Outcome:
        found = self._sim.fresh(DEPLOYMENTS, key)
        if found is None or is_deleting(found):
            return Done()
        if (wait := self._sim.behind(DEPLOYMENTS, key)) is not None:
            return wait
        sets = self._sim.children(REPLICASETS, uid_of(found))
        if any(self._sim.behind(REPLICASETS, item.key) for item in sets):
            return RequeueAfter(BEHIND_SECONDS)
        mark = template_hash(found["spec"]["template"])
        new = next((item for item in sets if item.labels.get(HASH_LABEL) == mark), None)
        old = [item for item in sets if item is not new]
        if not found["spec"].get("paused"):
            if new is None:
                await self._create_set(found, mark, old)
                await self._created(key, f"{key.name}-{mark}")
                return RequeueAfter(BEHIND_SECONDS)
            await self._roll(found, new, old)
        return await self._deployment_status(key, found, new, old)

    async def _create_set(self, owner: Json, mark: str, old: list[CachedObject]) -> None:
        meta, spec = owner["metadata"], owner["spec"]
        template = mapping(spec["template"])
        labels = {**mapping(mapping(template.get("metadata")).get("labels")), HASH_LABEL: mark}
        revision = 1 + max((int(item.annotations.get(REVISION) or 0) for item in old), default=0)
        selector = {**mapping(spec["selector"])}
        selector["matchLabels"] = {**mapping(selector.get("matchLabels")), HASH_LABEL: mark}
        body: Json = {
            "apiVersion": REPLICASETS.api_version,
            "kind": REPLICASETS.kind,
            "metadata": {
                "name": f"{meta['name']}-{mark}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": {REVISION: str(revision), **_sizes(owner)},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": {
                "replicas": 0 if old else _wanted(owner),
                "selector": selector,
                "template": {**template, "metadata": {**mapping(template.get("metadata")), "labels": labels}},
            },
        }
        try:
            await self._api.create(REPLICASETS, body, lane=Lane.READ)
        except AlreadyExists:
            log.debug("a ReplicaSet is there already", name=body["metadata"]["name"])
        if annotations_of(owner).get(REVISION) != str(revision):
            patch = patches.merge_patch({"metadata": {"annotations": {REVISION: str(revision)}}})
            written = await self._api.patch(
                DEPLOYMENTS, ObjectKey(meta["namespace"], meta["name"]), patch, lane=Lane.READ
            )
            self._sim.wrote(DEPLOYMENTS, written)

    async def _roll(self, owner: Json, new: CachedObject, old: list[CachedObject]) -> None:
        """One move towards the new ReplicaSet, within surge and unavailability."""
        wanted = _wanted(owner)
        surge, unavailable = _limits(owner, wanted)
        sizes = {item.key: _size(item) for item in [new, *old]}
        recreate = mapping(owner["spec"].get("strategy")).get("type") == "Recreate"
        if recreate and any(_count(item, "replicas") or sizes[item.key] for item in old):
            for item in old:
                await self._scale(owner, item, 0)
            return
        room = wanted + (0 if recreate else surge) - sum(sizes.values())
        size = sizes[new.key]
        if size > wanted or (size < wanted and room > 0):
            await self._scale(owner, new, wanted if size > wanted else min(wanted, size + room))
            return
        least = wanted - unavailable
        available = {item.key: min(_count(item, "availableReplicas"), sizes[item.key]) for item in [new, *old]}
        # Sizes, not statuses: what was told to go a moment ago may still be counted as available.
        may_go = sum(sizes.values()) - least - (size - available[new.key])
        spare = sum(available.values()) - least
        for item in old:
            idle = sizes[item.key] - available[item.key]
            fewer = min(sizes[item.key], may_go, idle + max(0, spare))
            if fewer > 0:
                await self._scale(owner, item, sizes[item.key] - fewer)
                return

    async def _created(self, key: ObjectKey, name: str) -> None:
        """A Deployment says that it has a new ReplicaSet before anything else of it is known."""
        owner = await self._api.get(DEPLOYMENTS, key)
        message = f'Created new replica set "{name}"'
        found = self._condition(owner, "Progressing", True, "NewReplicaSetCreated", message)
        others = [c for c in items(mapping(owner.get("status")).get("conditions")) if c.get("type") != "Progressing"]
        status = {**mapping(owner.get("status")), "conditions": [*others, found]}
        written = await self._api.replace(
            DEPLOYMENTS, {**owner, "status": status}, subresource="status", lane=Lane.READ
        )
        self._sim.wrote(DEPLOYMENTS, written)

    async def _scale(self, owner: Json, item: CachedObject, replicas: int) -> None:
        if _size(item) == replicas:
            return
        patch = patches.merge_patch({"metadata": {"annotations": _sizes(owner)}, "spec": {"replicas": replicas}})
        written = await self._api.patch(REPLICASETS, item.key, patch, lane=Lane.READ)
        self._sim.wrote(REPLICASETS, written)

    async def _deployment_status(
        self, key: ObjectKey, owner: Json, new: CachedObject | None, old: list[CachedObject]
    ) -> Outcome:
        wanted = _wanted(owner)
        _, unavailable = _limits(owner, wanted)
        everything = [*([new] if new is not None else []), *old]
        total = sum(_count(item, "replicas") for item in everything)
        updated = _count(new, "replicas") if new is not None else 0
        ready = sum(_count(item, "readyReplicas") for item in everything)
        available = sum(_count(item, "availableReplicas") for item in everything)
        before = mapping(owner.get("status"))
        numbers = {
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(0, max(total, wanted) - available),
        }
        status: Json = {"observedGeneration": owner["metadata"]["generation"]}
        status |= {name: number for name, number in numbers.items() if number}
        status["terminatingReplicas"] = sum(_count(item, "terminatingReplicas") for item in everything)
        done = updated == wanted and total == wanted and available == wanted
        enough = available >= wanted - unavailable
        moved = any(before.get(name, 0) != number for name, number in numbers.items())
        since = text(condition(owner, "Progressing").get("lastUpdateTime")) or rfc3339(self._clock.now())
        limit = float(owner["spec"].get("progressDeadlineSeconds", 600))
        start = parse_rfc3339(since) or self._clock.now()
        waited = (self._clock.now() - start).total_seconds()
        was_late = condition(owner, "Progressing").get("reason") == "ProgressDeadlineExceeded"
        finished = total == updated and condition(owner, "Progressing").get("reason") == "NewReplicaSetAvailable"
        late = not finished and not done and not moved and (was_late or waited >= limit)
        name = new.key.name if new is not None else ""
        progress = "ProgressDeadlineExceeded" if late else "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
        told = "has timed out progressing" if late else "has successfully progressed" if done else "is progressing"
        status["conditions"] = _in_order(
            owner,
            self._condition(
                owner,
                "Available",
                enough,
                "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
                f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            ),
            # A finished rollout stays finished while the same ReplicaSet is scaled.
            dict(condition(owner, "Progressing"))
            if finished
            else self._condition(
                owner, "Progressing", not late, progress, f'ReplicaSet "{name}" {told}.', touched=moved
            ),
        )
        if status != before:
            written = await self._api.replace(
                DEPLOYMENTS, {**owner, "status": status}, subresource="status", lane=Lane.READ
            )
            self._sim.wrote(DEPLOYMENTS, written)
        return Done() if done or late else RequeueAfter(max(limit - waited, 0.0) + 0.01)

    def _condition(
        self, owner: Json, kind: str, value: bool, reason: str, message: str, *, touched: bool = False
    ) -> Json:
        now = rfc3339(self._clock.now())
        old = condition(owner, kind)
        state = "True" if value else "False"
        same = old.get("status") == state
        changed = touched or not same or old.get("reason") != reason
        return {
            "type": kind,
            "status": state,
            "reason": reason,
            "message": message,
            "lastUpdateTime": now if changed else old["lastUpdateTime"],
            "lastTransitionTime": old["lastTransitionTime"] if same else now,
        }

    # -- ReplicaSets

    async def replica_set(self, key: ObjectKey) -> Outcome:
        found = self._sim.fresh(REPLICASETS, key)
        if found is None or is_deleting(found):
            return Done()
        if (wait := self._sim.behind(REPLICASETS, key)) is not None:
            return wait
        uid = uid_of(found)
        pods = [pod for pod in self._sim.children(PODS, uid) if pod.field("status", "phase") not in _FINAL]
        living = [pod for pod in pods if not pod.deleting]
        unseen = self._unseen.setdefault(uid, set())
        store = self._sim.informer(PODS).store
        unseen -= {name for name in set(unseen) if store.get(ObjectKey(key.namespace, name)) is not None}
        missing = int(found["spec"].get("replicas", 1)) - len(living) - len(unseen)
        for _ in range(max(0, missing)):
            made = await self._api.create(PODS, self._pod(found), lane=Lane.READ)
            unseen.add(text(made["metadata"]["name"]))
        for pod in sorted(living, key=lambda pod: (_ready(pod), pod.key.name))[: max(0, -missing)]:
            try:
                await self._api.delete(PODS, pod.key, uid=pod.uid, lane=Lane.READ)
            except NotFound:
                log.debug("a pod was gone already", pod=str(pod.key))
        await self._replica_set_status(found, living, len(pods) - len(living))
        return RequeueAfter(BEHIND_SECONDS) if unseen else Done()

    def _pod(self, owner: Json) -> Json:
        template = mapping(owner["spec"]["template"])
        meta = mapping(template.get("metadata"))
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{owner['metadata']['name']}-",
                "namespace": owner["metadata"]["namespace"],
                "labels": {**mapping(meta.get("labels"))},
                "annotations": {**mapping(meta.get("annotations"))},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": template["spec"],
        }

    async def _replica_set_status(self, owner: Json, living: list[CachedObject], terminating: int) -> None:
        ready = sum(_ready(pod) for pod in living)
        numbers = {"readyReplicas": ready, "availableReplicas": ready, "fullyLabeledReplicas": len(living)}
        status: Json = {"replicas": len(living), "observedGeneration": owner["metadata"]["generation"]}
        status |= {name: number for name, number in numbers.items() if number}
        status["terminatingReplicas"] = terminating
        if status != mapping(owner.get("status")):
            written = await self._api.replace(
                REPLICASETS, {**owner, "status": status}, subresource="status", lane=Lane.READ
            )
            self._sim.wrote(REPLICASETS, written)


def _in_order(owner: Json, *conditions: Json) -> list[Json]:
    """A condition that changed goes to the end of the list, as kube-controller-manager has it."""
    before = [mapping(entry) for entry in items(mapping(owner.get("status")).get("conditions"))]
    kept = [entry["type"] for entry in before if any(entry == condition for condition in conditions)]
    same = sorted((c for c in conditions if c["type"] in kept), key=lambda c: kept.index(c["type"]))
    return [*same, *(c for c in conditions if c["type"] not in kept)]


def _ready(pod: CachedObject) -> bool:
    conditions = [mapping(entry) for entry in items(pod.field("status", "conditions"))]
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)


def _wanted(owner: Json) -> int:
    return int(owner["spec"].get("replicas", 1))


def _size(item: CachedObject) -> int:
    return int(item.field("spec", "replicas") or 0)


def _count(item: CachedObject, name: str) -> int:
    return int(item.field("status", name) or 0)


def _limits(owner: Json, wanted: int) -> tuple[int, int]:
    """(surge, unavailable) in pods: percentages round up for the one and down for the other; never both zero."""
    rolling = mapping(mapping(owner["spec"].get("strategy")).get("rollingUpdate"))
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _sizes(owner: Json) -> dict[str, str]:
    """What a ReplicaSet remembers of its Deployment's size."""
    wanted = _wanted(owner)
    recreate = mapping(owner["spec"].get("strategy")).get("type") == "Recreate"
    return {DESIRED: str(wanted), MOST: str(wanted + (0 if recreate else _limits(owner, wanted)[0]))}


def _share(value: object, wanted: int, rounded: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(rounded(int(value[:-1]) * wanted / 100))
    return int(value) if isinstance(value, int | str) else 0

"""Plays scheduler, kubelet and containers for every pod that has something to play.

One reconcile per pod: bind it, create its containers, let them run as their plays say, end them on a deletion, and
take the object away when all have ended. What a pod has gone through is read from its status; only the instants with
fractions of a second are kept in memory, and a simulator that is started anew takes the whole seconds of the status.

Neighbours: ``play`` says what containers do, ``containers`` what that looks like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.control.sources import myself
from wfe_controller.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource, is_deleting, items, mapping, text, uid_of
from wfe_controller.sandbox.simulators import containers
from wfe_controller.sandbox.simulators.containers import Moment
from wfe_controller.sandbox.simulators.play import Play, plays_of
from wfe_controller.sandbox.simulators.simulation import Simulation, controller_uids

log = structlog.get_logger("wfe.sandbox")

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NODE = "sandbox"
CREATING_SECONDS = 0.2
PULL_SECONDS = 0.5
"""From ErrImagePull to ImagePullBackOff."""
RESTART_SECONDS = 5.0
GRACE_SECONDS = 30.0
_FINAL = ("Succeeded", "Failed")


@dataclass(slots=True)
class Life:
    """One pod in play. Instants are seconds of the monotonic clock."""

    uid: str
    plays: Mapping[str, Play]
    attempt: int
    created: float
    began: float | None = None
    began_text: str = ""
    told_to_end: float | None = None
    restarts: int = 0


class PodSimulator:
    """Registers itself with the simulation. ``node`` is the name that pods are bound to."""

    def __init__(self, simulation: Simulation, *, node: str = NODE) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._node = node
        self._lives: dict[ObjectKey, Life] = {}
        self._attempts: dict[str, set[str]] = {}
        simulation.controller("pods", self.reconcile, (PODS, myself), workers=8)

    async def ensure_node(self) -> None:
        """The node that the pods are bound to, for whoever asks for it; a server without nodes will do too."""
        labels = {"kubernetes.io/hostname": self._node}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node, "labels": labels}}
        try:
            await self._api.create(NODES, node, lane=Lane.READ)
        except (AlreadyExists, NotFound, Forbidden) as reason:
            log.debug("no node was created", why=str(reason))

    def log(self, namespace: str, pod: str, container: str) -> str:
        """What that container has written so far; nothing before it runs. The server's pods/log asks this."""
        found = self._sim.informer(PODS).store.get(ObjectKey(namespace, pod))
        if found is None or found.field("status", "phase") in (None, "Pending"):
            return ""
        said = plays_of(found.decode()).get(container, Play()).log
        return said if not said or said.endswith("\n") else f"{said}\n"

    async def reconcile(self, key: ObjectKey) -> Outcome:
        cached = self._sim.informer(PODS).store.get(key)
        if cached is None:
            self._lives.pop(key, None)
            return Done()
        pod = cached.decode()
        life = self._lives.get(key)
        if life is None or life.uid != cached.uid:
            life = self._lives[key] = self._begin(pod, next(iter(controller_uids(cached)), ""))
        try:
            return await self._live(key, pod, life)
        except (NotFound, Conflict) as gone:  # deleted meanwhile, or another pod under this name: its event comes
            log.debug("a pod moved on", pod=str(key), why=str(gone))
            return Done()

    def _begin(self, pod: Json, owner: str) -> Life:
        seen = self._attempts.setdefault(owner or uid_of(pod), set())
        attempt = len(seen)
        seen.add(uid_of(pod))
        life = Life(uid_of(pod), plays_of(pod), attempt, self._clock.monotonic())
        began = text(mapping(pod.get("status")).get("startTime"))
        states = [mapping(entry) for entry in items(mapping(pod.get("status")).get("containerStatuses"))]
        if any(mapping(state.get("state")).get("running") for state in states):
            age = self._clock.now() - (parse_rfc3339(began) or self._clock.now())
            life.began, life.began_text = life.created - age.total_seconds(), began
            life.restarts = max((int(state.get("restartCount") or 0) for state in states), default=0)
        return life

    async def _live(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        phase = text(mapping(pod.get("status")).get("phase"))
        if is_deleting(pod):
            return await self._end(key, pod, life)
        if phase in _FINAL:
            return Done()
        if not text(mapping(pod.get("spec")).get("nodeName")):
            return await self._schedule(key, pod, life)
        age = self._since(life.created)
        if life.began is None and age < CREATING_SECONDS:
            await self._write(key, pod, containers.pending(pod, self._first_reason(pod), self._now()))
            return self._again(CREATING_SECONDS - age)
        missing = next((name for name, play in life.plays.items() if play.image_missing), None)
        if missing is not None:
            return await self._cannot_pull(key, pod, missing, age)
        if life.began is None:
            life.began, life.began_text = self._clock.monotonic(), self._now()
        return await self._run(key, pod, life)

    def _first_reason(self, pod: Json) -> str:
        return "PodInitializing" if mapping(pod.get("spec")).get("initContainers") else "ContainerCreating"

    async def _schedule(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        if any(play.unschedulable for play in life.plays.values()):
            await self._write(key, pod, containers.unschedulable(self._now()))
            return Done()
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": life.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        life.created = self._clock.monotonic()
        await self._api.raw("POST", PODS.path(key.namespace, key.name, "binding"), body=body)
        return Done()

    async def _cannot_pull(self, key: ObjectKey, pod: Json, container: str, age: float) -> Outcome:
        image = next(text(c["image"]) for c in pod["spec"]["containers"] if c["name"] == container)
        cause = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
        given_up = age >= CREATING_SECONDS + PULL_SECONDS
        reason, message = (
            (
                "ImagePullBackOff",
                f'Back-off pulling image "{image}": ErrImagePull: rpc error: code = NotFound desc = {cause}',
            )
            if given_up
            else ("ErrImagePull", f"rpc error: code = NotFound desc = {cause}")
        )
        await self._write(key, pod, containers.pending(pod, reason, self._now(), message=message, image=image))
        return Done() if given_up else self._again(CREATING_SECONDS + PULL_SECONDS - age)

    async def _run(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        assert life.began is not None
        elapsed = self._since(life.began)
        current = containers.moment(pod, life.plays, life.attempt + life.restarts, elapsed)
        await self._write(key, pod, self._status(pod, life, current))
        if current.over and not current.evicted and self._restarts(pod, current):
            if elapsed < current_end(current) + RESTART_SECONDS:
                return self._again(current_end(current) + RESTART_SECONDS - elapsed)
            life.began, life.began_text, life.restarts = self._clock.monotonic(), self._now(), life.restarts + 1
            return RequeueAfter(0)
        return Done() if math.isinf(current.next) else self._again(current.next - elapsed)

    def _restarts(self, pod: Json, current: Moment) -> bool:
        policy = text(mapping(pod.get("spec")).get("restartPolicy")) or "Always"
        return policy == "Always" or (policy == "OnFailure" and current.failed)

    async def _end(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        """SIGTERM, the grace, SIGKILL, the last status, and the object away."""
        meta = mapping(pod.get("metadata"))
        grace = float(meta.get("deletionGracePeriodSeconds", GRACE_SECONDS))
        phase = text(mapping(pod.get("status")).get("phase"))
        if grace > 0 and life.began is not None and phase not in _FINAL:
            if life.told_to_end is None:
                life.told_to_end = self._clock.monotonic()
            since = (life.told_to_end - life.began) * self._sim.speed
            before = containers.moment(pod, life.plays, life.attempt + life.restarts, since)
            plays = [life.plays[text(entry["name"])] for entry in pod["spec"]["containers"]]
            elapsed = self._since(life.began)
            current = containers.terminated(before, plays, since, elapsed, grace)
            if not current.over:
                return self._again(current.next - elapsed)
            await self._write(key, pod, self._status(pod, life, current))
        if grace > 0 or not items(meta.get("finalizers")):
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": life.uid},
            }
            await self._api.raw("DELETE", PODS.path(key.namespace, key.name), body=options)
        return Done()

    def _status(self, pod: Json, life: Life, current: Moment) -> Json:
        assert life.began is not None
        start = parse_rfc3339(life.began_text) or self._clock.now()

        def instant(seconds: float) -> str:
            return rfc3339(start + timedelta(seconds=seconds / self._sim.speed))

        found = containers.status(pod, life.plays, current, instant, restarts=life.restarts)
        if current.over and self._restarts(pod, current) and not current.evicted and not is_deleting(pod):
            found["phase"] = "Running"
        return found

    async def _write(self, key: ObjectKey, pod: Json, status: Json) -> None:
        """Only what changed; conditions keep their instant while their value stays."""
        before = mapping(pod.get("status"))
        known = {text(mapping(c).get("type")): mapping(c) for c in items(before.get("conditions"))}
        for condition in status.get("conditions", []):
            old = known.get(condition["type"])
            if old is not None and old.get("status") == condition["status"]:
                condition["lastTransitionTime"] = old.get("lastTransitionTime", condition["lastTransitionTime"])
        if before.get("startTime"):
            status["startTime"] = before["startTime"]
        if all(_same(before.get(name), value) for name, value in status.items()):
            return
        patch = patches.merge_patch({"metadata": {"uid": uid_of(pod)}, "status": status})
        try:
            await self._api.patch(PODS, key, patch, subresource="status", lane=Lane.READ)
        except Invalid as refused:
            log.error("a pod's status was refused", pod=str(key), why=str(refused))

    def _since(self, instant: float) -> float:
        return (self._clock.monotonic() - instant) * self._sim.speed

    def _again(self, seconds: float) -> RequeueAfter:
        return RequeueAfter(max(seconds, 0.0) / self._sim.speed + 0.001)

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def current_end(current: Moment) -> float:
    return max(end.at for end in current.ended if end is not None)


def _same(before: object, after: object) -> bool:
    """Whether the server holds ``after`` already; what it has added (observedGeneration) is no difference."""
    if isinstance(after, dict):
        held = mapping(before)
        return all(_same(held.get(name), value) for name, value in after.items())
    if isinstance(after, list):
        kept = items(before)
        return len(kept) == len(after) and all(_same(*pair) for pair in zip(kept, after, strict=True))
    return before == after or (before is None and after == {})

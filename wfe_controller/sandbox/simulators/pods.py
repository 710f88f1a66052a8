"""Plays scheduler, kubelet and containers for every pod that has something to play.

One reconcile per pod: bind it, create its containers, let them run as their plays say, end them on a deletion, and
take the object away when all have ended. What a pod has gone through is read from its status; only the instants with
fractions of a second are kept in memory, and a simulator that is started anew takes the whole seconds of the status.

Neighbours: ``play`` says what containers do, ``containers`` what that looks like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
from wfe_controller.sandbox.simulators.containers import Moment, Past
from wfe_controller.sandbox.simulators.play import Play, plays_of
from wfe_controller.sandbox.simulators.simulation import Simulation, controller_uids

log = structlog.get_logger("wfe.sandbox")

NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NODE = "sandbox"
CREATING_SECONDS = 0.2
PULL_SECONDS = 0.5
"""From ErrImagePull to ImagePullBackOff."""
CLOSING_SECONDS = 0.1
"""From the end of the last container to the final phase, or to its restart."""
BACKOFF_SECONDS = 10.0
BACKOFF_CAP_SECONDS = 300.0
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
    late: bool = False
    """Its own deadline ends it."""
    closed: float | None = None
    """When all that it ran was seen to have ended: whoever follows it shall see that before what comes last."""
    stage: int = -1
    """The last of the states before its containers run that was written."""
    past: Past = containers.FIRST


class PodSimulator:
    """Registers itself with the simulation. ``node`` is the name that pods are bound to; ``plays`` says what their
    containers do, asked once for each pod (``change`` tells of another mind)."""

    def __init__(
        self, simulation: Simulation, *, node: str = NODE, plays: Callable[[Json], Mapping[str, Play]] = plays_of
    ) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._node = node
        self._plays = plays
        self._lives: dict[ObjectKey, Life] = {}
        self._attempts: dict[str, set[str]] = {}
        self._queue = simulation.controller("pods", self.reconcile, (PODS, myself), workers=8)

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

    def ran(self, key: ObjectKey) -> float | None:
        """For how many seconds the containers of a pod have run, at speed 1; None when they do not run."""
        life = self._lives.get(key)
        known = self._sim.informer(PODS).store.get(key)
        if life is None or life.began is None or known is None or known.uid != life.uid or known.deleting:
            return None
        return self._since(life.began) if known.field("status", "phase") == "Running" else None

    def change(self, key: ObjectKey, plays: Mapping[str, Play]) -> None:
        """What the containers of a pod in play do instead, as if it had been so from their start."""
        life = self._lives.get(key)
        if life is not None:
            life.plays = {**life.plays, **plays}
            self._queue.add(key)

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
        life = Life(uid_of(pod), self._plays(pod), attempt, self._clock.monotonic())
        states = [mapping(entry) for entry in items(mapping(pod.get("status")).get("containerStatuses"))]
        running = [mapping(mapping(state.get("state")).get("running")) for state in states]
        if began := next((text(state.get("startedAt")) for state in running if state), ""):
            age = self._clock.now() - (parse_rfc3339(began) or self._clock.now())
            life.began, life.began_text = life.created - age.total_seconds(), began
            life.past = Past(max((int(state.get("restartCount") or 0) for state in states), default=0))
        return life

    async def _live(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        phase = text(mapping(pod.get("status")).get("phase"))
        if is_deleting(pod):
            return await self._end(key, pod, life)
        if phase in _FINAL:
            return Done()
        if not text(mapping(pod.get("spec")).get("nodeName")):
            return await self._schedule(key, pod, life)
        if (last := containers.put_away(pod, self._now())) is not None:
            return await self._put_away(key, pod, life, last)
        if life.began is None:
            return await self._start(key, pod, life)
        return await self._run(key, pod, life)

    async def _put_away(self, key: ObjectKey, pod: Json, life: Life, last: Json) -> Outcome:
        if life.closed is None:
            life.closed = self._clock.monotonic()
        if (left := CLOSING_SECONDS - self._since(life.closed)) > 0:
            return self._again(left)
        await self._write(key, pod, last)
        return Done()

    async def _start(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        """One state after the other, none left out, however late it is."""
        age, number = self._since(life.created), containers.stages(pod)
        due = (life.stage + 1) * CREATING_SECONDS / number
        if age < due:
            return self._again(due - age)
        if life.stage + 1 < number:
            life.stage += 1
            await self._write(key, pod, containers.starting(pod, life.stage, self._seen(pod)))
            return self._again((life.stage + 1) * CREATING_SECONDS / number - age)
        missing = next((name for name, play in life.plays.items() if play.image_missing), None)
        if missing is not None:
            return await self._cannot_pull(key, pod, missing, age)
        life.began, life.began_text = self._clock.monotonic(), self._now()
        return await self._run(key, pod, life)

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
        waiting = {container: {"reason": reason, "message": message}}
        await self._write(key, pod, containers.starting(pod, _last_stage(pod), self._seen(pod), waiting=waiting))
        return Done() if given_up else self._again(CREATING_SECONDS + PULL_SECONDS - age)

    async def _run(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        assert life.began is not None
        elapsed = self._since(life.began)
        limit = mapping(pod.get("spec")).get("activeDeadlineSeconds")
        left = math.inf if limit is None else float(limit) * self._sim.speed - elapsed
        if life.late or left <= 0:
            return await self._too_late(key, pod, life, elapsed)
        current = containers.moment(pod, life.plays, self._attempt(life), elapsed)
        if not current.over or current.evicted:
            await self._write(key, pod, self._status(pod, life, current))
            wait = min(current.next - elapsed, left)
            return Done() if math.isinf(wait) else self._again(wait)
        after = elapsed - current_end(current)
        if self._restarts(pod, current):
            return await self._start_again(key, pod, life, current, after)
        await self._write(key, pod, self._status(pod, life, current, closed=False))
        return Done()  # to be put away once that is seen

    async def _start_again(self, key: ObjectKey, pod: Json, life: Life, current: Moment, after: float) -> Outcome:
        """The first time at once, then after a pause that doubles."""
        past = life.past
        pause = min(BACKOFF_SECONDS * 2.0 ** (past.restarts - 1), BACKOFF_CAP_SECONDS) if past.restarts else 0.0
        ended = self._status(pod, life, current, restarting=True)
        last = {entry["name"]: entry["state"].get("terminated") for entry in ended["containerStatuses"]}
        if after >= CLOSING_SECONDS + pause:
            life.began, life.began_text = self._clock.monotonic(), self._now()
            life.past = Past(past.restarts + 1, last)
            return await self._run(key, pod, life)
        if after >= CLOSING_SECONDS:
            name = f"{key.name}_{key.namespace}({life.uid})"
            backoff = f"back-off {_pause(pause)} restarting failed container={{container}} pod={name}"
            waits = Past(past.restarts, last, backoff)
            ended = containers.status(pod, life.plays, current, self._instants(life), past=waits, restarting=True)
        await self._write(key, pod, ended)
        return self._again(CLOSING_SECONDS + (pause if after >= CLOSING_SECONDS else 0.0) - after)

    async def _too_late(self, key: ObjectKey, pod: Json, life: Life, elapsed: float) -> Outcome:
        """Its own deadline: told to end as by a deletion, but it stays."""
        if not life.late:
            life.late, life.told_to_end = True, self._clock.monotonic()
        grace = float(mapping(pod.get("spec")).get("terminationGracePeriodSeconds", GRACE_SECONDS))
        current = self._told_to_end(pod, life, elapsed, grace)
        found = self._status(pod, life, current)
        await self._write(key, pod, containers.past_deadline(found, closed=current.over))
        return Done() if current.over else self._again(current.next - elapsed)

    def _told_to_end(self, pod: Json, life: Life, elapsed: float, grace: float) -> Moment:
        assert life.began is not None
        assert life.told_to_end is not None
        since = (life.told_to_end - life.began) * self._sim.speed
        before = containers.moment(pod, life.plays, self._attempt(life), since)
        plays = [life.plays[text(entry["name"])] for entry in pod["spec"]["containers"]]
        return containers.terminated(before, plays, since, elapsed, grace, steps=containers.is_steps(pod))

    def _attempt(self, life: Life) -> int:
        return life.attempt + life.past.restarts

    def _restarts(self, pod: Json, current: Moment) -> bool:
        policy = text(mapping(pod.get("spec")).get("restartPolicy")) or "Always"
        return policy == "Always" or (policy == "OnFailure" and current.failed)

    async def _end(self, key: ObjectKey, pod: Json, life: Life) -> Outcome:
        """SIGTERM, the grace, SIGKILL, the last status, and the object away."""
        meta = mapping(pod.get("metadata"))
        grace = float(meta.get("deletionGracePeriodSeconds", GRACE_SECONDS))
        phase = text(mapping(pod.get("status")).get("phase"))
        bound = text(mapping(pod.get("spec")).get("nodeName"))
        if grace > 0 and bound and phase not in _FINAL and life.closed is None:
            if life.told_to_end is None:
                life.told_to_end = self._clock.monotonic()
            if life.began is None:
                await self._never_ran(key, pod)
            else:
                elapsed = self._since(life.began)
                current = self._told_to_end(pod, life, elapsed, grace)
                if not current.over:
                    return self._again(current.next - elapsed)
                await self._write(key, pod, self._status(pod, life, current))
            life.closed = self._clock.monotonic()
        if life.closed is not None and (left := CLOSING_SECONDS - self._since(life.closed)) > 0:
            return self._again(left)
        if grace > 0 or not items(meta.get("finalizers")):
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": life.uid},
            }
            await self._api.raw("DELETE", PODS.path(key.namespace, key.name), body=options)
        return Done()

    async def _never_ran(self, key: ObjectKey, pod: Json) -> None:
        """What the kubelet still writes about a pod whose containers it need not end."""
        last = containers.starting(pod, _last_stage(pod), self._seen(pod))
        without = [{**last["conditions"][0], "status": "False"}, *last["conditions"][1:]]
        for status in (last, {**last, "conditions": without}, containers.never_ran(pod, self._seen(pod))):
            await self._write(key, pod, status)

    def _status(self, pod: Json, life: Life, current: Moment, *, restarting: bool = False, closed: bool = True) -> Json:
        instants = self._instants(life)
        return containers.status(
            pod, life.plays, current, instants, past=life.past, restarting=restarting, closed=closed
        )

    def _instants(self, life: Life) -> Callable[[float], str]:
        assert life.began is not None
        start = parse_rfc3339(life.began_text) or self._clock.now()
        return lambda seconds: rfc3339(start + timedelta(seconds=seconds / self._sim.speed))

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

    def _seen(self, pod: Json) -> str:
        """When the kubelet saw the pod first: the instant of all that happens before its containers run."""
        return text(mapping(pod.get("status")).get("startTime")) or self._now()

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _last_stage(pod: Json) -> int:
    return containers.stages(pod) - 1


def _pause(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


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

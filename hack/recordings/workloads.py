"""Jobs and Deployments: what the controllers of kube-controller-manager make of them, in the end and on the way.

Counters on the way depend on who is seen first, so of a way only its conditions are kept, each value once, of the end
the whole status, and of every pod the whole life.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hack.recordings import normal
from hack.recordings.situations import REGISTRY, resources
from hack.recordings.stage import NeverOver
from wfe_controller.kube.cache.changes import Change, Deleted
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource, condition
from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.deployments import DEPLOYMENTS, HASH_LABEL, REPLICASETS, REVISION, deployment
from wfe_controller.sandbox.simulators.jobs import JOBS
from wfe_controller.sandbox.simulators.play import Play

NAME = "it"
_TIMEOUT = 900
"""Looks, 0.1 s apart."""
_QUIET = 10
"""So many looks long nothing may have changed at the end."""
_SUFFIX = re.compile(rf"\b{NAME}(-[a-z0-9]{{8,10}})?(-[a-z0-9]{{5}})?(?![-a-z0-9])")


@dataclass(frozen=True)
class Work:
    """``changes``: merge patches, each made when its predicate holds for the first time, or None: its pods are deleted;
    then ``done`` is waited for."""

    name: str
    resource: Resource
    body: Json
    done: Callable[[Json], object]
    changes: tuple[tuple[Callable[[Json], object], Json | None], ...] = ()
    about: str = ""
    played = ""
    """Any node can run these."""


def container(does: Play, name: str = "main") -> Json:
    """The words for the simulator, and for a real node a shell that does the same."""
    lines = [
        "trap '' TERM" if does.ignores_term else "trap 'exit 143' TERM"
    ]  # the first process of a container does not hear it otherwise
    if does.failures:
        lines += [f"sleep {does.seconds:g}; [ $(date +%s) -ge $LATER ] || exit {does.exit_code or 1}; exit 0"]
    elif does.oom:
        lines += [f"sleep {does.seconds:g}; tail /dev/zero"]
    elif does.hang:
        lines += ["while :; do sleep 1; done"]
    else:
        lines += [f"sleep {does.seconds:g}; exit {does.exit_code}"]
    needs = resources(does)
    return {
        "name": name,
        **({"resources": needs} if needs else {}),
        "image": f"{REGISTRY}/there-is-none:1" if does.image_missing else "busybox:1",
        "command": ["/bin/sh", "-c", "; ".join(lines)],
        "env": [{"name": play.ENVIRONMENT, "value": play.encode(does)}, {"name": "LATER", "value": "LATER"}],
    }


def job(does: Play, *, restart: str = "Never", **spec: Any) -> Json:
    pod = {"restartPolicy": restart, "containers": [container(does)]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME},
        "spec": {"template": {"spec": pod}, **spec},
    }


def app(replicas: int = 2, does: Play = play.FOREVER, **spec: Any) -> Json:
    found = deployment("", NAME, replicas=replicas, image="")
    del found["metadata"]["namespace"]
    found["spec"] |= spec
    found["spec"]["template"]["spec"]["containers"] = [container(does, "app")]
    return found


def is_(kind: str, value: str = "True") -> Callable[[Json], bool]:
    return lambda found: condition(found, kind).get("status") == value


def rolled_out(found: Json) -> bool:
    """What kubectl rollout status asks."""
    status = found.get("status") or {}
    numbers = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and numbers == [
        found["spec"]["replicas"]
    ] * len(numbers)


def _revision(found: Json) -> str:
    return str(found["metadata"].get("annotations", {}).get(REVISION, ""))


def _status(name: str, number: int) -> Callable[[Json], bool]:
    return lambda found: (found.get("status") or {}).get(name) == number


QUICK = Play(seconds=2)
FAILS = Play(seconds=2, exit_code=3)
WORKS = (
    Work("job-completes", JOBS, job(QUICK), is_("Complete"), about="one pod"),
    Work("job-many", JOBS, job(QUICK, completions=3, parallelism=2), is_("Complete"), about="three pods, two at once"),
    Work("job-retries", JOBS, job(Play(seconds=2, failures=1), backoffLimit=2), is_("Complete"), about="fails once"),
    Work(
        "job-fails", JOBS, job(Play(seconds=2, exit_code=3), backoffLimit=0), is_("Failed"), about="fails and may not"
    ),
    Work(
        "job-fails-twice",
        JOBS,
        job(FAILS, backoffLimit=1),
        is_("Failed"),
        about="fails, fails again and may not",
    ),
    Work(
        "job-too-long", JOBS, job(Play(hang=True), activeDeadlineSeconds=5), is_("Failed"), about="its deadline passes"
    ),
    Work(
        "job-image-missing",
        JOBS,
        job(Play(image_missing=True), activeDeadlineSeconds=25),
        is_("Failed"),
        about="its image cannot be had until its deadline passes",
    ),
    Work(
        "job-suspended",
        JOBS,
        job(QUICK, suspend=True),
        is_("Complete"),
        ((is_("Suspended"), {"spec": {"suspend": False}}),),
        about="created suspended, resumed",
    ),
    Work(
        "job-suspended-while-it-runs",
        JOBS,
        job(Play(hang=True)),
        lambda found: is_("Suspended")(found) and not found["status"].get("terminating"),
        ((_status("ready", 1), {"spec": {"suspend": True}}),),
        about="suspended while its pod runs",
    ),
    Work(
        "job-pod-deleted",
        JOBS,
        job(Play(hang=True), activeDeadlineSeconds=22),
        is_("Failed"),
        ((_status("ready", 1), None),),
        about="somebody deletes its pod; another is made, until the deadline passes",
    ),
    Work("deployment", DEPLOYMENTS, app(), rolled_out, about="two replicas"),
    Work(
        "deployment-scaled",
        DEPLOYMENTS,
        app(),
        lambda found: found["spec"]["replicas"] == 3 and rolled_out(found),
        ((rolled_out, {"spec": {"replicas": 3}}),),
        about="from two to three",
    ),
    Work(
        "deployment-updated",
        DEPLOYMENTS,
        app(),
        lambda found: found["spec"]["replicas"] == 1 and rolled_out(found),
        (
            (rolled_out, {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}),
            (lambda found: _revision(found) == "2" and rolled_out(found), {"spec": {"replicas": 1}}),
        ),
        about="another version, then fewer replicas",
    ),
    Work(
        "deployment-stuck",
        DEPLOYMENTS,
        app(1, Play(image_missing=True), progressDeadlineSeconds=25),
        is_("Progressing", "False"),
        about="its image cannot be had",
    ),
)


async def record(api: Api, work: Work, *, namespace: str, registry: str, clock: Clock) -> Json:
    """The way and the end of ``work`` in a namespace of its own. Raises NeverOver."""
    return await _Recording(api, work, namespace, registry, clock).play()


class _Recording:
    def __init__(self, api: Api, work: Work, namespace: str, registry: str, clock: Clock) -> None:
        self._api, self._work, self._clock = api, work, clock
        self._key = ObjectKey(namespace, NAME)
        self._registry = registry
        self._words = {namespace: "NAMESPACE", registry: REGISTRY}
        self._way: list[list[str]] = []
        self._pods: dict[str, list[Json]] = {}
        self._living: dict[str, Json] = {}
        self._changes = 0

    async def play(self) -> Json:
        resource = self._work.resource
        async with self._following(resource, self._condition_seen), self._following(PODS, self._pod_seen):
            await self._api.create(resource, self._body(), lane=Lane.READ)
            for when, change in self._work.changes:
                await self._until(when)
                if change is None:
                    for pod in list(self._living.values()):
                        key = ObjectKey(self._key.namespace, pod["metadata"]["name"])
                        await self._api.delete(PODS, key, uid=pod["metadata"]["uid"], lane=Lane.READ)
                else:
                    await self._api.patch(resource, self._key, patches.merge_patch(change), lane=Lane.READ)
            await self._until(self._work.done)
            await self._until(lambda _: not any("deletionTimestamp" in p["metadata"] for p in self._living.values()))
            await self._until_quiet()
            found = await self._get()
        if resource == PODS:
            return {"pod": self._plain(normal.life(self._pods[NAME]))}
        deployed = resource == DEPLOYMENTS
        sets = await self._api.list(REPLICASETS, self._key.namespace) if deployed else []
        lives = [normal.sequence(states) for states in self._pods.values()]
        return {
            "way": sorted(self._way),
            "status": self._plain(found.get("status")),
            "replicaSets": sorted((self._plain(_set(item)) for item in sets), key=_text),
            "pods": sorted((self._plain(life) for life in lives), key=_text),
        }

    def _body(self) -> Json:
        later = str(int(self._clock.now().timestamp()) + 9)
        text = (
            json.dumps(self._work.body)
            .replace(f"{REGISTRY}/", f"{self._registry}/")
            .replace('"LATER"}', f'"{later}"}}')
        )
        found: Json = json.loads(text)
        found["metadata"]["namespace"] = self._key.namespace
        return found

    def _condition_seen(self, change: Change) -> None:
        self._changes += 1
        obj = None if isinstance(change, Deleted) else getattr(change, "obj", None) or getattr(change, "new", None)
        if obj is not None:
            for entry in obj.field("status", "conditions") or []:
                told = [entry["type"], entry["status"], entry.get("reason", "")]
                if told not in self._way:
                    self._way.append(told)

    def _pod_seen(self, change: Change) -> None:
        self._changes += 1
        if isinstance(change, Deleted):
            self._living.pop(change.key.name, None)
            self._pods.setdefault(change.key.name, []).append({"gone": True})
            return
        obj = getattr(change, "obj", None) or getattr(change, "new", None)
        assert obj is not None
        pod = self._living[obj.key.name] = obj.decode()
        for owner in pod["metadata"].get("ownerReferences", []):
            self._words.setdefault(owner["uid"], "UID")
        self._words.setdefault(pod["metadata"]["uid"], "UID")
        self._pods.setdefault(obj.key.name, []).append(normal.pod(pod, self._words))

    @asynccontextmanager
    async def _following(self, resource: Resource, seen: Callable[[Change], None]) -> AsyncIterator[None]:
        namespace = self._key.namespace
        informer = Informer(self._api, resource, namespace=namespace, clock=self._clock, resync_period=0)
        informer.add_handler(seen)
        task = asyncio.create_task(informer.run())
        try:
            await informer.wait_synced(10)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _until(self, holds: Callable[[Json], object]) -> None:
        found: Json = {}
        for _ in range(_TIMEOUT):
            found = await self._get()
            if holds(found):
                return
            await self._clock.sleep(0.1)
        raise NeverOver(f"{self._work.name}: {found.get('status')}")

    async def _get(self) -> Json:
        """Empty when it is gone."""
        try:
            return await self._api.get(self._work.resource, self._key)
        except NotFound:
            return {}

    async def _until_quiet(self) -> None:
        before, quiet = self._changes, 0
        while quiet < _QUIET:
            await self._clock.sleep(0.1)
            quiet = quiet + 1 if self._changes == before else 0
            before = self._changes

    def _plain(self, value: Any) -> Any:
        return _renamed(normal.clean(value, self._words))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _set(item: Json) -> Json:
    return {
        "labels": sorted(item["metadata"]["labels"]),
        "annotations": item["metadata"].get("annotations", {}),
        "replicas": item["spec"]["replicas"],
        "status": item.get("status"),
        "owners": [owner["kind"] for owner in item["metadata"]["ownerReferences"]],
    }


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "HASH" if key == HASH_LABEL else _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return _SUFFIX.sub(_without_suffix, value) if isinstance(value, str) else value


def _without_suffix(found: re.Match[str]) -> str:
    return NAME + ("-HASH" if found[1] else "") + ("-SUFFIX" if found[2] else "")

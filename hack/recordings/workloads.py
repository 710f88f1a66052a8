"""Jobs and Deployments: what the controllers of kube-controller-manager make of them, in the end and on the way.

Counters on the way depend on who is seen first, so of a way only its conditions are kept, each value once, and of the
end the whole status. Played pods, as everywhere here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hack.recordings.normal import clean
from wfe_controller.kube.cache.changes import Change, Deleted
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource, condition
from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.deployments import DEPLOYMENTS, REPLICASETS, REVISION, deployment
from wfe_controller.sandbox.simulators.jobs import JOBS
from wfe_controller.sandbox.simulators.play import Play

NAME = "it"
_TIMEOUT = 900
"""Looks, 0.1 s apart."""
_SUFFIX = re.compile(rf"\b{NAME}(-[a-z0-9]{{8,10}})?(-[a-z0-9]{{5}})?(?![-a-z0-9])")


@dataclass(frozen=True)
class Work:
    """``changes``: merge patches, each made when ``Done`` holds for the first time; then it is waited for again."""

    name: str
    resource: Resource
    body: Callable[[str], Json]
    done: Callable[[Json], object]
    changes: tuple[tuple[Callable[[Json], object], Json], ...] = ()
    about: str = ""


def job(does: Play = play.DEFAULT, **spec: Any) -> Callable[[str], Json]:
    env = [{"name": play.ENVIRONMENT, "value": play.encode(does)}]
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1", "env": env}]}
    return lambda namespace: {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"template": {"spec": pod}, **spec},
    }


def app(replicas: int = 2, does: Play | None = None, **spec: Any) -> Callable[[str], Json]:
    def body(namespace: str) -> Json:
        found = deployment(namespace, NAME, replicas=replicas, image="app:1")
        found["spec"] |= spec
        if does is not None:
            env = [{"name": play.ENVIRONMENT, "value": play.encode(does)}]
            found["spec"]["template"]["spec"]["containers"][0]["env"] = env
        return found

    return body


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


WORKS = (
    Work("job-completes", JOBS, job(), is_("Complete"), about="one pod"),
    Work("job-many", JOBS, job(completions=3, parallelism=2), is_("Complete"), about="three pods, two at once"),
    Work("job-retries", JOBS, job(Play(failures=1), backoffLimit=2), is_("Complete"), about="fails once"),
    Work("job-fails", JOBS, job(Play(exit_code=3), backoffLimit=0), is_("Failed"), about="fails and may not"),
    Work(
        "job-too-long", JOBS, job(Play(hang=True), activeDeadlineSeconds=3), is_("Failed"), about="its deadline passes"
    ),
    Work(
        "job-suspended",
        JOBS,
        job(suspend=True),
        is_("Complete"),
        ((is_("Suspended"), {"spec": {"suspend": False}}),),
        about="created suspended, resumed",
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
            (rolled_out, {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}}),
            (lambda found: _revision(found) == "2" and rolled_out(found), {"spec": {"replicas": 1}}),
        ),
        about="another image, then fewer replicas",
    ),
    Work(
        "deployment-stuck",
        DEPLOYMENTS,
        app(1, Play(image_missing=True), progressDeadlineSeconds=3),
        is_("Progressing", "False"),
        about="its image cannot be had",
    ),
)


async def record(api: Api, work: Work, *, namespace: str, clock: Clock) -> Json:
    """The way and the end of ``work`` in a namespace of its own."""
    way: list[list[str]] = []

    def seen(change: Change) -> None:
        obj = None if isinstance(change, Deleted) else getattr(change, "obj", None) or getattr(change, "new", None)
        if obj is not None:
            for entry in obj.field("status", "conditions") or []:
                told = [entry["type"], entry["status"], entry.get("reason", "")]
                if told not in way:
                    way.append(told)

    informer = Informer(api, work.resource, namespace=namespace, clock=clock, resync_period=0)
    informer.add_handler(seen)
    async with _running(informer):
        await api.create(work.resource, work.body(namespace), lane=Lane.READ)
        for when, change in work.changes:
            await _until(api, work, when, namespace, clock)
            key = ObjectKey(namespace, NAME)
            await api.patch(work.resource, key, patches.merge_patch(change), lane=Lane.READ)
        await _until(api, work, work.done, namespace, clock)
        await clock.sleep(1.0)
        found = await api.get(work.resource, ObjectKey(namespace, NAME))
    sets = await api.list(REPLICASETS, namespace) if work.resource == DEPLOYMENTS else []
    pods = await api.list(PODS, namespace)
    return {
        "way": sorted(way),
        "status": _plain(found.get("status"), namespace),
        "replicaSets": sorted((_plain(_set(item), namespace) for item in sets), key=_text),
        "pods": sorted((_plain(_pod(item), namespace) for item in pods), key=_text),
    }


@asynccontextmanager
async def _running(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await informer.wait_synced(10)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(api: Api, work: Work, holds: Callable[[Json], object], namespace: str, clock: Clock) -> None:
    found: Json = {}
    for _ in range(_TIMEOUT):
        found = await api.get(work.resource, ObjectKey(namespace, NAME))
        if holds(found):
            return
        await clock.sleep(0.1)
    raise TimeoutError(f"{work.name}: {found.get('status')}")


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


def _pod(item: Json) -> Json:
    return {
        "name": item["metadata"]["name"],
        "labels": sorted(item["metadata"].get("labels", {})),
        "owners": [owner["kind"] for owner in item["metadata"]["ownerReferences"]],
        "deleting": "deletionTimestamp" in item["metadata"],
        "phase": item["status"]["phase"],
    }


def _plain(value: Any, namespace: str) -> Any:
    found = clean(value, {namespace: "NAMESPACE"})
    return _renamed(found)


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return _SUFFIX.sub(_without_suffix, value) if isinstance(value, str) else value


def _without_suffix(found: re.Match[str]) -> str:
    return NAME + ("-HASH" if found[1] else "") + ("-SUFFIX" if found[2] else "")

"""Plays Tekton: watches the PipelineRuns of the execution namespace and writes the status that Tekton would write.

A run that is not pending gets conditions, startTime and, on demand, TaskRuns it owns; after ``seconds`` it succeeds.
There are no pods. Every write is a merge patch of the status, so that the player needs no reads of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec

from hack.bench.timeline import Timeline
from wfe_controller.api import names
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import KubeError
from wfe_controller.kube.objects import ObjectKey, Resource

Object = dict[str, Any]
NAME_OF_OWNER = names.OWNER_NAME


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    finalizers: list[str] = []
    deletionTimestamp: str = ""


class _Spec(msgspec.Struct, gc=False):
    status: str = ""


class _Status(msgspec.Struct, gc=False):
    phase: str = ""


class _Object(msgspec.Struct, gc=False):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Event(msgspec.Struct, gc=False):
    type: str
    object: _Object


_decode = msgspec.json.Decoder(_Event).decode


async def follow(api: Api, resource: Resource, namespace: str, seen: Any) -> None:
    """Call ``seen(event)`` for every change from now on, until cancelled; a watch that ends is opened again."""
    version = (await api.list_page(resource, namespace, limit=1)).resource_version
    while True:
        try:
            async with api.watch(
                resource, namespace, resource_version=version, timeout_seconds=600, idle_timeout=120
            ) as lines:
                async for line in lines:
                    event = _decode(line)
                    if event.type == "ERROR":
                        break
                    version = event.object.metadata.resourceVersion or version
                    if event.type != "BOOKMARK":
                        seen(event)
        except KubeError as error:
            print(f"watch of {resource.plural}: {error}; opened again", flush=True)
            await asyncio.sleep(0.2)


class Player:
    """Tekton's part. ``run`` it as a task; ``timeline`` learns of created, released, ended and removed runs."""

    def __init__(self, api: Api, namespace: str, timeline: Timeline, *, seconds: float, task_runs: int) -> None:
        self._api, self._namespace, self._timeline = api, namespace, timeline
        self._seconds, self._task_runs = seconds, task_runs
        self._begun: set[str] = set()
        self._plays: set[asyncio.Task[None]] = set()
        self.acts = True
        """False: only looks, because the real Tekton is there."""
        self.trouble = ""
        """The first refusal of a write of the player: whatever was measured is then worth nothing."""

    async def run(self) -> None:
        await follow(self._api, names.PIPELINERUNS, self._namespace, self._seen)

    def _seen(self, event: _Event) -> None:
        meta = event.object.metadata
        owner = meta.annotations.get(NAME_OF_OWNER)
        if owner is None:
            return
        self._timeline.mark(owner, "run_created")
        if event.type == "DELETED":
            self._timeline.mark(owner, "run_gone")
        elif not event.object.spec.status:
            self._timeline.mark(owner, "run_released")
            if self.acts and meta.uid not in self._begun and not meta.deletionTimestamp:
                self._begun.add(meta.uid)
                self._spawn(self._play(meta, owner))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._plays.add(task)
        task.add_done_callback(self._plays.discard)

    async def _play(self, run: _Meta, owner: str) -> None:
        key = ObjectKey(run.namespace, run.name)
        try:
            began = _now()
            children = [await self._task_run(run, number) for number in range(self._task_runs)]
            body: Object = {"startTime": began, "pipelineSpec": {"tasks": [{"name": "act", "taskRef": {"name": "t"}}]}}
            body["childReferences"] = [
                {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name, "pipelineTaskName": f"act-{number}"}
                for number, name in enumerate(children)
            ]
            body["conditions"] = _verdict("Unknown", "Running", "Tasks Completed: 0 (Failed: 0, Cancelled 0)")
            await self._status(names.PIPELINERUNS, key, body)
            await asyncio.sleep(self._seconds)
            for name in children:
                await self._status(names.TASKRUNS, ObjectKey(run.namespace, name), _task_ended(began))
            done = _verdict("True", "Succeeded", "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0")
            self._timeline.mark(owner, "run_ended")
            await self._status(names.PIPELINERUNS, key, {"completionTime": _now(), "conditions": done})
        except KubeError as error:
            self.trouble = self.trouble or f"playing the run of {owner}: {error}"

    async def _status(self, resource: Resource, key: ObjectKey, status: Object) -> None:
        patch = patches.merge_patch({"status": status})
        await self._api.patch(resource, key, patch, subresource="status", lane=Lane.READ)

    async def _task_run(self, run: _Meta, number: int) -> str:
        name = f"{run.name}-act-{number}"
        owner = {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "name": run.name,
            "uid": run.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        labels = {**run.labels, names.TEKTON_PIPELINE_RUN: run.name, names.TEKTON_PIPELINE_RUN_UID: run.uid}
        body = {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": name, "namespace": run.namespace, "labels": labels, "ownerReferences": [owner]},
            "spec": {"taskRef": {"name": "act"}},
        }
        await self._api.create(names.TASKRUNS, body, lane=Lane.READ)
        step = {"name": "act", "container": "step-act", "running": {"startedAt": _now()}}
        running = _verdict("Unknown", "Running", "Not all Steps in the Task have finished executing")
        status = {"podName": f"{name}-pod", "startTime": _now(), "steps": [step], "conditions": running}
        await self._status(names.TASKRUNS, ObjectKey(run.namespace, name), status)
        return name


def _task_ended(began: str) -> Object:
    now = _now()
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": began, "finishedAt": now}
    step = {"name": "act", "container": "step-act", "terminated": ended}
    done = _verdict("True", "Succeeded", "All Steps have completed executing")
    return {"completionTime": now, "steps": [step], "conditions": done}


def _verdict(status: str, reason: str, message: str) -> list[Object]:
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": message, "lastTransitionTime": _now()}]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Plays one situation against an API server and writes down every state of the run, its TaskRuns and its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hack.recordings import normal
from hack.recordings.situations import RUN, Object, Seen, Situation
from wfe_controller.api import names
from wfe_controller.kube.cache.changes import Change, Deleted
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.objects import PODS, ObjectKey, Resource

TIMEOUT = 120.0
QUIET = 0.5
"""So long nothing may have changed at the end: what was under way when ``over`` became true still belongs to it."""


class NeverOver(Exception):
    """The situation did not end in time; the text says where it stands."""


class Stage:
    """One namespace of its own for one situation."""

    def __init__(
        self, api: Api, situation: Situation, *, namespace: str, bundle: str, clock: Clock, speed: float = 1.0
    ) -> None:
        self._api, self._situation, self._clock, self._speed = api, situation, clock, speed
        self._namespace, self._bundle = namespace, bundle
        self._key = ObjectKey(namespace, RUN)
        self._seen = Seen()
        self._changed = asyncio.Event()
        self._states: dict[str, dict[str, list[Object]]] = {"pipelineRun": {}, "taskRuns": {}, "pods": {}}
        registry = bundle.partition("/")[0]
        self._words = {namespace: "NAMESPACE", registry: "REGISTRY"}

    def run(self) -> Object:
        params = [
            {"name": "bundle", "value": self._bundle},
            {"name": "name", "value": "workflow"},
            {"name": "kind", "value": "pipeline"},
        ]
        return {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": RUN, "namespace": self._namespace, "labels": {"app": "recording"}},
            "spec": {
                "pipelineRef": {"resolver": "bundles", "params": params},
                "taskRunTemplate": {"serviceAccountName": "default"},
                **self._situation.spec,
            },
        }

    async def play(self) -> Object:
        """What was written, normalised. Raises NeverOver."""
        informers = [
            self._follow(names.PIPELINERUNS, "pipelineRun", normal.run),
            self._follow(names.TASKRUNS, "taskRuns", normal.task_run),
            self._follow(PODS, "pods", normal.pod),
        ]
        tasks = [asyncio.create_task(informer.run()) for informer in informers]
        try:
            for informer in informers:
                await informer.wait_synced(10)
            await self._api.create(names.PIPELINERUNS, self.run(), lane=Lane.READ)
            async with asyncio.timeout(TIMEOUT):
                await self._until_over()
        except TimeoutError:
            raise NeverOver(f"{self._situation.name}: run {self._seen.run.get('status')}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return {
            kind: {name: normal.sequence(states) for name, states in sorted(found.items())}
            for kind, found in self._states.items()
        }

    async def _until_over(self) -> None:
        cues = list(self._situation.cues)
        while True:
            if cues and cues[0].when(self._seen):
                cue = cues.pop(0)
                await self._clock.sleep(cue.after / self._speed)
                await getattr(self, f"_{cue.verb}")(cue.value)
                continue
            if not cues and self._situation.over(self._seen):
                self._changed.clear()
                try:
                    async with asyncio.timeout(QUIET):
                        await self._changed.wait()
                except TimeoutError:
                    return
                continue
            self._changed.clear()
            await self._changed.wait()

    def _follow(self, resource: Resource, kind: str, shape: Callable[[Object, Any], Object]) -> Informer:
        def changed(change: Change) -> None:
            if isinstance(change, Deleted):
                self._forget(kind, change.key.name)
            else:
                obj = getattr(change, "obj", None) or getattr(change, "new", None)
                assert obj is not None
                decoded = obj.decode()
                self._words.setdefault(decoded["metadata"]["uid"], f"UID-OF-{decoded['metadata']['name']}")
                self._keep(kind, decoded)
                states = self._states[kind].setdefault(decoded["metadata"]["name"], [])
                states.append(shape(decoded, dict(self._words)))
            self._changed.set()

        informer = Informer(self._api, resource, namespace=self._namespace, clock=self._clock, resync_period=0)
        informer.add_handler(changed)
        return informer

    def _keep(self, kind: str, obj: Object) -> None:
        if kind == "pipelineRun":
            self._seen.run = obj
        else:
            (self._seen.task_runs if kind == "taskRuns" else self._seen.pods)[obj["metadata"]["name"]] = obj

    def _forget(self, kind: str, name: str) -> None:
        if kind == "pipelineRun":
            self._seen.run = {}
        else:
            (self._seen.task_runs if kind == "taskRuns" else self._seen.pods).pop(name, None)
        self._states[kind].setdefault(name, []).append({"gone": True})

    # -- what cues do

    async def _set(self, value: str) -> None:
        patch = patches.merge_patch({"spec": {"status": value}})
        await self._api.patch(names.PIPELINERUNS, self._key, patch, lane=Lane.READ)

    async def _start(self, _: str) -> None:
        uid = self._seen.run["metadata"]["uid"]
        operations = [
            patches.test("/metadata/uid", uid),
            patches.test("/spec/status", "PipelineRunPending"),
            patches.remove("/spec/status"),
        ]
        await self._api.patch(names.PIPELINERUNS, self._key, patches.json_patch(operations), lane=Lane.READ)

    async def _orphan(self, _: str) -> None:
        uid = self._seen.run["metadata"]["uid"]
        await self._api.delete(names.PIPELINERUNS, self._key, uid=uid, propagation="Orphan", lane=Lane.READ)

    async def _delete(self, _: str) -> None:
        uid = self._seen.run["metadata"]["uid"]
        await self._api.delete(names.PIPELINERUNS, self._key, uid=uid, propagation="Foreground", lane=Lane.READ)

    async def _lose(self, _: str) -> None:
        for pod in list(self._seen.pods.values()):
            key = ObjectKey(self._namespace, pod["metadata"]["name"])
            await self._api.delete(PODS, key, uid=pod["metadata"]["uid"], lane=Lane.READ)

    async def _create(self, _: str) -> None:
        await self._api.create(names.PIPELINERUNS, self.run(), lane=Lane.READ)

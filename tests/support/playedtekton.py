"""Tekton, kubelet and garbage collector over a FakeServer: just enough life for interleavings.

Kept from the real ones because decisions hang on it: a pending or terminating run is never started; a cancelled run is
reported done while its pods may go on; a foreground deletion removes pods, then TaskRuns, then the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.support.fakeapi import FOREGROUND, FakeServer, finalizers, labels
from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.objects import PODS, Json, Resource, key_of, text, uid_of


@dataclass
class Play:
    """What a run does, in seconds from its start. ``outcome`` None: it runs until it is told to end.

    ``lingers``: how long its pod goes on after Tekton has reported the run's end, or after its deletion.
    """

    outcome: str | None = "True"
    starts: float = 1.0
    lasts: float = 5.0
    lingers: float = 0.0
    resolves: bool = True
    """False: the bundle holds no such pipeline, the run fails before anything is started."""


@dataclass
class PlayedTekton:
    """Tekton, kubelet and garbage collector. ``tick`` does what is due; ``next_due`` is when something is next."""

    server: FakeServer
    play: Callable[[Json], Play] = lambda run: Play()
    _due: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _seen: int = -1
    """How much of the server's log was looked at."""

    def next_due(self) -> datetime | None:
        return min(self._due.values(), default=None)

    def tick(self) -> None:
        due = self.next_due()
        if self._seen == len(self.server.log) and (due is None or due > self.server.clock.now()):
            return
        while self._seen != len(self.server.log) or due is not None:
            self._seen, due = len(self.server.log), None
            self._look()

    def _look(self) -> None:
        for run in self.server.all(names.PIPELINERUNS):
            self._run(run)
        for pod in self.server.all(PODS):
            self._pod(pod)
        self._collect()

    def _arrived(self, uid: str, what: str, seconds: float) -> bool:
        """Whether ``seconds`` have passed since this was first asked."""
        due = self._due.setdefault((uid, what), self.server.clock.now() + timedelta(seconds=seconds))
        if due > self.server.clock.now():
            return False
        self._due[uid, what] = datetime.max.replace(tzinfo=due.tzinfo)
        return True

    def _run(self, run: Json) -> None:
        uid, play = uid_of(run), self.play(run)
        asked = text(run["spec"].get("status"))
        if run["metadata"].get("deletionTimestamp") or asked == "PipelineRunPending" or finished(run):
            return
        if asked.startswith("Cancelled"):
            self._finish(run, "False", "Cancelled")
        elif not run.get("status", {}).get("startTime"):
            if self._arrived(uid, "starts", play.starts):
                self._begin(run) if play.resolves else self._finish(run, "False", "CouldntGetPipeline")
        elif play.outcome is not None and self._arrived(uid, "ends", play.lasts):
            self._finish(run, play.outcome, "Succeeded" if play.outcome == "True" else "Failed")

    def _begin(self, run: Json) -> None:
        now = rfc3339(self.server.clock.now())
        name, space = f"{run['metadata']['name']}-act", run["metadata"]["namespace"]
        marks = {
            **labels(run),
            names.TEKTON_PIPELINE_RUN: run["metadata"]["name"],
            names.TEKTON_PIPELINE_RUN_UID: uid_of(run),
        }
        step = {"name": "act", "container": "step-act", "running": {"startedAt": now}}
        task_run = self._child(names.TASKRUNS, name, space, marks, uid_of(run))
        task_run["status"] = {
            "podName": f"{name}-pod",
            "startTime": now,
            "steps": [step],
            **_verdict("Unknown", "Running"),
        }
        made = self.server.create(names.TASKRUNS, task_run)
        pod = self._child(PODS, f"{name}-pod", space, {**marks, names.TEKTON_TASK_RUN: name}, uid_of(made))
        pod["status"] = {
            "phase": "Running",
            "containerStatuses": [{"name": "step-act", "state": {"running": {"startedAt": now}}}],
        }
        self.server.create(PODS, pod)
        self._status(
            names.PIPELINERUNS,
            run,
            {
                "startTime": now,
                "pipelineSpec": {"tasks": [{"name": "act"}]},
                "childReferences": [{"kind": "TaskRun", "name": name, "pipelineTaskName": "act"}],
                **_verdict("Unknown", "Running"),
            },
        )

    def _child(self, resource: Resource, name: str, space: str, marks: Json, owner: str) -> Json:
        meta = {"name": name, "namespace": space, "labels": marks, "ownerReferences": [{"uid": owner}]}
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}

    def _finish(self, run: Json, outcome: str, reason: str) -> None:
        now = rfc3339(self.server.clock.now())
        for task_run in self._owned(names.TASKRUNS, uid_of(run)):
            code = {"True": 0, "False": 1}[outcome]
            began = task_run["status"]["startTime"]
            ended = {"exitCode": code, "reason": "Completed", "startedAt": began, "finishedAt": now}
            step = {"name": "act", "container": "step-act", "terminated": ended}
            why = "TaskRunCancelled" if reason == "Cancelled" else reason
            self._status(names.TASKRUNS, task_run, {"steps": [step], "completionTime": now, **_verdict(outcome, why)})
        began = run.get("status", {}).get("startTime", now)
        self._status(names.PIPELINERUNS, run, {"startTime": began, "completionTime": now, **_verdict(outcome, reason)})

    def _status(self, resource: Resource, obj: Json, status: Json) -> None:
        def change(stored: Json) -> None:
            stored["status"] = {**stored.get("status", {}), **status}

        self.server.update(resource, key_of(obj), change)

    def _owned(self, resource: Resource, owner: str) -> list[Json]:
        return [o for o in self.server.all(resource) if o["metadata"]["ownerReferences"][0]["uid"] == owner]

    def _pod(self, pod: Json) -> None:
        """A pod ends ``lingers`` after its TaskRun has, and goes away ``lingers`` after its TaskRun is going."""
        parents = [
            t for t in self.server.all(names.TASKRUNS) if uid_of(t) == pod["metadata"]["ownerReferences"][0]["uid"]
        ]
        over = not parents or finished(parents[0])
        going = not parents or parents[0]["metadata"].get("deletionTimestamp")
        lingers = self.play(pod).lingers
        if pod["status"]["phase"] == "Running" and (over or going):
            if self._arrived(uid_of(pod), "lingers", lingers):
                self._status(PODS, pod, {"phase": "Succeeded"})
        elif going and pod["status"]["phase"] != "Running":
            self.server.delete(PODS, key_of(pod))

    def _collect(self) -> None:
        runs = {uid_of(r): r for r in self.server.all(names.PIPELINERUNS)}
        for task_run in self.server.all(names.TASKRUNS):
            owner = runs.get(task_run["metadata"]["ownerReferences"][0]["uid"])
            if owner is None or owner["metadata"].get("deletionTimestamp"):
                self.server.delete(names.TASKRUNS, key_of(task_run), "Foreground")
        for resource, child in ((names.TASKRUNS, PODS), (names.PIPELINERUNS, names.TASKRUNS)):
            for obj in self.server.all(resource):
                if FOREGROUND in finalizers(obj) and not self._owned(child, uid_of(obj)):
                    self.server.update(resource, key_of(obj), lambda o: o["metadata"]["finalizers"].remove(FOREGROUND))


def finished(obj: Json) -> bool:
    conditions: Iterable[Json] = obj.get("status", {}).get("conditions", [])
    return any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)


def _verdict(status: str, reason: str) -> Json:
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": f"run {reason}"}]}

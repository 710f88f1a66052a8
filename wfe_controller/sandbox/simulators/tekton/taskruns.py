"""Tekton's controller of TaskRuns: a pod for each, and the pod's state in the TaskRun's status."""

from __future__ import annotations

from datetime import timedelta

import structlog

from wfe_controller.api import names
from wfe_controller.api.durations import format_duration
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.control.sources import myself
from wfe_controller.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey, is_deleting, items, labels_of, mapping, text, uid_of
from wfe_controller.sandbox.simulators.simulation import Simulation, controller_keys
from wfe_controller.sandbox.simulators.tekton import podbuild, podstatus, terms
from wfe_controller.sandbox.simulators.tekton.substitution import parameters, substitute

log = structlog.get_logger("wfe.sandbox")

QUOTA_SECONDS = 60.0


class TaskRuns:
    """Registers itself with the simulation."""

    def __init__(self, simulation: Simulation, *, release: str) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._release = release
        simulation.controller(
            "taskruns", self.reconcile, (names.TASKRUNS, myself), (PODS, controller_keys("TaskRun")), workers=4
        )

    async def reconcile(self, key: ObjectKey) -> Outcome:
        task_run = self._sim.fresh(names.TASKRUNS, key)
        if task_run is None or is_deleting(task_run) or not terms.is_ours(task_run):
            return Done()
        if (wait := self._sim.behind(names.TASKRUNS, key)) is not None:
            return wait
        before = mapping(task_run.get("status"))
        status: Json = {**before, "podName": text(before.get("podName"))}
        if terms.is_done(task_run):
            return Done()
        if not status.get("startTime"):
            status["startTime"] = self._now()
            if not status.get("conditions"):
                terms.set_verdict(status, "Unknown", "Started", "Not all Steps in the Task have finished executing", "")
        await self._decide(key, {**task_run, "status": status}, status)
        self._retry(task_run, status)
        await self._write(key, task_run, status)
        return self._next(task_run, status)

    async def _decide(self, key: ObjectKey, task_run: Json, status: Json) -> None:
        name, spec = key.name, task_run["spec"]
        if spec.get("status") == terms.TASK_RUN_CANCELLED:
            message = f'TaskRun "{name}" was cancelled. {text(spec.get("statusMessage"))}'
            await self._fail(key, task_run, status, terms.TASK_RUN_CANCELLED, message)
            return
        limit = self._limit(task_run)
        elapsed = self._elapsed(status)
        if limit and elapsed > limit:
            pod = self._pod(key, task_run, status)
            if pod is not None:
                seen: Json = {**status}
                podstatus.apply(seen, pod, task_run, self._now())
                status["steps"] = seen["steps"]
            message = f'TaskRun "{name}" failed to finish within "{format_duration(limit)}"'
            await self._fail(key, task_run, status, "TaskRunTimeout", message)
        elif (bad := podstatus.hopeless(task_run)) is not None:
            await self._fail(key, task_run, status, *bad)
        else:
            await self._follow(key, task_run, status)

    async def _follow(self, key: ObjectKey, task_run: Json, status: Json) -> None:
        pod = self._pod(key, task_run, status)
        status["taskSpec"] = self._task_spec(task_run)
        if pod is None:
            pod = await self._create(key, task_run, status)
        if pod is not None:
            podstatus.apply(status, pod, task_run, self._now())

    def _pod(self, key: ObjectKey, task_run: Json, status: Json) -> Json | None:
        store = self._sim.informer(PODS).store
        if status["podName"]:
            known = store.get(ObjectKey(key.namespace, status["podName"]))
            return None if known is None else known.decode()
        archived = {text(mapping(entry).get("podName")) for entry in items(status.get("retriesStatus"))}
        for child in self._sim.children(PODS, uid_of(task_run)):
            pod = child.decode()
            if child.key.name not in archived and not podstatus.failed(pod):
                return pod
        return None

    def _task_spec(self, task_run: Json) -> Json:
        meta, spec = task_run["metadata"], task_run["spec"]
        task = mapping(spec.get("taskSpec"))
        retries = len(items(task_run["status"].get("retriesStatus")))
        words = {
            **parameters(task.get("params"), spec.get("params")),
            "context.taskRun.name": meta["name"],
            "context.taskRun.namespace": meta["namespace"],
            "context.taskRun.uid": meta["uid"],
            "context.task.name": "",
            "context.task.retry-count": str(retries),
        }
        for result in items(task.get("results")):
            words[f"results.{result['name']}.path"] = f"/tekton/results/{result['name']}"
        found: Json = {**task}
        for part in ("steps", "sidecars", "volumes", "stepTemplate"):
            if part in found:
                found[part] = substitute(found[part], words)
        return found

    async def _create(self, key: ObjectKey, task_run: Json, status: Json) -> Json | None:
        pod = podbuild.pod(task_run, status["taskSpec"], self._sim.suffix())
        pod["metadata"]["annotations"][terms.ANNOTATION_RELEASE] = self._release
        try:
            return await self._api.create(PODS, pod, lane=Lane.READ)
        except AlreadyExists:
            return await self._api.get(PODS, ObjectKey(key.namespace, pod["metadata"]["name"]))
        except ApiError as refused:
            self._not_created(status, task_run, refused)
            return None

    def _not_created(self, status: Json, task_run: Json, refused: ApiError) -> None:
        """The words are Tekton's; the kinds of refusal are told apart by the API's own codes and text, as there."""
        name, said = task_run["metadata"]["name"], refused.message
        if isinstance(refused, Forbidden) and "exceeded quota" in said:
            status.pop("startTime", None)
            message = f"TaskRun Pod exceeded available resources: {said}"
            terms.set_verdict(status, "Unknown", "ExceededResourceQuota", message, self._now())
            return
        reason = "PodAdmissionFailed" if "violates PodSecurity" in said else "PodCreationFailed"
        message = said
        if reason == "PodCreationFailed":
            message = f'failed to create task run pod "{name}": {said}. Maybe invalid TaskSpec'
        status["completionTime"] = self._now()
        terms.set_verdict(status, "False", reason, message, self._now())

    async def _fail(self, key: ObjectKey, task_run: Json, status: Json, reason: str, message: str) -> None:
        """Ends the TaskRun now and asks for the pod's deletion; when the pod is gone is another matter."""
        terms.set_verdict(status, "False", reason, message, self._now())
        status["completionTime"] = self._now()
        if not status["podName"]:
            return
        status["steps"] = [dict(mapping(step)) for step in items(status.get("steps"))]
        podstatus.end_steps(status, task_run, reason)
        pod = self._sim.informer(PODS).store.get(ObjectKey(key.namespace, status["podName"]))
        if pod is None:
            return
        try:
            await self._api.delete(PODS, pod.key, uid=pod.uid, lane=Lane.READ)
        except NotFound:
            log.debug("the pod of a failed TaskRun was gone already", pod=str(pod.key))

    def _retry(self, task_run: Json, status: Json) -> None:
        cancelled = task_run["spec"].get("status") == terms.TASK_RUN_CANCELLED
        tried = items(status.get("retriesStatus"))
        if (
            terms.verdict({"status": status}) != "False"
            or cancelled
            or len(tried) >= int(task_run["spec"].get("retries") or 0)
        ):
            return
        archived = {key: value for key, value in status.items() if key != "retriesStatus"}
        said = status["conditions"][0]["message"]
        status["retriesStatus"] = [*tried, archived]
        status["podName"] = ""
        for gone in ("startTime", "completionTime", "results"):
            status.pop(gone, None)
        terms.set_verdict(status, "Unknown", "ToBeRetried", said, self._now())

    async def _write(self, key: ObjectKey, task_run: Json, status: Json) -> None:
        current = task_run
        if labels_of(task_run).get(terms.LABEL_MANAGED_BY) != terms.MANAGED_BY:
            marks = {
                "labels": {terms.LABEL_MANAGED_BY: terms.MANAGED_BY},
                "annotations": {terms.ANNOTATION_RELEASE: self._release},
            }
            patch = patches.merge_patch({"metadata": {"uid": uid_of(task_run), **marks}})
            current = await self._api.patch(names.TASKRUNS, key, patch, lane=Lane.READ)
            self._sim.wrote(names.TASKRUNS, current)
        if status != task_run.get("status"):
            written = await self._api.replace(
                names.TASKRUNS, {**current, "status": status}, subresource="status", lane=Lane.READ
            )
            self._sim.wrote(names.TASKRUNS, written)

    def _next(self, task_run: Json, status: Json) -> Outcome:
        condition = status["conditions"][0]
        if condition["status"] != "Unknown":
            return Done()
        if condition["reason"] == "ExceededResourceQuota":
            return RequeueAfter(QUOTA_SECONDS)
        limit = self._limit(task_run)
        left = (limit - self._elapsed(status)).total_seconds()
        return RequeueAfter(max(left, 0.0) + 0.01) if limit else Done()

    def _limit(self, task_run: Json) -> timedelta:
        """Zero: none."""
        given = terms.duration(task_run["spec"].get("timeout"))
        return terms.DEFAULT_TIMEOUT if given is None else given

    def _elapsed(self, status: Json) -> timedelta:
        start = parse_rfc3339(status.get("startTime"))
        return timedelta(0) if start is None else self._clock.now() - start

    def _now(self) -> str:
        return rfc3339(self._clock.now())

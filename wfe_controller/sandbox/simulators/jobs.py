"""Plays the controller of Jobs: pods until enough have succeeded or too many failed, suspension, deadline, clean-up.

Conditions, reasons and messages are those of kube-controller-manager. Left out: indexed Jobs, pod failure and success
policies, pod replacement policies, finalizers that track pods (nothing else deletes finished pods in the sandbox).
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339
from wfe_controller.kube.control.outcomes import Done, Outcome, RequeueAfter
from wfe_controller.kube.control.sources import myself
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import (
    PODS,
    Json,
    ObjectKey,
    Resource,
    condition,
    is_deleting,
    items,
    mapping,
    text,
    uid_of,
)
from wfe_controller.sandbox.simulators.simulation import BEHIND_SECONDS, Simulation, controller_keys, owner_reference

log = structlog.get_logger("wfe.sandbox")

JOBS = Resource("batch", "v1", "jobs", "Job")
BACKOFF_LIMIT = 6
BACKOFF_SECONDS = 10.0
BACKOFF_CAP_SECONDS = 600.0
_FINAL = ("Succeeded", "Failed")
_OVER = ("Complete", "Failed")


class JobSimulator:
    """Registers itself with the simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._api, self._clock = simulation.api, simulation.clock
        self._unseen: dict[str, set[str]] = {}
        self._lost: dict[str, set[str]] = {}
        self._spared: dict[str, set[str]] = {}
        self._failed_at: dict[str, tuple[int, float]] = {}
        simulation.controller("jobs", self.reconcile, (JOBS, myself), (PODS, controller_keys("Job")), workers=4)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        job = self._sim.fresh(JOBS, key)
        if job is None or is_deleting(job):
            return Done()
        if (wait := self._sim.behind(JOBS, key)) is not None:
            return wait
        if any(_is(job, kind) for kind in _OVER):
            return await self._clean_up(key, job)
        pods = self._sim.children(PODS, uid_of(job))
        if self._unseen_names(key, job):
            return RequeueAfter(BEHIND_SECONDS)
        status: Json = {**mapping(job.get("status"))}
        again = await self._decide(job, status, pods)
        if status != mapping(job.get("status")):
            written = await self._api.replace(JOBS, {**job, "status": status}, subresource="status", lane=Lane.READ)
            self._sim.wrote(JOBS, written)
        return again

    async def _decide(self, job: Json, status: Json, pods: list[CachedObject]) -> Outcome:
        spec = job["spec"]
        unfinished = [pod for pod in pods if pod.field("status", "phase") not in _FINAL]
        living = [pod for pod in unfinished if not pod.deleting]
        status |= {"ready": 0, "terminating": len(unfinished) - len(living), "uncountedTerminatedPods": {}}
        if _is(job, "FailureTarget") or _is(job, "SuccessCriteriaMet"):
            return await self._conclude(job, status, unfinished)
        succeeded = sum(pod.field("status", "phase") == "Succeeded" for pod in pods)
        failed = self._failed(uid_of(job), pods)
        _put(status, "succeeded", max(succeeded, int(status.get("succeeded") or 0)))
        _put(status, "failed", max(failed, int(status.get("failed") or 0)))
        if spec.get("suspend"):
            self._spared.setdefault(uid_of(job), set()).update(pod.uid for pod in unfinished)
            await self._delete(living)
            _put(status, "active", 0)
            status["terminating"] = len(unfinished)
            status.pop("startTime", None)
            self._set(status, "Suspended", True, "JobSuspended", "Job suspended")
            return Done()
        if _is(job, "Suspended"):
            self._set(status, "Suspended", False, "JobResumed", "Job resumed")
        status.setdefault("startTime", rfc3339(self._clock.now()))
        completions = int(spec.get("completions") or spec.get("parallelism") or 1)
        limit = int(spec.get("backoffLimit", BACKOFF_LIMIT))
        left = self._left(spec, status)
        if status.get("succeeded", 0) >= completions:
            message = "Reached expected number of succeeded pods"
            return await self._target(status, living, "SuccessCriteriaMet", "CompletionsReached", message)
        if left is not None and left <= 0:
            return await self._target(
                status, living, "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
            )
        if status.get("failed", 0) > limit or self._restarts(living) > limit:
            message = "Job has reached the specified backoff limit"
            return await self._target(status, living, "FailureTarget", "BackoffLimitExceeded", message)
        wait = self._backoff(uid_of(job), int(status.get("failed") or 0))
        missing = min(int(spec.get("parallelism") or 1), completions - int(status.get("succeeded") or 0)) - len(living)
        if wait <= 0:
            for _ in range(max(0, missing)):
                await self._create(job)
        _put(status, "active", len(living) + (max(0, missing) if wait <= 0 else 0))
        status["ready"] = sum(_ready(pod) for pod in living)
        waits = [seconds for seconds in (wait if missing > 0 else None, left) if seconds is not None and seconds > 0]
        return RequeueAfter(min(waits) + 0.001) if waits else Done()

    async def _target(self, status: Json, living: list[CachedObject], kind: str, reason: str, message: str) -> Outcome:
        """It is decided how the Job ends; what still runs is told to, and counts as failed where it did."""
        await self._delete(living)
        if kind == "FailureTarget":
            _put(status, "failed", int(status.get("failed") or 0) + len(living))
        _put(status, "active", 0)
        status["terminating"] = len(living)
        self._set(status, kind, True, reason, message)
        return RequeueAfter(BEHIND_SECONDS)

    async def _conclude(self, job: Json, status: Json, unfinished: list[CachedObject]) -> Outcome:
        """The end is written when the last pod has ended."""
        if unfinished:
            await self._delete([pod for pod in unfinished if not pod.deleting])
            return Done()
        kind = "Failed" if _is(job, "FailureTarget") else "Complete"
        target = condition(job, "FailureTarget" if kind == "Failed" else "SuccessCriteriaMet")
        if kind == "Complete":
            status["completionTime"] = rfc3339(self._clock.now())
        self._set(status, kind, True, text(target.get("reason")), text(target.get("message")))
        return RequeueAfter(BEHIND_SECONDS)

    def _failed(self, uid: str, pods: list[CachedObject]) -> int:
        """Those that failed, and those that somebody deleted before they had succeeded, also once they are gone.

        Not those that a suspension has ended.
        """
        known = self._lost.setdefault(uid, set())
        known |= {
            pod.uid
            for pod in pods
            if (phase := pod.field("status", "phase")) == "Failed" or (pod.deleting and phase != "Succeeded")
        }
        return len(known - self._spared.get(uid, set()))

    def _left(self, spec: Json, status: Json) -> float | None:
        limit = spec.get("activeDeadlineSeconds")
        start = parse_rfc3339(status.get("startTime"))
        if limit is None or start is None:
            return None
        return (start + timedelta(seconds=float(limit)) - self._clock.now()).total_seconds()

    def _backoff(self, uid: str, failed: int) -> float:
        """Seconds until the next pod may be made; 10 s after the first failure, twice as long after each further."""
        if not failed:
            return 0.0
        known = self._failed_at.get(uid)
        if known is None or known[0] != failed:
            known = self._failed_at[uid] = (failed, self._clock.monotonic())
        pause = min(BACKOFF_SECONDS * 2.0 ** (failed - 1), BACKOFF_CAP_SECONDS) / self._sim.speed
        return known[1] + pause - self._clock.monotonic()

    def _restarts(self, living: list[CachedObject]) -> int:
        found = [items(pod.field("status", "containerStatuses")) for pod in living]
        return sum(int(mapping(entry).get("restartCount") or 0) for entries in found for entry in entries)

    def _unseen_names(self, key: ObjectKey, job: Json) -> set[str]:
        unseen = self._unseen.setdefault(uid_of(job), set())
        store = self._sim.informer(PODS).store
        unseen -= {name for name in set(unseen) if store.get(ObjectKey(key.namespace, name)) is not None}
        return unseen

    async def _create(self, job: Json) -> None:
        meta, template = job["metadata"], mapping(job["spec"]["template"])
        uid, name = meta["uid"], meta["name"]
        labels = {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{name}-",
                "namespace": meta["namespace"],
                "labels": {**mapping(mapping(template.get("metadata")).get("labels")), **labels},
                "annotations": {**mapping(mapping(template.get("metadata")).get("annotations"))},
                "ownerReferences": [owner_reference(job)],
            },
            "spec": template["spec"],
        }
        made = await self._api.create(PODS, body, lane=Lane.READ)
        self._unseen.setdefault(uid, set()).add(text(made["metadata"]["name"]))

    async def _delete(self, pods: list[CachedObject]) -> None:
        for pod in pods:
            try:
                await self._api.delete(PODS, pod.key, uid=pod.uid, lane=Lane.READ)
            except NotFound:
                log.debug("a pod was gone already", pod=str(pod.key))

    async def _clean_up(self, key: ObjectKey, job: Json) -> Outcome:
        self._failed_at.pop(uid_of(job), None)
        for pods in (self._lost, self._spared):
            pods.pop(uid_of(job), None)
        keep = job["spec"].get("ttlSecondsAfterFinished")
        if keep is None:
            return Done()
        ended = next((condition(job, kind).get("lastTransitionTime") for kind in _OVER if _is(job, kind)), None)
        since = parse_rfc3339(ended) or self._clock.now()
        left = (since + timedelta(seconds=float(keep)) - self._clock.now()).total_seconds()
        if left > 0:
            return RequeueAfter(left + 0.001)
        await self._api.delete(JOBS, key, uid=uid_of(job), propagation="Foreground", lane=Lane.READ)
        return Done()

    def _set(self, status: Json, kind: str, value: bool, reason: str, message: str) -> None:
        now, state = rfc3339(self._clock.now()), "True" if value else "False"
        kept = [dict(mapping(entry)) for entry in items(status.get("conditions"))]
        old = next((entry for entry in kept if entry.get("type") == kind), None)
        new = {"type": kind, "status": state, "reason": reason, "message": message, "lastProbeTime": now}
        if old is None:
            status["conditions"] = [*kept, {**new, "lastTransitionTime": now}]
        elif old["status"] != state:
            status["conditions"] = [{**new, "lastTransitionTime": now} if entry is old else entry for entry in kept]


def _is(job: Json, kind: str) -> bool:
    return condition(job, kind).get("status") == "True"


def _put(status: Json, name: str, number: int) -> None:
    """Counters that are zero are not written."""
    if number:
        status[name] = number
    else:
        status.pop(name, None)


def _ready(pod: CachedObject) -> bool:
    conditions = [mapping(entry) for entry in items(pod.field("status", "conditions"))]
    return any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)

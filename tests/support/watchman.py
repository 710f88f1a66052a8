"""Looks at every commit of a played story and collects what must never happen (T-18; SPEC 1.3, 2.1, 2.4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.support.fakeapi import FakeServer
from tests.support.playedtekton import finished
from tests.support.stepping import HOME
from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.objects import PODS, Json, ObjectKey, Resource, uid_of

TARGET = "prod/deployment/web"
LOCK = ObjectKey(HOME, names.lock_name(TARGET))
PENDING = "PipelineRunPending"


@dataclass
class Watchman:
    """Looks at every commit; collects what must never happen."""

    server: FakeServer
    wrong: list[str] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    history: list[tuple[str, str]] = field(default_factory=list)
    ended: dict[str, Json] = field(default_factory=dict)

    def __call__(self, resource: Resource, before: Json | None, after: Json | None) -> None:
        if resource in (names.PIPELINERUNS, PODS):
            self._one_at_a_time()
        if resource is names.PIPELINERUNS and before and after:
            self._start(before, after)
        if resource is names.TARGETLOCKS:
            self._lock((before or {}).get("status") or {}, (after or {}).get("status") or {})
        if resource is names.WORKFLOWEXECUTIONS:
            self._wfe(before, after)

    def acting(self) -> set[str]:
        """UIDs of runs that act or may act on the target: unpended and not done, or with a pod that has not ended."""
        runs = self.server.objects[names.PIPELINERUNS].values()
        live = {uid_of(r) for r in runs if r["spec"].get("status") != PENDING and not finished(r)}
        pods = self.server.objects[PODS].values()
        return live | {
            p["metadata"]["labels"][names.TEKTON_PIPELINE_RUN_UID]
            for p in pods
            if p["status"]["phase"] not in ("Succeeded", "Failed")
        }

    def owned_by(self, owner: str) -> set[str]:
        """What of this WorkflowExecution may still act."""
        runs = self.server.objects[names.PIPELINERUNS].values()
        live = {r["metadata"]["name"] for r in runs if owner_of(r) == owner and started(r) and not finished(r)}
        pods = self.server.objects[PODS].values()
        return live | {
            p["metadata"]["name"] for p in pods if owner_of(p) == owner and p["status"]["phase"] == "Running"
        }

    def _one_at_a_time(self) -> None:
        acting = self.acting()
        if len(acting) > 1:
            self.wrong.append(f"T-18.1: runs act at the same time: {sorted(acting)}")

    def _start(self, before: Json, after: Json) -> None:
        if before["spec"].get("status") == "Cancelled" and after["spec"].get("status") != "Cancelled":
            self.wrong.append(f"SPEC 2.4: the cancellation of {owner_of(after)} was taken back by a stale start")
        if before["spec"].get("status") != PENDING or "status" in after["spec"]:
            return
        if after["metadata"].get("deletionTimestamp"):
            return  # Tekton never starts what is being deleted
        owner = owner_of(after)
        self.starts[owner] += 1
        if self.starts[owner] > 1:
            self.wrong.append(f"T-18.9: {owner} was started {self.starts[owner]} times")
        holder = self.server.objects[names.TARGETLOCKS].get(LOCK, {}).get("status", {}).get("holder", {})
        if holder.get("uid") != owner:
            self.wrong.append(f"SPEC 1.3: {owner} was started while the lock named {holder.get('uid')}")
        found = [w for w in self.server.objects[names.WORKFLOWEXECUTIONS].values() if uid_of(w) == owner]
        ref = found[0].get("status", {}).get("pipelineRunRef", {}) if found else {}
        if ref.get("uid") != uid_of(after):
            self.wrong.append(f"SPEC 2.4: {owner} was started before its status named the run")

    def _lock(self, before: Json, after: Json) -> None:
        old, new = before.get("holder", {}).get("uid"), after.get("holder", {}).get("uid")
        if new and not old:
            self.held[new] += 1
        if old and new and old != new:
            self.wrong.append(f"the lock was taken over from {old} by {new}")
        last = after.get("lastExecution")
        if last and last != before.get("lastExecution"):
            self.history.append((last["uid"], last["outcome"]))
            if last["uid"] != old:
                self.wrong.append(f"SPEC 2.1: {last['uid']} wrote history without holding the lock")
        if old and not new:
            left = self.owned_by(old)
            blocked = (after.get("block") or {}).get("reason") == "CancelIncomplete"
            if left and not blocked:
                self.wrong.append(f"T-18.7: the hold of {old} was cleared while there was {sorted(left)}")
            if self.starts[old] and (not last or last["uid"] != old):
                self.wrong.append(f"SPEC 2.4: the hold of {old} was cleared without its history")

    def _wfe(self, before: Json | None, after: Json | None) -> None:
        if after is not None:
            status = after.get("status") or {}
            if status.get("phase") in TERMINAL:
                was = self.ended.setdefault(uid_of(after), status)
                if any(was.get(f) != status.get(f) for f in ("phase", "completionTime", "failureDetails")):
                    self.wrong.append(f"T-18.6: the terminal status of {uid_of(after)} changed")
        elif before is not None:
            left = self.owned_by(uid_of(before))
            block = self.server.objects[names.TARGETLOCKS].get(LOCK, {}).get("status", {}).get("block") or {}
            if left and block.get("reason") != "CancelIncomplete":
                self.wrong.append(f"T-18.7: {uid_of(before)} was let go while there was {sorted(left)}")

    def event(self, regarding: Json, reason: str, message: str) -> None:
        """TH36, P:Q6: never before the write that makes it true."""
        uid = uid_of(regarding)
        stored = [w for w in self.server.objects[names.WORKFLOWEXECUTIONS].values() if uid_of(w) == uid]
        status = (stored[0].get("status") or {}) if stored else self.ended.get(uid, {})
        phases = {"WorkflowCompleted": "Completed", "WorkflowFailed": "Failed", "WorkflowSkipped": "Skipped"}
        true = {
            **{name: status.get("phase") == phase for name, phase in phases.items()},
            "PipelineRunCreated": "pipelineRunRef" in status,
            "LockReleased": any(who == uid for who, _ in self.history),
        }
        if not true.get(reason, True):
            self.wrong.append(f"TH36: event {reason} for {uid} before its commit")


def started(run: Json) -> bool:
    asked = run["spec"].get("status")
    return asked != PENDING and bool(run.get("status", {}).get("startTime") or asked is None)


def owner_of(obj: Json) -> str:
    return str((obj["metadata"].get("labels") or {}).get(names.OWNER_UID, ""))

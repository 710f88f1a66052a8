"""What an observer saw of one target, replayed in the order of the server's own revisions, and what must hold in it.

Pure: no I/O, no clock, and nothing of the controller's code, so that a mistake there is not repeated here. The server
numbers all changes of all kinds with one counter (etcd's revision), and every watch event carries that number: sorted
by it, the streams of several kinds become the one true history.

live = a run that is neither pending nor done, or a pod of it that has not ended.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
PREFIX = "kubernaut.ai"
OWNER, HASH = f"{PREFIX}/workflow-execution-uid", f"{PREFIX}/target-hash"
RUN_UID = "tekton.dev/pipelineRunUID"
PENDING = "PipelineRunPending"
ENDED = ("Completed", "Failed", "Skipped")
FINAL = ("phase", "startTime", "completionTime", "failureDetails", "skipDetails")
FINALIZER = f"{PREFIX}/workflowexecution-cleanup"
UNCOUNTED = ("Cancelled", "DeadlineExceeded")
RUNS, PODS, LOCKS, EXECUTIONS = "pipelineruns", "pods", "targetlocks", "workflowexecutions"


def target_hash(target: str) -> str:
    """As in the names of runs and locks: 16 hex digits of the SHA-256 of the target, which must be canonical."""
    return hashlib.sha256(target.encode()).hexdigest()[:16]


def belongs_to(kind: str, obj: Object) -> str:
    """The hash of the target an object is about; "" = not ours."""
    if kind == LOCKS:
        return str(obj["metadata"]["name"]).removeprefix("wfe-")
    if kind == EXECUTIONS:
        return target_hash(str((obj.get("spec") or {}).get("targetResource", "")))
    return str((obj["metadata"].get("labels") or {}).get(HASH, ""))


@dataclass(frozen=True)
class Seen:
    """One watch event."""

    revision: int
    kind: str
    type: str
    obj: Object


@dataclass
class Findings:
    """``wrong``: what must never be. The rest are facts for the table."""

    wrong: list[str] = field(default_factory=list)
    starts: int = 0
    ended: dict[str, str] = field(default_factory=dict)
    contended: int = 0
    """How many executions were undecided while another one held the target."""
    history: list[tuple[str, str]] = field(default_factory=list)


class Chronicle:
    """Replays the events of one target. ``findings`` are complete after :meth:`close`."""

    def __init__(self) -> None:
        self.findings = Findings()
        self._runs: dict[str, Object] = {}
        self._all_runs: dict[str, Object] = {}
        self._pods: dict[str, Object] = {}
        self._executions: dict[str, Object] = {}
        self._final: dict[str, Object] = {}
        self._incomplete: set[str] = set()
        self._gone: set[str] = set()
        self._lock: Object | None = None
        self._starts: Counter[str] = Counter()
        self._order: list[str] = []
        self._acted: set[str] = set()
        self._undecided: set[str] = set()
        self._streaks: Counter[str] = Counter()
        self._block: str | None = None

    @classmethod
    def replay(cls, events: Iterable[Seen], *, at_rest: bool = True) -> Findings:
        """All of it; ``at_rest``: everything must have ended and nothing may be held."""
        chronicle = cls()
        for event in sorted(events, key=lambda seen: seen.revision):
            chronicle.see(event)
        chronicle.close(at_rest=at_rest)
        return chronicle.findings

    def see(self, event: Seen) -> None:
        """One event, in order."""
        uid = event.obj["metadata"]["uid"]
        gone = event.type == "DELETED"
        if event.kind == RUNS:
            before = self._runs.pop(uid, None)
            self._all_runs[uid] = event.obj
            if not gone:
                self._runs[uid] = event.obj
                self._run(before, event.obj)
        elif event.kind == PODS:
            self._pods.pop(uid, None)
            if not gone:
                self._pods[uid] = event.obj
            if any(s.get("state", {}).keys() & {"running", "terminated"} for s in _containers(event.obj)):
                self._acted.add(_label(event.obj, OWNER))
        elif event.kind == LOCKS:
            before, self._lock = self._lock, None if gone else event.obj
            self._locked(before, self._lock)
        else:
            self._execution(uid, event.obj, gone)
        self._together(event.revision)

    # -- one rule each --------------------

    def _together(self, revision: int) -> None:
        live = self._live()
        if len(live) > 1:
            self._wrong(f"revision {revision}: two runs of one target are live: {sorted(live)}")
        holder = _holder(self._lock)
        if holder:
            self._undecided |= {
                uid for uid, obj in self._executions.items() if uid != holder and _phase(obj) not in ENDED
            }

    def _live(self, owner: str | None = None) -> set[str]:
        runs = {uid for uid, run in self._runs.items() if _live_run(run) and owner in (None, _label(run, OWNER))}
        return runs | {
            _label(pod, RUN_UID)
            for pod in self._pods.values()
            if _live_pod(pod) and owner in (None, _label(pod, OWNER))
        }

    def _run(self, before: Object | None, after: Object) -> None:
        owner, asked = _label(after, OWNER), after["spec"].get("status")
        if before is None:
            if asked != PENDING:
                self._wrong(f"run {after['metadata']['uid']} of {owner} was created running")
            return
        was = before["spec"].get("status")
        if str(was).startswith("Cancelled") and not str(asked).startswith("Cancelled"):
            self._wrong(f"the cancellation of run {after['metadata']['uid']} was taken back")
        if was != PENDING or asked is not None or after["metadata"].get("deletionTimestamp"):
            return
        self._starts[owner] += 1
        self._order.append(owner)
        if self._starts[owner] > 1:
            self._wrong(f"{owner} was started {self._starts[owner]} times")
        if _holder(self._lock) != owner:
            self._wrong(f"{owner} was started while the lock named {_holder(self._lock) or 'nobody'}")
        execution = self._executions.get(owner)
        named = ((execution or {}).get("status") or {}).get("pipelineRunRef") or {}
        if named.get("uid") != after["metadata"]["uid"]:
            self._wrong(f"{owner} was started before its status named the run")
        if execution is None or _phase(execution) in ENDED:
            self._wrong(f"{owner} was started after its end")

    def _locked(self, before: Object | None, after: Object | None) -> None:
        old, new = _holder(before), _holder(after)
        status, was = (after or {}).get("status") or {}, (before or {}).get("status") or {}
        if after is None:
            if old or was.get("block"):
                self._wrong(f"a record that still said something was deleted: {was}")
            if not old and not was.get("block") and self._streaks:
                self._wrong(f"a record with failure streaks was deleted: {dict(self._streaks)}")
            return
        if old and new and old != new:
            self._wrong(f"the hold went from {old} to {new} without a release")
        if len(status.get("clearances") or []) > len(was.get("clearances") or []):
            self._block = None
            self._streaks.clear()
        last = status.get("lastExecution")
        if last and last != was.get("lastExecution"):
            self.findings.history.append((last["uid"], last["outcome"]))
            if last["uid"] != old or new:
                self._wrong(f"{last['uid']} wrote history while the lock named {old or 'nobody'}")
            self._settled(last["uid"], last["outcome"], last.get("workflowId", ""), status)
        if old and not new:
            block = (status.get("block") or {}).get("reason")
            left = self._live(old)
            if left and block != "CancelIncomplete":
                self._wrong(f"the hold of {old} was cleared while this was live: {sorted(left)}")
            if self._starts[old] and (not last or last["uid"] != old):
                self._wrong(f"the hold of {old}, which had started, was cleared without its history")

    def _settled(self, owner: str, outcome: str, workflow: str, ledger: Object) -> None:
        """The record that the end of ``owner`` must leave, from what was seen of it and its run, against the ledger."""
        final = self._final.get(owner)
        details = (final or {}).get("failureDetails") or {}
        executed = details.get("wasExecutionFailure") is not False
        if final is None:
            if outcome not in ("Unknown", "Completed") or owner not in self._gone:
                self._wrong(f"the ledger says {outcome} of {owner}, whose end nobody saw")
        elif outcome != final["phase"]:
            self._wrong(f"the ledger says {outcome} of {owner}, its status {final['phase']}")
        runs = [run for run in self._all_runs.values() if _label(run, OWNER) == owner]
        succeeded = any(_condition(run).get("status") == "True" for run in runs)
        if (outcome == "Completed") != succeeded:
            self._wrong(f"the ledger says {outcome} of {owner}, but its run succeeded={succeeded}")
        if outcome == "Completed":
            self._streaks.pop(workflow, None)
        elif outcome == "Unknown" or executed or owner in self._incomplete:
            self._block = owner
        else:
            if owner in self._acted:
                self._wrong(f"{owner} is recorded as never started, but a container of it ran")
            if details.get("reason") not in UNCOUNTED:
                self._streaks[workflow] += 1
        self._compare(ledger)

    def _compare(self, ledger: Object) -> None:
        written = {
            w["workflowId"]: w["consecutiveFailures"]
            for w in ledger.get("workflows") or []
            if w.get("consecutiveFailures")
        }
        if written != dict(self._streaks):
            self._wrong(f"streaks in the ledger {written}, recomputed {dict(self._streaks)}")
        blocker = ((ledger.get("block") or {}).get("by") or {}).get("uid")
        if blocker != self._block:
            self._wrong(f"the ledger is blocked by {blocker}, recomputed {self._block}")

    def _execution(self, uid: str, obj: Object, gone: bool) -> None:
        status = obj.get("status") or {}
        final = {name: status.get(name) for name in FINAL}
        if uid in self._final and final != self._final[uid]:
            self._wrong(f"the terminal status of {uid} changed: {self._final[uid]} -> {final}")
        if status.get("phase") in ENDED:
            if any(c.get("reason") == "CancelIncomplete" for c in status.get("conditions") or []):
                self._incomplete.add(uid)
            self._final.setdefault(uid, final)
            self.findings.ended[obj["metadata"]["name"]] = "/".join(
                part for part in (status["phase"], status.get("reason")) if part
            )
        if not gone:
            self._executions[uid] = obj
            return
        self._executions.pop(uid, None)
        self._gone.add(uid)
        self.findings.ended.setdefault(obj["metadata"]["name"], "gone")
        left = self._live(uid)
        block = (((self._lock or {}).get("status") or {}).get("block") or {}).get("reason")
        if left and block != "CancelIncomplete":
            self._wrong(f"{uid} was let go while this was live: {sorted(left)}")

    def close(self, *, at_rest: bool) -> None:
        """What only the end shows."""
        found = self.findings
        found.starts = sum(self._starts.values())
        found.contended = len(self._undecided)
        written = Counter(uid for uid, _ in found.history)
        for uid, times in written.items():
            if times > 1:
                self._wrong(f"{uid} stands in the history {times} times")
        if not at_rest:
            return
        for uid in self._starts:
            if not written[uid]:
                self._wrong(f"{uid} was started and never came into the history")
        in_history = [uid for uid, _ in found.history if uid in self._starts]
        if not any("the history" in w for w in found.wrong) and in_history != list(dict.fromkeys(self._order)):
            self._wrong(f"history {in_history} is not in the order of the starts {self._order}")
        self._compare((self._lock or {}).get("status") or {})
        if _holder(self._lock):
            self._wrong(f"still held by {_holder(self._lock)}")
        for uid, obj in self._executions.items():
            if _phase(obj) not in ENDED:
                self._wrong(f"{obj['metadata']['name']} has not ended: {_phase(obj) or 'no phase'}")
            if FINALIZER in (obj["metadata"].get("finalizers") or []):
                self._wrong(f"{uid} still has its finalizer")
        if self._live():
            self._wrong(f"still live: {sorted(self._live())}")
        pending = [uid for uid, run in self._runs.items() if run["spec"].get("status") == PENDING]
        if pending:
            self._wrong(f"pending runs are left: {pending}")

    def _wrong(self, what: str) -> None:
        if what not in self.findings.wrong:
            self.findings.wrong.append(what)


def _phase(execution: Mapping[str, Any]) -> str:
    return str((execution.get("status") or {}).get("phase") or "")


def _holder(lock: Object | None) -> str:
    return str((((lock or {}).get("status") or {}).get("holder") or {}).get("uid") or "")


def _label(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(name, ""))


def _condition(run: Object) -> Object:
    found = [c for c in (run.get("status") or {}).get("conditions") or [] if c.get("type") == "Succeeded"]
    return found[0] if found else {}


def _live_run(run: Object) -> bool:
    return run["spec"].get("status") != PENDING and _condition(run).get("status") not in ("True", "False")


def _live_pod(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _containers(pod: Object) -> list[Object]:
    return list((pod.get("status") or {}).get("containerStatuses") or [])

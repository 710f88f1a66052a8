"""Death, lost answers and late leaders between any two API calls (T-18 invariants 1, 2, 3, 5..9; SPEC 2.4, 13).

Each story is played once without trouble to learn its API calls, then once for every call and every trouble:

- ``dies``: the process ends there, another one starts with empty memory;
- ``lost``: the write is committed, but the controller is told that the connection failed;
- ``unsent``: the connection fails before the server has seen the request;
- ``late``: the process freezes there, another one takes over and goes on for a while (or to the end), then the frozen
  reconcile wakes up and runs on, without a gate and on its old memory, and only then dies.

What must hold is checked at every commit (``Watchman``) and at the end of every run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import structlog

from tests.support.fakeapi import Call, FakeServer
from tests.support.playedtekton import Play, PlayedTekton, finished
from tests.support.stepping import HOME, Job, ManualClock, Process, Told
from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.errors import ConnectionFailed, NotFound
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, Json, ObjectKey, Resource, uid_of
from wfe_controller.locking.limits import Limits
from wfe_controller.workflows.settings import ShellSettings

TARGET = "prod/deployment/web"
LOCK = ObjectKey(HOME, names.lock_name(TARGET))
RUN = ObjectKey("kubernaut-workflows", names.run_name(TARGET))
PENDING = "PipelineRunPending"
MAX_TURNS = 6000


def wfe(name: str, workflow: str = "restart", target: str = TARGET) -> Json:
    ref = {"workflowId": workflow, "version": "1", "containerImage": "reg.example/wf/restart:v1"}
    spec = {"remediationRequestRef": {"name": "rr"}, "targetResource": target, "workflowRef": ref}
    return {"metadata": {"name": name, "namespace": "ops"}, "spec": spec}


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
        live = {r["metadata"]["name"] for r in runs if _owner(r) == owner and started(r) and not finished(r)}
        pods = self.server.objects[PODS].values()
        return live | {p["metadata"]["name"] for p in pods if _owner(p) == owner and p["status"]["phase"] == "Running"}

    def _one_at_a_time(self) -> None:
        acting = self.acting()
        if len(acting) > 1:
            self.wrong.append(f"T-18.1: runs act at the same time: {sorted(acting)}")

    def _start(self, before: Json, after: Json) -> None:
        if before["spec"].get("status") == "Cancelled" and after["spec"].get("status") != "Cancelled":
            self.wrong.append(f"SPEC 2.4: the cancellation of {_owner(after)} was taken back by a stale start")
        if before["spec"].get("status") != PENDING or "status" in after["spec"]:
            return
        if after["metadata"].get("deletionTimestamp"):
            return  # Tekton never starts what is being deleted
        owner = _owner(after)
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


def _owner(obj: Json) -> str:
    return str((obj["metadata"].get("labels") or {}).get(names.OWNER_UID, ""))


Script = list[tuple[Callable[["Stage"], bool], Callable[["Stage"], None]]]


@dataclass(frozen=True)
class Story:
    """``ends``: what may stand at the end per object: (phase, reason), reason "" = none or any."""

    name: str
    objects: tuple[Json, ...]
    ends: dict[str, set[tuple[str, str]]]
    play: Callable[[Json], Play] = lambda run: Play()
    script: Callable[[], Script] = list
    settings: ShellSettings = field(default_factory=lambda: ShellSettings(run_retention=30.0))
    check: Callable[[Stage], None] = lambda stage: None


@dataclass(frozen=True)
class Trouble:
    at: int
    kind: str
    resume: int = 10**9
    """``late``: after so many writes of the other process."""


class Stage:
    """One run of a story, with at most one trouble."""

    def __init__(self, story: Story, trouble: Trouble | None = None, seed: int | None = None) -> None:
        self.story = story
        self.trouble = trouble
        self.rng = random.Random(seed) if seed is not None else None
        self.clock = ManualClock()
        self.server = FakeServer(self.clock)
        self.watchman = Watchman(self.server)
        self.server.committed.append(self.watchman)
        self.told = Told(self.watchman.event)
        self.tekton = PlayedTekton(self.server, story.play)
        self.script = story.script()
        self.calls: list[Call] = []
        account = {"metadata": {"name": "kubernaut-workflow-runner", "namespace": "kubernaut-workflows"}}
        self.server.create(SERVICE_ACCOUNTS, account)
        self.uids = {}
        for obj in story.objects:
            self.uids[obj["metadata"]["name"]] = uid_of(self.server.create(names.WORKFLOWEXECUTIONS, obj))
        self.process = self._new_process()
        self.frozen: tuple[Process, Job] | None = None
        self.writes_since = 0

    def _new_process(self) -> Process:
        return Process(self.server, self.clock, self.story.settings, self.told)

    # what a story looks at ----------------------------------------------------------------------------------------

    def wfe(self, name: str) -> Json:
        return self.server.get(names.WORKFLOWEXECUTIONS, ObjectKey("ops", name))

    def run_of(self, name: str) -> Json | None:
        runs = self.server.all(names.PIPELINERUNS)
        return next((r for r in runs if _owner(r) == self.uids[name]), None)

    def annotate(self, name: str, **annotations: str) -> None:
        def change(obj: Json) -> None:
            obj["metadata"].setdefault("annotations", {}).update(
                {f"kubernaut.ai/{key}": value for key, value in annotations.items()}
            )

        self.server.update(names.WORKFLOWEXECUTIONS, ObjectKey("ops", name), change)

    def delete(self, name: str) -> None:
        self.server.delete(names.WORKFLOWEXECUTIONS, ObjectKey("ops", name))

    # driving ------------------------------------------------------------------------------------------------------

    def play(self) -> Stage:
        for _ in range(MAX_TURNS):
            self.tekton.tick()
            while self.script and self.script[0][0](self):
                self.script.pop(0)[1](self)
                self.tekton.tick()
            if self.frozen is not None and (self.writes_since >= self._resume() or self._at_rest()):
                self._wake_frozen()
                continue
            self._deliver()
            jobs = self.process.runnable()
            if jobs:
                self._step(jobs[0] if self.rng is None else self.rng.choice(jobs))
            elif self.frozen is None and self._over():
                return self.finish()
            else:
                self._wait()
        raise AssertionError(f"{self.story.name}, {self.trouble}: not at rest after {MAX_TURNS} turns: {self.state()}")

    def _deliver(self) -> None:
        behind = self.process.feed.behind
        if self.rng is None or not self.process.runnable():
            self.process.feed.deliver()
        elif behind:
            self.process.feed.deliver(self.rng.choice((0, 0, 1, behind)))

    def _step(self, job: Job) -> None:
        call = self.process.step(job)
        self.clock.advance(0.002)
        while call is not None:
            self.clock.advance(0.003)
            if call.writes and call.done:
                self.writes_since += 1
            self.calls.append(call)
            trouble = self.trouble
            if trouble is None or len(self.calls) - 1 != trouble.at:
                return
            if trouble.kind == "dies":
                self.process.die()
                self.process = self._new_process()
                return
            if trouble.kind == "late":
                self.frozen = (self.process, job)
                self.process, self.writes_since = self._new_process(), 0
                return
            call = self.process.step(job, ConnectionFailed("the connection broke"))

    def _resume(self) -> int:
        return self.trouble.resume if self.trouble is not None else 0

    def _wake_frozen(self) -> None:
        assert self.frozen is not None
        (late, job), self.frozen = self.frozen, None
        while late.step(job) is not None:
            self.tekton.tick()
        late.die()

    def _wait(self) -> None:
        nexts = [self.process.next_due()]
        due = self.tekton.next_due()
        if due is not None:
            nexts.append(due)
        self.clock.time = max(self.clock.time + timedelta(milliseconds=1), min(nexts))

    def _at_rest(self) -> bool:
        """Everybody has ended and let go."""
        for obj in self.server.objects[names.WORKFLOWEXECUTIONS].values():
            if obj.get("status", {}).get("phase") not in TERMINAL or obj["metadata"].get("finalizers"):
                return False
        return not any(lock.get("status", {}).get("holder") for lock in self.server.objects[names.TARGETLOCKS].values())

    def _over(self) -> bool:
        """At rest, and the runs are gone too, but for those that are not ours."""
        ours = [r for r in self.server.all(names.PIPELINERUNS) if _owner(r) in self.uids.values()]
        return self._at_rest() and not ours

    def state(self) -> str:
        wfes = {
            k.name: (
                o.get("status", {}).get("phase"),
                o.get("status", {}).get("reason"),
                o["metadata"].get("finalizers"),
            )
            for k, o in self.server.objects[names.WORKFLOWEXECUTIONS].items()
        }
        locks = [o.get("status") for o in self.server.objects[names.TARGETLOCKS].values()]
        runs = [
            (uid_of(o), o["spec"].get("status"), o["metadata"].get("deletionTimestamp"), finished(o))
            for o in self.server.all(names.PIPELINERUNS)
        ]
        return f"{wfes}, locks {locks}, runs {runs}, queue {self.process.queue}, at {self.clock.monotonic():.0f} s"

    def finish(self) -> Stage:
        assert not self.watchman.wrong, f"{self.story.name}, {self.trouble}: {self.watchman.wrong}"
        for name, allowed in self.story.ends.items():
            uid = self.uids[name]
            status = self.watchman.ended.get(uid)
            if status is None:
                assert ("gone", "") in allowed, f"{name} never ended: {self.trouble}: {self.state()}"
                continue
            ended = (status["phase"], status.get("reason") or "")
            assert ended in allowed, f"{name} ended {ended}: {status.get('message')}, {self.trouble}"
            settled = [outcome for who, outcome in self.watchman.history if who == uid]
            assert len(settled) <= 1, f"{name} was recorded {len(settled)} times"
            if self.watchman.starts[uid]:
                assert settled == [status["phase"]], f"{name} ended {status['phase']}, the ledger says {settled}"
            if status["phase"] == "Skipped":
                assert not self.watchman.starts[uid]
                assert not settled, "a Skipped object writes no history"
        self.story.check(self)
        return self


def lock_status(stage: Stage) -> Json:
    try:
        status: Json = stage.server.get(names.TARGETLOCKS, LOCK).get("status") or {}
    except NotFound:
        return {}
    return status


def blocked(reason: str) -> Callable[[Stage], None]:
    def check(stage: Stage) -> None:
        block = lock_status(stage).get("block") or {}
        assert block.get("reason") == reason, (stage.trouble, lock_status(stage))

    return check


def unblocked(stage: Stage) -> None:
    assert "block" not in lock_status(stage), (stage.trouble, lock_status(stage))


def one_won(stage: Stage) -> None:
    """T3: never zero, never all skipped."""
    unblocked(stage)
    ended = Counter(status["phase"] for status in stage.watchman.ended.values())
    assert ended["Completed"] >= 1, stage.state()


def cooling(stage: Stage) -> None:
    one_won(stage)
    assert len(stage.watchman.starts) == 1, "the cooldown lets no second one of the same workflow start"


def pending_run(stage: Stage) -> bool:
    run = stage.run_of("one")
    return run is not None and run["spec"].get("status") == PENDING


def running(stage: Stage) -> bool:
    return bool(stage.server.objects[PODS])


def somebody(stage: Stage, owner: str = "") -> None:
    """A run under our name, started by nobody we know, or by an earlier WorkflowExecution that is gone."""
    labels = {names.OWNER_UID: owner, names.TARGET_HASH: names.target_hash(TARGET)} if owner else {}
    meta = {"name": RUN.name, "namespace": RUN.namespace, "labels": labels, "annotations": dict(labels)}
    stage.server.create(names.PIPELINERUNS, {"metadata": meta, "spec": {}})


def predecessor(stage: Stage) -> None:
    """It has failed, its record is written, but its pod takes its time."""
    somebody(stage, "gone")
    while not finished(stage.server.get(names.PIPELINERUNS, RUN)):
        stage.tekton.tick()
        stage.clock.advance(1)


def held(stage: Stage) -> bool:
    return "holder" in lock_status(stage)


def never_started(stage: Stage) -> None:
    unblocked(stage)
    assert not stage.watchman.starts
    run = stage.server.get(names.PIPELINERUNS, RUN)
    assert not run["metadata"].get("deletionTimestamp"), "T5, T41: a foreign run is not touched"


def steal(stage: Stage) -> None:
    """The hold goes to somebody who does not exist; two writes, as any editor of the object would need."""

    def change(holder: Json | None) -> None:
        def write(lock: Json) -> None:
            lock["status"] = {k: v for k, v in lock["status"].items() if k != "holder"} | (
                {"holder": holder} if holder else {}
            )

        stage.server.update(names.TARGETLOCKS, LOCK, write)

    change(None)
    since = {"engine": "tekton", "acquiredAt": "2026-03-01T12:00:00Z"}
    change({"uid": "thief", "name": "thief", "namespace": "ops", **since})


def unknown_if_stolen(stage: Stage) -> None:
    """TH18, SPEC 2.6: what a holder that does not exist has done is unknown; the script may have come too late."""
    if any(who == "thief" for who, _ in stage.watchman.history):
        blocked("OrphanedRun")(stage)


def never_both(stage: Stage) -> None:
    """Whoever stood there first; a late process may have been faster than the stranger."""
    if not stage.watchman.starts:
        never_started(stage)


def counted_once(stage: Stage) -> None:
    """TH36b: whatever happens, one failure that never started is one in the streak."""
    unblocked(stage)
    assert [w["consecutiveFailures"] for w in lock_status(stage)["workflows"]] == [1]


def when(condition: Callable[[Stage], bool], *acts: Callable[[Stage], Any]) -> Callable[[], Script]:
    def script() -> Script:
        def do(stage: Stage) -> None:
            for act in acts:
                act(stage)

        return [(condition, do)]

    return script


FAILED = {("Failed", "TaskFailed")}
CANCELLED = {("Failed", "Cancelled")}
DONE = {("Completed", "")}
BUSY = {("Skipped", "ResourceBusy")}
COOL = {("Skipped", "RecentlyRemediated")}
ONE = (wfe("one"),)
THREE = (wfe("one"), wfe("two"), wfe("three"))
RAN = Play(outcome=None)

STORIES = [
    Story("success", ONE, {"one": DONE}, check=unblocked),
    Story(
        "failure", ONE, {"one": FAILED}, play=lambda run: Play("False", lingers=3.0), check=blocked("ExecutionFailed")
    ),
    Story(
        "cancel-pending",
        ONE,
        {"one": CANCELLED | DONE},
        script=when(pending_run, lambda s: s.annotate("one", cancel="stop it")),
    ),
    Story(
        "cancel-running",
        ONE,
        {"one": CANCELLED},
        play=lambda run: Play(outcome=None, lingers=20.0),
        script=when(running, lambda s: s.annotate("one", cancel="stop it")),
        check=blocked("ExecutionFailed"),
    ),
    Story(
        "cancel-stubborn",
        ONE,
        {"one": CANCELLED},
        play=lambda run: Play(outcome=None, lingers=40.0),
        settings=ShellSettings(run_retention=30.0, cancel_timeout=6.0, delete_timeout=12.0, cancel_deadline=18.0),
        script=when(running, lambda s: s.annotate("one", cancel="stop it")),
        check=blocked("CancelIncomplete"),
    ),
    Story(
        "delete-pending",
        ONE,
        {"one": CANCELLED | DONE | {("gone", "")}},
        script=when(pending_run, lambda s: s.delete("one")),
    ),
    Story(
        "delete-running",
        ONE,
        {"one": CANCELLED},
        play=lambda run: Play(outcome=None, lingers=10.0),
        script=when(running, lambda s: s.delete("one")),
        check=blocked("ExecutionFailed"),
    ),
    Story(
        "vanished",
        ONE,
        {"one": {("Failed", "PipelineRunDeleted")}},
        play=lambda run: Play(outcome=None, lingers=10.0),
        script=when(running, lambda s: s.server.delete(names.PIPELINERUNS, RUN)),
        check=blocked("ExecutionFailed"),
    ),
    Story(
        "never-resolved",
        ONE,
        {"one": {("Failed", "ConfigurationError")}},
        play=lambda run: Play(resolves=False),
        check=counted_once,
    ),
    Story(
        "hold-stolen",
        ONE,
        {"one": CANCELLED | DONE | BUSY | {("Skipped", "PreviousExecutionFailed"), ("Failed", "PipelineRunDeleted")}},
        script=when(pending_run, steal),
        check=unknown_if_stolen,
    ),
    Story(
        "foreign-run",
        ONE,
        {"one": BUSY},
        play=lambda run: RAN,
        script=when(lambda s: True, somebody),
        check=never_started,
    ),
    Story(
        "foreign-run-after-acquire",
        ONE,
        {"one": BUSY | DONE},
        play=lambda run: Play() if _owner(run) else RAN,
        script=when(held, lambda s: None if s.server.objects[names.PIPELINERUNS] else somebody(s)),
        check=never_both,
    ),
    Story(
        "predecessor",
        ONE,
        {"one": DONE},
        play=lambda obj: Play("False", lingers=3.0) if _owner(obj) == "gone" else Play(),
        script=when(lambda s: True, predecessor),
        check=unblocked,
    ),
    Story(
        "contention-cooldown",
        THREE,
        dict.fromkeys(("one", "two", "three"), DONE | BUSY | COOL),
        check=cooling,
    ),
    Story(
        "contention-no-cooldown",
        THREE,
        dict.fromkeys(("one", "two", "three"), DONE | BUSY),
        check=one_won,
        settings=ShellSettings(run_retention=30.0, limits=Limits(success_cooldown=0.0)),
    ),
    Story(
        "one-after-the-other",
        (*ONE, wfe("two", "scale")),
        dict.fromkeys(("one", "two"), DONE | BUSY),
        check=one_won,
    ),
]


def points(story: Story) -> list[tuple[int, Call]]:
    """Before every call and after every write; after a read is the same as before the next call."""
    calls = Stage(story).play().calls
    return [(at, call) for at, call in enumerate(calls) if call.writes or not call.done]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def each(stories: list[Story]) -> Any:
    return pytest.mark.parametrize("story", stories, ids=lambda s: s.name)


@each(STORIES)
def test_without_trouble(story: Story) -> None:
    """T-18.3: everything ends; T17, T18, T24, T50, T3."""
    Stage(story).play()


@each(STORIES)
@pytest.mark.parametrize("kind", ["dies", "lost", "unsent"])
def test_trouble_at_every_call(story: Story, kind: str) -> None:
    """T-18.8, T46, I-44, T80, P:L3: no memory is needed, an unknown outcome is never acted on twice."""
    for at, call in points(story):
        if (kind == "lost" and not (call.writes and call.done)) or (kind == "unsent" and call.done):
            continue
        Stage(story, Trouble(at, kind)).play()


@each(STORIES)
def test_a_late_leader(story: Story) -> None:
    """TH34, SPEC 2.4: whoever wakes up late can create a pending run, never a running one."""
    for at, _ in points(story):
        for resume in (1, 5, 10**9):
            Stage(story, Trouble(at, "late", resume)).play()


@each(STORIES)
def test_stale_caches_in_any_order(story: Story) -> None:
    """T-18.9, T28, I-28, I-26: watch events come late and workers interleave."""
    for seed in range(25):
        Stage(story, seed=seed).play()

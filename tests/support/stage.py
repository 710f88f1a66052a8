"""One story about WorkflowExecutions on one target, played to its end with at most one trouble."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.support.fakeapi import Call, FakeServer
from tests.support.playedtekton import Play, PlayedTekton, finished
from tests.support.stepping import Job, ManualClock, Process, Told
from tests.support.watchman import Watchman, owner_of
from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.errors import ConnectionFailed
from wfe_controller.kube.objects import SERVICE_ACCOUNTS, Json, ObjectKey, uid_of
from wfe_controller.workflows.settings import ShellSettings

MAX_TURNS = 6000

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
        return next((r for r in runs if owner_of(r) == self.uids[name]), None)

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
        ours = [r for r in self.server.all(names.PIPELINERUNS) if owner_of(r) in self.uids.values()]
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

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

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tests.support.fakeapi import Call
from tests.support.playedtekton import Play, finished
from tests.support.stage import Script, Stage, Story, Trouble
from tests.support.watchman import LOCK, PENDING, TARGET, owner_of
from wfe_controller.api import names
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey
from wfe_controller.locking.limits import Limits
from wfe_controller.workflows.settings import ShellSettings

RUN = ObjectKey("kubernaut-workflows", names.run_name(TARGET))


def wfe(name: str, workflow: str = "restart", target: str = TARGET) -> Json:
    ref = {"workflowId": workflow, "version": "1", "containerImage": "reg.example/wf/restart:v1"}
    spec = {"remediationRequestRef": {"name": "rr"}, "targetResource": target, "workflowRef": ref}
    return {"metadata": {"name": name, "namespace": "ops"}, "spec": spec}


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
        play=lambda run: Play() if owner_of(run) else RAN,
        script=when(held, lambda s: None if s.server.objects[names.PIPELINERUNS] else somebody(s)),
        check=never_both,
    ),
    Story(
        "predecessor",
        ONE,
        {"one": DONE},
        play=lambda obj: Play("False", lingers=3.0) if owner_of(obj) == "gone" else Play(),
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

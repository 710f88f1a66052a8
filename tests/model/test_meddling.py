"""Somebody with rights on status, or on the locks, meddles while a run is live; the process dies at every call.

The controller is the real one, on the double of ``test_kill_points``. What must hold at every commit is the Watchman's;
here the end is asked for: nothing was let go while something of it could act, and the target is blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tests.support.playedtekton import Play
from tests.support.stage import Script, Stage, Story, Trouble
from tests.support.watchman import LOCK, TARGET
from wfe_controller.api import names
from wfe_controller.api.phases import TERMINAL
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import PODS, Json, ObjectKey

EXECUTION = ObjectKey("ops", "one")
RUN = ObjectKey("kubernaut-workflows", names.run_name(TARGET))
REF = {"workflowId": "restart", "version": "1", "containerImage": "reg.example/wf/restart:v1"}
ONE = {
    "metadata": {"name": "one", "namespace": "ops"},
    "spec": {"remediationRequestRef": {"name": "rr"}, "targetResource": TARGET, "workflowRef": REF},
}


class Meddled(Stage):
    """A stage whose end is not what the status says."""

    def finish(self) -> Stage:
        assert not self.watchman.wrong, f"{self.story.name}, {self.trouble}: {self.watchman.wrong}"
        self.story.check(self)
        return self


def lock_status(stage: Stage) -> Json:
    try:
        status: Json = stage.server.get(names.TARGETLOCKS, LOCK).get("status") or {}
    except NotFound:
        return {}
    return status


def writes(**status: Any) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.server.update(names.WORKFLOWEXECUTIONS, EXECUTION, lambda obj: obj["status"].update(status))

    return act


def rip_the_lock_out(stage: Stage) -> None:
    stage.server.update(names.TARGETLOCKS, LOCK, lambda obj: obj["metadata"].pop("finalizers"))
    before = list(stage.watchman.wrong)
    stage.server.delete(names.TARGETLOCKS, LOCK)
    stage.watchman.wrong[:] = before  # it was not the controller who cleared this hold


def script(when: Callable[[Stage], bool], *acts: Callable[[Stage], None]) -> Callable[[], Script]:
    def do(stage: Stage) -> None:
        for act in acts:
            act(stage)

    return lambda: [(when, do)]


def works(stage: Stage) -> bool:
    return bool(stage.server.objects[PODS])


def ended_and_held(stage: Stage) -> bool:
    phase = stage.wfe("one").get("status", {}).get("phase")
    return phase in TERMINAL and "holder" in lock_status(stage)


def blocked(reason: str) -> Callable[[Stage], None]:
    def check(stage: Stage) -> None:
        assert (lock_status(stage).get("block") or {}).get("reason") == reason, (stage.trouble, lock_status(stage))
        assert stage.watchman.starts.total() == 1

    return check


def over(stage: Stage) -> None:
    stage.delete("one")


FORGED = writes(phase="Completed", completionTime="2026-03-01T12:00:05Z")
UNSTARTED = writes(
    phase="Failed",
    completionTime="2026-03-01T12:00:05Z",
    failureDetails={"reason": "ConfigurationError", "message": "no", "wasExecutionFailure": False},
)
LONG = Play("True", lasts=20.0, lingers=5.0)
FAILS = Play("False", lasts=5.0)

STORIES = [
    Story("B3-completed", (ONE,), {}, lambda run: LONG, script(works, FORGED), check=blocked("OrphanedRun")),
    Story("B3-never-started", (ONE,), {}, lambda run: LONG, script(works, UNSTARTED), check=blocked("OrphanedRun")),
    Story("B3-and-deleted", (ONE,), {}, lambda run: LONG, script(works, FORGED, over), check=blocked("OrphanedRun")),
    Story(
        "B2-another-phase-and-deleted",
        (ONE,),
        {},
        lambda run: Play(None, lingers=3.0),
        script(works, writes(phase="Planning"), over),
        check=blocked("ExecutionFailed"),
    ),
    Story(
        "B4-lock-removed-before-the-settlement",
        (ONE,),
        {},
        lambda run: FAILS,
        script(ended_and_held, rip_the_lock_out),
        check=blocked("ExecutionFailed"),
    ),
    Story(
        "C8-pending-again-and-the-run-deleted",
        (ONE,),
        {},
        lambda run: Play(None),
        script(works, writes(phase="Pending"), lambda s: s.server.delete(names.PIPELINERUNS, RUN)),
        check=blocked("ExecutionFailed"),
    ),
]


def pending_and_named(stage: Stage) -> bool:
    run = stage.run_of("one")
    named = stage.wfe("one").get("status", {}).get("pipelineRunRef")
    return bool(named) and run is not None and run["spec"].get("status") == "PipelineRunPending"


def never_ran(stage: Stage) -> None:
    """Without a crash it is proven that nothing ran; a process that did not see the deletion cannot know."""
    assert not stage.watchman.starts
    block = lock_status(stage).get("block")
    assert block is None if stage.trouble is None else (block or {}).get("reason") in (None, "ExecutionFailed")


STORIES.append(
    Story(
        "C5-pending-run-deleted",
        (ONE,),
        {},
        script=script(pending_and_named, lambda s: s.server.delete(names.PIPELINERUNS, RUN)),
        check=never_ran,
    )
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_meddling(story: Story) -> None:
    """First without a crash, then with the process dying before every call and after every write."""
    calls = Meddled(story).play().calls
    for at, call in enumerate(calls):
        if call.writes or not call.done:
            Meddled(story, Trouble(at, "dies")).play()

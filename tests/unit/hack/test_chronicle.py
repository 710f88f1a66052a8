"""The observer of the crash suite can fail: each rule is broken once in an otherwise good history."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hack.crash.chronicle import (
    EXECUTIONS,
    FINALIZER,
    HASH,
    LOCKS,
    OWNER,
    PODS,
    RUN_UID,
    RUNS,
    Chronicle,
    Findings,
    Seen,
    belongs_to,
    target_hash,
)

Object = dict[str, Any]
TARGET = "ops/deployment/web"
REF = {"pipelineRunRef": {"uid": "run-a"}}


def meta(uid: str, **more: Any) -> Object:
    return {"name": uid, "uid": uid, **more}


def wfe(uid: str, phase: str = "", finalizers: tuple[str, ...] = (), **status: Any) -> Object:
    return {
        "metadata": meta(uid, finalizers=list(finalizers)),
        "spec": {"targetResource": TARGET},
        "status": {"phase": phase, **status} if phase else {},
    }


def lock(holder: str = "", **status: Any) -> Object:
    held = {"holder": {"uid": holder}} if holder else {}
    return {"metadata": meta(f"wfe-{target_hash(TARGET)}"), "status": {**held, **status}}


def run(owner: str, asked: str | None = "PipelineRunPending", succeeded: str = "", uid: str = "") -> Object:
    labels = {OWNER: owner, HASH: target_hash(TARGET)}
    conditions = [{"type": "Succeeded", "status": succeeded}] if succeeded else []
    spec = {"status": asked} if asked else {}
    return {"metadata": meta(uid or f"run-{owner}", labels=labels), "spec": spec, "status": {"conditions": conditions}}


def pod(owner: str, phase: str, run_uid: str = "") -> Object:
    labels = {OWNER: owner, HASH: target_hash(TARGET), RUN_UID: run_uid or f"run-{owner}"}
    state = {"running": {}} if phase == "Running" else {"terminated": {}}
    return {
        "metadata": meta(f"pod-{owner}", labels=labels),
        "status": {"phase": phase, "containerStatuses": [{"state": state}]},
    }


def last(uid: str, outcome: str) -> Object:
    return {"lastExecution": {"uid": uid, "outcome": outcome, "workflowId": "w"}}


History = list[tuple[str, str, Object]]

GOOD: History = [
    (EXECUTIONS, "ADDED", wfe("a")),
    (EXECUTIONS, "ADDED", wfe("b")),
    (LOCKS, "ADDED", lock("a")),
    (EXECUTIONS, "MODIFIED", wfe("b", "Skipped")),
    (RUNS, "ADDED", run("a")),
    (EXECUTIONS, "MODIFIED", wfe("a", "Running", (FINALIZER,), **REF)),
    (RUNS, "MODIFIED", run("a", None)),
    (PODS, "ADDED", pod("a", "Running")),
    (PODS, "MODIFIED", pod("a", "Succeeded")),
    (RUNS, "MODIFIED", run("a", None, "True")),
    (EXECUTIONS, "MODIFIED", wfe("a", "Completed", (FINALIZER,), **REF)),
    (LOCKS, "MODIFIED", lock(**last("a", "Completed"))),
    (EXECUTIONS, "MODIFIED", wfe("a", "Completed", **REF)),
    (RUNS, "DELETED", run("a", None, "True")),
]
PENDED, STARTED, RAN, POD_ENDED, RUN_ENDED, VERDICT, SETTLED = 4, 6, 7, 8, 9, 10, 11


def replay(history: History) -> Findings:
    return Chronicle.replay([Seen(n, *copy.deepcopy(event)) for n, event in enumerate(history)])


def test_a_good_history() -> None:
    found = replay(GOOD)
    assert found.wrong == []
    assert (found.starts, found.contended, found.history) == (1, 1, [("a", "Completed")])
    assert found.ended == {"a": "Completed", "b": "Skipped"}


def test_order_is_that_of_the_revisions_not_of_arrival() -> None:
    """Several watches: what comes first need not have happened first."""
    events = [Seen(n, *event) for n, event in enumerate(GOOD)]
    assert Chronicle.replay(sorted(events, key=lambda e: (e.kind, e.revision))).wrong == []


def without(*places: int) -> History:
    return [event for place, event in enumerate(GOOD) if place not in places]


def put(place: int, *events: tuple[str, str, Object]) -> History:
    """With these instead of the event at ``place``."""
    return [*GOOD[:place], *events, *GOOD[place + 1 :]]


def between(place: int, *events: tuple[str, str, Object]) -> History:
    """With these after the event at ``place``."""
    return [*GOOD[: place + 1], *events, *GOOD[place + 1 :]]


FAILED: Object = {"failureDetails": {"reason": "TaskFailed", "wasExecutionFailure": False}}

BROKEN: dict[str, tuple[History, str]] = {
    "two-live-runs": (between(RAN, (RUNS, "ADDED", run("x", None))), "two runs of one target are live"),
    "a-pod-of-an-old-run-lives": (between(RAN, (PODS, "ADDED", pod("x", "Running"))), "two runs of one target"),
    "started-twice": (
        between(RAN, (RUNS, "ADDED", run("a", uid="run-2")), (RUNS, "MODIFIED", run("a", None, uid="run-2"))),
        "a was started 2 times",
    ),
    "created-running": (put(PENDED, (RUNS, "ADDED", run("a", None))), "was created running"),
    "started-without-the-lock": (without(2), "a was started while the lock named nobody"),
    "started-unnamed": (without(5), "a was started before its status named the run"),
    "started-after-its-end": (
        put(STARTED, (EXECUTIONS, "MODIFIED", wfe("a", "Failed", **REF)), GOOD[STARTED]),
        "a was started after its end",
    ),
    "cancellation-taken-back": (
        between(STARTED, (RUNS, "MODIFIED", run("a", "Cancelled")), (RUNS, "MODIFIED", run("a", None))),
        "the cancellation of run run-a was taken back",
    ),
    "let-go-before-its-end": (without(POD_ENDED), "the hold of a was cleared while this was live"),
    "let-go-without-history": (put(SETTLED, (LOCKS, "MODIFIED", lock())), "was cleared without its history"),
    "taken-over": (between(RAN, (LOCKS, "MODIFIED", lock("b"))), "the hold went from a to b"),
    "deleted-while-held": (between(RAN, (LOCKS, "DELETED", lock("a"))), "still said something was deleted"),
    "another-outcome": (
        put(SETTLED, (LOCKS, "MODIFIED", lock(**last("a", "Failed")))),
        "the ledger says Failed of a, its status Completed",
    ),
    "a-lie-about-the-run": (put(RUN_ENDED, (RUNS, "MODIFIED", run("a", None, "False"))), "but its run succeeded=False"),
    "a-lie-about-the-steps": (
        [
            *GOOD[:RUN_ENDED],
            (RUNS, "MODIFIED", run("a", None, "False")),
            (EXECUTIONS, "MODIFIED", wfe("a", "Failed", **REF, **FAILED)),
            (LOCKS, "MODIFIED", lock(**last("a", "Failed"), workflows=[{"workflowId": "w", "consecutiveFailures": 1}])),
        ],
        "recorded as never started, but a container of it ran",
    ),
    "a-streak-that-is-none": (
        put(
            SETTLED,
            (
                LOCKS,
                "MODIFIED",
                lock(workflows=[{"workflowId": "w", "consecutiveFailures": 1}], **last("a", "Completed")),
            ),
        ),
        "streaks in the ledger",
    ),
    "a-block-for-nothing": (
        put(SETTLED, (LOCKS, "MODIFIED", lock(block={"by": {"uid": "a"}}, **last("a", "Completed")))),
        "the ledger is blocked by a, recomputed None",
    ),
    "written-twice": (
        between(
            SETTLED,
            (LOCKS, "MODIFIED", lock("a", **last("a", "Completed"))),
            (LOCKS, "MODIFIED", lock(lastExecution={**last("a", "Completed")["lastExecution"], "again": 1})),
        ),
        "a stands in the history 2 times",
    ),
    "terminal-changed": (
        between(VERDICT, (EXECUTIONS, "MODIFIED", wfe("a", "Failed", **REF))),
        "the terminal status of a changed",
    ),
    "still-held": (without(SETTLED), "still held by a"),
    "not-ended": (without(3), "b has not ended"),
    "finalizer-left": (without(12), "a still has its finalizer"),
    "a-pending-run-is-left": (between(13, (RUNS, "ADDED", run("a"))), "pending runs are left"),
    "gone-while-it-runs": (
        between(RAN, (EXECUTIONS, "DELETED", wfe("a", "Running"))),
        "a was let go while this was live",
    ),
}


@pytest.mark.parametrize(("history", "told"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_told(history: History, told: str) -> None:
    wrong = replay(history).wrong
    assert any(told in what for what in wrong), wrong


def test_no_contention_is_a_fact_the_suite_can_ask_for() -> None:
    assert replay([event for event in GOOD if event[2]["metadata"]["uid"] != "b"]).contended == 0


def test_everything_is_filed_under_its_target() -> None:
    expected = target_hash(TARGET)
    assert {belongs_to(kind, obj) for kind, _, obj in GOOD} == {expected}
    assert belongs_to(PODS, {"metadata": {"name": "x"}}) == ""

"""What is refused, why, and what to do instead; and what is written when nothing stands against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.explained import OTHER_UID, UID, ahead, blocked, facts, failed, held, lock, running, skipped, wfe
from wfe_controller.cli.kubectl.clearing import against_clear
from wfe_controller.cli.kubectl.decisions import against_cancel, against_pause, against_resume
from wfe_controller.cli.kubectl.explain.obstacle import obstacle
from wfe_controller.cli.kubectl.retrying import against_retry, clone, next_name
from wfe_controller.cli.kubectl.session import Refusal
from wfe_controller.cli.kubectl.words import CommandLine
from wfe_controller.cli.kubectl.writes import annotation_patch, decision, without
from wfe_controller.kube.objects import Json

COMMANDS = CommandLine()
PAUSED = {"kubernaut.ai/pause": "true"}
DONE = wfe("Completed")
Judge = Callable[[Json, CommandLine], Refusal | None]


@pytest.mark.parametrize(
    ("judge", "obj", "reason", "next_"),
    [
        (against_cancel, DONE, "shop/restart-web has ended (Completed)", "kubectl wfe explain restart-web -n shop"),
        (
            against_cancel,
            running(deleting=3),
            "is being deleted, which ends it",
            "kubectl wfe watch restart-web -n shop",
        ),
        (
            against_cancel,
            running(annotations={"kubernaut.ai/cancel": "x", "kubernaut.ai/cancel-by": "al"}),
            "is being cancelled already, by al",
            "kubectl wfe watch restart-web -n shop",
        ),
        (against_pause, skipped("ResourceBusy"), "has ended (Skipped)", "kubectl wfe explain restart-web -n shop"),
        (against_pause, wfe(annotations=PAUSED), "is paused already", "kubectl wfe resume restart-web -n shop"),
        (
            against_pause,
            running(),
            "has started, and a pause stops only what has not",
            "kubectl wfe cancel restart-web --reason '<why>' -n shop",
        ),
        (against_resume, wfe("Pending"), "is not paused", "kubectl wfe explain restart-web -n shop"),
        (against_resume, failed(), "has ended (Failed)", "kubectl wfe explain restart-web -n shop"),
    ],
)
def test_refusals(judge: Judge, obj: Json, reason: str, next_: str) -> None:
    refusal = judge(obj, COMMANDS)
    assert refusal is not None
    assert reason in refusal.reason
    assert refusal.next == next_
    assert str(refusal).splitlines() == [refusal.reason, f"  next: {next_}"]


@pytest.mark.parametrize(
    ("judge", "obj"),
    [
        (against_cancel, wfe()),
        (against_cancel, running()),
        (against_cancel, wfe("Pending", annotations=PAUSED)),
        (against_pause, wfe()),
        (against_pause, running(conditions=[])),
        (against_resume, wfe("Pending", annotations=PAUSED)),
    ],
)
def test_nothing_stands_against_it(judge: Judge, obj: Json) -> None:
    assert judge(obj, COMMANDS) is None


FREE_LOCK = lock(lastExecution={**blocked()["block"]["by"], "workflowId": "w", "outcome": "Completed"})


@pytest.mark.parametrize(
    ("obj", "survivors", "reason", "next_"),
    [
        (lock(), [], "has no block and no failure streak", "kubectl wfe locks shop/deployment/web"),
        (
            lock(**held("other", OTHER_UID)),
            [],
            "is not blocked, it is held by shop/other: a hold ends with its holder",
            "kubectl wfe explain other -n shop",
        ),
        (
            lock(**blocked("CancelIncomplete")),
            ["wf/a", "wf/b"],
            "pods of the cancelled run are still there: wf/a, wf/b",
            "kubectl -n wf delete pod a b",
        ),
        (lock(block={"reason": 1}), [], "the lock cannot be understood", "edit targetlock"),
    ],
    ids=["free", "held", "survivors", "unreadable"],
)
def test_clear_block_is_refused(obj: Json, survivors: list[str], reason: str, next_: str) -> None:
    refusal = against_clear(obj, "looked at it well", COMMANDS, survivors)
    assert refusal is not None
    assert reason in refusal.reason
    assert next_ in refusal.next


def test_clear_block_goes_through() -> None:
    """An execution failure, a streak without a block, and with force: what is left of a cancellation."""
    streak = {"workflows": [{"workflowId": "w", "consecutiveFailures": 5}]}
    last = {
        "uid": UID,
        "name": "n",
        "workflowId": "w",
        "outcome": "Failed",
        "completedAt": ahead(0),
        "releasedAt": ahead(0),
    }
    assert against_clear(lock(**blocked()), "reason enough", COMMANDS, ["wf/a"]) is None
    assert against_clear(lock(**streak, lastExecution=last), "reason enough", COMMANDS, []) is None
    forced = "Force: the node was destroyed"
    assert against_clear(lock(**blocked("CancelIncomplete")), forced, COMMANDS, ["wf/a"]) is None


def test_a_write_names_the_version_it_was_decided_on() -> None:
    """I-61: uid and resourceVersion stand in the patch, and nothing but annotations is touched."""
    patch = annotation_patch(wfe(), decision("kubernaut.ai/cancel", "why", "alice", None))
    assert json.loads(patch.body) == {
        "metadata": {
            "uid": UID,
            "resourceVersion": "7",
            "annotations": {
                "kubernaut.ai/cancel": "why",
                "kubernaut.ai/cancel-by": "alice",
                "kubernaut.ai/cancel-reason": None,
            },
        }
    }
    assert patch.params == (("fieldManager", "kubectl-wfe"),)
    assert set(without("kubernaut.ai/pause").values()) == {None}


@pytest.mark.parametrize(
    ("name", "following"),
    [("web", "web-r2"), ("web-r2", "web-r3"), ("web-r9", "web-r10"), ("r2", "r2-r2"), ("w" * 253, "w" * 250 + "-r2")],
)
def test_names_of_retries(name: str, following: str) -> None:
    assert next_name(name) == following


def test_a_clone_is_the_request_and_nothing_that_was_decided_about_the_old_one() -> None:
    old = failed(
        annotations={
            "kubernaut.ai/cancel": "x",
            "kubernaut.ai/cancel-by": "x",
            "kubernaut.ai/pause": "true",
            "kubernaut.ai/retry-of": "first",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "team": "shop",
        },
        finalizers=["x/y"],
    )
    old["metadata"]["labels"] = {"app": "web"}
    made = clone(old, "web-r2", "alice", "now with more memory")
    assert made["metadata"] == {
        "name": "web-r2",
        "namespace": "shop",
        "labels": {"app": "web"},
        "annotations": {
            "team": "shop",
            "kubernaut.ai/retry-of": "restart-web",
            "kubernaut.ai/retry-of-by": "alice",
            "kubernaut.ai/retry-of-reason": "now with more memory",
        },
    }
    assert made["spec"] == old["spec"]
    assert "status" not in made


@pytest.mark.parametrize(
    ("obj", "lock_", "edited", "reason", "next_"),
    [
        (running(), lock(**held()), False, "has not ended (Running)", "kubectl wfe explain restart-web -n shop"),
        (failed(), lock(**blocked()), False, "it would be skipped: the target is blocked", "kubectl wfe clear-block"),
        (
            failed(executed=False),
            lock(workflows=[{"workflowId": "restart", "consecutiveFailures": 1, "nextAllowedExecution": ahead(60)}]),
            False,
            "backs off for another 60s",
            "--when-allowed",
        ),
        (
            failed(spec={"executionConfig": {"timeout": "1s"}}),
            None,
            False,
            "its spec cannot be used as it is: spec.executionConfig.timeout",
            "--edit",
        ),
    ],
)
def test_retry_is_refused(obj: Json, lock_: Any, edited: bool, reason: str, next_: str) -> None:
    known = facts(obj, lock=lock_)
    refusal = against_retry(known, obstacle(known), edited=edited)
    assert refusal is not None
    assert reason in refusal.reason
    assert next_ in refusal.next


def test_retry_goes_through() -> None:
    """Free; or of what the controller itself waits for; or corrected in the editor."""
    for known in (
        facts(failed(executed=False)),
        facts(skipped("ResourceBusy"), lock=lock(**held("other", OTHER_UID)), holder=wfe("Completed", uid=OTHER_UID)),
    ):
        assert against_retry(known, obstacle(known), edited=False) is None
    bad = facts(failed(executed=False, spec={"executionConfig": {"timeout": "1s"}}))
    assert against_retry(bad, obstacle(bad), edited=True) is None
    assert replace(bad, lock=None).target == "shop/deployment/web"

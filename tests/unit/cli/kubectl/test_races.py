"""Writes of ``kubectl wfe`` while others write too: never on a stale view, never twice, no doubt left unsaid."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.support.explained import NOW, OTHER_UID, UID, blocked, failed, lock, running, wfe
from wfe_controller.api.names import TARGETLOCKS, WORKFLOWEXECUTIONS
from wfe_controller.cli.kubectl import decisions
from wfe_controller.cli.kubectl.clearing import against_another, what_it_is
from wfe_controller.cli.kubectl.decisions import against_cancel, asked_to_cancel
from wfe_controller.cli.kubectl.session import Refusal, Session
from wfe_controller.cli.kubectl.words import CommandLine
from wfe_controller.cli.kubectl.writes import annotate, annotation_patch, decision
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.patches import Patch
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import Conflict, NotFound, RequestTimeout, Unavailable
from wfe_controller.kube.objects import Json, ObjectKey, Resource
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.snapshot import Snapshot

COMMANDS = CommandLine()
CANCEL = decision("kubernaut.ai/cancel", "no use", "alice", "no use")
STALE = Conflict(409, "Conflict", "the object has been modified")
NO_ANSWER = RequestTimeout("PATCH x: no answer within 10 s")
DOWN = Unavailable(503, "ServiceUnavailable", "restarting")
AWAY = NotFound(404, "NotFound", "not found", details={"name": "x", "kind": "workflowexecutions"})
Answer = Json | Exception


@dataclass
class Played:
    """Answers in their order; what was sent is kept."""

    patches: list[Answer] = field(default_factory=list)
    reads: list[Answer] = field(default_factory=list)
    sent: list[Patch] = field(default_factory=list)

    async def patch(self, resource: Resource, key: ObjectKey, patch: Patch, *, lane: object) -> Json:
        self.sent.append(patch)
        return _given(self.patches)

    async def get(self, resource: Resource, key: ObjectKey) -> Json:
        return _given(self.reads)


def _given(answers: list[Answer]) -> Json:
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


def session(played: Played) -> Session:
    return Session(cast(Api, played), cast(Clock, None), "shop", "kubernaut-system", "kubernaut-workflows", COMMANDS)


async def cancel(played: Played, obj: Json, dry_run: str = "none") -> Json:
    def judge(fresh: Json) -> Refusal | None:
        return against_cancel(fresh, COMMANDS)

    return await annotate(session(played), WORKFLOWEXECUTIONS, obj, CANCEL, judge, dry_run=dry_run)


def versioned(obj: Json, version: str) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}


async def test_a_write_that_came_too_late_is_judged_anew() -> None:
    """It ended between the read and the write: nothing is written, and why is said."""
    played = Played(patches=[STALE], reads=[wfe("Completed")])
    with pytest.raises(Refusal, match=r"has ended \(Completed\): there is nothing to cancel"):
        await cancel(played, running())
    assert len(played.sent) == 1


async def test_two_operators_at_once() -> None:
    """The second finds the first's annotation and says whose it is."""
    first = running(annotations={"kubernaut.ai/cancel": "mine", "kubernaut.ai/cancel-by": "bob"})
    with pytest.raises(Refusal, match="is being cancelled already, by bob"):
        await cancel(Played(patches=[STALE], reads=[first]), running())


async def test_the_next_try_names_the_new_version() -> None:
    done = running(annotations=CANCEL)
    played = Played(patches=[STALE, done], reads=[versioned(running(), "8")])
    assert await cancel(played, running()) == done
    versions = [json.loads(patch.body)["metadata"]["resourceVersion"] for patch in played.sent]
    assert versions == ["7", "8"]


@pytest.mark.parametrize("refusal", [AWAY, STALE], ids=["gone-at-the-write", "conflict-then-gone"])
async def test_deleted_meanwhile(refusal: Exception) -> None:
    with pytest.raises(Refusal, match="was deleted meanwhile: nothing was written") as caught:
        await cancel(Played(patches=[refusal], reads=[AWAY]), running())
    assert caught.value.next == "kubectl wfe explain restart-web -n shop"


async def test_replaced_by_another_of_its_name() -> None:
    with pytest.raises(Refusal, match="was replaced by another one of its name meanwhile"):
        await cancel(Played(patches=[STALE], reads=[running(uid=OTHER_UID)]), running())


async def test_an_answer_that_was_lost_after_the_write_is_found_out() -> None:
    """Not 'is being cancelled already, by alice' to alice herself."""
    written = running(annotations={k: v for k, v in CANCEL.items() if v is not None})
    assert await cancel(Played(patches=[NO_ANSWER], reads=[written]), running()) == written


async def test_an_answer_that_was_lost_and_a_controller_that_was_quick() -> None:
    """The write took effect, its answer was lost, and the end that it caused came before the second look."""
    with pytest.raises(Refusal, match=r"may have been written; now: .*has ended \(Failed\)"):
        await cancel(Played(patches=[NO_ANSWER], reads=[wfe("Failed")]), running())


async def test_an_answer_that_was_lost_and_an_object_that_is_gone() -> None:
    with pytest.raises(Refusal, match="was deleted meanwhile: no answer came"):
        await cancel(Played(patches=[NO_ANSWER], reads=[AWAY]), running())


async def test_an_answer_that_was_lost_before_the_write_is_sent_again() -> None:
    played = Played(patches=[NO_ANSWER, running()], reads=[running()])
    await cancel(played, running())
    assert len(played.sent) == 2


async def test_when_nobody_answers_any_more_the_doubt_is_said() -> None:
    with pytest.raises(Refusal, match="whether it was written is not known") as caught:
        await cancel(Played(patches=[NO_ANSWER], reads=[DOWN]), running())
    assert caught.value.next == "kubectl wfe explain restart-web -n shop"


async def test_a_dry_run_of_the_client_sends_nothing() -> None:
    played = Played()
    made = await cancel(played, running(), "client")
    assert made["metadata"]["annotations"]["kubernaut.ai/cancel-by"] == "alice"
    assert played.sent == []
    with pytest.raises(Refusal):
        await cancel(played, wfe("Completed"), "client")


async def test_a_dry_run_of_the_server_is_marked() -> None:
    played = Played(patches=[running()])
    await cancel(played, running(), "server")
    assert ("dryRun", "All") in played.sent[0].params
    assert ("dryRun", "All") not in annotation_patch(running(), CANCEL).params


@pytest.mark.parametrize("value", [None, "", "false", "No", " off ", "0", "n", "true", "wrong target"])
def test_asked_to_cancel_means_what_the_controller_takes_it_for(value: str | None) -> None:
    """``kubectl annotate cancel=false`` cancels nothing, so ``cancel`` must not say that it is being cancelled."""
    obj = running(annotations={} if value is None else {"kubernaut.ai/cancel": value})
    controller = Snapshot(obj, datetime(2026, 3, 1, tzinfo=UTC), ShellSettings())
    assert asked_to_cancel(obj) is (controller.cancel_reason is not None)
    assert (against_cancel(obj, COMMANDS) is None) is (not asked_to_cancel(obj))
    assert decisions.PLAINLY_NO


Judged = Callable[..., Refusal | None]


def test_who_names_a_failed_execution_does_not_clear_the_block_of_another() -> None:
    """Its own block was cleared, the target was blocked again by one that nobody has looked at yet."""
    meant, others = failed(), lock(**blocked(name="other", uid=OTHER_UID))
    refusal = against_another(others, meant, session(Played()))
    assert refusal is not None
    assert "shop/deployment/web is blocked by other, not by shop/restart-web" in refusal.reason
    assert refusal.next == "kubectl wfe locks shop/deployment/web"
    assert against_another(lock(**blocked(uid=UID)), meant, session(Played())) is None
    skipped: Any = wfe("Skipped")
    assert against_another(others, skipped, session(Played())) is None, "it was skipped because of that block"
    assert against_another(others, None, session(Played())) is None, "the target itself was named"


def test_what_was_lifted_is_said() -> None:
    said = what_it_is(lock(**blocked(name="other")))
    assert said.startswith("the block by other (ExecutionFailed, since 2026-03-01 12:04:31Z)")
    streak = lock(workflows=[{"workflowId": "restart", "consecutiveFailures": 5}])
    assert what_it_is(streak) == "the failures in a row of restart (5)"
    assert TARGETLOCKS.kind == "TargetLock"
    assert NOW.tzinfo is UTC

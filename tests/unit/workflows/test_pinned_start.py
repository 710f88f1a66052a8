"""From a new object to a named run, decision by decision (SPEC 2.1, 2.4; holes and pinned behaviours by their ids)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.shell import (
    FREE,
    HELD,
    RUN_UID,
    UID,
    acts,
    at,
    committed,
    decide,
    ended,
    finished,
    lock,
    run,
    running,
    snapshot,
    wfe,
    working,
)
from wfe_controller.api import names
from wfe_controller.api.reasons import WaitReason
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.errors import ConnectionFailed, Forbidden, Invalid, NotFound
from wfe_controller.kube.objects import Json
from wfe_controller.locking.decision import HolderState
from wfe_controller.locking.record import LockUnreadable, WorkflowEntry
from wfe_controller.workflows.plan import (
    Acquire,
    Act,
    AddFinalizer,
    Commit,
    CreateRun,
    DeleteRun,
    DropHold,
    Input,
    StartRun,
    Stop,
)
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.snapshot import Inputs

WITH_FINALIZER = wfe(finalizer=True)


def reason_of(step: Any) -> tuple[str, str]:
    status = committed(step)
    return status["phase"], status["reason"]


def test_the_order_of_a_start() -> None:
    """SPEC 2.4, TH23, TH48, I-64, T57: finalizer, acquire, look at the name again, create; each on live reads."""
    step, reads, _ = decide(snapshot(wfe()), FREE)
    assert acts(step) == AddFinalizer()
    assert reads[0] is Input.LOCK
    step, _, _ = decide(snapshot(WITH_FINALIZER), FREE)
    assert acts(step) == Acquire(None)
    step, reads, _ = decide(snapshot(WITH_FINALIZER), HELD)
    assert isinstance(acts(step), CreateRun)
    assert reads == [Input.LOCK, Input.NAMED_RUN, Input.NAME_USERS]


def test_what_cannot_be_read_is_never_free() -> None:
    """TH22, T11: the object waits with LockUnknown; no acquire, no run."""
    step, _, _ = decide(snapshot(wfe()), {**FREE, Input.LOCK: LockUnreadable("status.holder is not an object")})
    assert reason_of(step) == ("Pending", "LockUnknown")


@pytest.mark.parametrize("target", ["", "/", "a/b/c/d", "cart"], ids=["empty", "slash", "four-parts", "one-part"])
def test_a_target_that_is_none_touches_no_lock(target: str) -> None:
    """TH47, T72: Failed/ConfigurationError without a single read; there is no key whose counter could rise."""
    step, reads, _ = decide(snapshot(wfe(targetResource=target)))
    status = committed(step)
    assert (status["phase"], status["failureDetails"]["reason"]) == ("Failed", "ConfigurationError")
    assert status["failureDetails"]["wasExecutionFailure"] is False
    assert reads == []


@pytest.mark.parametrize(
    ("found", "created"),
    [(run(pending=True, created=-30), -30.0), (run(working(), created=-30), -30.0)],
    ids=["TH10-T4-pending", "TH10-T4-started"],
)
@pytest.mark.parametrize("known", [True, False], ids=["cache-shows-it", "cache-does-not"])
def test_a_run_of_mine_is_adopted(found: Json, created: float, known: bool) -> None:
    """TH9, I-29, T4: from its creation, not from now; nothing about history or a blocked target is asked first."""
    cooling = lock(UID, workflows=(WorkflowEntry("restart", cooldown_until=at(100)),))
    seen = snapshot(WITH_FINALIZER, 5, cached_run=found if known else None)
    step, _, _ = decide(seen, {**HELD, Input.LOCK: cooling, Input.NAMED_RUN: found})
    status = committed(step)
    assert status["phase"] == "Running"
    assert status["pipelineRunRef"]["uid"] == RUN_UID
    assert status["startTime"] == rfc3339(at(created))
    created_condition = next(c for c in status["conditions"] if c["type"] == "TektonPipelineCreated")
    assert created_condition["status"] == "True"


@pytest.mark.parametrize(
    "foreign",
    [
        run(owner=None, labels={}),
        run(owner=None, labels={names.OWNER_NAME: "cart-1"}),
        run(owner=None, labels={names.OWNER_NAMESPACE: "ops"}),
        run(owner=None, labels={names.OWNER_NAME: "cart-1", names.OWNER_NAMESPACE: "ops"}),
        run(working(), owner="uid-of-the-same-name-elsewhere"),
    ],
    ids=["T5-no-labels", "T5-only-name", "T5-only-namespace", "T5-names-without-the-uid", "T6-same-name-other-uid"],
)
def test_a_run_is_mine_by_its_uid_only(foreign: Json) -> None:
    """T5, T6, T41, TH19: the hold goes back without history, then Skipped/ResourceBusy; the run is not touched."""
    step, _, seen = decide(snapshot(WITH_FINALIZER), {**HELD, Input.NAMED_RUN: foreign})
    assert acts(step) == DropHold(lock(UID))
    step, _, _ = decide(replace(seen, inputs=replace(seen.inputs, lock=lock())), FREE)
    assert reason_of(step) == ("Skipped", "ResourceBusy")


def test_a_run_without_our_marks_has_no_known_owner() -> None:
    """T5."""
    step, _, _ = decide(snapshot(WITH_FINALIZER, inputs=Inputs(named_run=run(owner=None))), FREE)
    assert committed(step)["skipDetails"]["conflictingWorkflow"]["name"] == "unknown"


def test_a_busy_verdict_is_asked_of_the_holder_itself() -> None:
    """T13, P:L4: live, and when it has ended we wait for its own cleanup instead of being skipped for nothing."""
    answers = {**FREE, Input.LOCK: lock("uid-other")}
    step, reads, _ = decide(snapshot(wfe()), {**answers, Input.HOLDER: HolderState.LIVE})
    assert Input.HOLDER in reads
    assert reason_of(step) == ("Skipped", "ResourceBusy")
    for state in (HolderState.TERMINAL, HolderState.GONE):
        step, _, _ = decide(snapshot(wfe()), {**answers, Input.HOLDER: state})
        assert reason_of(step) == ("Pending", "WaitingForRelease")


def test_a_finished_run_of_another_makes_room_first() -> None:
    """T14, TH6, P:L1: deleted, waited for, and only when nobody uses its name any more is the new one created."""
    old = run(finished(), owner="uid-other", uid="run-old")
    step, _, _ = decide(snapshot(WITH_FINALIZER), {**HELD, Input.NAMED_RUN: old})
    effect = acts(step)
    assert isinstance(effect, DeleteRun)
    assert effect.run["metadata"]["uid"] == "run-old"
    step, _, _ = decide(snapshot(WITH_FINALIZER), {**HELD, Input.NAME_USERS: ("Pod old-pod",)})
    assert isinstance(step, Stop)
    assert isinstance(step.outcome, RequeueAfter)


def test_a_name_that_is_being_freed_is_waited_for_within_a_bound() -> None:
    """TH19, T7: not busy, not failed at once; said after a moment, and ended after the bound, counted from the hold."""
    leaving = run(finished(), owner="uid-other", uid="run-old", deleting=True)
    answers = {**HELD, Input.NAMED_RUN: leaving}
    step, _, _ = decide(snapshot(WITH_FINALIZER, 1), answers)
    assert isinstance(step, Stop)
    step, _, _ = decide(snapshot(WITH_FINALIZER, 6), answers)
    assert reason_of(step) == ("Pending", "WaitingForRelease")
    assert "chains.tekton.dev/results" in committed(step)["message"]
    step, _, _ = decide(snapshot(WITH_FINALIZER, 300), answers)
    assert reason_of(step) == ("Failed", "PipelineRunCreationFailed")
    assert committed(step)["failureDetails"]["wasExecutionFailure"] is False


def test_a_hash_that_two_targets_share_is_said_not_waited_for() -> None:
    """TH41: both targets are named; never busy for ever."""
    theirs = run(owner="uid-other", target="shop/deployment/other")
    step, _, _ = decide(snapshot(wfe(), inputs=Inputs(named_run=theirs)), FREE)
    assert reason_of(step) == ("Failed", "ConfigurationError")
    assert "shop/deployment/other" in committed(step)["message"]
    assert "shop/deployment/cart" in committed(step)["message"]


QUOTA = Forbidden(403, "Forbidden", "exceeded quota: runs, requested: 1", details={"name": "x", "kind": "pipelineruns"})
RBAC = Forbidden(403, "Forbidden", "cannot create resource", details={"name": "x", "kind": "pipelineruns"})


@pytest.mark.parametrize(
    ("error", "reason", "condition"),
    [
        (QUOTA, "ResourceExhausted", "QuotaExceeded"),
        (RBAC, "PermissionDenied", "RBACDenied"),
        (ConnectionFailed("reset"), "PipelineRunCreationFailed", "PipelineCreationFailed"),
    ],
    ids=["TH46-quota", "TH25-rbac", "TH25-connection"],
)
def test_a_refused_create_is_tried_for_a_time_that_survives_a_restart(error: Any, reason: str, condition: str) -> None:
    """TH25: the bound counts from the hold, which stands in the ledger; then Failed, pre-execution, to be counted."""
    step, _, _ = decide(snapshot(WITH_FINALIZER, 10, create_error=error), HELD)
    assert reason_of(step) == ("Pending", "CreateRetrying")
    step, _, _ = decide(snapshot(WITH_FINALIZER, 300, create_error=error), HELD)
    status = committed(step)
    assert (status["failureDetails"]["reason"], status["failureDetails"]["wasExecutionFailure"]) == (reason, False)
    said = next(c for c in status["conditions"] if c["type"] == "TektonPipelineCreated")
    assert (said["status"], said["reason"]) == ("False", condition)
    assert status["consecutiveFailures"] == 1


def test_a_refused_spec_of_the_run_ends_it_at_once() -> None:
    """TH25: 422 gets no better by waiting."""
    step, _, _ = decide(snapshot(WITH_FINALIZER, create_error=Invalid(422, "Invalid", "spec.params")), HELD)
    assert reason_of(step) == ("Failed", "ConfigurationError")


def test_a_type_that_is_gone_gives_the_hold_back_and_waits() -> None:
    """TH25, SPEC 3: Tekton removed while we run is no failure of the workflow; nothing is acquired until it is back."""
    gone = NotFound(404, "NotFound", "the server could not find the requested resource")
    step, _, _ = decide(snapshot(WITH_FINALIZER, create_error=gone), HELD)
    assert acts(step) == DropHold(lock(UID))
    step, _, _ = decide(snapshot(WITH_FINALIZER, create_error=gone), {**FREE, Input.LOCK: lock()})
    assert reason_of(step) == ("Pending", "EngineUnavailable")


def test_a_missing_engine_is_waited_for_until_the_start_deadline() -> None:
    """T68, P:W9, P:Q9: no lock, no finalizer, a deadline in status, then Failed/DeadlineExceeded, not counted."""
    answers = {Input.LOCK: None}
    step, _, _ = decide(snapshot(wfe(), engine_available=False, engine_why="Tekton is not installed"), answers)
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Pending", "EngineUnavailable")
    assert status["deadlineAt"] == rfc3339(at(1800))
    step, _, _ = decide(snapshot(wfe(status), 1800, engine_available=False), answers)
    assert reason_of(step) == ("Failed", "DeadlineExceeded")


def test_a_missing_runner_account_never_becomes_default() -> None:
    """BR-WE-006, SPEC 2.1."""
    step, _, _ = decide(snapshot(wfe()), {**FREE, Input.RUNNER_ACCOUNT: False})
    assert reason_of(step) == ("Failed", "ConfigurationError")
    assert "kubernaut-workflow-runner" in committed(step)["message"]


def test_waiting_writes_once_and_grows_nothing() -> None:
    """P:L9, TH36b: an hour of Pause is one write; the next look finds nothing to change."""
    paused = {"kubernaut.ai/pause": "true"}
    settings = ShellSettings(start_deadline=7200)
    step, _, _ = decide(snapshot(wfe(annotations=paused), settings=settings), {Input.LOCK: None})
    status = committed(step)
    for minutes in range(1, 61):
        again = snapshot(wfe(status, annotations=paused), 60 * minutes, settings=settings)
        step, _, _ = decide(again, {Input.LOCK: None})
        assert isinstance(step, Stop), minutes


def test_who_waits_says_for_whom() -> None:
    """P:L6: the holder by name, in phase Pending."""
    answers = {**FREE, Input.LOCK: lock("uid-other"), Input.HOLDER: HolderState.TERMINAL}
    step, _, _ = decide(snapshot(wfe()), answers)
    assert "ops/cart-0" in committed(step)["message"]
    assert committed(step)["phase"] == "Pending"
    step, _, _ = decide(snapshot(wfe()), {**answers, Input.HOLDER: HolderState.LIVE})
    assert committed(step)["skipDetails"]["conflictingWorkflow"]["name"] == "cart-0"


def test_a_pending_run_is_started_by_its_holder_only() -> None:
    """TH50, SPEC 1.3: the lock is read live before the start; a lost hold means the run is ended, never started."""
    obj = wfe(running(), finalizer=True)
    pending = run(pending=True)
    step, reads, _ = decide(snapshot(obj, 1, cached_run=pending), {Input.LOCK: lock(UID)})
    assert acts(step) == StartRun(pending)
    assert reads == [Input.LOCK]
    step, _, _ = decide(snapshot(obj, 1, cached_run=pending), {Input.LOCK: lock("uid-other")})
    assert isinstance(step, Commit)
    cancelling = next(c for c in step.status["conditions"] if c["type"] == "Cancelling")
    assert cancelling["reason"] == "LockLost"


def test_a_run_that_stays_pending_has_two_deadlines() -> None:
    """TH50, P:T2: before it is named the start deadline ends it, afterwards the watchdog; Tekton's own clock stands."""
    pending = run(pending=True)
    step, _, _ = decide(snapshot(WITH_FINALIZER, 1800, cached_run=pending), {**HELD, Input.NAMED_RUN: pending})
    assert isinstance(acts(step), DeleteRun)
    obj = wfe(running(), finalizer=True, annotations={"kubernaut.ai/pause": "true"})
    watchdog = 1800 + 300 + 60
    step, _, _ = decide(snapshot(obj, watchdog, cached_run=pending))
    cancelling = next(c for c in committed(step)["conditions"] if c["type"] == "Cancelling")
    assert cancelling["reason"] == "DeadlineExceeded"


def test_no_gate_hides_behind_observed_generation() -> None:
    """T27: an object whose generation was seen before is worked on like any other."""
    status = {"phase": "Pending", "observedGeneration": 1, "reason": str(WaitReason.LOCK_UNKNOWN)}
    step, _, _ = decide(snapshot(wfe(status, finalizer=True)), FREE)
    assert acts(step) == Acquire(None)


def test_a_word_that_is_no_phase_is_left_alone() -> None:
    """T26: looked at again in 30 s, never changed."""
    step, _, _ = decide(snapshot(wfe({"phase": "Levitating"})))
    assert step == Stop(RequeueAfter(30.0))


def test_the_same_workflow_waits_and_another_does_not() -> None:
    """BR-WE-010, T40, T73: the success cooldown is that of one workflow on one target."""
    cooling = lock(workflows=(WorkflowEntry("restart", cooldown_until=at(100)),))
    step, _, _ = decide(snapshot(wfe()), {**FREE, Input.LOCK: cooling})
    status = committed(step)
    assert (status["phase"], status["reason"]) == ("Skipped", "RecentlyRemediated")
    other = wfe(workflowRef={"workflowId": "scale", "version": "1", "containerImage": "reg.example/wf:v1"})
    step, _, _ = decide(snapshot(other), {**FREE, Input.LOCK: cooling})
    assert acts(step) == AddFinalizer()


def test_a_skipped_object_owns_nothing_and_touches_nothing() -> None:
    """TH2, T10: not even its deletion looks at the run of somebody else."""
    obj = wfe(ended("Skipped"), deleted=5)
    step, reads, _ = decide(snapshot(obj, 10))
    assert isinstance(step, Stop)
    assert reads == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"targetResource": "x"}, "spec.targetResource"), ({"parameters": {"A": 1}}, "spec.parameters[A]")],
    ids=["BR-WE-011-target", "T72-parameter"],
)
def test_an_invalid_spec_fails_and_names_the_field(spec: Json, field: str) -> None:
    """Before the start, so it is no execution failure; no ledger entry, since nothing is held (SPEC 2.3)."""
    step, _, _ = decide(snapshot(wfe(**spec)), FREE)
    details = committed(step)["failureDetails"]
    assert (details["reason"], details["wasExecutionFailure"]) == ("ConfigurationError", False)
    assert field in details["message"]


def test_notes_come_with_the_write_not_before_it() -> None:
    """TH36, P:Q6: the Event of a phase is part of the Commit; no effect that precedes it carries one."""
    found = run(pending=True)
    step, _, _ = decide(snapshot(WITH_FINALIZER), {**HELD, Input.NAMED_RUN: found})
    assert isinstance(step, Commit)
    assert [note.reason for note in step.notes] == ["PipelineRunCreated"]
    step, _, _ = decide(snapshot(WITH_FINALIZER), HELD)
    assert isinstance(step, Act)
    assert step.notes == ()


def test_now_is_the_only_clock() -> None:
    """T46: the same snapshot gives the same step, whoever asks and however often."""
    seen = snapshot(wfe(created=-10), 3)
    assert decide(seen, FREE)[0] == decide(seen, FREE)[0]
    assert seen.created == at(-10)

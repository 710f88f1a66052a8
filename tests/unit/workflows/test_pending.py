"""SPEC 2.1: the order of the questions. Everything is wrong at once; each row takes the first reason away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.shell import (
    FREE,
    HELD,
    TARGET,
    UID,
    acts,
    at,
    committed,
    decide,
    finished,
    lock,
    run,
    snapshot,
    wfe,
    working,
)
from wfe_controller.api.targetlock import MAX_WORKFLOWS
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.objects import Json
from wfe_controller.locking.decision import HolderState
from wfe_controller.locking.record import Block, LockRecord, LockUnreadable, TargetCollision, WorkflowEntry
from wfe_controller.workflows.plan import (
    Acquire,
    Act,
    AddFinalizer,
    Commit,
    CreateRun,
    DeleteRun,
    DropHold,
    Input,
    Stop,
)
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.snapshot import Snapshot

BLOCK = Block("ExecutionFailed", "uid-0", "cart-0", at(-60), "unknown state")
FULL = tuple(WorkflowEntry(f"w{n}", 1, at(-1), at(60)) for n in range(MAX_WORKFLOWS))
EXHAUSTED = (WorkflowEntry("restart", 5, at(-60), at(600)),)
BACKOFF = (WorkflowEntry("restart", 2, at(-1), at(119)),)
COOLDOWN = (WorkflowEntry("restart", cooldown_until=at(200)),)
STRICT = ShellSettings(allowed_registries=("trusted.example",))
FOREIGN = run(working(), owner="uid-other", uid="run-other")


def word(step: Any) -> str:
    """One word for a step: what is done, or the phase and reason that are written."""
    if isinstance(step, Act):
        return type(step.effect).__name__
    if isinstance(step, Stop):
        assert isinstance(step.outcome, RequeueAfter)
        return f"again in {step.outcome.seconds:g} s"
    assert isinstance(step, Commit)
    return f"{step.status['phase']}/{step.status.get('reason', '')}"


BAD: Json = {"workflowRef": {"workflowId": "", "version": "1", "containerImage": "reg.example/wf:v1"}}
CANCEL = {"kubernaut.ai/cancel": "not needed"}
PAUSE = {"kubernaut.ai/pause": "true"}

# Each row lacks what the row above was decided by; everything below it still holds.
ORDER: list[tuple[str, str, dict[str, Any]]] = [
    ("0-my-hold", "Failed/Cancelled", {"record": lock(UID, block=BLOCK)}),
    ("cancelled", "Failed/Cancelled", {}),
    ("1-spec", "Failed/ConfigurationError", {"annotations": {}}),
    ("start-deadline", "Failed/DeadlineExceeded", {"spec": {}}),
    ("paused", "Pending/Paused", {"created": 0.0, "annotations": PAUSE}),
    ("1-engine", "Pending/EngineUnavailable", {"annotations": {}}),
    ("1-registry", "Failed/ConfigurationError", {"engine": True}),
    ("1-account", "Failed/ConfigurationError", {"settings": ShellSettings()}),
    ("2-block", "Skipped/PreviousExecutionFailed", {"account": True}),
    ("3-exhausted", "Skipped/ExhaustedRetries", {"record": lock("uid-other", workflows=EXHAUSTED)}),
    ("3-table-full", "Skipped/ExhaustedRetries", {"record": lock("uid-other", workflows=FULL)}),
    ("4-backoff", "Skipped/RecentlyRemediated", {"record": lock("uid-other", workflows=BACKOFF)}),
    ("5-cooldown", "Skipped/RecentlyRemediated", {"record": lock("uid-other", workflows=COOLDOWN)}),
    ("6-held", "Skipped/ResourceBusy", {"record": lock("uid-other")}),
    ("6-holder-ended", "Pending/WaitingForRelease", {"holder": HolderState.TERMINAL}),
    ("6-holder-gone", "Pending/WaitingForRelease", {"holder": HolderState.GONE}),
    ("7-finalizer", "AddFinalizer", {"record": lock()}),
    ("7-acquire", "Acquire", {"finalizer": True}),
]


def rows() -> list[Any]:
    """The table, each row with all changes of the rows above it."""
    situation: dict[str, Any] = {
        "record": lock("uid-other", block=BLOCK, workflows=EXHAUSTED),
        "spec": BAD,
        "annotations": CANCEL,
        "created": -9999.0,
        "engine": False,
        "settings": STRICT,
        "account": False,
        "holder": HolderState.LIVE,
        "finalizer": False,
    }
    out = []
    for name, wanted, change in ORDER:
        if name != "0-my-hold":
            situation = {**situation, **change}
        out.append(pytest.param({**situation, **change}, wanted, id=name))
    return out


@pytest.mark.parametrize(("given", "wanted"), rows())
def test_the_first_reason_decides(given: dict[str, Any], wanted: str) -> None:
    obj = wfe(annotations=given["annotations"], created=given["created"], finalizer=given["finalizer"], **given["spec"])
    seen = snapshot(obj, settings=given["settings"], engine_available=given["engine"], engine_why="no Tekton")
    answers = {
        Input.LOCK: given["record"],
        Input.RUNNER_ACCOUNT: given["account"],
        Input.HOLDER: given["holder"],
        Input.NAMED_RUN: None,
        Input.NAME_USERS: (),
    }
    assert word(decide(seen, answers)[0]) == wanted


@pytest.mark.parametrize(
    ("entry", "moment", "wanted"),
    [
        pytest.param(BACKOFF[0], 118.9, "Skipped/RecentlyRemediated", id="TH7-backoff"),
        pytest.param(BACKOFF[0], 119, "AddFinalizer", id="T31-backoff-boundary-is-allowed"),
        pytest.param(COOLDOWN[0], 199.9, "Skipped/RecentlyRemediated", id="T40-cooldown"),
        pytest.param(COOLDOWN[0], 200, "AddFinalizer", id="T31-cooldown-boundary-is-allowed"),
        pytest.param(EXHAUSTED[0], 601, "Skipped/ExhaustedRetries", id="T44-exhausted-after-its-backoff"),
    ],
)
def test_the_instant_at_which_a_wait_ends_is_allowed(entry: WorkflowEntry, moment: float, wanted: str) -> None:
    seen = snapshot(wfe(), moment)
    assert word(decide(seen, {**FREE, Input.LOCK: lock(workflows=(entry,))})[0]) == wanted


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        pytest.param(LockUnreadable("odd"), "Pending/LockUnknown", id="TH22-unreadable"),
        pytest.param(TargetCollision("wfe-1", "a/b/c", TARGET), "Failed/ConfigurationError", id="TH41-collision"),
    ],
)
def test_a_lock_that_is_no_answer_allows_nothing(record: Any, wanted: str) -> None:
    assert word(decide(snapshot(wfe()), {**FREE, Input.LOCK: record})[0]) == wanted


# -- with the hold in my hands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        pytest.param(None, "CreateRun", id="nobody-there"),
        pytest.param(run(pending=True), "Running/", id="T4-mine-pending"),
        pytest.param(run(working()), "Running/", id="T4-mine-running"),
        pytest.param(run(finished(), owner="uid-other", uid="o"), "DeleteRun", id="T14-finished-one-makes-room"),
        pytest.param(
            run(owner="uid-other", uid="o", pending=True), "DeleteRun", id="SPEC-2.4-pending-one-of-no-holder"
        ),
        pytest.param(FOREIGN, "DropHold", id="T5-live-one-of-another"),
        pytest.param(run(working(), owner=None, uid="o"), "DropHold", id="T5-live-one-without-marks"),
        pytest.param(run(finished(), owner=None, uid="o"), "DropHold", id="T41-finished-one-without-marks"),
        pytest.param(run(working(), owner="uid-other", uid="o", deleting=True), "again in 0.25 s", id="TH19-going"),
        pytest.param(run(pending=True, deleting=True), "again in 0.25 s", id="mine-but-going"),
        pytest.param(run(working(), owner="uid-other", uid="o", target="a/b/c"), "DropHold", id="TH41-other-target"),
    ],
)
def test_who_stands_under_my_name_decides_the_next_step(named: Json | None, wanted: str) -> None:
    step, reads, _ = decide(snapshot(wfe(finalizer=True)), {**HELD, Input.NAMED_RUN: named})
    assert word(step) == wanted
    assert reads[:2] == [Input.LOCK, Input.NAMED_RUN]


@pytest.mark.parametrize("named", [FOREIGN, run(working(), owner=None, uid="o")])
def test_after_the_drop_it_is_skipped_and_never_acquired_again(named: Json) -> None:
    """SPEC 2.1 end. The conflicting name is "unknown" when the run does not say."""
    first, _, seen = decide(snapshot(wfe(finalizer=True)), {**HELD, Input.NAMED_RUN: named})
    assert isinstance(acts(first), DropHold)
    seen = replace(seen, inputs=replace(seen.inputs, lock=lock()))
    status = committed(decide(seen, {Input.RUNNER_ACCOUNT: True})[0])
    assert (status["phase"], status["reason"]) == ("Skipped", "ResourceBusy")
    assert status["skipDetails"]["conflictingWorkflow"]["name"] == ("cart-0" if named is FOREIGN else "unknown")


def holder_without_a_run(seconds: float, **more: Any) -> Snapshot:
    return snapshot(wfe({"phase": "Pending"}, finalizer=True, **more), seconds)


@pytest.mark.parametrize(
    ("more", "seconds", "wanted"),
    [
        pytest.param({"annotations": CANCEL}, 1, "Failed/Cancelled", id="cancelled"),
        pytest.param({"deleted": 0.5}, 1, "Failed/Cancelled", id="deleted"),
        pytest.param({"created": -1800.0}, 1, "Failed/DeadlineExceeded", id="too-late"),
        pytest.param(BAD, 1, "Failed/ConfigurationError", id="TH9-a-spec-this-version-refuses"),
        pytest.param({"annotations": PAUSE}, 1, "CreateRun", id="a-pause-stops-at-the-pending-run"),
    ],
)
def test_a_holder_may_still_change_its_mind(more: dict[str, Any], seconds: float, wanted: str) -> None:
    assert word(decide(holder_without_a_run(seconds, **more), HELD)[0]) == wanted


def test_a_pending_run_of_mine_without_a_hold_is_not_adopted() -> None:
    """SPEC 2.4: deleted, when its WorkflowExecution is not the holder."""
    mine = run(pending=True)
    answers = {Input.LOCK: lock("uid-other"), Input.NAMED_RUN: mine}
    assert isinstance(acts(decide(snapshot(wfe(), cached_run=mine), answers)[0]), DeleteRun)


def test_a_running_run_of_mine_is_followed_whoever_holds_the_lock() -> None:
    """TH9: what acts must be watched to its end."""
    mine = run(working())
    answers = {Input.LOCK: lock("uid-other"), Input.NAMED_RUN: mine}
    assert word(decide(snapshot(wfe(finalizer=True), cached_run=mine), answers)[0]) == "Running/"


@pytest.mark.parametrize("named", [None, FOREIGN, run(pending=True, deleting=True)])
def test_a_cached_run_that_is_gone_or_going_starts_from_the_beginning(named: Json | None) -> None:
    """No waiting for a cache, or for finalizers of others, without a deadline (P:Q9)."""
    answers = {**FREE, Input.NAMED_RUN: named}
    wanted = "Skipped/ResourceBusy" if named is FOREIGN else "AddFinalizer"
    assert word(decide(snapshot(wfe(), cached_run=run(pending=True)), answers)[0]) == wanted


def test_the_record_that_was_decided_on_is_the_one_that_is_swapped() -> None:
    """TH48."""
    record: LockRecord = lock()
    step, _, _ = decide(snapshot(wfe(finalizer=True)), {**FREE, Input.LOCK: record})
    effect = acts(step)
    assert isinstance(effect, Acquire)
    assert effect.record is record
    assert isinstance(acts(decide(snapshot(wfe()), FREE)[0]), AddFinalizer)
    assert isinstance(acts(decide(snapshot(wfe(finalizer=True)), HELD)[0]), CreateRun)


def test_a_former_object_of_the_same_name_is_told_apart() -> None:
    """Deleted without its finalizer and created again: "held by ops/cart-1, which has ended" says ops/cart-1."""
    answers = {**FREE, Input.LOCK: lock("uid-former"), Input.HOLDER: HolderState.GONE}
    message = committed(decide(snapshot(wfe()), answers)[0])["message"]
    assert "uid-former" in message
    assert "does not exist any more" in message

"""The next status from the present one: legal edges only, bounded, and equal when nothing is new."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support.shell import at, running, snapshot, wfe
from wfe_controller.api.conditions import get_condition
from wfe_controller.api.phases import IllegalTransition, Phase
from wfe_controller.api.reasons import ConditionType, WaitReason
from wfe_controller.kube.clock import rfc3339
from wfe_controller.workflows.draft import Draft, condition_reason, condition_since, shorten


def test_a_draft_never_touches_what_it_was_made_from() -> None:
    """I-18."""
    seen = snapshot(wfe(running(conditions=[{"type": "Ready", "status": "False", "reason": "r"}])))
    before = copy.deepcopy(seen.wfe)
    draft = Draft(seen)
    draft.unready("Other", "m")
    draft.status["pipelineRunRef"]["uid"] = "changed"
    assert seen.wfe == before


@pytest.mark.parametrize(
    ("phase", "to"),
    [("Completed", Phase.RUNNING), ("Failed", Phase.COMPLETED), ("Skipped", Phase.PENDING), ("Running", Phase.SKIPPED)],
)
def test_an_illegal_edge_is_refused(phase: str, to: Phase) -> None:
    """SPEC 1.1, T25."""
    with pytest.raises(IllegalTransition):
        Draft(snapshot(wfe({"phase": phase}))).enter(to)


def test_waiting_again_for_the_same_is_the_same_status() -> None:
    """TH36b: no write, however often it is looked at."""
    first = Draft(snapshot(wfe()))
    first.waiting(WaitReason.PAUSED, "paused", at(1800))
    again = Draft(snapshot(wfe(first.status), 60))
    again.waiting(WaitReason.PAUSED, "paused", at(1800))
    assert again.status == first.status
    assert first.status["deadlineAt"] == rfc3339(at(1800))


def test_the_paused_condition_stays_as_a_memory() -> None:
    draft = Draft(snapshot(wfe()))
    draft.paused(False, "m")
    assert get_condition(draft.status.get("conditions"), "Paused") is None
    draft.paused(True, "m")
    draft.paused(False, "m")
    assert get_condition(draft.status["conditions"], "Paused")["status"] == "False"  # type: ignore[index] # there


@pytest.mark.parametrize(
    ("completed", "written", "duration"),
    [
        pytest.param(60, 60, "1m0s", id="T17"),
        pytest.param(9999, 100, "1m40s", id="TH24-future"),
        pytest.param(-30, 0, "0s", id="TH24-before-the-start"),
    ],
)
def test_the_end_lies_between_start_and_now(completed: float, written: float, duration: str) -> None:
    draft = Draft(snapshot(wfe(running()), 100))
    draft.end(Phase.FAILED, at(completed), "TaskFailed", "m")
    assert (draft.status["completionTime"], draft.status["duration"]) == (rfc3339(at(written)), duration)


@pytest.mark.parametrize(
    ("phase", "reason", "ready"),
    [(Phase.COMPLETED, None, ("True", "Ready")), (Phase.FAILED, "TaskFailed", ("False", "TaskFailed"))],
)
def test_a_terminal_object_has_one_thing_to_wait_for(phase: Phase, reason: str | None, ready: tuple[str, str]) -> None:
    """SPEC 12: Finished=True with the phase as its reason; Ready=True only when Completed; no deadline any more."""
    draft = Draft(snapshot(wfe(running(deadlineAt="2026-03-01T13:00:00Z")), 100))
    draft.end(phase, at(60), reason, "m")
    found: dict[str, Any] = {c["type"]: (c["status"], c["reason"]) for c in draft.status["conditions"]}
    assert found["Finished"] == ("True", str(phase))
    assert found["Ready"] == ready
    assert "deadlineAt" not in draft.status


def test_an_object_that_never_ran_has_no_duration() -> None:
    draft = Draft(snapshot(wfe(), 100))
    draft.end(Phase.FAILED, at(100), "ConfigurationError", "m")
    assert "duration" not in draft.status
    assert "startTime" not in draft.status


def test_what_is_written_follows_the_generation() -> None:
    """T27: written for people, never read as a gate."""
    obj = wfe()
    obj["metadata"]["generation"] = 4
    assert Draft(snapshot(obj)).status["observedGeneration"] == 4


@pytest.mark.parametrize("length", [0, 1024, 1025, 50000])
def test_messages_are_bounded_and_the_cut_shows(length: int) -> None:
    short = shorten("x" * length)
    assert len(short) == min(length, 1024)
    assert short.endswith("...") == (length > 1024)


def test_a_condition_counts_from_when_it_became_true() -> None:
    entry = {"type": "Cancelling", "status": "True", "reason": "Deleted", "lastTransitionTime": rfc3339(at(5))}
    assert condition_since({"conditions": [entry]}, ConditionType.CANCELLING) == at(5)
    assert condition_reason({"conditions": [entry]}, ConditionType.CANCELLING) == "Deleted"
    assert condition_since({"conditions": [{**entry, "status": "False"}]}, ConditionType.CANCELLING) is None
    assert condition_since({"conditions": "odd"}, ConditionType.CANCELLING) is None

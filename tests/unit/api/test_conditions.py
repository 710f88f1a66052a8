from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wfe_controller.api.conditions import get_condition, is_true, remove_condition, set_condition

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(minutes=5)


def test_the_transition_time_moves_only_with_the_status() -> None:
    """SH18: reason, message and generation may change; the time of the transition stays."""
    first = set_condition([], "Ready", False, "NotReady", "waiting", generation=1, now=T0)
    second = set_condition(first, "Ready", False, "Paused", "paused", generation=2, now=T1)
    assert second[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("Paused", 2)
    third = set_condition(second, "Ready", True, "Ready", "", generation=2, now=T1)
    assert third[0]["lastTransitionTime"] == "2026-01-01T00:05:00Z"


def test_setting_the_same_condition_changes_nothing() -> None:
    """TH36b: an equal status must not be written again."""
    first = set_condition(None, "Ready", True, "Ready", "done", generation=1, now=T0)
    assert set_condition(first, "Ready", True, "Ready", "done", generation=1, now=T1) == first


def test_the_input_is_not_changed_and_the_others_stay() -> None:
    before = set_condition([], "A", True, "X", "", generation=1, now=T0)
    frozen = [dict(entry) for entry in before]
    after = set_condition(before, "B", "Unknown", "Y", "", generation=1, now=T0)
    assert before == frozen
    assert [entry["type"] for entry in after] == ["A", "B"]


@pytest.mark.parametrize(
    "odd",
    [None, "text", {}, 3, [None, 3, "x", [], {}, {"type": None}, {"type": ""}], [{"type": "Ready"}, {"type": "Ready"}]],
)
def test_odd_shapes_of_other_writers_do_no_harm(odd: object) -> None:
    """P:W7: no shape of status.conditions stops a worker, and the result is a list the API server accepts."""
    assert not is_true(odd, "Ready")
    assert get_condition(odd, "Missing") is None
    out = set_condition(odd, "Ready", True, "Ready", "", generation=1, now=T0)
    assert is_true(out, "Ready")
    assert len([entry for entry in out if entry["type"] == "Ready"]) == 1
    assert remove_condition(out, "Ready") == []


def test_a_message_is_bounded_and_a_status_is_one_of_three() -> None:
    out = set_condition([], "Ready", True, "Ready", "x" * 5000, generation=1, now=T0)
    assert len(out[0]["message"]) == 1024
    with pytest.raises(ValueError, match="'Maybe' is not one of True, False, Unknown"):
        set_condition([], "Ready", "Maybe", "R", "", generation=1, now=T0)
    with pytest.raises(ValueError, match="needs a reason"):
        set_condition([], "Ready", True, "", "", generation=1, now=T0)

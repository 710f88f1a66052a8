"""Which sightings become writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe_controller.kube.events.correlator import Correlator, Reference, Series

START = datetime(2026, 1, 1, tzinfo=UTC)


def reference(uid: str = "u1") -> Reference:
    return Reference("kubernaut.ai/v1alpha1", "WorkflowExecution", "team", "fix", uid, "7")


def see(
    correlator: Correlator, now: float, *, uid: str = "u1", reason: str = "Failing", message: str = "it fails"
) -> Series | None:
    """One sighting, written successfully when let through."""
    at = START + timedelta(seconds=now)
    series = correlator.seen(reference(uid), "Warning", reason, message, "", at=at, now=now)
    if series:
        correlator.sent(series)
    return series


def test_repeats_within_ten_minutes_are_counted_into_the_next_write() -> None:
    """O3: one write, then silence, then one write that tells of all."""
    c = Correlator()
    assert see(c, 0) is not None
    assert [see(c, now) for now in (1, 100, 599)] == [None] * 3
    series = see(c, 600, message="it still fails")
    assert series is not None
    assert (series.count, series.message) == (5, "it still fails")
    assert (series.first, series.last) == (START, START + timedelta(seconds=600))


def test_an_hour_of_failing_every_second_is_at_most_ten_writes() -> None:
    """O3."""
    c = Correlator()
    assert sum(see(c, now) is not None for now in range(3600)) == 6


def test_objects_types_and_reasons_are_told_apart() -> None:
    """O3: per (object, type, reason); the object is the uid, not the name."""
    c = Correlator()
    assert see(c, 0, uid="u1")
    assert see(c, 0, uid="u2")
    assert see(c, 0, reason="Other")
    assert c.seen(reference(), "Normal", "Failing", "m", "", at=START, now=0)


def test_one_object_has_25_writes_in_hand_and_one_more_every_five_minutes() -> None:
    """I-66: whatever its reasons; other objects are not touched."""
    c = Correlator()
    assert sum(see(c, 0, reason=f"Reason{n}") is not None for n in range(40)) == 25
    assert see(c, 0, uid="u2")
    assert see(c, 299, reason="Later") is None
    assert see(c, 300, reason="Later")
    assert see(c, 300, reason="Latest") is None


def test_a_sighting_without_a_token_is_counted_in_the_next_write() -> None:
    c = Correlator(burst=1)
    see(c, 0, reason="First")
    assert see(c, 1) is None
    series = see(c, 300)
    assert series is not None
    assert series.count == 2


def test_sightings_while_a_write_is_under_way_wait_for_the_next() -> None:
    c = Correlator()
    first = c.seen(reference(), "Warning", "Failing", "m", "", at=START, now=0)
    assert first is not None
    assert c.seen(reference(), "Warning", "Failing", "m", "", at=START, now=700) is None
    c.sent(first)
    assert first.count == 2


def test_a_dropped_write_may_be_tried_at_the_next_sighting_a_refused_one_not() -> None:
    """I-68: what was never sent must not silence the reason for ten minutes."""
    c = Correlator()
    dropped = c.seen(reference("u1"), "Warning", "Failing", "m", "", at=START, now=0)
    refused = c.seen(reference("u2"), "Warning", "Failing", "m", "", at=START, now=0)
    assert dropped is not None
    assert refused is not None
    c.dropped(dropped)
    c.refused(refused)
    again = see(c, 1, uid="u1")
    assert again is not None
    assert again.count == 2
    assert see(c, 1, uid="u2") is None
    assert see(c, 600, uid="u2") is not None


def test_a_series_that_was_silent_for_an_hour_begins_anew() -> None:
    """The server has forgotten the Event; "x38 over 5d" of another incident would mislead."""
    c = Correlator()
    see(c, 0)
    series = see(c, 3601)
    assert series is not None
    assert (series.count, series.name, series.first) == (1, "", START + timedelta(seconds=3601))


def test_memory_is_bounded() -> None:
    """I-66: LRU."""
    c = Correlator(remembered=100)
    for n in range(1000):
        see(c, 0, uid=f"u{n}")
    assert (len(c._series), len(c._tokens)) == (100, 100)
    assert see(c, 1, uid="u999") is None


@pytest.mark.parametrize(
    ("regarding", "uid"),
    [
        pytest.param(
            {
                "apiVersion": "kubernaut.ai/v1alpha1",
                "kind": "WorkflowExecution",
                "metadata": {"name": "fix", "namespace": "team", "uid": "u1", "resourceVersion": "7"},
                "spec": {},
            },
            "u1",
            id="object",
        ),
        pytest.param(
            {
                "apiVersion": "kubernaut.ai/v1alpha1",
                "kind": "WorkflowExecution",
                "name": "fix",
                "namespace": "team",
                "uid": "u1",
                "resourceVersion": "7",
            },
            "u1",
            id="reference",
        ),
    ],
)
def test_an_object_and_a_reference_to_it_are_the_same(regarding: dict[str, Any], uid: str) -> None:
    assert Reference.of(regarding) == reference(uid)


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"metadata": {"name": 5, "uid": []}}, {"kind": 1}])
def test_odd_objects_do_not_raise(odd: dict[str, Any]) -> None:
    """I-68."""
    assert Reference.of(odd).fields() == {}

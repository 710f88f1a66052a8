"""Turns between lanes, and slots per tenant, without a queue around them."""

from __future__ import annotations

import pytest

from wfe_controller.kube.queue.fairness import Lane, TenantCap, Turns


def test_the_low_lane_saves_up_its_turn_only_while_it_waits() -> None:
    """I-37: hours of fresh work before the replay begins do not entitle it to anything."""
    turns = Turns(low_share=3)
    for _ in range(100):
        turns.taken(Lane.FIRST, was_low=False, low_waits=False)
    assert turns.choose(low_waits=True, aged_waits=False) is Lane.FIRST
    for _ in range(2):
        turns.taken(Lane.FIRST, was_low=False, low_waits=True)
    assert turns.choose(low_waits=True, aged_waits=False) is Lane.LOW
    assert turns.choose(low_waits=False, aged_waits=False) is Lane.FIRST


def test_the_aged_take_every_second_turn() -> None:
    """Q2."""
    turns = Turns()
    lanes = []
    for _ in range(4):
        lane = turns.choose(low_waits=False, aged_waits=True)
        turns.taken(lane, was_low=False, low_waits=False)
        lanes.append(lane)
    assert lanes == [Lane.AGED, Lane.FIRST, Lane.AGED, Lane.FIRST]


def test_a_share_that_would_reverse_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match="low lane"):
        Turns(low_share=1)


def test_a_freed_slot_goes_to_the_best_parked_key_of_that_tenant() -> None:
    """I-38: priority first, FIFO within; a raised key counts once."""
    cap: TenantCap[str] = TenantCap(lambda key: key[0], 1)
    cap.started("a0")
    assert not cap.admits("a1")
    assert cap.admits("b1")
    cap.park("a1", 0)
    cap.park("a2", 0)
    cap.park("a3", -100)
    cap.park("a3", 5)
    cap.park("a1", -5)
    freed = []
    running = "a0"
    while (parked := cap.finished(running)) is not None:
        freed.append(parked)
        cap.started(parked)
        running = parked
    assert freed == ["a3", "a1", "a2"]
    assert not cap.is_parked("a3")


def test_no_slot_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        TenantCap(lambda key: key, 0)

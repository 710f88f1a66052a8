"""How long a failed key waits (I-35)."""

from __future__ import annotations

import pytest

from wfe_controller.kube.queue.limiters import Bucket, ItemExponential, RetryLimiter


def test_each_failure_doubles_up_to_the_cap_and_forget_starts_again() -> None:
    """I-35: per key; no overflow after any number of failures."""
    limiter: ItemExponential[str] = ItemExponential()
    assert [limiter.when("a") for _ in range(4)] == [0.005, 0.01, 0.02, 0.04]
    assert limiter.when("b") == 0.005
    for _ in range(5000):
        delay = limiter.when("a")
    assert delay == 300.0
    limiter.forget("a")
    assert (limiter.retries("a"), limiter.when("a")) == (0, 0.005)


def test_forgotten_keys_cost_nothing() -> None:
    limiter: ItemExponential[int] = ItemExponential()
    for key in range(1000):
        limiter.when(key)
        limiter.forget(key)
    assert len(limiter) == 0


def test_the_bucket_lets_a_burst_through_and_then_ten_a_second() -> None:
    """I-35."""
    bucket = Bucket()
    assert [bucket.when(0.0) for _ in range(100)] == [0.0] * 100
    assert [round(bucket.when(0.0), 3) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert bucket.when(1.0) == 0.0


def test_the_bucket_fills_no_higher_than_its_burst() -> None:
    bucket = Bucket(rate=10, burst=2)
    assert [round(bucket.when(t), 3) for t in (0.0, 1000.0, 1000.0, 1000.0)] == [0.0, 0.0, 0.0, 0.1]


def test_ten_thousand_failures_at_once_wait_no_longer_than_the_cap() -> None:
    """Story: the API is down, every key fails in the same second. Unbounded, the last reservation lies 1000 s ahead;
    the API is back after a minute, and the keys at the end of the line are looked at a quarter of an hour later."""
    bucket = Bucket(max_delay=300)
    delays = [bucket.when(0.0) for _ in range(10_000)]
    assert max(delays) == 300.0
    assert bucket.when(400.0) == 0.0


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = Bucket(rate=1, burst=1)
    assert bucket.when(10.0) == 0.0
    assert bucket.when(5.0) == 1.0
    assert bucket.when(10.0) == 2.0


def test_the_longer_of_both_counts() -> None:
    """I-35: max of."""
    limiter: RetryLimiter[str] = RetryLimiter(ItemExponential(base=1.0), Bucket(rate=1, burst=1))
    assert limiter.when("a", 0.0) == 1.0
    assert limiter.when("b", 0.0) == 1.0
    assert limiter.when("c", 0.0) == 2.0
    assert limiter.retries("a") == 1
    limiter.forget("a")
    assert limiter.retries("a") == 0


@pytest.mark.parametrize(("base", "cap"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_impossible_backoffs_are_refused(base: float, cap: float) -> None:
    with pytest.raises(ValueError, match="0 < base <= cap"):
        ItemExponential(base, cap)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (1.0, 0)])
def test_impossible_buckets_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate > 0"):
        Bucket(rate, burst)

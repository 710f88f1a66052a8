"""How long a failed key waits: per-key exponential backoff and one bucket for all retries, whichever is longer (I-35).

Applies to retries only. Fresh events never pass here, so a storm of failures cannot delay new work.
Neighbours: :mod:`.workqueue` asks :class:`RetryLimiter`; the arithmetic of the curve is in ``kube.backoff``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from wfe_controller.kube.backoff import exponential

K = TypeVar("K", bound=Hashable)

RETRY_BASE_SECONDS = 0.005
"""First retry almost at once: most failures are a stale read that is right 5 ms later."""
RETRY_CAP_SECONDS = 300.0
"""Reached after 16 failures in a row (5 ms * 2^16 = 328 s). client-go stops at 1000 s; an operator waits shorter."""
RETRY_RATE_PER_SECOND = 10.0
RETRY_BURST = 100


class ItemExponential(Generic[K]):
    """``base * 2^n`` seconds for the n-th failure in a row of one key, capped; no overflow however long it fails."""

    def __init__(self, base: float = RETRY_BASE_SECONDS, cap: float = RETRY_CAP_SECONDS) -> None:
        if not 0 < base <= cap:
            raise ValueError(f"retry backoff needs 0 < base <= cap, got base={base} cap={cap}")
        self._base = base
        self._cap = cap
        self._failures: dict[K, int] = {}

    def when(self, key: K) -> float:
        """Seconds to wait now; counts one failure."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return exponential(self._base, failures, self._cap)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def retries(self, key: K) -> int:
        return self._failures.get(key, 0)

    def __len__(self) -> int:
        return len(self._failures)


class Bucket:
    """A token bucket that hands out reservations: every caller gets a token, late ones a later one.

    The debt is bounded by ``max_delay``: with 10,000 keys failing at once the last would otherwise wait 1000 s for its
    turn, far behind its own backoff.
    """

    def __init__(
        self, rate: float = RETRY_RATE_PER_SECOND, burst: int = RETRY_BURST, max_delay: float = RETRY_CAP_SECONDS
    ) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"retry bucket needs a rate > 0 and a burst >= 1, got rate={rate} burst={burst}")
        self._rate = rate
        self._burst = float(burst)
        self._max_delay = max_delay
        self._tokens = float(burst)
        self._updated: float | None = None

    def when(self, now: float) -> float:
        """Seconds until the reserved token is there; ``now`` is a monotonic instant in seconds."""
        if self._updated is not None and now > self._updated:
            self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now if self._updated is None else max(now, self._updated)
        if (1.0 - self._tokens) / self._rate > self._max_delay:
            return self._max_delay
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)


class RetryLimiter(Generic[K]):
    """The longer of the two: a key waits for its own backoff and for its turn among all retries."""

    def __init__(self, item: ItemExponential[K] | None = None, bucket: Bucket | None = None) -> None:
        # "is None": an empty ItemExponential has length 0 and is false.
        self._item: ItemExponential[K] = ItemExponential() if item is None else item
        self._bucket = Bucket() if bucket is None else bucket

    def when(self, key: K, now: float) -> float:
        """Seconds until the retry may run; counts one failure of ``key``."""
        return max(self._item.when(key), self._bucket.when(now))

    def forget(self, key: K) -> None:
        """The key succeeded or will not be retried: its next failure starts at the base again."""
        self._item.forget(key)

    def retries(self, key: K) -> int:
        """Failures in a row since the last :meth:`forget`."""
        return self._item.retries(key)

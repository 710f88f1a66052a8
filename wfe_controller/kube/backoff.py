"""Exponential backoff, pure: the caller gives time and randomness."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


def exponential(base: float, attempt: int, cap: float) -> float:
    """``base * 2^attempt`` capped; ``attempt`` counts from 0 and may be huge (no overflow)."""
    return min(base * 2.0 ** min(max(attempt, 0), 64), cap)


@dataclass(slots=True)
class Backoff:
    """A growing delay that falls back to its base after ``reset_after`` quiet seconds (I-11).

    Defaults are the reflector's of client-go: 0.8 s doubling to 30 s, up to +100 % jitter, reset after 2 minutes.
    """

    base: float = 0.8
    cap: float = 30.0
    jitter: float = 1.0
    reset_after: float = 120.0
    rng: random.Random = field(default_factory=random.Random)
    _attempt: int = 0
    _last: float | None = None

    def next(self, now: float) -> float:
        """Seconds to wait before the next try; ``now`` is any monotonic clock in seconds."""
        if self._last is not None and now - self._last > self.reset_after:
            self._attempt = 0
        self._last = now
        delay = exponential(self.base, self._attempt, self.cap)
        self._attempt += 1
        return delay * (1.0 + self.jitter * self.rng.random())

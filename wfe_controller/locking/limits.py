"""The windows that keep a target from being acted on again (SPEC 2.2). Read by decision and transitions.

Three different things that are all called "cooldown" elsewhere have three names here: the success cooldown, the backoff
after a failure that never started, and the retention of a failure streak.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from wfe_controller.kube.backoff import exponential


@dataclass(frozen=True, slots=True)
class Limits:
    """All durations are seconds; 0 for ``success_cooldown`` turns it off.

    A change applies to decisions at once: what is stored is an instant, and no instant blocks for longer than the
    window configured now.
    """

    success_cooldown: float = 300.0
    backoff_base: float = 60.0
    backoff_max: float = 600.0
    backoff_exponent: int = 4
    max_failures: int = 5
    streak_retention: float = 86400.0

    def __post_init__(self) -> None:
        for name in ("success_cooldown", "backoff_base", "backoff_max", "streak_retention"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.backoff_exponent < 0:
            raise ValueError("backoff_exponent must not be negative")
        if self.max_failures < 1:
            raise ValueError("max_failures must be at least 1")

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th pre-execution failure in a row; 0 for none."""
        if failures < 1:
            return 0.0
        return exponential(self.backoff_base, min(failures - 1, self.backoff_exponent), self.backoff_max)


def whole_second_up(instant: datetime) -> datetime:
    """The instant as the API stores it, rounded so that a wait never gets shorter (metav1.Time has whole seconds)."""
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=0) + timedelta(seconds=1 if instant.microsecond else 0)


def whole_second_down(instant: datetime) -> datetime:
    """The instant as the API stores it, rounded into the past."""
    return instant.astimezone(UTC).replace(microsecond=0)

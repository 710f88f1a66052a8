"""What a reconcile wants to happen to its key next: a closed sum type, switched on in one place (I-36).

:mod:`.worker` holds the only ``match`` over it. A reconcile returns one of these; raising is for what it did not expect
and counts as :class:`Retry` (a ``Conflict`` of the API as :class:`Conflict`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do until something changes. Failure count forgotten."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Succeeded; look again in ``seconds`` (a deadline, a poll). Failure count forgotten, then a wake-up is set.

    Normal priority by default, also when the run itself came from the low lane: a deadline is work, not a replay.
    """

    seconds: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """409: the inputs were stale. Requeued quietly within a second; only a streak is worth a warning (Q5)."""

    why: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The cache has not caught up with what this process wrote (I-28). Look again in ``seconds``; not a failure."""

    why: str
    seconds: float = 0.1


@dataclass(frozen=True, slots=True)
class Terminal:
    """Retrying cannot help until the object changes. Logged, counted, not requeued."""

    error: Exception | str


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed in a known way; requeued with backoff."""

    error: Exception | str


Outcome: TypeAlias = Done | RequeueAfter | Conflict | Stale | Terminal | Retry

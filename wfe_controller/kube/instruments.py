"""What the runtime reports about itself, as Protocols; app/metrics implements them with prometheus_client.

Label values come from closed sets only: resource plurals, verbs, HTTP code classes, queue and task names.
"""

from __future__ import annotations

from typing import Protocol


class ClientInstruments(Protocol):
    def request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """One finished request; ``code`` is the HTTP status or "error"/"timeout"."""

    def throttled(self, lane: str, seconds: float) -> None:
        """Seconds a request waited in the client-side limiter."""

    def gate_refused(self) -> None:
        """A mutating request stopped by the write gate."""


class CacheInstruments(Protocol):
    def listed(self, resource: str, items: int, seconds: float) -> None: ...

    def watch_started(self, resource: str) -> None: ...

    def watch_ended(self, resource: str, reason: str) -> None:
        """``reason``: closed, short, gone, silent, error, throttled."""

    def event(self, resource: str, kind: str) -> None:
        """One watch event; ``kind``: ADDED, MODIFIED, DELETED, BOOKMARK, ERROR, skipped."""

    def objects(self, resource: str, count: int) -> None: ...


class QueueInstruments(Protocol):
    def added(self, queue: str) -> None: ...

    def depth(self, queue: str, depth: int) -> None: ...

    def latency(self, queue: str, seconds: float) -> None:
        """From add to get."""

    def work(self, queue: str, seconds: float) -> None:
        """From get to done."""

    def retried(self, queue: str) -> None: ...

    def unfinished(self, queue: str, seconds: float, longest: float) -> None:
        """Sum and maximum of the age of what is being processed now."""


class WorkerInstruments(Protocol):
    def reconciled(self, controller: str, outcome: str, seconds: float) -> None:
        """``outcome``: done, requeue_after, conflict, stale, error, terminal, timeout."""


class ElectionInstruments(Protocol):
    def leading(self, is_leader: bool) -> None: ...

    def transition(self) -> None: ...

    def renewed(self, seconds: float) -> None: ...


class EventInstruments(Protocol):
    def sent(self, outcome: str) -> None:
        """``outcome``: created, patched, dropped, failed, suppressed."""


class Instruments(
    ClientInstruments,
    CacheInstruments,
    QueueInstruments,
    WorkerInstruments,
    ElectionInstruments,
    EventInstruments,
    Protocol,
):
    """All of the above in one object."""

    def loop_lag(self, seconds: float) -> None: ...


class NoInstruments:
    """Counts nothing; the default of every room."""

    def request(self, verb: str, resource: str, code: str, seconds: float) -> None: ...
    def throttled(self, lane: str, seconds: float) -> None: ...
    def gate_refused(self) -> None: ...
    def listed(self, resource: str, items: int, seconds: float) -> None: ...
    def watch_started(self, resource: str) -> None: ...
    def watch_ended(self, resource: str, reason: str) -> None: ...
    def event(self, resource: str, kind: str) -> None: ...
    def objects(self, resource: str, count: int) -> None: ...
    def added(self, queue: str) -> None: ...
    def depth(self, queue: str, depth: int) -> None: ...
    def latency(self, queue: str, seconds: float) -> None: ...
    def work(self, queue: str, seconds: float) -> None: ...
    def retried(self, queue: str) -> None: ...
    def unfinished(self, queue: str, seconds: float, longest: float) -> None: ...
    def reconciled(self, controller: str, outcome: str, seconds: float) -> None: ...
    def leading(self, is_leader: bool) -> None: ...
    def transition(self) -> None: ...
    def renewed(self, seconds: float) -> None: ...
    def sent(self, outcome: str) -> None: ...
    def loop_lag(self, seconds: float) -> None: ...

"""Faults on demand: what a test or a scenario wants to go wrong with some requests, and for how many of them.

``server`` asks at three points: before a request is worked on, before its state is read, and after its answer is
known. A fault counts down with every request it hits and is gone at zero. Faults are looked at in the order in which
they were added; the first one that fits and still has a count is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from wfe_controller.sandbox.apiserver import status
from wfe_controller.sandbox.apiserver.status import StatusError


class Act(StrEnum):
    """What goes wrong."""

    DELAY = "delay"
    """The answer comes ``seconds`` late; the request is worked on after that."""
    DROP = "drop"
    """The connection ends before anything was done."""
    LOSE = "lose"
    """Everything is done, and the connection ends instead of the answer."""
    REFUSE = "refuse"
    """The answer is ``error``; nothing is done."""
    STALE = "stale"
    """A get or list is answered from ``behind`` writes ago (as far back as history goes)."""
    CUT = "cut"
    """A watch ends after ``after`` lines; with ``error`` an ERROR event is the last one."""


@dataclass(slots=True)
class Fault:
    """One fault and the requests it is for; "" matches every verb, resource, subresource, namespace or name.

    ``resource`` is ``plural.group``. ``count`` None = until it is removed. ``skip`` requests are left alone first.
    """

    act: Act
    verb: str = ""
    resource: str = ""
    subresource: str | None = None
    namespace: str = ""
    name: str = ""
    user: str = ""
    count: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    error: StatusError | None = None
    behind: int = 0
    after: int = 0
    when: Callable[[Facts], bool] | None = None
    hits: int = field(default=0, init=False)
    """Requests it was used on."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What faults are chosen by."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str


class Faults:
    """The faults of one server."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Put a fault into force; gives it back, for :meth:`remove` and for its ``hits``."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Lift a fault; nothing happens when it has run out before."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        self._faults.clear()

    def __bool__(self) -> bool:
        return bool(self._faults)

    def take(self, facts: Facts, *acts: Act) -> Fault | None:
        """The fault of one of these acts that hits this request, counted down."""
        for fault in self._faults:
            if fault.act not in acts or not _fits(fault, facts):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.hits += 1
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._faults.remove(fault)
            return fault
        return None


def _fits(fault: Fault, facts: Facts) -> bool:
    for wanted, given in (
        (fault.verb, facts.verb),
        (fault.resource, facts.resource),
        (fault.namespace, facts.namespace),
        (fault.name, facts.name),
        (fault.user, facts.user),
    ):
        if wanted and wanted != given:
            return False
    if fault.subresource is not None and fault.subresource != facts.subresource:
        return False
    return fault.when is None or fault.when(facts)


# -- the usual ones --------------------


def delay(seconds: float, **chosen: object) -> Fault:
    return _make(Act.DELAY, seconds=seconds, **chosen)


def drop(**chosen: object) -> Fault:
    return _make(Act.DROP, **chosen)


def lose_answer(**chosen: object) -> Fault:
    """The request is done and its answer never comes: the client cannot know."""
    return _make(Act.LOSE, **chosen)


def stale_read(behind: int, **chosen: object) -> Fault:
    return _make(Act.STALE, behind=behind, **chosen)


def cut_watch(after: int = 0, error: StatusError | None = None, **chosen: object) -> Fault:
    return _make(Act.CUT, after=after, error=error, verb="watch", **chosen)


def refuse(code: int, *, retry_after: int = 1, **chosen: object) -> Fault:
    """Answer 409, 410, 429 (with Retry-After), 500, 503 or 504 instead of doing anything."""
    errors: dict[int, Callable[[], StatusError]] = {
        409: lambda: StatusError(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410: lambda: status.expired("The resourceVersion for the provided watch is too old."),
        429: lambda: status.too_many_requests(
            "the server has received too many requests and has asked us to try again later", retry_after
        ),
        500: lambda: status.internal("injected"),
        503: lambda: status.service_unavailable("the server is currently unable to handle the request"),
        504: lambda: status.timeout("request did not complete within the allotted timeout"),
    }
    return _make(Act.REFUSE, error=errors[code](), **chosen)


def _make(act: Act, **values: object) -> Fault:
    fault = Fault(act)
    for name, value in values.items():
        if not hasattr(fault, name):
            raise TypeError(f"a fault has no {name!r}")
        setattr(fault, name, value)
    return fault

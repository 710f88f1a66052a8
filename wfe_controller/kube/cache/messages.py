"""What goes into the watch machine and what comes out of it: plain frozen values.

Inputs are facts about the wire, outputs are things to do. Neighbours: ``watcher`` (the machine), ``reflector`` (the
task that turns wire into inputs and outputs into calls).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from wfe_controller.kube.cache.cached import CachedObject
from wfe_controller.kube.cache.pager import ListRequest
from wfe_controller.kube.errors import KubeError
from wfe_controller.kube.objects import ObjectKey

# -- inputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """The task begins."""


@dataclass(frozen=True, slots=True)
class Page:
    """One LIST answer, decoded; items that could not be decoded are already left out."""

    objects: list[CachedObject]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class ListFailed:
    error: KubeError


@dataclass(frozen=True, slots=True)
class Opened:
    """The watch was answered with 200."""


@dataclass(frozen=True, slots=True)
class Line:
    """One JSON line of the watch."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The server ended the watch in an orderly way."""


@dataclass(frozen=True, slots=True)
class WatchFailed:
    """The watch was refused, or broke."""

    error: KubeError


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing came for ``Watcher.patience`` seconds (I-8)."""


@dataclass(frozen=True, slots=True)
class Timer:
    """The requested wait is over."""


@dataclass(frozen=True, slots=True)
class Relist:
    """The takeover fence asks for a quorum list now, whatever is going on (I-30)."""


Input = Start | Page | ListFailed | Opened | Line | Closed | WatchFailed | Silent | Timer | Relist

# -- outputs: what to request next (exactly one ends the current operation) ------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Parameters of one watch; bookmarks are always on. ``timeout_seconds`` is the server's, ``idle_timeout`` ours."""

    resource_version: str
    timeout_seconds: int
    idle_timeout: float
    send_initial_events: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds, then input Timer."""

    seconds: float


Request = ListRequest | WatchRequest | Wait

# -- outputs: what to do with what came ------------------------------------------------------------------------------


class Verb(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Replace:
    """The whole content, atomically (I-13)."""

    objects: dict[ObjectKey, CachedObject] = field(repr=False)
    resource_version: str


@dataclass(frozen=True, slots=True)
class Apply:
    verb: Verb
    object: CachedObject


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this version has been delivered (I-6)."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """One line or object left out, with the reason; counted, others unaffected (I-12)."""

    why: str


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """``reason``: closed, short, gone, silent, error, throttled."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Something to tell the operator. ``surface``: it will not heal by itself (rights, missing type, undecodable)."""

    error: KubeError
    surface: bool


Output = ListRequest | WatchRequest | Wait | Replace | Apply | Bookmark | Skipped | WatchEnded | Failed

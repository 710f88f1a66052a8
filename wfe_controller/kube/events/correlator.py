"""Which sightings become writes, pure: time comes in, decisions go out (I-66, O3).

One :class:`Series` is one Event object on the server: everything of one (object, type, reason). It is written at most
once per 10 minutes; sightings in between are counted and go out with the next write. On top, one object has 25 writes
in hand and gets one more every 300 s, over all its reasons. What is forgotten (LRU of 4096) starts a new Event.
Neighbour: :mod:`.recorder` sends what this lets through and tells how it went.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from wfe_controller.kube.objects import (
    Json,
    name_of,
    namespace_of,
    resource_version_of,
    text,
    uid_of,
)

V = TypeVar("V")

WINDOW_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
REMEMBERED = 4096
FORGOTTEN_SECONDS = 3600.0
"""The server drops an Event an hour after its last write; a series that was silent for longer begins anew."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What an Event is about: ``involvedObject``. ``namespace`` "" for cluster-scoped objects."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str

    @classmethod
    def of(cls, regarding: Mapping[str, Any]) -> Reference:
        """From a whole object, or from a reference with the same fields at the top. Never raises on odd shapes."""
        meta: Json = {"metadata": regarding.get("metadata", regarding)}
        return cls(
            api_version=text(regarding.get("apiVersion")),
            kind=text(regarding.get("kind")),
            namespace=namespace_of(meta),
            name=name_of(meta),
            uid=uid_of(meta),
            resource_version=resource_version_of(meta),
        )

    @property
    def identity(self) -> str:
        """The uid; of an object that has none yet, its name."""
        return self.uid or f"{self.kind}/{self.namespace}/{self.name}"

    def fields(self) -> Json:
        """The JSON of ``involvedObject``, empty fields left out."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(slots=True)
class Series:
    """All sightings of one (object, type, reason). ``name`` of the Event on the server, "" while there is none.

    ``pending`` is True from the decision to write until the recorder tells the outcome.
    """

    regarding: Reference
    type: str
    reason: str
    action: str
    message: str
    first: datetime
    last: datetime
    seen_at: float
    count: int = 0
    name: str = ""
    exists: bool = False
    written_at: float | None = None
    pending: bool = False


@dataclass(slots=True)
class _Tokens:
    left: float
    at: float


class _Recent(Generic[V]):
    """The most recently used entries."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Any, V] = OrderedDict()

    def get(self, key: Any) -> V | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Any, entry: V) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class Correlator:
    """See the module docstring. ``now`` is a monotonic instant in seconds, ``at`` the wall clock to be shown."""

    def __init__(
        self,
        *,
        window: float = WINDOW_SECONDS,
        burst: int = BURST,
        refill: float = REFILL_SECONDS,
        remembered: int = REMEMBERED,
    ) -> None:
        self._window = window
        self._burst = burst
        self._refill = refill
        self._series: _Recent[Series] = _Recent(remembered)
        self._tokens: _Recent[_Tokens] = _Recent(remembered)

    def seen(
        self, regarding: Reference, type_: str, reason: str, message: str, action: str, *, at: datetime, now: float
    ) -> Series | None:
        """Count one sighting; the series if it is to be written now, None when it is only counted."""
        key = (regarding.identity, type_, reason)
        series = self._series.get(key)
        if series is None or (now - series.seen_at > FORGOTTEN_SECONDS and not series.pending):
            series = Series(regarding, type_, reason, action, message, first=at, last=at, seen_at=now)
            self._series.put(key, series)
        series.count += 1
        series.message, series.action, series.last, series.seen_at = message, action, at, now
        if series.pending:
            return None
        if series.written_at is not None and now - series.written_at < self._window:
            return None
        if not self._take_token(regarding.identity, now):
            return None
        series.written_at = now
        series.pending = True
        return series

    def sent(self, series: Series) -> None:
        """The server has it."""
        series.exists = True
        series.pending = False

    def refused(self, series: Series) -> None:
        """The server will not have it: asked again no earlier than any other write."""
        series.exists = False
        series.name = ""
        series.pending = False

    def dropped(self, series: Series) -> None:
        """It was never sent: the next sighting may try at once, with the count of all."""
        series.written_at = None
        series.pending = False

    def _take_token(self, identity: str, now: float) -> bool:
        tokens = self._tokens.get(identity)
        if tokens is None:
            tokens = _Tokens(float(self._burst), now)
            self._tokens.put(identity, tokens)
        tokens.left = min(float(self._burst), tokens.left + (now - tokens.at) / self._refill)
        tokens.at = now
        if tokens.left < 1.0:
            return False
        tokens.left -= 1.0
        return True

"""What all verbs of one server share, and what one request is to them.

``server`` makes one Core; ``verbs``, ``lists``, ``collect`` and ``reviews`` are functions of it. Time, uids and random
names come from outside: the same requests give the same answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from wfe_controller.sandbox.apiserver.kinds import Kind, Kinds
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.negotiation import Form
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo
from wfe_controller.sandbox.apiserver.status import StatusError, not_found, service_unavailable
from wfe_controller.sandbox.apiserver.store import Store, Stored

Json = dict[str, Any]

NAME_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"


class Clock(Protocol):
    """Where time comes from; kube.clock's clocks are some."""

    def monotonic(self) -> float:
        """Seconds on the event loop's clock."""

    def now(self) -> datetime:
        """The wall clock, aware."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the task."""


class Core:
    """State and sources of one server."""

    def __init__(
        self, *, store: Store, registry: Registry, clock: Clock, rng: random.Random, uid: Callable[[], str] | None
    ) -> None:
        self.store = store
        self.registry = registry
        self.kinds = Kinds(store)
        self.clock = clock
        self.rng = rng
        self.uid = uid or self._random_uid
        self.bookmark_seconds = 60.0
        self.stale: Callable[[Call], int | None] = lambda call: None
        """The older revision a read is answered from, when a fault says so."""
        self._stored_in: dict[str, ResourceInfo] = {}
        self._stored_in_revision = -1
        self.terminating: set[str] = set()
        """Storage names of CRDs that are being deleted: nothing new is stored there."""

    def _random_uid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def now(self) -> datetime:
        return self.clock.now()

    def timestamp(self) -> str:
        return self.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def suffix(self) -> str:
        """What generateName appends."""
        return "".join(self.rng.choice(NAME_CHARACTERS) for _ in range(5))

    def kind(self, group: str, version: str, plural: str) -> Kind:
        """A kind the server itself needs. Raises 503 when it is not served."""
        info = self.registry.find(group, version, plural)
        if info is None:
            raise service_unavailable(f"this server does not serve {plural}.{group}")
        return self.kinds.of(info)

    def kind_for(self, storage: str) -> Kind | None:
        """The kind whose version is stored in a table; None when it is not served any more."""
        if self._stored_in_revision != self.registry.revision:
            self._stored_in = {}
            for info in self.registry.all():
                stores = info.version == info.storage_version and info.storage == info.group_resource
                if stores or info.storage not in self._stored_in:
                    self._stored_in[info.storage] = info
            self._stored_in_revision = self.registry.revision
        found = self._stored_in.get(storage)
        return None if found is None else self.kinds.of(found)

    def kind_of(self, info: ResourceInfo) -> Kind:
        return self.kinds.of(info)


@dataclass(slots=True)
class Call:
    """One request about a resource. ``name`` is "" for collections, ``namespace`` "" for all or none."""

    request: Request
    user: User
    kind: Kind
    namespace: str
    name: str
    subresource: str
    verb: str
    form: Form
    warnings: list[str] = field(default_factory=list)

    @property
    def info(self) -> ResourceInfo:
        return self.kind.info

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def missing(self) -> StatusError:
        return not_found(self.info.group, self.info.plural, self.name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb has to say: an object as stored, or one that is made for the answer."""

    code: int
    stored: Stored | None = None
    obj: Json | None = None
    data: bytes | None = None
    """A finished body in plain JSON, with its line end."""
    text: str | None = None
    """A body that is no object (a log)."""

"""The Lease: its record as a value, and reading and writing it with compare-and-swap.

The fields are those of coordination.k8s.io/v1 as client-go writes them, so that ``kubectl get lease`` and other
implementations read ours and we read theirs. Odd values of other writers never raise.
Neighbour: :mod:`.elector` decides; nothing here compares a time of the record with a local clock (I-47).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import parse_rfc3339, rfc3339_micro
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import LEASES, Json, ObjectKey, Resource, spec, text


class LeaseApi(Protocol):
    """The verbs that are needed; not gated: the gate depends on them."""

    async def get(self, resource: Resource, key: ObjectKey, *, lane: Lane) -> Json: ...
    async def create(self, resource: Resource, obj: Json, *, lane: Lane) -> Json: ...
    async def replace(self, resource: Resource, obj: Json, *, lane: Lane) -> Json: ...


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """``spec`` of a Lease. ``holder`` "" = free. ``duration`` in seconds, 0 when missing or odd.

    The two times are the holder's wall clock: for people and for telling records apart, never for arithmetic.
    """

    holder: str = ""
    duration: int = 0
    acquired: datetime | None = None
    renewed: datetime | None = None
    transitions: int = 0

    @classmethod
    def from_object(cls, lease: Json) -> LeaseRecord:
        fields = spec(lease)
        return cls(
            holder=text(fields.get("holderIdentity")),
            duration=_count(fields.get("leaseDurationSeconds")),
            acquired=parse_rfc3339(fields.get("acquireTime")),
            renewed=parse_rfc3339(fields.get("renewTime")),
            transitions=_count(fields.get("leaseTransitions")),
        )

    def fields(self) -> Json:
        """The JSON of ``spec``: MicroTime instants, integers."""
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration,
            "acquireTime": rfc3339_micro(self.acquired) if self.acquired else None,
            "renewTime": rfc3339_micro(self.renewed) if self.renewed else None,
            "leaseTransitions": self.transitions,
        }


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


class LeaseLock:
    """One Lease on the server and what was last seen of it. Fields of others (labels, strategy) are kept on a write."""

    def __init__(self, api: LeaseApi, key: ObjectKey) -> None:
        self.key = key
        self._api = api
        self._seen: Json | None = None

    async def read(self) -> LeaseRecord | None:
        """The record now, None when there is no Lease. Raises KubeError."""
        try:
            self._seen = await self._api.get(LEASES, self.key, lane=Lane.LEASE)
        except NotFound:
            self._seen = None
            return None
        return LeaseRecord.from_object(self._seen)

    async def write(self, record: LeaseRecord) -> None:
        """Create, or replace exactly what was last read or written. Raises Conflict when it moved, other KubeError.

        After an error that leaves the outcome unknown nothing is assumed: the next write is against the old version and
        conflicts if this one was committed after all (I-44).
        """
        if self._seen is None:
            lease: Json = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"namespace": self.key.namespace, "name": self.key.name},
                "spec": record.fields(),
            }
            self._seen = await self._api.create(LEASES, lease, lane=Lane.LEASE)
            return
        lease = copy.deepcopy(self._seen)
        lease["spec"] = {**spec(lease), **record.fields()}
        self._seen = await self._api.replace(LEASES, lease, lane=Lane.LEASE)

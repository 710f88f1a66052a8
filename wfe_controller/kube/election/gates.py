"""Running without election: the gate that is always open, and whether somebody else leads all the same.

Used by ``--no-leader-elect`` (SPEC 8, E8): it refuses while the lease is alive, then writes without one.
Neighbour: :mod:`.elector` is the gate of everybody else.
"""

from __future__ import annotations

import math

from wfe_controller.kube.clock import Clock
from wfe_controller.kube.election.lease import LeaseApi, LeaseLock
from wfe_controller.kube.objects import ObjectKey

ASSUMED_DURATION_SECONDS = 15.0
"""For a record that does not say how long it lasts."""


class AlwaysLeading:
    """The gate of a process without election (``--no-leader-elect``)."""

    is_leader = True

    def check(self) -> float:
        """Always open."""
        return math.inf


async def lease_is_alive(
    api: LeaseApi, key: ObjectKey, observe_seconds: float | None = None, *, clock: Clock, poll_seconds: float = 1.0
) -> str | None:
    """The holder of a lease that somebody keeps renewing, or None when it is missing, free or does not change.

    Watches for ``observe_seconds``, default the duration in the record: less cannot tell a dead holder from a slow
    one. Raises KubeError: an unreadable lease is not a dead one.
    """
    lock = LeaseLock(api, key)
    first = await lock.read()
    if first is None or not first.holder:
        return None
    until = clock.boottime() + (
        observe_seconds if observe_seconds is not None else float(first.duration or ASSUMED_DURATION_SECONDS)
    )
    while clock.boottime() < until:
        await clock.sleep(poll_seconds)
        record = await lock.read()
        if record is None or not record.holder:
            return None
        if record != first:
            return record.holder
    return None

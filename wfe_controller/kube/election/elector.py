"""Leader election on a Lease: acquire, renew, lose, release, and the write gate.

Guarantees
  * Expiry is judged by local observation only: a foreign record counts as alive until it has not changed for the
    duration written in it, on our clock that counts suspended time (I-47, E2). Remote times are never compared.
  * A success counts from the moment its request was sent. The gate closes ``renew_deadline`` after that, by itself,
    whether or not any task of ours gets to run (I-51, E1): ``check`` compares clocks, it does not read a flag that
    somebody else must clear. A gate that closed does not open again in the same term.
  * No request outlives max(1 s, renew_deadline / 2), nor the time left (I-50).
  * A record that carries our identity is ours only if this process sent exactly it (E3): two processes with one
    identity exclude each other like strangers.
  * A Lease that is missing is created by a contender that never saw it after two retry periods, by one that did after
    the duration it saw: deleting a Lease frees nothing.
  * On loss the gate is closed before anybody is told (I-51); ``on_lost`` is called exactly once per run (I-54).
Caveat
  * Election is not fencing: a write that was sent while the gate was open can land later. Writes are compare-and-swap.
  * A Lease that is deleted while its holder is cut off is free for a contender that starts in that moment. Nobody needs
    the right to delete it.
Neighbours: :mod:`.lease` codec; ``control.manager`` runs, drains, releases; ``client.api`` asks the gate.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from wfe_controller.kube.clock import Clock, jitter
from wfe_controller.kube.election.gates import AlwaysLeading, lease_is_alive
from wfe_controller.kube.election.lease import LeaseApi, LeaseLock, LeaseRecord
from wfe_controller.kube.errors import Conflict, KubeError, NotLeading
from wfe_controller.kube.instruments import ElectionInstruments, NoInstruments
from wfe_controller.kube.objects import ObjectKey
from wfe_controller.kube.probes import CheckResult

__all__ = ["AlwaysLeading", "Elector", "lease_is_alive", "new_identity"]

log = structlog.get_logger("wfe.election")

T = TypeVar("T")

ACQUIRE_JITTER = 1.2
"""Polls are stretched by [1, 2.2), so that standbys do not move in step (I-49)."""
HEALTH_TOLERANCE_SECONDS = 5.0
CONTACT_LIMIT_SECONDS = 300.0
"""E5: a replica that could not read the lease for so long is of no use; let it be restarted."""
REMIND_SECONDS = 60.0
"""E8: how often a standby says whom it waits for, and an unbroken failure is repeated."""
RELEASE_TRIES = 4
HANDOVER_SECONDS = 1.0
STOPPED = "told to stop"


def new_identity(host: str, rng: random.Random) -> str:
    """``host_<random>``: unique for each process, also when two pods were given one name (E3).

    ``rng`` should be ``random.SystemRandom()``.
    """
    return f"{host or 'unknown'}_{rng.getrandbits(64):016x}"


class Elector:
    """One contender. ``api`` is ungated and best has a connection of its own; times are in seconds.

    A standby polls every retry_period/2 x [1, 2.2) and at the moment of expiry: with 2 s that is 1 to 2.2 s, which
    keeps the failover after a clean exit within 3 s and after a crash within lease_duration + 2.2 s.
    """

    def __init__(
        self,
        api: LeaseApi,
        key: ObjectKey,
        identity: str,
        *,
        clock: Clock,
        rng: random.Random,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        instruments: ElectionInstruments | None = None,
    ) -> None:
        if not identity.strip():
            raise ValueError("leader election needs a non-empty identity")
        if lease_duration != int(lease_duration):
            raise ValueError(f"lease duration must be whole seconds, got {lease_duration:g}")
        if not lease_duration > renew_deadline > 1.2 * retry_period > 0:
            raise ValueError(
                "leader election needs lease duration > renew deadline > 1.2 x retry period > 0, "
                f"got {lease_duration:g}, {renew_deadline:g}, {retry_period:g}"
            )
        self.key = key
        self.identity = identity
        self._lock = LeaseLock(api, key)
        self._clock = clock
        self._rng = rng
        self._lease_duration = int(lease_duration)
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._instruments: ElectionInstruments = instruments or NoInstruments()
        self._request_limit = max(1.0, renew_deadline / 2)
        self._observed: LeaseRecord | None = None
        self._observed_at = 0.0
        self._missing_since: float | None = None
        self._sent: dict[datetime, float] = {}
        """renewTime of each record this process sent and that may be on the server -> boottime of sending."""
        self._leading = False
        self._renewed_at = -math.inf
        self._contact_at = clock.boottime()
        self._running = False
        self._reminded_at = -math.inf
        self._trouble: str | None = None

    # ---- the gate and what can be seen

    def check(self) -> float:
        """The write gate: seconds for which writing is allowed; raises NotLeading. Synchronous and cheap."""
        if self._leading:
            left = self._time_left()
            if left > 0:
                return left
            self._close_gate("not renewed in time")
        if self.holder == self.identity:
            # The record last seen names us, but it is too old to write under, or this process did not write it.
            raise NotLeading(f"lease {self.key} names {self.identity}, which is us, but was not renewed in time")
        raise NotLeading(f"lease {self.key} is held by {self.holder or 'nobody'}, this is {self.identity}")

    @property
    def is_leader(self) -> bool:
        return self._leading and self._time_left() > 0

    @property
    def holder(self) -> str:
        """Identity in the record last seen, "" when free or unknown."""
        return self._observed.holder if self._observed else ""

    def age(self) -> float:
        """Seconds since the lease was last read or written successfully (E5)."""
        return self._clock.boottime() - self._contact_at

    def check_health(self) -> CheckResult:
        """Liveness (I-53, E5). A standby that can read the lease is healthy."""
        age = self.age()
        if self._leading:
            since = self._clock.boottime() - self._renewed_at
            if since > self._lease_duration + HEALTH_TOLERANCE_SECONDS:
                return CheckResult(False, f"leading, but not renewed for {since:.0f} s", since)
        if age > CONTACT_LIMIT_SECONDS:
            return CheckResult(False, f"no contact with the lease for {age:.0f} s: {self._trouble or 'no answer'}", age)
        return CheckResult(True, "leading" if self.is_leader else f"held by {self.holder or 'nobody'}", age)

    # ---- life

    async def run(self, on_started: Callable[[], Awaitable[None]], on_lost: Callable[[], None]) -> None:
        """Contend, lead once, return when leadership is lost; cancel it to stop, then :meth:`release`.

        ``on_started`` runs in a task of its own while renewing goes on; an exception of it ends the run and is raised,
        its end alone does not. It is cancelled when leadership ends. ``on_lost`` is synchronous and is called exactly
        once when the run ends for whatever reason, also when it never led; the gate is closed by then.
        """
        if self._running:
            raise RuntimeError("the elector runs already")
        self._running = True
        self._sent.clear()
        self._observed = None
        self._missing_since = None
        tasks: list[asyncio.Task[None]] = []
        try:
            self._instruments.leading(False)
            await self._acquire()
            self._leading = True
            self._instruments.leading(True)
            self._instruments.transition()
            log.info("became leader", lease=str(self.key), identity=self.identity)
            renewing = asyncio.create_task(self._renew_until_lost(), name="lease-renewal")
            started = asyncio.create_task(_call(on_started), name="lease-started")
            tasks = [renewing, started]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if started in done:
                await started
            await renewing
        finally:
            self._close_gate(STOPPED)
            self._running = False
            on_lost()
            for task in tasks:
                task.cancel()
            if tasks:
                done, _ = await asyncio.wait(tasks, timeout=HANDOVER_SECONDS)
                for task in done:
                    if not task.cancelled() and (error := task.exception()) is not None:
                        log.error("task of the election failed", task=task.get_name(), error=str(error))

    async def release(self) -> None:
        """Give the lease back if it is still ours, so that a standby need not wait for its expiry (I-52).

        Only after everything that writes has stopped. Makes no request at all when this process never tried to
        acquire (E4). Raises KubeError or TimeoutError when the server cannot be asked.
        """
        if self._running:
            raise RuntimeError("release() while the elector runs: it would be acquired again")
        for _ in range(RELEASE_TRIES):
            if not self._sent:
                return
            record = await self._bounded(self._lock.read())
            if record is None or not self._is_mine(record):
                self._sent.clear()
                return
            now = self._clock.now()
            try:
                await self._bounded(self._lock.write(replace(record, holder="", duration=1, acquired=now, renewed=now)))
            except Conflict:
                # A renewal that was in flight when the run was cancelled landed in between; it is ours to give back.
                continue
            self._sent.clear()
            self._observe(None)
            log.info("released the lease", lease=str(self.key))

    # ---- inside

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try_acquire():
                    return
                self._trouble = None
            except Conflict as error:
                self._missing_since = None
                log.debug("lost the race for the lease", why=error.reason)
            except (KubeError, TimeoutError) as error:
                self._complain("cannot read or take the lease", error)
            self._remind()
            await self._clock.sleep(self._poll_seconds())

    async def _try_acquire(self) -> bool:
        record = await self._bounded(self._lock.read())
        self._contact()
        if record is not None:
            self._observe(record)
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = self._clock.boottime()
        # A Lease that somebody deleted frees nothing: its holder may be writing for another renew_deadline.
        if self._expires_in() > 0:
            return False
        await self._write(record)
        return True

    async def _renew_until_lost(self) -> None:
        while True:
            left = self._time_left()
            if not self._leading or left <= 0:
                why = "not renewed in time"
                break
            await self._clock.sleep(min(self._retry_period, left))
            if not self._leading or self._time_left() <= 0:
                continue
            if (taken := await self._renew()) is not None:
                why = taken
                break
        self._close_gate(why)

    async def _renew(self) -> str | None:
        """One round: PUT what we hold; if that fails, look and PUT again. Text: why the lease is not ours any more."""
        try:
            await self._write(self._observed)
            return None
        except (KubeError, TimeoutError) as error:
            self._complain("renewal failed", error)
        try:
            record = await self._bounded(self._lock.read())
            self._contact()
            if record is not None and not self._is_mine(record):
                self._observe(record)
                return f"taken by {record.holder or 'nobody'}"
            if record is not None:
                self._confirm(record)
            await self._write(record)
        except (KubeError, TimeoutError) as error:
            self._complain("renewal failed", error)
        return None

    async def _write(self, old: LeaseRecord | None) -> None:
        """Take or keep the lease; on success the gate is measured from the sending of this request."""
        now, sent_at = self._clock.now(), self._clock.boottime()
        mine = old is not None and self._is_mine(old)
        record = LeaseRecord(
            holder=self.identity,
            duration=self._lease_duration,
            acquired=old.acquired if old is not None and mine else now,
            renewed=now,
            transitions=0 if old is None else old.transitions + (0 if mine else 1),
        )
        self._sent[now] = sent_at
        await self._bounded(self._lock.write(record))
        self._instruments.renewed(self._clock.boottime() - sent_at)
        self._contact()
        # Older ones can no longer land: their resourceVersion is gone.
        self._sent = {now: sent_at}
        self._renewed_at = max(self._renewed_at, sent_at)
        self._observe(record)
        self._trouble = None

    def _is_mine(self, record: LeaseRecord) -> bool:
        return record.holder == self.identity and record.renewed is not None and record.renewed in self._sent

    def _confirm(self, record: LeaseRecord) -> None:
        """The server shows a record whose answer we never got: that renewal did succeed, when it was sent."""
        assert record.renewed is not None
        self._renewed_at = max(self._renewed_at, self._sent[record.renewed])
        self._observe(record)

    def _observe(self, record: LeaseRecord | None) -> None:
        if record == self._observed:
            return
        if record is not None and record.holder != self.holder and record.holder != self.identity:
            log.info("lease holder seen", lease=str(self.key), holder=record.holder or "nobody")
        self._observed = record
        # After the answer, not before the request: too late is safe here, too early is not.
        self._observed_at = self._clock.boottime()

    def _expires_in(self) -> float:
        """Seconds until the observed record may be taken over; <= 0: now."""
        record = self._observed
        if record is None:
            # Never seen one. If it was deleted under a living holder, that one makes it again at its next renewal.
            since = self._missing_since
            return 0.0 if since is None else since + 2 * self._retry_period - self._clock.boottime()
        if not record.holder or self._is_mine(record):
            return 0.0
        return self._observed_at + (record.duration or self._lease_duration) - self._clock.boottime()

    def _poll_seconds(self) -> float:
        poll = jitter(self._retry_period / 2, ACQUIRE_JITTER, self._rng)
        expires_in = self._expires_in()
        return min(poll, jitter(expires_in, 0.02, self._rng) + 0.01) if expires_in > 0 else poll

    def _time_left(self) -> float:
        return self._renewed_at + self._renew_deadline - self._clock.boottime()

    async def _bounded(self, request: Awaitable[T]) -> T:
        limit = min(self._request_limit, self._time_left()) if self._leading else self._request_limit
        async with asyncio.timeout(max(0.0, limit)):
            return await request

    def _contact(self) -> None:
        self._contact_at = self._clock.boottime()

    def _close_gate(self, why: str) -> None:
        if not self._leading:
            return
        self._leading = False
        self._renewed_at = -math.inf
        self._instruments.leading(False)
        emit = log.info if why == STOPPED else log.warning
        emit("no longer leader", lease=str(self.key), why=why)

    def _complain(self, event: str, error: Exception) -> None:
        text = str(error) or type(error).__name__
        now = self._clock.boottime()
        if text != self._trouble or now - self._reminded_at >= REMIND_SECONDS:
            self._reminded_at = now
            log.warning(event, lease=str(self.key), error=text, since_contact=round(self.age(), 1))
        self._trouble = text

    def _remind(self) -> None:
        now = self._clock.boottime()
        if self._trouble is None and now - self._reminded_at >= REMIND_SECONDS:
            self._reminded_at = now
            log.info("waiting for the lease", lease=str(self.key), holder=self.holder or "nobody")


async def _call(call: Callable[[], Awaitable[None]]) -> None:
    await call()

"""One resource, kept in memory: list and watch into a store with indexes, and told to handlers.

Role: the one object other rooms hold. Neighbours: ``reflector`` feeds it, ``store`` is its content, ``changes`` is
what handlers get. Invariants:
I-14 a replace delivers tombstones for everything that vanished, before adds and updates; I-15 the store changes before
handlers are told; I-16 another uid under the same key is a deletion and an addition; I-22 synced on two levels;
I-23 resync is a local replay; I-25 store, indexes and handlers change in one synchronous stretch, so handlers must be
O(1) and only enqueue. A handler that raises is a bug: it ends ``run`` with that exception (I-42).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import structlog

from wfe_controller.kube.cache.cached import CachedObject, Cold, ObjectDecoder
from wfe_controller.kube.cache.changes import Added, Change, Deleted, Updated
from wfe_controller.kube.cache.indexes import IndexFunc
from wfe_controller.kube.cache.messages import Apply, Bookmark, Replace, Verb
from wfe_controller.kube.cache.reflector import CHUNK, Reflector
from wfe_controller.kube.cache.source import ListWatch
from wfe_controller.kube.cache.store import Store, WritableStore
from wfe_controller.kube.cache.transforms import Transform, keep
from wfe_controller.kube.cache.watcher import Watcher, WatchSettings
from wfe_controller.kube.clock import Clock, jitter
from wfe_controller.kube.instruments import CacheInstruments, NoInstruments
from wfe_controller.kube.objects import Resource

log = structlog.get_logger("wfe.cache")

Handler = Callable[[Change], None]


class Registration:
    """One handler of one informer."""

    def __init__(self, handler: Handler, remove: Callable[[Registration], None]) -> None:
        self._handler = handler
        self._remove = remove
        self._synced = False

    def has_synced(self) -> bool:
        """True once everything of the first list has been delivered to this handler (I-22)."""
        return self._synced

    def remove(self) -> None:
        """The handler gets nothing from now on. Idempotent."""
        self._remove(self)

    def deliver(self, change: Change) -> None:
        self._handler(change)

    def mark_synced(self) -> None:
        self._synced = True


class Informer:
    """See the module docstring. ``run`` must be running for anything to arrive.

    ``optional``: the type may be missing or forbidden without holding up the start (``settled``); it is retried every
    30 s at most. ``cold`` says which objects are stored compressed (finished ones), ``at_hand`` which of their fields
    are not. ``resync_period`` in seconds, 0 = never; actual periods are up to 10 % longer.
    """

    def __init__(
        self,
        api: ListWatch,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunc] | None = None,
        clock: Clock,
        rng: random.Random | None = None,
        instruments: CacheInstruments | None = None,
        resync_period: float = 36000.0,
        optional: bool = False,
        transform: Transform = keep,
        cold: Cold | None = None,
        at_hand: Sequence[tuple[str, ...]] = (),
        settings: WatchSettings | None = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.optional = optional
        self._clock = clock
        self._rng = rng or random.Random()
        self._instruments = instruments or NoInstruments()
        self._resync_period = resync_period
        self._store = WritableStore(indexes)
        self._registrations: list[Registration] = []
        self._synced = False
        self._settled = asyncio.Event()
        self._watcher = Watcher(
            decode := ObjectDecoder(resource, transform=transform, known=self._store.get, cold=cold, at_hand=at_hand),
            settings=settings,
            rng=self._rng,
        )
        self._reflector = Reflector(
            api,
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            watcher=self._watcher,
            decode=decode,
            sink=self,
            clock=clock,
            instruments=self._instruments,
            on_failure=self._list_refused,
        )

    # -- for everybody -----------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return self._store

    def add_handler(self, handler: Handler) -> Registration:
        """``handler`` is synchronous, O(1) and must not raise. What is already cached is replayed to it now."""
        registration = Registration(handler, self._forget_handler)
        self._registrations.append(registration)
        if self._synced:
            for obj in self._store.list():
                handler(Added(obj, initial=True))
            registration.mark_synced()
        return registration

    def has_synced(self) -> bool:
        """True once the first list is in the store and delivered to the handlers; an empty list counts."""
        return self._synced

    def settled(self) -> bool:
        """Synced; or optional, and the server said that the type is missing or forbidden."""
        return self._synced or self._unavailable()

    async def wait_synced(self, timeout: float) -> None:
        """Returns when ``settled``; TimeoutError naming resource and last error after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except TimeoutError:
            raise TimeoutError(
                f"cache of {self.resource.group_resource} not synced within {timeout:g} s: "
                f"{self.last_error or 'no answer yet'}"
            ) from None

    async def relist(self) -> None:
        """The takeover fence (I-30): returns when a quorum list begun after this call is in the store.

        For an optional resource also when the server answers that it is missing or forbidden. Otherwise it waits as
        long as the server cannot be asked; RuntimeError when ``run`` ends before.
        """
        await self._reflector.relist()

    def last_contact(self) -> float:
        """Seconds since the server last answered a list or sent anything on a watch; inf when it never did."""
        contact = self._reflector.contact
        return float("inf") if contact is None else self._clock.monotonic() - contact

    @property
    def last_error(self) -> str | None:
        """What keeps list or watch from working right now; None when it works."""
        return self._watcher.last_error

    @property
    def served(self) -> bool | None:
        """Whether the server has this resource; None before anything is known."""
        return self._watcher.served

    async def run(self) -> None:
        """List, watch and resync until cancelled; raises only for a bug (a handler's exception, as it is)."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reflector.run(), name=f"reflector {self.resource.plural}")
                if self._resync_period > 0:
                    tasks.create_task(self._resync(), name=f"resync {self.resource.plural}")
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise

    # -- the sink of the reflector -----------------------------------------------------------------------------------

    async def replace(self, event: Replace) -> None:
        """Prepare in chunks with yields, then swap and deliver in one synchronous stretch."""
        staged = self._store.stage()
        incoming = list(event.objects.values())
        for start in range(0, len(incoming), CHUNK):
            staged.add(incoming[start : start + CHUNK])
            await asyncio.sleep(0)
        former = self._store.commit(staged, event.resource_version)
        current = staged.objects
        for key, old in former.items():
            new = current.get(key)
            if new is None or new.uid != old.uid:
                self._tell(Deleted(key, last=old, final_state_known=False))
        initial = not self._synced
        for key, new in current.items():
            before = former.get(key)
            if before is None or before.uid != new.uid:
                self._tell(Added(new, initial=initial))
            elif not new.same_as(before):
                self._tell(Updated(before, new, resync=False))
        self._synced = True
        for registration in self._registrations:
            registration.mark_synced()
        self._check_settled()
        self._instruments.objects(self.resource.plural, len(self._store))

    def apply(self, event: Apply) -> None:
        obj = event.object
        if event.verb is Verb.DELETED:
            old = self._store.remove(obj.key, obj.resource_version)
            if old is not None:
                known = old.uid == obj.uid
                self._tell(Deleted(obj.key, last=obj if known else old, final_state_known=known))
        else:
            old = self._store.put(obj)
            if old is None:
                self._tell(Added(obj, initial=False))
            elif old.uid != obj.uid:
                self._tell(Deleted(obj.key, last=old, final_state_known=False))
                self._tell(Added(obj, initial=False))
            else:
                self._tell(Updated(old, obj, resync=False))
        self._instruments.objects(self.resource.plural, len(self._store))

    def bookmark(self, event: Bookmark) -> None:
        self._store.advance(event.resource_version)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _tell(self, change: Change) -> None:
        for registration in tuple(self._registrations):
            registration.deliver(change)

    def _forget_handler(self, registration: Registration) -> None:
        if registration in self._registrations:
            self._registrations.remove(registration)

    def _unavailable(self) -> bool:
        return self.optional and (self.served is False or self._watcher.forbidden)

    def _list_refused(self) -> None:
        self._check_settled()
        if self._unavailable():
            self._reflector.release_fences()

    def _check_settled(self) -> None:
        if self.settled():
            self._settled.set()

    async def _resync(self) -> None:
        """Replay what is cached; between two chunks objects may change or go, so each is looked up again."""
        while True:
            await self._clock.sleep(jitter(self._resync_period, 0.1, self._rng))
            keys = list(self._store.keys())
            for start in range(0, len(keys), CHUNK):
                for key in keys[start : start + CHUNK]:
                    obj: CachedObject | None = self._store.get(key)
                    if obj is not None:
                        self._tell(Updated(obj, obj, resync=True))
                await asyncio.sleep(0)

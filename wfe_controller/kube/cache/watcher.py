"""List and watch as a synchronous state machine: ``step(input, now) -> outputs``. No I/O, no clock, no tasks.

Role: decide which request comes next and what a line means. Neighbours: ``messages`` (inputs and outputs), ``wire``
(the JSON), ``pager`` (paging of one list), ``reflector`` (executes the outputs), ``informer`` (applies them).

Guarantees, one test table row each:
I-1  watches start from the version of the list; later from the version of the last event or bookmark.
I-2  first list unset (quorum: a stale first list would let a decision on locks travel back in time); relists ask for
     "not older than the last seen"; unset again after that version was refused (410, too large), until a list succeeds.
I-3  paging, see ``pager``.
I-4  WatchList when enabled: initial events are collected, delivered as one Replace at the closing bookmark, and the
     same stream goes on. Any refusal or silence falls back to list + watch, remembered for ``watch_list_pause``.
I-5  synthetic initial events never move the resume version.
I-6  a bookmark moves the resume version and nothing else.
I-7  every watch has a random timeoutSeconds; I-8 and a client idle limit.
I-9  an orderly close is followed by a watch at once, without list; a close within a second without any line backs off.
I-10 410 lists again (at most every ``gone_interval``; the refused version is not used again); 429 and broken
     connections back off and watch again; 5xx watches again for ``server_error_window``, then lists; everything else
     is surfaced, backs off and lists.
I-11 backoff 0.8 s to 30 s, doubled, jittered. I-12 unknown events and wrong kinds are skipped.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from wfe_controller.kube.backoff import Backoff
from wfe_controller.kube.cache.cached import CachedObject, MalformedObject
from wfe_controller.kube.cache.messages import (
    Apply,
    Bookmark,
    Closed,
    Failed,
    Input,
    Line,
    ListFailed,
    Opened,
    Output,
    Page,
    Relist,
    Replace,
    Silent,
    Skipped,
    Start,
    Timer,
    Verb,
    Wait,
    WatchEnded,
    WatchFailed,
    WatchRequest,
)
from wfe_controller.kube.cache.pager import Listing, ListRequest
from wfe_controller.kube.cache.transforms import DECODE_ERRORS
from wfe_controller.kube.cache.wire import (
    BOOKMARK,
    ENVELOPE,
    INITIAL_EVENTS_END,
    VERBS,
    UndecodableLine,
    status_error,
    version_refused,
)
from wfe_controller.kube.clock import jitter
from wfe_controller.kube.errors import (
    ApiError,
    ConnectionFailed,
    Forbidden,
    Gone,
    KubeError,
    NotFound,
    RequestTimeout,
    Throttled,
    Unavailable,
    transient,
)
from wfe_controller.kube.objects import ObjectKey, compare_resource_versions


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Durations in seconds.

    ``timeout_seconds``: range of the server's limit of one watch; random, so that reconnects spread.
    ``idle_timeout``: no byte for so long = the connection is dead; None = timeoutSeconds + 15 (bookmarks come about
    once a minute, but the server promises none). ``initial_quiet``: the same while initial events are outstanding;
    short, because a server that ignores sendInitialEvents would never send the closing bookmark.
    """

    watch_list: bool = True
    page_size: int = 500
    timeout_seconds: tuple[int, int] = (240, 300)
    idle_timeout: float | None = None
    initial_quiet: float = 15.0
    watch_list_pause: float = 1800.0
    gone_interval: float = 30.0
    server_error_window: float = 60.0
    short_watch: float = 1.0
    surfaced_cap: float = 30.0


class Phase(Enum):
    IDLE = auto()
    LISTING = auto()
    INITIAL = auto()  # a WatchList stream before its closing bookmark
    WATCHING = auto()
    WAITING = auto()


class Watcher:
    """The machine. Feed it one input at a time; every batch of outputs holds at most one request, as its last element.
    A batch without request means: go on with the current operation.
    """

    def __init__(
        self,
        decode: Callable[[bytes | msgspec.Raw], CachedObject],
        *,
        settings: WatchSettings | None = None,
        rng: random.Random,
    ) -> None:
        self._decode = decode
        self._settings = settings or WatchSettings()
        self._rng = rng
        self._backoff = Backoff(rng=rng)
        self._phase = Phase.IDLE
        self._resource_version = ""  # resume point; "" = none that may be used
        self._listing = Listing.start(None, self._settings.page_size)
        self._initial: dict[ObjectKey, CachedObject] = {}
        self._list_next = True  # after the wait: list, or watch
        self._forced = False  # the fence wants a quorum list; stays set until one succeeded
        self._watch: WatchRequest | None = None
        self._opened_at = 0.0
        self._lines = 0
        self._watch_list_after = 0.0
        self._last_gone = float("-inf")
        self._server_errors_since: float | None = None
        self._undecodable = 0
        self.last_error: str | None = None
        self.served: bool | None = None  # does the server have this resource? None = not yet known
        self.forbidden = False

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def resource_version(self) -> str:
        """The resume point, "" when there is none."""
        return self._resource_version

    @property
    def patience(self) -> float:
        """Seconds without a line after which the current watch must be given up with Silent."""
        if self._watch is None:
            return self._settings.initial_quiet
        if self._phase is Phase.INITIAL:
            return min(self._settings.initial_quiet, self._watch.idle_timeout)
        return self._watch.idle_timeout

    def step(self, given: Input, now: float) -> list[Output]:
        """``now`` in monotonic seconds."""
        match given:
            case Line(data):
                return self._line(data, now)
            case Start():
                return [self._begin_list(now)]
            case Page():
                return self._page(given, now)
            case ListFailed(error):
                return self._list_failed(error, now)
            case Opened():
                self._opened_at = now
                self.last_error = None  # the counters of _healthy wait for a line: a watch may open only to fail
                return []
            case Closed():
                return self._closed(now)
            case WatchFailed(error):
                return self._watch_failed(error, now)
            case Silent():
                return self._silent(now)
            case Timer():
                return [self._begin_list(now) if self._list_next else self._begin_watch(now)]
            case Relist():
                self._forced = True
                return [self._begin_list(now)]

    # -- requests ----------------------------------------------------------------------------------------------------

    def _begin_list(self, now: float) -> ListRequest | WatchRequest:
        self._initial = {}
        if self._settings.watch_list and not self._forced and now >= self._watch_list_after:
            self._phase = Phase.INITIAL
            return self._open(self._resource_version, now, send_initial_events=True)
        self._phase = Phase.LISTING
        self._listing = Listing.start(None if self._forced else self._resource_version, self._settings.page_size)
        return self._listing.request

    def _begin_watch(self, now: float) -> WatchRequest:
        self._phase = Phase.WATCHING
        return self._open(self._resource_version, now)

    def _open(self, resource_version: str, now: float, *, send_initial_events: bool = False) -> WatchRequest:
        seconds = self._rng.randint(*self._settings.timeout_seconds)
        self._opened_at = now
        self._lines = 0
        self._watch = WatchRequest(
            resource_version,
            seconds,
            idle_timeout=self._settings.idle_timeout or seconds + 15.0,
            send_initial_events=send_initial_events,
        )
        return self._watch

    def _wait(self, now: float, *, then_list: bool, at_least: float = 0.0, at_most: float = float("inf")) -> Wait:
        self._phase = Phase.WAITING
        self._list_next = then_list
        return Wait(max(min(self._backoff.next(now), at_most), at_least))

    # -- list --------------------------------------------------------------------------------------------------------

    def _page(self, page: Page, now: float) -> list[Output]:
        following = self._listing.page(page.objects, page.continue_token)
        if following is not None:
            return [following]
        objects = self._listing.objects
        self._listing = Listing.start(None, self._settings.page_size)
        if not page.resource_version:
            return self._surface(ApiError(200, "", "the list carries no metadata.resourceVersion"), now)
        return [self._synced(objects, page.resource_version), self._begin_watch(now)]

    def _synced(self, objects: dict[ObjectKey, CachedObject], resource_version: str) -> Replace:
        self._resource_version = resource_version
        self._forced = False
        self._healthy()
        return Replace(objects, resource_version)

    def _list_failed(self, error: KubeError, now: float) -> list[Output]:
        if isinstance(error, Gone):
            full = self._listing.expired()
            if full is not None:
                return [full]
        if version_refused(error) and self._listing.request.resource_version:
            self._resource_version = ""
            return [self._begin_list(now)]
        if transient(error):
            return [self._failed(error), self._throttle_wait(error, now, then_list=True)]
        return self._surface(error, now)

    # -- watch -------------------------------------------------------------------------------------------------------

    def _line(self, data: bytes, now: float) -> list[Output]:
        self._lines += 1
        try:
            event = ENVELOPE.decode(data)
        except DECODE_ERRORS as error:
            return self._undecodable_line(error, now)
        verb = VERBS.get(event.type)
        if verb is None:
            if event.type == "BOOKMARK":
                return self._bookmark(event.object)
            if event.type == "ERROR":
                return self._watch_failed(status_error(event.object), now)
            return [Skipped(f"unknown event type {event.type[:63]!r}")]
        try:
            obj = self._decode(event.object)
        except MalformedObject as error:
            return [Skipped(f"{verb}: {error}")]
        if self._phase is Phase.INITIAL:
            if verb is Verb.DELETED:
                self._initial.pop(obj.key, None)
            else:
                self._initial[obj.key] = obj
            return []
        order = compare_resource_versions(obj.resource_version, self._resource_version)
        if order is not None and order <= 0:
            return [Skipped("event is not newer than the resume version")]
        self._resource_version = obj.resource_version
        self._healthy()
        return [Apply(verb, obj)]

    def _bookmark(self, raw: msgspec.Raw) -> list[Output]:
        try:
            meta = BOOKMARK.decode(raw).metadata
        except DECODE_ERRORS as error:
            return [Skipped(f"BOOKMARK: {error}")]
        if not meta.resourceVersion:
            return [Skipped("BOOKMARK without resourceVersion")]
        if self._phase is Phase.INITIAL:
            if (meta.annotations or {}).get(INITIAL_EVENTS_END) != "true":
                return []
            objects, self._initial = self._initial, {}
            self._phase = Phase.WATCHING
            return [self._synced(objects, meta.resourceVersion)]
        order = compare_resource_versions(meta.resourceVersion, self._resource_version)
        if order is not None and order < 0:
            return [Skipped("bookmark is older than the resume version")]
        self._resource_version = meta.resourceVersion
        self._healthy()
        return [Bookmark(meta.resourceVersion)]

    def _closed(self, now: float) -> list[Output]:
        if self._phase is Phase.INITIAL:
            return [WatchEnded("closed"), *self._fall_back(now)]
        if self._lines == 0 and now - self._opened_at < self._settings.short_watch:
            return [WatchEnded("short"), self._wait(now, then_list=False)]
        return [WatchEnded("closed"), self._begin_watch(now)]

    def _silent(self, now: float) -> list[Output]:
        if self._phase is Phase.INITIAL:
            return [WatchEnded("silent"), *self._fall_back(now)]
        return [WatchEnded("silent"), self._begin_watch(now)]

    def _watch_failed(self, error: KubeError, now: float) -> list[Output]:
        if version_refused(error):
            return [WatchEnded("gone"), *self._gone(now)]
        if isinstance(error, Throttled):
            then_list = self._phase is Phase.INITIAL
            return [WatchEnded("throttled"), self._failed(error), self._throttle_wait(error, now, then_list=then_list)]
        if self._phase is Phase.INITIAL:
            return [WatchEnded("error"), *self._initial_failed(error, now)]
        if isinstance(error, Unavailable):
            return [WatchEnded("error"), self._failed(error), self._server_error(error, now)]
        if isinstance(error, ConnectionFailed | RequestTimeout):
            return [WatchEnded("error"), self._failed(error), self._wait(now, then_list=False)]
        return [WatchEnded("error"), *self._surface(error, now)]

    def _initial_failed(self, error: KubeError, now: float) -> list[Output]:
        if isinstance(error, ConnectionFailed) and self._lines == 0:
            return [self._failed(error), self._wait(now, then_list=True)]  # nobody answered: says nothing of WatchList
        fallen_back = self._fall_back(now)
        if isinstance(error, ApiError) and error.retry_after:
            return [self._failed(error), self._throttle_wait(error, now, then_list=True)]
        return fallen_back

    def _fall_back(self, now: float) -> list[Output]:
        """WatchList did not work out: plain list at once, and no new attempt for a while."""
        self._watch_list_after = now + self._settings.watch_list_pause
        return [self._begin_list(now)]

    def _gone(self, now: float) -> list[Output]:
        self._resource_version = ""
        due = self._last_gone + self._settings.gone_interval
        if now >= due:
            self._last_gone = now
            return [self._begin_list(now)]
        self._last_gone = due
        self._phase = Phase.WAITING
        self._list_next = True
        return [Wait(due - now)]

    def _server_error(self, error: Unavailable, now: float) -> Wait:
        if self._server_errors_since is None:
            self._server_errors_since = now
        expired = now - self._server_errors_since >= self._settings.server_error_window
        return self._throttle_wait(error, now, then_list=expired)

    def _throttle_wait(self, error: KubeError, now: float, *, then_list: bool) -> Wait:
        """Backoff, but never less than the server asked for (plus up to 10 %, so that clients spread)."""
        asked = error.retry_after if isinstance(error, ApiError) else None
        return self._wait(now, then_list=then_list, at_least=jitter(asked or 0.0, 0.1, self._rng))

    def _undecodable_line(self, cause: Exception, now: float) -> list[Output]:
        """Once: the end of a broken stream, resume from the last version. Twice in a row: start over."""
        self._undecodable += 1
        if self._phase is Phase.INITIAL:
            return [WatchEnded("error"), *self._fall_back(now)]
        error = UndecodableLine(f"watch line is no watch event: {cause}")
        return [
            WatchEnded("error"),
            self._failed(error, surface=True),
            self._wait(now, then_list=self._undecodable > 1, at_most=self._settings.surfaced_cap),
        ]

    # -- health ------------------------------------------------------------------------------------------------------

    def _surface(self, error: KubeError, now: float) -> list[Output]:
        return [
            self._failed(error, surface=True),
            self._wait(now, then_list=True, at_most=self._settings.surfaced_cap),
        ]

    def _failed(self, error: KubeError, *, surface: bool = False) -> Failed:
        self.last_error = f"{type(error).__name__}: {error}"
        if isinstance(error, NotFound):
            self.served = False
        if surface:
            self.forbidden = isinstance(error, Forbidden)
        return Failed(error, surface)

    def _healthy(self) -> None:
        self.last_error = None
        self.served = True
        self.forbidden = False
        self._server_errors_since = None
        self._undecodable = 0

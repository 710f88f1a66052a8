"""Settings that change without a restart: the file is looked at every 5 s, and what may change is handed on (P:U4).

A ConfigMap mount swaps a symlink, so neither inotify on the file nor the time stamp alone can be trusted: what counts
is the content. A file that cannot be used changes nothing: the old settings stay, and the log, readiness and a metric
say so until it is corrected. Keys that only a restart can change keep their old value and are named in a warning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import structlog

from wfe_controller.app.config import Settings, settings_table
from wfe_controller.app.exits import ConfigError
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.probes import CheckResult

POLL_SECONDS = 5.0

_log = structlog.get_logger("wfe.app.reload")

Applied = Callable[[Settings], None]
"""Gets the new settings. It must not fail: the values were validated."""


class ReloadInstruments(Protocol):
    def config_loaded(self, digest: str) -> None: ...

    def config_reloaded(self, result: str) -> None:
        """``result``: applied, unchanged, refused."""


class Reloader:
    """Watches the file the settings came from. ``current`` is always a complete, valid set.

    ``current`` has the new values of reloadable keys and the old ones of all others.
    """

    def __init__(self, settings: Settings, *, clock: Clock, instruments: ReloadInstruments) -> None:
        self.current = settings
        self._clock = clock
        self._instruments = instruments
        self._callbacks: list[Applied] = []
        self._digest = _digest(settings.path)
        self._stamp = _stamp(settings.path)
        self._since: float | None = None
        self._refused = ""
        instruments.config_loaded(settings.hash)

    def on_change(self, callback: Applied) -> None:
        """``callback`` runs, in the order of registration, after each change of a reloadable key."""
        self._callbacks.append(callback)

    def check(self) -> CheckResult:
        """For readiness: not ok while the file on disk cannot be used."""
        age = 0.0 if self._since is None else self._clock.monotonic() - self._since
        return CheckResult(not self._refused, self._refused, age)

    async def run(self) -> None:
        """Until cancelled. Without a file there is nothing to watch, and it only waits."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            self.poll()

    def poll(self) -> None:
        """Look once. Reading a small file is done in place: it takes less than handing it to a thread."""
        self._since = self._clock.monotonic()
        path = self.current.path
        stamp = _stamp(path)
        if path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        digest = _digest(path)
        if digest == self._digest:
            return
        self._digest = digest
        try:
            wanted = self.current.read_again()
        except ConfigError as error:
            self._refused = f"the config file cannot be used, the old settings stay: {error}"
            self._instruments.config_reloaded("refused")
            _log.error("config reload refused, the old settings stay", error=str(error))
            return
        self._refused = ""
        self._take(wanted)

    def _take(self, wanted: Settings) -> None:
        changes: dict[str, Any] = {}
        kept: list[str] = []
        current = self.current
        for setting in settings_table():
            before, after = current.value(setting.path), wanted.value(setting.path)
            if before == after:
                continue
            if setting.reloads:
                current = current.replaced(setting.path, after)
                changes[setting.key] = {"from": setting.spell(before), "to": setting.spell(after)}
            else:
                kept.append(setting.key)
        if kept:
            _log.warning("config changes that need a restart", keys=kept)
        if not changes:
            self._instruments.config_reloaded("unchanged")
            return
        self.current = current
        self._instruments.config_loaded(current.hash)
        self._instruments.config_reloaded("applied")
        _log.info("config reloaded", changes=changes, config_hash=current.hash)
        for callback in self._callbacks:
            callback(current)


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when the file does, also when a symlink on the way was swapped; None when it is not there."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_ino, found.st_size)


def _digest(path: Path | None) -> str:
    """Of the content; "" when it cannot be read, which is then a change like any other."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    except OSError:
        return ""

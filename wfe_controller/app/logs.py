"""Logs: structlog, one JSON object a line on stderr (stdout belongs to commands that print something).

Every line has timestamp, level, logger, event, then whatever was bound (reconcile_id, controller, key) or given.
Records of the standard library's loggers (aiohttp, asyncio, the Kubernetes library) and Python warnings take the same
way out. All strings are redacted here, at the last moment before they leave, so that no caller can forget it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from wfe_controller.failure.redaction import hide, redact
from wfe_controller.kube.clock import Clock, RealClock

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "exception": logging.ERROR,
}


MAX_TEXT = 16 * 1024
_FIRST = ("timestamp", "level", "logger", "event")
_OURS = ("timestamp", "level", "logger")
"""Always set by this module, never by a caller: nothing to hide in them."""
_SECRET_KEYS = frozenset({"password", "passwd", "token", "secret", "authorization", "apikey", "api_key", "bearer"})
_HIDDEN = "[REDACTED]"

Event = MutableMapping[str, Any]


class _Writer:
    """The end of the chain: one line, one write. ``name`` is the logger's."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self.name = name

    def msg(self, message: str) -> None:
        self._stream.write(message + "\n")
        self._stream.flush()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Bridge(logging.Handler):
    """Standard library records become structlog events of the same logger name and level."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger(record.name).log(record.levelno, _message(record), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging's own contract: a broken record is reported, never raised
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    """The text of a record; a wrong format string of somebody else's is shown with its arguments."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


class LogControl:
    """What was configured; changes the level while running, and puts everything back for tests."""

    def __init__(self, level: str) -> None:
        self._threshold = LEVELS[level]
        self._level = level
        self._bridge: _Bridge | None = None
        self._root_level = logging.WARNING

    @property
    def level(self) -> str:
        return self._level

    def set_level(self, level: str) -> None:
        """``level``: debug, info, warning or error. The standard library's loggers stay at warning."""
        self._threshold = LEVELS[level]
        self._level = level

    def filter(self, _logger: object, method: str, event: Event) -> Event:
        if LEVELS.get(method, logging.INFO) < self._threshold:
            raise structlog.DropEvent
        return event

    def attach(self) -> None:
        root = logging.getLogger()
        self._root_level = root.level
        self._bridge = _Bridge()
        root.addHandler(self._bridge)
        root.setLevel(logging.WARNING)
        logging.captureWarnings(True)

    def close(self) -> None:
        if self._bridge is not None:
            root = logging.getLogger()
            root.removeHandler(self._bridge)
            root.setLevel(self._root_level)
            logging.captureWarnings(False)
            self._bridge = None
        structlog.reset_defaults()


def _stamp(clock: Clock) -> Callable[[object, str, Event], Event]:
    def add(_logger: object, _method: str, event: Event) -> Event:
        event["timestamp"] = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    return add


def _name(logger: object, _method: str, event: Event) -> Event:
    event["logger"] = getattr(logger, "name", "wfe")
    return event


def _first_things_first(_logger: object, _method: str, event: Event) -> Event:
    return {**{key: event[key] for key in _FIRST if key in event}, **event}


def redacted(value: Any) -> Any:
    """``value`` with every string in it redacted and bounded; objects become their text."""
    if isinstance(value, str):
        # The cut must not leave the first half of a value that is known only as a whole.
        return redact(value if len(value) <= MAX_TEXT else hide(value)[:MAX_TEXT] + "...")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _HIDDEN if _secret(key, entry) else redacted(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(entry) for entry in value]
    return redacted(str(value))


def _secret(key: object, value: object) -> bool:
    return isinstance(key, str) and key.lower() in _SECRET_KEYS and isinstance(value, str) and bool(value)


def _redact(_logger: object, _method: str, event: Event) -> Event:
    ours = {key: event.pop(key) for key in _OURS if key in event}
    return {**redacted(event), **ours}


def _to_json(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (UnicodeEncodeError, msgspec.MsgspecError):  # lone surrogates from other writers' bytes
        return json.dumps(event, default=str)


def configure_logging(
    level: str = "info", format: str = "json", *, clock: Clock | None = None, stream: TextIO | None = None
) -> LogControl:
    """Route all logging of the process; ``format``: json (one object a line) or console (for people)."""
    control = LogControl(level)
    out = stream or sys.stderr
    renderer: Any
    if format == "console":
        colours = bool(getattr(out, "isatty", lambda: False)())
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain, sort_keys=False)
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    structlog.configure(
        processors=[
            control.filter,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            _name,
            _stamp(clock or RealClock()),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redact,
            _first_things_first,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *names: _Writer(out, str(names[0]) if names else "wfe"),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    control.attach()
    return control

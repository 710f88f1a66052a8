"""app/logs: one JSON object a line, redacted, whatever is thrown at it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from wfe_controller.app.logs import LogControl, _Bridge, configure_logging
from wfe_controller.kube.clock import RealClock


class Noon(RealClock):
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 12, 0, 0, 5000, tzinfo=UTC)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def control(stream: io.StringIO) -> Iterator[LogControl]:
    control = configure_logging("info", "json", clock=Noon(), stream=stream)
    yield control
    structlog.contextvars.clear_contextvars()
    control.close()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_fields_in_reading_order(control: LogControl, stream: io.StringIO) -> None:
    """T-13: timestamp in UTC, level, logger, event, then what was bound and given."""
    structlog.contextvars.bind_contextvars(reconcile_id="r1", controller="workflowexecution", key="a/b")
    structlog.get_logger("wfe.kube.client").info("phase changed", phase="Running")
    assert list(lines(stream)[0].items())[:4] == [
        ("timestamp", "2026-01-02T12:00:00.005Z"),
        ("level", "info"),
        ("logger", "wfe.kube.client"),
        ("event", "phase changed"),
    ]
    assert {"phase": "Running", "reconcile_id": "r1", "key": "a/b"}.items() <= lines(stream)[0].items()


@pytest.mark.parametrize(
    "value",
    ["two\nlines", "quote\" and \\", "\ud800", "\x00\x1b[31m", {"a": ["x\ny", {1: object()}]}, b"\xff", {1}],
    ids=["newline", "quotes", "surrogate", "control", "nested", "bytes", "set"],
)  # fmt: skip
def test_every_value_stays_on_one_line_of_json(control: LogControl, stream: io.StringIO, value: Any) -> None:
    structlog.get_logger("wfe").info("event", value=value)
    assert len(stream.getvalue().splitlines()) == 1
    assert "value" in lines(stream)[0]


def test_an_exception_is_one_field(control: LogControl, stream: io.StringIO) -> None:
    try:
        raise ValueError("token=abcdefghijk0123456789 was wrong")
    except ValueError:
        structlog.get_logger("wfe").exception("failed")
    (line,) = lines(stream)
    assert "Traceback" in line["exception"]
    assert "ValueError" in line["exception"]
    assert "abcdefghijk0123456789" not in stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"detail": "password=hunter2secret"},
        {"password": "hunter2secret"},
        {"headers": {"Authorization": "Bearer hunter2secret"}},
        {"deep": [{"why": ["--token hunter2secret"]}]},
        {"error": ValueError("password: hunter2secret")},
    ],
    ids=["text", "key", "mapping", "nested", "object"],
)
def test_no_secret_reaches_the_stream(control: LogControl, stream: io.StringIO, fields: dict[str, Any]) -> None:
    """TH31, SPEC 13: redaction is at the way out, for strings at any depth."""
    structlog.get_logger("wfe").info("password=hunter2secret", **fields)
    assert "hunter2secret" not in stream.getvalue()
    assert "[REDACTED]" in stream.getvalue()


def test_other_loggers_come_out_of_the_same_renderer_from_warning_on(control: LogControl, stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.client").info("chatter")
    logging.getLogger("asyncio").error("task %s", "died", exc_info=ValueError("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert (first["logger"], first["level"], first["event"]) == ("asyncio", "error", "task died")
    assert "ValueError: x" in first["exception"]
    assert second["logger"] == "py.warnings"


def test_a_record_that_cannot_be_formatted_is_shown_with_its_arguments(
    control: LogControl, stream: io.StringIO
) -> None:
    (bridge,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, _Bridge)]
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%d things", ("no number",), None)
    bridge.handle(record)
    assert [line["event"] for line in lines(stream)] == ["%d things ('no number',)"]


def test_the_level_changes_while_running(control: LogControl, stream: io.StringIO) -> None:
    log = structlog.get_logger("wfe")  # made before the change, as in every module
    log.debug("hidden")
    control.set_level("debug")
    log.debug("shown")
    control.set_level("error")
    log.warning("hidden")
    assert [line["event"] for line in lines(stream)] == ["shown"]
    assert control.level == "error"


def test_closing_gives_logging_back(stream: io.StringIO) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    configure_logging("info", "json", stream=stream).close()
    assert (list(root.handlers), root.level) == before


def test_the_console_format_is_for_people(stream: io.StringIO) -> None:
    control = configure_logging("info", "console", clock=Noon(), stream=stream)
    structlog.get_logger("wfe.app").warning("look here", password="hunter2")
    control.close()
    assert stream.getvalue() == (
        "2026-01-02T12:00:00.005Z [warning  ] look here                      [wfe.app] password=[REDACTED]\n"
    )

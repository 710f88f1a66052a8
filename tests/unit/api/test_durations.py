from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe_controller.api.durations import DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("0", 0),
        ("+5m", 300),
        (".5s", 0.5),
        ("3µs", 3e-6),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "1h 30m", "5d", "h5", "1h30", "٥m", "5m\n", "-5m", "1e3s", "9" * 40 + "h"]
)
def test_everything_else_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(DurationError, match=r"^duration .*(write|longer)"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0s"), (0.5, "1s"), (45, "45s"), (90, "1m30s"), (300, "5m0s"), (3600, "1h0m0s"), (-3, "0s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_written_can_be_read(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)

"""What every test relies on."""

from __future__ import annotations

import asyncio

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--planes",
        default="real,embedded",
        help="what the integration tier runs on: real, embedded, or both (the default), separated by a comma",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Until set_event_loop has been called once, asyncio makes a loop for whoever asks, and pytest-asyncio asks before
    # it installs its own. Nobody closes that one; its ResourceWarning then fails whatever test the collector runs in.
    asyncio.set_event_loop(None)

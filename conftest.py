"""Which tiers of tests ran, and what to install for those that did not.

``make test`` names the tiers it wants in TEST_TIERS. A wanted tier of which not one test ran is told at the end with
its reason; with REQUIRE_TIERS=1 (as CI sets) it fails the run, so that a green run never means "nobody looked".
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "tests"


class Tiers:
    """Counts what ran per directory under tests/."""

    def __init__(self, wanted: list[str]) -> None:
        self._wanted = wanted
        self._ran: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tier = report.nodeid.removeprefix("tests/").partition("/")[0]
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._skipped.setdefault(tier, Counter())[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call" or report.failed:
            self._ran[tier] += 1

    def missing(self) -> list[str]:
        return [tier for tier in self._wanted if not self._ran[tier]]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing() and os.environ.get("REQUIRE_TIERS") == "1" and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # Outermost, so that it stands right above the closing line.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        yield
        if self._wanted:
            self._tell(terminalreporter)

    def _tell(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("tiers")
        for tier in self._wanted:
            if self._ran[tier]:
                terminalreporter.write_line(f"{tier}: {self._ran[tier]} tests ran")
                continue
            otherwise = "none was chosen" if _has_tests(tier) else "it has no tests"
            reasons = self._skipped.get(tier) or Counter([otherwise])
            required = " (required here: this fails the run)" if os.environ.get("REQUIRE_TIERS") == "1" else ""
            terminalreporter.write_line(f"{tier}: DID NOT RUN{required}: {reasons.most_common(1)[0][0]}")


def _has_tests(tier: str) -> bool:
    return any((TESTS / tier).rglob("test_*.py"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tiers(os.environ.get("TEST_TIERS", "").split()), "tiers")

"""Which tiers of tests ran, and what to install for those that did not.

``make test`` names the tiers it wants in TEST_TIERS. A wanted tier of which not one test ran is told at the end with
its reason; with REQUIRE_TIERS=1 (as CI sets) it fails the run, so that a green run never means "nobody looked".

With workers (``-n 2``), whatever shares a server runs in one of them: the whole e2e tier, and elsewhere each file on
each of the servers it runs on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling, Scheduling

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
            # A worker sends the tuple of place and reason as a list.
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
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


class Scopes(LoadScopeScheduling):
    """What one worker does in one go, so that no two workers start the same server in turns."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith("tests/e2e/"):  # one machine has one node
            return "e2e"
        server = next((name for name in ("embedded", "real") if name in test.partition("[")[2]), "")
        return f"{file} {server}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scopes(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers the longest piece that cannot be shared comes first: the others fill the time beside it."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith("tests/e2e/"))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the one who hears of every test
        config.pluginmanager.register(Tiers(os.environ.get("TEST_TIERS", "").split()), "tiers")

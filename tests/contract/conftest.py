"""Every case runs on both servers; what it saw is compared with what the real one once said (expected/).

``CONTRACT_RECORD=1 pytest tests/contract/test_x.py`` writes the recordings anew from the real server; read the diff.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.controlplane import BinariesMissing, Plane
from hack.controlplane.binaries import complete
from hack.controlplane.plane import planes_root, sweep
from tests.contract import expectations, pending
from tests.contract.servers import CRDS, Server, real
from tests.contract.session import Session

RECORDING = os.environ.get("CONTRACT_RECORD") == "1"
SERVERS = ["real"] if RECORDING else ["embedded", "real"]
_surprises: list[str] = []


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """A control plane without Tekton; CONTRACT_PLANE names one that is already there (for whoever writes cases)."""
    if name := os.environ.get("CONTRACT_PLANE"):
        yield Plane.open(name=name)
        return
    sweep()
    directory = planes_root() / f"contract-{os.getpid()}"
    try:
        plane = Plane.start(directory, tekton=False, manifests=CRDS, owner_pid=os.getpid())
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"the contract tier is required here: {missing}")
        pytest.skip(f"no control plane: {missing}")
    try:
        yield plane
    finally:
        plane.stop(keep=os.environ.get("KEEP_PLANE") == "1")


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "real":
        yield real(request.getfixturevalue("plane"))
        return
    from tests.contract.embedded import running

    with running(tmp_path_factory.mktemp("embedded")) as embedded:
        yield embedded


@pytest.fixture
def api(server: Server) -> Iterator[Session]:
    """A session of the case's own."""
    session = Session(server)
    if RECORDING:
        session.surprises = _surprises
    yield session
    session.close()


def case_id(item: pytest.Item) -> str:
    """``create/name_taken`` or ``names/label_values[too-long]``: the same on both servers."""
    assert isinstance(item, pytest.Function)
    parts = [part for part in item.callspec.id.split("-") if part] if hasattr(item, "callspec") else []
    label = item.callspec.id if parts else ""
    for name in ("embedded", "real"):
        if label == name:
            label = ""
        label = label.removeprefix(f"{name}-").removesuffix(f"-{name}")
    group = item.path.stem.removeprefix("test_")
    return f"{group}/{item.originalname.removeprefix('test_')}" + (f"[{label}]" if label else "")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    result = yield
    session = pyfuncitem.funcargs.get("api")
    if isinstance(session, Session):
        if RECORDING:
            expectations.record(case_id(pyfuncitem), session.steps)
        else:
            expectations.compare(case_id(pyfuncitem), session.steps)
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents or "server" not in getattr(item, "fixturenames", ()):
            continue
        assert isinstance(item, pytest.Function)
        if item.callspec.params["server"] == "embedded" and case_id(item) in pending.PENDING:
            item.add_marker(pytest.mark.xfail(reason="the double differs", strict=not os.environ.get("CONTRACT_LAX")))
        # Whoever calls pytest without make builds the servers inside the first case.
        item.add_marker(pytest.mark.timeout(60 if complete() else 3600))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """CONTRACT_OUTCOMES=file: one JSON line for each failed case, for the list of pending ones."""
    path = os.environ.get("CONTRACT_OUTCOMES")
    if path and report.when == "call":
        line: dict[str, Any] = {"id": report.nodeid, "outcome": report.outcome, "seconds": report.duration}
        if report.failed:
            line["why"] = str(report.longrepr)[-3000:]
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")


def pytest_sessionfinish() -> None:
    if RECORDING:
        expectations.write(whole_files=os.environ.get("CONTRACT_RECORD_PART") != "1")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for surprise in _surprises:
        terminalreporter.write_line(f"SURPRISE {surprise}")

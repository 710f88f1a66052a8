"""Processes of a plane are stopped by what was recorded of them, never by name, never a re-used process id."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from hack.controlplane.processes import PORT_RANGE, ProcessTable, free_ports, start_time

SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()",
]


def test_a_process_started_by_one_table_is_stopped_by_another(tmp_path: Path) -> None:
    """The records alone are enough: the program that started a plane may have been killed."""
    table = ProcessTable(tmp_path)
    table.define("sleeper", SLEEPER)
    assert table.start("sleeper")
    pid = table.records["sleeper"].pid
    other = ProcessTable(tmp_path)
    assert other.records["sleeper"].alive
    assert other.start("sleeper") is False
    assert os.getsid(pid) == pid
    other.stop(["sleeper"])
    assert start_time(pid) is None
    table.stop(["sleeper"])


def test_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    """The recorded start time differs, so the process is somebody else's: here, this test itself."""
    record = {"name": "gone", "argv": [], "env": {}, "health": "", "pid": os.getpid(), "started": "1"}
    (tmp_path / "processes.json").write_text(json.dumps([record]))
    table = ProcessTable(tmp_path)
    assert not table.records["gone"].alive
    assert table.signal("gone", signal.SIGKILL) is False
    table.stop(["gone"])


def test_a_process_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    table = ProcessTable(tmp_path)
    table.define("stubborn", STUBBORN)
    table.start("stubborn")
    pid = table.records["stubborn"].pid
    while "up" not in table.log_tail("stubborn"):
        assert start_time(pid) is not None
        os.sched_yield()
    table.stop(["stubborn"], grace=0)
    assert start_time(pid) is None


@pytest.mark.parametrize("number", [signal.SIGSTOP], ids=["stopped"])
def test_a_stopped_process_can_be_ended(tmp_path: Path, number: int) -> None:
    """A process that is held by SIGSTOP takes TERM only when it goes on."""
    table = ProcessTable(tmp_path)
    table.define("sleeper", SLEEPER)
    table.start("sleeper")
    table.signal("sleeper", number)
    table.stop(["sleeper"])
    assert not table.records["sleeper"].alive


def test_a_running_process_keeps_its_command(tmp_path: Path) -> None:
    """A second `up` computes commands anew; what runs was started with the old one, and the record must say so."""
    table = ProcessTable(tmp_path)
    table.define("sleeper", SLEEPER)
    table.start("sleeper")
    table.define("sleeper", ["something", "else"])
    assert table.records["sleeper"].argv == SLEEPER
    table.stop(["sleeper"])
    table.define("sleeper", ["something", "else"])
    assert table.records["sleeper"].argv == ["something", "else"]


def test_ports_are_distinct_free_and_not_taken_by_outgoing_connections() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_ports(1)[0]))
        ports = free_ports(50)
        assert taken.getsockname()[1] not in ports
    assert len(set(ports)) == 50
    assert all(port in PORT_RANGE for port in ports)
    assert PORT_RANGE.stop <= 32768

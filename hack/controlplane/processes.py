"""The processes of a plane: each in its own session, recorded with id and start time, stopped by that record.

Role: anyone who holds the work directory can stop a plane, also after the program that started it was killed. A
process is only ever signalled when the recorded start time is still the start time of that process id; names are
never used to find one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

POLL_SECONDS = 0.02
# Below the kernel's range for outgoing connections (32768-60999): a stopped server finds its port free when it comes
# back.
PORT_RANGE = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of 127.0.0.1 that nobody listens on at this moment."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports in {PORT_RANGE.start}-{PORT_RANGE.stop}")


def start_time(pid: int) -> str | None:
    """What tells this process from a later one with the same id, or None when it is gone (or only a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    except ProcessLookupError:
        return None
    # The command name in parentheses may hold anything; the fields after it are: state (0), ..., start time in ticks
    # (19).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _start_time_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


@dataclass
class Record:
    """How a process is started, and which one was started last (``pid`` 0: none yet)."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    health: str = ""
    pid: int = 0
    started: str = ""

    @property
    def alive(self) -> bool:
        return self.pid > 0 and start_time(self.pid) == self.started


class ProcessTable:
    """Records of one work directory, kept in ``processes.json`` there. Order of start is the order of the records."""

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / "processes.json"
        self._logs = work_dir / "logs"
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self.exit_codes: dict[str, int] = {}
        self.records: dict[str, Record] = {}
        if self._path.exists():
            self.records = {item["name"]: Record(**item) for item in json.loads(self._path.read_text())}

    def _save(self) -> None:
        partial = self._path.with_suffix(".tmp")
        partial.write_text(json.dumps([asdict(record) for record in self.records.values()], indent=1))
        partial.replace(self._path)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        path = self.log(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def define(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, health: str = "") -> None:
        """Describe a process. One that runs already keeps running with what it was started with."""
        old = self.records.get(name)
        if old is None or not old.alive:
            self.records[name] = Record(name, list(argv), dict(env or {}), health)

    def start(self, name: str) -> bool:
        """Start a described process; False when it runs already."""
        record = self.records[name]
        if record.alive:
            return False
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                record.argv,
                env={**os.environ, **record.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._logs.parent,
            )
        self._children[child.pid] = child
        record.pid, record.started = child.pid, start_time(child.pid) or ""
        self._save()
        return True

    def signal(self, name: str, number: int) -> bool:
        """Send a signal to exactly the recorded process; False when it is gone."""
        record = self.records[name]
        if not record.alive:
            return False
        with contextlib.suppress(ProcessLookupError):  # it may end between the look and the signal
            os.kill(record.pid, number)
        return True

    def stop(self, names: Sequence[str], *, grace: float = 8.0, kill: bool = False) -> None:
        """TERM all, wait, KILL what is left after ``grace`` seconds (at once with ``kill``).

        Returns when they are gone.
        """
        for name in names:
            self.signal(name, signal.SIGKILL if kill else signal.SIGTERM)
            self.signal(name, signal.SIGCONT)  # a stopped process takes TERM only when it goes on
        deadline = time.monotonic() + grace
        waiting = list(names)
        while waiting := [name for name in waiting if self.running(name)]:
            if time.monotonic() > deadline:
                for name in waiting:
                    self.signal(name, signal.SIGKILL)
                deadline = time.monotonic() + 5.0
            time.sleep(POLL_SECONDS)

    def running(self, name: str) -> bool:
        """Whether it still runs. The exit code of one started by this table is in ``exit_codes`` afterwards."""
        record = self.records[name]
        child = self._children.get(record.pid)
        if child is None:
            return record.alive
        if child.poll() is None:
            return True
        self.exit_codes[name] = self._children.pop(record.pid).returncode
        return False

    def disown(self) -> None:
        """Leave what was started here to run on without us; nobody waits for it any more."""
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # else Popen complains when it is collected
        self._children.clear()

    def states(self) -> Iterator[tuple[Record, str]]:
        """Each record with ``running`` or ``stopped``."""
        for record in self.records.values():
            yield record, "running" if record.alive else "stopped"

"""``wfe-controller sandbox`` as a process, as a first-time reader starts it; and ``make demo``, which is the same."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hack.controlplane.binaries import BinariesMissing, resolve
from wfe_controller.sandbox.simulators import scenario_file

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = ("--speed", "4")
COMMAND = [sys.executable, "-u", "-m", "wfe_controller", "sandbox"]


@dataclass
class Place:
    """A directory for temporary files that nobody else uses."""

    temporary: Path

    @property
    def environment(self) -> dict[str, str]:
        dropped = ("KUBECONFIG", "COLUMNS")
        kept = {key: value for key, value in os.environ.items() if key not in dropped}
        return {**kept, "TMPDIR": str(self.temporary)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


@dataclass
class Staying:
    """A sandbox that runs, and what it has said so far."""

    process: subprocess.Popen[str]
    place: Place
    said: list[str]
    kubeconfig: Path

    def until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if wanted in line:
                return
        raise AssertionError(f"it ended without {wanted!r}: {self.said}")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def place(tmp_path: Path) -> Place:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return Place(temporary)


@pytest.fixture
def staying(place: Place) -> Iterator[Callable[..., Staying]]:
    """Starts a sandbox that is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Staying:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=REPOSITORY,
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        found = Staying(process, place, [], Path())
        found.until("export KUBECONFIG=")
        found.kubeconfig = Path(found.said[-1].removeprefix("export KUBECONFIG="))
        return found

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def kubectl() -> str:
    try:
        return str(resolve(["kubectl"], tekton=False)["kubectl"])
    except BinariesMissing as missing:
        if os.environ.get("REQUIRE_TIERS") == "1":
            pytest.fail(f"kubectl is required here: {missing}")
        pytest.skip(f"no kubectl: {missing}")


def left_of(process: subprocess.Popen[Any]) -> list[str]:
    """Processes of its session that are still there."""
    listed = subprocess.run(["ps", "-o", "pid=", "-s", str(process.pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()


def test_the_shipped_story_ends_as_told_and_leaves_nothing(place: Place) -> None:
    done = place.run(*FAST)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("8 of 8 ended as expected")
    assert "\x1b" not in done.stdout
    assert "request  restart-frontend-twice  Skipped  ResourceBusy" in lines
    assert "target   shop/deployment/checkout  free, blocked: ExecutionFailed" in lines
    for sample in scenario_file.default().samples:
        told = lines.index(f"# {sample.name}: {sample.say}")
        first = next(n for n, line in enumerate(lines) if line.startswith(f"request  {sample.name}  "))
        assert told < first, f"{sample.name} is told before it is shown"
    assert done.stderr == ""
    assert list(place.temporary.iterdir()) == []


def test_an_end_that_differs_is_named_with_what_was_expected_and_seen(place: Place, tmp_path: Path) -> None:
    story = tmp_path / "story.yaml"
    shipped = scenario_file.DEFAULT.read_text()
    story.write_text(shipped.replace("exitCode: 3", "exitCode: 0"))
    done = place.run("--scenario", str(story), *FAST)
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"wfe-controller: error: scenario {story}: ")
    assert "resize-checkout: expected Failed TaskFailed, is Completed; not waited for: " in last
    assert "deadline" not in last, "the deadline is not waited for when an early request ends otherwise"
    assert any(line.split()[:2] == ["NO", "resize-checkout"] for line in done.stdout.splitlines())
    assert list(place.temporary.iterdir()) == []


BAD_STORIES = {
    "no-yaml": ("samples: [", "is no YAML"),
    "unknown-key": ("sample: []", "sample"),
    "configuration": (
        scenario_file.DEFAULT.read_text() + "\nconfiguration: {execution: {cooldownPeriod: soon}}\n",
        "execution.cooldownPeriod",
    ),
}


@pytest.mark.parametrize("name", BAD_STORIES)
def test_a_scenario_that_cannot_be_played_is_wrong_usage(place: Place, tmp_path: Path, name: str) -> None:
    story = tmp_path / "story.yaml"
    text, wanted = BAD_STORIES[name]
    story.write_text(text)
    done = place.run("--scenario", str(story))
    assert done.returncode == 2, done.stdout + done.stderr
    assert wanted in done.stderr
    assert str(story) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(place.temporary.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--speed", "0"), ("--port", "70000"), ("--scenario", "/none"), ("story",)])
def test_wrong_usage_is_2(place: Place, arguments: tuple[str, ...]) -> None:
    done = place.run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_somebodys_kubeconfig_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    precious = tmp_path / "config"
    precious.write_text("current-context: production\n")
    done = place.run("--kubeconfig-out", str(precious))
    assert done.returncode == 2
    assert precious.read_text() == "current-context: production\n"


def test_a_kubeconfig_that_cannot_be_written_is_one_line(place: Place, tmp_path: Path) -> None:
    done = place.run("--kubeconfig-out", str(tmp_path / ("k" * 300)))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot be written (File name too long): name a file in a directory of yours" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(place.temporary.iterdir()) == []


def test_a_port_that_is_taken_is_one_line(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = place.run("--port", str(port))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == (
        f"wfe-controller: error: port {port} of 127.0.0.1 cannot be had (Address already in use): "
        "choose another with --port, or none for a free one\n"
    )
    assert list(place.temporary.iterdir()) == []


def test_two_at_once_have_nothing_in_common_and_a_killed_one_is_swept_by_the_next(
    staying: Callable[..., Staying], tmp_path: Path
) -> None:
    out = tmp_path / "kubeconfig"
    first = staying("--no-samples", "--kubeconfig-out", str(out))
    refused = first.place.run("--no-samples", "--kubeconfig-out", str(out))
    assert refused.returncode == 2
    assert "belongs to a sandbox that runs" in refused.stderr
    second = staying("--no-samples")
    servers = [json.loads(one.kubeconfig.read_text())["clusters"][0]["cluster"]["server"] for one in (first, second)]
    assert len(set(servers)) == 2
    first.process.kill()
    first.process.wait()
    assert out.exists()
    third = staying("--no-samples")
    assert not out.exists()
    assert second.kubeconfig.exists()
    assert {path.name for path in first.place.temporary.iterdir()} == {
        one.kubeconfig.parent.name for one in (second, third)
    }
    assert [one.end(signal.SIGTERM) for one in (second, third)] == [0, 0]
    assert list(first.place.temporary.iterdir()) == []


def test_a_reader_that_leaves_ends_it_without_a_word(place: Place) -> None:
    """``wfe-controller sandbox | head``."""
    process = subprocess.Popen(
        [*COMMAND, *FAST],
        cwd=REPOSITORY,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert said == ""
    assert list(place.temporary.iterdir()) == []


def test_a_terminal_that_is_closed_ends_it_and_nothing_is_left(place: Place) -> None:
    ours, its = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--keep", *FAST],
        cwd=REPOSITORY,
        env={**place.environment, "TERM": "xterm"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    seen = b""
    while b"Running" not in seen:
        seen += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(60) == 1
    assert left_of(process) == []
    assert list(place.temporary.iterdir()) == []


def on_a_terminal(place: Place, columns: int, rows: int, **environment: str) -> str:
    """All that is written to a terminal of that size, by a sandbox that ends with 0."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    dropped = {key: value for key, value in place.environment.items() if key not in ("NO_COLOR", "LINES", "TERM")}
    process = subprocess.Popen(
        [*COMMAND, *FAST], cwd=REPOSITORY, env={**dropped, **environment}, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # how a terminal says that nobody has its other end any more
        pass
    os.close(ours)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 30), (200, 50)])
def test_every_screen_shows_targets_requests_and_events(place: Place, columns: int, rows: int) -> None:
    """Title, holder, progress, next allowed time, last events: on each picture, all of them on the last one."""
    written = on_a_terminal(place, columns, rows, TERM="xterm-256color")
    assert "\x1b[31m" in written, "colours"
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", frame) for frame in written.split("\x1b[J")[1:-1]]
    assert len(frames) > 10
    for frame in frames:
        lines = frame.splitlines()
        assert len(lines) < rows
        assert max(map(len, lines)) <= columns
        for wanted in ("One remediation of a target at a time", "TARGET", "REQUEST", "LAST EVENTS"):
            assert any(line.startswith(wanted) for line in lines), (wanted, frame)
    assert re.search(
        r"^shop/deployment/frontend +Held +restart-frontend +when released$", "".join(frames), re.MULTILINE
    )
    last = frames[-1].splitlines()
    assert any(re.match(r"shop/deployment/frontend +Waits +restart-frontend +in 4m\d+s", line) for line in last)
    assert any(re.match(r"restart-frontend .* 2/2", line) for line in last)
    assert sum(line.startswith(("restart-", "resize-")) for line in last) == 6
    assert last.index("LAST EVENTS") + 2 < len(last)


def test_no_colour_is_wanted(place: Place) -> None:
    written = on_a_terminal(place, 80, 24, TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b[J" in written, "redrawn in place all the same"
    assert not re.search(r"\x1b\[[0-9;]*m", written)


def test_a_terminal_that_can_do_nothing_gets_plain_lines(place: Place) -> None:
    written = on_a_terminal(place, 80, 24, TERM="dumb")
    assert "\x1b" not in written
    assert "request  restart-frontend-twice  Skipped  ResourceBusy" in written


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_in_the_middle_leaves_nothing(staying: Callable[..., Staying], number: signal.Signals) -> None:
    sandbox = staying()
    sandbox.until("Running")
    assert sandbox.end(number) == 1, "the story had not ended"
    assert not sandbox.kubeconfig.exists()
    assert list(sandbox.place.temporary.iterdir()) == []
    assert left_of(sandbox.process) == []


def test_keep_stays_until_ctrl_c_with_kubectl_beside_it(
    staying: Callable[..., Staying], kubectl: str, tmp_path: Path
) -> None:
    """get, describe, and an operator's pause, from another process."""
    out = tmp_path / "kubeconfig"
    sandbox = staying("--keep", "--kubeconfig-out", str(out), *FAST)
    assert sandbox.kubeconfig == out
    assert out.stat().st_mode & 0o077 == 0

    def call(*arguments: str) -> str:
        command = [kubectl, f"--kubeconfig={out}", f"--cache-dir={tmp_path}/cache", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sandbox.until("8 of 8 ended as expected")
    table = call("get", "wfe").splitlines()
    assert table[0].split()[:4] == ["NAME", "PHASE", "ENGINE", "TARGET"]
    assert {line.split()[0]: line.split()[1] for line in table[1:]} == {
        sample.name: sample.expect.phase.value for sample in scenario_file.default().samples
    }
    described = call("describe", "wfe", "resize-checkout")
    assert "TaskFailed" in described
    assert "WorkflowFailed" in described, "Events are shown"
    call("annotate", "wfe", "restart-frontend", "kubernaut.ai/pause=true")
    assert sandbox.end(signal.SIGINT) == 0
    assert not out.exists()
    assert list(sandbox.place.temporary.iterdir()) == []


def test_an_empty_sandbox_takes_requests_and_obeys_a_pause(
    staying: Callable[..., Staying], kubectl: str, tmp_path: Path
) -> None:
    """The controller runs there with exactly the rights of the shipped manifests, and does what it is told."""
    sandbox = staying("--no-samples", *FAST)
    story = scenario_file.default()
    request = story.execution(story.sample("restart-frontend"))
    request["metadata"]["annotations"] = {"kubernaut.ai/pause": "true", "kubernaut.ai/pause-by": "test"}

    def call(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
        command = [kubectl, f"--kubeconfig={sandbox.kubeconfig}", f"--cache-dir={tmp_path}/cache", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True, **options)

    call("create", "-f", "-", input=json.dumps(request))
    sandbox.until("request  restart-frontend  Pending  Paused")
    call("annotate", "wfe", "restart-frontend", "kubernaut.ai/pause-", "kubernaut.ai/pause-by-")
    call("wait", "wfe/restart-frontend", "--for=condition=Finished", "--timeout=60s")
    sandbox.until("request  restart-frontend  Completed")
    account = "--as=system:serviceaccount:kubernaut-system:workflowexecution-controller"
    asked = subprocess.run(
        [kubectl, f"--kubeconfig={sandbox.kubeconfig}", "auth", "can-i", "get", "secrets", account],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.stdout.strip() == "no"
    assert sandbox.end(signal.SIGTERM) == 0
    assert list(sandbox.place.temporary.iterdir()) == []

"""What a sandbox shows: one line a change in a pipe, a picture that fits and is redrawn in place on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.stage import AFTERWARDS, SHOW, WRAP, Stage, screen, summary
from wfe_controller.kube.clock import LoopClock, rfc3339
from wfe_controller.sandbox.director import Ending, Verdict
from wfe_controller.sandbox.run import Scene

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FRONTEND, CHECKOUT = "shop/deployment/frontend", "shop/deployment/checkout"
PLAIN = Style()
SGR = re.compile(r"\x1b\[[0-9;]*m")


def execution(name: str, phase: str = "", reason: str = "", *, target: str = FRONTEND, **found: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": rfc3339(NOW)},
        "spec": {"targetResource": target},
        "status": {"phase": phase, "reason": reason, **found},
    }


def lock(target: str, **status: Any) -> dict[str, Any]:
    name = "wfe-" + target.rpartition("/")[2]
    return {"metadata": {"name": name, "uid": "u"}, "spec": {"target": target}, "status": status}


def holder(name: str) -> dict[str, Any]:
    at = rfc3339(NOW)
    return {"uid": "u1", "name": name, "namespace": "shop", "engine": "tekton", "acquiredAt": at}


BLOCK = {
    "reason": "ExecutionFailed",
    "by": {"uid": "u2", "name": "resize-checkout"},
    "since": rfc3339(NOW),
    "message": "a step had started",
}
COOLING = {"workflowId": "w", "consecutiveFailures": 0, "cooldownUntil": rfc3339(NOW + timedelta(minutes=4))}


def scene(
    executions: Sequence[dict[str, Any]] = (), locks: Sequence[dict[str, Any]] = (), events: Sequence[Any] = ()
) -> Scene:
    return Scene(NOW, executions, locks, events)


class Terminal:
    """Plays what is written: only the codes that a Stage may use."""

    def __init__(self) -> None:
        self.lines, self.row, self.written = [""], 0, ""

    def write(self, text: str) -> None:
        self.written += text
        for up, code, newline, plain in re.findall(r"\x1b\[(\d+)A\r|(\x1b\[[?0-9;]*[A-Za-z])|(\n)|([^\x1b\n]+)", text):
            if up:
                self.row -= int(up)
                assert self.row >= 0
            elif newline:
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif code == "\x1b[J":
                del self.lines[self.row :]
                self.lines.append("")
            elif plain:
                self.lines[self.row] = plain


def test_in_a_pipe_each_change_is_one_line_and_nothing_is_said_twice() -> None:
    out: list[str] = []
    stage = Stage(out.append, PLAIN, clock=LoopClock())
    running = execution("restart-frontend", "Running", progress=50)
    for _ in range(3):
        stage.show(scene([running], [lock(FRONTEND, holder=holder("restart-frontend"))]))
    stage.show(scene([execution("restart-frontend", "Completed")], [lock(CHECKOUT, block=BLOCK), lock(FRONTEND)]))
    assert out == [
        f"target   {FRONTEND}  held by restart-frontend\n",
        "request  restart-frontend  Running  50%\n",
        f"target   {CHECKOUT}  free, blocked: ExecutionFailed\n",
        f"target   {FRONTEND}  free\n",
        "request  restart-frontend  Completed\n",
    ]


def test_the_tables_name_the_holder_the_block_and_when_the_next_may_run() -> None:
    locks = [
        lock(FRONTEND, holder=holder("restart-frontend")),
        lock(CHECKOUT, block=BLOCK),
        lock("shop/deployment/cart", workflows=[COOLING]),
        lock("shop/deployment/web"),
    ]
    executions = [execution("restart-frontend", "Running", completedSteps=1, totalSteps=2)]
    lines = screen(scene(executions, locks), [], PLAIN)
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("shop/", "restart-"))}
    assert cells == {
        FRONTEND: ["Held", "restart-frontend", "when", "released"],
        CHECKOUT: ["Blocked", "resize-checkout", "when", "cleared"],
        "shop/deployment/cart": ["Waits", "-", "in", "4m"],
        "shop/deployment/web": ["Free", "-", "now"],
        "restart-frontend": ["frontend", "Running", "1/2", "-"],
    }


@pytest.mark.parametrize("rows", [24, 30, 50])
@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colours"])
def test_a_picture_fits_eighty_columns_and_the_terminals_height(rows: int, colour: bool) -> None:
    style = Style(80, colour)
    long = "an operator looks at checkout and clears its block, naming the execution that caused it, and then goes on"
    story = [(NOW, f"{n}: {long}") for n in range(9)]
    phases = ("Running", "Failed", "Skipped", "Completed", "", "Pending")
    executions = [
        execution(f"restart-frontend-{n}-{'x' * 20}", phase, "PreviousExecutionFailed")
        for n, phase in enumerate(phases)
    ]
    event = {
        "type": "Warning",
        "reason": "WorkflowFailed",
        "message": f"\x1b[2J{long}\n" * 3,
        "involvedObject": {"name": "e" * 40},
        "lastTimestamp": rfc3339(NOW),
    }
    locks = [lock(FRONTEND, holder=holder("restart-frontend-0" * 4)), lock(CHECKOUT, block=BLOCK)]
    lines = screen(
        scene(executions, locks, [event] * 9),
        story,
        style,
        rows=rows,
        footer=["export KUBECONFIG=x", "ctrl-C ends the sandbox"],
    )
    shown = [SGR.sub("", line) for line in lines]
    assert max(len(line) for line in shown) <= 80
    assert all("\x1b" not in line for line in shown)
    assert len(lines) < rows
    assert any("9: an" in line or "8: an" in line for line in shown), "the newest line of the story is there"
    for head, least in (("TARGET  ", 2), ("REQUEST  ", 4), ("LAST EVENTS", 2)):
        at = next(number for number, line in enumerate(shown) if line.startswith(head))
        below = shown[at + 1 : at + 1 + least]
        assert len(below) == least, head
        assert all(line.strip() and not line.startswith(("LAST", "REQUEST", "export")) for line in below), (head, below)
    assert ("\x1b[" in "".join(lines)) is colour


def test_a_terminal_that_is_made_narrower_or_lower_gets_a_picture_that_fits() -> None:
    written: list[str] = []
    size = [(120, 40)]
    stage = Stage(written.append, Style(120), clock=LoopClock(), live=True, size=lambda: size[0])
    executions = [execution(f"restart-frontend-{n}", "Running", "PreviousExecutionFailed") for n in range(9)]
    for columns, rows in ((120, 40), (80, 20), (60, 24)):
        size[0] = (columns, rows)
        del written[:]
        stage.show(scene(executions, [lock(FRONTEND, holder=holder("restart-frontend-1"))]))
        lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", "".join(written)).splitlines()
        assert len(lines) < rows
        assert max(len(line) for line in lines) <= max(columns, 80), "the tables do not get narrower than that"
        assert max(len(line) for line in lines if not line.startswith(("restart-", "shop/", "TARGET "))) <= columns


def test_many_requests_on_a_low_terminal_leave_those_that_run_and_the_last() -> None:
    executions = [execution("first-runs", "Running"), *(execution(f"ended-{n}", "Completed") for n in range(30))]
    executions.append(execution("last", "Skipped", "ResourceBusy"))
    lines = screen(scene(executions, [lock(FRONTEND, holder=holder("first-runs"))]), [(NOW, "told")], PLAIN, rows=24)
    assert len(lines) < 24
    names = [line.split()[0] for line in lines]
    assert {"first-runs", "last", "ended-29"} <= set(names)
    gone = next(line for line in lines if line.startswith("  and "))
    assert gone == f"  and {32 - sum(name.startswith(('first', 'ended-', 'last')) for name in names)} before them"


def test_a_wide_terminal_shows_workflows_and_bars() -> None:
    running = execution("restart-frontend", "Running", completedSteps=1, totalSteps=2)
    running["spec"]["workflowRef"] = {"workflowId": "restart-deployment"}
    shown = screen(scene([running], [lock("shop/deployment/cart", workflows=[COOLING])]), [], Style(120))
    assert "restart-frontend  restart-deployment  frontend  Running  1/2 [#####-----]  -" in shown
    assert any(line.endswith("in 4m for w") for line in shown)


def test_plain_lines_tell_when_the_next_may_run_and_what_happened() -> None:
    out: list[str] = []
    stage = Stage(out.append, PLAIN, clock=LoopClock())
    event = {
        "metadata": {"uid": "1"},
        "reason": "WorkflowSkipped",
        "message": "RecentlyRemediated:\n\x1b[2Jtoo early",
        "involvedObject": {"name": "again"},
    }
    for _ in range(2):
        stage.show(scene([], [lock(FRONTEND, workflows=[COOLING])], [event]))
    assert out == [
        f"target   {FRONTEND}  free, w not before 12:04:00Z\n",
        "event    again  WorkflowSkipped: RecentlyRemediated: ?[2Jtoo early\n",
    ]


def test_a_screen_is_redrawn_in_place_and_what_is_gone_is_wiped_away(tmp_path: Path) -> None:
    terminal = Terminal()
    stage = Stage(terminal.write, PLAIN, clock=LoopClock(), live=True)
    stage.ready(tmp_path / "kubeconfig")
    above = len(terminal.lines)
    stage.show(scene([execution(f"e{n}", "Running") for n in range(6)], [lock(FRONTEND)]))
    stage.show(scene([execution("e0", "Completed")], [lock(FRONTEND)]))
    stage.close()
    assert terminal.lines[:above][1] == f"export KUBECONFIG={tmp_path / 'kubeconfig'}"
    now = terminal.lines[above - 1 :]
    assert sum(line.startswith("TARGETS, one lock each") for line in now) == 1
    assert not any("e5" in line for line in now)
    assert any(line.startswith("e0") and "Completed" in line for line in now)
    assert terminal.written.endswith(SHOW + WRAP), "the cursor comes back, and long lines are whole again"


def test_the_summary_stands_below_the_last_picture() -> None:
    terminal = Terminal()
    stage = Stage(terminal.write, PLAIN, clock=LoopClock(), live=True)
    stage.show(scene([execution("e0", "Completed")]))
    stage.ended(Ending([Verdict("e0", "Completed", "Completed")], 3.0, in_time=True))
    stage.show(scene([execution("e0", "Failed")]))
    assert terminal.lines[-3:] == ["1 of 1 ended as expected, after 3.0 s", AFTERWARDS, ""]
    assert not any("Failed" in line for line in terminal.lines)


def test_the_summary_names_expected_and_found_of_what_went_wrong() -> None:
    verdicts = [Verdict("good", "Completed", "Completed"), Verdict("bad", "Failed TaskFailed", "Completed")]
    lines = summary(Ending(verdicts, 12.34, in_time=True), PLAIN).splitlines()
    assert [line.split(maxsplit=2) for line in lines[1:3]] == [
        ["yes", "good", "Completed"],
        ["NO", "bad", "Completed, not Failed TaskFailed"],
    ]
    assert lines[-1] == "1 of 2 ended as expected, after 12.3 s"


def test_the_summary_tells_what_was_not_waited_for() -> None:
    verdicts = [
        Verdict("bad", "Failed TaskFailed", "Completed"),
        Verdict("runs", "Completed", "Running", open=True),
        Verdict("later", "Completed", "nothing", open=True),
    ]
    lines = summary(Ending(verdicts, 1.0, in_time=True), PLAIN).splitlines()
    assert [line.split(maxsplit=2) for line in lines[2:4]] == [
        ["-", "runs", "not waited for, was Running"],
        ["-", "later", "not asked for any more"],
    ]

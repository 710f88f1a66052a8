"""Tables, trees, graphs and explanations exactly as they are printed, at 80 columns.

A changed output is looked at and then kept: ``python -m tests.unit.cli.kubectl.test_views`` writes the files anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import runs
from tests.support.explained import (
    NOW,
    OTHER_UID,
    ago,
    ahead,
    blocked,
    facts,
    failed,
    held,
    lock,
    running,
    skipped,
    wfe,
)
from wfe_controller.cli.kubectl.explain.decide import explain
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread
from wfe_controller.cli.kubectl.explain.text import as_text
from wfe_controller.cli.kubectl.graph import dot, mermaid, of_facts
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tree import build, drawn
from wfe_controller.cli.kubectl.views import event_line, executions_table, locks_table

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Style()
LONG = "a-very-long-name-of-a-remediation-that-somebody-generated-0123456789"
OBJECTS = [
    running(),
    failed(),
    skipped("ResourceBusy", conflictingWorkflow={"name": "other"}),
    wfe(name=LONG),
    wfe("Completed", name="make-room", completionTime=ago(30), startTime=ago(90), totalSteps=2, completedSteps=2),
    running(deleting=5),
]
ENDED = {"uid": "u", "name": "earlier", "workflowId": "restart", "outcome": "Failed"}
WAITS = [
    {"workflowId": "restart", "consecutiveFailures": 2, "lastFailureAt": ago(30), "nextAllowedExecution": ahead(90)}
]
LOCKS = [
    lock(**held()),
    lock(**blocked()),
    lock(workflows=WAITS, lastExecution={**ENDED, "completedAt": ago(31), "releasedAt": ago(30)}),
    lock(block={"reason": 1}),
    lock(**held(LONG), **blocked(name="other", uid=OTHER_UID)),
]
RUN = runs.run(tasks=["restart", "check"], finally_=["tell"], children=["restart", "check"])
RUN["status"]["pipelineSpec"]["tasks"][1]["params"] = [{"name": "x", "value": "$(tasks.restart.results.y)"}]
IN_WORK = facts(
    running(),
    lock=lock(**held()),
    run=RUN,
    task_runs=[
        runs.task_run("restart", steps=[runs.ended_step("main")]),
        runs.task_run("check", "Unknown", "Running", steps=[runs.running_step("wait"), runs.waiting_step("last")]),
    ],
    pods=[runs.pod("restart", "Succeeded"), runs.pod("check", "Running")],
)
DETAILS = {
    "failedTaskName": "check",
    "failedStepName": "wait",
    "exitCode": 3,
    "evidence": {
        "pod": "wfe-x-check-pod",
        "container": "step-wait",
        "exitCode": 3,
        "logTail": "trying\nno such host\n",
    },
}
FAILED = facts(failed(details=DETAILS, totalSteps=2, completedSteps=1), lock=lock(**blocked(), lastExecution=None))
PLAN = {
    "workflowRef": None,
    "workflowDefinition": {
        "steps": [
            {"name": "scale", "action": "scale_deployment"},
            {"name": "wait", "action": "rollout_status", "dependsOn": ["scale"]},
        ]
    },
}

VIEWS: dict[str, Callable[[], str]] = {
    "get": lambda: executions_table(OBJECTS, NOW, PLAIN, wide=False, namespaces=False),
    "get-all": lambda: executions_table(OBJECTS, NOW, PLAIN, wide=False, namespaces=True),
    "get-wide": lambda: executions_table(OBJECTS, NOW, PLAIN, wide=True, namespaces=False),
    "get-ascii": lambda: executions_table(OBJECTS, NOW, replace(PLAIN, unicode=False), wide=False, namespaces=True),
    "locks": lambda: locks_table(LOCKS, NOW, PLAIN, wide=False),
    "locks-wide": lambda: locks_table(LOCKS, NOW, PLAIN, wide=True),
    "tree": lambda: drawn(build(IN_WORK), PLAIN),
    "tree-ascii": lambda: drawn(build(IN_WORK), replace(PLAIN, unicode=False)),
    "tree-unread": lambda: drawn(build(_without_rights()), PLAIN),
    "tree-steps": lambda: drawn(build(facts(wfe("Pending", spec=PLAN, executionEngine="steps"))), PLAIN),
    "graph-mermaid": lambda: mermaid(of_facts(IN_WORK)),
    "graph-dot": lambda: dot(of_facts(IN_WORK)),
    "graph-steps": lambda: mermaid(of_facts(facts(wfe(spec=PLAN)))),
    "explain-failed": lambda: as_text(explain(FAILED), PLAIN),
    "explain-running": lambda: as_text(explain(IN_WORK), PLAIN),
    "watch": lambda: "\n".join(event_line(obj, NOW, PLAIN) for obj in OBJECTS),
}


def _without_rights() -> Facts:
    no = Unread("x", "forbidden")
    return facts(running(), lock=no, run=no, task_runs=no, pods=no)


@pytest.mark.parametrize("name", VIEWS)
def test_output_as_it_looks(name: str) -> None:
    """Nothing wider than 80 columns, but for -o wide, which cuts nothing, and for graphs, which programs read."""
    shown = VIEWS[name]()
    assert shown == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
    if "wide" not in name and not name.startswith("graph"):
        assert max(map(len, shown.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in shown.splitlines())
    if "ascii" in name:
        assert shown.isascii()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(VIEWS)


def test_colours_change_nothing_but_the_colours() -> None:
    colour = replace(PLAIN, colour=True)
    painted = executions_table(OBJECTS, NOW, colour, wide=False, namespaces=False)
    assert "\x1b[31m" in painted
    assert re.sub(r"\x1b\[[0-9]+m", "", painted) == VIEWS["get"]()
    painted = as_text(explain(FAILED), colour)
    assert re.sub(r"\x1b\[[0-9]+m", "", painted).replace(" ", "") == VIEWS["explain-failed"]().replace(" ", "")


def test_in_a_pipe_nothing_is_cut() -> None:
    assert LONG in executions_table(OBJECTS, NOW, replace(PLAIN, cut=False), wide=False, namespaces=False)


def test_tree_and_graph_for_programs() -> None:
    told = build(IN_WORK).to_json()
    assert (told["kind"], told["state"], told["progress"]) == ("WorkflowExecution", "Running", 50)
    assert told["detail"].startswith("50%, "), "a bar is for people"
    assert [child["kind"] for child in told["children"]] == ["TargetLock", "PipelineRun"]
    graph = json.loads(json.dumps(of_facts(IN_WORK).to_json()))
    assert graph["edges"] == [{"from": "restart", "to": "check"}], "a used result orders tasks"
    assert [node["state"] for node in graph["nodes"]] == ["Succeeded", "Running", "Waiting"]


def test_control_characters_never_reach_the_terminal() -> None:
    """A message is written by others; it must not clear a screen."""
    evil = failed(message="x\x1b[2Jy\r\nz")
    text = as_text(explain(facts(evil)), PLAIN) + event_line(evil, NOW, PLAIN)
    assert "\x1b" not in text
    assert "\r" not in text


if __name__ == "__main__":
    for view, make in VIEWS.items():
        (GOLDEN / f"{view}.txt").write_text(make() + "\n", encoding="utf-8")

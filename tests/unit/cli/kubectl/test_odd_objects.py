"""Half-written and hand-edited objects: every command gives an answer, whatever stands in any field of any of them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from tests.support import runs
from tests.support.explained import (
    NOW,
    OTHER_UID,
    ago,
    ahead,
    blocked,
    condition,
    facts,
    failed,
    held,
    lock,
    running,
    skipped,
    wfe,
)
from wfe_controller.cli.kubectl.clearing import against_clear
from wfe_controller.cli.kubectl.decisions import against_cancel, against_pause, against_resume
from wfe_controller.cli.kubectl.explain.decide import explain
from wfe_controller.cli.kubectl.explain.facts import Facts
from wfe_controller.cli.kubectl.explain.obstacle import obstacle
from wfe_controller.cli.kubectl.explain.text import as_text
from wfe_controller.cli.kubectl.graph import dot, mermaid, of_facts
from wfe_controller.cli.kubectl.output import machine, tidied
from wfe_controller.cli.kubectl.retrying import against_retry, clone
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tree import build, drawn
from wfe_controller.cli.kubectl.views import event_line, executions_table, locks_table, needs_clearing
from wfe_controller.cli.kubectl.watching import over
from wfe_controller.cli.kubectl.words import CommandLine

ODD: tuple[Any, ...] = (
    *(None, 0, -1, 3.5, True, "", "x", [], [None], ["x"], [1, {}], {}, {"a": None}, {"name": 3}, 10**30, "é" * 5),
    *("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
)
PIPELINE = runs.run(tasks=["restart", "check"], finally_=["tell"], children=["restart"])
LAST = {"uid": OTHER_UID, "name": "earlier", "workflowId": "restart", "outcome": "Failed"}
STREAK = {
    "workflowId": "restart",
    "consecutiveFailures": 3,
    "lastFailureAt": ago(50),
    "nextAllowedExecution": ahead(50),
}
PAUSE = {"kubernaut.ai/pause": "true", "kubernaut.ai/pause-by": "al"}
EVENT = {"type": "Warning", "reason": "ClearBlockRefused", "message": "no", "lastTimestamp": ago(1)}
BASE = [
    facts(
        running(), lock=lock(**held()), run=PIPELINE, task_runs=[runs.task_run("restart")], pods=[runs.pod("restart")]
    ),
    facts(
        failed(details={"evidence": {"pod": "p", "logTail": "a\nb", "exitCode": 3}}, totalSteps=2),
        lock=lock(**blocked("CancelIncomplete"), lastExecution={**LAST, "completedAt": ago(9), "releasedAt": ago(8)}),
        survivors=[runs.pod("restart")],
        lock_events=[EVENT],
    ),
    facts(skipped("RecentlyRemediated", recentRemediation=dict(LAST)), lock=lock(workflows=[dict(STREAK)])),
    facts(wfe("Pending", reason="Paused", annotations=PAUSE), deployment={"spec": {"replicas": 0}}, lease={"spec": {}}),
    facts(wfe("Pending", reason="WaitingForRelease"), lock=lock(**held("other", OTHER_UID)), holder=wfe("Failed")),
    facts(running(deleting=5, conditions=[condition("Cancelling", "True", "Deleted")]), pods=[runs.pod("restart")]),
    facts(None, lock=lock(**blocked())),
]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*path, key))


def _odd(value: Any, chance: random.Random) -> Any:
    """A copy with up to three fields taken out, or replaced by something odd."""
    out = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        found = [path for path in _paths(out) if path != ("metadata",)]
        if not found:
            break
        *above, last = chance.choice(found)
        inner = out
        for key in above:
            inner = inner[key]
        if isinstance(inner, dict) and chance.random() < 0.3:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(chance.choice(ODD))
    return out


def _broken(chance: random.Random) -> Facts:
    known = chance.choice(BASE)
    changed: dict[str, Any] = {}
    for field in fields(known):
        value = getattr(known, field.name)
        if field.name in ("commands", "key", "now", "accounts") or chance.random() < 0.5:
            continue
        if isinstance(value, dict):
            changed[field.name] = _odd(value, chance)
        elif isinstance(value, list):
            changed[field.name] = [_odd(item, chance) for item in value]
    return replace(known, **changed)


@pytest.mark.parametrize("seed", range(8))
def test_every_command_answers_whatever_stands_there(seed: int) -> None:
    chance, style, commands = random.Random(seed), Style(), CommandLine()
    for _ in range(60):
        known = _broken(chance)
        told = explain(known)
        assert told.next.command
        assert as_text(told, style)
        assert machine(told.to_json(), "json")
        assert machine(told.to_json(), "yaml")
        assert drawn(build(known), style)
        graph = of_facts(known)
        assert mermaid(graph)
        assert dot(graph)
        if known.wfe is not None:
            obj = known.wfe
            assert executions_table([obj], NOW, style, wide=True, namespaces=True)
            assert event_line(obj, NOW, style)
            assert over(obj) in (True, False)
            assert machine(tidied(obj), "yaml")
            assert clone(obj, "x-r2", "al", None)
            for judge in (against_cancel, against_pause, against_resume):
                judge(obj, commands)
            against_retry(known, obstacle(known), edited=False)
        if isinstance(known.lock, dict):
            assert locks_table([known.lock], NOW, style, wide=True)
            assert needs_clearing(known.lock) in (True, False)
            against_clear(known.lock, "looked at it well", commands, [])

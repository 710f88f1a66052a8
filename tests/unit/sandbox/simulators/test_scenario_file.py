"""Scenario files: what is made of one, and every fault told with file, key and remedy in one line."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from wfe_controller.api.workflowexecution import parse_spec
from wfe_controller.sandbox.simulators import play, scenario_file
from wfe_controller.sandbox.simulators.scenario_file import ScenarioError
from wfe_controller.sandbox.simulators.tekton import graph

GOOD: dict[str, Any] = {
    "namespace": "shop",
    "bundles": {
        "restart": {"tasks": [{"name": "act", "steps": [{"play": {"seconds": 2}}]}]},
        "gone": {"resolution": "never"},
    },
    "samples": [
        {"name": "one", "target": "shop/deployment/cart", "bundle": "restart", "expect": {"phase": "Completed"}},
        {
            "name": "two",
            "target": "shop/deployment/cart",
            "bundle": "gone",
            "when": [{"execution": "one", "phase": "Running"}],
            "expect": {"phase": "Skipped", "reason": "ResourceBusy"},
        },
    ],
    "operator": [{"when": [{"target": "shop/deployment/cart", "is": "held"}], "pause": "one"}],
    "locks": [{"target": "shop/deployment/cart"}],
}
Change = Callable[[dict[str, Any]], object]


def parsed(change: Change = lambda content: None) -> scenario_file.Scenario:
    content = copy.deepcopy(GOOD)
    change(content)
    return scenario_file.parse(yaml.safe_dump(content), "story.yaml")


def test_the_shipped_scenario_is_one() -> None:
    found = scenario_file.default()
    assert [sample.expect.phase for sample in found.samples].count("Skipped") == 3
    for name in found.bundles:
        pipeline = found.pipeline(name)
        graph.dependencies(pipeline["spec"]["tasks"])
        assert found.reference(name).endswith(found.digest(name))
    for sample in found.samples:
        parse_spec(found.execution(sample))


def test_a_step_carries_its_play_to_the_container() -> None:
    (step,) = parsed().pipeline("restart")["spec"]["tasks"][0]["taskSpec"]["steps"]
    assert step["env"] == [{"name": play.ENVIRONMENT, "value": '{"seconds":2.0}'}]


def test_the_digest_is_that_of_the_content() -> None:
    def slower(content: dict[str, Any]) -> None:
        content["bundles"]["restart"]["tasks"][0]["steps"][0]["play"]["seconds"] = 3

    assert parsed().digest("restart") == parsed().digest("restart") != parsed(slower).digest("restart")


def test_only_what_can_be_had_is_resolved() -> None:
    found = parsed(lambda content: content["bundles"].update(no={"resolution": "refused", "refusal": "not yours"}))
    assert list(found.references()) == [found.reference("restart")]
    assert found.refusals() == {found.reference("no"): "not yours"}


def sample(**change: Any) -> Change:
    return lambda content: content["samples"][1].update(change)


def task(**change: Any) -> Change:
    return lambda content: content["bundles"]["restart"]["tasks"][0].update(change)


def step(**change: Any) -> Change:
    return lambda content: content["bundles"]["restart"]["tasks"][0]["steps"][0].update(change)


def decision(**change: Any) -> Change:
    return lambda content: content.update(operator=[{"when": [], **change}])


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        (lambda c: c.update(sampels=[]), "the file", "write one of about, bundles"),
        (lambda c: c.update(samples=[]), "samples", "at least one"),
        (lambda c: c.update(deadline=0), "deadline", "write seconds"),
        (sample(name="Two"), "samples[1].name", "lower-case"),
        (sample(name="one"), "samples[1].name", "its own name"),
        (sample(bundle="nothing"), "samples[1].bundle", "write one of gone, restart"),
        (sample(target="cart"), "samples[1].target", "such as shop/deployment/cart"),
        (sample(expect={"phase": "Runing"}), "samples[1].expect.phase", "write one of AwaitingApproval"),
        (sample(expect={"phase": "Running"}), "samples[1].expect.phase", "write one of Completed, Failed"),
        (sample(expect={"phase": "Failed", "reason": "Bad"}), "samples[1].expect.reason", "TaskFailed"),
        (sample(when=[{"execution": "one"}]), "samples[1].when[0]", "write both"),
        (sample(when=[{"execution": "six", "phase": "Failed"}]), "samples[1].when[0].execution", "one, two"),
        (sample(when=[{"target": "a/b/c", "is": "free"}]), "samples[1].when[0].target", "shop/deployment/cart"),
        (sample(when=[{"target": "shop/deployment/cart", "is": "fre"}]), "samples[1].when[0].is", "blocked, free"),
        (sample(when=[{"execution": "two", "phase": "Failed"}]), "samples", "let one of them begin"),
        (sample(when=[{"after": -1}]), "samples[1].when[0].after", "from 0 on"),
        (lambda c: c["bundles"].update(x={}), "bundles.x.tasks", "at least one task"),
        (lambda c: c["bundles"]["restart"]["tasks"][0].update(steps=[]), "bundles.restart.tasks[0].steps", "one step"),
        (lambda c: c["bundles"]["restart"]["tasks"][0].update(runAfter=["z"]), "tasks[0].runAfter", "write one of act"),
        (
            lambda c: c["bundles"]["restart"]["tasks"][0]["steps"][0].update(play={"secnds": 1}),
            "steps[0].play",
            "seconds",
        ),
        (lambda c: c["operator"][0].update(resume="one"), "operator[0]", "exactly one"),
        (lambda c: c["operator"][0].update(pause="six"), "operator[0].pause", "one, two"),
        (lambda c: c["locks"][0].update(target="x/y/z"), "locks[0].target", "shop/deployment/cart"),
        (lambda c: c["locks"][0].update(outcome="Fine"), "locks[0].outcome", "write one of Completed, Failed"),
        (lambda c: c.pop("bundles"), "the file", "add bundles"),
        (lambda c: c.update(samples=None), "samples", "correct its type"),
        (lambda c: c.update({1: 2}), "the file", "correct its type"),
        (lambda c: c["samples"][1].pop("name"), "samples[1]", "add name"),
        (lambda c: c.update(namespace="Shop!"), "namespace", "lower-case"),
        (lambda c: c.update(deadline=math.inf), "deadline", "write seconds"),
        (sample(when=[{"after": math.nan}]), "samples[1].when[0].after", "from 0 on"),
        (sample(namespace="a b"), "samples[1].namespace", "lower-case"),
        (sample(timeout="long"), "samples[1].timeout", "write it as 90s"),
        (sample(expect={"phase": "Failed"}), "samples[1].expect.reason", "write one of Cancelled"),
        (sample(expect={"phase": "Skipped", "reason": "TaskFailed"}), "samples[1].expect.reason", "ResourceBusy"),
        (step(play={"seconds": -1}), "bundles.restart.tasks[0].steps[0].play.seconds", "from 0 on"),
        (step(play={"exitCode": 256}), "bundles.restart.tasks[0].steps[0].play.exitCode", "write 0 to 255"),
        (step(play="quick"), "bundles.restart.tasks[0].steps[0].play", "write one of evicted"),
        (step(onError="stop"), "bundles.restart.tasks[0].steps[0].onError", "write one of continue"),
        (step(name="a b"), "bundles.restart.tasks[0].steps[0].name", "lower-case"),
        (task(timeout="x"), "bundles.restart.tasks[0].timeout", "write it as 90s"),
        (task(runAfter=["act"]), "bundles.restart.tasks", "let one of them begin"),
        (
            lambda c: c["bundles"]["restart"].update({"finally": [{"name": "act", "steps": [{}]}]}),
            "bundles.restart.tasks[0].name",
            "its own name",
        ),
        (lambda c: c.update(workloads=[{"name": "A"}]), "workloads[0].name", "lower-case"),
        (lambda c: c.update(workloads=[{"name": "a", "replicas": -1}]), "workloads[0].replicas", "from 0 on"),
        (lambda c: c.update(workloads=[{"name": "a"}] * 2), "workloads[1].name", "its own name"),
        (
            decision(clearBlock={"target": "shop/deployment/cart", "by": "me", "reason": "looked"}),
            "operator[0].clearBlock.reason",
            "at least 10",
        ),
        (decision(cancel={"execution": "one", "by": " ", "reason": "x"}), "operator[0].cancel.by", "at least 1"),
    ],
)
def test_a_fault_is_told_with_file_key_and_remedy(change: Change, key: str, remedy: str) -> None:
    with pytest.raises(ScenarioError) as fault:
        parsed(change)
    said = str(fault.value)
    assert said.startswith("scenario story.yaml: ")
    assert f"{key}: " in said
    assert remedy in said
    assert "\n" not in said


@pytest.mark.parametrize("raw", ["[1", "- 1", "", "a: b: c", "about: a\nabout: b"])
def test_what_is_no_scenario_at_all(raw: str) -> None:
    with pytest.raises(ScenarioError, match=r"scenario story\.yaml: "):
        scenario_file.parse(raw, "story.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot be read .* name a YAML file with --scenario"):
        scenario_file.load(tmp_path / "none.yaml")

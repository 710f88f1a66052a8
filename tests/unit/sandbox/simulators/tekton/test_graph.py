"""What tasks wait for, and which pipelines Tekton refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe_controller.sandbox.simulators.tekton import graph
from wfe_controller.sandbox.simulators.tekton.graph import Unfit
from wfe_controller.sandbox.simulators.tekton.terms import child_name


def task(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "runAfter": list(after), "taskSpec": {"steps": []}, **more}


def run(**params: str) -> dict[str, Any]:
    spec = {"params": [{"name": name, "value": value} for name, value in params.items()]}
    return {"metadata": {"name": "run", "namespace": "ns"}, "spec": spec}


def test_a_result_is_waited_for_like_a_named_task() -> None:
    uses = task("b", params=[{"name": "p", "value": "$(tasks.a.results.r)"}])
    assert graph.dependencies([task("a"), uses, task("c", "b", "a")]) == {"a": [], "b": ["a"], "c": ["b", "a"]}


@given(st.integers(min_value=2, max_value=8), st.randoms(use_true_random=False))
def test_a_circle_is_found_wherever_it_is(size: int, rng: random.Random) -> None:
    names = [f"t{n}" for n in range(size)]
    circle = rng.sample(names, rng.randint(2, size))
    after = {name: [circle[(circle.index(name) + 1) % len(circle)]] if name in circle else [] for name in names}
    with pytest.raises(Unfit, match="cycle detected"):
        graph.dependencies([task(name, *after[name]) for name in names])


@given(st.integers(min_value=1, max_value=8), st.randoms(use_true_random=False))
def test_an_order_is_never_taken_for_a_circle(size: int, rng: random.Random) -> None:
    names = [f"t{n}" for n in range(size)]
    tasks = [task(name, *rng.sample(names[:n], rng.randint(0, n))) for n, name in enumerate(names)]
    rng.shuffle(tasks)
    assert set(graph.dependencies(tasks)) == set(names)


@pytest.mark.parametrize(
    ("spec", "given_", "reason"),
    [
        ({"tasks": [task("a", "nobody")]}, {}, "PipelineInvalidGraph"),
        ({"tasks": [task("a"), task("a")]}, {}, "PipelineInvalidGraph"),
        ({"tasks": [task("a")], "params": [{"name": "p", "type": "string"}]}, {}, "ParameterMissing"),
        ({"tasks": [task("a")], "params": [{"name": "p", "type": "array"}]}, {"p": "x"}, "ParameterTypeMismatch"),
        ({"tasks": [{"name": "a", "taskRef": {"name": "t"}}]}, {}, "PipelineValidationFailed"),
        ({"tasks": [task("a", matrix={})]}, {}, "PipelineValidationFailed"),
    ],
)
def test_what_cannot_run_is_refused_with_tektons_reason(
    spec: dict[str, Any], given_: dict[str, str], reason: str
) -> None:
    with pytest.raises(Unfit) as refused:
        graph.check(run(**given_), "workflow", spec)
    assert refused.value.reason == reason
    assert "ns/run" in refused.value.message or "ns/workflow" in refused.value.message


def test_types_are_filled_in_as_tekton_stores_them() -> None:
    spec = {
        "params": [{"name": "s"}, {"name": "l", "default": ["x"]}],
        "tasks": [task("a")],
        "results": [{"name": "r"}],
    }
    found = graph.with_defaults(spec)
    assert [param["type"] for param in found["params"]] == ["string", "array"]
    assert found["results"] == [{"name": "r", "description": ""}]
    assert found["tasks"][0]["taskSpec"] == {"metadata": {}, "spec": None, "steps": []}


@pytest.mark.parametrize("length", [1, 30, 58, 59, 60, 63, 200])
def test_names_of_children_fit_and_differ(length: int) -> None:
    names = {child_name(first + "a" * (length - 1), "-task") for first in "xy"}
    assert len(names) == 2
    assert all(len(name) <= 63 and name.endswith("-task") for name in names)

"""What the controller says to a bad spec; the API server's half of the table is in tests/integration."""

from __future__ import annotations

import pytest

from tests.support.badinput import CASES, STEPS, TEKTON, Case
from tests.support.crdschema import violations
from wfe_controller.api.workflowexecution import InvalidSpec, parse_spec


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_controller_refuses_it_in_these_words(case: Case) -> None:
    """Point 8: field, value (shortened, parameters redacted), rule, remedy."""
    with pytest.raises(InvalidSpec) as refused:
        parse_spec(case.build())
    assert str(refused.value) == case.controller
    assert all(problem.remedy and problem.rule and problem.field for problem in refused.value.problems)


@pytest.mark.parametrize("spec", [TEKTON, STEPS], ids=["tekton", "steps"])
def test_the_specs_the_cases_start_from_are_good(spec: dict[str, object]) -> None:
    parse_spec({"spec": spec})
    assert violations("WorkflowExecution", {"spec": spec}) == []


def test_no_value_of_a_parameter_is_ever_shown() -> None:
    """P:Q8: parameters may hold secrets, whatever is wrong with them."""
    secret = "hunter2-" + "x" * 40_000
    with pytest.raises(InvalidSpec) as refused:
        parse_spec({"spec": {**TEKTON, "parameters": {"A": secret, "B": ["hunter2"], "C": 7_331_337}}})
    assert "hunter2" not in str(refused.value)
    assert "7331337" not in str(refused.value)


def test_many_problems_make_one_bounded_line() -> None:
    spec = {**TEKTON, **{f"unknown{i}": i for i in range(500)}}
    with pytest.raises(InvalidSpec) as refused:
        parse_spec({"spec": spec})
    assert len(refused.value.problems) == 500
    assert str(refused.value).endswith("; and 490 more")


def test_the_image_comes_first_when_everything_is_empty() -> None:
    """T72."""
    with pytest.raises(InvalidSpec) as refused:
        parse_spec({"spec": {**TEKTON, "targetResource": 1, "workflowRef": {"containerImage": ""}}})
    assert refused.value.problems[0].field == "spec.workflowRef.containerImage"

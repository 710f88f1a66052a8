"""Values in the place of ``$(...)``."""

from __future__ import annotations

import pytest

from wfe_controller.sandbox.simulators.tekton.substitution import (
    Words,
    parameters,
    result_references,
    substitute,
    without,
)

WORDS: Words = {"params.a": "A", "params.list": ["x", "y"], "tasks.t.results.r": "R", "params.with.dot": "D"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$(params.a)-$(params.a)", "A-A"),
        ("$(params[\"a\"]) $(params['with.dot'])", "A D"),
        ("$(params.unknown) $(params.a", "$(params.unknown) $(params.a"),
        ("$(params.list[1])", "y"),
        ("$(params.list[7])", "$(params.list[7])"),
        (["-c", "$(params.list[*])", "$(params.a)"], ["-c", "x", "y", "A"]),
        ({"$(params.a)": {"deep": ["$(tasks.t.results.r)"]}}, {"$(params.a)": {"deep": ["R"]}}),
        (3, 3),
        ("a $ b $() $(", "a $ b $() $("),
    ],
)
def test_substitute(value: object, expected: object) -> None:
    assert substitute(value, WORDS) == expected


def test_a_value_that_was_put_in_is_not_looked_at_again() -> None:
    assert substitute("$(params.a)", {"params.a": "$(params.b)", "params.b": "no"}) == "$(params.b)"


def test_what_is_given_wins_over_the_default_and_nearer_names_hide_farther_ones() -> None:
    declared = [{"name": "a", "default": "d"}, {"name": "b", "default": "d"}, {"name": "c"}]
    words = parameters(declared, [{"name": "a", "value": "given"}, {"name": "o", "value": {"k": "v"}}])
    assert words == {"params.a": "given", "params.b": "d", "params.o.k": "v"}
    assert without(words, ["a"]) == {"params.b": "d", "params.o.k": "v"}


def test_references_to_results_in_order_and_once() -> None:
    found = result_references(
        [{"x": "$(tasks.b.results.r) $(tasks.a.results.s)"}, "$(tasks.b.results.r)", "$(params.a)"]
    )
    assert found == [("b", "r"), ("a", "s")]

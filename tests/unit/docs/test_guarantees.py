"""docs/guarantees.md promises nothing without a test that is there, and names every assumption that it rests on."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import REFERENCE, ROOT, Row, functions, rows

PAGE = "docs/guarantees.md"
GUARANTEES = rows(PAGE, r"G\d+")
ASSUMPTIONS = rows(PAGE, r"A\d+")


def test_each_is_numbered_once_and_in_order() -> None:
    assert [row.id for row in GUARANTEES] == [f"G{n}" for n in range(1, len(GUARANTEES) + 1)]
    assert [row.id for row in ASSUMPTIONS] == [f"A{n}" for n in range(1, len(ASSUMPTIONS) + 1)]


@pytest.mark.parametrize("row", GUARANTEES, ids=str)
def test_a_guarantee_names_a_test_that_is_there(row: Row) -> None:
    assert row.evidence
    for path, function, _parameter in row.evidence:
        assert function in functions(path), f"{path} has no {function}"


def test_every_assumption_is_explained_and_used() -> None:
    used = {word for row in GUARANTEES for word in re.findall(r"A\d+", row.cells[2])}
    assert used == {row.id for row in ASSUMPTIONS}


def test_what_is_said_in_passing_is_there_too() -> None:
    for path, function, _parameter in REFERENCE.findall((ROOT / PAGE).read_text()):
        assert function in functions(path), f"{path} has no {function}"

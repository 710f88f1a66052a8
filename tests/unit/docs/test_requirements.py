"""docs/requirements.md is complete, and no row of it promises a test that is not there."""

from __future__ import annotations

import pytest

from tests.support.pages import Row, carries, problems, rows

PAGE = "docs/requirements.md"
IDS = [
    *(f"TH{n}" for n in range(1, 51)),
    "TH36b",
    *(f"T{n}" for n in range(1, 87)),
    *(f"BR-WE-{n:03d}" for n in range(1, 14)),
]
CITED = [
    *(f"P:L{n}" for n in range(1, 11)),
    *(f"P:{n}" for n in ["T1", "T2", "T4", "T6", "T8", "T9", "Q3", "Q6", "Q9", "S1", "P1", "W2", "W9", "W10", "O1"]),
]
ROWS = rows(PAGE, r"(TH\d+b?|T\d+|BR-WE-\d+|P:[A-Z]\d+)")


def test_every_id_has_exactly_one_row() -> None:
    assert sorted(row.id for row in ROWS) == sorted([*IDS, *CITED])


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_has_a_verdict_and_its_tests_are_there(row: Row) -> None:
    assert problems(row) == []


def test_an_id_is_a_word() -> None:
    assert carries("ids=['T4-TH9-mine']", "T4")
    assert carries("TH36b.", "TH36b")
    assert not any(carries(text, "T1") for text in ("T12", "TH1", "PT1"))
    assert not carries("TH36b", "TH36")

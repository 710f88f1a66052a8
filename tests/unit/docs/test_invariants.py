"""docs/invariants.md is complete, and every test and place it names is there."""

from __future__ import annotations

import re

import pytest

from tests.support.pages import ROOT, Row, problems, rows

ROWS = rows("docs/invariants.md", r"I-\d+")


def test_every_invariant_has_exactly_one_row() -> None:
    assert [row.id for row in ROWS] == [f"I-{n}" for n in range(1, 73)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_has_a_verdict_and_its_tests_are_there(row: Row) -> None:
    assert problems(row) == []


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_place_exists(row: Row) -> None:
    """A path without a room is beside the path before it."""
    folder = ROOT
    for path in re.findall(r"[\w/]+\.(?:py|yaml)", row.cells[3]):
        candidates = [ROOT / path, folder / path, folder.parent / path, ROOT / "wfe_controller/kube" / path]
        found = next((c for c in candidates if c.is_file()), None)
        assert found is not None, path
        folder = found.parent
    assert folder != ROOT, "no place is named"

"""The suite can fail: every mistake in mutations.py is noticed by a case it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract import pending
from tests.contract.double import Copy, fails
from tests.contract.mutations import MUTATIONS, Mutation
from tests.contract.mutations_edges import EDGES

ALL = [*MUTATIONS, *EDGES]


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("double"))


def test_there_are_enough_and_each_is_another() -> None:
    assert len(ALL) >= 40
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in ALL}) == len(ALL)
    assert len({mutation.name for mutation in ALL}) == len(ALL)


def test_the_cases_pass_without_a_mutation(double: Copy) -> None:
    """Else a mutation could be noticed by a case that fails anyway."""
    cases = sorted({case for mutation in ALL for case in mutation.cases})
    assert not pending.PENDING & set(cases)
    with double.mutated("__init__.py", '"""An', '"""One') as package:
        assert fails(package, cases) == ""


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_mistake_is_noticed(double: Copy, mutation: Mutation) -> None:
    with double.mutated(mutation.file, mutation.old, mutation.new) as package:
        assert fails(package, list(mutation.cases)), "no case notices it"


def test_nothing_is_pending() -> None:
    """The list of cases that the double does not pass yet, which must be empty."""
    assert not pending.PENDING, "\n".join(sorted(pending.PENDING))


def test_every_recording_belongs_to_a_case(request: pytest.FixtureRequest) -> None:
    """A recording whose case was renamed or removed is dead weight: tests/contract/expected is written as a whole."""
    directory = Path(__file__).parent
    for path in sorted((directory / "expected").glob("*.yaml")):
        assert (directory / f"test_{path.stem}.py").exists(), path.name

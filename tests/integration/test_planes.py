"""The list of what the embedded plane cannot do stays short and true."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import planes

HERE = Path(__file__).parent
TAKES_A_PLANE = {"plane", "wfe", "kubectl", "controllers", "executions", "installed", "runner", "bare_plane"}
"""Arguments by which a test comes to a plane, and so to the list at all."""


def arguments_by_test(path: Path) -> dict[str, set[str]]:
    """Names of the tests of a file, with their arguments."""
    functions = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {f.name: {a.arg for a in f.args.args} for f in functions if f.name.startswith("test_")}


@pytest.mark.parametrize("entry", planes.NOT_EMBEDDED)
def test_every_exception_is_a_test_that_needs_a_plane(entry: str) -> None:
    """One that was renamed or removed leaves no entry behind."""
    file, _, name = entry.partition("::")
    found = arguments_by_test(HERE / file)
    assert name in found, f"{entry} is no test any more"
    assert found[name] & TAKES_A_PLANE, f"{entry} needs no plane"
    assert planes.NOT_EMBEDDED[entry], "an exception has a reason"


def test_there_are_few() -> None:
    assert len(planes.NOT_EMBEDDED) <= 15


@pytest.mark.parametrize(
    ("option", "chosen"),
    [("real,embedded", ["real", "embedded"]), ("embedded, real", ["real", "embedded"]), ("embedded", ["embedded"])],
)
def test_the_option(option: str, chosen: list[str]) -> None:
    """The real plane first, whatever the order."""
    assert planes.chosen(option) == chosen


@pytest.mark.parametrize("option", ["", "real,kind", "Embedded"])
def test_an_option_that_names_no_plane(option: str) -> None:
    with pytest.raises(pytest.UsageError, match="is none of real, embedded"):
        planes.chosen(option)

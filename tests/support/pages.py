"""Tables of ids in docs/, and whether the tests they name are there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)(\[[^`]*\])?`")


@dataclass(frozen=True)
class Row:
    """``evidence``: (file, function, parametrize id or "")."""

    id: str
    cells: tuple[str, ...]
    verdict: str
    evidence: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        return self.id


def rows(page: str, pattern: str) -> list[Row]:
    """Every table row of ``page`` whose first cell matches ``pattern``; the verdict is the third cell."""
    found = []
    for line in (ROOT / page).read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("| ") and re.fullmatch(pattern, cells[0]):
            evidence = tuple((f, name, (id_ or "").strip("[]")) for f, name, id_ in REFERENCE.findall(cells[-1]))
            found.append(Row(cells[0], cells, cells[2], evidence))
    return found


def carries(text: str, id_: str) -> bool:
    """Whether the id stands in the text as a word: T1 is not in T12, nor in TH1. P:W9 may be written W9; P:T2 may not,
    for T2 is something else."""
    if id_.startswith("P:") and not id_.startswith("P:T") and carries(text, id_.removeprefix("P:")):
        return True
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(id_)}(?![0-9A-Za-z])", text) is not None


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text()


@cache
def functions(path: str) -> dict[str, str]:
    """The test functions of a file with their text, decorators included; those of a class as Class::name."""
    found: dict[str, str] = {}
    lines = source(path).splitlines()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{node.name}::")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[prefix + node.name] = "\n".join(lines[first - 1 : node.end_lineno])

    collect(ast.parse(source(path)).body, "")
    return found


def problems(row: Row) -> list[str]:
    """What is wrong with one row; empty when it may be believed."""
    wrong = []
    if not re.match(r"kept$|superseded by SPEC \d|does not apply because \S|waits for issue: \S", row.verdict):
        wrong.append(f"no verdict: {row.verdict!r}")
    if row.verdict == "kept" and not row.evidence:
        wrong.append("kept without a test")
    if len(re.findall(r"::", row.cells[-1])) != len(row.evidence):
        wrong.append(f"a reference that cannot be read: {row.cells[-1]}")
    for path, function, parameter in row.evidence:
        if not (ROOT / path).is_file():
            wrong.append(f"{path} does not exist")
            continue
        if parameter and parameter not in source(path):
            wrong.append(f"{path} has no case {parameter!r}")
        if function not in functions(path):
            wrong.append(f"{path} has no {function}")
        elif row.verdict == "kept" and not carries(functions(path)[function], row.id):
            wrong.append(f"{path}::{function} does not name {row.id}")
    return wrong

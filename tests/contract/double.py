"""Mutated copies of the double, imported under names of their own, and single cases run on them without pytest."""

from __future__ import annotations

import compileall
import contextlib
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.contract import expectations
from tests.contract.embedded import PACKAGE, running
from tests.contract.session import Session

HERE = Path(__file__).parent
PATIENCE = 3.0  # seconds; the double needs milliseconds
SOURCE = HERE.parents[1].joinpath(*PACKAGE.split("."))


class Copy:
    """A copy of the package under another name, in which one piece of text at a time is another.

    Absolute imports inside it are rewritten, so that a mutant never falls back on the original. Its bytecode is kept:
    per mutant only the changed file is compiled again.
    """

    def __init__(self, directory: Path, name: str = "mutant") -> None:
        self.name = name
        self.path = directory / name
        shutil.copytree(SOURCE, self.path, ignore=shutil.ignore_patterns("__pycache__"))
        parent, _, leaf = PACKAGE.rpartition(".")
        for path in self.path.rglob("*.py"):
            text = path.read_text()
            path.write_text(
                text.replace(f"from {parent} import {leaf}", f"import {name} as {leaf}").replace(PACKAGE, name)
            )
        compileall.compile_dir(self.path, quiet=2, optimize=-1)

    @contextlib.contextmanager
    def mutated(self, file: str, old: str, new: str) -> Iterator[str]:
        """The package's name, importable while the block lasts, with one text replaced.

        Raises AssertionError unless the text stands there exactly once.
        """
        path = self.path / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
        sys.path.insert(0, str(self.path.parent))
        try:
            _write(path, text.replace(old, new))
            yield self.name
        finally:
            _write(path, text)
            sys.path.remove(str(self.path.parent))
            for module in [
                module for module in sys.modules if module == self.name or module.startswith(f"{self.name}.")
            ]:
                del sys.modules[module]


def _write(path: Path, text: str) -> None:
    """Bytecode is recognised by the second of the change and the size, which may both be the old ones."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
    path.write_text(text)
    importlib.invalidate_caches()


def case(identifier: str) -> Callable[[Session], None]:
    """``create/create_name_taken`` or ``selectors/labels[app=web-ae]``: the function with its parameters filled in."""
    group, _, rest = identifier.partition("/")
    name, _, label = rest.removesuffix("]").partition("[")
    function = getattr(_module(group), f"test_{name}")
    if not label:
        return lambda api: function(api)
    for values in _parameters(function):
        if values[0] == label:
            return lambda api: function(api, **values[1])
    raise LookupError(f"{identifier}: known are {[values[0] for values in _parameters(function)]}")


def _module(group: str) -> ModuleType:
    return importlib.import_module(f"tests.contract.test_{group}")


def _parameters(function: Any) -> list[tuple[str, dict[str, Any]]]:
    """Ids and arguments of each parametrisation, with the ids that pytest gives them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for mark in getattr(function, "pytestmark", ()):
        if mark.name != "parametrize":
            continue
        names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else mark.args[0]
        given = mark.kwargs.get("ids")
        labels = list(given) if given is not None and not callable(given) else None
        for index, value in enumerate(mark.args[1]):
            label = labels[index] if labels is not None else getattr(value, "id", None)
            plain = getattr(value, "values", value) if label is not None and labels is None else value
            values = plain if len(names) > 1 or plain is not value else (plain,)
            if label is None:
                label = "-".join(value if isinstance(value, str) else str(value) for value in values)
            found.append((label, dict(zip(names, values, strict=True))))
    return found


def fails(package: str, cases: list[str]) -> str:
    """Run cases on the server of a package: the first failure in words, "" when all pass."""
    try:
        with running(package=package) as server:
            for identifier in cases:
                session = Session(server, patience=PATIENCE)
                try:
                    case(identifier)(session)
                    expectations.compare(identifier, session.steps)
                except Exception as failure:  # noqa: BLE001 - whatever a broken server leads to is a failure
                    return f"{identifier}: {type(failure).__name__}: {str(failure)[:300]}"
                finally:
                    session.close()
    except Exception as failure:  # noqa: BLE001 - a server that does not even start is found too
        return f"start: {type(failure).__name__}: {str(failure)[:300]}"
    return ""

"""``python -m hack.docs``: write what the code knows better than any author: the tables of docs/operations.md, and the
commands of docs/cli.md.

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else is prose and is left alone.
``tests/unit/docs`` fails when a file differs from what would be written here.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import click

from wfe_controller.api import reasons
from wfe_controller.app.config import Setting, settings_table
from wfe_controller.app.metric_names import Names, metrics_table
from wfe_controller.app.rights import RIGHTS, Place
from wfe_controller.cli.kubectl.main import main as kubectl_wfe
from wfe_controller.cli.main import main as wfe_controller

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"
CLI = ROOT / "docs" / "cli.md"
PAGES = (OPERATIONS, CLI)
SOURCES = ROOT / "wfe_controller"

_BLOCK = re.compile(r"(?P<start><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_DASH = "-"


def source_text() -> str:
    """All code but the file in which the vocabularies are defined."""
    files = sorted(path for path in SOURCES.rglob("*.py") if path != SOURCES / "api" / "reasons.py")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def unused(vocabulary: type[StrEnum]) -> tuple[str, ...]:
    """Words of a vocabulary that no code uses: kept for the API's sake, never seen from this version."""
    text = source_text()
    return tuple(word.value for word in vocabulary if not re.search(rf"\b{vocabulary.__name__}\.{word.name}\b", text))


def settings() -> Iterator[str]:
    yield "| key | environment | default | what | reload |"
    yield "|---|---|---|---|---|"
    for setting in settings_table():
        reload = "yes" if setting.reloads else "restart"
        yield f"| `{setting.key}` | `{setting.env}` | {_default(setting)} | {_cell(setting.about)} | {reload} |"


def metrics() -> Iterator[str]:
    yield "| metric | kind | labels | what |"
    yield "|---|---|---|---|"
    for metric in metrics_table():
        labels = "; ".join(
            f"`{label}`: {'names' if isinstance(values, Names) else ', '.join(sorted(values))}"
            for label, values in metric.labels.items()
        )
        yield f"| `{metric.name}` | {metric.kind} | {_cell(labels) or _DASH} | {_cell(metric.help)} |"


def rights() -> Iterator[str]:
    where = {
        Place.HOME: "controller's namespace",
        Place.EXECUTION: "execution namespace",
        Place.WATCHED: "all namespaces, or the watched ones",
        Place.CLUSTER: "cluster",
    }
    yield "| where | what | verbs | why | without it |"
    yield "|---|---|---|---|---|"
    rows: dict[tuple[str, ...], list[str]] = {}
    for right in RIGHTS:
        named = f" ({', '.join(right.names)})" if right.names else ""
        loss = "not ready" if right.required else "less detail"
        rows.setdefault((where[right.place], f"`{right.object}`{named}", right.why, loss), []).append(right.verb)
    for (place, thing, why, loss), verbs in rows.items():
        yield f"| {place} | {thing} | {', '.join(verbs)} | {why} | {loss} |"


def reserved() -> Iterator[str]:
    for vocabulary in (reasons.EventReason, reasons.ConditionType, reasons.ConditionReason):
        words = ", ".join(f"`{word}`" for word in unused(vocabulary)) or "none"
        yield f"- {vocabulary.__name__}: {words}"


COMMON = ("--namespace", "--kubeconfig", "--context", "--controller-namespace", "--execution-namespace", "--help")
"""Options of every ``kubectl wfe`` command that reaches a cluster; told once."""


def commands(group: click.Group, program: str, leave_out: tuple[str, ...] = ("--help",)) -> Iterator[str]:
    """A section for each command: usage, what it does, its own options."""
    parent = click.Context(group, info_name=program, **group.context_settings)
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"### {program} {name}"
        yield ""
        yield f"    {program} {name} {usage}"
        yield ""
        # A paragraph that click must not wrap is one that stands as it is written.
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            kept = paragraph.startswith("\b")
            lines = paragraph.removeprefix("\b").strip("\n").splitlines()
            yield from (f"    {line}" for line in lines) if kept else (" ".join(lines).replace("<", "&lt;"),)
            yield ""
        rows = [row for p in command.params if (row := _option(p, context, leave_out))]
        if rows:
            yield from ("| option | what |", "|---|---|", *rows, "")


def _option(parameter: click.Parameter, context: click.Context, leave_out: tuple[str, ...]) -> str:
    if not isinstance(parameter, click.Option) or set(parameter.opts) & set(leave_out):
        return ""
    record = parameter.get_help_record(context)
    assert record is not None
    return f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def common() -> Iterator[str]:
    yield "| option | what |"
    yield "|---|---|"
    parent = click.Context(kubectl_wfe, **kubectl_wfe.context_settings)
    get = kubectl_wfe.get_command(parent, "get")
    assert get is not None
    context = click.Context(get, info_name="get", parent=parent)
    for parameter in get.params:
        if set(parameter.opts) & set(COMMON):
            yield _option(parameter, context, ())


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "metrics": metrics,
    "rights": rights,
    "reserved": reserved,
    "common-options": common,
    "kubectl-wfe": lambda: commands(kubectl_wfe, "kubectl wfe", COMMON),
    "wfe-controller": lambda: commands(wfe_controller, "wfe-controller"),
}


def rendered(text: str) -> str:
    """``text`` with every generated block as it should be. KeyError for a block nobody generates."""

    def fill(found: re.Match[str]) -> str:
        return found["start"] + "\n".join(TABLES[found["name"]]()) + "\n" + found["end"]

    return _BLOCK.sub(fill, text)


def _default(setting: Setting) -> str:
    value = setting.spell(setting.default)
    if value is None:
        return "unset"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = rendered(before)
        page.write_text(after, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'written' if after != before else 'as it should be'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

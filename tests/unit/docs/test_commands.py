"""Every command that a page shows can be given: make's targets, words and options of wfe-controller and kubectl wfe."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from wfe_controller.cli.kubectl.main import main as plugin
from wfe_controller.cli.main import main as controller

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/sandbox.md")]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {
    word
    for words in re.findall(r"^TIERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words.split()
}


def commands(page: str) -> list[str]:
    """Lines of blocks, and code within a line, without what stands behind a pipe or a comment."""
    blocks = re.findall(r"^(?: {4}|\$ )(?:\$ )?(.+)$", page, re.MULTILINE)
    fenced = [line for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", page)
    found = [re.split(r" \| |  +#| &$", line.removeprefix("$ "))[0].strip() for line in [*blocks, *fenced, *inline]]
    return [line for line in dict.fromkeys(found) if line.startswith(("make ", "wfe-controller ", "kubectl wfe "))]


def problem(line: str) -> str:
    """What is wrong with a command; "" when nothing is."""
    words = shlex.split(line.replace("\\", ""))
    if words[0] == "make":
        unknown = [word for word in words[1:] if "=" not in word and word not in TARGETS]
        given = [word.partition("=")[2] for word in words if word.startswith("SANDBOX=")]
        return f"no target {unknown}" if unknown else "".join(problem(f"wfe-controller sandbox {g}") for g in given)
    found: click.Command = controller if words[0] == "wfe-controller" else plugin
    rest = words[1:] if words[0] == "wfe-controller" else words[2:]
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        if (inner := found.get_command(click.Context(found), name)) is None:
            return f"no command {name!r}"
        found = inner
    known = {option for p in found.params for option in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
    unknown = [
        word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word) and word.split("=")[0] not in known
    ]
    return f"no option {unknown}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_can_be_given(page: Path) -> None:
    told = commands(page.read_text(encoding="utf-8"))
    assert told
    assert {line: what for line in told if (what := problem(line))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "make dmeo",
        'make demo SANDBOX="--keeep"',
        "wfe-controller sandbux",
        "wfe-controller manifests everything",
        "kubectl wfe explian a",
        "kubectl wfe retry a --when-permitted",
    ],
)
def test_a_slip_is_noticed(line: str) -> None:
    assert problem(line)


def test_what_a_reader_is_told_first_is_among_them() -> None:
    told = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"make demo", "make demo SANDBOX=--keep", "make test", "wfe-controller manifests all"} <= set(told)

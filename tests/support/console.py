"""Console blocks of a page: commands with the output that a reader is shown, and what was really said.

A line that begins with ``$ `` is a command, goes on after a backslash, and is followed by its output. Compared are the
words: times, durations and the breaks of lines, which depend on them, are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_BLOCK = re.compile(r"```(console|yaml)\n(.*?)```\n?", re.DOTALL)
_FILE = re.compile(r"[Ss]ave this as `([\w.-]+)`")
_VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"(?<![\w.-])(\d+h)?(\d+m)?(\d+s)?(?<=\d[hms])(?![\w.])"), "AGE"),
)


@dataclass(frozen=True)
class Shown:
    """One command of a page. ``output`` is as it stands there, without the last line's end."""

    command: str
    output: str


@dataclass(frozen=True)
class Saved:
    """A file that the reader is told to save."""

    name: str
    content: str


def steps(page: str) -> list[Shown | Saved]:
    """What a reader does, in order."""
    found: list[Shown | Saved] = []
    for match in _BLOCK.finditer(page):
        if match[1] == "console":
            found += shown(match[2])
        elif names := _FILE.findall(page[: match.start()].rpartition("```")[2]):
            found.append(Saved(names[-1], match[2]))
    return found


def shown(block: str) -> list[Shown]:
    out: list[Shown] = []
    lines = block.splitlines()
    while lines:
        first = lines.pop(0)
        if not first.startswith("$ "):
            raise ValueError(f"output of no command: {first!r}")
        command = [first[2:]]
        while command[-1].endswith("\\"):
            command.append(lines.pop(0))
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        out.append(Shown("\n".join(command), "\n".join(output).rstrip("\n")))
    return out


def words(output: str) -> list[str]:
    """What is compared."""
    for pattern, instead in _VARIES:
        output = pattern.sub(instead, output)
    return output.split()


def rewritten(page: str, said: Callable[[str], str]) -> str:
    """The page with ``said(command)`` as the output of every command, called in order."""

    def block(match: re.Match[str]) -> str:
        if match[1] != "console":
            return match[0]
        parts = []
        for step in shown(match[2]):
            output = said(step.command)
            parts.append(f"$ {step.command}\n" + (f"{output}\n" if output else ""))
        # A blank line between commands where one of them says something.
        gap = "\n" if any("\n" in part.removesuffix("\n") for part in parts) else ""
        return "```console\n" + gap.join(parts) + "```\n"

    return _BLOCK.sub(block, page)

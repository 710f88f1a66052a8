"""docs/cli.md tells of every command, option and situation, and of none that does not exist."""

from __future__ import annotations

import re

import click

from hack import docs
from wfe_controller.cli.kubectl.explain.model import Situation
from wfe_controller.cli.kubectl.main import COMMANDS, main

TEXT = docs.CLI.read_text(encoding="utf-8")


def test_the_page_is_what_the_commands_say() -> None:
    """Run ``python -m hack.docs`` when this fails."""
    assert docs.rendered(TEXT) == TEXT


def test_a_changed_option_is_noticed() -> None:
    spoilt = TEXT.replace("`--when-allowed`", "`--when-permitted`")
    assert spoilt != TEXT
    assert docs.rendered(spoilt) == TEXT


def test_every_situation_has_one_row() -> None:
    start = TEXT.index("| situation | it means | next |")
    rows = re.findall(r"^\| `([a-z-]+)` \|", TEXT[start : TEXT.index("## Rights")], re.MULTILINE)
    assert rows == [str(situation) for situation in Situation]


def test_commands_shown_exist_with_their_options() -> None:
    """Every ``kubectl wfe ...`` of the prose parses as far as words go."""
    shown = re.findall(r"^ {4}(?:\$ )?kubectl wfe ([a-z-]+)([^#\n]*)", TEXT, re.MULTILINE)
    assert {name for name, _ in shown} <= set(COMMANDS)
    for name, rest in shown:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)
        assert set(used) - {"-h"} <= known | {"--help"}, (name, rest)

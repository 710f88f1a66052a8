"""docs/sandbox.md tells of every field of a scenario, and of every way in which it ends."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from wfe_controller.app.exits import EXIT_ENVIRONMENT, EXIT_USAGE
from wfe_controller.sandbox.simulators import play, scenario

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")
STORY = TEXT[TEXT.index("## A story of your own") : TEXT.index("## The embedded API server")]
KINDS = {
    "Scenario": scenario.Scenario,
    "Workload": scenario.Workload,
    "Bundle": scenario.Bundle,
    "Play": play.Play,
    "Sample": scenario.Sample,
    "Expect": scenario.Expect,
    "Decision": scenario.Decision,
    "ClearBlock": scenario.ClearBlock,
    "Cancel": scenario.Cancel,
    "When": scenario.When,
    "Lock": scenario.Lock,
}
NOT_WRITTEN = {"file", "refusal"}
"""The path, which is not in the file; the words of a refusal, which matter to tests only."""


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_a_scenario_is_told(name: str) -> None:
    told = set(re.findall(r"`(\w+)(?::[^`]*)?`", STORY))
    assert {field.encode_name for field in msgspec.structs.fields(KINDS[name])} - told <= NOT_WRITTEN


def test_no_field_is_told_that_there_is_not() -> None:
    known = {field.encode_name for kind in KINDS.values() for field in msgspec.structs.fields(kind)}
    values = {"play", "resolution", "free", "held", "blocked", "open", "refused"}
    rows = "".join(line for line in STORY.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) <= known | values


def test_every_exit_code_is_told() -> None:
    assert set(re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE)) == {"0", str(EXIT_ENVIRONMENT), str(EXIT_USAGE)}

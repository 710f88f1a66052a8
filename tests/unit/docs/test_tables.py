"""docs/operations.md tells of every setting, metric, right and reason of the code, and of none that does not exist."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest
import yaml

from hack import docs
from wfe_controller.api import reasons
from wfe_controller.app.config import settings_table
from wfe_controller.app.metric_names import metrics_table
from wfe_controller.workflows.engines.tekton.cancel import Cause

ROOT = Path(docs.ROOT)
TEXT = docs.OPERATIONS.read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below a heading, up to the next heading of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    start = TEXT.index(f"\n{heading}\n") + len(heading) + 2
    following = re.search(rf"^#{{1,{level}}} ", TEXT[start:], re.MULTILINE)
    return TEXT[start : start + following.start()] if following else TEXT[start:]


def first_column(text: str) -> list[str]:
    """The words in backticks of each table row's first cell."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_generated_tables_are_what_the_code_says() -> None:
    """Run ``python -m hack.docs`` when this fails."""
    assert docs.rendered(TEXT) == TEXT


def test_a_changed_cell_is_noticed_and_mended() -> None:
    spoilt = TEXT.replace("| `client.burst` |", "| `client.bursts` |")
    assert spoilt != TEXT
    assert docs.rendered(spoilt) == TEXT


def test_every_setting_has_its_row() -> None:
    assert first_column(section("## Configure")) == [setting.key for setting in settings_table()]


def test_every_metric_has_its_row() -> None:
    families = [metric.name for metric in metrics_table()]
    assert [name for name in first_column(section("## Metrics and probes")) if not name.startswith("/")] == families


@pytest.mark.parametrize(
    ("heading", "vocabulary"),
    [
        ("### Failure reasons", reasons.FailureReason),
        ("### Skip reasons", reasons.SkipReason),
        ("### Wait reasons", reasons.WaitReason),
        ("### Block reasons", reasons.BlockReason),
    ],
)
def test_every_reason_has_one_row(heading: str, vocabulary: type[StrEnum]) -> None:
    rows = first_column(section(heading))
    assert sorted(rows) == sorted(word.value for word in vocabulary)


@pytest.mark.parametrize(
    ("heading", "vocabulary"), [("### Conditions", reasons.ConditionType), ("### Events", reasons.EventReason)]
)
def test_rows_are_exactly_what_is_written(heading: str, vocabulary: type[StrEnum]) -> None:
    """A word that no code uses stands among the reserved ones; once it is used it needs a row with what to do."""
    written = {word.value for word in vocabulary} - set(docs.unused(vocabulary))
    rows = first_column(section(heading))
    assert sorted(rows) == sorted(written)


def test_every_condition_reason_that_is_written_is_told() -> None:
    written = {word.value for word in reasons.ConditionReason} - set(docs.unused(reasons.ConditionReason))
    told = set(re.findall(r"`(\w+)`", section("### Conditions")))
    assert written <= told


def test_every_cause_of_a_cancellation_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", section("### Conditions")))
    assert {cause.value for cause in Cause} <= told


def test_every_alert_leads_to_a_runbook() -> None:
    rules = yaml.safe_load((ROOT / "manifests/monitoring/prometheusrule.yaml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert sorted(first_column(section("## Runbooks"))) == sorted(alerts)
    for number in range(1, 7):
        assert re.search(rf"^### RB-WE-00{number} ", TEXT, re.MULTILINE)


def test_sections_said_to_have_no_effect_have_none() -> None:
    """When the steps engine, policies or audit start to read their settings, the sentence in "Configure" has to go."""
    assert "**The sections `steps`, `policies` and `audit` are checked but have no effect in this version.**" in TEXT
    readers = [
        path.name
        for path in (ROOT / "wfe_controller").rglob("*.py")
        if re.search(r"\bsettings\.(steps|policies|audit)\b", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["config_rules.py"], "the rules between settings"

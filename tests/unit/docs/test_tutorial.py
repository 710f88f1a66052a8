"""The requests of the tutorial name bundles that the sandbox has: a changed scenario changes their digests."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from wfe_controller.sandbox.simulators import scenario_file

TUTORIAL = Path(__file__).resolve().parents[3] / "docs" / "tutorial.md"


def test_every_bundle_of_the_tutorial_is_in_the_sandbox() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    images = [yaml.safe_load(block)["spec"]["workflowRef"]["containerImage"] for block in blocks]
    assert len(images) == 3
    assert set(images) <= set(scenario_file.default().references())

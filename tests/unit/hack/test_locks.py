"""The locks agree: what the image and a demo run with is what was tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-sandbox.lock"])
def test_a_smaller_lock_is_a_part_of_the_one_that_is_tested(name: str) -> None:
    """``make lock`` writes all of them."""
    small, whole = pins(name), pins("requirements-dev.lock")
    assert small
    assert {package: version for package, version in small.items() if whole.get(package) != version} == {}


def test_a_demo_needs_what_the_controller_needs_and_its_extra_and_no_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = {re.split(r"[<>=]", entry)[0] for entry in project["project"]["optional-dependencies"]["sandbox"]}
    found = set(pins("requirements-sandbox.lock"))
    assert set(pins("requirements.lock")) | extra | {"setuptools"} <= found
    assert not {"pytest", "mypy", "ruff", "hypothesis"} & found

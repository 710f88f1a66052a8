"""Failpoints are off unless asked for, and no build has them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from wfe_controller.app import main
from wfe_controller.app.exits import ConfigError
from wfe_controller.app.failpoints import VARIABLE, FailingTransport
from wfe_controller.kube.client.transport import Transport

REPOSITORY = Path(__file__).resolve().parents[3]


def test_they_are_in_no_wheel_and_so_not_in_the_image() -> None:
    """The image installs the wheel and copies nothing else of ours into its last stage."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = find_packages(str(REPOSITORY), include=settings["include"], exclude=settings["exclude"])
    assert "wfe_controller.app" in packages
    assert not [name for name in packages if "failpoints" in name]
    last_stage = (REPOSITORY / "Containerfile").read_text().rpartition("\nFROM ")[2]
    assert [line for line in last_stage.splitlines() if line.startswith(("COPY", "ADD"))] == [
        "COPY --from=build /opt/venv /opt/venv"
    ]


def test_without_the_variable_nothing_of_them_is_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(main.FAILPOINTS, raising=False)
    monkeypatch.setitem(sys.modules, "wfe_controller.app.failpoints", None)
    assert main._main_transport() is Transport


def test_with_the_variable_the_main_connection_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main.FAILPOINTS == VARIABLE
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert main._main_transport() is FailingTransport


def test_a_build_without_them_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A crash test on the image would otherwise run without a single crash."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setitem(sys.modules, "wfe_controller.app.failpoints", None)
    with pytest.raises(ConfigError, match="KUBE_FAILPOINTS is set, but this build has no failpoints"):
        main._main_transport()

"""What is in the image, read from the archive that the node runs."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import Cluster
from hack.controlplane import Plane

MIB = 1 << 20


@pytest.fixture(scope="module")
def archive(cluster: Plane) -> Path:
    if not isinstance(cluster, Cluster) or cluster.image is None:
        pytest.skip("the image of this cluster was built elsewhere")
    return cluster.image


@pytest.fixture(scope="module")
def config(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as outer:
        (manifest,) = json.loads(_read(outer, "manifest.json"))
        found: dict[str, Any] = json.loads(_read(outer, manifest["Config"]))
        return found | {"layers": manifest["Layers"]}


def test_it_runs_as_nobody_and_says_what_it_is(config: dict[str, Any]) -> None:
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/opt/venv/bin/wfe-controller"]
    labels = config["config"]["Labels"]
    wanted = {"title", "description", "licenses", "version", "revision"}
    assert wanted <= {name.removeprefix("org.opencontainers.image.") for name in labels}


def test_what_is_above_the_base(archive: Path, config: dict[str, Any]) -> None:
    """Issue 4, 1: less than 250 MB, no installer, no compiler, no history, no certificate of the build."""
    names: set[str] = set()
    size = 0
    with tarfile.open(archive) as outer:
        for layer in config["layers"][1:]:
            size += outer.getmember(layer).size
            with tarfile.open(fileobj=outer.extractfile(layer)) as content:
                names |= {member.name for member in content.getmembers()}
    assert size < 250 * MIB
    files = {Path(name).name for name in names}
    assert {"wfe-controller", "py.typed"} <= files
    assert not files & {"pip", "pip3", "gcc", "cc", ".bash_history", ".python_history", "ca.pem"}
    assert not any("/setuptools/" in name or "/pip/" in name for name in names)
    assert not [name for name in names if "failpoint" in name], "failpoints are for the crash suite only"
    assert any(name.endswith("wfe_controller/cli/__pycache__/main.cpython-311.pyc") for name in names), "not compiled"


def test_nothing_of_the_build_machine_is_in_its_history(config: dict[str, Any]) -> None:
    told = json.dumps(config["history"]) + json.dumps(config["config"])
    assert "PIP_CERT=" not in told


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    handle = archive.extractfile(name)
    assert handle is not None
    return handle.read()

"""hack/cluster where it needs neither root nor a node: archives, cache keys, what is missing, what is ours to kill."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hack.cluster import build, cleanup, images, machine, traces
from hack.cluster.node import Places
from hack.controlplane import binaries
from hack.controlplane.plane import REPOSITORY


def test_an_image_archive_is_what_containerd_imports(tmp_path: Path) -> None:
    """docker-archive: the manifest names a config and a layer that are there, and the digest is the layer's own."""
    path = images.write(tmp_path, "tool:1", {"bin/tool": b"x"}, {"bin/alias": "/bin/tool"}, entrypoint=["/bin/tool"])
    with tarfile.open(path) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(archive.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        layer = archive.extractfile(manifest["Layers"][0])
        assert layer is not None
        with tarfile.open(fileobj=layer) as content:
            assert content.getmember("bin/tool").mode == 0o755
            assert content.getmember("bin/alias").linkname == "/bin/tool"
            assert content.getmember("tmp").mode == 0o1777
    assert manifest["RepoTags"] == ["docker.io/library/tool:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{manifest['Layers'][0].removesuffix('.tar')}"]


def test_an_image_archive_is_named_by_its_content(tmp_path: Path) -> None:
    first = images.write(tmp_path, "tool:1", {"bin/tool": b"x"}, {}, entrypoint=[])
    assert images.write(tmp_path, "tool:1", {"bin/tool": b"x"}, {}, entrypoint=[]) == first
    assert images.write(tmp_path, "tool:1", {"bin/tool": b"y"}, {}, entrypoint=[]) != first


@pytest.mark.parametrize("changed", ["Containerfile", "requirements.lock", "wfe_controller/api/names.py"])
def test_whatever_can_reach_the_image_changes_its_key(tmp_path: Path, changed: str) -> None:
    shutil.copytree(REPOSITORY / "wfe_controller", tmp_path / "wfe_controller", ignore=shutil.ignore_patterns("*.pyc"))
    for name in build._INPUTS:
        shutil.copy(REPOSITORY / name, tmp_path / name)
    before = build.content_hash(tmp_path)
    (tmp_path / "README-of-somebody.txt").write_text("not an input")
    assert build.content_hash(tmp_path) == before
    with (tmp_path / changed).open("a") as handle:
        handle.write("\n")
    assert build.content_hash(tmp_path) != before


def test_the_image_ignores_all_that_is_not_an_input() -> None:
    """.containerignore lets in what the Containerfile copies and what the cache key covers, nothing else."""
    lines = (REPOSITORY / ".containerignore").read_text().split()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert let_in == {*build._INPUTS, "wfe_controller"} - {"Containerfile", ".containerignore"}


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, packages with their command, Go: one message, not one per try."""
    monkeypatch.setattr(machine, "NODE_FILES", {str(tmp_path / "runc"): "runc", str(tmp_path / "ctr"): "containerd"})
    monkeypatch.setattr(machine, "BUILD_FILES", {str(tmp_path / "buildah"): "buildah"})
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(machine.MachineUnfit) as told:
        machine.require(building=True)
    assert "root" in str(told.value)
    assert "apt-get install --no-install-recommends buildah containerd runc" in str(told.value)
    assert "Go" in str(told.value)
    (tmp_path / "runc").touch()
    assert not any("runc" in problem for problem in machine.problems(building=False))


def test_node_binaries_do_not_change_the_key_of_the_control_plane(tmp_path: Path) -> None:
    """A machine that only runs planes must not build them again when the node's versions change."""
    copy = tmp_path / "modules"
    shutil.copytree(binaries.MODULES, copy)
    with (copy / "node" / "go.mod").open("a") as handle:
        handle.write("// another version\n")
    assert binaries.cache_key(copy) == binaries.cache_key()


def test_directories_with_mounts_are_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rm -r into a volume of a pod would delete what is mounted there."""
    places = Places(tmp_path / "work", tmp_path / "run")
    (places.work / "kubelet").mkdir(parents=True)
    monkeypatch.setattr(cleanup, "_mounts_under", lambda *directories: [str(places.work / "kubelet")])
    with pytest.raises(OSError, match="still mounted"):
        cleanup.remove_directories(places)
    assert (places.work / "kubelet").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="clusters are only on Linux")
def test_a_process_that_names_a_cluster_is_a_trace_of_it() -> None:
    """What the e2e tier asserts at its end must be able to fail."""
    word = "/wfe-cluster/somebody"
    before = traces.machine()
    with subprocess.Popen([sys.executable, "-c", "input()", word], stdin=subprocess.PIPE) as process:
        assert [trace for trace in traces.machine() - before if word in trace] == [
            f"process {process.pid} {sys.executable} -c input() {word}"
        ]
        process.kill()
    assert not [trace for trace in traces.machine() - before if word in trace]


@pytest.mark.parametrize("script", sorted((REPOSITORY / "hack" / "kind").glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_for_kind_are_shell(script: Path) -> None:
    """No Docker here: syntax is all that can be tried."""
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_kind_gets_the_versions_that_everything_else_is_tested_with() -> None:
    names = dict(re.findall(r"^([A-Z]+)=(v\S+)$", (REPOSITORY / "hack/kind/names.sh").read_text(), re.MULTILINE))
    assert names == {
        "KUBERNETES": binaries.pinned_version("kubernetes", "k8s.io/kubernetes"),
        "TEKTON": binaries.pinned_version("tekton", binaries.TEKTON_MODULE),
    }
    assert "--kustomize manifests/overlays/dev" in (REPOSITORY / "hack/kind/up.sh").read_text()

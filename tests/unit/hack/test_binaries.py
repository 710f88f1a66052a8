"""Where the servers come from, and when the cache of built ones is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hack.controlplane import binaries


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_assets_win_and_what_they_lack_falls_through_to_the_cache(tmp_path: Path) -> None:
    env = {"KUBEBUILDER_ASSETS": str(tmp_path / "assets"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    etcd = executable(tmp_path / "assets" / "etcd")
    cache = binaries.cache_dir(env)
    assert cache.parent == tmp_path / "cache" / "wfe-controller"
    executable(cache / "etcd")
    crane = executable(cache / "crane")
    assert binaries.find("etcd", env) == etcd
    assert binaries.find("crane", env) == crane
    assert binaries.find("kubectl", env) is None


def test_a_file_that_cannot_be_run_is_not_a_binary(tmp_path: Path) -> None:
    env = {"KUBEBUILDER_ASSETS": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    (tmp_path / "etcd").write_text("half a download")
    assert binaries.find("etcd", env) is None


def test_the_cache_changes_with_every_pinned_version(tmp_path: Path) -> None:
    copy = tmp_path / "modules"
    shutil.copytree(binaries.MODULES, copy)
    assert binaries.cache_key(copy) == binaries.cache_key()
    with (copy / "etcd" / "go.sum").open("a") as file:
        file.write("\n")
    assert binaries.cache_key(copy) != binaries.cache_key()


def test_the_servers_are_told_their_version() -> None:
    """Without it they call themselves v0.0.0, and clients refuse features."""
    flags = binaries.link_flags("kubernetes")
    version = binaries.pinned_version("kubernetes", "k8s.io/kubernetes")
    assert f"gitVersion={version}" in flags
    assert f"gitMinor={version.split('.')[1]}" in flags


def test_every_tool_is_pinned_by_its_module() -> None:
    for tool in binaries.TOOLS:
        text = (binaries.MODULES / tool.family / "go.mod").read_text()
        assert tool.package in text, f"{tool.family}/go.mod has no tool line for {tool.package}"


def test_without_go_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(binaries.BinariesMissing, match=r"install Go .* or point KUBEBUILDER_ASSETS"):
        binaries.resolve(["etcd"], tekton=False, progress=lambda line: None)
    assert [path.name for path in binaries.cache_dir().iterdir()] == ["lock"]


def test_a_crd_loses_its_conversion_webhook_and_the_versions_that_need_it() -> None:
    """An API server that finds nobody at the webhook asks again and again, on a whole core."""
    versions = [{"name": "v1beta1", "storage": False}, {"name": "v1", "storage": True}]
    crd = {
        "kind": "CustomResourceDefinition",
        "spec": {"versions": versions, "conversion": {"strategy": "Webhook"}},
    }
    assert binaries.serve_storage_version_only(crd)["spec"] == {"versions": [{"name": "v1", "storage": True}]}

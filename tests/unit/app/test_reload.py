"""app/reload: what changes without a restart, what does not, and what a bad file leaves alone (P:U4)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from wfe_controller.app.config import Settings, load_settings
from wfe_controller.app.reload import Reloader
from wfe_controller.kube.clock import LoopClock


class Counts:
    def __init__(self) -> None:
        self.results: list[str] = []
        self.hashes: list[str] = []

    def config_loaded(self, digest: str) -> None:
        self.hashes.append(digest)

    def config_reloaded(self, result: str) -> None:
        self.results.append(result)


class Mount:
    """A ConfigMap volume: config.yaml -> ..data/config.yaml, ..data -> a directory that is swapped as a whole."""

    def __init__(self, root: Path, content: str) -> None:
        self._root = root
        self._version = 0
        self.file = root / "config.yaml"
        self.swap(content)
        self.file.symlink_to(Path("..data") / "config.yaml")

    def swap(self, content: str) -> None:
        self._version += 1
        directory = self._root / f"..v{self._version}"
        directory.mkdir()
        (directory / "config.yaml").write_text(content)
        new = self._root / "..data_tmp"
        new.symlink_to(directory.name)
        os.replace(new, self._root / "..data")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path, "client: {qps: 20}\n")


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def applied() -> list[Settings]:
    return []


@pytest.fixture
async def reloader(mount: Mount, counts: Counts, applied: list[Settings]) -> Reloader:
    overrides = {"execution.cooldownPeriod": "9m"}
    made = Reloader(load_settings(mount.file, {}, overrides), clock=LoopClock(), instruments=counts)
    made.on_change(applied.append)
    return made


@pytest.mark.looptime
async def test_a_swapped_mount_is_noticed_within_ten_seconds(
    reloader: Reloader, mount: Mount, applied: list[Settings], counts: Counts
) -> None:
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reloader.run())
        await asyncio.sleep(20)
        assert not applied
        mount.swap("client: {qps: 7, burst: 40}\nlogging: {level: debug}\n")
        await asyncio.sleep(10)
        running.cancel()
    (settings,) = applied
    assert (settings.client.qps, settings.client.burst, settings.logging.level) == (7, 40, "debug")
    assert settings.execution.cooldown_period == 540, "flags still win over the file"
    assert reloader.current == settings
    assert counts.results == ["applied"]
    assert counts.hashes[-1] == settings.hash != counts.hashes[0]


async def test_a_bad_file_keeps_the_old_settings_and_says_so_until_it_is_corrected(
    reloader: Reloader, mount: Mount, applied: list[Settings], counts: Counts
) -> None:
    mount.swap("client: {qps: fast}\n")
    with capture_logs() as logs:
        reloader.poll()
        reloader.poll()
    assert [entry["log_level"] for entry in logs] == ["error"], "once, not at every look"
    assert reloader.current.client.qps == 20
    assert not applied
    check = reloader.check()
    assert not check.ok
    assert 'client.qps = "fast"' in check.why
    assert counts.results == ["refused"]
    mount.swap("client: {qps: 8}\n")
    reloader.poll()
    assert reloader.check().ok
    assert reloader.current.client.qps == 8


async def test_going_back_to_the_old_content_ends_the_complaint(reloader: Reloader, mount: Mount) -> None:
    mount.swap("nonsense\n")
    reloader.poll()
    assert not reloader.check().ok
    mount.swap("client: {qps: 20}\n")
    reloader.poll()
    assert reloader.check().ok


async def test_a_file_that_vanishes_is_a_bad_file(reloader: Reloader, mount: Mount) -> None:
    mount.file.unlink()
    reloader.poll()
    assert "does not exist" in reloader.check().why
    assert reloader.current.client.qps == 20


async def test_what_needs_a_restart_keeps_its_value_and_is_named(
    reloader: Reloader, mount: Mount, applied: list[Settings], counts: Counts
) -> None:
    mount.swap("execution: {namespace: elsewhere, startTimeout: 1m}\n")
    with capture_logs() as logs:
        reloader.poll()
    assert [e["keys"] for e in logs if e["log_level"] == "warning"] == [["execution.namespace"]]
    assert applied[0].execution.namespace == "kubernaut-workflows"
    assert applied[0].execution.start_timeout == 60
    mount.swap("execution: {namespace: third, startTimeout: 1m}\n")
    reloader.poll()
    assert len(applied) == 1, "nothing that may change has changed"
    assert counts.results == ["applied", "unchanged"]


async def test_a_rewrite_with_the_same_content_is_no_change(
    reloader: Reloader, mount: Mount, counts: Counts, applied: list[Settings]
) -> None:
    mount.swap("client: {qps: 20}\n")
    reloader.poll()
    assert (applied, counts.results) == ([], [])


async def test_settings_without_a_file_have_nothing_to_watch(counts: Counts) -> None:
    settings = load_settings(None, {}, {}, default_path=Path("/nonexistent"))
    reloader = Reloader(settings, clock=LoopClock(), instruments=counts)
    reloader.poll()
    assert reloader.check().ok
    assert reloader.current is settings

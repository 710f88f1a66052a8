"""Where a sandbox keeps its files: gone with it, and after a kill gone with the next start."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from wfe_controller.sandbox import kubeconfig
from wfe_controller.sandbox.place import MARKER, PREFIX, place, sweep

KILLED = """
import os, signal, sys
from pathlib import Path
from wfe_controller.sandbox import kubeconfig
from wfe_controller.sandbox.place import place
out = Path(sys.argv[1])
text = kubeconfig.kubeconfig(server="https://127.0.0.1:1", ca_pem="", token="t", user="u", namespace="n")
with place(out) as directory, kubeconfig.held(out, text):
    print(directory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return found


@pytest.fixture
def killed(tmp_path: Path, temporary: Path) -> tuple[Path, Path]:
    """What kill -9 left: the directory, and the kubeconfig elsewhere."""
    out = tmp_path / "kubeconfig"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], capture_output=True, text=True, check=False)
    directory = Path(done.stdout.strip())
    assert directory.parent == temporary, done.stderr
    assert directory.is_dir()
    assert out.exists()
    return directory, out


def test_nothing_is_left_of_one_that_ends(temporary: Path) -> None:
    with place() as directory:
        assert directory.parent == temporary
    assert list(temporary.iterdir()) == []


def test_the_next_start_sweeps_what_a_kill_left(killed: tuple[Path, Path], temporary: Path) -> None:
    directory, out = killed
    with place() as mine:
        assert list(temporary.iterdir()) == [mine]
        assert not out.exists()
    assert not directory.exists()


def test_one_that_runs_is_left_alone(tmp_path: Path, temporary: Path) -> None:
    out = tmp_path / "kubeconfig"
    with place(out) as first, kubeconfig.held(out, "{}"), place() as second:
        assert sweep(temporary) == []
        assert first.is_dir()
        assert second.is_dir()
        assert out.exists()


def test_what_is_not_ours_is_left_alone(temporary: Path, tmp_path: Path) -> None:
    """No marker, a link, a file of that name; a kubeconfig that somebody else has put there meanwhile."""
    (temporary / f"{PREFIX}strange").mkdir()
    (temporary / f"{PREFIX}file").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARKER).write_text("")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    precious = tmp_path / "config"
    precious.write_text("current-context: production\n")
    dead = temporary / f"{PREFIX}dead"
    dead.mkdir()
    (dead / MARKER).write_text(str(precious))
    assert sweep(temporary) == [dead]
    assert sorted(path.name for path in temporary.iterdir()) == [
        f"{PREFIX}{name}" for name in ("file", "link", "strange")
    ]
    assert (elsewhere / MARKER).exists()
    assert precious.read_text() == "current-context: production\n"


def test_a_kubeconfig_has_one_owner_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "kubeconfig"
    with kubeconfig.held(out, "first"):
        assert kubeconfig.is_held(out)
        with pytest.raises(BlockingIOError), kubeconfig.held(out, "second"):
            pass
        assert out.read_text() == "first"
        assert out.stat().st_mode & 0o777 == 0o600
    assert not out.exists()


def test_two_starts_at_once_sweep_the_same_without_a_word(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one removes a directory after we have looked at it and before we read what it says."""
    dead = temporary / f"{PREFIX}dead"
    dead.mkdir()
    (dead / MARKER).write_text("")

    def overtaken(path: Path) -> bool:
        shutil.rmtree(path)
        return True

    monkeypatch.setattr("wfe_controller.sandbox.place._is_dead", overtaken)
    sweep(temporary)
    assert list(temporary.iterdir()) == []

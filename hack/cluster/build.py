"""Our own image from the Containerfile, by buildah, cached by what goes into it.

There need be no registry: the base is a Debian from debootstrap with python3-venv. A build whose inputs have not
changed is the archive in the cache; one where only the code changed keeps buildah's layers with the dependencies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from hack.cluster import tools
from hack.controlplane.binaries import Progress, locked
from hack.controlplane.plane import REPOSITORY, PlaneError

IMAGE = "wfe-controller:dev"  # what manifests/base names
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
_BASE = f"localhost/wfe-python-{SUITE}:1"
_INPUTS = ("Containerfile", ".containerignore", "pyproject.toml", "README.md", "LICENSE", "requirements.lock",
           "requirements-dev.lock")  # fmt: skip
_KEPT_ARCHIVES = 3


class BuildFailed(PlaneError):
    """buildah or debootstrap failed; the text ends with what it said."""


def content_hash(repository: Path = REPOSITORY) -> str:
    """16 hex digits that change with every byte that can reach the image."""
    digest = hashlib.sha256(_BASE.encode())
    sources = sorted(path for path in (repository / "wfe_controller").rglob("*") if path.suffix in (".py", ".typed"))
    for path in [*(repository / name for name in _INPUTS), *sources]:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(repository)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def archive() -> Path:
    """Where the image of the present sources is, once it is built."""
    return tools.cache_root() / "images" / f"wfe-controller-{content_hash()}.tar"


def image(progress: Progress) -> Path:
    """A docker-archive of the image, from the cache or built now. Raises BuildFailed."""
    target = archive()
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / "lock", progress):
        if not target.exists():
            Builder(progress).build(target)
            _drop_old(target)
        target.touch()
    return target


def _drop_old(newest: Path) -> None:
    archives = sorted(newest.parent.glob("wfe-controller-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in archives[_KEPT_ARCHIVES:]:
        path.unlink()


class Builder:
    """buildah with a store of its own in the cache, so that nothing of the machine's is touched."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._store = tools.cache_root() / "buildah"
        self._env = {
            **os.environ,
            "STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER", "overlay"),
            "BUILDAH_ISOLATION": "chroot",  # neither a runtime nor a network of its own is needed
        }

    def build(self, target: Path) -> None:
        """Build from the working tree into a docker-archive at ``target``."""
        self._store.mkdir(parents=True, exist_ok=True)
        if not self._buildah("images", "--quiet", _BASE, check=False).stdout.strip():
            self._make_base()
        self._progress("building the controller's image ...")
        arguments = ["--build-arg", f"BASE={_BASE}", "--build-arg", f"REVISION={_revision()}"]
        if certificates := os.environ.get("PIP_CERT"):
            arguments += ["--volume", f"{certificates}:/ca.pem:ro", "--build-arg", "PIP_CERT=/ca.pem"]
        self._buildah("bud", "--layers", *arguments, "--tag", f"localhost/{IMAGE}", "--file", "Containerfile", ".")
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        try:
            self._buildah("push", f"localhost/{IMAGE}", f"docker-archive:{partial}:docker.io/library/{IMAGE}")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _make_base(self) -> None:
        self._progress(f"making a Debian {SUITE} with Python to build on (once, about a minute) ...")
        root = self._store / "debootstrap"
        shutil.rmtree(root, ignore_errors=True)
        try:
            command = ["debootstrap", "--variant=minbase", "--include=python3-venv", SUITE, str(root), MIRROR]
            _run(command, dict(os.environ), check=True)
            for leftover in ("var/cache/apt", "var/lib/apt/lists"):
                shutil.rmtree(root / leftover, ignore_errors=True)
            container = self._buildah("from", "scratch").stdout.strip()
            try:
                self._buildah("add", "--quiet", container, str(root), "/")
                self._buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
                self._buildah("commit", "--quiet", container, _BASE)
            finally:
                self._buildah("rm", container, check=False)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _buildah(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        stores = [f"--root={self._store / 'storage'}", f"--runroot={self._store / 'run'}"]
        return _run(["buildah", *stores, *arguments], self._env, check=check)


def _run(command: list[str], env: dict[str, str], *, check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise BuildFailed(f"{command[0]} ended with {done.returncode}:\n{said}")
    return done


def _revision() -> str:
    done = _run(["git", "describe", "--always", "--dirty"], dict(os.environ), check=False)
    return done.stdout.strip() or "unknown"

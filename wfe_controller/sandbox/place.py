"""The directory in which a running sandbox keeps its files, and what a killed one left of it.

Nobody tidies up after ``kill -9``, so the next start does. What runs holds a lock on its marker, which the kernel drops
with the process: unlike a process id it is never that of somebody else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wfe_controller.sandbox import kubeconfig

PREFIX = "wfe-sandbox-"
MARKER = "of-a-sandbox"
"""A file with the path of the kubeconfig, if that stands elsewhere."""
NEW = f"{MARKER}.new"


@contextmanager
def place(elsewhere: Path | None = None) -> Iterator[Path]:
    """A directory that is gone after; ``elsewhere``: a file outside that belongs to it. Raises OSError."""
    sweep(Path(tempfile.gettempdir()))
    left = "" if elsewhere is None else str(elsewhere)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, kubeconfig.held(Path(name) / NEW, left):
        # Under its name only when it is locked: another start must never find it free.
        os.rename(Path(name) / NEW, Path(name) / MARKER)
        yield Path(name)


def sweep(temporary: Path) -> list[Path]:
    """Remove what dead sandboxes of this user left below ``temporary``. Returns what was removed."""
    found = [path for path in temporary.glob(f"{PREFIX}*") if _is_dead(path)]
    for path in found:
        try:
            left = (path / MARKER).read_text(encoding="utf-8")
        except OSError:
            continue  # another start was at it first
        if left and kubeconfig.is_ours(Path(left)) and not kubeconfig.is_held(Path(left)):
            Path(left).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
    return found


def _is_dead(path: Path) -> bool:
    try:
        state = path.lstat()
    except OSError:
        return False
    marker = path / MARKER
    own = state.st_uid == os.getuid() and not path.is_symlink()
    return own and marker.is_file() and not kubeconfig.is_held(marker)

"""Kubeconfig files of the sandbox: a server with its own authority, and one bearer token.

JSON, which every YAML reader takes. A file that is there already is only replaced when it is one of ours: somebody
will write ``--kubeconfig-out ~/.kube/config`` one day.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTEXT = "wfe-sandbox"
IN_USE = "belongs to a sandbox that runs: name another file, or end that one"


def kubeconfig(*, server: str, ca_pem: str, token: str, user: str, namespace: str) -> str:
    """The text of a kubeconfig with one context, named :data:`CONTEXT`."""
    authority = base64.b64encode(ca_pem.encode()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user, "namespace": namespace}}],
    }
    return json.dumps(config, indent=1) + "\n"


def write(path: Path, content: str) -> None:
    """For the owner's eyes only. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


def derive(source: Path, target: Path, ca: Path, *, token: str = "") -> None:
    """Write ``source`` again for use inside: the authority in a file, else each reader makes one; maybe another token.

    Raises OSError.
    """
    found = json.loads(source.read_text(encoding="utf-8"))
    cluster = found["clusters"][0]["cluster"]
    found["clusters"][0]["cluster"] = {"server": cluster["server"], "certificate-authority": str(ca)}
    if token:
        found["users"][0]["user"] = {"token": token}
    write(target, json.dumps(found))


@contextmanager
def held(path: Path, content: str) -> Iterator[None]:
    """The file is there, locked, for as long as it is used; gone after. Raises OSError; BlockingIOError when held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.fchmod(descriptor, 0o600)
            file.truncate()
            file.write(content)
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a process that runs holds the file. One that cannot be opened counts as held."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def is_ours(path: Path) -> bool:
    """Whether a file holds nothing but an earlier sandbox's kubeconfig."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("current-context") == CONTEXT and len(found.get("clusters", ())) == 1

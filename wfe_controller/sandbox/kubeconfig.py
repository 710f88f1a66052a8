"""Kubeconfig files of the sandbox: a server with its own authority, and one bearer token.

JSON, which every YAML reader takes. A file that is there already is only replaced when it is one of ours: somebody
will write ``--kubeconfig-out ~/.kube/config`` one day.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

CONTEXT = "wfe-sandbox"


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


def is_ours(path: Path) -> bool:
    """Whether a file holds nothing but an earlier sandbox's kubeconfig."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("current-context") == CONTEXT and len(found.get("clusters", ())) == 1

"""Keys, tokens and kubeconfigs of a plane, with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

# The order of the group P-256. A private key is a number below it; Go works out the public half by itself.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_OID = bytes.fromhex("a00a06082a8648ce3d030107")  # [0] EXPLICIT prime256v1

# name -> groups. The first is the administrator of the plane; the others have no rights until a test binds some.
USERS: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "alice": ("sre",),
    "bob": ("developers",),
    "mallory": (),
}


def ec_private_key_pem() -> str:
    """A new P-256 key as SEC 1 PEM, which signs the service accounts' tokens (ES256)."""
    number = (secrets.randbelow(P256_ORDER - 1) + 1).to_bytes(32, "big")
    content = b"\x02\x01\x01" + b"\x04\x20" + number + _P256_OID
    der = b"\x30" + bytes([len(content)]) + content
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n"


def write_private(path: Path, text: str) -> None:
    """Written once with mode 0600; what is there stays, so that a plane keeps its identity over restarts."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(text)


def token_file(path: Path) -> dict[str, str]:
    """Write the API server's ``--token-auth-file`` and give the tokens by user name."""
    write_private(
        path,
        "".join(f'{secrets.token_hex(16)},{name},{name}-uid,"{",".join(groups)}"\n' for name, groups in USERS.items()),
    )
    tokens = {}
    for line in path.read_text().splitlines():
        token, name, _ = line.split(",", 2)
        tokens[name] = token
    return tokens


def write_kubeconfig(
    path: Path, *, server: str, ca_pem: str, token: str, user: str, namespace: str = "default"
) -> Path:
    """A kubeconfig with a bearer token.

    It is JSON: every YAML reader takes it, and the standard library can read it back.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plane",
        "clusters": [
            {
                "name": "plane",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode(),
                },
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": user, "namespace": namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path

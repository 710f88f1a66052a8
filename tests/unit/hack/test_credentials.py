"""Keys and kubeconfigs of a plane."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from hack.controlplane import credentials


def test_the_key_is_sec1_der_with_the_curve_named() -> None:
    """The layout of RFC 5915: version 1, 32 bytes of private key, the curve by name; every length adds up."""
    body = "".join(credentials.ec_private_key_pem().splitlines()[1:-1])
    der = base64.b64decode(body)
    assert der[0] == 0x30
    assert der[1] == len(der) - 2
    assert der[2:5] == b"\x02\x01\x01"
    assert der[5:7] == b"\x04\x20"
    assert 0 < int.from_bytes(der[7:39], "big") < credentials.P256_ORDER
    assert der[39:] == bytes.fromhex("a00a06082a8648ce3d030107")


def test_two_planes_never_share_a_key() -> None:
    assert credentials.ec_private_key_pem() != credentials.ec_private_key_pem()


def test_tokens_survive_a_second_start_and_are_private(tmp_path: Path) -> None:
    """A restarted API server must know the tokens that kubeconfigs already hold."""
    path = tmp_path / "tokens.csv"
    first = credentials.token_file(path)
    assert credentials.token_file(path) == first
    assert set(first) == set(credentials.USERS)
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ',"system:masters"' in path.read_text().splitlines()[0]


@pytest.mark.parametrize("namespace", ["default", "kubernaut-system"])
def test_a_kubeconfig_is_json_that_names_one_context(tmp_path: Path, namespace: str) -> None:
    path = credentials.write_kubeconfig(
        tmp_path / "deep" / "config", server="https://h:1", ca_pem="PEM", token="t", user="u", namespace=namespace
    )
    config = json.loads(path.read_text())
    assert config["current-context"] == config["contexts"][0]["name"]
    assert config["contexts"][0]["context"]["namespace"] == namespace
    assert base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]) == b"PEM"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

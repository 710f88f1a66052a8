"""Throw-away certificate authorities for tests, made by the openssl command."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    def server_context(self, client_ca: Path | None = None) -> ssl.SSLContext:
        """For a server that shows this certificate; with ``client_ca`` it demands one from the client."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_ca(directory: Path, name: str) -> Pair:
    """A self-signed authority."""
    return _request(directory, name, "-addext", "basicConstraints=critical,CA:TRUE")


def issue(ca: Pair, directory: Path, name: str, *, host: str = "IP:127.0.0.1") -> Pair:
    """A leaf certificate of common name ``name``; ``host`` as in subjectAltName."""
    extra = ("-CA", str(ca.cert), "-CAkey", str(ca.key), "-addext", f"subjectAltName={host}")
    return _request(directory, name, *extra, "-addext", "basicConstraints=critical,CA:FALSE")


def _request(directory: Path, name: str, *extra: str) -> Pair:
    directory.mkdir(parents=True, exist_ok=True)
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-keyout", str(pair.key), "-out", str(pair.cert), *extra]
    subprocess.run(command, check=True, capture_output=True)
    return pair

"""The certificate of the embedded server: clients that check everything accept it, for loopback names only."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest

from wfe_controller.sandbox.apiserver import certificate as tls

NOW = datetime.now(UTC)  # OpenSSL compares with the real clock


def handshake(certificate: tls.Certificate, host: str, trusted: str) -> str:
    """A TLS handshake in memory; gives the protocol version. Raises ssl.SSLCertVerificationError."""
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.create_default_context(cadata=trusted)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = certificate.context().wrap_bio(server_in, server_out, server_side=True)
    client = client_context.wrap_bio(server_out, server_in, server_hostname=host)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version() or ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_strict_client_accepts_it(host: str) -> None:
    certificate = tls.self_signed(NOW)
    assert handshake(certificate, host, certificate.pem) == "TLSv1.3"


def test_other_names_and_other_authorities_are_refused() -> None:
    certificate = tls.self_signed(NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="example"):
        handshake(certificate, "example.com", certificate.pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificate, "127.0.0.1", tls.self_signed(NOW).pem)


def test_it_is_never_the_same() -> None:
    assert tls.self_signed(NOW).key_pem != tls.self_signed(NOW).key_pem

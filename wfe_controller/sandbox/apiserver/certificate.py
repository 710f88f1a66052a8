"""A self-signed certificate for loopback, with nothing but the standard library.

kubectl sends no bearer token over plain HTTP, so the sandbox speaks TLS; nothing else in it needs cryptography, hence
no library for it. P-256 with ECDSA-SHA256, the curve's arithmetic in plain integers: once per start, on a key that is
worth nothing beyond this process, so timing does not matter.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
_PRIME256V1 = bytes.fromhex("06082a8648ce3d030107")
_ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_KEY_IDENTIFIER = bytes.fromhex("0603551d0e")
_KEY_USAGE = bytes.fromhex("0603551d0f")
_ALT_NAMES = bytes.fromhex("0603551d11")
_BASIC_CONSTRAINTS = bytes.fromhex("0603551d13")
_EXTENDED_USAGE = bytes.fromhex("0603551d25")
_SERVER_AUTH = bytes.fromhex("06082b06010505070301")
_TRUE = b"\x01\x01\xff"
VALID_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that is its own authority, and its key, both PEM."""

    pem: str
    key_pem: str

    def context(self) -> ssl.SSLContext:
        """For a server. The key touches the disk for the moment in which OpenSSL reads it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory() as directory:
            chain, key = Path(directory, "certificate"), Path(directory, "key")
            chain.write_text(self.pem)
            key.touch(mode=0o600)
            key.write_text(self.key_pem)
            context.load_cert_chain(chain, key)
        return context


def self_signed(now: datetime, hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")) -> Certificate:
    """A certificate for these names and addresses, good from a day before ``now``."""
    private = secrets.randbelow(_N - 1) + 1
    point = _times(private, _G)
    if point is None:
        raise ArithmeticError("a key below the group's order has a public half")
    public = b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
    name = _sequence(_tlv(0x31, _sequence(_COMMON_NAME, _tlv(0x0C, b"wfe-sandbox"))))
    key_info = _sequence(_sequence(_EC_PUBLIC_KEY, _PRIME256V1), _bits(public))
    alt_names = b"".join(_alt_name(host) for host in hosts)
    extensions = _sequence(
        _sequence(_BASIC_CONSTRAINTS, _TRUE, _tlv(0x04, _sequence(_TRUE))),
        _sequence(_KEY_USAGE, _TRUE, _tlv(0x04, b"\x03\x02\x02\x84")),  # digitalSignature, keyCertSign
        _sequence(_EXTENDED_USAGE, _tlv(0x04, _sequence(_SERVER_AUTH))),
        _sequence(_KEY_IDENTIFIER, _tlv(0x04, _tlv(0x04, hashlib.sha256(public).digest()[:20]))),
        _sequence(_ALT_NAMES, _tlv(0x04, _sequence(alt_names))),
    )
    body = _sequence(
        _tlv(0xA0, _integer(2)),
        _integer(secrets.randbits(120) | 1 << 119),
        _sequence(_ECDSA_SHA256),
        name,
        _sequence(_time(now - timedelta(days=1)), _time(now + timedelta(days=VALID_DAYS))),
        name,
        key_info,
        _tlv(0xA3, extensions),
    )
    signed = _sequence(body, _sequence(_ECDSA_SHA256), _bits(_signature(private, body)))
    key = _sequence(
        _integer(1), _tlv(0x04, private.to_bytes(32, "big")), _tlv(0xA0, _PRIME256V1), _tlv(0xA1, _bits(public))
    )
    return Certificate(_pem("CERTIFICATE", signed), _pem("EC PRIVATE KEY", key))


# -- curve --------------------


def _add(left: _Point, right: _Point) -> _Point:
    if left is None or right is None:
        return right if left is None else left
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    if left == right:
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, _P)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P)
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _times(number: int, point: _Point) -> _Point:
    result: _Point = None
    while number:
        if number & 1:
            result = _add(result, point)
        point = _add(point, point)
        number >>= 1
    return result


def _signature(private: int, data: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
    while True:
        nonce = secrets.randbelow(_N - 1) + 1
        point = _times(nonce, _G)
        r = point[0] % _N if point is not None else 0
        s = pow(nonce, -1, _N) * (digest + r * private) % _N
        if r and s:
            return _sequence(_integer(r), _integer(s))


# -- DER --------------------


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tlv(0x03, b"\0" + content)


def _time(instant: datetime) -> bytes:
    return _tlv(0x18 if instant.year >= 2050 else 0x17, _time_text(instant).encode())


def _time_text(instant: datetime) -> str:
    text = instant.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
    return text if instant.year >= 2050 else text[2:]


def _alt_name(host: str) -> bytes:
    try:
        return _tlv(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _tlv(0x82, host.encode())


def _pem(label: str, der: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"

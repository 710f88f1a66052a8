"""Listening addresses as the operator writes them."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """``host`` "" = all interfaces; ``port`` 0 = any free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """``:9090``, ``127.0.0.1:9090``, ``[::1]:9090``; ValueError otherwise."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address goes into brackets, like [::1]:9090")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write it as host:port or :port with a port of 0 to 65535, like :9090")
    return Address(host, int(port))

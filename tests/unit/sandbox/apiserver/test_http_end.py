"""What is left of the embedded server's connections when its loop ends right after it was stopped: nothing.

Under TLS the end of a connection is an exchange. These clients do not take part in it: they keep their side open and
read no more, as a program does that is stopped, or busy elsewhere.
"""

from __future__ import annotations

import gc
import random
import socket
import ssl
import warnings

import pytest

from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.apiserver.http import serve_in_thread
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer


def make() -> ApiServer:
    tokens = {"admin": User.known("admin", groups=["system:masters"])}
    return ApiServer(clock=RealClock(), rng=random.Random(1), tokens=tokens)


def connected(port: int, ca_pem: str, path: str) -> socket.socket:
    """A client that was answered, when it asks for anything."""
    context = ssl.create_default_context(cadata=ca_pem)
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    if path:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n".encode())
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
    return client


@pytest.mark.parametrize(
    "path", ["", "/version", "/api/v1/pods?watch=true"], ids=["asks nothing", "kept alive", "watches"]
)
def test_no_socket_outlives_the_server(path: str) -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        with serve_in_thread(make, tls=True) as running:
            client = connected(int(running.url.rpartition(":")[2]), running.ca_pem, path)
        gc.collect()
    client.close()
    assert [str(warning.message) for warning in told] == []

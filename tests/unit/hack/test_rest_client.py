"""The plane's own client: what it keeps open, and for how long."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hack.controlplane.client import RestClient


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"from": %d}' % self.client_address[1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def client() -> Iterator[RestClient]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made = RestClient(f"http://127.0.0.1:{server.server_address[1]}")
        yield made
        made.close()
        server.shutdown()
        thread.join()


def in_a_thread(client: RestClient) -> int:
    """The client's port of two requests made in a thread of their own, which has ended then."""
    ports: list[int] = []
    thread = threading.Thread(target=lambda: ports.extend(client.get("/")["from"] for _ in range(2)))
    thread.start()
    thread.join()
    assert ports[0] == ports[1], "a thread keeps its connection"
    return ports[0]


def test_a_connection_ends_with_the_thread_that_kept_it(client: RestClient) -> None:
    """Threads of an executor end when its event loop does: nobody calls close in them."""
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        assert in_a_thread(client) != in_a_thread(client), "each thread has its own"
        gc.collect()
    assert [str(warning.message) for warning in told] == []


def test_a_closed_client_opens_anew(client: RestClient) -> None:
    first = client.get("/")["from"]
    client.close()
    assert client.get("/")["from"] != first

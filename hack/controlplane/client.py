"""A REST client for the plane's own needs on http.client: no proxy, no third-party package, one connection per thread.

Tests of the controller must not judge it by its own client, so the plane and the test kubelet use this one.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

Object = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"


class Refused(Exception):
    """An answer of 400 or more; ``status`` is the HTTP code, the text is the server's message."""

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        try:
            self.details: Object = json.loads(body)
        except ValueError:
            self.details = {}
        super().__init__(f"{status}: {self.details.get('message') or body.strip()[:500]}")


class _Kept:
    """The connection that a thread keeps; closed when the thread ends, as those of an executor do behind our back."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class RestClient:
    """Requests against one API server with one bearer token. Safe to share between threads."""

    def __init__(
        self, server: str, *, token: str = "", ca_pem: str = "", timeout: float = 10.0, verify: bool = True
    ) -> None:
        parts = urlsplit(server)
        self._host, self._port, self._tls = parts.hostname or "127.0.0.1", parts.port, parts.scheme == "https"
        self._context = ssl.create_default_context(cadata=ca_pem or None) if self._tls else None
        if self._context is not None and not verify:
            self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._local = threading.local()
        self._watches: set[socket.socket] = set()

    @classmethod
    def from_kubeconfig(cls, path: str | Path) -> RestClient:
        """Reads the kubeconfigs that the plane writes (JSON, which is YAML too; one cluster, one user)."""
        config = json.loads(Path(path).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        ca_pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], token=user["token"], ca_pem=ca_pem)

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """One JSON call. Raises Refused from 400 on, OSError or http.client.HTTPException without an answer.

        On a kept connection that turns out to be closed the call is made once more; a create may then be answered 409.
        """
        payload = json.dumps(body).encode() if body is not None else None
        status, _, answer = self.exchange(
            method, path, payload, {"Content-Type": content_type, "Accept": "application/json"}
        )
        if status >= 400:
            raise Refused(status, answer.decode(errors="replace"))
        return json.loads(answer) if answer and answer[:1] in b"{[" else answer.decode(errors="replace")

    def exchange(
        self, method: str, path: str, payload: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body as they come. Raises OSError or http.client.HTTPException."""
        kept = self._kept
        for connection in ([kept] if kept is not None else []) + [self._connect(self._timeout)]:
            try:
                connection.request(method, path, body=payload, headers={**self._headers, **(headers or {})})
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.kept = None
                if connection is not kept:
                    raise
                continue
            if connection is not kept:
                self._local.kept = _Kept(connection)
            return response.status, dict(response.headers), answer
        raise AssertionError("unreachable: the last connection either answers or raises")

    def close(self) -> None:
        """Close this thread's kept connection."""
        self._local.kept = None

    @property
    def _kept(self) -> http.client.HTTPConnection | None:
        kept: _Kept | None = getattr(self._local, "kept", None)
        return kept.connection if kept is not None else None

    def get(self, path: str) -> Object:
        answer: Object = self.request("GET", path)
        return answer

    def create(self, path: str, obj: Object) -> Object:
        answer: Object = self.request("POST", path, obj)
        return answer

    def ensure(self, path: str, obj: Object) -> None:
        """Create, and be content with an object that is already there."""
        try:
            self.create(path, obj)
        except Refused as refused:
            if refused.status != 409:
                raise

    def merge_patch(self, path: str, patch: Object) -> Object:
        answer: Object = self.request("PATCH", path, patch, content_type=MERGE_PATCH)
        return answer

    def delete(self, path: str) -> None:
        self.request("DELETE", path)

    def watch(self, path: str, *, resource_version: str, seconds: int = 300) -> Iterator[Object]:
        """Watch events until the server ends the stream.

        The connection is this call's own; close the iterator to end it.
        """
        query = urlencode({"watch": "1", "resourceVersion": resource_version, "timeoutSeconds": seconds})
        connection = self._connect(timeout=seconds + 10)
        connection.connect()
        stream: socket.socket = connection.sock
        self._watches.add(stream)
        try:
            connection.request("GET", f"{path}?{query}", headers=self._headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise Refused(response.status, response.read().decode(errors="replace"))
            while line := response.readline():
                yield json.loads(line)
        finally:
            self._watches.discard(stream)
            connection.close()

    def interrupt_watches(self) -> None:
        """End every open watch of this client, from any thread; the iterators raise or end."""
        for stream in list(self._watches):
            with contextlib.suppress(OSError):  # the server may have closed it already
                stream.shutdown(socket.SHUT_RDWR)


def plural_path(obj: Object, plural: str | None = None) -> str:
    """The collection path of an object: ``/apis/tekton.dev/v1/namespaces/x/pipelineruns``.

    The plural is kind + s unless given.
    """
    version, metadata = obj["apiVersion"], obj.get("metadata", {})
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
    return f"{root}{scope}/{plural or obj['kind'].lower() + 's'}"

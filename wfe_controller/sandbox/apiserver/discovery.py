"""Paths that are not about resources: health, version, discovery and OpenAPI documents.

``openapi`` makes the documents; here they are cached until the registry changes, and negotiated.
"""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver import negotiation, openapi
from wfe_controller.sandbox.apiserver.message import JSON, Request, Response
from wfe_controller.sandbox.apiserver.negotiation import Form
from wfe_controller.sandbox.apiserver.resources import Registry
from wfe_controller.sandbox.apiserver.status import method_not_routed, no_such_route

Json = dict[str, Any]

TEXT = "text/plain; charset=utf-8"
HEALTH = ("healthz", "readyz", "livez")
VERSION: Json = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.3+wfe-sandbox",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}


class Discovery:
    """The documents of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._cache: dict[tuple[str, Form], Response] = {}

    def answer(self, request: Request) -> Response | None:
        """The answer of a path; None when nothing is there."""
        parts = request.path.strip("/").split("/")
        if request.path.startswith("//"):
            return None
        if parts[0] in HEALTH:
            return self._health(request, parts)
        known = self._known(parts)
        if known is None:
            return None
        if request.method != "GET":
            raise method_not_routed()
        return self._document(request, parts)

    def _known(self, parts: list[str]) -> bool | None:
        head = parts[0]
        if parts in (["version"], ["api"], ["apis"], ["api", "v1"]):
            return True
        if parts in (["openapi", "v2"], ["openapi", "v3"]) or parts[:2] == ["openapi", "v3"]:
            return True
        if head == "apis" and len(parts) in (2, 3):
            versions = self._registry.versions(parts[1])
            if versions and (len(parts) == 2 or parts[2] in versions):
                return True
            if any(not info.custom for info in self._registry.all() if info.group == parts[1]):
                raise no_such_route()
        return None

    def _health(self, request: Request, parts: list[str]) -> Response | None:
        if len(parts) > 2:
            return None
        if len(parts) == 1 and "verbose" in request.query:
            text = f"[+]ping ok\n[+]log ok\n[+]etcd ok\n{parts[0]} check passed\n"
            return Response(200, {"Content-Type": TEXT}, text.encode())
        if len(parts) == 2 and parts[1] not in ("ping", "log", "etcd"):
            return None
        return Response(200, {"Content-Type": TEXT}, b"ok")

    def _document(self, request: Request, parts: list[str]) -> Response:
        if self._revision != self._registry.revision:
            self._cache.clear()
            self._revision = self._registry.revision
        key = (request.path + "|" + request.header("accept"), Form(pretty=negotiation.wants_pretty(request)))
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._make(request, parts)
        return Response(found.status, dict(found.headers), found.body)

    def _make(self, request: Request, parts: list[str]) -> Response:
        registry = self._registry
        if parts == ["version"]:
            body = negotiation.reform(negotiation.write(VERSION, Form(pretty=True)), Form())
            return Response(200, {"Content-Type": JSON}, body)
        made = openapi.document(registry, parts, request.header("accept"))
        form = Form(pretty=negotiation.wants_pretty(request))
        return Response(200, {"Content-Type": made.content_type}, negotiation.write(made.body, form))

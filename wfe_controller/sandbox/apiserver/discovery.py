"""Paths that are not about resources: health, version, discovery and OpenAPI documents.

``groups`` and ``openapi`` make the documents; here they are cached until the registry changes, tagged, and negotiated.
"""

from __future__ import annotations

import hashlib
from typing import Any

from wfe_controller.sandbox.apiserver import groups, negotiation, openapi, openapiproto
from wfe_controller.sandbox.apiserver.groups import AGGREGATED
from wfe_controller.sandbox.apiserver.message import JSON, YAML, Request, Response
from wfe_controller.sandbox.apiserver.negotiation import Form
from wfe_controller.sandbox.apiserver.resources import Registry
from wfe_controller.sandbox.apiserver.status import method_not_routed, no_such_route, not_acceptable

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
        self._cache: dict[tuple[str, str, str, bool], Response] = {}

    def answer(self, request: Request) -> Response | None:
        """The answer of a path; None when nothing is there."""
        parts = request.path.strip("/").split("/")
        if request.path.startswith("//"):
            return None
        if "" in parts and parts != [""]:
            if parts[:2] == ["api", "v1"]:
                raise no_such_route()
            return None
        if parts[0] in HEALTH:
            return self._health(request, parts)
        known = self._known(parts)
        if known is None:
            return None
        # Two documents come from handlers that look at no method.
        if request.method != "GET" and parts not in (["apis"], ["openapi", "v3"]):
            raise method_not_routed()
        return self._document(request, parts)

    def _known(self, parts: list[str]) -> bool | None:
        head = parts[0]
        if parts in (["version"], ["api"], ["apis"], ["api", "v1"]):
            return True
        if head == "api" and len(parts) == 2:
            raise no_such_route()
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
        accept = request.header("accept")
        pretty = negotiation.wants_pretty(request)
        key = (request.path, accept, request.header("host") if parts == ["api"] else "", pretty)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._make(request, parts, Form(pretty=pretty))
        headers, etag = dict(found.headers), found.headers.get("Etag", "")
        asked = request.param("hash")
        if asked and parts[:2] == ["openapi", "v3"] and len(parts) > 2:
            if f'"{asked}"' != etag:
                location = f"{request.path}?hash={etag.strip(chr(34))}"
                return Response(301, {**headers, "Location": location, "Cache-Control": "no-cache, private"})
            headers["Cache-Control"] = "public, immutable"
        if etag and request.header("if-none-match") == etag:
            headers.pop("Content-Type", None)
            return Response(304, headers)
        return Response(found.status, headers, found.body)

    def _make(self, request: Request, parts: list[str], form: Form) -> Response:
        registry = self._registry
        if parts == ["version"]:
            body = negotiation.reform(negotiation.write(VERSION, Form(pretty=True)), Form())
            return Response(200, {"Content-Type": JSON}, body)
        if parts[0] == "openapi":
            return self._openapi(request, parts, form)
        if len(parts) == 1:
            core = parts == ["api"]
            media_type = discovery_type(request.header("accept"))
            if media_type == AGGREGATED:
                body = negotiation.write(groups.aggregated(registry, core=core), form)
                headers = {"Content-Type": AGGREGATED, "Cache-Control": "public", "Vary": "Accept"}
                return Response(200, {**headers, "Etag": _etag(body)}, body)
            document = groups.api_versions(request.header("host")) if core else groups.api_groups(registry)
            return _json(document, form)
        if parts[0] == "api":
            return _json(groups.api_resources(registry, "", parts[1]), form)
        if len(parts) == 2:
            return _json(groups.api_group(registry, parts[1]), form)
        return _json(groups.api_resources(registry, parts[1], parts[2]), form)

    def _openapi(self, request: Request, parts: list[str], form: Form) -> Response:
        """Documents as JSON. Who asks for protobuf only gets 406, with which kubectl can live."""
        accept = request.header("accept")
        if parts == ["openapi", "v3"]:
            paths = {}
            for path in openapi.paths_v3(self._registry):
                tag = _etag(self._document_v3(path, Form())).strip('"')
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag}"}
            return Response(200, {"Content-Type": TEXT}, negotiation.write({"paths": paths}, form))
        if parts == ["openapi", "v2"] and openapiproto.ACCEPTED in accept:
            body = openapiproto.document(self._registry)
            return Response(200, {"Content-Type": openapiproto.MEDIA_TYPE, "Vary": "Accept", "Etag": _etag(body)}, body)
        if not _takes_json(accept):
            return Response(406, {"Vary": "Accept"})
        if parts == ["openapi", "v2"]:
            body = negotiation.write(openapi.document_v2(self._registry), form)
            tag = _etag(body)
        else:
            path = "/".join(parts[2:])
            if path not in openapi.paths_v3(self._registry):
                return Response(404, {})
            body = self._document_v3(path, form)
            # The tag is the one of the index, whatever the layout.
            tag = _etag(self._document_v3(path, Form()))
        return Response(200, {"Content-Type": JSON, "Vary": "Accept", "Etag": tag}, body)

    def _document_v3(self, path: str, form: Form) -> bytes:
        group, _, version = path.partition("/")[2].rpartition("/")
        key = ("/" + path, "v3", "", form.pretty)
        found = self._cache.get(key)
        if found is None:
            body = negotiation.write(openapi.document_v3(self._registry, group, version), form)
            found = self._cache[key] = Response(200, {}, body)
        return found.body


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha512(body).hexdigest().upper()}"'


def _json(document: Json, form: Form) -> Response:
    return Response(200, {"Content-Type": JSON}, negotiation.write(document, form))


def _clauses(accept: str) -> list[str]:
    return [clause.replace(" ", "").lower() for clause in accept.split(",")]


def discovery_type(accept: str) -> str:
    """Which form of ``/api`` and ``/apis`` a client takes first: the aggregated one or plain JSON. Raises 406."""
    for clause in _clauses(accept):
        essence, _, rest = clause.partition(";")
        parameters = set(rest.split(";"))
        if essence == JSON and "g=apidiscovery.k8s.io" in parameters:
            if {"v=v2", "as=apigroupdiscoverylist"} <= parameters:
                return AGGREGATED
        elif essence in (JSON, "application/*", "*/*", "", YAML):
            return JSON
    raise not_acceptable(negotiation.MEDIA_TYPES)


def _takes_json(accept: str) -> bool:
    return any(clause.partition(";")[0] in (JSON, "application/*", "*/*", "") for clause in _clauses(accept))

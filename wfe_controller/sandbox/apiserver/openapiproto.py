"""OpenAPI version 2 in protobuf, as far as kubectl reads it: which kinds take ``fieldValidation`` in a PATCH.

kubectl asks for this document, and accepts no other form of it, when it meets a kind that version 3 does not describe
(a List, a misspelt kind). Field numbers are those of gnostic's ``openapi.v2.Document``; there are no definitions, so
that kubectl leaves validation to the server.
"""

from __future__ import annotations

import json

from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo

ACCEPTED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Of the answer: an @ is no part of a media type, as the real server found out too."""
_GVK = "x-kubernetes-group-version-kind"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")


def document(registry: Registry) -> bytes:
    """The document of everything that is served now and can be patched."""
    info = _field(1, b"Kubernetes") + _field(2, b"v1.36")
    paths = b"".join(_field(2, _path(one)) for one in registry.all() if "patch" in one.verbs)
    return _field(1, b"2.0") + _field(2, info) + _field(8, paths)


def _path(info: ResourceInfo) -> bytes:
    base = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
    namespace = "/namespaces/{namespace}" if info.namespaced else ""
    kind = json.dumps({"group": info.group, "kind": info.kind, "version": info.version}).encode()
    extension = _field(1, _GVK.encode()) + _field(2, _field(2, kind))
    patch = b"".join(_field(8, _parameter(name)) for name in _PARAMETERS) + _field(13, extension)
    return _field(1, f"{base}{namespace}/{info.plural}/{{name}}".encode()) + _field(2, _field(8, patch))


def _parameter(name: str) -> bytes:
    """ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema."""
    query = _field(2, b"query") + _field(4, name.encode()) + _field(6, b"string")
    return _field(1, _field(2, _field(3, query)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

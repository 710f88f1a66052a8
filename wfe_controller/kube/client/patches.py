"""Patch bodies, pure. Neighbour: ``api`` sends them. Strategic merge is absent: custom resources do not have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from wfe_controller.kube.objects import Json

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Patch:
    """One PATCH request: its media type, its bytes, and the query parameters that belong to it."""

    content_type: str
    body: bytes
    params: tuple[tuple[str, str], ...] = ()


def merge_patch(body: Mapping[str, Any], resource_version: str | None = None) -> Patch:
    """RFC 7386: None deletes a key, lists are replaced whole.

    With ``resource_version`` the write is a compare-and-swap: the server answers 409 when the object moved (I-61).
    """
    if resource_version is not None:
        if not resource_version:
            raise ValueError("an empty resourceVersion would switch the compare-and-swap off")
        body = {**body, "metadata": {**(body.get("metadata") or {}), "resourceVersion": resource_version}}
    return Patch(MERGE, msgspec.json.encode(body))


def json_patch(operations: Iterable[Mapping[str, Any]]) -> Patch:
    """RFC 6902, from :func:`test`, :func:`add`, :func:`replace` and :func:`remove`; all or none are applied."""
    return Patch(JSON_PATCH, msgspec.json.encode(list(operations)))


def apply_patch(obj: Json, field_manager: str, force: bool = False) -> Patch:
    """Server-side apply of ``obj`` (JSON is YAML). ``force`` only for fields this manager owns (I-63)."""
    if not field_manager:
        raise ValueError("server-side apply needs a field manager")
    params = (("fieldManager", field_manager), ("force", "true")) if force else (("fieldManager", field_manager),)
    return Patch(APPLY, msgspec.json.encode(obj), params)


def escape_pointer(segment: str) -> str:
    """One reference token of a JSON pointer (RFC 6901): ``~`` and ``/`` occur in label and annotation keys."""
    return segment.replace("~", "~0").replace("/", "~1")


def pointer(*segments: str | int) -> str:
    """``pointer("metadata", "annotations", "a/b")`` is ``/metadata/annotations/a~1b``."""
    return "".join("/" + escape_pointer(str(segment)) for segment in segments)


def test(path: str, value: object) -> Json:
    """Refuse the whole patch unless ``path`` holds ``value``; the server answers 422 then."""
    return {"op": "test", "path": path, "value": value}


def add(path: str, value: object) -> Json:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: object) -> Json:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Json:
    return {"op": "remove", "path": path}

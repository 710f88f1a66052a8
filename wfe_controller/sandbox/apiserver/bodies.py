"""Bodies that are no object of the resource: options of a DELETE, and what the subresources are sent.

They are Go structs of their own (Scale, Eviction, Binding, TokenRequest, DeleteOptions) and refused like every other:
wrong types, unknown fields under strict validation, another kind.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from wfe_controller.sandbox.apiserver import decode, definitions, gotypes
from wfe_controller.sandbox.apiserver.core import Call, Core
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.schema import Schema
from wfe_controller.sandbox.apiserver.status import StatusError, bad_request

Json = dict[str, Any]

_API = "io.k8s.api"
_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_KINDS = {
    "Scale": ("autoscaling", f"{_API}.autoscaling.v1.Scale"),
    "Eviction": ("policy", f"{_API}.policy.v1.Eviction"),
    "TokenRequest": ("authentication.k8s.io", f"{_API}.authentication.v1.TokenRequest"),
    "Binding": ("", ""),
    "Namespace": ("", f"{_API}.core.v1.Namespace"),
}


def _openapi(kind: str) -> Json:
    name = _KINDS[kind][1]
    if name:
        return definitions.schema(name)
    text = {"type": "string"}
    fields = {
        "apiVersion": text,
        "kind": text,
        "metadata": definitions.schema(definitions.OBJECT_META),
        "target": definitions.schema(f"{_API}.core.v1.ObjectReference"),
    }
    return {"type": "object", "properties": fields, gotypes.DEFINITION: f"{_API}.core.v1.{kind}"}


@cache
def schema(kind: str) -> Schema:
    """The Go struct of one of the kinds."""
    return Schema.compile(_openapi(kind), builtin=True)


def info(call: Call, kind: str) -> ResourceInfo:
    """The resource of the call as if it were of ``kind``: what refusals of the body are about."""
    return replace(call.info, group=_KINDS[kind][0], version="v1", kind=kind, custom=False, schema=None)


def read(core: Core, call: Call, kind: str, validation: str, action: str) -> Json:
    """The body as an object of ``kind``; it may leave kind and apiVersion out. Warnings go to the call."""
    try:
        found, warnings = decode.read(
            call.request.body,
            call.request.header("content-type", "application/json"),
            info(call, kind),
            schema(kind),
            validation,
            core.registry,
            action=action,
            told=call.warnings,
        )
    except StatusError as error:
        if call.info.custom and isinstance(error.__cause__, gotypes.Mismatch):
            # The scheme of custom resources does not know the kind that it would like to name.
            why = f'no kind is registered for the type v1.{kind} in scheme "pkg/runtime/scheme.go:111"'
            raise bad_request(why) from error
        raise
    call.warnings.extend(warnings)
    if not isinstance(found.get("metadata"), dict):
        found["metadata"] = {}
    return found


@cache
def _delete_options() -> gotypes.GoType:
    made = gotypes.compiled(definitions.schema(_OPTIONS))
    made.fields["propagationPolicy"] = gotypes.GoType("string", "v1.DeletionPropagation")
    return made


def delete_options(request: Request) -> Json:
    """The body of a DELETE; unknown fields are nobody's business."""
    obj = decode.decode(request.body, request.header("content-type", "application/json")).value
    if obj is None:
        return {}
    why = decode.head_problem(obj)
    if why:
        raise bad_request(why)
    try:
        gotypes.Decoder(fill=False).run(obj, _delete_options())
    except gotypes.Mismatch as error:
        raise bad_request(str(error)) from error
    version, kind = obj.get("apiVersion") or "meta.k8s.io/v1", obj.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        raise bad_request(
            f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'
        )
    found: Json = obj
    return found

"""In which form an answer goes out: JSON or YAML, and of what kind (the object, a Table, only its metadata)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import yaml

from wfe_controller.sandbox.apiserver.message import JSON, YAML, Request
from wfe_controller.sandbox.apiserver.status import StatusError, not_acceptable

Json = dict[str, Any]

MEDIA_TYPES = (JSON, YAML, "application/vnd.kubernetes.protobuf")
"""As the refusals list them; protobuf is not spoken here."""
_TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True, slots=True)
class Form:
    """``transform`` is "", Table, PartialObjectMetadata or PartialObjectMetadataList; ``version`` its apiVersion."""

    media_type: str = JSON
    transform: str = ""
    pretty: bool = False
    version: str = "meta.k8s.io/v1"

    @property
    def plain(self) -> bool:
        """Stored bytes may go out as they are."""
        return not self.transform and not self.pretty and self.media_type == JSON


_PLAIN = Form()


def negotiate(request: Request, *, custom: bool = False) -> Form:
    """The form of a successful answer. Raises 406 in the words of the layer that refuses (custom resources differ)."""
    accept = request.header("accept")
    pretty = wants_pretty(request)
    if not pretty and accept in ("", JSON, "*/*"):
        return _PLAIN
    chosen = _choose(accept, custom)
    if chosen is None:
        raise not_acceptable(MEDIA_TYPES) if custom else unavailable()
    media_type, transform, version = chosen
    return Form(media_type, transform, pretty, version)


def unavailable() -> StatusError:
    text = "406: Not Acceptable\n\nAvailable representations: " + ", ".join(MEDIA_TYPES)
    return StatusError(406, "NotAcceptable", text, {})


def wants_pretty(request: Request) -> bool:
    """For people: asked for, or a browser or curl."""
    if "pretty" in request.query:
        return request.flag("pretty")
    agent = request.header("user-agent")
    return agent.startswith(("curl", "Wget", "Mozilla"))


@lru_cache(maxsize=256)
def _choose(accept: str, custom: bool) -> tuple[str, str, str] | None:
    """Media type, transform and its apiVersion of the best clause that can be served."""
    clauses = []
    for position, clause in enumerate(accept.split(",") if accept else ["*/*"]):
        media_type, _, rest = clause.strip().partition(";")
        parameters = {}
        for parameter in rest.split(";"):
            name, _, value = parameter.strip().partition("=")
            parameters[name] = value
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        clauses.append((-quality, position, media_type.strip().lower(), parameters))
    for _, _, media_type, parameters in sorted(clauses, key=lambda entry: entry[:2]):
        served = {"*/*": JSON, JSON: JSON, YAML: YAML}.get(media_type)
        if media_type == "application/*" and custom:  # the router of built-in kinds does not know it
            served = JSON
        transform = parameters.get("as", "")
        version = parameters.get("v", "v1")
        if served is None:
            continue
        if transform and (
            transform not in _TRANSFORMS
            or parameters.get("g", "meta.k8s.io") != "meta.k8s.io"
            or version not in ("v1", "v1beta1")
        ):
            continue
        return served, transform, f"meta.k8s.io/{version}"
    return None


def write(obj: Json, form: Form) -> bytes:
    """An object in the given media type."""
    return reform(msgspec.json.encode(obj), form)


def reform(data: bytes, form: Form) -> bytes:
    """Encoded JSON in the given media type."""
    if form.media_type == YAML:
        return yaml.safe_dump(msgspec.json.decode(data), default_flow_style=False, allow_unicode=True).encode()
    return msgspec.json.format(data, indent=2) if form.pretty else data + b"\n"


def metadata_only(obj: Json, form: Form) -> Json:
    """PartialObjectMetadata of one object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": form.version, "metadata": obj.get("metadata") or {}}

"""The JSON of a watch, decoded: envelopes, bookmarks, the Status of an ERROR event. Pure. Neighbour: ``watcher``."""

from __future__ import annotations

import msgspec

from wfe_controller.kube.cache.messages import Verb
from wfe_controller.kube.cache.transforms import DECODE_ERRORS
from wfe_controller.kube.errors import ApiError, Gone, KubeError, api_error

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Envelope(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _BookmarkMetadata(msgspec.Struct, gc=False):
    resourceVersion: str
    annotations: dict[str, str] | None = None


class _BookmarkObject(msgspec.Struct, gc=False):
    metadata: _BookmarkMetadata


ENVELOPE = msgspec.json.Decoder(Envelope)
BOOKMARK = msgspec.json.Decoder(_BookmarkObject)
VERBS = {verb.value: verb for verb in Verb}


class UndecodableLine(KubeError):
    """A watch line that is no watch event: half a line, or something that is not the API server answering."""


def version_refused(error: KubeError) -> bool:
    """410 in any form, or "Too large resource version" (a restored or lagging server; 504 with a cause)."""
    if isinstance(error, Gone):
        return True
    if not isinstance(error, ApiError):
        return False
    return (
        any(cause.reason == "ResourceVersionTooLarge" for cause in error.causes)
        or "Too large resource version" in error.message
    )


def status_error(raw: msgspec.Raw) -> KubeError:
    """The error in an ERROR event."""
    try:
        status = msgspec.json.decode(raw, type=dict[str, object])
    except DECODE_ERRORS as error:
        return UndecodableLine(f"ERROR event without Status: {error}")
    code = status.get("code")
    if status.get("kind") != "Status":
        return UndecodableLine("ERROR event without Status")
    return api_error(code if isinstance(code, int) else 500, status)

"""What the server says when it refuses: ``kind: Status`` as kube-apiserver writes it, raised as StatusError.

Every other module of the room raises these and nothing else; ``server`` turns them into answers. Texts are those of
apimachinery's ``errors`` package; a client that tells errors apart by code, reason, details or causes sees no
difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Json = dict[str, Any]
_BYTES = re.compile("[\udc80-\udcff]")

_CAUSES = {
    "NotFound": "FieldValueNotFound",
    "Required": "FieldValueRequired",
    "Duplicate": "FieldValueDuplicate",
    "Invalid": "FieldValueInvalid",
    "NotSupported": "FieldValueNotSupported",
    "Forbidden": "FieldValueForbidden",
    "TooLong": "FieldValueTooLong",
    "TooMany": "FieldValueTooMany",
    "Internal": "InternalError",
    "TypeInvalid": "FieldValueTypeInvalid",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``details.causes``.

    ``message`` is the text without the field, as in ``Required value``; in the Status message the field stands before
    it.
    """

    reason: str
    message: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def to_json(self) -> Json:
        entry: Json = {"reason": self.reason} if self.reason else {}
        if self.message:
            entry["message"] = self.message
        if self.field:
            entry["field"] = self.field
        return entry


class StatusError(Exception):
    """A refusal. ``details`` is the finished JSON of ``details`` or None; ``headers`` go into the answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details) if details is not None else None
        self.headers = dict(headers or {})
        self.metadata: Json = {}
        """Of the Status object; holds the token with which an expired list can go on."""

    def to_json(self) -> Json:
        status = failure(self.code, self.reason, self.message, self.details)
        status["metadata"] = self.metadata
        return status

    def encode(self) -> bytes:
        return encode_status(self.to_json())


def failure(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> Json:
    """The Status object of a refusal, fields in the real order."""
    if not message.isascii():
        message = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = dict(details)
    status["code"] = code
    return status


def success(details: Mapping[str, Any] | None = None, code: int = 0) -> Json:
    """The Status object of a done deletion (no code) or eviction (201)."""
    status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = dict(details)
    if code:
        status["code"] = code
    return status


def encode_status(status: Json) -> bytes:
    return msgspec.json.encode(status) + b"\n"


def quote(text: str) -> str:
    """``text`` as Go's %q prints it; bytes that were no UTF-8 came in as surrogates."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isascii() else _BYTES.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", quoted)


def qualified(group: str, resource: str) -> str:
    """``plural.group``, or ``plural`` in the core group; the same for kinds."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str = "", **more: object) -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details.update({key: value for key, value in more.items() if value})
    return details


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(group: str, resource: str, name: str, why: str, causes: Sequence[Cause] = ()) -> StatusError:
    """A refusal of authorization or admission: ``pods "a" is forbidden: why``. An empty resource drops the subject."""
    subject = qualified(group, resource)
    if name:
        message = f"{subject} {quote(name)} is forbidden: {why}"
    elif resource:
        message = f"{subject} is forbidden: {why}"
    else:
        message = f"forbidden: {why}"
    listed = [cause.to_json() for cause in causes]
    return StatusError(403, "Forbidden", message, _details(group, resource, name, causes=listed))


def not_found(group: str, resource: str, name: str) -> StatusError:
    message = f"{qualified(group, resource)} {quote(name)} not found"
    return StatusError(404, "NotFound", message, _details(group, resource, name))


def no_such_route() -> StatusError:
    """404 with the generic text, for resources and subresources that do not exist but get a Status."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    message = f"{qualified(group, resource)} {quote(name)} already exists"
    return StatusError(409, "AlreadyExists", message, _details(group, resource, name))


def conflict(group: str, resource: str, name: str, why: str) -> StatusError:
    message = f"Operation cannot be fulfilled on {qualified(group, resource)} {quote(name)}: {why}"
    return StatusError(409, "Conflict", message, _details(group, resource, name))


def stale(group: str, resource: str, name: str) -> StatusError:
    """409 for a write whose resourceVersion is not the current one."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(group, resource, name, why)


def apply_conflict(causes: Sequence[Cause], message: str) -> StatusError:
    """409 of server-side apply; causes have reason FieldManagerConflict."""
    return StatusError(409, "Conflict", message, {"causes": [cause.to_json() for cause in causes]})


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def invalid(group: str, kind: str, name: str, causes: Iterable[Cause]) -> StatusError:
    """422; several causes are listed in brackets, equal texts once."""
    listed = list(causes)
    texts = list(dict.fromkeys(str(cause) for cause in listed))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    message = f"{qualified(group, kind)} {quote(name)} is invalid: {joined}"
    if not texts:
        message = f"{qualified(group, kind)} {quote(name)} is invalid"
    details = _details(group, kind, name, causes=[cause.to_json() for cause in listed])
    return StatusError(422, "Invalid", message, details)


def method_not_allowed(group: str, resource: str, action: str) -> StatusError:
    """405 of a resource that has no such verb; ``action`` as in ``create``."""
    message = f"{action} is not supported on resources of kind {quote(qualified(group, resource))}"
    return StatusError(405, "MethodNotAllowed", message, _details(group, resource))


def method_not_routed() -> StatusError:
    """405 of a path that exists, for a method no resource has there."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    message = "only the following media types are accepted: " + ", ".join(accepted)
    return StatusError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def too_large(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def too_many_requests(message: str, retry_after: int = 1) -> StatusError:
    """429 with Retry-After in seconds, in the header and in the details."""
    details = {"retryAfterSeconds": retry_after} if retry_after else None
    return StatusError(429, "TooManyRequests", message, details, {"Retry-After": str(retry_after)})


def disrupted(message: str, causes: Sequence[Cause]) -> StatusError:
    """429 of an eviction that a disruption budget forbids; without Retry-After."""
    return StatusError(429, "TooManyRequests", message, {"causes": [cause.to_json() for cause in causes]})


def internal(message: str) -> StatusError:
    text = f"Internal error occurred: {message}"
    return StatusError(500, "InternalError", text, {"causes": [{"message": message}]})


def timeout(message: str, retry_after: int = 0) -> StatusError:
    details = {"retryAfterSeconds": retry_after} if retry_after else {}
    return StatusError(504, "Timeout", f"Timeout: {message}", details)


def service_unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def cause(kind: str, field: str, message: str) -> Cause:
    """A cause by its short name (``Invalid``, ``Required``, ``TypeInvalid`` ...)."""
    return Cause(_CAUSES[kind], message, field)


def unmet(path: str, key: str, what: str, wanted: str, found: str) -> str:
    """How the storage of a real server tells that a UID or ResourceVersion is another one."""
    return (
        f"StorageError: invalid object, Code: 4, Key: {path}/{key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
    )

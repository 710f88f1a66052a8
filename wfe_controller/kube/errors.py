"""Errors of the Kubernetes API, typed from the HTTP status and the ``Status`` body.

KubeError
|- ApiError                an answer came, and it was a refusal
|  |- BadRequest           400
|  |- Unauthorized         401
|  |- Forbidden            403
|  |- NotFound             404
|  |- MethodNotAllowed     405, 406, 415
|  |- Conflict             409, stale resourceVersion or precondition
|  |  '- AlreadyExists     409, reason AlreadyExists
|  |- Gone                 410, reasons Gone and Expired
|  |- TooLarge             413
|  |- Invalid              422, with field causes
|  |- Throttled            429
|  '- Unavailable          5xx
|- KubeConfigError         no usable kubeconfig or service account: the operator's mistake, one line
|- ConnectionFailed        no answer: refused, reset, TLS, DNS; the outcome of a write is unknown
|- RequestTimeout          no answer in time; the outcome of a write is unknown
'- NotLeading              the write gate refused before any byte was sent: nothing happened
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``status.details.causes``: which field, which rule."""

    field: str
    reason: str
    message: str


class KubeError(Exception):
    """Anything that kept a request from succeeding."""


class ConnectionFailed(KubeError):
    """The connection broke before a whole answer came. A write may or may not have been committed."""


class RequestTimeout(KubeError):
    """No whole answer within the request's timeout. A write may or may not have been committed."""


class KubeConfigError(KubeError):
    """The kubeconfig or the service account cannot be used; the message is one line naming file and fault."""


class NotLeading(KubeError):
    """The write gate is closed: this process does not hold the lease, or not for long enough."""


class ApiError(KubeError):
    """The server refused. ``status`` is the HTTP code, ``reason`` and ``message`` those of the Status object.

    ``retry_after`` is in seconds, from the header or ``details.retryAfterSeconds``; None when not said.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        causes: tuple[Cause, ...] = (),
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after


class BadRequest(ApiError): ...


class Unauthorized(ApiError): ...


class Forbidden(ApiError): ...


class NotFound(ApiError):
    @property
    def type_missing(self) -> bool:
        """True when the resource type itself is not served (the body is not a Status about one object)."""
        return not self.details.get("name") and not self.details.get("kind")


class MethodNotAllowed(ApiError): ...


class Conflict(ApiError): ...


class AlreadyExists(Conflict): ...


class Gone(ApiError): ...


class TooLarge(ApiError): ...


class Invalid(ApiError): ...


class Throttled(ApiError): ...


class Unavailable(ApiError): ...


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    406: MethodNotAllowed,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    415: MethodNotAllowed,
    422: Invalid,
    429: Throttled,
}


def api_error(
    status: int, body: Mapping[str, Any] | None, *, retry_after: float | None = None, text: str = ""
) -> ApiError:
    """The typed error of one answer.

    ``body`` is the decoded Status, or None when the body was not one (then ``text``, shortened, is the message).
    """
    body = body if isinstance(body, Mapping) and body.get("kind") == "Status" else None
    reason = str((body or {}).get("reason") or "")
    message = str((body or {}).get("message") or text[:500] or "no message")
    raw_details = (body or {}).get("details")
    details: Mapping[str, Any] = raw_details if isinstance(raw_details, Mapping) else {}
    causes = tuple(
        Cause(str(c.get("field") or ""), str(c.get("reason") or ""), str(c.get("message") or ""))
        for c in details.get("causes") or ()
        if isinstance(c, Mapping)
    )
    if (
        retry_after is None
        and isinstance(details.get("retryAfterSeconds"), int | float)
        and details["retryAfterSeconds"]
    ):
        retry_after = float(details["retryAfterSeconds"])
    kind = _BY_STATUS.get(status) or (Unavailable if status >= 500 else ApiError)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    elif reason in ("Expired", "Gone"):
        kind = Gone
    return kind(status, reason, message, causes=causes, details=details, retry_after=retry_after)


def transient(error: BaseException) -> bool:
    """True when the same request may succeed later without anybody changing anything."""
    return isinstance(error, ConnectionFailed | RequestTimeout | Unavailable | Throttled)

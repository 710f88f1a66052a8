"""The query of a list or watch, checked as the real server checks it."""

from __future__ import annotations

from dataclasses import dataclass

from wfe_controller.sandbox.apiserver.core import Call
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.options import escaped, integer
from wfe_controller.sandbox.apiserver.status import cause, invalid

_MATCHES = ("", "Exact", "NotOlderThan")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list or watch. ``limit`` 0 = none; ``initial`` is sendInitialEvents, None when not said."""

    labels: str
    fields: str
    limit: int
    token: str
    resource_version: str
    match: str
    timeout: int | None
    bookmarks: bool
    initial: bool | None


def list_options(call: Call, *, watch: bool) -> ListOptions:
    request = call.request
    options = ListOptions(
        labels=request.param("labelSelector"),
        fields=request.param("fieldSelector"),
        limit=max(0, _number(request, "limit") or 0),
        token=request.param("continue"),
        resource_version=request.param("resourceVersion"),
        match=request.param("resourceVersionMatch"),
        timeout=_number(request, "timeoutSeconds"),
        bookmarks=request.flag("allowWatchBookmarks"),
        initial=request.flag("sendInitialEvents") if request.param("sendInitialEvents") else None,
    )
    causes = _watch_causes(options) if watch else _list_causes(options)
    if causes:
        found = [cause(kind, name, text) for kind, name, text in causes]
        raise invalid("meta.k8s.io", "ListOptions", "", found)
    return options


def _number(request: Request, name: str) -> int | None:
    return integer(request.param(name)) if name in request.query else None


def _list_causes(options: ListOptions) -> list[tuple[str, str, str]]:
    name = "resourceVersionMatch"
    causes: list[tuple[str, str, str]] = []
    if options.match:
        if not options.resource_version:
            text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(("Forbidden", name, text))
        if options.token:
            text = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
            causes.append(("Forbidden", name, text))
        if options.match not in _MATCHES:
            text = f'Unsupported value: {escaped(options.match)}: supported values: "Exact", "NotOlderThan", ""'
            causes.append(("NotSupported", name, text))
        if options.match == "Exact" and options.resource_version == "0":
            text = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(("Forbidden", name, text))
    if options.initial is not None:
        causes.append(("Forbidden", "sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(options: ListOptions) -> list[tuple[str, str, str]]:
    name = "resourceVersionMatch"
    causes = []
    if options.initial is not None and options.match != "NotOlderThan":
        text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(("Forbidden", name, text))
    if options.initial is None and options.match:
        text = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(("Forbidden", name, text))
    if options.match and options.match != "NotOlderThan":
        text = f'Unsupported value: {escaped(options.match)}: supported values: "NotOlderThan"'
        causes.append(("NotSupported", name, text))
    if options.token:
        text = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        causes.append(("Forbidden", name, text))
    return causes

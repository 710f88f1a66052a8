"""From a method and a path to what is meant: the request attributes of a real API server.

Authorization works on these before anybody looks whether the resource exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.rbac import Attributes

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_TERM = re.compile(r"([^!=\\]+)(==?|!=)([^!=\\]*)")


@dataclass(frozen=True, slots=True)
class Route:
    """A parsed path. ``resource`` is "" for everything that is not about a resource (then ``path`` counts)."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    scoped: bool = False
    """The path has /namespaces/NAME before the resource."""
    selected: str = ""
    """The one name a list or watch asks for by field selector: rights to that name are enough for it."""
    rest: bool = False
    """The path goes on behind the subresource."""

    @property
    def attributes(self) -> Attributes:
        if not self.resource:
            return Attributes(self.verb, path=self.path)
        name = self.name or self.selected
        return Attributes(self.verb, self.group, self.resource, self.subresource, name, self.namespace)


def parse(request: Request) -> Route:
    """The route of a request; never fails."""
    path, method = request.path, request.method
    lower = method.lower()
    parts = path.strip("/").split("/") if path.startswith("/") and not path.startswith("//") else []
    if len(parts) >= 3 and parts[0] == "api":
        group, version, tail = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, tail = parts[1], parts[2], parts[3:]
    else:
        return Route(lower, path)
    verb = _VERBS.get(method, "")
    forced = ""
    if tail[0] == "watch" and len(tail) > 1:
        forced, tail = "watch", tail[1:]
    namespace, scoped = "", False
    if tail[0] == "namespaces" and len(tail) >= 2:
        if len(tail) == 2 or tail[2] in _NAMESPACE_SUBRESOURCES:
            namespace = tail[1]
        else:
            namespace, scoped, tail = tail[1], True, tail[2:]
    name = tail[1] if len(tail) > 1 else ""
    subresource = tail[2] if len(tail) > 2 else ""
    if not name:
        if verb == "get":
            verb = "watch" if request.flag("watch") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    verb = forced or verb
    selected = ""
    if not name and verb in ("list", "watch", "deletecollection"):
        selected = _selected(request.param("fieldSelector"))
    return Route(verb, path, group, version, tail[0], subresource, namespace, name, scoped, selected, len(tail) > 3)


def _selected(selector: str) -> str:
    """The name that a field selector asks for, be it among other terms; "" for none, or for one that is broken."""
    found = [_TERM.fullmatch(term) for term in selector.split(",") if term]
    if not all(found):
        return ""
    names = [term[3] for term in found if term is not None and term[1] == "metadata.name" and term[2] != "!="]
    return names[0] if names else ""

"""Where an object lives on the server: URL paths that no name can bend.

Neighbour: ``api`` asks before every request. Pure.
"""

from __future__ import annotations

from wfe_controller.kube.objects import Json, ObjectKey, Resource, name_of, namespace_of


def path_of(resource: Resource, key: ObjectKey, subresource: str | None = None, *, named: bool = False) -> str:
    """The URL path. A segment that would change the path is refused (names may come from other people's objects)."""
    if named and not key.name:
        raise ValueError(f"{resource.plural}: no object name given")
    for segment in key:
        if segment in (".", "..") or any(c in "/%?# \\" or not c.isprintable() for c in segment):
            raise ValueError(f"{resource.plural}: {segment[:80]!r} is no object name")
    return resource.path(key.namespace, key.name, subresource)


def namespace_for(resource: Resource, obj: Json) -> str:
    """The namespace an object is written to, "" for a cluster-scoped kind. Raises ValueError when it has none."""
    namespace = namespace_of(obj)
    if resource.namespaced and not namespace:
        raise ValueError(f"{resource.plural} {name_of(obj)!r} needs metadata.namespace")
    return namespace if resource.namespaced else ""

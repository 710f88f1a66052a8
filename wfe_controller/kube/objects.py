"""Names and shapes every other module shares: resources, keys, accessors over raw objects, resourceVersion order.

Raw objects are plain ``dict[str, Any]`` as the API sends them. The accessors never raise on the odd shapes that
other writers produce: a missing or mistyped field reads as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]


class ObjectKey(NamedTuple):
    """Identity of an object within one resource. ``namespace`` is "" for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Resource:
    """One REST resource: group ("" = core), version, plural, kind, scope."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """``plural.group`` as kubectl and RBAC messages spell it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path. ``namespace`` None or "" = all namespaces (or cluster-scoped)."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
            if subresource:
                parts.append(subresource)
        return "/".join(parts)


PODS = Resource("", "v1", "pods", "Pod")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """``value`` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(obj.get("metadata"))


def spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(obj.get("spec"))


def status(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(obj.get("status"))


def name_of(obj: Mapping[str, Any]) -> str:
    return text(metadata(obj).get("name"))


def namespace_of(obj: Mapping[str, Any]) -> str:
    return text(metadata(obj).get("namespace"))


def key_of(obj: Mapping[str, Any]) -> ObjectKey:
    return ObjectKey(namespace_of(obj), name_of(obj))


def uid_of(obj: Mapping[str, Any]) -> str:
    return text(metadata(obj).get("uid"))


def resource_version_of(obj: Mapping[str, Any]) -> str:
    return text(metadata(obj).get("resourceVersion"))


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return mapping(metadata(obj).get("labels"))


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return mapping(metadata(obj).get("annotations"))


def finalizers_of(obj: Mapping[str, Any]) -> list[str]:
    return [f for f in items(metadata(obj).get("finalizers")) if isinstance(f, str)]


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return bool(metadata(obj).get("deletionTimestamp"))


def condition(obj: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """The status condition of that type, or an empty mapping; tolerates conditions in odd shapes."""
    for entry in items(status(obj).get("conditions")):
        if isinstance(entry, Mapping) and entry.get("type") == type_:
            return entry
    return {}


def compare_resource_versions(left: str, right: str) -> int | None:
    """-1, 0 or 1 for two resourceVersions of ONE resource; None when they cannot be compared (I-27: fail open).

    Comparable: digits only, no leading zero; longer is greater, else lexical order.
    """
    for version in (left, right):
        if not version.isdecimal() or not version.isascii() or version[0] == "0":
            return None
    a, b = (len(left), left), (len(right), right)
    return (a > b) - (a < b)

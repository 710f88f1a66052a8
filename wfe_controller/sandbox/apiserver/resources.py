"""Which resources exist: the built-in ones and those of CustomResourceDefinitions, and what is special about each.

``server`` routes by the registry, ``openapi`` describes it, ``builtin`` and ``crds`` fill it. A ResourceInfo is one
(group, version, plural); versions of one resource share what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.apiserver.status import Cause

Json = dict[str, Any]

ALL_VERBS = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
_VERSION = re.compile(r"^v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?$")

_STORED = {"services": "services/specs", "nodes": "minions"}


class Strategy:
    """What one kind does beyond the common rules; built-in kinds override parts of it.

    Objects are whole and belong to the server: methods named prepare change them in place, the others do not. They run
    in this order: default, prepare, (common metadata), validate.
    """

    create_on_update = False
    """PUT of a missing object creates it."""
    unconditional_update = True
    """PUT without a resourceVersion overwrites whatever is there."""
    returns_deleted = False
    """DELETE answers with the object that is gone, not with a Status."""
    keeps_status = False
    """Despite a status subresource, create and update take the status that the client sends."""
    orphans_by_default = False
    """DELETE without a propagation policy leaves dependents alone (batch/v1 Jobs)."""

    def default(self, obj: Json) -> None:
        """Fill what the client left out (after decoding, on every write)."""

    def prepare_create(self, obj: Json) -> None:
        """Set what only the server sets; the status of kinds with that subresource is already dropped."""

    def prepare_update(self, obj: Json, old: Json) -> None:
        """Keep what this kind does not let an update change; the status is already the old one."""

    def prepare_status(self, obj: Json, old: Json) -> None:
        """Keep what a write to /status may not change; spec and most metadata are already the old ones."""

    def validate_create(self, obj: Json) -> list[Cause]:
        return []

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return []

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        return []

    end_finalizer = ""
    """A finalizer that DELETE adds: the server's own work at the end of the object."""
    graceful = False
    """A deletion marks the object even when it goes at once (pods)."""

    def grace(self, obj: Json, asked: int | None) -> int:
        """Seconds between DELETE and the end of the object; 0 = at once (all but pods)."""
        return 0

    def may_end(self, obj: Json) -> bool:
        """Whether a deleted object without finalizers may go (namespaces have finalizers of their own)."""
        return True

    def mark_deleting(self, obj: Json) -> None:
        """What else changes when the deletion begins (the phase of a namespace)."""

    def warnings(self, obj: Json, old: Json | None) -> list[str]:
        """Texts for Warning headers."""
        return []

    def fields(self, obj: Json) -> Mapping[str, str]:
        """Values a field selector may ask for, beyond metadata.name and metadata.namespace."""
        return {}

    def to_storage(self, obj: Json) -> Json:
        """From this version to what is stored; also sets apiVersion and kind of the stored form."""
        return obj

    def from_storage(self, obj: Json) -> Json:
        """From what is stored to this version; may change ``obj`` in place."""
        return obj


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """``subresources.scale`` of a CRD, JSONPaths with a leading dot."""

    spec_replicas: str
    status_replicas: str
    label_selector: str = ""


@dataclass(frozen=True)
class ResourceInfo:
    """One served resource.

    ``subresources`` are names such as status, scale, eviction, log, token. ``schema`` is the structural
    ``openAPIV3Schema`` (for built-in kinds too). ``columns`` are additionalPrinterColumns; built-in kinds have theirs
    in ``table``. ``selectable_fields`` are JSON paths (``.spec.phase``) of CRDs and bare names (``spec.nodeName``) of
    built-in kinds. ``storage`` names the shared store, ``plural.group`` as a rule.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = ALL_VERBS
    subresources: frozenset[str] = frozenset()
    schema: Json | None = None
    columns: tuple[Json, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    custom: bool = False
    """From a CRD: apiVersion and kind stand on list items, strategic patches are refused."""
    preserve: bool = False
    """Unknown fields at the root are kept (x-kubernetes-preserve-unknown-fields)."""
    generation: bool = False
    """metadata.generation counts changes outside metadata (and status)."""
    scale: ScalePaths | None = None
    strategy: Strategy = field(default_factory=Strategy, compare=False)
    storage: str = ""
    storage_version: str = ""
    """The version objects are stored in; "" = this one."""
    deprecated: str = ""
    """The warning on every request, "" for none."""

    def __post_init__(self) -> None:
        for name, value in (
            ("singular", self.kind.lower()),
            ("list_kind", self.kind + "List"),
            ("storage", self.group_resource),
            ("storage_version", self.version),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def registry_path(self) -> str:
        """Where a real server stores the objects; it stands in some refusals."""
        if self.custom or self.group == "apiextensions.k8s.io":
            return f"/registry/{self.group}/{self.plural}"
        return f"/registry/{_STORED.get(self.plural, self.plural)}"

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


class Registry:
    """Everything that is served now. ``revision`` grows with every change: documents built from it may be cached."""

    def __init__(self, infos: Iterable[ResourceInfo] = ()) -> None:
        self._by_resource: dict[tuple[str, str, str], ResourceInfo] = {}
        self._by_kind: dict[tuple[str, str, str], ResourceInfo] = {}
        self.revision = 0
        for info in infos:
            self.add(info)

    def add(self, info: ResourceInfo) -> None:
        """Serve a resource, or serve it anew with other properties."""
        self._by_resource[info.group, info.version, info.plural] = info
        self._by_kind[info.group, info.version, info.kind] = info
        self.revision += 1

    def remove(self, group: str, plural: str, version: str | None = None) -> None:
        """Stop serving a resource (one version of it); nothing happens when it is not served."""
        for key in [k for k in self._by_resource if k[0] == group and k[2] == plural and version in (None, k[1])]:
            info = self._by_resource.pop(key)
            self._by_kind.pop((info.group, info.version, info.kind), None)
            self.revision += 1

    def find(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        return self._by_resource.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> ResourceInfo | None:
        return self._by_kind.get((group, version, kind))

    def all(self) -> list[ResourceInfo]:
        """In the order in which they were added."""
        return list(self._by_resource.values())

    def groups(self) -> list[str]:
        """Group names, "" first, then in the order in which they were added."""
        return sorted(dict.fromkeys(group for group, _, _ in self._by_resource), key=lambda group: group != "")

    def versions(self, group: str) -> list[str]:
        """Versions of a group, the preferred one first (v2, v1, v1beta1, v1alpha1, others by name)."""
        return sorted({v for g, v, _ in self._by_resource if g == group}, key=version_order)

    def resources(self, group: str, version: str) -> list[ResourceInfo]:
        """Sorted by plural."""
        found = [info for (g, v, _), info in self._by_resource.items() if (g, v) == (group, version)]
        return sorted(found, key=lambda info: info.plural)


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts the preferred version first, as kube-apiserver does for CRDs."""
    match = _VERSION.match(version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match.group(2)]
    return (stage, -int(match.group(1)), -int(match.group(3) or 0), "")

"""Is the installed CRD the one this program was built for? (P:U1)

An old CRD prunes new fields silently and lets through what a new rule would refuse, so a missing field or a different
rule is a fault; a field we do not know comes from a newer CRD and only deserves a word. The comparison is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from wfe_controller.api.crd import crd
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.errors import Forbidden, NotFound
from wfe_controller.kube.objects import CRDS, Json, ObjectKey, Resource, items, mapping, spec, status

_TOLD_ELSEWHERE = frozenset({"properties", "items", "additionalProperties", "description", "title"})
_SETS = frozenset({"required", "enum"})
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """Paths into the schema, like ``spec.parameters.maxProperties``.

    ``missing``: fields the server would prune; ``different``: rules that are not ours; ``extra``: fields unknown to us.
    """

    missing: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def harmful(self) -> bool:
        return bool(self.missing or self.different)

    def __str__(self) -> str:
        parts = [
            f"{word}: {', '.join(paths[:_MAX_NAMED])}{' and more' if len(paths) > _MAX_NAMED else ''}"
            for word, paths in (
                ("missing fields", self.missing),
                ("different rules", self.different),
                ("unknown fields", self.extra),
            )
            if paths
        ]
        return "; ".join(parts) or "same schema"


@dataclass(frozen=True, slots=True)
class Installed:
    """What is known of one CRD in the cluster. ``drift`` None = the schema could not be read."""

    resource: Resource
    served: bool
    drift: Drift | None
    why: str = ""


def compare(built: Mapping[str, Any], installed: Mapping[str, Any]) -> Drift:
    """Drift of one openAPIV3Schema against the built-in one."""
    missing: list[str] = []
    different: list[str] = []
    extra: list[str] = []
    for kind, path in _walk(built, installed, ""):
        {"missing": missing, "different": different, "extra": extra}[kind].append(path)
    return Drift(tuple(missing), tuple(different), tuple(extra))


def _walk(built: Mapping[str, Any], found: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key in sorted((built.keys() | found.keys()) - _TOLD_ELSEWHERE):
        if _plain(key, built.get(key)) != _plain(key, found.get(key)):
            yield "different", _join(path, key)
    ours, theirs = mapping(built.get("properties")), mapping(found.get("properties"))
    if ours and not theirs and found.get("x-kubernetes-preserve-unknown-fields"):
        ours = {}  # nothing is pruned below; the rule itself was reported as different
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            yield "missing", _join(path, name)
        elif name not in ours:
            yield "extra", _join(path, name)
        else:
            yield from _walk(mapping(ours[name]), mapping(theirs[name]), _join(path, name))
    for key in ("items", "additionalProperties"):
        if built.get(key) or found.get(key):
            yield from _walk(mapping(built.get(key)), mapping(found.get(key)), f"{path}[]")


def _plain(key: str, value: Any) -> Any:
    """A value in a form in which the server's normalisation makes no difference."""
    if key in _SETS:
        return sorted(map(str, items(value)))
    if key == "x-kubernetes-validations":
        return sorted(str(mapping(rule).get("rule")) for rule in items(value))
    return value or None if isinstance(value, list | dict | bool) else value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def schema_of(definition: Mapping[str, Any], version: str) -> Mapping[str, Any] | None:
    """The schema of a served version, None when that version is not served."""
    for entry in items(spec(definition).get("versions")):
        if mapping(entry).get("name") == version and mapping(entry).get("served"):
            return mapping(mapping(mapping(entry).get("schema")).get("openAPIV3Schema"))
    return None


def _established(definition: Json) -> bool:
    conditions = items(status(definition).get("conditions"))
    return any(mapping(c).get("type") == "Established" and mapping(c).get("status") == "True" for c in conditions)


async def inspect_crd(api: Api, resource: Resource) -> Installed:
    """What the cluster has of one of our kinds. Raises KubeError other than NotFound and Forbidden."""
    try:
        found = await api.get(CRDS, ObjectKey("", resource.group_resource))
    except NotFound:
        return Installed(resource, False, None, "not installed")
    except Forbidden:
        return Installed(resource, await served(api, resource), None, "its definition may not be read")
    schema = schema_of(found, resource.version)
    if schema is None:
        return Installed(resource, False, None, f"version {resource.version} is not served")
    if not _established(found):
        return Installed(resource, False, None, "not established yet")
    return Installed(resource, True, compare(_built(resource), schema))


@cache
def _built(resource: Resource) -> Mapping[str, Any]:
    """Our own schema; making it from the models is the dearest thing an idle controller would do each minute."""
    return schema_of(crd(resource.kind), resource.version) or {}


async def served(api: Api, resource: Resource) -> bool:
    """True when discovery lists the resource; needs no right beyond being authenticated."""
    try:
        found = await api.raw("GET", f"/apis/{resource.group}/{resource.version}")
    except NotFound:
        return False
    return any(mapping(entry).get("name") == resource.plural for entry in items(found.get("resources")))

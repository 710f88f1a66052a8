"""``python -m hack.builtin_schemas``: write the sandbox's built-in kinds from a real API server.

Discovery gives verbs, short names, categories and subresources; /openapi/v3 gives the schemas, of which descriptions
are left out, except one sentence on each kind. The file is committed: the sandbox needs no server, and a test reads it
as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hack.controlplane.client import RestClient
from hack.controlplane.plane import Plane

Json = dict[str, Any]

OUTPUT = Path(__file__).resolve().parents[1] / "wfe_controller/sandbox/apiserver/builtin/kinds.json"
_MAX_KINDS = 3
"""DeleteOptions and Status are of every group: their lists of kinds are longer than all else."""
PREFIX = "#/components/schemas/"

# Group and version -> resources; of their subresources only those named here.
KINDS: dict[str, tuple[str, ...]] = {
    "v1": ("namespaces", "pods", "services", "configmaps", "secrets", "serviceaccounts", "events", "nodes"),
    "apps/v1": ("deployments", "replicasets"),
    "batch/v1": ("jobs",),
    "coordination.k8s.io/v1": ("leases",),
    "events.k8s.io/v1": ("events",),
    "rbac.authorization.k8s.io/v1": ("roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    "apiextensions.k8s.io/v1": ("customresourcedefinitions",),
    "policy/v1": ("poddisruptionbudgets",),
    "admissionregistration.k8s.io/v1": ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    "authorization.k8s.io/v1": (
        "localsubjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "subjectaccessreviews",
    ),
    "authentication.k8s.io/v1": ("selfsubjectreviews", "tokenreviews"),
    "networking.k8s.io/v1": ("networkpolicies",),
}
SUBRESOURCES = ("status", "scale", "binding", "eviction", "log", "token", "finalize")
# Bodies that belong to no resource of their own.
EXTRA = {
    "v1": (
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
        "io.k8s.api.policy.v1.Eviction",
        "io.k8s.api.authentication.v1.TokenRequest",
    ),
    "apps/v1": ("io.k8s.api.autoscaling.v1.Scale",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="default", help="a plane that is up (python -m hack.controlplane up)")
    client = Plane.open(name=parser.parse_args().name).client
    resources: list[Json] = []
    definitions: dict[str, Json] = {}
    for group_version, plurals in KINDS.items():
        prefix = "api" if "/" not in group_version else "apis"
        schemas = client.get(f"/openapi/v3/{prefix}/{group_version}")["components"]["schemas"]
        for resource in _resources(client, f"/{prefix}/{group_version}", group_version, plurals):
            resource["definition"] = _definition(schemas, resource)
            _closure(schemas, resource["definition"], definitions)
            resources.append(resource)
        for name in EXTRA.get(group_version, ()):
            _closure(schemas, name, definitions)
    data = {
        "version": client.get("/version")["gitVersion"],
        "resources": resources,
        "definitions": dict(sorted(definitions.items())),
    }
    OUTPUT.write_text(json.dumps(data, separators=(",", ":"), sort_keys=False) + "\n")
    print(f"{OUTPUT.name}: {len(resources)} resources, {len(definitions)} definitions, {OUTPUT.stat().st_size} bytes")


def _resources(client: RestClient, path: str, group_version: str, plurals: tuple[str, ...]) -> Iterator[Json]:
    group, _, version = group_version.rpartition("/")
    listed = {entry["name"]: entry for entry in client.get(path)["resources"]}
    for plural in plurals:
        entry = listed[plural]
        found: Json = {"group": group, "version": version, "plural": plural}
        found["singular"] = entry["singularName"]
        found["kind"] = entry["kind"]
        found["namespaced"] = entry["namespaced"]
        for key in ("shortNames", "categories"):
            if entry.get(key):
                found[key] = entry[key]
        found["verbs"] = entry["verbs"]
        subresources = {
            name: sorted(listed[f"{plural}/{name}"]["verbs"]) for name in SUBRESOURCES if f"{plural}/{name}" in listed
        }
        if subresources:
            found["subresources"] = subresources
        yield found


def _definition(schemas: Json, resource: Json) -> str:
    wanted = {key: resource[key] for key in ("group", "version", "kind")}
    return next(name for name, schema in schemas.items() if wanted in schema.get("x-kubernetes-group-version-kind", []))


def _closure(schemas: Json, name: str, into: dict[str, Json]) -> None:
    if name in into:
        return
    into[name] = _trim(schemas[name])
    kinds = schemas[name].get("x-kubernetes-group-version-kind", [])
    if 0 < len(kinds) <= _MAX_KINDS:
        sentence = schemas[name].get("description", "").partition(". ")[0].rstrip(".")
        into[name] = {"description": f"{sentence}.", **into[name], "x-kubernetes-group-version-kind": kinds}
    for other in _references(into[name]):
        _closure(schemas, other, into)


def _trim(schema: Any, *, names: bool = False) -> Any:
    """Without descriptions and lists of kinds; ``names`` = the keys here are names of fields, not of rules."""
    if isinstance(schema, list):
        return [_trim(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _trim(value, names=key == "properties" and not names)
        for key, value in schema.items()
        if names or key not in ("description", "x-kubernetes-group-version-kind")
    }
    if not names and len(kept.get("allOf", ())) == 1:
        only = kept.pop("allOf")[0]
        return {**only, **kept}
    return kept


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(PREFIX)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


if __name__ == "__main__":
    main()

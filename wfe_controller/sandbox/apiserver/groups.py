"""Discovery: which groups, versions, resources and verbs there are, in the old form and the aggregated one.

``discovery`` answers with these documents, built from the registry.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo

Json = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
# Subresources: verbs, and the group, version and kind of what goes in and out when it is not the object itself.
_SUBRESOURCES: dict[str, tuple[list[str], tuple[str, str, str] | None]] = {
    "status": (["get", "patch", "update"], None),
    "scale": (["get", "patch", "update"], ("autoscaling", "v1", "Scale")),
    "eviction": (["create"], ("policy", "v1", "Eviction")),
    "log": (["get"], None),
    "token": (["create"], ("authentication.k8s.io", "v1", "TokenRequest")),
    "finalize": (["update"], None),
    "binding": (["create"], ("", "v1", "Binding")),
}


def verbs(info: ResourceInfo) -> list[str]:
    """In the order in which the real server lists them; CRDs have their own."""
    return [verb for verb in _CUSTOM_VERBS if verb in info.verbs] if info.custom else sorted(info.verbs)


def api_versions(server_address: str = "") -> Json:
    """``/api``."""
    address = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}] if server_address else []
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address}


def _group(registry: Registry, name: str) -> Json:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def api_groups(registry: Registry) -> Json:
    """``/apis``."""
    groups = [_group(registry, name) for name in registry.groups() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(registry: Registry, name: str) -> Json:
    """``/apis/GROUP``."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)}


def storage_hash(info: ResourceInfo) -> str:
    """Changes when objects are stored in another version."""
    text = f"{info.group}/{info.storage_version}/{info.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def api_resources(registry: Registry, group: str, version: str) -> Json:
    """``/api/v1`` or ``/apis/GROUP/VERSION``."""
    listed: list[Json] = []
    for info in registry.resources(group, version):
        entry: Json = {
            "name": info.plural,
            "singularName": info.singular,
            "namespaced": info.namespaced,
            "kind": info.kind,
            "verbs": verbs(info),
        }
        if info.short_names:
            entry["shortNames"] = list(info.short_names)
        if info.categories:
            entry["categories"] = list(info.categories)
        if "list" in info.verbs:
            entry["storageVersionHash"] = storage_hash(info)
        listed.append(entry)
        for name in sorted(info.subresources):
            allowed, other = _SUBRESOURCES.get(name, (["get"], None))
            more: Json = {"name": f"{info.plural}/{name}", "singularName": "", "namespaced": info.namespaced}
            if other is not None:
                more |= {"group": other[0], "version": other[1]} if other[0] else {}
            listed.append({**more, "kind": other[2] if other else info.kind, "verbs": allowed})
    head: Json = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": listed}


def aggregated(registry: Registry, *, core: bool) -> Json:
    """Everything of ``/api`` (``core``) or ``/apis`` at once: APIGroupDiscoveryList of apidiscovery.k8s.io/v2."""
    items = []
    for group in registry.groups():
        if core is not (group == ""):
            continue
        versions = [
            {
                "version": version,
                "resources": [_discovered(info) for info in registry.resources(group, version)],
                "freshness": "Current",
            }
            for version in registry.versions(group)
        ]
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered(info: ResourceInfo) -> Json:
    own = {"group": info.group, "version": info.version} if info.custom else {"group": "", "version": ""}
    entry: Json = {
        "resource": info.plural,
        "responseKind": {**own, "kind": info.kind},
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": verbs(info),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    subresources = []
    for name in sorted(info.subresources):
        allowed, other = _SUBRESOURCES.get(name, (["get"], None))
        kind = {"group": other[0], "version": other[1], "kind": other[2]} if other else {**own, "kind": info.kind}
        subresources.append({"subresource": name, "responseKind": kind, "verbs": allowed})
    if subresources:
        entry["subresources"] = subresources
    return entry

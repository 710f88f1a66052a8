"""OpenAPI documents: what kubectl explain shows, and how kubectl learns that the server validates fields itself.

``discovery`` is the caller. A document of a group version has its kinds with ``x-kubernetes-group-version-kind``, the
definitions they refer to, and the paths with the operations kubectl looks for; responses and the parameters that nobody
reads are left out. Version 2 has the definitions only.
"""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver import definitions
from wfe_controller.sandbox.apiserver.gotypes import DEFINITION
from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo

Json = dict[str, Any]

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_API_VERSION = {
    "description": (
        "APIVersion defines the versioned schema of this representation of an object. Servers should "
        "convert recognized schemas to the latest internal value, and may reject unrecognized values. "
        "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-"
        "conventions.md#resources"
    ),
    "type": "string",
}
_KIND = {
    "description": (
        "Kind is a string value representing the REST resource this object represents. Servers may infer"
        " this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More "
        "info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-"
        "conventions.md#types-kinds"
    ),
    "type": "string",
}
_METADATA = (
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-"
    "architecture/api-conventions.md#metadata"
)
_LIST_METADATA = "What every list has: the version it shows, and where it goes on."
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_ACTIONS = {
    "get": ("get", "get"),
    "put": ("put", "update"),
    "patch": ("patch", "patch"),
    "delete": ("delete", "delete"),
}


def gvk(group: str, version: str, kind: str) -> Json:
    return {"group": group, "kind": kind, "version": version}


def component(info: ResourceInfo) -> str:
    """The name of a kind's schema: ``io.k8s.api.core.v1.Pod``, ``ai.kubernaut.v1alpha1.WorkflowExecution``."""
    known = (info.schema or {}).get(DEFINITION)
    if isinstance(known, str):
        return known
    return ".".join([*reversed(info.group.split(".")), info.version, info.kind])


# -- version 3 --------------------


def paths_v3(registry: Registry) -> list[str]:
    """Which documents there are: ``api/v1``, ``apis/apps/v1`` ..."""
    return [
        f"apis/{group}/{version}" if group else f"api/{version}"
        for group in registry.groups()
        for version in registry.versions(group)
    ]


def document_v3(registry: Registry, group: str, version: str) -> Json:
    """The document of one group version."""
    schemas: Json = {}
    paths: Json = {}
    custom = False
    for info in registry.resources(group, version):
        custom = custom or info.custom
        name = component(info)
        schemas[name] = _object_schema(info)
        if "list" in info.verbs:
            schemas[_list_name(info)] = _list_schema(info, name)
        paths.update(_paths(info))
    schemas.update(_referred(schemas, paths))
    title = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"} if custom else {
        "title": "Kubernetes", "version": "v1.36.3",
    }  # fmt: skip
    return {
        "openapi": "3.0.0",
        "info": title,
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _list_name(info: ResourceInfo) -> str:
    return component(info).rpartition(".")[0] + "." + info.list_kind


def _metadata(name: str, description: str) -> Json:
    return {"description": description, "allOf": [{"$ref": f"{_REF}{_META}{name}"}]}


def _object_schema(info: ResourceInfo) -> Json:
    if not info.custom:
        schema: Json = dict(definitions.definitions().get(component(info), {"type": "object"}))
        schema["properties"] = {**schema.get("properties", {}), "apiVersion": _API_VERSION, "kind": _KIND}
    else:
        schema = dict(info.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
        known = schema.get("properties", {})
        schema["properties"] = {
            "apiVersion": _API_VERSION,
            "kind": _KIND,
            "metadata": _metadata("ObjectMeta", _METADATA),
            **{name: member for name, member in known.items() if name not in ("apiVersion", "kind", "metadata")},
        }
        if info.selectable_fields:
            fields = [{"fieldPath": path.removeprefix(".")} for path in info.selectable_fields]
            schema["x-kubernetes-selectable-fields"] = fields
    schema["x-kubernetes-group-version-kind"] = [gvk(info.group, info.version, info.kind)]
    return schema


def _list_schema(info: ResourceInfo, name: str) -> Json:
    return {
        "description": f"{info.list_kind} is a list of {info.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": _API_VERSION,
            "items": {
                "description": f"List of {info.plural}.",
                "type": "array",
                "items": {"$ref": _REF + name},
            },
            "kind": _KIND,
            "metadata": _metadata("ListMeta", _LIST_METADATA),
        },
        "x-kubernetes-group-version-kind": [gvk(info.group, info.version, info.list_kind)],
    }


def _referred(schemas: Json, paths: Json | None = None) -> Json:
    """The definitions that schemas and paths refer to, and those refer to, and so on."""
    known = definitions.definitions()
    found: Json = {}
    waiting = [*schemas.values(), paths]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            target = node.get("$ref")
            if isinstance(target, str):
                name = target.removeprefix(_REF)
                if name not in schemas and name not in found:
                    # What is not in the data (ListMeta, say) is an object of which nobody asks more.
                    found[name] = known.get(name, {"type": "object"})
                    waiting.append(found[name])
            waiting.extend(node.values())
    return found


# -- paths --------------------


def _base(info: ResourceInfo) -> str:
    return f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"


def _paths(info: ResourceInfo) -> Json:
    base = _base(info)
    scoped = f"{base}/namespaces/{{namespace}}/{info.plural}" if info.namespaced else f"{base}/{info.plural}"
    found: Json = {}
    collection: Json = {}
    if "list" in info.verbs:
        collection["get"] = _operation(info, "get", "list")
        if info.namespaced:
            found[f"{base}/{info.plural}"] = {"get": _operation(info, "get", "list")}
    if "create" in info.verbs:
        collection["post"] = _operation(info, "post", "post")
    if "deletecollection" in info.verbs:
        collection["delete"] = _operation(info, "delete", "deletecollection")
    if collection:
        found[scoped] = {**collection, "parameters": _path_parameters(info, named=False)}
    item = {
        method: _operation(info, method, action) for method, (action, verb) in _ACTIONS.items() if verb in info.verbs
    }
    if item:
        found[f"{scoped}/{{name}}"] = {**item, "parameters": _path_parameters(info, named=True)}
    if info.has_status:
        status = {method: _operation(info, method, method) for method in ("get", "put", "patch")}
        found[f"{scoped}/{{name}}/status"] = {**status, "parameters": _path_parameters(info, named=True)}
    return found


def _path_parameters(info: ResourceInfo, *, named: bool) -> list[Json]:
    names = [*(["name"] if named else []), *(["namespace"] if info.namespaced else [])]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
        for name in names
    ]


def _operation(info: ResourceInfo, method: str, action: str) -> Json:
    queries: tuple[str, ...] = _WRITE if method in ("post", "put", "patch") else ()
    if method == "patch":
        queries = (*queries, "force")
    parameters = [
        {
            "name": name,
            "in": "query",
            "schema": {"type": "boolean" if name == "force" else "string", "uniqueItems": True},
        }
        for name in queries
    ]
    operation: Json = {"parameters": parameters} if parameters else {}
    body = {"schema": {"$ref": _REF + component(info)}}
    if method in ("post", "put"):
        operation["requestBody"] = {"content": {"application/json": body}, "required": True}
    elif method == "patch":
        kinds = ["apply-patch+yaml", "json-patch+json", "merge-patch+json"]
        if not info.custom:
            kinds.append("strategic-merge-patch+json")
        content = {f"application/{kind}": {"schema": {"$ref": f"{_REF}{_META}Patch"}} for kind in kinds}
        operation["requestBody"] = {"content": content, "required": True}
    operation["responses"] = {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}}
    operation["x-kubernetes-action"] = action
    operation["x-kubernetes-group-version-kind"] = gvk(info.group, info.version, info.kind)
    return operation


# -- version 2 --------------------


def document_v2(registry: Registry) -> Json:
    """Definitions of every kind; the paths of it are in version 3 only."""
    schemas: Json = {}
    for info in registry.all():
        schemas[component(info)] = _object_schema(info)
    schemas.update(_referred(schemas))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.3"},
        "paths": {},
        "definitions": {name: _v2(schema) for name, schema in sorted(schemas.items())},
    }


def _v2(node: Any) -> Any:
    if isinstance(node, list):
        return [_v2(item) for item in node]
    if not isinstance(node, dict):
        return node
    several = node.get("allOf")
    if isinstance(several, list) and len(several) == 1:
        node = {**{key: value for key, value in node.items() if key != "allOf"}, **several[0]}
    made = {key: _v2(value) for key, value in node.items()}
    target = made.get("$ref")
    if isinstance(target, str):
        made["$ref"] = target.replace(_REF, "#/definitions/")
    return made

"""CustomResourceDefinitions made while the server runs, discovery, OpenAPI."""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

import pytest

from tests.contract.session import Session

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(group: str, **version: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 3, "minimum": 1},
                    "color": {"type": "string", "enum": ["red", "blue"]},
                    "note": {"type": "string", "nullable": True},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": "widgets", "kind": "Widget"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
            ],
        },
    }


def established(api: Session, name: str) -> Any:
    def done(_: int, seen: Any) -> bool:
        conditions = (seen.get("status") or {}).get("conditions") or []
        return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)

    return api.until(f"{CRDS}/{name}", done, "Established")


RULES = [
    {"rule": "self.size < 10"},
    {"rule": "self.size != 7", "message": "seven is bad luck"},
    {"rule": "self.size != 8", "messageExpression": "'size is ' + 'eight'"},
    {"rule": "self.size != 9", "message": "nine", "reason": "FieldValueForbidden", "fieldPath": ".size"},
    {"rule": "self.size >= oldSelf.size", "message": "only grows"},
]
COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1, "description": "which"},
    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def shared() -> dict[str, dict[str, Any]]:
    """Versions that several cases can share: on the real server a new kind takes two seconds to be served."""
    ruled = definition("x")["spec"]["versions"][0]["schema"]
    ruled["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = RULES
    selectable = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]
    rich = {"subresources": {"status": {}}, "additionalPrinterColumns": COLUMNS, "selectableFields": selectable}
    return {"plain": {}, "rich": rich, "ruled": {"schema": ruled}, "updated": {}, "deleted": {}, "scoped": {}}


_groups: dict[tuple[int, str], str] = {}


def install(api: Session, kind: str = "plain") -> tuple[str, str]:
    """A widget kind of :func:`shared`; gives its group and the path of its collection."""
    for name, version in shared().items():
        if (api.server.port, name) not in _groups:
            group = _groups[api.server.port, name] = f"g{uuid.uuid4().hex[:8]}.example.com"
            api.make(CRDS, definition(group, **version))
    group = _groups[api.server.port, kind]
    api.symbols.alias(group, "GROUP.example.com")
    established(api, f"widgets.{group}")
    path = f"/apis/{group}/v1/namespaces/{api.ns}/widgets"
    api.until(path, lambda code, _: code == 200, "the new path")
    return group, path


def widget(group: str, name: str = "w", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name}, **fields}


def test_crd_is_completed(api: Session) -> None:
    """Names, list kind, conversion, status: as the server writes them."""
    group = api.unique("g", "GROUP") + ".example.com"
    api.post(CRDS, definition(group), keep="metadata.name metadata.generation spec")
    seen = established(api, f"widgets.{group}")
    status = copy.deepcopy(seen["status"])
    status["conditions"].sort(key=lambda entry: entry["type"])
    api.show("status", status)


def test_crd_serves_its_kind(api: Session) -> None:
    group, path = install(api)
    api.post(path, widget(group, spec={"color": "red"}))
    api.post(path, widget(group, "bad", spec={"color": "green"}), 422)  # one at a time: their order is random
    api.post(path, widget(group, "bad", spec={"size": 0}), 422)
    api.get(path)
    api.patch(f"{path}/w", {"spec": {"size": 4, "more": 1}}, keep="spec metadata.generation")
    api.delete(f"{path}/w")


def test_crd_without_status_subresource(api: Session) -> None:
    """status is a field like others, generation counts every change but metadata."""
    group, path = install(api)
    api.post(path, widget(group, spec={}, status={"a": 1}), keep="status metadata.generation")
    api.patch(f"{path}/w", {"status": {"a": 2}}, keep="status metadata.generation")
    api.patch(f"{path}/w", {"metadata": {"labels": {"a": "b"}}}, keep="metadata.generation")
    api.patch(f"{path}/w/status", {"status": {}}, code=404)


def test_crd_with_status_subresource(api: Session) -> None:
    group, path = install(api, "rich")
    api.post(path, widget(group, spec={}, status={"a": 1}), keep="status metadata.generation")
    api.patch(f"{path}/w/status", {"status": {"a": 2}}, keep="status metadata.generation")


def test_crd_defaults_and_nullable(api: Session) -> None:
    group, path = install(api)
    api.post(path, widget(group, spec={"note": None, "size": None}), keep="spec")
    api.post(path, widget(group, "x"), keep="spec metadata.name")
    api.post(path, widget(group, "y", spec={"color": None}), 201, keep="spec")


def test_crd_with_rules(api: Session) -> None:
    """CEL with message, messageExpression, reason, fieldPath, oldSelf."""
    group, path = install(api, "ruled")
    for size in (10, 7, 8, 9):
        api.post(path, widget(group, spec={"size": size}), 422)
    api.post(path, widget(group, spec={"size": 5}), keep="spec")
    api.patch(f"{path}/w", {"spec": {"size": 4}}, code=422)
    api.patch(f"{path}/w", {"spec": {"size": 6}}, keep="spec")


def test_crd_columns(api: Session) -> None:
    group, path = install(api, "rich")
    api.make(path, widget(group, spec={"color": "red"}))
    table = api.get(path, accept="application/json;as=Table;v=v1;g=meta.k8s.io", quiet=True)
    api.show("columns", table["columnDefinitions"][1:])
    api.show("cells", table["rows"][0]["cells"][:3])


def test_crd_selectable_fields(api: Session) -> None:
    group, path = install(api, "rich")
    api.make(path, widget(group, "r", spec={"color": "red"}))
    api.make(path, widget(group, "b", spec={"color": "blue", "size": 5}))
    api.get(path, fieldSelector="spec.color=red", keep="metadata.name")
    api.get(path, fieldSelector="spec.size=5", keep="metadata.name")
    api.get(path, fieldSelector="spec.size!=5,spec.color!=blue", keep="metadata.name")
    api.get(path, 400, fieldSelector="spec.note=x")


def test_crd_cluster_scoped(api: Session) -> None:
    group = api.unique("g", "GROUP") + ".example.com"
    body = definition(group)
    body["spec"]["scope"] = "Cluster"
    api.make(CRDS, body)
    established(api, f"widgets.{group}")
    path = f"/apis/{group}/v1/widgets"
    api.until(path, lambda code, _: code == 200, "the new path")
    api.post(path, widget(group))
    api.get(f"/apis/{group}/v1/namespaces/{api.ns}/widgets", 404)
    api.get(path, keep="metadata.name")


def test_crd_deletion_takes_its_objects(api: Session) -> None:
    group, path = install(api, "deleted")
    api.make(path, widget(group))
    api.delete(f"{CRDS}/widgets.{group}", keep="metadata.name")
    api.until_gone(f"{CRDS}/widgets.{group}")
    api.until(path, lambda code, _: code == 404, "the end of the path")
    api.get(path, 404)


def test_crd_update(api: Session) -> None:
    """A new rule counts for the next write; old objects stay until they are written."""
    group, path = install(api, "updated")
    api.make(path, widget(group, spec={"size": 50}))
    patch = [
        {
            "op": "add",
            "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum",
            "value": 10,
        }
    ]
    api.patch(f"{CRDS}/widgets.{group}", patch, "json", keep="metadata.generation")

    def refused(code: int, _: Any) -> bool:
        body = widget(group, "probe", spec={"size": 50})
        data = api.wire.encode(
            "POST", path, {"dryRun": "All"},
            {"Authorization": f"Bearer {api.server.tokens['admin']}", "Content-Type": "application/json"},
            json.dumps(body).encode(),
        )  # fmt: skip
        return api.wire.exchange("POST", data).status == 422

    api.until(path, refused, "the new rule")
    api.post(path, widget(group, "new", spec={"size": 50}), 422)
    api.get(f"{path}/w", keep="spec")
    api.patch(f"{path}/w", {"metadata": {"labels": {"a": "b"}}}, keep="metadata.labels")
    api.patch(f"{path}/w", {"spec": {"color": "red"}}, keep="spec")
    api.patch(f"{path}/w", {"spec": {"size": 51}}, code=422)


BAD_COLUMN = {"name": "A", "type": "text", "jsonPath": "x"}
BROKEN = {
    "name": lambda spec: spec.update(group="other.example.com"),
    "no-schema": lambda spec: spec["versions"][0].pop("schema"),
    "no-storage": lambda spec: spec["versions"][0].update(storage=False),
    "no-versions": lambda spec: spec.update(versions=[]),
    "scope": lambda spec: spec.update(scope="Everywhere"),
    "kind-lower": lambda spec: spec["names"].update(kind="bad kind"),
    "two-storage": lambda spec: spec["versions"].append({**spec["versions"][0], "name": "v2"}),
    "twice-version": lambda spec: spec["versions"].append({**spec["versions"][0], "storage": False}),
    "not-structural": lambda spec: spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"].update(extra={}),
    "bad-default": lambda spec: schema_of(spec)["size"].update(default="text"),
    "bad-rule": lambda spec: schema_of(spec)["size"].update({"x-kubernetes-validations": [{"rule": "self +"}]}),
    "rule-type": lambda spec: schema_of(spec)["size"].update({"x-kubernetes-validations": [{"rule": "self.x == 1"}]}),
    "rule-no-bool": lambda spec: schema_of(spec)["size"].update({"x-kubernetes-validations": [{"rule": "self + 1"}]}),
    "bad-pattern": lambda spec: schema_of(spec)["color"].update(pattern="["),
    "bad-column": lambda spec: spec["versions"][0].update(additionalPrinterColumns=[BAD_COLUMN]),
    "bad-selectable": lambda spec: spec["versions"][0].update(selectableFields=[{"jsonPath": ".spec.nothing"}]),
    "root-type": lambda spec: spec["versions"][0]["schema"]["openAPIV3Schema"].update(type="array"),
}  # fmt: skip


def schema_of(spec: Any) -> Any:
    return spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_crd_broken(api: Session, change: Any) -> None:
    body = definition(api.unique("g", "GROUP") + ".example.com")
    change(body["spec"])
    api.post(CRDS, body, 422)


def test_crd_names_taken(api: Session) -> None:
    """The second kind of the same name is not accepted and not served."""
    group = api.unique("g", "GROUP") + ".example.com"
    api.make(CRDS, definition(group))
    established(api, f"widgets.{group}")
    second = definition(group)
    second["metadata"]["name"] = f"gadgets.{group}"
    second["spec"]["names"] = {"plural": "gadgets", "kind": "Widget"}
    api.make(CRDS, second)

    def judged(_: int, seen: Any) -> bool:
        conditions = (seen.get("status") or {}).get("conditions") or []
        return any(entry["type"] == "NamesAccepted" and entry["status"] == "False" for entry in conditions)

    seen = api.until(f"{CRDS}/gadgets.{group}", judged, "the refusal")
    api.show("conditions", sorted([entry["type"], entry["status"], entry["reason"], entry["message"]]
                                  for entry in seen["status"]["conditions"]))  # fmt: skip
    api.get(f"/apis/{group}/v1/namespaces/{api.ns}/gadgets", 404)


def test_crd_scope_is_immutable(api: Session) -> None:
    group, _ = install(api, "scoped")
    api.patch(f"{CRDS}/widgets.{group}", {"spec": {"scope": "Cluster"}}, code=422)


def test_our_crds(api: Session) -> None:
    for name in ("workflowexecutions", "targetlocks"):
        found = api.get(f"{CRDS}/{name}.kubernaut.ai", quiet=True)
        status = found["status"]
        conditions = sorted([entry["type"], entry["status"], entry["reason"]] for entry in status["conditions"])
        api.show(name, [found["spec"]["names"], status["acceptedNames"], status["storedVersions"], conditions])


# -- discovery -------------------


def test_versions(api: Session) -> None:
    found = api.get("/version", quiet=True)
    api.show("keys", sorted(found))
    api.show("version", [found["major"], found["minor"], found["gitVersion"].rpartition(".")[0]])


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/healthz/ping", "/readyz/ping"])
def test_health(api: Session, path: str) -> None:
    api.get(path)
    api.get(path, 403 if path.endswith("ping") else 200, user=None)


def test_api_versions(api: Session) -> None:
    api.get("/api", show=lambda seen: [seen["kind"], seen["versions"]])


def test_groups_that_we_need(api: Session) -> None:
    wanted = {
        "apps", "batch", "coordination.k8s.io", "events.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io",
        "policy", "authorization.k8s.io", "authentication.k8s.io", "networking.k8s.io", "kubernaut.ai",
        "admissionregistration.k8s.io",
    }  # fmt: skip

    def ours(seen: Any) -> Any:
        groups = {group["name"]: group["preferredVersion"] for group in seen["groups"]}
        return [seen["kind"], seen["apiVersion"], {name: groups.get(name) for name in sorted(wanted)}]

    api.get("/apis", show=ours)
    api.get("/apis/kubernaut.ai")
    api.get("/apis/coordination.k8s.io", show=lambda seen: [seen["kind"], seen["name"], seen["preferredVersion"]])
    api.get("/apis/nothing.example.com", 404)


OURS = {
    "v1": {"namespaces", "namespaces/status", "namespaces/finalize", "pods", "pods/status", "pods/eviction",
           "configmaps", "secrets", "serviceaccounts", "events", "nodes", "nodes/status"},
    "apps/v1": {"deployments", "deployments/status", "deployments/scale", "replicasets"},
    "batch/v1": {"jobs", "jobs/status"},
    "coordination.k8s.io/v1": {"leases"},
    "events.k8s.io/v1": {"events"},
    "rbac.authorization.k8s.io/v1": {"roles", "clusterroles", "rolebindings", "clusterrolebindings"},
    "policy/v1": {"poddisruptionbudgets", "poddisruptionbudgets/status"},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions", "customresourcedefinitions/status"},
    "authorization.k8s.io/v1": {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews"},
    "authentication.k8s.io/v1": {"tokenreviews", "selfsubjectreviews"},
    "networking.k8s.io/v1": {"networkpolicies"},
    "kubernaut.ai/v1alpha1": {"workflowexecutions", "workflowexecutions/status", "targetlocks", "targetlocks/status"},
}  # fmt: skip


@pytest.mark.parametrize("version", OURS)
def test_resources(api: Session, version: str) -> None:
    """Names, short names, categories, verbs of the kinds we use. The order of CRDs is that of their arrival."""

    def ours(seen: Any) -> Any:
        entries = [
            {key: value for key, value in entry.items() if key != "storageVersionHash"} for entry in seen["resources"]
        ]
        return [
            seen["groupVersion"],
            sorted(
                (entry for entry in entries if entry["name"] in OURS[version]), key=lambda entry: str(entry["name"])
            ),
        ]

    api.get(f"/apis/{version}" if "/" in version else f"/api/{version}", show=ours)


def test_aggregated_discovery(api: Session) -> None:
    """What kubectl asks first: everything in two answers."""
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

    def ours(seen: Any) -> Any:
        group = next(item for item in seen["items"] if item["metadata"].get("name") == "kubernaut.ai")
        for version in group["versions"]:  # whichever CRD came last is first on the real server
            version["resources"].sort(key=lambda entry: str(entry["resource"]))
        return [seen["kind"], seen["apiVersion"], [sorted(v, key=str) for v in group["versions"]], group]

    api.get("/apis", accept=accept, show=ours)
    api.get(
        "/api", accept=accept, show=lambda seen: [seen["kind"], [v["version"] for v in seen["items"][0]["versions"]]]
    )


def test_openapi_v3_index(api: Session) -> None:
    wanted = {"api/v1", "apis/apps/v1", "apis/kubernaut.ai/v1alpha1", "apis/batch/v1", "apis/coordination.k8s.io/v1"}

    def ours(seen: Any) -> Any:
        return {
            name: entry["serverRelativeURL"].partition("?")[0]
            for name, entry in seen["paths"].items()
            if name in wanted
        }

    api.get("/openapi/v3", show=ours)


def test_openapi_v3_of_ours(api: Session) -> None:
    def ours(seen: Any) -> Any:
        schemas = seen["components"]["schemas"]
        kind = schemas["ai.kubernaut.v1alpha1.WorkflowExecution"]
        paths = [path for path in seen["paths"] if "workflowexecutions" in path]
        spec = kind["properties"]["spec"]
        return [
            seen["openapi"], sorted(paths), kind["x-kubernetes-group-version-kind"], sorted(kind["properties"]),
            spec["required"], spec["properties"]["targetResource"],
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in schemas,
        ]  # fmt: skip

    api.get("/openapi/v3/apis/kubernaut.ai/v1alpha1", show=ours)
    api.get("/openapi/v3/apis/nothing.example.com/v1", 404)


def test_openapi_v3_of_built_ins(api: Session) -> None:
    def pods(seen: Any) -> Any:
        spec = seen["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
        return {key: value for key, value in spec.items() if key.startswith("x-") or key == "type"}

    api.get("/openapi/v3/api/v1", show=pods)


def test_openapi_v2(api: Session) -> None:
    def ours(seen: Any) -> Any:
        kind = seen["definitions"]["ai.kubernaut.v1alpha1.WorkflowExecution"]
        return [seen["swagger"], kind["x-kubernetes-group-version-kind"], kind["type"]]

    api.get("/openapi/v2", show=ours)


def test_openapi_v3_caching(api: Session) -> None:
    """The index names a hash; with it an answer may be kept for ever, with an old one the way to the new is told."""
    index = api.get("/openapi/v3", quiet=True)
    url = index["paths"]["apis/kubernaut.ai/v1alpha1"]["serverRelativeURL"]
    head = api.head("GET", url) + b"\r\n"
    answer = api.raw(head, show=False)
    assert answer is not None
    api.show("right hash", [answer.status, answer.headers.get("cache-control"), bool(answer.headers.get("etag"))])
    tagged = api.raw(api.head("GET", url, If_None_Match=answer.headers["etag"]) + b"\r\n", show=False)
    assert tagged is not None
    api.show("etag", [tagged.status, len(tagged.body)])
    old = api.raw(api.head("GET", url.partition("?")[0] + "?hash=OLD") + b"\r\n", show=False)
    assert old is not None
    api.show("old hash", [old.status, old.headers.get("location") == url])


def test_discovery_formats(api: Session) -> None:
    api.get("/apis", 406, accept="application/foo")
    accept = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json"
    api.get("/apis", accept=accept, show=lambda seen: seen["kind"])

"""Discovery and OpenAPI documents: what kubectl reads of them, and how they are negotiated and tagged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import definitions, groups, openapi
from wfe_controller.sandbox.apiserver.discovery import Discovery, discovery_type
from wfe_controller.sandbox.apiserver.message import Request, parse_query
from wfe_controller.sandbox.apiserver.resources import Registry, ResourceInfo, ScalePaths
from wfe_controller.sandbox.apiserver.status import StatusError

Json = dict[str, Any]

KUBECTL = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
PODS = ResourceInfo(
    "",
    "v1",
    "pods",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=frozenset({"status", "eviction"}),
    schema=definitions.schema("io.k8s.api.core.v1.Pod"),
)
WIDGETS = ResourceInfo(
    "ex.io",
    "v1",
    "widgets",
    "Widget",
    custom=True,
    subresources=frozenset({"status", "scale"}),
    scale=ScalePaths(".spec.size", ".status.size"),
    selectable_fields=(".spec.size",),
    schema={
        "type": "object",
        "description": "A thing.",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "description": "How big."}}}
        },
    },
)


@pytest.fixture
def registry() -> Registry:
    return Registry([PODS, WIDGETS])


def get(discovery: Discovery, url: str, **headers: str) -> Any:
    path, _, query = url.partition("?")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return discovery.answer(Request("GET", path, parse_query(query), named))


def test_aggregated_discovery_names_other_kinds_of_subresources(registry: Registry) -> None:
    (group,) = groups.aggregated(registry, core=True)["items"]
    (pods,) = group["versions"][0]["resources"]
    assert group["metadata"] == {}
    assert pods["responseKind"] == {"group": "", "version": "", "kind": "Pod"}
    assert pods["subresources"] == [
        {
            "subresource": "eviction",
            "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"},
            "verbs": ["create"],
        },
        {
            "subresource": "status",
            "responseKind": {"group": "", "version": "", "kind": "Pod"},
            "verbs": ["get", "patch", "update"],
        },
    ]


def test_custom_resources_are_listed_as_crds_are(registry: Registry) -> None:
    listed = groups.api_resources(registry, "ex.io", "v1")
    assert [entry["name"] for entry in listed["resources"]] == ["widgets", "widgets/scale", "widgets/status"]
    first, scale, _ = listed["resources"]
    assert first["verbs"] == ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
    assert (scale["group"], scale["kind"]) == ("autoscaling", "Scale")


def test_the_storage_hash_is_the_real_one() -> None:
    info = ResourceInfo("kubernaut.ai", "v1alpha1", "workflowexecutions", "WorkflowExecution")
    assert groups.storage_hash(info) == "LvM60XUsUpE="


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        (KUBECTL, groups.AGGREGATED),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList, */*", "application/json"),
    ],
    ids=["none", "any", "kubectl", "old-beta"],
)
def test_a_client_gets_the_first_form_it_takes(accept: str, form: str) -> None:
    assert discovery_type(accept) == form


def test_a_form_nobody_has_is_not_acceptable() -> None:
    with pytest.raises(StatusError) as caught:
        discovery_type("application/foo")
    assert caught.value.code == 406


def test_a_document_has_what_kubectl_explain_and_validation_look_for(registry: Registry) -> None:
    made = openapi.document_v3(registry, "ex.io", "v1")
    kind = {"group": "ex.io", "kind": "Widget", "version": "v1"}
    schema = made["components"]["schemas"]["io.ex.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [kind]
    assert list(schema["properties"]) == ["apiVersion", "kind", "metadata", "spec"]
    patch = made["paths"]["/apis/ex.io/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == kind
    assert [parameter["name"] for parameter in patch["parameters"]] == [
        "dryRun",
        "fieldManager",
        "fieldValidation",
        "force",
    ]


@pytest.mark.parametrize(("group", "version"), [("", "v1"), ("ex.io", "v1")], ids=["core", "custom"])
def test_every_reference_of_a_document_is_in_it(registry: Registry, group: str, version: str) -> None:
    made = openapi.document_v3(registry, group, version)
    known = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
    missing = set()

    def walk(node: Any) -> None:
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(item)
        if isinstance(node, dict) and isinstance(node.get("$ref"), str) and node["$ref"] not in known:
            missing.add(node["$ref"])

    walk(made)
    assert missing == set()


def test_documents_are_tagged_and_not_sent_twice(registry: Registry) -> None:
    discovery = Discovery(registry)
    index = json.loads(get(discovery, "/openapi/v3").body)
    url = index["paths"]["apis/ex.io/v1"]["serverRelativeURL"]
    first = get(discovery, url, accept="application/json")
    assert (first.status, first.headers["Cache-Control"]) == (200, "public, immutable")
    again = get(discovery, url, accept="application/json", if_none_match=first.headers["Etag"])
    assert (again.status, again.body) == (304, b"")
    old = get(discovery, "/openapi/v3/apis/ex.io/v1?hash=OLD", accept="application/json")
    assert (old.status, old.headers["Location"]) == (301, url)


def test_a_new_kind_changes_the_documents(registry: Registry) -> None:
    discovery = Discovery(registry)
    before = get(discovery, "/apis", accept=KUBECTL)
    registry.add(ResourceInfo("new.io", "v1", "things", "Thing", custom=True))
    after = get(discovery, "/apis", accept=KUBECTL)
    assert before.headers["Etag"] != after.headers["Etag"]
    assert "apis/new.io/v1" in json.loads(get(discovery, "/openapi/v3").body)["paths"]


def test_protobuf_is_not_acceptable_and_unknown_documents_are_missing(registry: Registry) -> None:
    discovery = Discovery(registry)
    protobuf = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
    assert get(discovery, "/openapi/v3/apis/ex.io/v1", accept=protobuf).status == 406
    assert get(discovery, "/openapi/v3/apis/nope/v1").status == 404


def test_version_two_has_the_definitions(registry: Registry) -> None:
    made = openapi.document_v2(registry)
    assert made["definitions"]["io.ex.v1.Widget"]["properties"]["metadata"]["$ref"] == (
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    )

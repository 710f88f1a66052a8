"""Corners that one-line mistakes of the double lived in unnoticed (mutations_edges.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.session import CORE, TABLE, Session

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BETA_TABLE = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
GROUP = "edges.example.com"
COLUMNS = [
    {"name": "Flag", "type": "integer", "jsonPath": ".spec.flag"},
    {"name": "Yes", "type": "boolean", "jsonPath": ".spec.flag"},
    {"name": "Size", "type": "boolean", "jsonPath": ".spec.size"},
]


def edges(api: Session) -> str:
    """A kind with a scale, columns of types that do not fit, and a field where everything is kept."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "flag": {"type": "boolean"},
                    "any": {"type": "object", "additionalProperties": True},
                },
            },
            "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
        },
    }
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version |= {"subresources": {"status": {}, "scale": scale}, "additionalPrinterColumns": COLUMNS}
    names = {"plural": "edges", "kind": "Edge"}
    spec = {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]}
    body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    found = api.call("POST", CRDS, {**body, "metadata": {"name": f"edges.{GROUP}"}, "spec": spec}, 0,
                     any_code=True, quiet=True)  # fmt: skip
    assert found.get("kind") == "CustomResourceDefinition" or found.get("reason") == "AlreadyExists", found
    path = api.path("edges", group=f"{GROUP}/v1")
    api.until(path, lambda code, _: code == 200, "the kind")
    return path


def edge(**spec: Any) -> Json:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Edge", "metadata": {"name": "e"}, "spec": spec}


def test_additional_properties_of_any_kind_stay(api: Session) -> None:
    api.post(edges(api), edge(any={"a": {"b": [1, {"c": None}]}}, size=1), keep="spec")


def test_columns_of_another_type_are_empty(api: Session) -> None:
    path = edges(api)
    api.make(path, edge(flag=True, size=3))
    api.get(path, accept=TABLE, show=lambda seen: [row["cells"] for row in seen["rows"]])


def test_scale_of_a_custom_kind_needs_no_kind(api: Session) -> None:
    path = edges(api)
    api.make(path, edge(size=3))
    api.put(f"{path}/e/scale", {"metadata": {"name": "e"}, "spec": {"replicas": 4}}, keep="spec")
    api.put(f"{path}/e/scale", {"metadata": {"name": "e"}, "spec": {"replicas": "4"}}, 400)
    api.patch(f"{path}/e/scale", {"spec": {"replicas": -4}}, code=422)
    api.get(f"{path}/e", keep="spec metadata.generation")


@pytest.mark.parametrize(
    "accept",
    [
        "application/json;q=0.1, application/yaml;q=0.9",
        "application/json;q=0.9, application/yaml;q=0.1",
        "text/html;q=1, application/yaml;q=0.2, application/json;q=0.3",
    ],
    ids=["yaml", "json", "json-last"],
)
def test_accepts_are_weighed(api: Session, accept: str) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    for path in (api.cm("a"), api.wfe()):
        answer = api.raw(api.head("GET", path, Accept=accept) + b"\r\n", show=False)
        assert answer is not None
        api.show("type", answer.headers["content-type"])


def test_tables_of_old(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.get(api.wfe("x"), accept=BETA_TABLE, show=lambda seen: [seen["kind"], seen["apiVersion"]])


def test_initial_events_that_nobody_wants_need_a_match_too(api: Session) -> None:
    with api.watch(api.cm(), 422, sendInitialEvents="false"):
        pass
    with api.watch(api.cm(), 422, sendInitialEvents="false", resourceVersionMatch="Exact", resourceVersion="1"):
        pass


def test_namespaces_have_a_status_and_no_other_resource_of_that_name(api: Session) -> None:
    path = f"{CORE}/namespaces/{api.ns}"
    api.get(f"{path}/status", keep="kind metadata.name status.phase")
    api.get(f"{path}/status", 403, user="alice")
    api.get(f"{path}/status/x", 404)


def test_watches_hear_nothing_of_the_end_of_others(api: Session) -> None:
    """Neither of one that never matched nor of one that does not any more."""
    version = api.make(api.cm(), api.config_map("a", labels={"x": "1"}))["metadata"]["resourceVersion"]
    api.make(api.cm(), api.config_map("b", labels={"x": "2"}))
    api.patch(api.cm("a"), {"metadata": {"labels": {"x": "2"}}}, quiet=True)
    api.delete(api.cm("a"), quiet=True)
    api.delete(api.cm("b"), quiet=True)
    api.make(api.cm(), api.config_map("c", labels={"x": "1"}))
    with api.watch(api.cm(), resourceVersion=version, labelSelector="x=1") as watch:
        assert watch.next("metadata.name")["type"] == "DELETED"
        assert watch.next("metadata.name")["object"]["metadata"]["name"] == "c"


def ready_pod(api: Session, name: str, **metadata: Any) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "nowhere"}
    labels = {"app": "x"}
    api.make(api.path("pods"), {"metadata": {"name": name, "labels": labels, **metadata}, "spec": spec})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    api.patch(f"{api.path('pods', name)}/status", {"status": status}, "strategic", quiet=True)


def test_budgets_are_spent_by_evictions_only(api: Session) -> None:
    """Not by a dry run; and a pod on its way out is not healthy."""
    api.accounts()
    for name in ("p", "q", "r"):
        ready_pod(api, name, finalizers=["e.x/y"])
    budgets = api.path("poddisruptionbudgets", group="policy/v1")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    api.make(budgets, {"metadata": {"name": "b"}, "spec": spec})

    def healthy(number: int) -> None:
        api.until(f"{budgets}/b", lambda _, seen: seen["status"].get("currentHealthy") == number, f"{number} healthy")

    healthy(3)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    shown = "status.disruptionsAllowed status.currentHealthy status.disruptedPods"
    api.post(f"{api.path('pods', 'p')}/eviction", body, dryRun="All")
    api.get(f"{budgets}/b", keep=shown)
    api.delete(api.path("pods", "q"), json.dumps({"gracePeriodSeconds": 0}).encode(), keep="metadata.finalizers")
    healthy(2)
    api.get(f"{budgets}/b", keep=shown)


def test_applied_status_is_nobodys(api: Session) -> None:
    """Through the main endpoint neither the value nor the ownership of a status counts."""
    body = {**api.execution("a"), "status": {"phase": "Failed"}}
    api.patch(api.wfe("a"), body, "apply", 201, fieldManager="m", managed=True)
    api.patch(api.wfe("a"), {**body, "status": {"phase": "Running"}}, "apply", fieldManager="m", managed=True)


def test_tokens_of_an_account_that_was_there_before(api: Session) -> None:
    """The same name is another account."""
    api.accounts()
    path, body = api.path("serviceaccounts"), {"metadata": {"name": "robot"}}
    api.make(path, body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    token = api.post(f"{path}/robot/token", request, quiet=True)["status"]["token"]
    api.delete(f"{path}/robot", quiet=True)
    api.make(path, body)
    api.get(api.cm(), 401, token=token)

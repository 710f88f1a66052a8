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


NO_TEXT = ["labelSelector=a%3D%ff", "labelSelector=%ff", "fieldSelector=%ff", "resourceVersion=%ff", "limit=%ff",
           "continue=%ff", "timeoutSeconds=%ff", "resourceVersion=1&resourceVersionMatch=%ff"]  # fmt: skip


@pytest.mark.parametrize("query", NO_TEXT)
def test_queries_that_are_no_text(api: Session, query: str) -> None:
    answer = api.raw(api.head("GET", f"{api.cm()}?{query}") + b"\r\n", show=False)
    assert answer is not None
    api.show("answer", [answer.status, json.loads(answer.body).get("message")])


@pytest.mark.parametrize("query", ["fieldManager=%ff", "dryRun=%ff", "fieldValidation=%ff"])
def test_options_that_are_no_text(api: Session, query: str) -> None:
    """A manager may be anything that was sent; what has no name in the list is shown as JSON shows it."""
    body = json.dumps(api.config_map()).encode()
    head = api.head("POST", f"{api.cm()}?{query}", Content_Type="application/json")
    answer = api.raw(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, method="POST", show=False)
    assert answer is not None
    seen = json.loads(answer.body)
    api.show("answer", [answer.status, seen.get("message")])
    api.show("managers", [entry["manager"] for entry in seen["metadata"].get("managedFields", [])])


def test_events_are_selected_whoever_wrote_them(api: Session) -> None:
    """Both groups see all events, each by its own names."""
    about = {"kind": "Pod", "namespace": api.ns, "name": "x"}
    old, new = api.path("events"), api.path("events", group="events.k8s.io/v1")
    api.make(old, {"metadata": {"name": "a"}, "involvedObject": about, "reason": "R", "type": "Normal"})
    modern = {"eventTime": "2026-01-01T00:00:00.000000Z", "regarding": about, "reason": "R", "note": "n"}
    modern |= {"type": "Normal", "action": "A", "reportingController": "c/d", "reportingInstance": "i"}
    api.make(new, {"metadata": {"name": "b"}, **modern})
    for path, selector in (
        (old, "involvedObject.name=x"),
        (new, "regarding.name=x"),
        (old, "reportingComponent=c/d"),
        (new, "reportingController=c/d"),
        (old, "involvedObject.name=y"),
    ):
        api.get(path, keep="metadata.name", fieldSelector=selector)


def test_leases_have_no_strategy(api: Session) -> None:
    """A feature that is off."""
    path = api.path("leases", group="coordination.k8s.io/v1")
    spec = {"holderIdentity": "a", "strategy": "OldestEmulationVersion", "preferredHolder": "b"}
    api.post(path, {"metadata": {"name": "l"}, "spec": spec}, keep="spec")
    api.patch(f"{path}/l", {"spec": {"strategy": "Nope"}}, keep="spec")


def test_namespaces_word_their_preconditions_otherwise(api: Session) -> None:
    path = f"{CORE}/namespaces/{api.ns}"
    api.delete(path, json.dumps({"preconditions": {"uid": "x"}}).encode(), 409)
    api.delete(path, json.dumps({"preconditions": {"resourceVersion": "1"}}).encode(), 409)
    api.get(path, keep="status")


def test_what_holds_a_namespace(api: Session) -> None:
    """Kinds of the core group have a dot behind them."""
    api.make(api.cm(), api.config_map("f", finalizers=["e.x/y"]))
    path = f"{CORE}/namespaces/{api.ns}"
    api.delete(path, quiet=True)

    def told(_: int, seen: Any) -> bool:
        return len((seen.get("status") or {}).get("conditions") or []) == 5

    conditions = api.until(path, told, "the conditions")["status"]["conditions"]
    api.show("messages", sorted([one["type"], one["status"], one["message"]] for one in conditions))
    api.patch(api.cm("f"), {"metadata": {"finalizers": None}}, quiet=True)
    api.until_gone(path)

"""Namespaces: phases, finalisation, what a terminating one refuses, what comes with a new one."""

from __future__ import annotations

from typing import Any

from tests.contract.session import Session


def namespace(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def test_create_namespace(api: Session) -> None:
    """The name becomes a label, the finalizer and the phase come by themselves."""
    name = api.unique("n", "NAME")
    api.post("/api/v1/namespaces", namespace(name, labels={"a": "b"}))
    api.post("/api/v1/namespaces", namespace(name), 409)


def test_namespace_status_of_the_client_does_not_count(api: Session) -> None:
    name = api.unique("n", "NAME")
    body = {**namespace(name), "status": {"phase": "Terminating"}, "spec": {"finalizers": []}}
    api.post("/api/v1/namespaces", body)


def test_namespace_names(api: Session) -> None:
    for name in ("Upper", "a.b", "x" * 64, "-a", "a_b"):
        api.post("/api/v1/namespaces", namespace(name), 422)


def test_new_namespaces_get_an_account_and_the_certificate(api: Session) -> None:
    """Written by the controller manager, a moment later."""
    api.accounts()
    api.get(api.path("serviceaccounts", "default"))
    found = api.until(api.cm("kube-root-ca.crt"), lambda code, _: code == 200, "the certificate")
    api.show("keys", sorted(found["data"]))


def test_delete_namespace(api: Session) -> None:
    """Terminating first; the contents go, then the namespace; where something stays, the conditions say what.

    One case, because the real controller waits five seconds before it looks at a namespace.
    """
    empty, held = api.new_namespace("EMPTY"), api.new_namespace("HELD")
    for namespace in (empty, held):
        api.make(api.wfe(namespace=namespace), api.execution())
        api.make(api.cm(namespace=namespace), api.config_map())
    api.make(api.wfe(namespace=held), api.execution("stays", finalizers=["example.com/hold"]))
    start = api.get(api.wfe(namespace=empty), quiet=True)["metadata"]["resourceVersion"]
    for namespace in (empty, held):
        api.delete(f"/api/v1/namespaces/{namespace}", keep="metadata.name spec status.phase")
    api.until_gone(f"/api/v1/namespaces/{empty}")
    api.get(api.wfe("x", namespace=empty), 404)
    api.get(api.cm(namespace=empty), keep="metadata.name")
    with api.watch(api.wfe(namespace=empty), resourceVersion=start) as events:
        events.next("metadata.name")

    def told(_: int, seen: Any) -> bool:
        conditions = {entry["type"]: entry["status"] for entry in seen.get("status", {}).get("conditions", [])}
        return conditions.get("NamespaceFinalizersRemaining") == "True"

    path = f"/api/v1/namespaces/{held}"
    seen = api.until(path, told, "the condition")
    conditions = sorted(seen["status"]["conditions"], key=lambda entry: str(entry["type"]))
    api.show("conditions", [[entry[key] for key in ("type", "status", "reason", "message")] for entry in conditions])
    api.delete(path, keep="metadata.name spec status.phase")
    api.patch(api.wfe("stays", namespace=held), {"metadata": {"finalizers": None}}, quiet=True)
    api.until_gone(api.wfe("stays", namespace=held))


def test_terminating_namespaces_take_nothing_new(api: Session) -> None:
    """403 with its own cause; changes of what is there go on."""
    api.make(api.wfe(), api.execution(finalizers=["example.com/hold"]))
    api.delete(f"/api/v1/namespaces/{api.ns}", quiet=True)
    api.post(api.cm(), api.config_map(), 403)
    api.post(api.wfe(), api.execution("y"), 403)
    api.patch(api.wfe("x"), {"metadata": {"labels": {"a": "b"}}}, keep="metadata.labels")
    api.get(f"/api/v1/namespaces/{api.ns}", keep="status.phase spec")


def test_the_default_namespaces_are_there(api: Session) -> None:
    for name in ("default", "kube-system", "kube-public"):
        api.get(f"/api/v1/namespaces/{name}", keep="metadata.name status spec metadata.labels")


def test_the_default_namespace_cannot_go(api: Session) -> None:
    api.delete("/api/v1/namespaces/default", code=403)
    api.delete("/api/v1/namespaces/kube-system", code=403)


def test_namespaces_have_no_collection_to_delete(api: Session) -> None:
    api.delete("/api/v1/namespaces", code=405)


def test_namespace_metadata_can_be_patched(api: Session) -> None:
    path = f"/api/v1/namespaces/{api.ns}"
    api.patch(path, {"metadata": {"labels": {"team": "a"}}}, keep="metadata.labels spec status")
    api.patch(path, {"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}}, keep="metadata.labels")
    api.patch(path, {"spec": {"finalizers": []}}, keep="spec")


def test_namespace_finalize(api: Session) -> None:
    """The one way to change spec.finalizers."""
    path = f"/api/v1/namespaces/{api.ns}"
    body = api.get(path, quiet=True)
    body["spec"]["finalizers"] = ["example.com/mine", "kubernetes"]
    api.put(f"{path}/finalize", body, keep="spec")
    body = api.get(path, quiet=True)
    body["spec"]["finalizers"] = ["kubernetes"]
    api.put(f"{path}/finalize", body, keep="spec")

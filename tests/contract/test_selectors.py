"""Label and field selectors."""

from __future__ import annotations

import pytest

from tests.contract.session import Session

NAMES = "metadata.name"
LABELS = {
    "a": {"app": "web", "tier": "front"},
    "b": {"app": "db", "tier": "back", "example.com/empty": ""},
    "c": {"tier": "back"},
    "d": {},
    "e": {"app": "web", "size": "10"},
}


def labelled(api: Session) -> None:
    for name, labels in LABELS.items():
        api.make(api.wfe(), api.execution(name, labels=labels))


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=web", "ae"),
        ("app==web", "ae"),
        ("app!=web", "bcd"),
        ("app", "abe"),
        ("!app", "cd"),
        ("app in (web, db)", "abe"),
        ("app notin (web)", "bcd"),
        ("app in (web),tier=front", "a"),
        ("app,!tier", "e"),
        ("example.com/empty=", "b"),
        ("example.com/empty", "b"),
        ("size>5", "e"),
        ("size<5", ""),
        ("tier in (back),app notin (db)", "c"),
        (" app = web , tier = front ", "a"),
        ("", "abcde"),
        ("app in ()", ""),
        ("app=", ""),
        ("nothing=here", ""),
    ],
)
def test_labels(api: Session, selector: str, names: str) -> None:
    labelled(api)
    found = api.get(api.wfe(), labelSelector=selector, keep=NAMES)
    assert "".join(item["metadata"]["name"] for item in found["items"]) == names


@pytest.mark.parametrize(
    "selector",
    [
        "app=web=x",
        "app in",
        "app in (web",
        "=web",
        "app=we b",
        "a b",
        "app=" + "x" * 64,
        "-a=b",
        "x/y/z=1",
        "app>x",
        "!",
    ],
)
def test_bad_labels(api: Session, selector: str) -> None:
    api.get(api.wfe(), 400, labelSelector=selector)
    api.get(api.cm(), 400, labelSelector=selector)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=a", "a"),
        ("metadata.name==a", "a"),
        ("metadata.name!=a", "b"),
        ("metadata.name=a,metadata.name!=b", "a"),
        ("metadata.name=", ""),
        ("", "ab"),
        ("spec.targetResource=prod/deployment/web", "a"),
        ("spec.targetResource!=prod/deployment/web", "b"),
        ("status.phase=", "a"),
        ("status.phase=Pending", "b"),
        ("status.phase!=Pending,metadata.name!=z", "a"),
    ],
)
def test_fields_of_ours(api: Session, selector: str, names: str) -> None:
    """metadata.name, metadata.namespace and the selectableFields of the CRD."""
    api.make(api.wfe(), api.execution("a"))
    other = api.execution("b")
    other["spec"]["targetResource"] = "node/worker-1"
    api.make(api.wfe(), other)
    api.patch(api.wfe("b") + "/status", {"status": {"phase": "Pending"}}, quiet=True)
    found = api.get(api.wfe(), fieldSelector=selector, keep=NAMES)
    assert "".join(item["metadata"]["name"] for item in found["items"]) == names


@pytest.mark.parametrize(
    "selector",
    ["spec.parameters=x", "metadata.labels=x", "nothing=x", "metadata.name", "metadata.name=a=b", "=x", "a>b"],
)
def test_bad_fields(api: Session, selector: str) -> None:
    api.get(api.wfe(), 400, fieldSelector=selector)
    api.get(api.cm(), 400, fieldSelector=selector)


def test_field_namespace(api: Session) -> None:
    api.make(api.wfe(), api.execution("a"))
    api.get("/apis/kubernaut.ai/v1alpha1/workflowexecutions", fieldSelector=f"metadata.namespace={api.ns}", keep=NAMES)
    api.get(api.wfe(), fieldSelector="metadata.namespace=other", keep=NAMES)


def test_field_values_may_be_escaped(api: Session) -> None:
    api.make(api.wfe(), api.execution("a"))
    api.get(api.wfe(), fieldSelector=r"metadata.name=a\,b", keep=NAMES)
    api.get(api.wfe(), 400, fieldSelector="metadata.name=a\\", keep=NAMES)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("spec.nodeName=node-1", "b"),
        ("spec.nodeName=", "a"),
        ("status.phase=Pending", "ab"),
        ("status.phase!=Pending", ""),
        ("spec.restartPolicy=Never", "b"),
        ("spec.serviceAccountName=default", "ab"),
        ("status.podIP=", "ab"),
    ],
)
def test_fields_of_pods(api: Session, selector: str, names: str) -> None:
    api.accounts()
    for name, more in (("a", {}), ("b", {"nodeName": "node-1", "restartPolicy": "Never"})):
        spec = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False, **more}
        api.make(api.path("pods"), {"metadata": {"name": name}, "spec": spec})
    # The pod garbage collector removes pods of missing nodes, but only after a quarantine of 40 s.
    found = api.get(api.path("pods"), fieldSelector=selector, keep=NAMES)
    assert "".join(item["metadata"]["name"] for item in found["items"]) == names


def test_fields_of_secrets(api: Session) -> None:
    api.make(api.path("secrets"), {"metadata": {"name": "a"}, "type": "example.com/x"})
    api.make(api.path("secrets"), {"metadata": {"name": "b"}})
    api.get(api.path("secrets"), fieldSelector="type=Opaque", keep=NAMES)
    api.get(api.path("secrets"), 400, fieldSelector="data=x")


def test_fields_of_namespaces(api: Session) -> None:
    api.get("/api/v1/namespaces", fieldSelector=f"metadata.name={api.ns},status.phase=Active", keep=NAMES)


def test_both_selectors(api: Session) -> None:
    labelled(api)
    api.get(api.wfe(), labelSelector="app", fieldSelector="metadata.name!=a", keep=NAMES)


def test_get_ignores_selectors(api: Session) -> None:
    api.make(api.wfe(), api.execution("a"))
    api.get(api.wfe("a"), labelSelector="no=where", keep=NAMES)

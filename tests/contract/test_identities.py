"""Who one is to the server: odd Authorization headers, being somebody else, and reviews about others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Session

AUTHN = "/apis/authentication.k8s.io/v1"
AUTHZ = "/apis/authorization.k8s.io/v1"
ACCOUNT = "system:serviceaccount:a:b"

SPACES = ["Bearer", "Bearer  x", "Bearer TOKEN", "Bearer TOKEN x", "BEARER TOKEN", "Bearer  TOKEN", "Bearer TOKEN,x"]


@pytest.mark.parametrize("header", SPACES)
def test_spaces_around_tokens(api: Session, header: str) -> None:
    """One space, and what follows the token is nobody's business."""
    header = header.replace("TOKEN", api.server.tokens["admin"])
    answer = api.raw(api.head("GET", "/version", user=None, Authorization=header) + b"\r\n", show=False)
    assert answer is not None
    api.show("code", [answer.status, answer.headers.get("warning")])
    answer = api.raw(api.head("GET", api.cm("x"), user=None, Authorization=header) + b"\r\n", show=False)
    assert answer is not None
    api.show("code", [answer.status, answer.headers.get("warning")])


OTHERS: dict[str, dict[str, str]] = {
    "user": {"User": "zed"},
    "group": {"User": "zed", "Group": "g"},
    "account": {"User": ACCOUNT},
    "account-with-groups": {"User": ACCOUNT, "Group": "g"},
    "no-account": {"User": "system:serviceaccount:bad"},
    "anonymous": {"User": "system:anonymous"},
    "uid": {"User": "zed", "Uid": "u"},
    "extra": {"User": "zed", "Extra-Foo": "bar"},
    "escaped-extra": {"User": "zed", "Extra-a%2fb": "bar"},
    "authenticated": {"User": "zed", "Group": "system:authenticated"},
    "unauthenticated": {"User": "zed", "Group": "system:unauthenticated"},
    "only-a-group": {"Group": "g"},
    "only-a-uid": {"Uid": "u"},
    "only-extra": {"Extra-Foo": "bar"},
    "unknown": {"Nope": "x"},
}
REFUSED = {"anonymous": 403, "unauthenticated": 403, "only-a-group": 400, "only-a-uid": 400, "only-extra": 400}


@pytest.mark.parametrize("name", OTHERS)
def test_being_somebody_else(api: Session, name: str) -> None:
    headers = {f"Impersonate-{key}": value for key, value in OTHERS[name].items()}
    api.post(f"{AUTHN}/selfsubjectreviews", {}, REFUSED.get(name, 201), headers=headers, keep="status")


@pytest.mark.parametrize("user", ["alice", None])
def test_not_being_somebody_else(api: Session, user: str | None) -> None:
    for name in ("zed", ACCOUNT, "alice"):
        api.post(f"{AUTHN}/selfsubjectreviews", {}, 403, user=user, headers={"Impersonate-User": name})


def test_rights_to_be_somebody_else(api: Session) -> None:
    """Each part of the other one needs its own right. The real server remembers whom it let be somebody else, and
    words later refusals of his otherwise: nobody else may be mallory here."""
    role = api.unique("be-", "ROLE")
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["zed"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/foo"], "verbs": ["impersonate"]},
    ]
    meta = {"name": role}
    root = f"/apis/{group}/v1"
    api.make(f"{root}/clusterroles", {"metadata": meta, "rules": rules})
    subject = {"kind": "User", "name": "mallory", "apiGroup": group}
    reference = {"kind": "ClusterRole", "name": role, "apiGroup": group}
    api.make(f"{root}/clusterrolebindings", {"metadata": meta, "roleRef": reference, "subjects": [subject]})
    try:
        ask = {"user": "mallory", "resourceAttributes": {"verb": "impersonate", "resource": "users", "name": "zed"}}
        for _ in range(200):
            if api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": ask}, quiet=True)["status"]["allowed"]:
                break
        for more, code in (({}, 201), ({"Extra-Foo": "x"}, 201), ({"Uid": "u"}, 403), ({"Extra-Bar": "x"}, 403)):
            headers = {"Impersonate-User": "zed", **{f"Impersonate-{key}": value for key, value in more.items()}}
            api.post(f"{AUTHN}/selfsubjectreviews", {}, code, user="mallory", headers=headers, keep="status")
    finally:
        for plural in ("clusterrolebindings", "clusterroles"):
            api.delete(f"{root}/{plural}/{role}", quiet=True)


ASKED: dict[str, tuple[int, dict[str, Any]]] = {
    "empty-path": (201, {"user": "bob", "nonResourceAttributes": {"path": "", "verb": "get"}}),
    "empty-selector": (422, {"user": "bob", "resourceAttributes": {"verb": "list", "fieldSelector": {}}}),
    "extra-number": (400, {"user": "bob", "extra": {"a": 5}, "resourceAttributes": {}}),
}


@pytest.mark.parametrize("name", ASKED)
def test_odd_access_reviews(api: Session, name: str) -> None:
    code, spec = ASKED[name]
    api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": spec}, code)


def test_namespaces_of_access_reviews(api: Session) -> None:
    """It is dropped where there is none, and must be the one of the path where there is."""
    body = {"metadata": {"namespace": "x"}, "spec": {"user": "bob", "resourceAttributes": {}}}
    api.post(f"{AUTHZ}/subjectaccessreviews", body)
    local = api.path("localsubjectaccessreviews", group="authorization.k8s.io/v1")
    api.post(local, body, 400)
    api.post(local, {}, 422)


def test_token_reviews_of_audiences(api: Session) -> None:
    token = api.server.tokens["alice"]
    for audiences, about in ((["x"], "other"), (["https://kubernetes.default.svc", "x"], "ours")):
        body = {"spec": {"token": token, "audiences": audiences}}
        seen = api.post(f"{AUTHN}/tokenreviews", body, quiet=True)
        api.show(about, seen["status"])


SELECTORS = [
    "metadata.name=a", "metadata.name==a", "metadata.name=b", "metadata.name!=a", "metadata.name=a,x=y,",
    "metadata.namespace=z,metadata.name=a", "metadata.name=a,broken", "",
]  # fmt: skip


def test_names_in_selectors_count_for_rights(api: Session) -> None:
    """Rights to one name allow lists that ask for that name, be it among other terms."""
    root = api.path("roles", group="rbac.authorization.k8s.io/v1").removesuffix("/roles")
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "get"], "resourceNames": ["a"]}
    group = "rbac.authorization.k8s.io"
    api.make(f"{root}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    reference = {"kind": "Role", "name": "r", "apiGroup": group}
    subjects = [{"kind": "User", "name": "alice", "apiGroup": group}]
    api.make(f"{root}/rolebindings", {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects})
    ask = {"verb": "get", "resource": "configmaps", "name": "a", "namespace": api.ns}
    for _ in range(200):
        spec = {"user": "alice", "resourceAttributes": ask}
        if api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": spec}, quiet=True)["status"]["allowed"]:
            break
    seen = []
    for selector in SELECTORS:
        path = f"{api.cm()}?fieldSelector={selector}"
        answer = api.raw(api.head("GET", path, user="alice") + b"\r\n", show=False)
        assert answer is not None
        seen.append([selector, answer.status])
    api.show("codes", seen)


def test_documents_without_methods(api: Session) -> None:
    """The handlers of two documents look at no method."""
    for method, path in (("HEAD", "/apis"), ("DELETE", "/apis"), ("PATCH", "/openapi/v3"), ("DELETE", "/api")):
        answer = api.raw(api.head(method, path) + b"\r\n", method=method, show=False)
        assert answer is not None
        api.show(f"{method} {path}", answer.status)

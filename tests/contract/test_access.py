"""Who is asking, what they may do, and the reviews that answer such questions."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.contract.session import CORE, OURS, Session

RBAC = "rbac.authorization.k8s.io/v1"
AUTHZ = "/apis/authorization.k8s.io/v1"
AUTHN = "/apis/authentication.k8s.io/v1"


def grant(
    api: Session, subject: dict[str, str], *rules: dict[str, Any], name: str = "r", where: str | None = None
) -> None:
    """A Role and its binding in the case's namespace, and a wait until the authorizer has seen them."""
    role = {"metadata": {"name": name}, "rules": list(rules)}
    api.make(api.path("roles", group=RBAC, namespace=where), role)
    bind(api, subject, name, "Role", where=where)


def bind(
    api: Session, subject: dict[str, str], role: str, kind: str, *, where: str | None = None, name: str = ""
) -> None:
    body = {
        "metadata": {"name": name or role.replace(":", "-")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [subject],
    }
    api.make(api.path("rolebindings", group=RBAC, namespace=where), body)


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": [group], **more}


def allowed(api: Session, path: str, who: str = "mallory") -> None:
    """Wait until a read that was granted goes through: the real authorizer learns of roles by a watch."""
    data = api.wire.encode("GET", path, {}, {"Authorization": f"Bearer {api.server.tokens[who]}"}, None)
    end = 100
    while api.wire.exchange("GET", data).status == 403:
        end -= 1
        assert end, f"{path} stays forbidden"


@pytest.mark.parametrize("token", ["wrong", "a b", "x" * 5000], ids=["wrong", "space", "long"])
def test_bad_tokens(api: Session, token: str) -> None:
    api.get(api.cm(), 401, token=token)
    api.get("/healthz", 401, token=token)


def test_no_token(api: Session) -> None:
    """Anonymous: health is open, everything else forbidden with a name in it."""
    api.get(api.cm(), 403, user=None)
    api.get("/version", user=None, keep="major")
    api.get("/api", 403, user=None)
    api.get("/nothing", 403, user=None)


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer  ", "bearer", "Token x", "BearerX"])
def test_other_authorization_headers(api: Session, header: str) -> None:
    code = 403 if header in ("Basic YTpi", "Token x", "BearerX", "Bearer", "bearer", "Bearer  ") else 401
    api.get(api.cm(), code, user=None, headers={"Authorization": header})


def test_bearer_in_lower_case(api: Session) -> None:
    token = api.server.tokens["admin"]
    api.get(api.cm("a"), 404, user=None, headers={"Authorization": f"bearer {token}"})


@pytest.mark.parametrize("method", ["get", "list", "create", "update", "patch", "delete", "deletecollection", "watch"])
def test_forbidden(api: Session, method: str) -> None:
    """Verb, resource, group, namespace and name are in the text."""
    who = {"user": "mallory"}
    one, every = api.wfe("x"), api.wfe()
    if method == "get":
        api.get(one, 403, **who)
        api.get(one + "/status", 403, **who)
    elif method == "list":
        api.get(every, 403, **who)
        api.get(f"{OURS}/workflowexecutions", 403, **who)
        api.get(every, 403, fieldSelector="metadata.name=x", **who)
    elif method == "create":
        api.post(every, api.execution(), 403, **who)
        api.post(f"{CORE}/namespaces", {"metadata": {"name": "x"}}, 403, **who)
    elif method == "update":
        api.put(one, api.execution(), 403, **who)
        api.put(one + "/status", api.execution(), 403, **who)
    elif method == "patch":
        api.patch(one, {}, code=403, **who)
    elif method == "delete":
        api.delete(one, code=403, **who)
        api.delete(f"{CORE}/namespaces/{api.ns}", code=403, **who)
    elif method == "deletecollection":
        api.delete(every, code=403, **who)
    else:
        with api.watch(every, 403, **who):
            pass


def test_forbidden_for_unknown_kinds_and_paths(api: Session) -> None:
    """Authorisation comes before the question whether there is such a thing."""
    api.get(api.path("widgets", "w", "example.com/v1"), 403, user="mallory")
    api.get("/metrics", 403, user="mallory")
    api.get("/api/v1/namespaces/not-there/pods", 403, user="mallory")
    api.call("OPTIONS", api.cm("a"), None, 403, user="mallory")


def test_discovery_is_for_everybody_with_a_token(api: Session) -> None:
    api.get("/api", user="mallory", keep="kind")
    api.get("/apis/kubernaut.ai/v1alpha1", user="mallory", keep="kind")
    api.get("/openapi/v3", user="mallory", keep="kind")


def test_role_gives_what_it_says(api: Session) -> None:
    grant(api, user("mallory"), rule("get list", "workflowexecutions", "kubernaut.ai"))
    api.make(api.wfe(), api.execution())
    allowed(api, api.wfe())
    api.get(api.wfe("x"), user="mallory", keep="metadata.name")
    api.get(api.wfe("x") + "/status", 403, user="mallory")
    api.patch(api.wfe("x"), {}, code=403, user="mallory")
    api.get(api.path("targetlocks", group="kubernaut.ai/v1alpha1"), 403, user="mallory")
    api.get(api.cm(), 403, user="mallory")
    api.get(f"{OURS}/workflowexecutions", 403, user="mallory")
    with api.watch(api.wfe(), 403, user="mallory"):
        pass


def test_role_of_subresources(api: Session) -> None:
    grant(api, user("mallory"), rule("get patch", "workflowexecutions/status", "kubernaut.ai"))
    api.make(api.wfe(), api.execution())
    allowed(api, api.wfe("x") + "/status")
    api.patch(api.wfe("x") + "/status", {"status": {"phase": "Pending"}}, user="mallory", keep="status")
    api.patch(api.wfe("x"), {}, code=403, user="mallory")


def test_role_of_names(api: Session) -> None:
    grant(api, user("mallory"), rule("get list watch", "configmaps", resourceNames=["a"]))
    api.make(api.cm(), api.config_map("a"))
    api.make(api.cm(), api.config_map("b"))
    allowed(api, api.cm("a"))
    api.get(api.cm("a"), user="mallory", keep="metadata.name")
    api.get(api.cm("b"), 403, user="mallory")
    api.get(api.cm(), 403, user="mallory")
    api.get(api.cm(), user="mallory", fieldSelector="metadata.name=a", keep="metadata.name")


def test_cluster_role_in_one_namespace(api: Session) -> None:
    name = api.unique("r", "ROLE")
    api.make(f"/apis/{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule("list", "configmaps")]})
    bind(api, user("mallory"), name, "ClusterRole")
    allowed(api, api.cm())
    api.get(api.cm(namespace="default"), 403, user="mallory")


def test_binding_of_a_group(api: Session) -> None:
    grant(
        api, {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "developers"}, rule("list", "secrets")
    )
    allowed(api, api.path("secrets"), "bob")
    api.get(api.path("secrets"), 403, user="alice")


def test_service_account_tokens(api: Session) -> None:
    """A token of the TokenRequest API is that account, with its groups."""
    api.make(api.path("serviceaccounts"), {"metadata": {"name": "robot"}})
    made = api.post(
        api.path("serviceaccounts", "robot") + "/token",
        {"spec": {"expirationSeconds": 600}},
        show=lambda seen: [seen["kind"], sorted(seen["status"]), seen["spec"]["expirationSeconds"]],
    )
    token = made["status"]["token"]
    api.get(api.cm(), 403, token=token)
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": api.ns}
    grant(api, account, rule("list", "secrets"))
    review = api.post(f"{AUTHN}/selfsubjectreviews", {}, token=token, quiet=True)["status"]["userInfo"]
    api.show("user", [review["username"], review["groups"], review["extra"]])
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    api.show("claims", {name: claims[name] for name in sorted(claims) if name not in ("exp", "iat", "nbf")})
    api.show("lasts", claims["exp"] - claims["iat"])
    api.post(api.path("serviceaccounts", "nobody") + "/token", {"spec": {}}, 404)


def test_broken_binding_is_told(api: Session) -> None:
    bind(api, user("mallory"), "nope", "Role")
    path = api.cm("zz")

    def told() -> Any:
        return api.get(path, 403, user="mallory", quiet=True)["message"]

    message = told()
    for _ in range(200):
        if "nope" in message:
            break
        message = told()
    api.show("message", message)


def test_roles_are_checked(api: Session) -> None:
    roles = api.path("roles", group=RBAC)
    api.post(roles, {"metadata": {"name": "a"}, "rules": [{"verbs": [], "resources": ["x"], "apiGroups": [""]}]}, 422)
    api.post(roles, {"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, 422)
    api.post(roles, {"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "resources": ["x"]}]}, 422)
    bindings = api.path("rolebindings", group=RBAC)
    base = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
    }
    api.post(bindings, {**base, "subjects": [{"kind": "Robot", "name": "x"}]}, 422)
    api.post(bindings, {**base, "roleRef": {"kind": "Role", "name": ""}}, 422)
    api.post(bindings, {**base, "subjects": [{"kind": "User", "name": "x"}]}, keep="subjects roleRef")
    changed = {**base, "roleRef": {**base["roleRef"], "name": "other"}}
    api.put(f"{bindings}/b", changed, 422)


def test_self_subject_access_review(api: Session) -> None:
    def ask(who: str, **spec: Any) -> None:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        api.post(f"{AUTHZ}/selfsubjectaccessreviews", body, user=who)

    read = {"verb": "get", "resource": "pods", "namespace": "default"}
    ask("admin", resourceAttributes=read)
    ask("mallory", resourceAttributes=read)
    ask("mallory", nonResourceAttributes={"verb": "get", "path": "/apis"})
    ask("mallory", nonResourceAttributes={"verb": "get", "path": "/metrics"})


def test_self_subject_access_review_after_a_grant(api: Session) -> None:
    grant(api, user("mallory"), rule("get", "workflowexecutions/status", "kubernaut.ai", resourceNames=["x"]))
    api.make(api.wfe(), api.execution())
    allowed(api, api.wfe("x") + "/status")
    for name, subresource in (("x", "status"), ("y", "status"), ("x", "")):
        what = {
            "verb": "get",
            "group": "kubernaut.ai",
            "resource": "workflowexecutions",
            "subresource": subresource,
            "name": name,
            "namespace": api.ns,
        }
        body = {"spec": {"resourceAttributes": what}}
        api.post(f"{AUTHZ}/selfsubjectaccessreviews", body, user="mallory", keep="status")


def test_subject_access_review(api: Session) -> None:
    grant(api, {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "sre"}, rule("*", "*", "*"))
    allowed(api, api.cm(), "alice")

    def ask(**spec: Any) -> None:
        what = {"verb": "delete", "group": "apps", "resource": "deployments", "namespace": api.ns}
        api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": {"resourceAttributes": what, **spec}}, keep="status")

    ask(user="anybody", groups=["sre"])
    ask(user="anybody")
    ask(user="anybody", groups=["system:masters"])
    api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": {"user": "x"}}, 422)
    api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}, 422)
    both = {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}, "user": "x"}
    api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": both}, 422)
    api.post(f"{AUTHZ}/subjectaccessreviews", {"spec": {"user": "x", "resourceAttributes": {}}}, 403, user="mallory")


def test_self_subject_rules_review(api: Session) -> None:
    grant(api, user("mallory"), rule("get list", "pods configmaps", resourceNames=["a"]), rule("*", "*", "apps"))
    allowed(api, api.cm("a"))

    def sorted_rules(seen: Any) -> Any:
        status = seen["status"]
        return [
            sorted(str(sorted(entry.items())) for entry in status["resourceRules"]),
            sorted(str(sorted(entry.items())) for entry in status["nonResourceRules"]),
            status["incomplete"],
        ]

    body = {"spec": {"namespace": api.ns}}
    api.post(f"{AUTHZ}/selfsubjectrulesreviews", body, user="mallory", show=sorted_rules)
    api.post(f"{AUTHZ}/selfsubjectrulesreviews", {"spec": {}}, 400, user="mallory")


def test_self_subject_review(api: Session) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    for who in ("admin", "alice", "mallory"):
        api.post(f"{AUTHN}/selfsubjectreviews", body, user=who, keep="kind status")
    api.post(f"{AUTHN}/selfsubjectreviews", body, 403, user=None)


def test_token_review(api: Session) -> None:
    for token in (api.server.tokens["bob"], "nonsense"):
        api.post(f"{AUTHN}/tokenreviews", {"spec": {"token": token}}, keep="status")
    api.post(f"{AUTHN}/tokenreviews", {"spec": {}}, 400)
    api.post(f"{AUTHN}/tokenreviews", {"spec": {"token": "x"}}, 403, user="mallory")


def test_reviews_can_only_be_created(api: Session) -> None:
    api.get(f"{AUTHZ}/selfsubjectaccessreviews", 405)
    api.get(f"{AUTHZ}/selfsubjectaccessreviews/x", 404)
    api.delete(f"{AUTHZ}/selfsubjectaccessreviews", code=405)


def test_impersonation(api: Session) -> None:
    """The administrator may be somebody else; others may not."""
    headers = {"Impersonate-User": "mallory"}
    api.get(api.cm(), 403, headers=headers)
    api.get(api.cm(), 403, user="bob", headers=headers)
    api.post(f"{AUTHN}/selfsubjectreviews", {}, headers={**headers, "Impersonate-Group": "sre"}, keep="status")


def test_local_subject_access_review(api: Session) -> None:
    """Only about its own namespace."""
    path = api.path("localsubjectaccessreviews", group="authorization.k8s.io/v1")
    what = {"verb": "get", "resource": "pods", "namespace": api.ns}
    api.post(path, {"spec": {"user": "x", "groups": ["system:masters"], "resourceAttributes": what}}, keep="status")
    api.post(path, {"spec": {"user": "x", "resourceAttributes": what}}, keep="status")
    api.post(path, {"spec": {"user": "x", "resourceAttributes": {**what, "namespace": "default"}}}, 422)

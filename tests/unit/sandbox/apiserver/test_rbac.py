"""Who may do what. Texts read off kube-apiserver 1.36; tests/contract compares more of them on both servers."""

from __future__ import annotations

from typing import Any

import pytest

from wfe_controller.sandbox.apiserver.rbac import (
    ANONYMOUS,
    RBAC_GROUP,
    Attributes,
    Policy,
    User,
    bootstrap,
    denial,
    rule_allows,
)

BOB = User.known("bob", "bob-uid", ["developers"])


def role(name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"kind": "Role" if namespace else "ClusterRole", "metadata": metadata, "rules": list(rules)}


def binding(
    name: str, role_name: str, *subjects: dict[str, str], namespace: str = "", kind: str = "ClusterRole"
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role_name},
        "subjects": list(subjects),
    }


def rule(verbs: str = "get", resources: str = "pods", groups: str = "", names: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": groups.split(",")}
    return {**found, "resourceNames": names.split()} if names else found


USER_BOB = {"kind": "User", "name": "bob"}


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        pytest.param(rule(), Attributes("get", "", "pods"), True, id="exact"),
        pytest.param(rule(), Attributes("list", "", "pods"), False, id="other-verb"),
        pytest.param(rule(), Attributes("get", "apps", "pods"), False, id="other-group"),
        pytest.param(rule(groups="apps,"), Attributes("get", "", "pods"), True, id="core-group-is-empty"),
        pytest.param(rule("*", "*", "*"), Attributes("escalate", "x.io", "things", "scale"), True, id="stars"),
        pytest.param(rule(), Attributes("get", "", "pods", "log"), False, id="parent-covers-no-subresource"),
        pytest.param(rule(resources="pods/log"), Attributes("get", "", "pods", "log"), True, id="subresource"),
        pytest.param(rule(resources="pods/log"), Attributes("get", "", "pods"), False, id="subresource-not-parent"),
        pytest.param(rule(resources="*/log"), Attributes("get", "", "pods", "log"), True, id="star-subresource"),
        pytest.param(rule(resources="*/log"), Attributes("get", "", "pods"), False, id="star-subresource-not-parent"),
        pytest.param(rule(resources="pods/*"), Attributes("get", "", "pods", "log"), False, id="no-pattern-behind"),
        pytest.param(rule(names="a b"), Attributes("get", "", "pods", name="b"), True, id="name"),
        pytest.param(rule(names="a b"), Attributes("get", "", "pods", name="c"), False, id="other-name"),
        pytest.param(rule("list", names="a"), Attributes("list", "", "pods"), False, id="names-and-no-name"),
        pytest.param(
            {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/api/v1"), True, id="path-prefix"
        ),
        pytest.param(
            {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/api"), False, id="path-parent"
        ),
        pytest.param(
            {"verbs": ["get"], "nonResourceURLs": ["*"]}, Attributes("get", path="/metrics"), True, id="path-star"
        ),
        pytest.param(
            {"verbs": ["get"], "nonResourceURLs": ["*"]}, Attributes("get", "", "pods"), False, id="paths-only"
        ),
        pytest.param(rule("*", "*", "*"), Attributes("get", path="/metrics"), False, id="resources-only"),
    ],
)
def test_what_a_rule_covers(given: dict[str, Any], asked: Attributes, allowed: bool) -> None:
    assert bool(rule_allows(given, asked)) is allowed


@pytest.mark.parametrize(
    ("subject", "user", "applies"),
    [
        pytest.param(USER_BOB, BOB, True, id="user"),
        pytest.param({"kind": "Group", "name": "developers"}, BOB, True, id="group"),
        pytest.param({"kind": "Group", "name": "bob"}, BOB, False, id="a-group-is-no-user"),
        pytest.param({"kind": "Group", "name": "system:authenticated"}, BOB, True, id="authenticated"),
        pytest.param({"kind": "Group", "name": "system:authenticated"}, ANONYMOUS, False, id="anonymous"),
        pytest.param({"kind": "Group", "name": "system:unauthenticated"}, ANONYMOUS, True, id="unauthenticated"),
        pytest.param(
            {"kind": "ServiceAccount", "name": "x", "namespace": "n"},
            User.service_account("n", "x"),
            True,
            id="account",
        ),
        pytest.param(
            {"kind": "ServiceAccount", "name": "x", "namespace": "m"},
            User.service_account("n", "x"),
            False,
            id="account-of-another-namespace",
        ),
        pytest.param({"kind": "ServiceAccount", "name": "x"}, User.service_account("", "x"), False, id="no-namespace"),
        pytest.param(
            {"kind": "Group", "name": "system:serviceaccounts:n"},
            User.service_account("n", "x"),
            True,
            id="accounts-of-a-namespace",
        ),
    ],
)
def test_to_whom_a_binding_applies(subject: dict[str, str], user: User, applies: bool) -> None:
    policy = Policy(cluster_roles=[role("r", rule())], cluster_role_bindings=[binding("b", "r", subject)])
    assert policy.authorize(user, Attributes("get", "", "pods", namespace="any")).allowed is applies


def test_a_role_binding_counts_in_its_namespace_only_whatever_kind_of_role_it_names() -> None:
    policy = Policy(
        cluster_roles=[role("wide", rule())],
        roles=[role("narrow", rule("list"), namespace="n")],
        role_bindings=[
            binding("a", "wide", USER_BOB, namespace="n"),
            binding("b", "narrow", USER_BOB, namespace="n", kind="Role"),
        ],
    )
    for verb in ("get", "list"):
        assert policy.authorize(BOB, Attributes(verb, "", "pods", namespace="n")).allowed
        assert not policy.authorize(BOB, Attributes(verb, "", "pods", namespace="m")).allowed
        assert not policy.authorize(BOB, Attributes(verb, "", "pods")).allowed


def test_reasons_are_those_of_the_real_authorizer() -> None:
    account = {"kind": "ServiceAccount", "name": "x"}
    policy = Policy(
        cluster_roles=[role("c", rule("list"))],
        roles=[role("r", rule(), namespace="rb")],
        cluster_role_bindings=[binding("all", "c", {"kind": "Group", "name": "developers"})],
        role_bindings=[binding("sa", "r", account, USER_BOB, namespace="rb", kind="Role")],
    )

    def reason(user: User, verb: str) -> str:
        return policy.authorize(user, Attributes(verb, "", "pods", namespace="rb")).reason

    assert reason(BOB, "get") == 'RBAC: allowed by RoleBinding "sa/rb" of Role "r" to User "bob"'
    assert reason(BOB, "list") == 'RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "c" to Group "developers"'
    assert reason(User.service_account("rb", "x"), "get") == (
        'RBAC: allowed by RoleBinding "sa/rb" of Role "r" to ServiceAccount "x/rb"'
    )
    assert reason(BOB, "delete") == ""
    assert reason(User.known("root", groups=["system:masters"]), "delete") == ""


def test_bindings_of_missing_roles_are_told_and_do_not_hide_others() -> None:
    policy = Policy(
        cluster_roles=[role("there", rule("list"))],
        role_bindings=[
            binding("gone1", "nope", USER_BOB, namespace="rb", kind="Role"),
            binding("gone2", "cnope", USER_BOB, namespace="rb"),
            binding("gone3", "cnope", USER_BOB, namespace="rb"),
            binding("there", "there", USER_BOB, namespace="rb"),
        ],
    )
    both = '[role.rbac.authorization.k8s.io "nope" not found, clusterrole.rbac.authorization.k8s.io "cnope" not found]'
    assert policy.authorize(BOB, Attributes("list", "", "pods", namespace="rb")).allowed
    assert policy.authorize(BOB, Attributes("get", "", "pods", namespace="rb")).reason == f"RBAC: {both}"
    assert policy.rules_for(BOB, "rb")[2] == both


def test_denials_as_kubectl_prints_them() -> None:
    assert denial(User("b<o>b"), Attributes("list", "", "pods", namespace="rb")) == (
        'User "b&lt;o&gt;b" cannot list resource "pods" in API group "" in the namespace "rb"'
    )
    assert denial(BOB, Attributes("patch", "kubernaut.ai", "workflowexecutions", "status"), "RBAC: x") == (
        'User "bob" cannot patch resource "workflowexecutions/status" in API group "kubernaut.ai" '
        "at the cluster scope: RBAC: x"
    )
    assert denial(BOB, Attributes("get", path="/foo")) == 'User "bob" cannot get path "/foo"'


def test_the_rules_a_server_starts_with() -> None:
    """Discovery and reviews for everybody with a token, health for everybody, everything for masters."""
    objects = bootstrap()
    policy = Policy(
        cluster_roles=[one for one in objects if one["kind"] == "ClusterRole"],
        cluster_role_bindings=[one for one in objects if one["kind"] == "ClusterRoleBinding"],
    )
    assert policy.authorize(BOB, Attributes("get", path="/apis/apps/v1")).allowed
    assert not policy.authorize(ANONYMOUS, Attributes("get", path="/apis/apps/v1")).allowed
    assert policy.authorize(ANONYMOUS, Attributes("get", path="/healthz")).allowed
    review = Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews")
    assert policy.authorize(BOB, review).allowed
    assert not policy.authorize(ANONYMOUS, review).allowed
    resource_rules, other_rules, error = policy.rules_for(BOB, "default")
    assert [entry["resources"] for entry in resource_rules] == [
        ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        ["selfsubjectreviews"],
    ]
    assert {entry["nonResourceURLs"][0] for entry in other_rules} == {"/api", "/healthz"}
    assert error == ""
    assert policy.rules_for(User.known("root", groups=["system:masters"]), "")[0][0]["verbs"] == ["*"]


def test_users_as_reviews_show_them() -> None:
    assert BOB.to_json() == {"username": "bob", "uid": "bob-uid", "groups": ["developers", "system:authenticated"]}
    assert User.known("z", groups=["system:authenticated"]).groups == ("system:authenticated",)
    assert User("a", extra={"k": ("v",)}).to_json() == {"username": "a", "extra": {"k": ["v"]}}

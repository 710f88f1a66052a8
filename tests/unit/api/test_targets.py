from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wfe_controller.api.targets import PATTERN, TargetError, parse_target, qualified_spellings

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.from_regex(r"[a-z0-9]([-a-z0-9.:]{0,8}[a-z0-9])?", fullmatch=True)
BUILTIN = {
    spelling: namespaced
    for namespaced in (True, False)
    for spelling in qualified_spellings(namespaced=namespaced)
    if "." not in spelling
}
KIND = st.one_of(st.sampled_from(sorted(BUILTIN)), st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,12}", fullmatch=True))
GROUP = st.sampled_from(["", ".apps", ".batch", ".example.com", ".v1.apps", ".config.openshift.io"])


@pytest.mark.parametrize(
    "spelling",
    [
        "ns/deployment/x",
        "ns/Deployment/x",
        "ns/Deployment.apps/x",
        "ns/deployments/x",
        "ns/deploy/x",
        "ns/DEPLOY.v1.apps/x",
        "ns/deployments.extensions/x",
        "ns/deployment.example.com/x",
    ],
)
def test_spellings_of_one_object_are_one_target(spelling: str) -> None:
    """T12, TH33: two spellings must never give two locks."""
    assert parse_target(spelling).canonical == "ns/deployment/x"


@pytest.mark.parametrize(
    "raw",
    [
        "default/deployment/nginx",
        "prod/statefulset/postgres",
        "node/worker-node-1",
        "persistentvolume/pv-data-01",
        "clusterrole/admin",
        "namespace/production",
    ],
)
def test_the_documented_targets_are_their_own_canonical_form(raw: str) -> None:
    """T72."""
    assert parse_target(raw).canonical == raw


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("clusterrole/system:controller:x", "clusterrole/system:controller:x"),
        ("ns/rolebinding/Mixed:Case_1", "ns/rolebinding/Mixed:Case_1"),
        ("crd/targetlocks.kubernaut.ai", "customresourcedefinition/targetlocks.kubernaut.ai"),
        ("ns/Rollout.argoproj.io/x", "ns/rollout/x"),
        ("ClusterIssuer/x", "clusterissuer/x"),
        ("ingress.config.openshift.io/cluster", "ingress/cluster"),
        ("ns/node.example.com/x", "ns/node/x"),
    ],
)
def test_names_and_custom_kinds(raw: str, canonical: str) -> None:
    """Custom kinds are taken as written; a foreign group lifts the scope check, never the canonical form."""
    assert parse_target(raw).canonical == canonical


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", 'target "" is empty: write namespace/kind/name, or kind/name for a cluster-scoped kind'),
        (
            "web",
            "target \"web\" has 1 part, 2 or 3 separated by '/' are allowed: "
            "write namespace/kind/name, or kind/name for a cluster-scoped kind",
        ),
        (
            "a/b/c/d",
            "target \"a/b/c/d\" has 4 parts, 2 or 3 separated by '/' are allowed: "
            "write namespace/kind/name, or kind/name for a cluster-scoped kind",
        ),
        (
            "/deployment/web",
            'target "/deployment/web" has an empty part: '
            "write namespace/kind/name, or kind/name for a cluster-scoped kind",
        ),
        (
            "deploy/web",
            'target "deploy/web" has no namespace, but deployment is a namespaced kind: '
            "write <namespace>/deployment/<name>",
        ),
        (
            "prod/no/worker",
            'target "prod/no/worker" has a namespace, but node is a cluster-scoped kind: write node/<name>',
        ),
        (
            "Prod/pod/x",
            'target "Prod/pod/x" has the namespace "Prod", which is not a DNS label: '
            "use at most 63 lower-case letters, digits and '-', a letter or digit first and last",
        ),
        (
            "prod/2pod/x",
            'target "prod/2pod/x" has the kind "2pod", which is not a kind\'s name: '
            "use at most 63 letters and digits, a letter first",
        ),
        (
            "prod/pod./x",
            'target "prod/pod./x" has the API group "", which is not a DNS subdomain: '
            "write pod.apps for example, or leave the group out",
        ),
        (
            "prod/pod/Upper",
            'target "prod/pod/Upper" has the name "Upper", which no pod can have: '
            "use lower-case letters, digits, '-' and '.', a letter or digit first and last",
        ),
        (
            "prod/widget/a b",
            'target "prod/widget/a b" has the name "a b", which is not an object\'s name: '
            "use at most 253 letters, digits, '-', '.', '_' and ':', a letter or digit first and last",
        ),
        (
            "prod/deployment/web\n",
            'target "prod/deployment/web\\n" has the name "web\\n", which is not an object\'s name: '
            "use at most 253 letters, digits, '-', '.', '_' and ':', a letter or digit first and last",
        ),
    ],
)
def test_a_bad_target_names_value_rule_and_remedy(raw: str, message: str) -> None:
    """BR-WE-011."""
    with pytest.raises(TargetError) as error:
        parse_target(raw)
    assert str(error.value) == message


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(TargetError) as error:
        parse_target("x" * 5000)
    assert "5000 characters, at most 512" in str(error.value)
    assert len(str(error.value)) < 250


@given(namespace=st.one_of(st.none(), LABEL), kind=KIND, group=GROUP, name=NAME)
def test_canonical_form_is_idempotent(namespace: str | None, kind: str, group: str, name: str) -> None:
    """TH33: what is stored in a lock reads back as itself, unless it needs the group that it has lost."""
    raw = "/".join(filter(None, (namespace, kind + group, name)))
    try:
        canonical = parse_target(raw).canonical
    except TargetError:
        assume(False)
    try:
        assert parse_target(canonical).canonical == canonical
    except TargetError:
        assert group
    assert canonical.count("/") == raw.count("/")


@given(
    namespace=LABEL,
    name=LABEL,
    spelling=st.sampled_from(sorted(BUILTIN)),
    upper=st.sets(st.integers(0, 30)),
)
def test_every_spelling_of_a_builtin_kind_collides(namespace: str, name: str, spelling: str, upper: set[int]) -> None:
    """TH33: plural, short name and any mix of cases give the lock of the singular."""
    mixed = "".join(c.upper() if i in upper else c for i, c in enumerate(spelling))
    prefix = f"{namespace}/" if BUILTIN[spelling] else ""
    target = parse_target(f"{prefix}{mixed}/{name}")
    assert target.kind in BUILTIN
    assert (
        target.canonical == parse_target(f"{prefix}{target.kind}/{name}").canonical == f"{prefix}{target.kind}/{name}"
    )


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_a_target_error(raw: str) -> None:
    try:
        target = parse_target(raw)
    except TargetError:
        return
    assert re.match(PATTERN.replace("$", r"\Z"), raw), "the CRD's pattern must accept what the controller accepts"
    assert target.name
    assert target.kind == target.kind.lower()

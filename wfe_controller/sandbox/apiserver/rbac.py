"""Who may do what: the RBAC authorizer of a real API server, as a pure function of roles and bindings.

Neighbours: auth.py says who the user is, verbs turn a request into :class:`Attributes`, reviews.py answers access
reviews with :class:`Decision` and :meth:`Policy.rules_for`. Roles and bindings are the stored objects themselves (plain
dicts of rbac.authorization.k8s.io/v1). A Policy is a snapshot: whoever stores a role or a binding builds a new one.

The texts are those of kube-apiserver: operators read them, and kubectl prints them word by word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

RBAC_GROUP = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
SERVICE_ACCOUNTS = "system:serviceaccounts"

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class User:
    """Somebody the server knows, or :data:`ANONYMOUS`. ``groups`` holds the system groups too."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def known(cls, name: str, uid: str = "", groups: Sequence[str] = ()) -> User:
        """A user with a valid token: the group of everybody with one is added, once and last."""
        others = tuple(group for group in groups if group != AUTHENTICATED)
        return cls(name, uid, (*others, AUTHENTICATED))

    @classmethod
    def service_account(cls, namespace: str, name: str, uid: str = "") -> User:
        """The user that a token of this service account stands for."""
        groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}")
        return cls.known(f"system:serviceaccount:{namespace}:{name}", uid, groups)

    def to_json(self) -> Json:
        """UserInfo as TokenReview and SelfSubjectReview show it."""
        found: Json = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {key: list(values) for key, values in self.extra.items()}
        return found


ANONYMOUS = User("system:anonymous", groups=(UNAUTHENTICATED,))


@dataclass(frozen=True)
class Attributes:
    """One request to judge. ``path`` is set for everything that is not about a resource, and then only it counts."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    @property
    def about_resource(self) -> bool:
        return not self.path

    @property
    def combined(self) -> str:
        """``pods`` or ``pods/log``, as rules write it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Decision:
    """``reason`` is "" for system:masters and for a denial without broken bindings."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class _Grant:
    """A binding that applies to a user: its rules, or why they are not known."""

    source: str
    rules: Sequence[Json]
    error: str = ""


class Policy:
    """All roles and bindings of the server at one time."""

    def __init__(
        self,
        *,
        cluster_roles: Iterable[Json] = (),
        roles: Iterable[Json] = (),
        cluster_role_bindings: Iterable[Json] = (),
        role_bindings: Iterable[Json] = (),
    ) -> None:
        self._cluster_roles = {_name(role): role.get("rules") or [] for role in cluster_roles}
        self._roles = {(_namespace(role), _name(role)): role.get("rules") or [] for role in roles}
        self._cluster_bindings = sorted(cluster_role_bindings, key=_name)
        self._bindings: dict[str, list[Json]] = {}
        for binding in sorted(role_bindings, key=_name):
            self._bindings.setdefault(_namespace(binding), []).append(binding)
        self._known: dict[tuple[str, tuple[str, ...], str], list[_Grant]] = {}

    def authorize(self, user: User, attributes: Attributes) -> Decision:
        """Allowed by the first rule that matches; cluster-wide bindings are asked before those of the namespace."""
        if MASTERS in user.groups:
            return Decision(True)
        errors = []
        for grant in self._grants(user, attributes.namespace if attributes.about_resource else ""):
            if grant.error:
                errors.append(grant.error)
            elif any(rule_allows(rule, attributes) for rule in grant.rules):
                return Decision(True, f"RBAC: allowed by {grant.source}")
        return Decision(False, f"RBAC: {_aggregate(errors)}" if errors else "")

    def rules_for(self, user: User, namespace: str) -> tuple[list[Json], list[Json], str]:
        """What SelfSubjectRulesReview shows: resource rules, rules of other paths, and an evaluation error or ""."""
        resource_rules: list[Json] = []
        other_rules: list[Json] = []
        errors = []
        for grant in self._grants(user, namespace):
            if grant.error:
                errors.append(grant.error)
            for rule in grant.rules:
                if rule.get("resources"):
                    resource_rules.append(_picked(rule, "verbs", "apiGroups", "resources", "resourceNames"))
                if rule.get("nonResourceURLs"):
                    other_rules.append(_picked(rule, "verbs", "nonResourceURLs"))
        return resource_rules, other_rules, _aggregate(errors) if errors else ""

    def _grants(self, user: User, namespace: str) -> list[_Grant]:
        key = (user.name, user.groups, namespace)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = list(self._find(user, namespace))
        return found

    def _find(self, user: User, namespace: str) -> Iterator[_Grant]:
        for binding in self._cluster_bindings:
            subject = _applies(user, binding, "")
            if subject is not None:
                yield self._grant("ClusterRoleBinding", binding, subject, "")
        for binding in self._bindings.get(namespace, ()) if namespace else ():
            subject = _applies(user, binding, namespace)
            if subject is not None:
                yield self._grant("RoleBinding", binding, subject, namespace)

    def _grant(self, kind: str, binding: Json, subject: Json, namespace: str) -> _Grant:
        reference = binding.get("roleRef") or {}
        role_kind, role_name = reference.get("kind", ""), reference.get("name", "")
        place = f"{_name(binding)}/{namespace}" if namespace else _name(binding)
        source = f"{kind} {_quoted(place)} of {role_kind} {_quoted(role_name)} to {_described(subject, namespace)}"
        rules = self._roles.get((namespace, role_name)) if role_kind == "Role" else self._cluster_roles.get(role_name)
        if rules is None:
            return _Grant(source, (), f'{role_kind.lower()}.{RBAC_GROUP} "{role_name}" not found')
        return _Grant(source, rules)


def rule_allows(rule: Json, attributes: Attributes) -> bool:
    """Whether one PolicyRule covers the request: ``*`` is everything, ``*/status`` that subresource of everything."""
    if not _has(rule, "verbs", attributes.verb):
        return False
    if not attributes.about_resource:
        return any(_path_matches(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule, "apiGroups", attributes.group):
        return False
    resources = rule.get("resources") or ()
    if not (
        "*" in resources
        or attributes.combined in resources
        or (attributes.subresource and f"*/{attributes.subresource}" in resources)
    ):
        return False
    names = rule.get("resourceNames")
    return not names or attributes.name in names


def denial(user: User, attributes: Attributes, reason: str = "") -> str:
    """The text after ``... is forbidden:`` (or ``forbidden:`` for a path)."""
    if not attributes.about_resource:
        text = f"User {_quoted(user.name)} cannot {attributes.verb} path {_quoted(attributes.path)}"
    else:
        place = f"in the namespace {_quoted(attributes.namespace)}" if attributes.namespace else "at the cluster scope"
        text = (
            f"User {_quoted(user.name)} cannot {attributes.verb} resource {_quoted(attributes.combined)} "
            f"in API group {_quoted(attributes.group)} {place}"
        )
    # The real server writes the text so that a browser cannot take it for HTML; the reason is its own and goes as it is
    text = text.translate(_ESCAPES)
    return f"{text}: {reason}" if reason else text


def _has(rule: Json, key: str, value: str) -> bool:
    allowed = rule.get(key) or ()
    return "*" in allowed or value in allowed


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _applies(user: User, binding: Json, namespace: str) -> Json | None:
    """The first subject of the binding that is this user."""
    subject: Json
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "ServiceAccount":
            place = subject.get("namespace") or namespace
            if place and user.name == f"system:serviceaccount:{place}:{name}":
                return subject
        elif (kind == "User" and user.name == name) or (kind == "Group" and name in user.groups):
            return subject
    return None


def _described(subject: Json, namespace: str) -> str:
    name = subject.get("name", "")
    if subject.get("kind") == "ServiceAccount":
        name = f"{name}/{subject.get('namespace') or namespace}"
    return f"{subject.get('kind', '')} {_quoted(name)}"


def _aggregate(errors: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(errors))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"


def _picked(rule: Json, *keys: str) -> Json:
    return {key: list(rule[key]) for key in keys if rule.get(key)}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _name(obj: Json) -> str:
    name: str = obj["metadata"]["name"]
    return name


def _namespace(obj: Json) -> str:
    namespace: str = obj["metadata"].get("namespace", "")
    return namespace


# -- what every server starts with ------------------------------------------------------------------------------------

_REVIEWS = [
    {
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        "verbs": ["create"],
    },
    {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
]
_PUBLIC_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY_PATHS = [
    *("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez"),
    *("/openapi", "/openapi/*", "/readyz", "/version", "/version/"),
]
_BOOTSTRAP: Sequence[tuple[str, list[Json], Sequence[str]]] = (
    (
        "cluster-admin",
        [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
        [MASTERS],
    ),
    ("system:basic-user", _REVIEWS, [AUTHENTICATED]),
    ("system:discovery", [{"nonResourceURLs": _DISCOVERY_PATHS, "verbs": ["get"]}], [AUTHENTICATED]),
    (
        "system:public-info-viewer",
        [{"nonResourceURLs": _PUBLIC_PATHS, "verbs": ["get"]}],
        [AUTHENTICATED, UNAUTHENTICATED],
    ),
)


def bootstrap() -> list[Json]:
    """The ClusterRoles and ClusterRoleBindings that a server writes at its first start, as far as users need them."""
    metadata = {
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    objects: list[Json] = []
    for name, rules, groups in _BOOTSTRAP:
        objects.append(
            {
                "apiVersion": f"{RBAC_GROUP}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name, **metadata},
                "rules": rules,
            }
        )
        objects.append(
            {
                "apiVersion": f"{RBAC_GROUP}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name, **metadata},
                "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": RBAC_GROUP, "kind": "Group", "name": group} for group in groups],
            }
        )
    return json.loads(json.dumps(objects))  # type: ignore[no-any-return]  # a copy: nobody may edit the constants

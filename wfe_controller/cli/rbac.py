"""RBAC objects, made from the table of rights (app/rights): what is granted is what is asked for at start.

The controller gets a ClusterRole only for what is cluster-wide. With watched namespaces given it gets Roles only, and
goes without the two optional cluster-wide reads. Nothing here names Secrets or uses a wildcard (a test says so).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wfe_controller.api import names
from wfe_controller.app.rights import RIGHTS, Place, Right, Scope
from wfe_controller.kube.objects import LEASES, Json

ACCOUNT = names.COMPONENT
PART_OF = {"app.kubernetes.io/part-of": "kubernaut"}
LABELS = {**PART_OF, "app.kubernetes.io/name": names.COMPONENT}
AGGREGATE_TO_RUNNER = f"{names.GROUP}/aggregate-to-workflow-runner"
RBAC = "rbac.authorization.k8s.io"


def rules_for(place: Place, scope: Scope, rights: Iterable[Right] = RIGHTS) -> list[Json]:
    """PolicyRules of one place: rights on the same group with the same names and verbs share one rule."""
    verbs: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for right in rights:
        if right.place is place:
            resource = f"{right.resource.plural}/{right.subresource}" if right.subresource else right.resource.plural
            named = scope.object_names(right) if right.names else ()
            verbs.setdefault((right.resource.group, resource, named), []).append(right.verb)
    merged: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (group, resource, named), allowed in verbs.items():
        merged.setdefault((group, named, tuple(allowed)), []).append(resource)
    return [_rule(group, resources, allowed, named) for (group, named, allowed), resources in merged.items()]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], named: Sequence[str] = ()) -> Json:
    rule: Json = {"apiGroups": [group], "resources": list(resources)}
    if named:
        rule["resourceNames"] = list(named)
    rule["verbs"] = list(verbs)
    return rule


def _meta(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Json:
    meta: Json = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    return {**meta, "labels": labels or LABELS}


def _role(name: str, namespace: str, rules: list[Json], labels: dict[str, str] | None = None) -> Json:
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": _meta(name, namespace, labels), "rules": rules}


def _binding(name: str, namespace: str, home: str) -> Json:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": _meta(name, namespace),
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}],
    }


def _account(name: str, namespace: str, labels: dict[str, str] | None = None) -> Json:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name, namespace, labels)}


def controller(scope: Scope) -> list[Json]:
    """The controller's account with its Roles; ``scope.watched`` empty = every namespace, by a ClusterRole."""
    granted = [
        (f"{ACCOUNT}-home", scope.home, Place.HOME),
        (f"{ACCOUNT}-execution", scope.execution, Place.EXECUTION),
    ]
    if scope.watched:
        granted += [(ACCOUNT, namespace, Place.WATCHED) for namespace in scope.watched]
    else:
        granted += [(ACCOUNT, "", Place.WATCHED), (f"{ACCOUNT}-cluster", "", Place.CLUSTER)]
    out = [_account(ACCOUNT, scope.home)]
    for name, namespace, place in granted:
        out += [_role(name, namespace, rules_for(place, scope)), _binding(name, namespace, scope.home)]
    return out


_LOOK = ["get", "list"]
_READ = [*_LOOK, "watch"]
_CHANGE = [*_READ, "patch"]


def runner(scope: Scope) -> list[Json]:
    """The account that runs have, with the rights an administrator may bind to it, namespace by namespace.

    Nothing is bound here: which namespaces workflows may change is not ours to decide. More rights join by the label.
    """
    labels = {**PART_OF, "app.kubernetes.io/name": names.RUNNER_SERVICE_ACCOUNT}
    workloads = [
        _rule("apps", ["deployments", "statefulsets", "daemonsets"], _CHANGE),
        _rule("apps", ["replicasets"], _READ),
        _rule("", ["pods", "events"], _READ),
        _rule("", ["pods/log"], ["get"]),
        _rule("batch", ["jobs", "cronjobs"], _READ),
        _rule("autoscaling", ["horizontalpodautoscalers"], _CHANGE),
    ]
    aggregate: Json = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": _meta(names.RUNNER_SERVICE_ACCOUNT, labels=labels),
        # No "rules" key: the cluster fills it in, and server-side apply would fight over it.
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {AGGREGATE_TO_RUNNER: "true"}}]},
    }
    return [
        _account(names.RUNNER_SERVICE_ACCOUNT, scope.execution, labels),
        aggregate,
        _role(f"{names.RUNNER_SERVICE_ACCOUNT}-workloads", "", workloads, {**labels, AGGREGATE_TO_RUNNER: "true"}),
    ]


def users() -> list[Json]:
    """Roles for people and remediation systems, to be bound by an administrator.

    Requesting is not part of the built-in edit role: whoever creates a WorkflowExecution acts with the rights of the
    runner (TH44). Operators may read what ``kubectl wfe explain`` reads; viewers have the rest of that from the
    built-in role that theirs is a part of.
    """
    both = [names.WORKFLOWEXECUTIONS.plural, names.TARGETLOCKS.plural]
    to_view = {**LABELS, f"{RBAC}/aggregate-to-view": "true"}
    lease = _rule(LEASES.group, [LEASES.plural], _LOOK, [names.LEASE_NAME])
    explained = [
        lease,
        _rule(names.PIPELINERUNS.group, [names.PIPELINERUNS.plural, names.TASKRUNS.plural], _LOOK),
        _rule("", ["pods", "events"], _LOOK),
        _rule("", ["serviceaccounts"], ["get"]),
        _rule("apps", ["deployments"], ["get"]),
    ]
    return [
        _role("kubernaut-workflowexecution-viewer", "", [_rule(names.GROUP, both, _READ), lease], to_view),
        _role(
            "kubernaut-workflowexecution-requester",
            "",
            [_rule(names.GROUP, [names.WORKFLOWEXECUTIONS.plural], [*_READ, "create", "delete"])],
        ),
        _role("kubernaut-workflowexecution-operator", "", [_rule(names.GROUP, both, _CHANGE), *explained]),
    ]


def rbac(scope: Scope) -> list[Json]:
    """Everything above."""
    return [*controller(scope), *runner(scope), *users()]

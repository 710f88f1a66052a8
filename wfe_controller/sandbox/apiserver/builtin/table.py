"""Which built-in kinds there are: the committed discovery data, joined with what each kind does."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

from wfe_controller.sandbox.apiserver import crds, definitions
from wfe_controller.sandbox.apiserver.builtin import core, policies, workloads
from wfe_controller.sandbox.apiserver.resources import ResourceInfo, Strategy

Json = dict[str, Any]

_WITH_GENERATION = frozenset(
    {"pods", "deployments", "replicasets", "jobs", "poddisruptionbudgets", "networkpolicies"}
    | {"validatingadmissionpolicies", "validatingadmissionpolicybindings", "customresourcedefinitions"}
)


def resources(now: Callable[[], datetime], rng: random.Random) -> list[ResourceInfo]:
    """Every built-in resource, in the order of the data. ``now`` and ``rng`` are for what a kind makes up itself."""
    strategies = _strategies(rng)
    del now
    return [_info(entry, strategies.get((entry["group"], entry["plural"]), Strategy())) for entry in _entries()]


def _entries() -> list[Json]:
    found: list[Json] = definitions.data()["resources"]
    return found


def _info(entry: Json, strategy: Strategy) -> ResourceInfo:
    shared = entry["plural"] == "events"
    return ResourceInfo(
        group=entry["group"],
        version=entry["version"],
        plural=entry["plural"],
        kind=entry["kind"],
        namespaced=entry["namespaced"],
        singular=entry["singular"],
        short_names=tuple(entry.get("shortNames", ())),
        categories=tuple(entry.get("categories", ())),
        verbs=frozenset(entry["verbs"]),
        subresources=frozenset(entry.get("subresources", {})),
        schema=definitions.schema(entry["definition"]),
        selectable_fields=tuple(strategy.fields({})),
        generation=entry["plural"] in _WITH_GENERATION,
        strategy=strategy,
        storage="events" if shared else "",
    )


def _strategies(rng: random.Random) -> dict[tuple[str, str], Strategy]:
    rbac = policies.RBAC
    admission = "admissionregistration.k8s.io"
    return {
        ("", "namespaces"): core.NamespaceStrategy(),
        ("", "pods"): workloads.PodStrategy(),
        ("", "services"): core.ServiceStrategy(rng),
        ("", "configmaps"): core.ConfigMapStrategy(),
        ("", "secrets"): core.SecretStrategy(),
        ("", "serviceaccounts"): core.ServiceAccountStrategy(),
        ("", "events"): core.EventStrategy(),
        ("", "nodes"): core.NodeStrategy(),
        ("apps", "deployments"): workloads.DeploymentStrategy(),
        ("apps", "replicasets"): workloads.ReplicaSetStrategy(),
        ("batch", "jobs"): workloads.JobStrategy(),
        ("coordination.k8s.io", "leases"): core.LeaseStrategy(),
        ("events.k8s.io", "events"): core.NewEventStrategy(),
        (rbac, "roles"): policies.RoleStrategy(cluster=False),
        (rbac, "clusterroles"): policies.RoleStrategy(cluster=True),
        (rbac, "rolebindings"): policies.BindingStrategy(cluster=False),
        (rbac, "clusterrolebindings"): policies.BindingStrategy(cluster=True),
        ("policy", "poddisruptionbudgets"): policies.DisruptionBudgetStrategy(),
        ("networking.k8s.io", "networkpolicies"): policies.NetworkPolicyStrategy(),
        (admission, "validatingadmissionpolicies"): policies.AdmissionPolicyStrategy(),
        (admission, "validatingadmissionpolicybindings"): policies.PolicyBindingStrategy(),
        (crds.GROUP, "customresourcedefinitions"): crds.CrdStrategy(),
    }

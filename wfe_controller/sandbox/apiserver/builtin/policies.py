"""RBAC, PodDisruptionBudgets, NetworkPolicies and admission policies beyond the common rules."""

from __future__ import annotations

import json
import re
from typing import Any

from wfe_controller.sandbox.apiserver.builtin.checks import invalid, not_negative, required, supported
from wfe_controller.sandbox.apiserver.resources import Strategy
from wfe_controller.sandbox.apiserver.status import Cause, cause

Json = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


class RoleStrategy(Strategy):
    create_on_update = True

    def __init__(self, *, cluster: bool) -> None:
        self._cluster = cluster

    def default(self, obj: Json) -> None:
        obj.setdefault("rules", None)

    def validate_create(self, obj: Json) -> list[Cause]:
        found: list[Cause] = []
        for index, rule in enumerate(obj.get("rules") or []):
            found += self._rule(rule, f"rules[{index}]")
        return found

    def _rule(self, rule: Json, path: str) -> list[Cause]:
        if not rule.get("verbs"):
            return [required(f"{path}.verbs", "verbs must contain at least one value")]
        urls = rule.get("nonResourceURLs")
        if urls:
            where = f"{path}.nonResourceURLs"
            if not self._cluster:
                return [invalid(where, urls, "namespaced rules cannot apply to non-resource URLs")]
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                return [invalid(where, urls, "rules cannot apply to both regular resources and non-resource URLs")]
            return []
        found: list[Cause] = []
        if not rule.get("apiGroups"):
            found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj)


class BindingStrategy(Strategy):
    create_on_update = True

    def __init__(self, *, cluster: bool) -> None:
        self._kinds = ("ClusterRole",) if cluster else ("Role", "ClusterRole")
        self._cluster = cluster

    def default(self, obj: Json) -> None:
        reference = obj.setdefault("roleRef", {})
        if not reference.get("apiGroup"):
            reference["apiGroup"] = RBAC
        for subject in obj.get("subjects") or []:
            if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
                subject["apiGroup"] = RBAC

    def validate_create(self, obj: Json) -> list[Cause]:
        reference = obj["roleRef"]
        found = supported(reference.get("apiGroup"), (RBAC,), "roleRef.apiGroup")
        kind = reference.get("kind") or ""
        if kind not in self._kinds:
            listed = ", ".join(f'"{one}"' for one in self._kinds)
            text = f"Unsupported value: {json.dumps(kind)}: supported values: {listed}"
            found.append(cause("NotSupported", "roleRef.kind", text))
        if not reference.get("name"):
            found.append(required("roleRef.name"))
        for index, subject in enumerate(obj.get("subjects") or []):
            found += self._subject(subject, f"subjects[{index}]")
        return found

    def _subject(self, subject: Json, path: str) -> list[Cause]:
        found: list[Cause] = []
        if not subject.get("name"):
            found.append(required(f"{path}.name"))
        kind = subject.get("kind") or ""
        if kind not in ("ServiceAccount", "User", "Group"):
            text = f'Unsupported value: {json.dumps(kind)}: supported values: "ServiceAccount", "User", "Group"'
            found.append(cause("NotSupported", f"{path}.kind", text))
        elif kind == "ServiceAccount" and self._cluster and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        found = self.validate_create(obj)
        new, before = obj["roleRef"], old["roleRef"]
        if new != before:
            named = {go: new.get(key) for go, key in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))}
            text = f"Invalid value: {json.dumps(named, separators=(',', ':'))}: cannot change roleRef"
            found.append(cause("Invalid", "roleRef", text))
        return found


class DisruptionBudgetStrategy(Strategy):
    unconditional_update = False

    def default(self, obj: Json) -> None:
        obj.setdefault("spec", {})

    def prepare_create(self, obj: Json) -> None:
        names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        obj["status"] = dict.fromkeys(names, 0)

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found: list[Cause] = []
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if least is not None and most is not None:
            shown = {
                "MinAvailable": least,
                "Selector": spec.get("selector"),
                "MaxUnavailable": most,
                "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
            }
            text = json.dumps(shown, separators=(",", ":"))
            why = "minAvailable and maxUnavailable cannot be both set"
            found.append(cause("Invalid", "spec", f"Invalid value: {text}: {why}"))
        for name, value in (("minAvailable", least), ("maxUnavailable", most)):
            if isinstance(value, int):
                found += not_negative(value, f"spec.{name}")
            elif isinstance(value, str) and not re.fullmatch("[0-9]+%", value):
                found.append(invalid(f"spec.{name}", value, _PERCENT_TEXT))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj)


class NetworkPolicyStrategy(Strategy):
    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if "policyTypes" not in spec:
            spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
        for rule in (*(spec.get("ingress") or []), *(spec.get("egress") or [])):
            for port in rule.get("ports") or []:
                port.setdefault("protocol", "TCP")


class AdmissionPolicyStrategy(Strategy):
    """ValidatingAdmissionPolicies: stored, never evaluated."""

    unconditional_update = False

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        constraints = spec.get("matchConstraints")
        if constraints is not None:
            constraints.setdefault("matchPolicy", "Equivalent")
            constraints.setdefault("namespaceSelector", {})
            constraints.setdefault("objectSelector", {})
            for name in ("resourceRules", "excludeResourceRules"):
                for rule in constraints.get(name) or []:
                    rule.setdefault("scope", "*")

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {}


class PolicyBindingStrategy(Strategy):
    unconditional_update = False

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = [] if spec.get("policyName") else [required("spec.policyName")]
        if not spec.get("validationActions"):
            found.append(required("spec.validationActions"))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj)

"""Pods, Deployments, ReplicaSets and Jobs beyond the common rules."""

from __future__ import annotations

import json
from typing import Any

from wfe_controller.sandbox.apiserver.builtin.checks import (
    immutable,
    invalid,
    not_negative,
    required,
    shown,
    supported,
)
from wfe_controller.sandbox.apiserver.builtin.podspec import (
    default_pod_spec,
    default_requests,
    qos_class,
    validate_pod_spec,
    validate_template,
)
from wfe_controller.sandbox.apiserver.resources import Strategy
from wfe_controller.sandbox.apiserver.selectors import parse_selector
from wfe_controller.sandbox.apiserver.status import Cause, cause

Json = dict[str, Any]

_MUTABLE_POD = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
_POD_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_TERMINAL = ("Succeeded", "Failed")
_NO_MATCH = "`selector` does not match template `labels`"


class PodStrategy(Strategy):
    returns_deleted = True
    graceful = True

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)
        default_requests(spec)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}

    def prepare_status(self, obj: Json, old: Json) -> None:
        status = obj.setdefault("status", {})
        status.setdefault("phase", "Pending")
        status["qosClass"] = (old.get("status") or {}).get("qosClass") or qos_class(obj["spec"])

    def validate_create(self, obj: Json) -> list[Cause]:
        return validate_pod_spec(obj["spec"], "spec")

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        new, before = obj["spec"], old["spec"]
        for field in ("initContainers", "containers"):
            if len(new.get(field) or []) != len(before.get(field) or []):
                text = "Forbidden: pod updates may not add or remove containers"
                return [cause("Forbidden", f"spec.{field}", text)]
        if _fixed(new) != _fixed(before):
            return [cause("Forbidden", "spec", f"Forbidden: {_POD_UPDATE}\n")]
        return validate_pod_spec(new, "spec")

    def grace(self, obj: Json, asked: int | None) -> int:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in _TERMINAL:
            return 0
        seconds = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
        return int(max(seconds, 0))

    def fields(self, obj: Json) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName") or "",
            "spec.restartPolicy": spec.get("restartPolicy") or "",
            "spec.schedulerName": spec.get("schedulerName") or "",
            "spec.serviceAccountName": spec.get("serviceAccountName") or "",
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase") or "",
            "status.podIP": status.get("podIP") or "",
            "status.nominatedNodeName": status.get("nominatedNodeName") or "",
        }


def _fixed(spec: Json) -> Json:
    """A pod's spec without what an update may change."""
    kept = {key: value for key, value in spec.items() if key not in _MUTABLE_POD}
    for field in ("initContainers", "containers"):
        if field in kept:
            kept[field] = [{k: v for k, v in one.items() if k != "image"} for one in kept[field]]
    return kept


class _Templated(Strategy):
    """A kind with a selector and a pod template."""

    kind_name = ""

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))

    def _selector(self, spec: Json) -> list[Cause]:
        selector = spec.get("selector")
        if selector is None:
            return [required("spec.selector")]
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            return [invalid("spec.selector", selector, f"empty selector is invalid for {self.kind_name}")]
        return []

    def _match(self, spec: Json) -> list[Cause]:
        selector = spec.get("selector")
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if selector is not None and parse_selector(selector)(labels or {}):
            return []
        return [invalid("spec.template.metadata.labels", labels, _NO_MATCH)]

    def _template(self, spec: Json) -> list[Cause]:
        policy = spec["template"]["spec"]["restartPolicy"]
        found = validate_template(spec["template"], "spec.template")
        if policy in ("OnFailure", "Never"):
            found += supported(policy, ("Always",), "spec.template.spec.restartPolicy")
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        found = self.validate_create(obj)
        if obj["spec"].get("selector") != old["spec"].get("selector"):
            found.append(immutable("spec.selector", obj["spec"].get("selector")))
        return found

    def _counts(self, obj: Json, counters: tuple[str, ...]) -> list[Cause]:
        status = obj.get("status") or {}
        replicas = status.get("replicas") or 0
        found = not_negative(replicas, "status.replicas")
        for name in counters:
            value = status.get(name) or 0
            found += not_negative(value, f"status.{name}")
            if value > replicas:
                found.append(invalid(f"status.{name}", value, "cannot be greater than status.replicas"))
        return found


class DeploymentStrategy(_Templated):
    kind_name = "deployment"

    def default(self, obj: Json) -> None:
        super().default(obj)
        spec = obj["spec"]
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {}

    def prepare_update(self, obj: Json, old: Json) -> None:
        changed = obj["spec"] != old["spec"] or obj["metadata"].get("annotations") != old["metadata"].get("annotations")
        obj["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + (1 if changed else 0)

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found = not_negative(spec["replicas"], "spec.replicas") + self._selector(spec)
        if not found or spec.get("selector") is None:
            found += self._match(spec)
        found += self._template(spec)
        kind = spec["strategy"]["type"]
        if kind not in ("Recreate", "RollingUpdate"):
            value = f'{{"Type":{shown(kind)},"RollingUpdate":null}}'
            text = f'Unsupported value: {value}: supported values: "Recreate", "RollingUpdate"'
            found.append(cause("NotSupported", "spec.strategy", text))
        found += not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        found += not_negative(spec["revisionHistoryLimit"], "spec.revisionHistoryLimit")
        return found

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        return self._counts(obj, ("updatedReplicas", "readyReplicas", "availableReplicas"))


class ReplicaSetStrategy(_Templated):
    kind_name = "deployment"  # the real server says so, too

    def default(self, obj: Json) -> None:
        super().default(obj)
        obj["spec"].setdefault("replicas", 1)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"replicas": 0}

    def prepare_status(self, obj: Json, old: Json) -> None:
        obj.setdefault("status", {}).setdefault("replicas", 0)

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found = not_negative(spec["replicas"], "spec.replicas") + self._selector(spec)
        if not found:
            found += self._match(spec)
        return found + self._template(spec)

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        return self._counts(obj, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"))

    def fields(self, obj: Json) -> dict[str, str]:
        return {}


_UID_LABEL = "batch.kubernetes.io/controller-uid"


class JobStrategy(_Templated):
    kind_name = "job"
    returns_deleted = True
    orphans_by_default = True

    def default(self, obj: Json) -> None:
        super().default(obj)
        spec = obj["spec"]
        if "completions" not in spec and "parallelism" not in spec:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        spec.setdefault("backoffLimit", 6)
        spec.setdefault("completionMode", "NonIndexed")
        spec.setdefault("suspend", False)
        spec.setdefault("manualSelector", False)
        spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
        labels = (spec["template"]["metadata"]).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {}
        spec, metadata = obj["spec"], obj["metadata"]
        if spec["manualSelector"]:
            return
        uid, name = metadata["uid"], metadata.get("name") or ""
        owned = {_UID_LABEL: uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name}
        template = spec["template"]["metadata"]
        inherited = metadata.get("labels") or {}
        template["labels"] = {**(template.get("labels") or {}), **owned}
        metadata["labels"] = {**inherited, **owned}
        spec.setdefault("selector", {}).setdefault("matchLabels", {})[_UID_LABEL] = uid

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found: list[Cause] = []
        if not spec["manualSelector"] and (spec.get("selector") or {}).get("matchLabels", {}).keys() != {_UID_LABEL}:
            found.append(invalid("spec.selector", spec.get("selector"), "`selector` not auto-generated"))
            if not parse_selector(spec.get("selector"))((spec["template"].get("metadata") or {}).get("labels") or {}):
                found += self._match(spec)
        for field in (
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
        ):
            found += not_negative(spec.get(field), f"spec.{field}")
        found += supported(spec["completionMode"], ("NonIndexed", "Indexed"), "spec.completionMode")
        found += validate_template(spec["template"], "spec.template")
        if spec["template"]["spec"]["restartPolicy"] not in ("OnFailure", "Never"):
            policy = spec["template"]["spec"]["restartPolicy"]
            where = "spec.template.spec.restartPolicy"
            if policy == "Always":
                found.append(required(where, 'valid values: "OnFailure", "Never"'))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        found = super().validate_update(obj, old)
        new, before = obj["spec"], old["spec"]
        if new.get("completions") != before.get("completions"):
            found.append(immutable("spec.completions", new.get("completions")))
        if new["template"] != before["template"]:
            # As Go prints its own form of a template, which has the metadata inline.
            shape = {**(new["template"].get("metadata") or {}), "Spec": new["template"].get("spec")}
            text = json.dumps(shape, separators=(",", ":"), ensure_ascii=False)
            found.append(cause("Invalid", "spec.template", f"Invalid value: {text}: field is immutable"))
        return found

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        status = obj.get("status") or {}
        true = {one["type"] for one in status.get("conditions") or [] if one.get("status") == "True"}
        found: list[Cause] = []
        if "Complete" in true and not status.get("completionTime"):
            found.append(required("status.completionTime", "completionTime is required for Complete jobs"))
        for end, before in (("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")):
            if end in true and before not in true:
                shown_before = f"{before}=true"
                text = f"Invalid value: cannot set {end}=True condition without the {shown_before} condition"
                found.append(cause("Invalid", "status.conditions", text))
        if true & {"Complete", "Failed"} and not status.get("startTime"):
            found.append(required("status.startTime", "startTime is required for finished job"))
        return found

    def fields(self, obj: Json) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded") or 0)}

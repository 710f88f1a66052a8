"""Namespaces, Services, ConfigMaps, Secrets, ServiceAccounts, Events, Nodes and Leases beyond the common rules."""

from __future__ import annotations

import base64
import random
import re
from typing import Any

from wfe_controller.sandbox.apiserver.builtin.checks import (
    between,
    immutable,
    invalid,
    not_negative,
    required,
    supported,
)
from wfe_controller.sandbox.apiserver.names import qualified_name
from wfe_controller.sandbox.apiserver.resources import Strategy
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote

Json = dict[str, Any]

_MAX_DATA = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_FROZEN = "Forbidden: field is immutable when `immutable` is set"


class NamespaceStrategy(Strategy):
    returns_deleted = True

    def default(self, obj: Json) -> None:
        name = obj["metadata"].get("name")
        if name:
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"phase": "Active"}
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        obj["spec"] = {"finalizers": [*finalizers, *(["kubernetes"] if "kubernetes" not in finalizers else [])]}

    def prepare_update(self, obj: Json, old: Json) -> None:
        obj["spec"] = old.get("spec") or {}

    def validate_status(self, obj: Json, old: Json) -> list[Cause]:
        phase = (obj.get("status") or {}).get("phase")
        deleting = "deletionTimestamp" in obj["metadata"]
        if not deleting and phase != "Active":
            return [invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
        if deleting and phase != "Terminating":
            return [invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]
        return []

    def may_end(self, obj: Json) -> bool:
        return not (obj.get("spec") or {}).get("finalizers")

    def mark_deleting(self, obj: Json) -> None:
        obj.setdefault("status", {})["phase"] = "Terminating"

    def fields(self, obj: Json) -> dict[str, str]:
        return {"status.phase": (obj.get("status") or {}).get("phase") or ""}


def _keys(data: Json, field: str) -> list[Cause]:
    found: list[Cause] = []
    for key in data:
        reasons = ["must be no more than 253 characters"] if len(key) > 253 else []
        if not _KEY.fullmatch(key):
            reasons.append(_KEY_TEXT)
        if key in (".", ".."):
            reasons.append(f"must not be '{key}'")
        elif key.startswith(".."):
            reasons.append("must not start with '..'")
        found += [invalid(f"{field}[{key}]", key, why) for why in reasons]
    return found


def _too_long(*sizes: int, field: str) -> list[Cause]:
    if sum(sizes) <= _MAX_DATA:
        return []
    return [cause("TooLong", field, f"Too long: may not be more than {_MAX_DATA} bytes")]


def _frozen(obj: Json, old: Json, fields: tuple[str, ...]) -> list[Cause]:
    if not old.get("immutable"):
        return []
    found = [] if obj.get("immutable") else [cause("Forbidden", "immutable", _FROZEN)]
    found += [cause("Forbidden", name, _FROZEN) for name in fields if obj.get(name) != old.get(name)]
    return found


class ConfigMapStrategy(Strategy):
    def validate_create(self, obj: Json) -> list[Cause]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        found = _keys(data, "data")
        found += [
            invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary
        ]
        found += _keys(binary, "binaryData")
        sizes = [len(value.encode()) for value in data.values()] + [len(value) * 3 // 4 for value in binary.values()]
        return found + _too_long(*sizes, field="[]")

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj) + _frozen(obj, old, ("data", "binaryData"))


_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


class SecretStrategy(Strategy):
    def default(self, obj: Json) -> None:
        obj.setdefault("type", "Opaque")
        written = obj.pop("stringData", None)
        if written:
            data = obj.setdefault("data", {})
            data.update({key: base64.b64encode(value.encode()).decode() for key, value in written.items()})

    def validate_create(self, obj: Json) -> list[Cause]:
        data, kind = obj.get("data") or {}, obj["type"]
        found = _keys(data, "data")
        found += _too_long(*(len(value) * 3 // 4 for value in data.values()), field="data")
        found += [required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
        if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
            found += [required("data[username]"), required("data[password]")]
        account = "kubernetes.io/service-account.name"
        named = (obj["metadata"].get("annotations") or {}).get(account)
        if kind == "kubernetes.io/service-account-token" and not named:
            found.append(required(f"metadata.annotations[{account}]"))
        return found

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        found = [] if obj["type"] == old["type"] else [immutable("type", obj["type"])]
        return found + self.validate_create(obj) + _frozen(obj, old, ("data",))

    def fields(self, obj: Json) -> dict[str, str]:
        return {"type": obj.get("type") or ""}


class ServiceAccountStrategy(Strategy):
    returns_deleted = True


class NodeStrategy(Strategy):
    keeps_status = True

    def default(self, obj: Json) -> None:
        status = obj.get("status") or {}
        if "capacity" in status:
            status.setdefault("allocatable", dict(status["capacity"]))

    def prepare_create(self, obj: Json) -> None:
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        taints = obj.setdefault("spec", {}).setdefault("taints", [])
        if taint not in taints:
            taints.append(taint)

    def fields(self, obj: Json) -> dict[str, str]:
        return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}


class ServiceStrategy(Strategy):
    """Addresses are made up from ``rng``: nothing answers there."""

    create_on_update = True
    returns_deleted = True

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port", 0))
        if spec["type"] != "ExternalName":
            spec.setdefault("internalTrafficPolicy", "Cluster")
        obj.setdefault("status", {}).setdefault("loadBalancer", {})

    def prepare_create(self, obj: Json) -> None:
        obj["status"] = {"loadBalancer": {}}
        spec = obj["spec"]
        if spec["type"] == "ExternalName":
            return
        address = spec.setdefault("clusterIP", f"10.0.0.{self._rng.randrange(2, 255)}")
        spec.setdefault("clusterIPs", [address])
        # A headless service without a selector may have endpoints of any family.
        any_family = address == "None" and not spec.get("selector")
        spec.setdefault("ipFamilies", ["IPv4", "IPv6"] if any_family else ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "RequireDualStack" if any_family else "SingleStack")

    def prepare_update(self, obj: Json, old: Json) -> None:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in old["spec"]:
                obj["spec"].setdefault(name, old["spec"][name])

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found: list[Cause] = []
        ports = spec.get("ports") or []
        if spec["type"] == "ExternalName":
            return [] if spec.get("externalName") else [required("spec.externalName")]
        if not ports and spec.get("clusterIP") != "None":
            found.append(required("spec.ports"))
        for index, port in enumerate(ports):
            where = f"spec.ports[{index}]"
            if len(ports) > 1 and not port.get("name"):
                found.append(required(f"{where}.name"))
            found += between(port.get("port", 0), 1, 65535, f"{where}.port")
            if isinstance(port["targetPort"], int):
                found += between(port["targetPort"], 1, 65535, f"{where}.targetPort")
        kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
        return found + supported(spec["type"], kinds, "spec.type")

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        found: list[Cause] = []
        if obj["spec"].get("clusterIPs") != old["spec"].get("clusterIPs"):
            found.append(invalid("spec.clusterIPs[0]", obj["spec"].get("clusterIPs"), "may not change once set"))
        return found + self.validate_create(obj)

    def fields(self, obj: Json) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP") or "", "spec.type": spec.get("type") or ""}


class LeaseStrategy(Strategy):
    create_on_update = True
    unconditional_update = False

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        for name in ("strategy", "preferredHolder"):  # of a feature that is off
            spec.pop(name, None)

    def validate_create(self, obj: Json) -> list[Cause]:
        spec = obj["spec"]
        found: list[Cause] = []
        seconds = spec.get("leaseDurationSeconds")
        if seconds is not None and seconds <= 0:
            found.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
        return found + not_negative(spec.get("leaseTransitions"), "spec.leaseTransitions")

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj)


# core/v1 -> events.k8s.io/v1; what is not named here has one name in both.
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_FIXED_IN_NEW_EVENTS = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reportingComponent",
    "reportingInstance",
    "action",
    "related",
    "type",
)


class EventStrategy(Strategy):
    """core/v1 Events, which are also how both versions are stored."""

    create_on_update = True

    def default(self, obj: Json) -> None:
        for name in ("eventTime", "firstTimestamp", "lastTimestamp"):
            obj.setdefault(name, None)
        for name in ("reportingComponent", "reportingInstance"):
            obj.setdefault(name, "")
        obj.setdefault("source", {})

    def validate_create(self, obj: Json) -> list[Cause]:
        return _event_place(obj, "involvedObject") + (_new_event(obj) if obj.get("eventTime") else [])

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        return self.validate_create(obj)

    def fields(self, obj: Json) -> dict[str, str]:
        # Under the names of both versions: one store, whoever wrote.
        involved = obj.get("involvedObject") or {}
        names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        found = {f"{field}.{name}": involved.get(name) or "" for name in names for field in _ABOUT}
        source = (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
        return found | {
            "reason": obj.get("reason") or "",
            "reportingComponent": obj.get("reportingComponent") or "",
            "reportingController": obj.get("reportingComponent") or "",
            "source": source,
            "type": obj.get("type") or "",
        }


_ABOUT = ("involvedObject", "regarding")


class NewEventStrategy(Strategy):
    """events.k8s.io/v1 Events."""

    create_on_update = True

    def default(self, obj: Json) -> None:
        for name in ("eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
            obj.setdefault(name, None)
        obj.setdefault("deprecatedSource", {})

    def to_storage(self, obj: Json) -> Json:
        back = {new: old for old, new in _EVENT_NAMES.items()}
        stored = {back.get(name, name): value for name, value in obj.items()}
        stored["apiVersion"] = "v1"
        for name in ("reportingComponent", "reportingInstance"):
            stored.setdefault(name, "")
        return stored

    def from_storage(self, obj: Json) -> Json:
        found = {_EVENT_NAMES.get(name, name): value for name, value in obj.items()}
        found["apiVersion"] = "events.k8s.io/v1"
        for name in ("reportingController", "reportingInstance"):
            if not found.get(name):
                found.pop(name, None)
        return found

    def validate_create(self, obj: Json) -> list[Cause]:
        found = _event_place(obj, "regarding")
        if not obj.get("eventTime"):
            found.append(required("eventTime"))
            if obj.get("type") not in ("Normal", "Warning"):
                found.append(_odd("type", f"has invalid value: {obj.get('type') or ''}"))
            return found
        return found + _new_event(self.to_storage(obj), controller="reportingController")

    def validate_update(self, obj: Json, old: Json) -> list[Cause]:
        new, before = self.to_storage(obj), self.to_storage(old)
        found = [immutable(name, new.get(name)) for name in _FIXED_IN_NEW_EVENTS if new.get(name) != before.get(name)]
        return found if found else []

    def fields(self, obj: Json) -> dict[str, str]:
        return EventStrategy().fields(self.to_storage(obj))


def _event_place(obj: Json, field: str) -> list[Cause]:
    about = (obj.get(field) or {}).get("namespace") or ""
    here = obj["metadata"].get("namespace") or ""
    if about == here or (not about and here in ("default", "kube-system")):
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _odd(field: str, why: str) -> Cause:
    return cause("Invalid", field, f'Invalid value: "": {why}')


def _new_event(obj: Json, controller: str = "reportingComponent") -> list[Cause]:
    found: list[Cause] = []
    name = obj.get("reportingComponent") or ""
    if not name:
        found.append(required(controller))
    found += [cause("Invalid", controller, f"Invalid value: {quote(name)}: {why}") for why in qualified_name(name)]
    if not obj.get("reportingInstance"):
        found.append(required("reportingInstance"))
    elif len(obj["reportingInstance"]) > 128:
        found.append(_odd("reportingInstance", "can have at most 128 characters"))
    for field in ("action", "reason"):
        if not obj.get(field):
            found.append(required(field))
        elif len(obj[field]) > 128:
            found.append(_odd(field, "can have at most 128 characters"))
    if len(obj.get("message") or "") > 1024:
        found.append(_odd("message", "can have at most 1024 characters"))
    if controller == "reportingController" and obj.get("type") not in ("Normal", "Warning"):
        found.append(_odd("type", f"has invalid value: {obj.get('type') or ''}"))
    series = obj.get("series")
    if series is not None and (series.get("count") or 0) < 2:
        found.append(_odd("series.count", "should be at least 2"))
    return found

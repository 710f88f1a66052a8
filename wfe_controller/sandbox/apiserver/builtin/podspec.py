"""What the API server fills into pod specs, and what it refuses in them; for pods and for pod templates.

As far as clients of this project use pods: containers, images, ports, environment, mounts, probes, resources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from wfe_controller.sandbox.apiserver.builtin.checks import required, supported
from wfe_controller.sandbox.apiserver.names import label, qualified_name, subdomain
from wfe_controller.sandbox.apiserver.quantities import parse_quantity
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote

Json = dict[str, Any]

_MODE = 420
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_ENV_NAME = re.compile(r"[ -<>-~]+")
_MAX_INT32 = 2**31 - 1


def containers(spec: Json) -> Iterator[tuple[str, Json]]:
    """All containers with the field each list stands in."""
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            yield f"{field}[{index}]", container


def default_pod_spec(spec: Json) -> None:
    """Defaults that pods and templates share."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for _, container in containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or []:
        _default_volume(volume)


def default_requests(spec: Json) -> None:
    """Limits are requests where nothing was requested; only of pods."""
    for _, container in containers(spec):
        resources = container.get("resources") or {}
        for name, limit in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)


def _default_container(container: Json) -> None:
    image = str(container.get("image") or "")
    if "imagePullPolicy" not in container:
        tag = image.rpartition("/")[2].partition(":")[2]
        latest = "@" not in image and tag in ("", "latest")
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for entry in container.get("env") or []:
        reference = (entry.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            for key, value in _PROBE.items():
                container[name].setdefault(key, value)
            _default_http(container[name].get("httpGet"))
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_http(hook.get("httpGet"))


def _default_http(action: Json | None) -> None:
    if action is not None:
        action.setdefault("path", "/")
        action.setdefault("scheme", "HTTP")


def _default_volume(volume: Json) -> None:
    if len(volume) <= 1:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if name in volume:
            volume[name].setdefault("defaultMode", _MODE)
    for source in (volume.get("projected") or {}).get("sources") or []:
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        _default_items(source.get("downwardAPI"))
    _default_items(volume.get("downwardAPI"))
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _default_items(downward: Json | None) -> None:
    for item in (downward or {}).get("items") or []:
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")


def qos_class(spec: Json) -> str:
    """The class of service, from requests and limits."""
    anything, guaranteed = False, True
    for _, container in containers(spec):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        named = {name for name in (*limits, *requests) if name in ("cpu", "memory")}
        anything = anything or bool(named)
        guaranteed = guaranteed and all(
            name in limits and limits[name] == requests.get(name, limits[name]) for name in ("cpu", "memory")
        )
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def validate_pod_spec(spec: Json, path: str) -> list[Cause]:
    """Causes with fields below ``path``."""
    found: list[Cause] = []
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        where = f"{path}.volumes[{index}].name"
        found += _name(volume.get("name") or "", where, volumes)
    if not spec.get("containers"):
        found.append(required(f"{path}.containers"))
    seen: set[str] = set()
    for field, container in containers(spec):
        found += _container(container, f"{path}.{field}", volumes, seen)
    found += supported(spec.get("restartPolicy"), ("Always", "OnFailure", "Never"), f"{path}.restartPolicy")
    dns = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    found += supported(spec.get("dnsPolicy"), dns, f"{path}.dnsPolicy")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        text = f"Invalid value: {deadline}: must be between 1 and {_MAX_INT32}, inclusive"
        found.append(cause("Invalid", f"{path}.activeDeadlineSeconds", text))
    account = spec.get("serviceAccountName")
    if account:
        where = f"{path}.serviceAccountName"
        found += [cause("Invalid", where, f"Invalid value: {quote(account)}: {why}") for why in subdomain(account)]
    return found


def _name(name: str, where: str, seen: set[str]) -> list[Cause]:
    if not name:
        return [required(where)]
    found = [cause("Invalid", where, f"Invalid value: {quote(name)}: {why}") for why in label(name)]
    if name in seen:
        found.append(cause("Duplicate", where, f"Duplicate value: {quote(name)}"))
    seen.add(name)
    return found


def _container(container: Json, path: str, volumes: set[str], seen: set[str]) -> list[Cause]:
    found = _name(container.get("name") or "", f"{path}.name", seen)
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    policies = ("Always", "IfNotPresent", "Never")
    for index, port in enumerate(container.get("ports") or []):
        found += _port(port, f"{path}.ports[{index}]")
    for index, entry in enumerate(container.get("env") or []):
        where, name = f"{path}.env[{index}].name", entry.get("name") or ""
        if not name:
            found.append(required(where))
        elif not _ENV_NAME.fullmatch(name):
            why = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            found.append(cause("Invalid", where, f"Invalid value: {quote(name)}: {why}"))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where, name = f"{path}.volumeMounts[{index}]", mount.get("name") or ""
        if not name:
            found.append(required(f"{where}.name"))
        elif name not in volumes:
            found.append(cause("NotFound", f"{where}.name", f"Not found: {quote(name)}"))
        if not mount.get("mountPath"):
            found.append(required(f"{where}.mountPath"))
    found += supported(container.get("imagePullPolicy"), policies, f"{path}.imagePullPolicy")
    found += _resources(container.get("resources") or {}, f"{path}.resources")
    return found


def _port(port: Json, path: str) -> list[Cause]:
    found: list[Cause] = []
    number = port.get("containerPort") or 0
    if not number:
        found.append(required(f"{path}.containerPort"))
    elif not 1 <= number <= 65535:
        text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
        found.append(cause("Invalid", f"{path}.containerPort", text))
    return found + supported(port.get("protocol"), ("SCTP", "TCP", "UDP"), f"{path}.protocol")


def _resources(resources: Json, path: str) -> list[Cause]:
    found: list[Cause] = []
    limits = resources.get("limits") or {}
    for name, request in (resources.get("requests") or {}).items():
        where = f"{path}.requests"
        found += [cause("Invalid", where, f"Invalid value: {quote(name)}: {why}") for why in qualified_name(name)]
        if name in limits and parse_quantity(request) > parse_quantity(limits[name]):
            text = f"Invalid value: {quote(request)}: must be less than or equal to {name} limit of {limits[name]}"
            found.append(cause("Invalid", where, text))
    return found


def validate_template(template: Json, path: str) -> list[Cause]:
    """The pod template of a workload."""
    return validate_pod_spec(template.get("spec") or {}, f"{path}.spec")

"""What kubectl get shows of the built-in kinds: their columns, and how a row is made of an object.

``table`` is the caller, ``words`` has what several cells are made of. The cells are those of kube-apiserver's own
printers, wide ones included: the client drops what has a priority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wfe_controller.sandbox.apiserver.podrow import pod_cells
from wfe_controller.sandbox.apiserver.words import human, parse_time, selector_text, since

Json = dict[str, Any]
Cells = Callable[[Json, datetime], list[Any]]

_CREATED = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It "
    "is not guaranteed to be set in happens-before order across separate operations. Clients may not"
    " set this value. It is represented in RFC3339 form and is in UTC."
    "\n\n"
    "Populated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_TEXTS = {
    "Name": (
        "Name must be unique within a namespace. Is required when creating resources, although some "
        "resources may allow a client to request the generation of an appropriate name automatically. "
        "Name is primarily intended for creation idempotence and configuration definition. Cannot be "
        "updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-"
        "objects/names#names"
    ),
    "Age": _CREATED,
    "Created At": _CREATED,
}


@dataclass(frozen=True, slots=True)
class Row:
    """Cells in the order of the columns; ``conditions`` say that what a row shows has run its course."""

    cells: list[Any]
    conditions: list[Json] = field(default_factory=list)


def definition(name: str, kind: str = "string", *, format: str = "", description: str = "", priority: int = 0) -> Json:
    """One column definition."""
    return {
        "name": name,
        "type": kind,
        "format": format,
        "description": description or _TEXTS.get(name, name),
        "priority": priority,
    }


@dataclass(frozen=True, slots=True)
class Printer:
    """How one kind is shown."""

    definitions: tuple[Json, ...]
    cells: Cells
    conditions: Callable[[Json], list[Json]] = field(default=lambda obj: [])

    def row(self, obj: Json, now: datetime) -> Row:
        return Row(self.cells(obj, now), self.conditions(obj))


def _columns(*names: str, wide: Sequence[str] = (), kinds: Mapping[str, str] | None = None) -> tuple[Json, ...]:
    """Definitions by name; ``wide`` ones have priority 1; kinds that are not string."""
    found = []
    for name in (*names, *wide):
        kind = (kinds or {}).get(name, "string")
        shape = "name" if name == "Name" else ""
        found.append(definition(name, kind, format=shape, priority=int(name in wide)))
    return tuple(found)


# -- small words --------------------


def age(obj: Json, now: datetime) -> str:
    return since(_meta(obj).get("creationTimestamp"), now)


def _meta(obj: Json) -> Json:
    return obj.get("metadata") or {}


def _name(obj: Json) -> str:
    return str(_meta(obj).get("name", ""))


def _at(obj: Json, *path: str) -> Any:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None  # type: ignore[assignment]  # any JSON value on the way
    return obj


def _number(obj: Json, *path: str) -> int:
    found = _at(obj, *path)
    return found if isinstance(found, int) else 0


def _containers(obj: Json) -> list[Any]:
    containers = _at(obj, "spec", "template", "spec", "containers") or []
    return [",".join(str(one.get(key, "")) for one in containers) for key in ("name", "image")]


def _has(obj: Json, condition: str) -> bool:
    listed = _at(obj, "status", "conditions") or []
    return any(one.get("type") == condition and one.get("status") == "True" for one in listed)


# -- kinds --------------------


def _deployment(obj: Json, now: datetime) -> list[Any]:
    ready = f"{_number(obj, 'status', 'readyReplicas')}/{_number(obj, 'spec', 'replicas')}"
    counts = [_number(obj, "status", "updatedReplicas"), _number(obj, "status", "availableReplicas")]
    selector = selector_text(_at(obj, "spec", "selector"))
    return [_name(obj), ready, *counts, age(obj, now), *_containers(obj), selector]


def _replica_set(obj: Json, now: datetime) -> list[Any]:
    counts = [
        _number(obj, "spec", "replicas"),
        _number(obj, "status", "replicas"),
        _number(obj, "status", "readyReplicas"),
    ]
    selector = selector_text(_at(obj, "spec", "selector")) or "<none>"
    return [_name(obj), *counts, age(obj, now), *_containers(obj), selector]


def _job(obj: Json, now: datetime) -> list[Any]:
    succeeded, wanted = _number(obj, "status", "succeeded"), _at(obj, "spec", "completions")
    parallel = _number(obj, "spec", "parallelism")
    if wanted is not None:
        completions = f"{succeeded}/{wanted}"
    else:
        completions = f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"
    start = parse_time(_at(obj, "status", "startTime"))
    end = parse_time(_at(obj, "status", "completionTime")) or now
    duration = human((end - start).total_seconds()) if start is not None else ""
    selector = selector_text(_at(obj, "spec", "selector")) or "<none>"
    return [_name(obj), _job_status(obj), completions, duration, age(obj, now), *_containers(obj), selector]


def _job_status(obj: Json) -> str:
    if _has(obj, "Complete"):
        return "Complete"
    if _has(obj, "Failed"):
        return "Failed"
    if _meta(obj).get("deletionTimestamp"):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if _has(obj, condition):
            return condition
    return "Running"


def _service(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "")
    external = ",".join(spec.get("externalIPs") or [])
    if kind == "LoadBalancer":
        ingress = _at(obj, "status", "loadBalancer", "ingress") or []
        balanced = ",".join(one.get("ip") or one.get("hostname", "") for one in ingress)
        external = ",".join(part for part in (balanced, external) if part) or "<pending>"
    elif kind == "ExternalName":
        external = spec.get("externalName", "")
    elif not external:
        external = "<none>" if kind in ("ClusterIP", "NodePort") else "<unknown>"
    ports = ",".join(_port(one) for one in spec.get("ports") or [])
    address = (spec.get("clusterIPs") or ["<none>"])[0]
    labels = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())) or "<none>"
    return [_name(obj), kind, address, external, ports or "<none>", age(obj, now), labels]


def _port(port: Json) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _event(obj: Json, now: datetime) -> list[Any]:
    modern = "regarding" in obj or str(obj.get("apiVersion", "")).startswith("events.k8s.io/")
    about = obj.get("regarding" if modern else "involvedObject") or {}
    source = obj.get("deprecatedSource" if modern else "source") or {}
    first = obj.get("deprecatedFirstTimestamp" if modern else "firstTimestamp")
    last = obj.get("deprecatedLastTimestamp" if modern else "lastTimestamp")
    count = _number(obj, "deprecatedCount" if modern else "count")
    message = str(obj.get("note" if modern else "message") or "")
    first_seen = since(first, now) if first else since(obj.get("eventTime"), now)
    last_seen = since(last, now) if last else first_seen
    series = obj.get("series")
    if series:
        last_seen, count = since(series.get("lastObservedTime"), now), _number(series, "count")
    kind, name = str(about.get("kind", "")).lower(), about.get("name", "")
    component = source.get("component") or obj.get("reportingController" if modern else "reportingComponent") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last_seen,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        f"{component}, {instance}" if instance else component,
        message.strip(),
        first_seen,
        count if series else count or 1,
        _name(obj),
    ]


def _node(obj: Json, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    ready = [one for one in status.get("conditions") or [] if one.get("type") == "Ready"]
    state = "Unknown" if not ready else "Ready" if ready[-1].get("status") == "True" else "NotReady"
    if _at(obj, "spec", "unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = _meta(obj).get("labels") or {}
    roles = {key.removeprefix(prefix) for key in labels if key.startswith(prefix)} | {labels.get("kubernetes.io/role")}
    info = status.get("nodeInfo") or {}
    kernel = info.get("kernelVersion") or "<unknown>"
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"

    def address(kind: str) -> str:
        found = [one.get("address", "") for one in status.get("addresses") or [] if one.get("type") == kind]
        return found[0] if found else "<none>"

    return [
        _name(obj),
        state,
        ",".join(sorted(role for role in roles if role)) or "<none>",
        age(obj, now),
        info.get("kubeletVersion", ""),
        address("InternalIP"),
        address("ExternalIP"),
        info.get("osImage") or "<unknown>",
        kernel,
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _binding(obj: Json, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or []

    def named(kind: str) -> str:
        chosen: Iterable[Json] = (one for one in subjects if one.get("kind") == kind)
        accounts = kind == "ServiceAccount"
        return ", ".join(f"{one.get('namespace', '')}/{one['name']}" if accounts else one["name"] for one in chosen)

    shown = f"{role.get('kind', '')}/{role.get('name', '')}"
    return [_name(obj), shown, age(obj, now), named("User"), named("Group"), named("ServiceAccount")]


def _budget(obj: Json, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    limits = [str(spec[key]) if spec.get(key) is not None else "N/A" for key in ("minAvailable", "maxUnavailable")]
    return [_name(obj), *limits, _number(obj, "status", "disruptionsAllowed"), age(obj, now)]


def _policy(obj: Json, now: datetime) -> list[Any]:
    kind = _at(obj, "spec", "paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"
    return [_name(obj), len(_at(obj, "spec", "validations") or []), shown, age(obj, now)]


def _policy_binding(obj: Json, now: datetime) -> list[Any]:
    found = _at(obj, "spec", "paramRef") or {}
    shown = "<unset>"
    if found.get("name"):
        shown = f"{found.get('namespace') or '*'}/{found['name']}"
    elif found.get("selector"):
        shown = selector_text(found["selector"])
    return [_name(obj), _at(obj, "spec", "policyName") or "", shown, age(obj, now)]


def _pod_conditions(obj: Json) -> list[Json]:
    phase = _at(obj, "status", "phase")
    texts = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    if phase not in texts:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": texts[phase]}]


def _created(obj: Json, now: datetime) -> list[Any]:
    return [_name(obj), _meta(obj).get("creationTimestamp")]


def _simple(*paths: tuple[str, ...]) -> Cells:
    """Name, then what the paths find as text, then the age."""
    return lambda obj, now: [_name(obj), *(_at(obj, *path) or "" for path in paths), age(obj, now)]


def _data(obj: Json, *fields: str) -> int:
    return sum(len(obj.get(name) or {}) for name in fields)


GENERIC = Printer(_columns("Name", "Created At", kinds={"Created At": "date"}), _created)
"""Kinds without a printer of their own."""
_WORKLOAD = ("Containers", "Images", "Selector")
_BINDING = Printer(_columns("Name", "Role", "Age", wide=("Users", "Groups", "ServiceAccounts")), _binding)
_EVENTS = Printer(
    tuple(
        definition(name, format="name" if name == "Name" else "", priority=priority)
        for name, priority in (
            ("Last Seen", 0), ("Type", 0), ("Reason", 0), ("Object", 0), ("Subobject", 1),
            ("Source", 1), ("Message", 0), ("First Seen", 1), ("Count", 1), ("Name", 1),
        )
    ),
    _event,
)  # fmt: skip

BUILTIN: Mapping[str, Printer] = {
    "namespaces": Printer(_columns("Name", "Status", "Age"), _simple(("status", "phase"))),
    "pods": Printer(
        _columns(
            "Name", "Ready", "Status", "Restarts", "Age", wide=("IP", "Node", "Nominated Node", "Readiness Gates")
        ),
        lambda obj, now: pod_cells(obj, lambda text: since(text, now)),
        _pod_conditions,
    ),
    "services": Printer(
        _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)), _service
    ),
    "configmaps": Printer(
        _columns("Name", "Data", "Age"), lambda obj, now: [_name(obj), _data(obj, "data", "binaryData"), age(obj, now)]
    ),
    "secrets": Printer(
        _columns("Name", "Type", "Data", "Age"),
        lambda obj, now: [_name(obj), obj.get("type", ""), _data(obj, "data"), age(obj, now)],
    ),
    "serviceaccounts": Printer(_columns("Name", "Age"), _simple()),
    "events": _EVENTS,
    "events.events.k8s.io": _EVENTS,
    "nodes": Printer(
        _columns(
            "Name", "Status", "Roles", "Age", "Version",
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        _node,
    ),
    "deployments.apps": Printer(
        _columns("Name", "Ready", "Up-to-date", "Available", "Age", wide=_WORKLOAD), _deployment
    ),
    "replicasets.apps": Printer(
        _columns(
            "Name", "Desired", "Current", "Ready", "Age",
            wide=_WORKLOAD,
            kinds=dict.fromkeys(("Desired", "Current", "Ready"), "integer"),
        ),
        _replica_set,
    ),
    "jobs.batch": Printer(_columns("Name", "Status", "Completions", "Duration", "Age", wide=_WORKLOAD), _job),
    "leases.coordination.k8s.io": Printer(_columns("Name", "Holder", "Age"), _simple(("spec", "holderIdentity"))),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "poddisruptionbudgets.policy": Printer(
        _columns(
            "Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age",
            kinds={"Allowed Disruptions": "integer"},
        ),
        _budget,
    ),
    "validatingadmissionpolicies.admissionregistration.k8s.io": Printer(
        _columns("Name", "Validations", "ParamKind", "Age", kinds={"Validations": "integer"}), _policy
    ),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": Printer(
        _columns("Name", "PolicyName", "ParamRef", "Age"), _policy_binding
    ),
    "networkpolicies.networking.k8s.io": Printer(
        _columns("Name", "Pod-Selector", "Age"),
        lambda obj, now: [_name(obj), selector_text(_at(obj, "spec", "podSelector")) or "<none>", age(obj, now)],
    ),
}  # fmt: skip

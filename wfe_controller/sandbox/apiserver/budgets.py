"""The status of PodDisruptionBudgets, counted as the disruption controller counts it: what evictions are decided by."""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver.core import Core
from wfe_controller.sandbox.apiserver.selectors import parse_selector
from wfe_controller.sandbox.apiserver.store import Stored
from wfe_controller.sandbox.apiserver.verbs import commit_update

Json = dict[str, Any]

TABLE = "poddisruptionbudgets.policy"
PODS = "pods"
MANAGER = "kube-controller-manager"


def of_pod(core: Core, pod: Stored) -> list[str]:
    """Keys of the budgets in the pod's namespace."""
    return list(core.store.table(TABLE).keys(pod.namespace))


def count(core: Core, key: str) -> None:
    """Bring one budget's status up to date."""
    kind = core.kind("policy", "v1", "poddisruptionbudgets")
    stored = kind.table.get(key)
    if stored is None:
        return
    old, new = kind.load(stored), kind.load(stored)
    spec = new.get("spec") or {}
    matches = parse_selector(spec.get("selector"))
    table = core.store.table(PODS)
    pods = [table.objects[pod] for pod in table.keys(stored.namespace)]
    chosen = [pod for pod in pods if matches(pod.labels) and not _over(pod)]
    healthy = sum(1 for pod in chosen if not pod.deleting and _ready(pod))
    desired = _desired(spec, len(chosen))
    allowed = max(0, healthy - desired) if chosen else 0
    status = {
        **(new.get("status") or {}),
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": len(chosen),
        "observedGeneration": new["metadata"].get("generation", 1),
    }
    gone = [name for name in status.get("disruptedPods") or {} if table.get(f"{stored.namespace}/{name}") is None]
    if gone:
        status["disruptedPods"] = {k: v for k, v in status["disruptedPods"].items() if k not in gone}
        if not status["disruptedPods"]:
            del status["disruptedPods"]
    status["conditions"] = _conditions(core, status, allowed > 0)
    new["status"] = status
    if new != old:
        kind.manager("status").update(old, new, manager=MANAGER, now=core.now())
        commit_update(core, kind, stored, old, new)


def _desired(spec: Json, expected: int) -> int:
    if "maxUnavailable" in spec:
        return max(0, expected - _scaled(spec["maxUnavailable"], expected))
    return _scaled(spec.get("minAvailable", 1), expected)


def _scaled(value: object, total: int) -> int:
    """A number, or a percentage of the total, rounded up."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return -(-total * int(value[:-1]) // 100)
    return value if isinstance(value, int) else 0


def _over(pod: Stored) -> bool:
    return pod.fields.get("status.phase") in ("Succeeded", "Failed")


def _ready(pod: Stored) -> bool:
    conditions = (pod.decode().get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _conditions(core: Core, status: Json, allowed: bool) -> list[Json]:
    others = [c for c in status.get("conditions") or () if c.get("type") != "DisruptionAllowed"]
    before: Json = next((c for c in status.get("conditions") or () if c.get("type") == "DisruptionAllowed"), {})
    wanted = "True" if allowed else "False"
    entry = {
        "type": "DisruptionAllowed",
        "status": wanted,
        "observedGeneration": status["observedGeneration"],
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == wanted else core.timestamp(),
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
    }
    return [*others, entry]

"""The row of a pod in kubectl get: one word for the state of all its containers, and how many are ready.

``columns`` is the caller. The word is the one of kube-apiserver's printer, which people search for: Init:1/2,
CrashLoopBackOff, Completed, Terminating.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def pod_cells(pod: Json, since: Callable[[Any], str]) -> list[Any]:
    """Name, ready, status, restarts, age, address, node, nominated node, readiness gates.

    ``since`` turns a timestamp into an age, ``<unknown>`` for none.
    """
    spec, status, metadata = pod.get("spec") or {}, pod.get("status") or {}, pod.get("metadata") or {}
    state = _State(spec, status)
    restarts = str(state.restarts)
    if state.restarts and state.last_restart:
        restarts += f" ({since(state.last_restart)} ago)"
    phase, reason = status.get("phase", ""), state.reason
    if metadata.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    addresses = status.get("podIPs") or []
    return [
        metadata.get("name", ""),
        f"{state.ready}/{state.total}",
        reason,
        restarts,
        since(metadata.get("creationTimestamp")),
        (addresses[0].get("ip") if addresses else "") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        _gates(spec, status),
    ]


def _gates(spec: Json, status: Json) -> str:
    gates = spec.get("readinessGates") or []
    if not gates:
        return "<none>"
    states = {one.get("type"): one.get("status") for one in reversed(status.get("conditions") or [])}
    return f"{sum(states.get(gate.get('conditionType')) == 'True' for gate in gates)}/{len(gates)}"


def _terminated(container: Json) -> Json | None:
    found = (container.get("state") or {}).get("terminated")
    return found if isinstance(found, dict) else None


def _waiting(container: Json) -> str:
    return str(((container.get("state") or {}).get("waiting") or {}).get("reason") or "")


def _ended(terminated: Json) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


class _State:
    """What the containers' states come to."""

    def __init__(self, spec: Json, status: Json) -> None:
        self.restarts = 0
        self.last_restart = ""
        self.ready = 0
        self.reason = str(status.get("reason") or status.get("phase", ""))
        self._conditions = status.get("conditions") or []
        for condition in self._conditions:
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
                self.reason = "SchedulingGated"
        inits = spec.get("initContainers") or []
        self._sidecars = {one.get("name") for one in inits if one.get("restartPolicy") == "Always"}
        self.total = len(spec.get("containers") or []) + len(self._sidecars)
        initializing = self._initialize(status.get("initContainerStatuses") or [], len(inits))
        if not initializing or self._true("Initialized"):
            self._run(status.get("initContainerStatuses") or [], status.get("containerStatuses") or [])

    def _true(self, kind: str) -> bool:
        return any(one.get("type") == kind and one.get("status") == "True" for one in self._conditions)

    def _count(self, container: Json) -> None:
        self.restarts += container.get("restartCount") or 0
        last = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, last)

    def _initialize(self, containers: list[Json], declared: int) -> bool:
        """Look at init containers until one is not done; whether there is such a one."""
        for index, container in enumerate(containers):
            self._count(container)
            terminated = _terminated(container)
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if container.get("name") in self._sidecars and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            waiting = _waiting(container)
            if terminated is not None:
                self.reason = "Init:" + _ended(terminated)
            elif waiting and waiting != "PodInitializing":
                self.reason = "Init:" + waiting
            else:
                self.reason = f"Init:{index}/{declared}"
            return True
        return False

    def _run(self, inits: list[Json], containers: list[Json]) -> None:
        self.restarts, self.last_restart = 0, ""
        for container in inits:
            if container.get("name") in self._sidecars:
                self._count(container)
        running, failed = False, ""
        for container in reversed(containers):
            self._count(container)
            terminated, waiting = _terminated(container), _waiting(container)
            if waiting:
                self.reason = waiting
            elif terminated is not None:
                self.reason = _ended(terminated)
                if terminated.get("exitCode"):
                    failed = self.reason
            elif container.get("ready") and (container.get("state") or {}).get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            if running and self._true("Ready"):
                self.reason = "Running"
            elif failed:
                self.reason = failed
            elif running:
                self.reason = "NotReady"

"""The states of a pod's containers at an instant of its play, and the pod status around them. Pure.

Neighbour: ``pods`` keeps the time and writes. A pod of Tekton runs all its containers at once, and the entrypoint in
each lets the steps begin one after another; what the steps did stands in the termination messages, as Tekton's
entrypoint writes it. Every other pod's containers are independent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wfe_controller.kube.objects import Json, items, labels_of, mapping, text
from wfe_controller.sandbox.simulators.play import KILLED, TERMINATED, Play

TASK_RUN_LABEL = "tekton.dev/taskRun"
STEP_PREFIX = "step-"
SIDECAR_PREFIX = "sidecar-"
MISSING = "not found"

# Kinds of entries in a termination message (pkg/result of Tekton).
_TASK_RUN_RESULT = 1
_INTERNAL = 3

Instant = Callable[[float], str]
"""Seconds since the containers began -> RFC 3339 with whole seconds."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended; times in seconds since the containers began."""

    code: int
    began: float
    at: float
    reason: str = ""
    skipped: bool = False
    continued: bool = False
    silent: bool = False
    """No termination message: whatever would have written it was killed."""

    @property
    def why(self) -> str:
        return self.reason or ("Error" if self.code else "Completed")


@dataclass(frozen=True, slots=True)
class Moment:
    """All containers at one instant; None = running. ``next`` is when something changes by itself (inf = never)."""

    ended: tuple[Ended | None, ...]
    next: float
    evicted: bool = False

    @property
    def over(self) -> bool:
        return all(self.ended)

    @property
    def failed(self) -> bool:
        return self.evicted or any(end is not None and end.code != 0 and not end.continued for end in self.ended)


def is_steps(pod: Json) -> bool:
    return TASK_RUN_LABEL in labels_of(pod)


def moment(pod: Json, plays: Mapping[str, Play], attempt: int, elapsed: float) -> Moment:
    """The containers ``elapsed`` seconds after they began, in the order of the spec."""
    containers = [mapping(entry) for entry in items(mapping(pod.get("spec")).get("containers"))]
    if is_steps(pod):
        return _steps(containers, [plays[text(c["name"])] for c in containers], attempt, elapsed)
    ended: list[Ended | None] = []
    upcoming = math.inf
    evicted = False
    for container in containers:
        play = plays[text(container["name"])]
        end = math.inf if play.hang else play.seconds
        evicted = evicted or (play.evicted and elapsed >= end)
        if elapsed >= end:
            ended.append(Ended(play.exit(attempt), 0.0, end, _killed_by(play)))
        else:
            ended.append(None)
            upcoming = min(upcoming, end)
    return Moment(tuple(ended), upcoming, evicted)


def _steps(containers: Sequence[Mapping[str, object]], plays: Sequence[Play], attempt: int, elapsed: float) -> Moment:
    ended: list[Ended | None] = []
    begins = 0.0
    upcoming = math.inf
    failed = stuck = evicted = False
    for container, play in zip(containers, plays, strict=True):
        end = math.inf if play.hang else begins + play.seconds
        if stuck or text(container.get("name")).startswith(SIDECAR_PREFIX):
            ended.append(None)  # an entrypoint that waits for a step whose end nobody will write down
        elif failed:
            ended.append(Ended(1, begins, begins, skipped=True))
        elif elapsed >= end:
            code = play.exit(attempt)
            continued = code != 0 and _on_error_continue(container) and not (play.oom or play.evicted)
            silent = play.oom or play.evicted
            ended.append(Ended(code, begins, end, _killed_by(play), continued=continued, silent=silent))
            stuck, evicted = play.oom, evicted or play.evicted
            failed = code != 0 and not continued and not stuck
            begins = end
        else:
            ended.append(None)
            upcoming = min(upcoming, end)
            stuck = True
    return Moment(tuple(ended), upcoming, evicted)


def terminated(current: Moment, plays: Sequence[Play], since: float, elapsed: float, grace: float) -> Moment:
    """The containers after a SIGTERM at ``since``, when nobody ended by himself any more."""
    ended: list[Ended | None] = []
    upcoming = math.inf
    for state, play in zip(current.ended, plays, strict=True):
        end = since + (grace if play.ignores_term else min(play.term_seconds, grace))
        if state is not None:
            ended.append(state)
        elif elapsed >= end:
            code = KILLED if play.ignores_term or play.term_seconds > grace else TERMINATED
            ended.append(Ended(code, 0.0, end, silent=True))
        else:
            ended.append(None)
            upcoming = min(upcoming, end)
    return Moment(tuple(ended), upcoming)


def _killed_by(play: Play) -> str:
    return "OOMKilled" if play.oom else ""


def _on_error_continue(container: Mapping[str, object]) -> bool:
    arguments = items(container.get("args"))
    return "-on_error" in arguments and arguments[arguments.index("-on_error") + 1] == "continue"


def pending(pod: Json, reason: str, at: str, *, message: str = "", image: str = "") -> Json:
    """A scheduled pod whose containers wait; ``image`` names the only one that the reason is about ("" = all)."""
    spec = mapping(pod.get("spec"))
    waiting: Json = {"reason": reason} | ({"message": message} if message else {})
    other = {"reason": "PodInitializing"}
    return {
        "phase": "Pending",
        "startTime": at,
        "conditions": _conditions(at, scheduled=True, initialized=not items(spec.get("initContainers")), ready=False),
        "containerStatuses": [
            _status(entry, {"waiting": waiting if image in ("", entry["image"]) else other}, has_run=False)
            for entry in _by_name(spec.get("containers"))
        ],
    }


def unschedulable(at: str) -> Json:
    message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
    message += "available: 1 No preemption victims found for incoming pod."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": at}]}


def status(
    pod: Json, plays: Mapping[str, Play], current: Moment, instant: Instant, *, restarts: int = 0, attempt: int = 0
) -> Json:
    """The pod's status at that moment."""
    spec = mapping(pod.get("spec"))
    began = instant(0.0)
    last = max((end.at for end in current.ended if end is not None), default=0.0)
    final = current.over or current.evicted
    states: dict[str, Json] = {}
    for entry, end in zip(items(spec.get("containers")), current.ended, strict=True):
        name = text(entry["name"])
        states[name] = (
            {"running": {"startedAt": began}}
            if end is None
            else {"terminated": _ended(end, instant, plays[name] if is_steps(pod) else None)}
        )
    reason = "PodFailed" if current.failed else "PodCompleted"
    found: Json = {
        "phase": ("Failed" if current.failed else "Succeeded") if final else "Running",
        "startTime": began,
        "conditions": _conditions(
            began, scheduled=True, initialized=True, ready=not final and not any(current.ended),
            changed=instant(last), why=reason if final else "ContainersNotReady", over=final,
        ),
        "initContainerStatuses": [
            _status(
                entry,
                {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": began, "finishedAt": began}},
                ready=True,
            )
            for entry in items(spec.get("initContainers"))
        ],
        "containerStatuses": [
            _status(entry, states[text(entry["name"])], restarts=restarts) for entry in _by_name(spec.get("containers"))
        ],
    }  # fmt: skip
    if current.evicted:
        found |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    if not found["initContainerStatuses"]:
        del found["initContainerStatuses"]
    return found


def _ended(end: Ended, instant: Instant, step: Play | None) -> Json:
    state: Json = {
        "exitCode": end.code,
        "reason": end.why,
        "startedAt": instant(0.0),
        "finishedAt": instant(end.at),
    }
    if step is None or end.silent:
        return state
    message: list[Json] = [{"key": "StartedAt", "value": instant(end.began)[:-1] + ".000Z", "type": _INTERNAL}]
    if end.skipped:
        message.append({"key": "Reason", "value": "Skipped", "type": _INTERNAL})
    if end.continued:
        message.append({"key": "ExitCode", "value": str(end.code), "type": _INTERNAL})
        state |= {"exitCode": 0, "reason": "Completed"}
    if end.code == 0:
        message += [{"key": k, "value": v, "type": _TASK_RUN_RESULT} for k, v in sorted(step.results.items())]
    return {**state, "message": json.dumps(message, separators=(",", ":"))}


def _by_name(entries: object) -> list[Json]:
    """The kubelet writes container statuses sorted by name, whatever the order of the spec."""
    return sorted(items(entries), key=lambda entry: text(entry["name"]))


def _conditions(
    at: str, *, scheduled: bool, initialized: bool, ready: bool, changed: str = "", why: str = "", over: bool = False
) -> list[Json]:
    not_ready = why or "ContainersNotReady"

    def condition(kind: str, value: bool, reason: str = "", when: str = at) -> Json:
        found = {"type": kind, "status": "True" if value else "False", "lastTransitionTime": when}
        return found | ({"reason": reason} if reason and (not value or over) else {})

    return [
        condition("PodReadyToStartContainers", not over, when=changed or at),
        condition("Initialized", initialized, "PodCompleted" if over and why == "PodCompleted" else ""),
        condition("Ready", ready, not_ready, changed or at),
        condition("ContainersReady", ready, not_ready, changed or at),
        condition("PodScheduled", scheduled),
    ]


def _status(
    entry: Mapping[str, object], state: Json, *, restarts: int = 0, has_run: bool = True, ready: bool = False
) -> Json:
    image = text(entry.get("image"))
    return {
        "name": entry["name"],
        "image": image,
        "imageID": f"sandbox://{image}" if has_run else "",
        "lastState": {},
        "ready": ready or "running" in state,
        "started": "running" in state,
        "restartCount": restarts,
        "state": state,
    }

"""The states of a pod's containers at an instant of its play, and the pod status around them. Pure.

Neighbour: ``pods`` keeps the time and writes. A pod of Tekton runs all its containers at once, and the entrypoint in
each lets the steps begin one after another; what the steps did stands in the termination messages, as Tekton's
entrypoint writes it. Every other pod's containers are independent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wfe_controller.kube.objects import Json, items, labels_of, mapping, text
from wfe_controller.sandbox.simulators.play import INTERRUPTED, KILLED, NOT_BEGUN, TERMINATED, Play

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


def terminated(
    current: Moment, plays: Sequence[Play], since: float, elapsed: float, grace: float, *, steps: bool = False
) -> Moment:
    """The containers after a SIGTERM at ``since``, when nobody ended by himself any more.

    ``steps``: Tekton's entrypoint passes the signal on to its step, ends with a code of its own and writes its message;
    one that waits for its turn has nobody to pass it on to, and ends with another.
    """
    ended: list[Ended | None] = []
    upcoming = math.inf
    waits = False
    for state, play in zip(current.ended, plays, strict=True):
        killed = (play.ignores_term or play.term_seconds > grace) and not waits
        end = since + (grace if killed else play.term_seconds)
        if state is not None:
            ended.append(state)
        elif elapsed >= end:
            code = KILLED if killed else NOT_BEGUN if waits else INTERRUPTED if steps else TERMINATED
            ended.append(Ended(code, 0.0, end, silent=killed or waits or not steps))
        else:
            ended.append(None)
            upcoming = min(upcoming, end)
        waits = waits or (steps and state is None)
    return Moment(tuple(ended), upcoming)


def _killed_by(play: Play) -> str:
    return "OOMKilled" if play.oom else ""


def _on_error_continue(container: Mapping[str, object]) -> bool:
    arguments = items(container.get("args"))
    return "-on_error" in arguments and arguments[arguments.index("-on_error") + 1] == "continue"


def stages(pod: Json) -> int:
    """Through so many states a bound pod goes before its containers run: see ``starting``."""
    return 2 + 2 * len(items(mapping(pod.get("spec")).get("initContainers")))


def starting(pod: Json, stage: int, at: str, *, waiting: Mapping[str, Json] | None = None) -> Json:
    """A bound pod in its ``stage`` (from 0): seen by the kubelet, its sandbox there, then for each init container
    running and ended. ``waiting``: what containers wait for, by name, where it is more than their turn.
    """
    spec = mapping(pod.get("spec"))
    init = items(spec.get("initContainers"))
    turn: Json = {"waiting": {"reason": "PodInitializing" if init else "ContainerCreating"}}
    done, running = max(0, stage - 1) // 2, stage > 0 and stage % 2 == 0
    states: list[Json] = []
    for number, _ in enumerate(init):
        if number < done:
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}
            states.append({"terminated": ended})
        else:
            states.append({"running": {"startedAt": at}} if running and number == done else turn)
    found: Json = {
        "phase": "Pending",
        "startTime": at,
        "conditions": _conditions(
            at, sandbox=stage > 0, to_init=_names(init)[done:], unready=_names(spec.get("containers"))
        ),
        "containerStatuses": [
            _status(entry, {"waiting": said} if (said := (waiting or {}).get(text(entry["name"]))) else turn)
            for entry in _by_name(spec.get("containers"))
        ],
    }
    if init:
        found["initContainerStatuses"] = [
            _status(
                entry,
                state,
                made=_made(pod, entry) if state is not turn else "",
                ready="terminated" in state,
                started="running" in state,
            )
            for entry, state in zip(init, states, strict=True)
        ]
    return found


def never_ran(pod: Json, at: str) -> Json:
    """A pod that was deleted before its containers ran: so the kubelet calls what it cannot find."""
    end = {
        "exitCode": KILLED,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
    }
    found = starting(pod, stages(pod) - 1, at)
    found["conditions"][0]["status"] = "False"
    found["containerStatuses"] = [
        _status(entry, {"terminated": end}) for entry in _by_name(mapping(pod.get("spec")).get("containers"))
    ]
    return {**found, "phase": "Failed"}


def unschedulable(at: str) -> Json:
    message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
    message += "available: 1 Preemption is not helpful for scheduling."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": at}]}


@dataclass(frozen=True, slots=True)
class Past:
    """Of a pod whose containers are started again. ``last``: how each ended before; ``backoff``: how each waits now."""

    restarts: int = 0
    last: Mapping[str, Json] = field(default_factory=dict)
    backoff: str = ""


FIRST = Past()


def status(
    pod: Json,
    plays: Mapping[str, Play],
    current: Moment,
    instant: Instant,
    *,
    past: Past = FIRST,
    restarting: bool = False,
    closed: bool = True,
) -> Json:
    """The pod's status at that moment. ``restarting``: who ends is started again. ``closed``: the kubelet has cleaned
    up behind the last container; before that a pod whose containers have all ended is still Running.
    """
    spec = mapping(pod.get("spec"))
    began = instant(0.0)
    changed = instant(max((end.at for end in current.ended if end is not None), default=0.0))
    over = (current.over and not restarting) or current.evicted
    states: dict[str, Json] = {}
    for entry, end in zip(items(spec.get("containers")), current.ended, strict=True):
        name = text(entry["name"])
        if end is None:
            states[name] = {"running": {"startedAt": began}}
        elif past.backoff:
            states[name] = {"waiting": {"reason": "CrashLoopBackOff", "message": past.backoff.format(container=name)}}
        else:
            states[name] = {"terminated": _ended(end, instant, plays[name] if is_steps(pod) else None)}
    why = ("PodFailed" if current.failed else "PodCompleted") if over else ""
    unready = [name for name in _names(spec.get("containers")) if "running" not in states[name]]
    found: Json = {
        **starting(pod, stages(pod) - 1, began),
        "phase": ("Failed" if current.failed else "Succeeded") if over and closed else "Running",
        "conditions": _conditions(
            began, sandbox=not (over and closed), to_init=[], unready=unready, over=why, changed=changed
        ),
        "containerStatuses": [
            _status(
                entry,
                states[text(entry["name"])],
                made=_made(pod, entry, past.restarts),
                restarts=past.restarts,
                last=past.last.get(text(entry["name"])),
                ready="running" in states[text(entry["name"])],
                started="running" in states[text(entry["name"])],
            )
            for entry in _by_name(spec.get("containers"))
        ],
    }
    if current.evicted:
        found |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    return found


def put_away(pod: Json, at: str) -> Json | None:
    """The last of a status that says of all containers that they have ended for good; None for any other pod."""
    held = mapping(pod.get("status"))
    entries = [mapping(entry) for entry in items(held.get("containerStatuses"))]
    conditions = [mapping(entry) for entry in items(held.get("conditions"))]
    why = next((text(entry.get("reason")) for entry in conditions if entry.get("type") == "Ready"), "")
    phases = {"PodFailed": "Failed", "PodCompleted": "Succeeded"}
    if held.get("phase") != "Running" or why not in phases:
        return None
    if not all("terminated" in mapping(entry.get("state")) for entry in entries):
        return None
    closed = {"status": "False", "lastTransitionTime": at}
    found = [{**entry, **closed} if entry["type"] == "PodReadyToStartContainers" else {**entry} for entry in conditions]
    return {"phase": phases[why], "conditions": found}


def past_deadline(found: Json, *, closed: bool) -> Json:
    """What the pod's own deadline makes of its status: first it is no longer ready, then it has failed."""
    for condition in found["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition |= {"status": "False", "reason": "PodFailed"}
            condition.pop("message", None)
    if not closed:
        return {**found, "phase": "Running"}
    message = "Pod was active on the node longer than the specified deadline"
    return {**found, "phase": "Failed", "reason": "DeadlineExceeded", "message": message}


def _ended(end: Ended, instant: Instant, step: Play | None) -> Json:
    state: Json = {
        "exitCode": end.code,
        "reason": end.why,
        "startedAt": instant(0.0),
        "finishedAt": instant(end.at),
    }
    if step is None or end.silent:
        return state
    message: list[Json] = []
    if end.code == 0:
        message = [{"key": k, "value": v, "type": _TASK_RUN_RESULT} for k, v in sorted(step.results.items())]
    message.append({"key": "StartedAt", "value": instant(end.began)[:-1] + ".000Z", "type": _INTERNAL})
    if end.skipped:
        message.append({"key": "Reason", "value": "Skipped", "type": _INTERNAL})
    if end.continued:
        message.append({"key": "ExitCode", "value": str(end.code), "type": _INTERNAL})
        state |= {"exitCode": 0, "reason": "Completed"}
    return {**state, "message": json.dumps(message, separators=(",", ":"))}


def _by_name(entries: object) -> list[Json]:
    """The kubelet writes container statuses sorted by name, whatever the order of the spec."""
    return sorted(items(entries), key=lambda entry: text(entry["name"]))


def _conditions(
    at: str,
    *,
    sandbox: bool,
    to_init: Sequence[str],
    unready: Sequence[str],
    over: str = "",
    changed: str = "",
) -> list[Json]:
    """``over``: the reason once all containers have ended for good. ``changed``: when the last of them ended."""

    def condition(kind: str, value: bool, reason: str = "", message: str = "", when: str = "") -> Json:
        found = {"type": kind, "status": "True" if value else "False", "lastTransitionTime": when or at}
        return found | {key: word for key, word in (("reason", reason), ("message", message)) if word}

    waits = f"containers with incomplete status: [{' '.join(to_init)}]" if to_init else ""
    completed = over if over == "PodCompleted" else ""
    lacks = f"containers with unready status: [{' '.join(unready)}]" if unready and not over else ""
    ready = not (unready or over)
    why = "" if ready else over or "ContainersNotReady"
    return [
        condition("PodReadyToStartContainers", sandbox, when=changed),
        condition("Initialized", not to_init, "ContainersNotInitialized" if to_init else completed, waits),
        condition("Ready", ready, why, lacks, changed),
        condition("ContainersReady", ready, why, lacks, changed),
        condition("PodScheduled", True),
    ]


def _made(pod: Json, entry: Mapping[str, object], restarts: int = 0) -> str:
    seed = f"{mapping(pod.get('metadata')).get('uid')}/{entry.get('name')}/{restarts}"
    return f"sandbox://{hashlib.sha256(seed.encode()).hexdigest()}"


def _names(entries: object) -> list[str]:
    return [text(mapping(entry).get("name")) for entry in items(entries)]


def _status(
    entry: Mapping[str, object],
    state: Json,
    *,
    made: str = "",
    restarts: int = 0,
    last: Json | None = None,
    ready: bool = False,
    started: bool = False,
) -> Json:
    """``made``: the container's id; without it there was none yet, nor its image."""
    image = text(entry.get("image"))
    if made and "terminated" in state:
        state = {"terminated": {**state["terminated"], "containerID": made}}
    return {
        "name": entry["name"],
        "image": image,
        "imageID": f"sandbox://{image}" if made else "",
        **({"containerID": made} if made else {}),
        "lastState": {"terminated": last} if last else {},
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": state,
    }

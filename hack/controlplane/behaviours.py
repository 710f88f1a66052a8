"""What a played pod does: the words for it, where they are looked for, and the statuses they become.

Pure: no clock, no I/O.

A behaviour is a word with an optional argument: ``success``, ``success:<seconds>`` (the same as ``slow:<seconds>``),
``fail:<code>``, ``oom``, ``hang`` (runs until told otherwise), ``evicted``, ``unschedulable``, ``imagepull``. Where the
argument's colon cannot be written (an image tag) a dash stands for it: ``fail-3``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

ANNOTATION = "test.kubelet/behaviour"
ENVIRONMENT = "TEST_KUBELET_BEHAVIOUR"
ARGUMENT = "behaviour="
DEFAULT_SECONDS = 0.3
# Reasons for which a pod never gets to run.
STUCK = ("unschedulable", "imagepull")
_WORDS = re.compile(r"(success|slow|fail|oom|hang|evicted|unschedulable|imagepull)(?:[:-]([0-9.]+))?")


@dataclass(frozen=True)
class Behaviour:
    """``seconds`` is how long the pod runs; ``container`` names the one that asked for it (None: the last one)."""

    word: str
    argument: str = ""
    container: str | None = None

    @property
    def seconds(self) -> float:
        return float(self.argument) if self.word in ("slow", "success") and self.argument else DEFAULT_SECONDS

    @property
    def exit_code(self) -> int:
        """What the container ends with: 137 is SIGKILL, which is how the kernel's out-of-memory killer ends one."""
        return {"fail": int(self.argument or 1) if self.word == "fail" else 1, "oom": 137, "evicted": 137}.get(
            self.word, 0
        )


def parse(text: str, container: str | None = None) -> Behaviour | None:
    """A behaviour from its word, or None when the text is none."""
    found = _WORDS.fullmatch(text.strip())
    return Behaviour(found[1], found[2] or "", container) if found else None


def of_pod(pod: Object) -> Behaviour:
    """The pod's annotation (one of a PipelineRun reaches its pods), else a container's env, arguments or image tag."""
    annotated = parse(pod["metadata"].get("annotations", {}).get(ANNOTATION, ""))
    if annotated is not None:
        return annotated
    for container in pod["spec"]["containers"]:
        candidates = [item.get("value", "") for item in container.get("env", []) if item["name"] == ENVIRONMENT]
        arguments = [*container.get("command", []), *container.get("args", [])]
        candidates += [item.removeprefix(ARGUMENT) for item in arguments if item.startswith(ARGUMENT)]
        image = container["image"].partition("@")[0].rpartition("/")[2]
        candidates.append(image.partition(":")[2])
        for text in candidates:
            if found := parse(text, container["name"]):
                return found
    return Behaviour("success")


def running(pod: Object, now: str) -> Object:
    """The status of a pod all of whose containers run."""
    return {
        "phase": "Running",
        "startTime": now,
        "conditions": _conditions(("PodScheduled", "Initialized", "ContainersReady", "Ready"), now),
        "initContainerStatuses": [
            _container(
                item, {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
            )
            for item in pod["spec"].get("initContainers", [])
        ],
        "containerStatuses": [_container(item, {"running": {"startedAt": now}}) for item in pod["spec"]["containers"]],
    }


def stuck(pod: Object, behaviour: Behaviour, now: str) -> Object:
    """The status of a pod that stays Pending: nobody schedules it, or its image cannot be had."""
    if behaviour.word == "unschedulable":
        message = "0/1 nodes are available: 1 Insufficient cpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": now}]}
    waiting = [
        _container(
            item,
            {
                "waiting": {
                    "reason": "ImagePullBackOff",
                    "message": f'Back-off pulling image "{item["image"]}": not found',
                }
            },
        )
        for item in pod["spec"]["containers"]
    ]
    return {
        "phase": "Pending",
        "startTime": now,
        "conditions": _conditions(("PodScheduled",), now),
        "containerStatuses": waiting,
    }


def finished(pod: Object, behaviour: Behaviour, started: str, now: str) -> Object:
    """The status of a pod whose containers have all ended, with the messages that Tekton's entrypoint leaves."""
    names = [item["name"] for item in pod["spec"]["containers"]]
    code = behaviour.exit_code
    culprit = names.index(behaviour.container) if behaviour.container in names else len(names) - 1
    statuses = []
    for position, item in enumerate(pod["spec"]["containers"]):
        message: list[Object] = [{"key": "StartedAt", "value": started[:-1] + ".000Z", "type": 3}]
        ended: Object = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}
        if code and position == culprit:
            ended |= {"exitCode": code, "reason": "OOMKilled" if behaviour.word == "oom" else "Error"}
        elif code and position > culprit:
            # The entrypoint of a step after a failed one ends with 1 and says that it did not run the step.
            ended |= {"exitCode": 1, "reason": "Error"}
            message.append({"key": "Reason", "value": "Skipped", "type": 3})
        if behaviour.word not in ("oom", "evicted") or position != culprit:  # a killed entrypoint writes nothing
            ended["message"] = json.dumps(message)
        statuses.append(_container(item, {"terminated": ended}))
    status: Object = {
        "phase": "Failed" if code else "Succeeded",
        "conditions": _conditions(("PodScheduled", "Initialized"), started)
        + [
            {
                "type": kind,
                "status": "False",
                "reason": "PodFailed" if code else "PodCompleted",
                "lastTransitionTime": now,
            }
            for kind in ("ContainersReady", "Ready")
        ],
        "containerStatuses": statuses,
    }
    if behaviour.word == "evicted":
        status |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    return status


def _conditions(kinds: tuple[str, ...], now: str) -> list[Object]:
    return [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]


def _container(spec: Object, state: Object) -> Object:
    image = spec["image"]
    return {
        "name": spec["name"],
        "image": image,
        "imageID": f"played://{image}" if "waiting" not in state else "",
        "ready": "running" in state,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }

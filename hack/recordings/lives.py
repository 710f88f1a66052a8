"""Pods alone, of nobody's: every state that a watch of one sees while a kubelet has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hack.recordings.workloads import FAILS, NAME, QUICK, Work, container
from wfe_controller.kube.objects import PODS, Json, condition
from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.play import Play


def pod(*does: Play, init: Play | None = None, restart: str = "Never", **spec: Any) -> Json:
    names = ["main", "beside"]
    whole: Json = {"restartPolicy": restart, **spec}
    whole["containers"] = [container(one, name) for one, name in zip(does, names, strict=False)]
    if init is not None:
        whole["initContainers"] = [container(init, "first")]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": whole}


def phase(*names: str) -> Callable[[Json], bool]:
    return lambda found: (found.get("status") or {}).get("phase") in names


def waits(reason: str) -> Callable[[Json], bool]:
    """A container waits for that reason."""

    def holds(found: Json) -> bool:
        entries = (found.get("status") or {}).get("containerStatuses", [])
        return any(entry["state"].get("waiting", {}).get("reason") == reason for entry in entries)

    return holds


def restarted(times: int) -> Callable[[Json], bool]:
    """So often, and running again."""

    def holds(found: Json) -> bool:
        entries = (found.get("status") or {}).get("containerStatuses", [])
        return any(entry["restartCount"] == times and "running" in entry["state"] for entry in entries)

    return holds


def gone(found: Json) -> bool:
    return not found


OVER = phase("Succeeded", "Failed")
HANG = Play(hang=True)
MISSING = Play(image_missing=True)
LIVES = (
    Work("ends", PODS, pod(QUICK), OVER, about="its container ends with 0"),
    Work("fails", PODS, pod(FAILS), OVER, about="its container ends with 3"),
    Work("two", PODS, pod(QUICK, Play(seconds=5, exit_code=3)), OVER, about="one container ends well, then the other"),
    Work("init", PODS, pod(QUICK, init=play.DEFAULT), OVER, about="an init container first"),
    Work("oom", PODS, pod(Play(seconds=2, oom=True)), OVER, about="killed for its memory"),
    Work("image-missing", PODS, pod(MISSING), gone, ((waits("ImagePullBackOff"), None),), about="no image; deleted"),
    Work(
        "unschedulable",
        PODS,
        pod(Play(unschedulable=True)),
        gone,
        ((lambda found: condition(found, "PodScheduled").get("status") == "False", None),),
        about="no room; deleted",
    ),
    Work("deleted", PODS, pod(HANG), gone, ((phase("Running"), None),), about="deleted while it runs"),
    Work(
        "ignores-term",
        PODS,
        pod(Play(hang=True, ignores_term=True), terminationGracePeriodSeconds=4),
        gone,
        ((phase("Running"), None),),
        about="deleted while it runs, and goes on until the grace is over",
    ),
    Work("too-long", PODS, pod(HANG, activeDeadlineSeconds=4), OVER, about="its own deadline passes"),
    Work(
        "restarts",
        PODS,
        pod(Play(seconds=8, exit_code=3), restart="Always"),
        restarted(2),
        about="its container fails and is started again, and again after a while",
    ),
)

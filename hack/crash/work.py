"""What the runs do: one step that takes its time, fails or hangs; played by the test kubelet, or really run."""

from __future__ import annotations

from typing import Any

from hack.controlplane import Plane

Object = dict[str, Any]
IMAGE = "busybox:1"
SCRIPTS = {
    "slow": "sleep {}",
    "fail": "exit {}",
    # At once when told to end, as a step that is cancelled should.
    "hang": "trap 'exit 143' TERM; sleep 600 & wait $!",
}


def bundle(plane: Plane, behaviour: str, *, real: bool = False) -> str:
    """Push the pipeline of a behaviour like ``slow-0.3``, ``fail-3`` or ``hang``; gives its reference.

    ``real``: a shell does it, for a cluster with a node; else the image's tag tells the test kubelet.
    """
    word, _, argument = behaviour.partition("-")
    step: Object = {"name": "act", "image": f"busybox:{behaviour}", "command": ["/bin/true"]}
    if real:
        step = {"name": "act", "image": IMAGE, "command": ["sh", "-c", SCRIPTS[word].format(argument)]}
    tasks = [{"name": "remediate", "taskSpec": {"steps": [step]}}]
    params = [{"name": "TARGET_RESOURCE", "type": "string"}]
    workflow = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": "workflow"},
        "spec": {"params": params, "tasks": tasks},
    }
    return plane.push_bundle(f"crash/{behaviour}", [workflow])

"""``python -m hack.demo``: a story of six WorkflowExecutions in about a minute; exit 0 when all end as told."""

from __future__ import annotations

import os
import sys
import time

from hack.controlplane import BinariesMissing, Plane, PlaneError
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import planes_root, sweep
from hack.demo.installed import CONTROLLER_NAMESPACE, PROCESS, install, start_controller
from hack.demo.samples import BUNDLES, CHECKOUT, NAMESPACE, STEPS, Seen, as_expected, clearance, execution
from hack.demo.view import View

DEADLINE_SECONDS = 90.0
REFRESH_SECONDS = 0.25
_EXECUTIONS = f"/apis/kubernaut.ai/v1alpha1/namespaces/{NAMESPACE}/workflowexecutions"
_LOCKS = f"/apis/kubernaut.ai/v1alpha1/namespaces/{CONTROLLER_NAMESPACE}/targetlocks"


def main() -> int:
    sweep()
    view = View()
    view.note("starting etcd, the API server, the controller manager, Tekton and a registry ...")
    try:
        plane = Plane.start(planes_root() / f"demo-{os.getpid()}", owner_pid=os.getpid())
    except (BinariesMissing, PlaneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        return _play(plane, view)
    except PlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        plane.stop(keep=os.environ.get("KEEP_PLANE") == "1")


def _play(plane: Plane, view: View) -> int:
    kubeconfig = install(plane)
    plane.ensure_namespace(NAMESPACE)
    images = {name: plane.push_bundle(f"workflows/{name}", [pipeline]) for name, pipeline in BUNDLES.items()}
    kubelet = Kubelet(plane.kubeconfig).start()
    try:
        view.note("starting wfe-controller under the rights of its own service account")
        start_controller(plane, kubeconfig)
        seen = _tell(plane, view, images)
    finally:
        kubelet.stop()
    return _closing(plane, seen)


def _tell(plane: Plane, view: View, images: dict[str, str]) -> Seen:
    """Create each WorkflowExecution when its moment has come, until all have ended or the time is over."""
    waiting, cleared = list(STEPS), False
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        seen = _look(plane)
        view.show(seen)
        if time.monotonic() > deadline or not (waiting or any(not as_expected(step, seen) for step in STEPS)):
            return seen
        for step in [step for step in waiting if step.when(seen)]:
            view.note(f"{step.name}: {step.say}")
            plane.client.create(_EXECUTIONS, execution(step, images[step.bundle]))
            waiting.remove(step)
        if not cleared and seen.phase("resize-checkout-again") == "Skipped":
            view.note("an operator looks at checkout and clears its block, naming the execution that caused it")
            lock = seen.locks[CHECKOUT]
            plane.client.merge_patch(f"{_LOCKS}/{lock['metadata']['name']}", clearance(seen.block(CHECKOUT)))
            cleared = True
        time.sleep(REFRESH_SECONDS)


def _look(plane: Plane) -> Seen:
    executions = {item["metadata"]["name"]: item for item in plane.client.get(_EXECUTIONS)["items"]}
    locks = {item["spec"]["target"]: item for item in plane.client.get(_LOCKS)["items"]}
    return Seen(executions, locks)


def _closing(plane: Plane, seen: Seen) -> int:
    print()
    print(plane.kubectl("get", "wfe,tlock", "--all-namespaces").stdout.rstrip())
    wrong = [step for step in STEPS if not as_expected(step, seen)]
    print(f"\n{len(STEPS) - len(wrong)} of {len(STEPS)} ended as expected")
    for step in wrong:
        is_now = f"{seen.phase(step.name) or 'nothing'} {seen.reason(step.name)}".rstrip()
        print(f"  {step.name}: expected {step.phase} {step.reason}, is {is_now}")
    if wrong:
        print(f"\nThe controller's log ends with:\n{plane.processes.log_tail(PROCESS)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

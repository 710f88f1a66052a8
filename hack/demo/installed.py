"""The controller on a plane as an operator would run it: generated manifests, its own account, its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hack.controlplane import Plane, PlaneError
from hack.controlplane.processes import free_ports

CONTROLLER_NAMESPACE = "kubernaut-system"
EXECUTION_NAMESPACE = "kubernaut-workflows"
PROCESS = "wfe-controller"


def manifests(kind: str) -> str:
    """What ``wfe-controller manifests KIND`` prints."""
    command = [sys.executable, "-m", "wfe_controller", "manifests", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlaneError(f"wfe-controller manifests {kind} failed: {done.stderr.strip()}")
    return done.stdout


def install(plane: Plane) -> Path:
    """Apply CRDs and RBAC; gives a kubeconfig with the token of the controller's service account."""
    for namespace in (CONTROLLER_NAMESPACE, EXECUTION_NAMESPACE):
        plane.ensure_namespace(namespace)
    for kind in ("crds", "rbac"):
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=manifests(kind), check=True)
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s", check=True)
    listed = plane.kubectl("get", "serviceaccounts", "-n", CONTROLLER_NAMESPACE, "-o", "json", check=True)
    names = [item["metadata"]["name"] for item in json.loads(listed.stdout)["items"]]
    (account,) = (name for name in names if name != "default")
    return plane.kubeconfig_for(account, CONTROLLER_NAMESPACE)


def start_controller(plane: Plane, kubeconfig: Path) -> None:
    """Run the controller as one more process of the plane, so that it is stopped with it whatever happens."""
    port = free_ports(1)[0]
    address = f"127.0.0.1:{port}"
    # JSON is YAML; the file shows that nothing but the addresses has to be set on a laptop.
    config = plane.work_dir / "wfe-controller.json"
    config.write_text(json.dumps({"controller": {"metricsAddress": address, "healthAddress": address}}))
    command = [sys.executable, "-m", "wfe_controller", "run", f"--kubeconfig={kubeconfig}", f"--config={config}"]
    plane.processes.define(PROCESS, command, health=f"http://{address}/readyz")
    plane.start_process(PROCESS)

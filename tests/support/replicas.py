"""The controller as real processes on a plane, one or several, under exactly the rights of the generated RBAC."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hack.controlplane import Plane, RestClient
from hack.controlplane.client import Refused
from hack.controlplane.processes import free_ports
from tests.support.eventually import eventually

Object = dict[str, Any]
HOME = "kubernaut-system"
ACCOUNT = "workflowexecution-controller"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/workflowexecution.kubernaut.ai"
# A killed leader is replaced after its lease's time; the default of 15 s would make every such test that much longer.
FAST_LEASE = {"leaseDuration": "4s", "renewDeadline": "3s", "retryPeriod": "1s"}


def install_rights(plane: Plane) -> Path:
    """Apply what ``wfe-controller manifests rbac`` prints; gives a kubeconfig of the controller's service account."""
    command = [sys.executable, "-m", "wfe_controller", "manifests", "rbac"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=printed, check=True)
    return plane.kubeconfig_for(ACCOUNT, HOME)


class ControllerProcess:
    """One ``wfe-controller run``, a process of the plane, so that it never outlives it."""

    def __init__(self, plane: Plane, name: str, kubeconfig: Path, config: Mapping[str, Any]) -> None:
        self.name = name
        self._plane = plane
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        merged = {section: dict(values) for section, values in config.items()}
        addresses = {"metricsAddress": self.address, "healthAddress": self.address}
        merged["controller"] = {**FAST_LEASE, **merged.get("controller", {}), **addresses}
        path = plane.work_dir / f"{name}.json"
        path.write_text(json.dumps(merged))
        command = [sys.executable, "-m", "wfe_controller", "run", f"--kubeconfig={kubeconfig}", f"--config={path}"]
        plane.processes.define(name, command, health=f"http://{self.address}/readyz")

    def start(self) -> ControllerProcess:
        """Start, and return when /readyz answers 200."""
        self._plane.start_process(self.name)
        return self

    def terminate(self) -> int:
        """SIGTERM; gives the exit code."""
        self._plane.processes.stop([self.name], grace=30.0)
        return self._plane.processes.exit_codes[self.name]

    def kill(self) -> None:
        """SIGKILL: nothing is released, nothing is flushed."""
        self._plane.stop_process(self.name, kill=True)

    @property
    def running(self) -> bool:
        return self._plane.processes.running(self.name)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of /healthz, /readyz or /metrics; status 0 when nobody answers."""
        client = RestClient(f"http://{self.address}")
        try:
            status, _, body = client.exchange("GET", path)
        except (OSError, HTTPException):
            return 0, ""
        finally:
            client.close()
        return status, body.decode()

    @property
    def log(self) -> str:
        return self._plane.processes.log(self.name).read_text()

    def log_lines(self) -> list[Object]:
        """The JSON lines of the log."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]


class Controllers:
    """Starts controllers for a test. At its end all are stopped, and a traceback in any log fails it."""

    def __init__(self, plane: Plane, kubeconfig: Path, prefix: str) -> None:
        self._plane, self._kubeconfig, self._prefix = plane, kubeconfig, prefix
        self.all: list[ControllerProcess] = []

    def __call__(self, config: Mapping[str, Any] | None = None, *, start: bool = True) -> ControllerProcess:
        """A new controller with these settings (sections as in the YAML file)."""
        name = f"{self._prefix}-{len(self.all)}"
        controller = ControllerProcess(self._plane, name, self._kubeconfig, config or {})
        self.all.append(controller)
        return controller.start() if start else controller

    def leader(self) -> ControllerProcess:
        """The running one whose identity the lease names; waits until there is one."""

        def find() -> ControllerProcess | None:
            try:
                holder = self._plane.client.get(LEASE)["spec"].get("holderIdentity")
            except Refused as refused:
                if refused.status == 404:  # nobody has ever led here
                    return None
                raise
            for controller in self.all:
                lines = controller.log_lines() if holder and controller.running else []
                if any(line.get("identity") == holder for line in lines):
                    return controller
            return None

        found = eventually(find, what="one of ours to hold the lease")
        assert found is not None
        return found

    def stop(self) -> None:
        for controller in self.all:
            if controller.running:
                controller.terminate()
        for controller in self.all:
            assert "Traceback" not in controller.log, controller.log[-5000:]


def workflow_execution(namespace: str, name: str, target: str, bundle: str, **spec: Any) -> Object:
    """A WorkflowExecution of the tekton engine; ``bundle`` by digest as push_bundle gives it."""
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "remediationRequestRef": {"name": "test", "namespace": namespace},
            "targetResource": target,
            "workflowRef": {
                "workflowId": "test-workflow",
                "version": "1.0.0",
                "containerImage": bundle,
                "containerDigest": bundle.partition("@")[2],
            },
            **spec,
        },
    }


def executions_path(namespace: str, name: str = "") -> str:
    return f"/apis/kubernaut.ai/v1alpha1/namespaces/{namespace}/workflowexecutions" + (f"/{name}" if name else "")


def phase(plane: Plane, namespace: str, name: str) -> str:
    return str(plane.client.get(executions_path(namespace, name)).get("status", {}).get("phase", ""))

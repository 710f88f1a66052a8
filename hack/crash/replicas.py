"""Two replicas with failpoints, restarted whenever they die, and the observer beside them, on one control plane.

Several sites fit on one plane: each has its own three namespaces, rights, lease and pair of replicas, so that the waits
for leases overlap.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.controlplane import Plane
from hack.controlplane.client import Refused
from hack.controlplane.processes import free_ports
from wfe_controller.app.failpoints import ARMED, CALLS, VARIABLE, Armed

Object = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
ACCOUNT = "workflowexecution-controller"
LEASE = "workflowexecution.kubernaut.ai"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "controller": {"leaseDuration": "3s", "renewDeadline": "2s", "retryPeriod": "500ms"},
    "execution": {
        "pollInterval": "2s",
        "sweepInterval": "2s",
        "cooldownPeriod": "0s",
        "runRetention": "1s",
        "cancelFinallyTimeout": "3s",
        "cancelTimeout": "6s",
        "cancelDeadline": "12s",
    },
    "client": {"qps": 0},
}
EXPECTED_EXITS = (-signal.SIGKILL, 0, 1)
"""Killed by a failpoint or by us; told to stop; lost the lease."""


class Site:
    """Where one pair of replicas lives: namespaces, rights, failpoints."""

    def __init__(self, plane: Plane, name: str, settings: Mapping[str, Mapping[str, Any]] = SETTINGS) -> None:
        self.plane, self.name = plane, name
        self.home, self.execution, self.namespace = f"{name}-system", f"{name}-runs", f"{name}-ops"
        for namespace in (self.home, self.execution, self.namespace):
            plane.ensure_namespace(namespace)
        command = [sys.executable, "-m", "wfe_controller", "manifests", "rbac", f"--namespace={self.home}"]
        command += [f"--execution-namespace={self.execution}", f"--watch-namespace={self.namespace}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=printed, check=True)
        self.failpoints = plane.work_dir / f"failpoints-{name}"
        self.failpoints.mkdir(exist_ok=True)
        for old in self.failpoints.iterdir():
            old.unlink()
        kubeconfig = plane.kubeconfig_for(ACCOUNT, self.home)
        self.replicas = [f"{name}-{number}" for number in range(2)]
        # Asked for at once: a port that nobody listens on yet could be given to both, and then only one would run.
        for replica, port in zip(self.replicas, free_ports(len(self.replicas)), strict=True):
            self._define(replica, port, kubeconfig, settings)
        self.deaths: list[tuple[str, int]] = []
        self.starts = 0
        self._stopping = threading.Event()
        self._restarting = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name=f"supervise-{name}")

    def _define(self, replica: str, port: int, kubeconfig: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        address = f"127.0.0.1:{port}"
        merged = {section: dict(values) for section, values in settings.items()}
        merged["controller"] |= {
            "namespace": self.home,
            "watchNamespaces": [self.namespace],
            "metricsAddress": address,
            "healthAddress": address,
        }
        merged["execution"]["namespace"] = self.execution
        path = self.plane.work_dir / f"{replica}.json"
        path.write_text(json.dumps(merged))
        command = [sys.executable, "-m", "wfe_controller", "run", f"--kubeconfig={kubeconfig}", f"--config={path}"]
        env = {VARIABLE: str(self.failpoints), "PYTHONPATH": str(REPOSITORY)}
        self.plane.processes.define(replica, command, env=env, health=f"http://{address}/readyz")

    # -- life --------------------

    def start(self) -> Site:
        """Both up and ready; from now on whoever dies is started again."""
        self._restarting.set()
        self._thread.start()
        self.await_ready()
        return self

    def stop(self) -> None:
        """End both, and say what should not have been: a traceback, an unexpected exit."""
        self._stopping.set()
        self._thread.join()
        self.plane.processes.stop(self.replicas, grace=25.0)

    def complaints(self) -> list[str]:
        """What the logs and exit codes say that must not be."""
        found = [f"{name} ended with {code}" for name, code in self.deaths if code not in EXPECTED_EXITS]
        for replica in self.replicas:
            log = self.plane.processes.log(replica).read_text(errors="replace")
            if "Traceback" in log:
                found.append(f"{replica}: a traceback: {log[log.index('Traceback') :][:2000]}")
        return found

    def _supervise(self) -> None:
        table = self.plane.processes
        while not self._stopping.wait(0.03):
            for replica in self.replicas:
                known = table.records[replica].pid
                if table.running(replica) or not self._restarting.is_set():
                    continue
                if known:
                    self.deaths.append((replica, table.exit_codes.get(replica, 0)))
                with _TABLE:
                    table.start(replica)
                self.starts += 1

    def await_ready(self, timeout: float = 30.0) -> None:
        """Both run and answer on /readyz."""
        wait(lambda: all(self.plane.healthy(name) for name in self.replicas), timeout, "both replicas to be ready")

    def leader(self) -> str:
        """The replica the lease names; "" = none that lives."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases/{LEASE}"
        try:
            identity = self.plane.client.get(path)["spec"].get("holderIdentity")
        except Refused:
            return ""
        found = [name for name in self.replicas if identity and self._last_identity(name) == identity]
        return found[0] if found else ""

    def _last_identity(self, replica: str) -> str:
        """As which it last became leader; "" = it never did."""
        lines = self.plane.processes.log(replica).read_text(errors="replace").splitlines()
        led = [line for line in lines if '"became leader"' in line]
        return str(json.loads(led[-1])["identity"]) if led else ""

    def other_leads(self, pid: int) -> bool:
        """Whether the lease names the replica that is not this process."""
        leader = self.leader()
        return bool(leader) and self.plane.processes.records[leader].pid != pid

    def kill(self, replica: str) -> None:
        """SIGKILL; it is started again at once."""
        self.plane.processes.signal(replica, signal.SIGKILL)

    def terminate(self, replica: str) -> None:
        """SIGTERM; it is started again when it has ended."""
        self.plane.processes.signal(replica, signal.SIGTERM)

    # -- failpoints --------------------

    def arm(self, armed: Armed) -> None:
        armed.write(self.failpoints)

    def disarm(self) -> None:
        (self.failpoints / ARMED).unlink(missing_ok=True)

    def hit(self, armed: Armed) -> int:
        """The process that reached the armed point; 0 = none yet."""
        for path in self.failpoints.glob(f"hit-{armed.id}.*"):
            return int(path.suffix[1:])
        return 0

    def calls(self) -> list[Object]:
        """All writes so far, in the order of their answers; a line that a kill cut off is left out."""
        path = self.failpoints / CALLS
        out = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
        return out

    def answer_of(self, armed: Armed) -> str:
        """What became of the call that was stopped or held: a status, an error, "" = not known (yet)."""
        for call in self.calls():
            if call.get("fired") == armed.id and ("status" in call or call.get("error") != "RequestTimeout"):
                return str(call.get("status") or call.get("error"))
        return ""

    def resume(self, pid: int) -> None:
        """SIGCONT to a replica that stopped itself."""
        if any(self.plane.processes.records[name].pid == pid for name in self.replicas):
            os.kill(pid, signal.SIGCONT)


_TABLE = threading.Lock()
"""The process table is saved as one file; several sites share it."""


def wait(check: Any, timeout: float, what: str) -> Any:
    """Ask every 50 ms: other processes offer nothing to wait on. Raises Late."""
    deadline = time.monotonic() + timeout
    while True:
        if found := check():
            return found
        if time.monotonic() > deadline:
            raise Late(f"waited {timeout:g} s for {what}")
        time.sleep(0.05)


class Late(Exception):
    """Something did not happen in time."""


class Watcher:
    """The observer's process and the conversation with it. One for a plane; may be shared by threads."""

    def __init__(self, plane: Plane, audit_log: Path | None = None) -> None:
        command = [sys.executable, "-m", "hack.crash.observer", f"--kubeconfig={plane.kubeconfig}"]
        command += [f"--audit-log={audit_log or plane.work_dir / 'logs' / 'audit.log'}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        self._lock = threading.Lock()
        self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Late("the observer has ended")
        return json.loads(line)

    def ask(self, **question: Any) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._read()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

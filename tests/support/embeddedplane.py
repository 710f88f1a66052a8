"""A plane without servers: the embedded API server and the simulators in the places of the real ones.

Processes, ports, logs, kubeconfigs, kubectl and the controller are as on a real plane (:class:`hack.controlplane.Plane`
does all that), so a test says the same on both. What differs: bundles are files instead of images in a registry, and
what the API server knows is the memory of its process. Neighbours: ``embeddedprocesses`` is what runs in the
processes, ``playedpods`` is the kubelet, ``planes`` chooses.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hack.controlplane import registry, tekton
from hack.controlplane.binaries import Binaries, Progress, print_progress, resolve
from hack.controlplane.client import plural_path
from hack.controlplane.plane import REPOSITORY, Plane, planes_root
from wfe_controller.sandbox.simulators.tekton import kinds

REGISTRY = "registry.embedded:5000"
API_SERVER, TEKTON, MANAGER = "kube-apiserver", "tekton-controller", "kube-controller-manager"


class EmbeddedPlane(Plane):
    """Needs no servers but kubectl. ``tekton=False``: neither Tekton's kinds nor anybody who plays it."""

    port_names = (API_SERVER, TEKTON, MANAGER)

    @classmethod
    def start(
        cls,
        work_dir: str | Path | None = None,
        name: str = "default",
        tekton: bool = True,
        *,
        manifests: Sequence[Path] = (),
        owner_pid: int | None = None,
        progress: Progress = print_progress,
    ) -> EmbeddedPlane:
        """As on a real plane; raises BinariesMissing when there is no kubectl and none can be built."""
        binaries = resolve(["kubectl"], tekton=False, progress=progress)
        plane = cls((Path(work_dir) if work_dir is not None else planes_root() / name).resolve())
        with plane._locked():
            try:
                plane._bring_up(binaries, manifests, owner_pid, with_tekton=tekton)
            except BaseException:
                plane._stop_processes()
                plane.close()
                raise
        return plane

    def _bring_up(
        self, binaries: Binaries, manifests: Sequence[Path], owner_pid: int | None, *, with_tekton: bool
    ) -> None:
        self._remember(binaries, owner_pid)
        (self.work_dir / "bundles").mkdir(exist_ok=True)
        self._tokens()
        self._play(API_SERVER, "https", "/readyz")
        self._write_kubeconfig("admin", self._tokens()["admin"], "admin")
        if with_tekton:
            for obj in [_namespace(tekton.NAMESPACE), _namespace(tekton.RESOLVERS_NAMESPACE), *kinds.crds()]:
                self.client.ensure(plural_path(obj), obj)
        for path in manifests:
            self._create_all(path)
        self._wait("the CRDs to be established", lambda: tekton.crds_established(self.client))
        for name in (MANAGER, *([TEKTON] if with_tekton else [])):
            self._play(name, "http", "/healthz")

    def _play(self, name: str, scheme: str, health: str) -> None:
        port = self._state["ports"][name]
        command = [sys.executable, "-m", "tests.support.embeddedprocesses", name, str(self.work_dir), str(port)]
        # Coverage of these processes would be that of the double, and makes each of them a third slower.
        env = {"PYTHONPATH": str(REPOSITORY), "COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
        self.processes.define(name, command, env=env, health=f"{scheme}://127.0.0.1:{port}{health}")
        self.processes.start(name)
        self._await_healthy(name)

    def start_process(self, name: str) -> None:
        """Start a stopped process again; a process here is healthy when it works."""
        self.processes.start(name)
        self._await_healthy(name)

    @property
    def registry(self) -> str:
        """Where the bundles seem to be; nobody listens there."""
        return REGISTRY

    def push_bundle(self, ref_name: str, objects: Sequence[dict[str, Any]]) -> str:
        """Under the digest that a registry would give it."""
        name, _, tag = ref_name.partition(":")
        manifest, _ = registry.bundle(objects)
        reference = f"{REGISTRY}/{name}@{registry.digest_of(manifest)}"
        for known_as in (reference, f"{REGISTRY}/{name}:{tag or 'latest'}"):
            path = bundle_file(self.work_dir, known_as)
            partial = path.with_suffix(".tmp")
            partial.write_text(json.dumps(list(objects)))
            partial.replace(path)
        return reference


def bundle_file(work_dir: Path, reference: str) -> Path:
    """Where the objects of a bundle are kept."""
    return work_dir / "bundles" / f"{hashlib.sha256(reference.encode()).hexdigest()}.json"


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}

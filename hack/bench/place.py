"""Where a bench runs: a plane of its own, or the cluster of a kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.bench.objects import IMAGE, NAMESPACE
from hack.bench.subject import Subject
from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from hack.controlplane.plane import TEKTON, planes_root, sweep
from hack.controlplane.processes import ProcessTable
from hack.demo.installed import CONTROLLER_NAMESPACE, EXECUTION_NAMESPACE, install
from hack.demo.samples import BUNDLE_NAME, Object


@dataclass(frozen=True)
class Place:
    """``audit`` None: requests cannot be counted. ``user`` is the controller's name in the audit log."""

    kubeconfig: Path
    subject: Subject
    image: str
    real_tekton: bool
    audit: Path | None
    user: str


@contextmanager
def own_plane(*, real_tekton: bool, name: str = "") -> Iterator[Place]:
    """A fresh plane, removed afterwards; ``name``: the plane of that name, brought up if need be and kept."""
    sweep()
    directory = planes_root() / (name or f"bench-{os.getpid()}")
    plane = Plane.start(directory, owner_pid=None if name else os.getpid())
    kubelet = None
    try:
        controllers = install(plane)
        plane.ensure_namespace(NAMESPACE)
        image = IMAGE
        if real_tekton:
            image = plane.push_bundle("workflows/bench", [_pipeline()])
            kubelet = Kubelet(plane.kubeconfig).start()
        else:
            for process in TEKTON:
                plane.stop_process(process)
        subject = Subject(plane.processes, plane.work_dir, controllers)
        account = controllers.name.removeprefix(f"sa-{CONTROLLER_NAMESPACE}-")
        user = f"system:serviceaccount:{CONTROLLER_NAMESPACE}:{account}"
        audit = plane.work_dir / "logs" / "audit.log"
        try:
            yield Place(plane.kubeconfig, subject, image, real_tekton, audit, user)
        finally:
            subject.stop()
    finally:
        if kubelet is not None:
            kubelet.stop()
        if not name:
            plane.stop()


@contextmanager
def cluster(
    kubeconfig: Path, controllers: Path, work: Path, *, real_tekton: bool, image: str, audit: Path | None, user: str
) -> Iterator[Place]:
    """A cluster with our CRDs and namespaces (``manifests all``) and no controller; ours runs here, on this machine."""
    work.mkdir(parents=True, exist_ok=True)
    subject = Subject(ProcessTable(work), work, controllers)
    try:
        yield Place(kubeconfig, subject, image, real_tekton, audit, user)
    finally:
        subject.stop()


def _pipeline() -> Object:
    step = {"name": "act", "image": "busybox:1", "command": ["/bin/true"]}
    parameters = ("TARGET_RESOURCE", "DEPLOYMENT_NAME", "NAMESPACE", "REASON")
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": BUNDLE_NAME},
        "spec": {
            "params": [{"name": name, "type": "string"} for name in parameters],
            "tasks": [{"name": "act", "taskSpec": {"steps": [step]}}],
        },
    }


__all__ = ["CONTROLLER_NAMESPACE", "EXECUTION_NAMESPACE", "Place", "cluster", "own_plane"]

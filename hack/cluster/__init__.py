"""A real one-node Kubernetes cluster in a network namespace of its own, with Tekton and this repository's controller.

What :mod:`hack.controlplane` runs, plus a real node: containerd, kubelet, kube-proxy, scheduler, Tekton's webhook, our
own image, and ``manifests/overlays/dev`` installed with kubectl. Needs Linux, root and a few Debian packages, which
``python -m hack.cluster install`` gets; no Docker. Only the standard library is used.
"""

from __future__ import annotations

from hack.cluster.cluster import Cluster
from hack.cluster.machine import MachineUnfit

__all__ = ["Cluster", "MachineUnfit"]

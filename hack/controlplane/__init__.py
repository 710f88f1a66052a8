"""A real Kubernetes control plane with Tekton and an OCI registry, as local processes, without containers or root.

etcd, kube-apiserver, kube-controller-manager, Tekton's controller and resolvers and a registry run on free ports of
127.0.0.1 with their whole state in one work directory. There is no node: :mod:`hack.controlplane.kubelet` plays the
pods. Only the standard library is used, so that a plane can be had before anything is installed.
"""

from __future__ import annotations

from hack.controlplane.binaries import BinariesMissing
from hack.controlplane.client import Refused, RestClient
from hack.controlplane.plane import Plane, PlaneError

__all__ = ["BinariesMissing", "Plane", "PlaneError", "Refused", "RestClient"]

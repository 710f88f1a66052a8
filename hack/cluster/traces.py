"""What clusters leave on a machine, so that a test can say that one left nothing.

Everything a cluster makes outside its own directories is of a kind that is looked at here: mounts, network namespaces
and links, processes, control groups, sockets of shims, records of CNI plugins, links to logs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from hack.cluster.cleanup import SHARED_DIRECTORIES

_PLACES = (
    "/var/lib/wfe-cluster",
    "/var/lib/wfe-cluster/*",
    "/run/wfe-cluster",
    "/run/wfe-cluster/*",
    "/run/netns",
    "/run/netns/*",
    "/run/containerd/s/*",
    "/var/lib/cni/*/*",
    "/var/log/containers/*",
    "/var/log/pods/*",
    "/var/lib/kubelet/*",
    "/var/lib/kubelet/device-plugins/*",
    "/sys/fs/cgroup/*/k8s.io",
    "/sys/fs/cgroup/*/k8s.io/*/",
    "/sys/fs/cgroup/k8s.io",
    "/sys/class/net/*",
    *SHARED_DIRECTORIES,
)


def machine() -> set[str]:
    """All there is now, of every cluster and of whoever else uses containers here; compare two of them.

    Call it from outside of any cluster's network. Nothing where there is no Linux, and so no cluster.
    """
    if sys.platform != "linux":
        return set()
    return {*_files(), *_mounts(), *_processes()}


def _files() -> Iterator[str]:
    for pattern in _PLACES:
        for path in Path("/").glob(pattern.removeprefix("/")):
            yield f"file {path}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield f"mount {line.split()[4]}"


def _processes() -> Iterator[str]:
    """Those of a cluster by their words, and all that have a network of their own, as pods do."""
    machines = Path("/proc/self/ns/net").readlink()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended while we looked
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if words and ("/wfe-cluster/" in words or (entry / "ns" / "net").readlink() != machines):
                yield f"process {entry.name} {words}"

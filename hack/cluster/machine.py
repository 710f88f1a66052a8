"""What the cluster needs of the machine, and which command gets it. Only :func:`install` acts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import tools
from hack.controlplane import binaries

# What is looked for -> the Debian package that has it.
NODE_FILES = {
    "/usr/bin/containerd": "containerd",
    "/usr/bin/ctr": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/cni/portmap": "containernetworking-plugins",
    "/bin/busybox": "busybox-static",
    "/usr/sbin/iptables": "iptables",
    "/bin/ip": "iproute2",
    "/bin/mount": "mount",
}
BUILD_FILES = {
    "/usr/bin/buildah": "buildah",
    "/usr/sbin/debootstrap": "debootstrap",
    # Without it debootstrap takes whatever the mirror says.
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


class MachineUnfit(Exception):
    """The cluster cannot run here; the text names everything that is missing and how to get it."""


def missing_packages(files: dict[str, str]) -> list[str]:
    """Debian packages of the files that are not there, each once."""
    return sorted({package for path, package in files.items() if not Path(path).exists()})


def problems(*, building: bool) -> list[str]:
    """Every reason why the cluster cannot run here, each with its remedy; ``building``: an image has to be built."""
    found = []
    if sys.platform != "linux":
        return ["it needs Linux; with Docker, hack/kind/up.sh does the same"]
    if os.geteuid() != 0:
        found.append("it needs root (network namespace, mounts, cgroups): sudo, or hack/kind/up.sh with Docker")
    packages = missing_packages({**NODE_FILES, **(BUILD_FILES if building else {})})
    if packages:
        found.append(f"apt-get install --no-install-recommends {' '.join(packages)}")
    if not (binaries.complete() and tools.complete()) and shutil.which("go") is None:
        found.append(
            "the Kubernetes binaries are not built yet and there is no Go: install Go >= 1.26 (https://go.dev/dl)"
        )
    return found


def require(*, building: bool) -> None:
    """Raise MachineUnfit with all problems at once."""
    if found := problems(building=building):
        raise MachineUnfit("a cluster cannot run here:\n" + "\n".join(f"  - {problem}" for problem in found))


def install() -> Sequence[str]:
    """Install the Debian packages that are missing; gives their names. Nothing here uses the services they bring."""
    if shutil.which("apt-get") is None:
        raise MachineUnfit("there is no apt-get here; install by hand: " + " ".join(missing_packages(_ALL)))
    packages = missing_packages(_ALL)
    if packages:
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update"], check=True, env=env)
        subprocess.run(command, check=True, env=env)
    return packages


_ALL = {**NODE_FILES, **BUILD_FILES}

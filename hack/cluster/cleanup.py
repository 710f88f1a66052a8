"""Take a node down so that nothing is left: containers, shims, mounts, cgroups, links, the namespace.

Order matters. The kubelet goes first, else it starts again what is ended; then containers while containerd can still
end them; then containerd; then what only an accident leaves. A process is signalled only when it is in the cluster's
own network namespace and names the cluster's own directory, or descends from one that does: never by its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from hack.cluster.netns import NetworkNamespace
from hack.cluster.node import Places
from hack.controlplane.processes import POLL_SECONDS

_ENOUGH_SECONDS = 15.0
_CGROUPS = Path("/sys/fs/cgroup")
_NETNS = Path("/run/netns")
SHARED_DIRECTORIES = (
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
)


def end_containers(places: Places) -> None:
    """KILL every task through containerd and wait until there is none; does nothing when containerd is gone."""
    if not places.socket.exists():
        return
    deadline = time.monotonic() + _ENOUGH_SECONDS
    while (tasks := _ctr(places, "tasks", "list", "--quiet")) and time.monotonic() < deadline:
        # One call each: all of them must go, also when one is gone before its turn.
        for task in tasks:
            _ctr(places, "tasks", "kill", "--all", "--signal", "SIGKILL", task)
        for task in tasks:
            _ctr(places, "tasks", "delete", "--force", task)


def _ctr(places: Places, *arguments: str) -> list[str]:
    command = ["ctr", f"--address={places.socket}", "--namespace=k8s.io", "--timeout=5s", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.split() if done.returncode == 0 else []


def end_orphans(places: Places, namespace: NetworkNamespace) -> list[int]:
    """KILL what containerd left behind: shims of ours and all that descends from them. Gives the process ids."""
    if not namespace.exists():
        return []
    ours = {pid for pid in namespace.members() if str(places.run) in _command_line(pid)}
    chosen = ours | set(_descendants(ours))
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and _command_line(pid) for pid in chosen))
    return sorted(chosen)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _descendants(roots: set[int]) -> Iterable[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            yield child


def unmount(places: Places) -> list[str]:
    """Lazily unmount everything under the cluster's directories, the deepest first; gives the mount points."""
    found = _mounts_under(places.work, places.run)
    for point in reversed(found):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    return found


def _mounts_under(*directories: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    prefixes = tuple(f"{directory}/" for directory in directories)
    return sorted(point for point in points if point.startswith(prefixes))


def remove_traces(places: Places) -> None:
    """Remove what the runtime keeps outside the cluster's directories for its pods and containers."""
    results = Path("/var/lib/cni/results")
    for path in results.glob(f"{places.network}-*"):
        for namespace in _pod_namespaces(path):
            subprocess.run(["umount", "--lazy", str(namespace)], capture_output=True, check=False)
            namespace.unlink(missing_ok=True)
        sandbox = path.name.removeprefix(f"{places.network}-").partition("-")[0]
        for of_sandbox in results.glob(f"*-{sandbox}-*"):
            of_sandbox.unlink()
    state = places.work / "containerd" / "io.containerd.grpc.v1.cri"
    for name in (path.name for kind in ("sandboxes", "containers") for path in (state / kind).glob("*")):
        _wait(partial(_drop_groups, name))
    # A shim that was killed leaves its socket; the bundle of its pod says where.
    for note in places.run.glob("containerd/io.containerd.runtime.v2.task/k8s.io/*/address"):
        shim = Path(note.read_text().strip().removeprefix("unix://"))
        if shim.parent == Path("/run/containerd/s"):
            shim.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{places.work}/"):
            link.unlink()
    _drop_dead_socket(Path("/var/lib/kubelet/device-plugins/kubelet.sock"))
    # Made by ip, containerd and kubelet for everybody; each stays as long as anything is in it.
    if not list(_NETNS.glob("*")):
        subprocess.run(["umount", str(_NETNS)], capture_output=True, check=False)
    for folder in [*_CGROUPS.glob("*/k8s.io"), *(Path(name) for name in SHARED_DIRECTORIES), _NETNS]:
        _rmdir(folder)


def _pod_namespaces(result: Path) -> list[Path]:
    """Network namespaces of pods that a CNI result file names."""
    interfaces = json.loads(result.read_text()).get("result", {}).get("interfaces") or []
    named = {Path(item["sandbox"]).name for item in interfaces if item.get("sandbox")}
    return [path for name in named if (path := _NETNS / name).exists()]


def _drop_dead_socket(path: Path) -> None:
    """Every kubelet of a machine listens at this one place; ours is gone, another one's may not be."""
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        probe.close()


def _drop_groups(container: str) -> bool:
    """Remove a container's cgroups; the kernel lets them go only a moment after their last process."""
    for folder in _CGROUPS.glob(f"*/k8s.io/{container}"):
        _rmdir(folder)
    return not list(_CGROUPS.glob(f"*/k8s.io/{container}"))


def _rmdir(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or not empty: somebody else uses it
        folder.rmdir()


def remove_directories(places: Places) -> None:
    """Remove both directories, never across a mount that could not be undone."""
    if left := _mounts_under(places.work, places.run):
        raise OSError(f"still mounted, so nothing is removed: {', '.join(left)}")
    for directory in (places.run, places.work):
        shutil.rmtree(directory, ignore_errors=True)


def _wait(check: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _ENOUGH_SECONDS
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True

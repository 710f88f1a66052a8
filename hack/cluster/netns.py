"""A network namespace with one address of its own: whatever the cluster says to anybody stays inside.

Both ends of the one veth pair are inside (there need not be a dummy device in every kernel), so there is no way out
of it and none in. A process joins by :meth:`NetworkNamespace.entered`; /sys keeps showing the machine's cgroups,
which ``ip netns exec`` would hide from the kubelet.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from hack.controlplane.plane import PlaneError

_CLONE_NEWNET = 0x40000000
_UPLINK = "uplink"
# A second cluster may have the same address: nothing connects the two.
ADDRESS = "10.89.0.1"


class NetworkNamespace:
    """The namespace ``name``; the object holds no state, the kernel does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        """Make the namespace with its address and a default route; does nothing when it is there."""
        if self.exists():
            return
        _ip("netns", "add", self.name)
        try:
            inside = ("-netns", self.name)
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "link", "add", _UPLINK, "type", "veth", "peer", "name", f"{_UPLINK}-end")
            _ip(*inside, "address", "add", f"{ADDRESS}/24", "dev", _UPLINK)
            for device in (_UPLINK, f"{_UPLINK}-end"):
                _ip(*inside, "link", "set", device, "up")
            # kube-proxy and the kubelet ask for the device of the default route; packets that take it go nowhere.
            _ip(*inside, "route", "add", "default", "dev", _UPLINK)
            with self.entered():
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        except BaseException:
            self.delete()
            raise

    def delete(self) -> None:
        """Remove the name; the namespace itself ends with its last process."""
        if self.exists():
            _ip("netns", "delete", self.name)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and the processes it starts, be inside. Sockets keep the namespace they were opened in."""
        with open(f"/proc/self/task/{threading.get_native_id()}/ns/net") as outside, self.path.open() as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(outside.fileno())

    def members(self) -> list[int]:
        """Process ids inside, without this one."""
        wanted = self.path.stat()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):  # it ended while we looked
                seen = (entry / "ns" / "net").stat()
                if (seen.st_ino, seen.st_dev) == (wanted.st_ino, wanted.st_dev):
                    found.append(int(entry.name))
        return found


def _set_namespace(descriptor: int) -> None:
    # os.setns came with Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PlaneError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")

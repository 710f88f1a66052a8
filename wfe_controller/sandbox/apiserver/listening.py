"""A listening socket that knows which of the connections it accepted are still open.

``http`` ends with :meth:`Listening.cut`. Under TLS asyncio closes a connection only when the client has said goodbye
too, or after 30 s, and the web server does not wait for that: a loop that ended right after it left the sockets of
watches and of kept connections to the garbage collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import Any

TURNS = 100
"""Of the event loop, none of which waits. A connection needs about four to see its end."""


class Listening(socket.socket):
    """Bound and listening once made. Raises OSError when the port is taken."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(fileno=socket.create_server((host, port), reuse_port=False).detach())
        self.setblocking(False)
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        self._accepted.add(accepted)
        return accepted, address

    async def cut(self) -> None:
        """End what is still open, and return when its owners have closed it: cut, it is at its end, which they see."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
            still_open = [each for each in self._accepted if each.fileno() >= 0]
            if not still_open:
                return
            for each in still_open:
                with contextlib.suppress(OSError):  # the client has cut it
                    each.shutdown(socket.SHUT_RDWR)

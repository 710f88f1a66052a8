"""The sockets of one transport, until the last of them is closed.

Neighbours: ``transport`` opens all its connections through :meth:`Sockets.open` and ends with :meth:`Sockets.close`.

The end of a connection under TLS is an exchange: asyncio sends its goodbye and keeps the socket for up to 30 s, until
the other side has sent its own. aiohttp lets go of a connection at the moment it asks for its end, and knows of none
that is still in its handshake. So nobody is left to wait, and when the loop ends the socket is left to the garbage
collector.
Kept here: when close has returned, every socket that was opened is closed, and no further one is opened.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from contextlib import suppress
from typing import Any

import structlog

TURNS = 100
"""Of the event loop, none of which waits. A connection needs about four to see its end, step by step."""

_log = structlog.get_logger("wfe.kube.client")


class Sockets:
    """Opens sockets for an HTTP client, and knows which of them are still open."""

    def __init__(self) -> None:
        self._opened: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closed = False

    def open(self, address: tuple[Any, Any, int, str, Any]) -> socket.socket:
        """An unconnected socket for an address as getaddrinfo gives it. Raises OSError once closed."""
        family, kind, protocol, *_ = address
        if self._closed:
            raise ConnectionAbortedError("the transport is closed")
        opened = socket.socket(family, kind, protocol)
        self._opened.add(opened)
        return opened

    def count(self) -> int:
        """How many are open."""
        return sum(each.fileno() >= 0 for each in self._opened)

    async def close(self) -> None:
        """Cut whatever is still open, and return when its owner has closed it.

        Each socket belongs to an asyncio transport, or to a connect that is under way: closing it here would take it
        away under their hands. Cut, it is readable and at its end, which all of them answer by closing it.
        """
        self._closed = True
        for _ in range(TURNS):
            await asyncio.sleep(0)
            for each in self._opened:
                with suppress(OSError):  # closed, or not connected yet
                    each.shutdown(socket.SHUT_RDWR)
            if not self.count():
                return
        _log.debug("sockets still open after the end of their transport", count=self.count())

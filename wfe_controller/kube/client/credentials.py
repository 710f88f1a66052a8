"""Who we are and whom we trust, kept fresh: bearer token and TLS files that other processes rotate under us.

Neighbours: ``connection`` loads the configuration (the only place that knows the Kubernetes library), ``transport``
asks here before every request. Kept here (user pain W10): a rotated token is used at most 60 s later, and at once
after a 401; a changed CA or client certificate gives a new SSL context; a file caught half-written never replaces
what works.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from wfe_controller.kube.clock import Clock

REFRESH_SECONDS = 60.0
"""Longest age of what was read from disk; the kubelet rotates a token minutes before the old one ends."""
PATIENCE = 1.0
"""Seconds a request waits for the minute's re-read before it goes on with what there is. Files take milliseconds."""
FORCED_SPACING = 1.0
"""Least seconds between two reloads caused by 401: a permanently refused exec plugin must not run per request."""

_log = structlog.get_logger("wfe.kube.client")


@dataclass(frozen=True, slots=True)
class Identity:
    """What one load of the configuration gave.

    File names may be None; ``authorization`` is a header value or ""; ``source`` says in words where it comes from.
    """

    server: str
    authorization: str
    source: str = ""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    tls_server_name: str | None = None
    proxy: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(name for name in (self.ca_file, self.cert_file, self.key_file) if name)


class CredentialsFailed(Exception):
    """Reading the token, the kubeconfig or the certificates failed; the message says which and why."""


Loader = Callable[[bool], Awaitable[Identity]]
"""Reads the identity anew. True: from scratch, after the server refused the present one."""


def tls_context(identity: Identity) -> ssl.SSLContext:
    """A client context from the identity's files. Blocking, but only milliseconds. Raises OSError, ssl.SSLError."""
    context = ssl.create_default_context(cafile=identity.ca_file)
    # Python 3.13 began to demand extensions that the CAs of older kubeadm and k3s clusters lack; client-go does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if identity.cert_file:
        context.load_cert_chain(identity.cert_file, identity.key_file)
    if not identity.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Credentials:
    """The present identity and SSL context.

    ``tls_generation`` grows each time the context was rebuilt; the transport then opens new connections.
    At most one reload runs; everybody who needs it waits for the same one, none longer than it may. A credential
    plugin that hangs so costs a moment per request, not the lease.
    """

    def __init__(self, loader: Loader, clock: Clock) -> None:
        self._loader = loader
        self._clock = clock
        self._reloading: asyncio.Task[None] | None = None
        self._checked_at = 0.0
        self._forced_at: float | None = None
        self._digest = ""
        self._stat: tuple[tuple[int, ...], ...] = ()
        self.identity = Identity("", "")
        self.context: ssl.SSLContext | None = None
        self.tls_generation = 0

    async def load(self) -> None:
        """The first load; any failure is raised as CredentialsFailed."""
        self.identity = await self._loader(True)
        self._rebuild_tls(self.identity)
        self._checked_at = self._clock.monotonic()

    async def fresh(self) -> Identity:
        """The identity, re-read when it is older than a minute. A failed or slow re-read keeps the old one."""
        if self._clock.monotonic() - self._checked_at >= REFRESH_SECONDS:
            await self._reload(from_scratch=False, within=PATIENCE)
        return self.identity

    async def refused(self, authorization: str, within: float) -> None:
        """The server answered 401 to that header: re-read at once, unless another request already did."""
        if self.identity.authorization != authorization:
            return
        now = self._clock.monotonic()
        if self._busy() or self._forced_at is None or now - self._forced_at >= FORCED_SPACING:
            self._forced_at = now
            await self._reload(from_scratch=True, within=within)

    async def distrusted(self, generation: int, within: float) -> bool:
        """A handshake with the context of that generation failed: look at the files. True when there is a newer one."""
        if self.tls_generation == generation:
            await self._reload(from_scratch=False, within=within)
        return self.tls_generation != generation

    async def close(self) -> None:
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait({self._reloading})

    def _busy(self) -> bool:
        return self._reloading is not None and not self._reloading.done()

    async def _reload(self, *, from_scratch: bool, within: float) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._read_again(from_scratch))
        await asyncio.wait({self._reloading}, timeout=within)

    async def _read_again(self, from_scratch: bool) -> None:
        self._checked_at = self._clock.monotonic()
        try:
            identity = await self._loader(from_scratch)
            self._rebuild_tls(identity)
        except CredentialsFailed as error:
            _log.warning("credentials not reloaded, keeping the present ones", error=str(error))
            return
        if identity.authorization != self.identity.authorization:
            _log.info("credentials reloaded", source=identity.source)
        self.identity = identity

    def _rebuild_tls(self, identity: Identity) -> None:
        """Build a context when the server is https and a file's bytes changed (a touched file changes nothing)."""
        if not identity.server.startswith("https"):
            return
        try:
            stat = tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in map(os.stat, identity.files))
            if self.context is not None and stat == self._stat and identity.files == self.identity.files:
                return
            digest = hashlib.sha256(repr((identity.files, identity.verify)).encode())
            for name in identity.files:
                digest.update(Path(name).read_bytes())
            if digest.hexdigest() != self._digest:
                self.context = tls_context(identity)
                self.tls_generation += 1
                self._digest = digest.hexdigest()
                if self.tls_generation > 1:
                    _log.info("certificates reloaded", generation=self.tls_generation)
            self._stat = stat
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(identity.files) or "the default trust store"
            raise CredentialsFailed(f"{identity.source}: certificates ({names}): {error}") from error

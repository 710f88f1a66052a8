"""/metrics, /healthz and /readyz over HTTP: the only importer of aiohttp.web.

Two listeners, or one when both addresses are the same. It starts first and stops last (I-55, I-56): during shutdown
the probes still answer, readiness with the reason. The pages only read; nothing here can change the controller.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from wfe_controller.app.addresses import Address, parse_address
from wfe_controller.app.exits import StartFailed
from wfe_controller.kube.probes import CheckResult, Probe

_log = structlog.get_logger("wfe.app.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def probe_lines(name: str, results: Mapping[str, CheckResult]) -> str:
    """One line a check, then the verdict: ``[+]caches ok age=1.2s``, ``[-]lease failed: no renewal for 12s``."""
    lines = []
    for check, result in results.items():
        if result.ok:
            note = f" {_one_line(result.why)}" if result.why else ""
            lines.append(f"[+]{check} ok age={result.age:.1f}s{note}")
        else:
            lines.append(f"[-]{check} failed: {_one_line(result.why) or 'no reason given'}")
    verdict = "passed" if all(result.ok for result in results.values()) else "failed"
    return "\n".join([*lines, f"{name} check {verdict}", ""])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _probe_handler(name: str, probe: Probe) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        results = probe.results()
        status = 200 if all(result.ok for result in results.values()) else 503
        if request.query.get("format") == "json":
            checks = {
                check: {"ok": result.ok, "why": result.why, "ageSeconds": round(result.age, 3)}
                for check, result in results.items()
            }
            body, kind = json.dumps({"ok": status == 200, "checks": checks}), "application/json"
        else:
            body, kind = probe_lines(name, results), "text/plain"
        return web.Response(status=status, text=body, content_type=kind, headers={"Cache-Control": "no-store"})

    return handle


def _metrics_handler(render: Callable[[], bytes], content_type: str) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=render(), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return handle


class HttpServers:
    """Both listeners. ``start`` raises StartFailed when an address cannot be had; ``stop`` is safe at any time.

    ``metrics_port`` and ``health_port`` are the real ones after start (an address may ask for port 0).
    """

    def __init__(
        self,
        *,
        metrics_address: str,
        health_address: str,
        render: Callable[[], bytes],
        content_type: str,
        live: Probe,
        ready: Probe,
    ) -> None:
        metrics_routes = {"/metrics": _metrics_handler(render, content_type)}
        health_routes = {"/healthz": _probe_handler("healthz", live), "/readyz": _probe_handler("readyz", ready)}
        # Port 0 means "any": two listeners then, even when both addresses read the same.
        shared = metrics_address == health_address and parse_address(metrics_address).port != 0
        self._plan: list[tuple[str, str, dict[str, Handler]]] = (
            [("controller.metricsAddress", metrics_address, {**metrics_routes, **health_routes})]
            if shared
            else [
                ("controller.metricsAddress", metrics_address, metrics_routes),
                ("controller.healthAddress", health_address, health_routes),
            ]
        )
        self._runners: list[web.AppRunner] = []
        self.metrics_port = 0
        self.health_port = 0

    def application(self) -> web.Application:
        """All pages in one application, without a listener: for tests."""
        routes: dict[str, Handler] = {}
        for _key, _address, part in self._plan:
            routes |= part
        return _application(routes)

    async def start(self) -> None:
        ports = []
        try:
            for key, text, routes in self._plan:
                ports.append(await self._listen(key, text, parse_address(text), routes))
        except StartFailed:
            await self.stop()
            raise
        self.metrics_port, self.health_port = ports[0], ports[-1]
        _log.info("serving metrics and probes", metrics_port=self.metrics_port, health_port=self.health_port)

    async def _listen(self, key: str, text: str, address: Address, routes: dict[str, Handler]) -> int:
        runner = web.AppRunner(_application(routes), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, address.host or None, address.port).start()
        except OSError as error:
            why = "port is in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise StartFailed(
                f"cannot listen on port {address.port} ({key} = {text}): {why}; stop the other process or set {key}"
            ) from None
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        runners, self._runners = self._runners, []
        for runner in runners:
            await runner.cleanup()


def _application(routes: Mapping[str, Handler]) -> web.Application:
    app = web.Application(client_max_size=1024)
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    return app

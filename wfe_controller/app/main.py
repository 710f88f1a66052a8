"""The life of the process: connect, check what it needs, assemble, run until SIGTERM (SPEC 8, T-11)."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
import tenacity

from wfe_controller import __version__
from wfe_controller.api import names
from wfe_controller.app.config import Settings
from wfe_controller.app.drift import served
from wfe_controller.app.exits import ConfigError, StartFailed
from wfe_controller.app.health import Health
from wfe_controller.app.home import home_namespace
from wfe_controller.app.http import HttpServers
from wfe_controller.app.logs import LogControl
from wfe_controller.app.metrics import Metrics
from wfe_controller.app.reload import Reloader
from wfe_controller.app.wiring import Assembly, assemble
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Throttle
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import Clock, RealClock
from wfe_controller.kube.election.elector import lease_is_alive
from wfe_controller.kube.errors import KubeError, transient
from wfe_controller.kube.objects import ObjectKey

log = structlog.get_logger("wfe.app")

T = TypeVar("T")

START_TRIES = 6
START_WAIT_MAX = 10.0
"""Start-up checks retry what is transient for about half a minute, then the process ends and is started again."""
FAILPOINTS = "KUBE_FAILPOINTS"
GC_THRESHOLDS = (50_000, 20, 50)
"""Decoding allocates many small containers that die at once; the default makes the collector the dearest part."""


async def run_controller(
    settings: Settings, connection: ConnectionSettings, logs: LogControl, *, stop: asyncio.Event | None = None
) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ExitError for what keeps it from starting.

    ``logs`` takes a changed level when the configuration is reloaded. With ``stop`` given the signals are left alone:
    it runs until the event is set (the sandbox has the controller beside itself in one process).
    """
    gc.set_threshold(*GC_THRESHOLDS)
    clock = RealClock()
    home = home_namespace(settings, connection, os.environ)
    metrics = Metrics(clock=clock)
    transport = await _main_transport().connect(connection, clock=clock)
    lease_transport = await Transport.connect(connection, clock=clock)
    try:
        throttle = Throttle(settings.client.qps, settings.client.burst, clock=clock, instruments=metrics)
        timeout = settings.client.request_timeout
        api = Api(transport, throttle=throttle, clock=clock, instruments=metrics, request_timeout=timeout)
        lease_api = Api(lease_transport, throttle=None, clock=clock, instruments=metrics, request_timeout=timeout)
        log.info("connected", server=transport.server, version=__version__, namespace=home)
        await _check(api, settings, home, clock)
        assembly = assemble(settings, api, lease_api, throttle, home=home, metrics=metrics, clock=clock)
        async with _stopped_by(stop) as end:
            return await _run(settings, assembly, api, home, metrics, clock, logs, end)
    finally:
        await transport.close()
        await lease_transport.close()


def _main_transport() -> type[Transport]:
    """The plain one; with failpoints where the crash suite asks for them. No build has those (pyproject.toml)."""
    if not os.environ.get(FAILPOINTS):
        return Transport
    try:
        failpoints = importlib.import_module("wfe_controller.app.failpoints")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{FAILPOINTS} is set, but this build has no failpoints: unset it") from error
    log.warning("failpoints are active: this is a crash test", directory=os.environ[FAILPOINTS])
    failing: type[Transport] = failpoints.FailingTransport
    return failing


@asynccontextmanager
async def _stopped_by(stop: asyncio.Event | None) -> AsyncIterator[asyncio.Event]:
    """``stop``, or an event that SIGTERM and SIGINT set."""
    if stop is not None:
        yield stop
        return
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _run(
    settings: Settings,
    assembly: Assembly,
    api: Api,
    home: str,
    metrics: Metrics,
    clock: Clock,
    logs: LogControl,
    stop: asyncio.Event,
) -> int:
    reloader = Reloader(settings, clock=clock, instruments=metrics)
    health = Health(settings, assembly, api, home, reloader, clock)
    servers = HttpServers(
        metrics_address=settings.controller.metrics_address,
        health_address=settings.controller.health_address,
        render=metrics.render,
        content_type=metrics.content_type,
        live=health.live,
        ready=health.ready,
    )
    manager = assembly.manager
    manager.add_server("http", servers.start, servers.stop)
    manager.add_task("rights", health.run)
    manager.add_task("config-reload", reloader.run)
    reloader.on_change(assembly.apply)
    reloader.on_change(lambda changed: logs.set_level(changed.logging.level))
    return await manager.run(stop)


async def _check(api: Api, settings: Settings, home: str, clock: Clock) -> None:
    """Our CRDs, Tekton when it is required, and that nobody leads when election is off. Raises ExitError."""
    for resource in (names.WORKFLOWEXECUTIONS, names.TARGETLOCKS):
        if not await _patiently(lambda r=resource: served(api, r), clock):  # type: ignore[misc]
            raise StartFailed(
                f"{resource.group_resource} is not served by the cluster: apply the CRDs first "
                f"(wfe-controller manifests crds | kubectl apply -f -)"
            )
    if settings.tekton_required and not await _patiently(lambda: served(api, names.PIPELINERUNS), clock):
        raise StartFailed(
            "required dependency check failed: Tekton is not installed (tekton.dev/v1 pipelineruns is not served); "
            "install Tekton Pipelines, or start with --no-require-tekton"
        )
    if not settings.controller.leader_election:
        key = ObjectKey(home, settings.controller.leader_election_id)
        holder = await _patiently(lambda: lease_is_alive(api, key, clock=clock), clock)
        if holder:
            raise ConfigError(
                f"--no-leader-elect: the Lease {key} is alive, held by {holder}; two controllers must not act at once: "
                f"stop the other one, or leave leader election on"
            )


async def _patiently(call: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """The answer, with retries of what is transient. StartFailed when the server cannot be asked."""
    try:
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(START_TRIES),
            wait=tenacity.wait_exponential_jitter(initial=0.5, max=START_WAIT_MAX),
            retry=tenacity.retry_if_exception(transient),
            sleep=clock.sleep,
            reraise=True,
        ):
            with attempt:
                return await call()
    except KubeError as error:
        raise StartFailed(f"the API server cannot be asked: {error}") from error
    raise AssertionError("tenacity gives an answer or raises")

"""A sandbox from start to end: API server, simulators, the controller, the director, and nothing left of them after.

The controller is the one of the Deployment (``app.main.run_controller``): over TLS, with the token of its own service
account and the rights of the shipped manifests. Only its log stays in memory, for whoever has to tell a failure.
Neighbours: the command line gives plan and manifests and is the Audience; ``director`` plays the scenario.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import secrets
import signal
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wfe_controller.api import names
from wfe_controller.app.config import Settings, load_settings
from wfe_controller.app.exits import ConfigError, StartFailed
from wfe_controller.app.logs import configure_logging
from wfe_controller.app.main import run_controller
from wfe_controller.kube.cache.informer import Informer
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import Clock
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import EVENTS, LEASES, Json, ObjectKey, spec
from wfe_controller.sandbox import kubeconfig
from wfe_controller.sandbox.apiserver.certificate import self_signed
from wfe_controller.sandbox.apiserver.http import HttpFront
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.server import ApiServer
from wfe_controller.sandbox.director import Director, Ending
from wfe_controller.sandbox.installation import account_token, install
from wfe_controller.sandbox.place import place
from wfe_controller.sandbox.simulators.cast import Cast
from wfe_controller.sandbox.simulators.scenario import Scenario
from wfe_controller.sandbox.simulators.simulation import Simulation

T = TypeVar("T")

SHOW_SECONDS = 0.1
END_SECONDS = 20.0
"""The controller's own stop takes no longer (kube.control.manager)."""
LEAD_SECONDS = 30.0
POLL_SECONDS = 0.05
RETRY_PERIOD = "500ms"
"""Of the election, which looks for so long whether somebody else is there. In a sandbox there is nobody else."""
LOG_LINES = 500
ADMINISTRATOR = "sandbox-admin"
LOOPBACK = "127.0.0.1"
_SHOWN_KINDS = (names.WORKFLOWEXECUTIONS.kind, names.TARGETLOCKS.kind)


@dataclass(frozen=True)
class Plan:
    """What was asked for. ``kubeconfig_out`` None: a temporary file. ``manifests``: what the product ships."""

    scenario: Scenario
    manifests: Sequence[Json]
    port: int = 0
    kubeconfig_out: Path | None = None
    keep: bool = False
    samples: bool = True
    speed: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What there is to see at one moment; events about WorkflowExecutions and TargetLocks, the newest last."""

    now: datetime
    executions: Sequence[Json]
    locks: Sequence[Json]
    events: Sequence[Json]


class Audience(Protocol):
    """Who watches. Nothing here may fail or wait."""

    def starts(self, what: str) -> None:
        """Something takes a moment."""

    def ready(self, kubeconfig: Path) -> None:
        """From here on others can talk to the server."""

    def note(self, text: str) -> None:
        """One line of the story, before it happens."""

    def show(self, scene: Scene) -> None:
        """Called several times a second."""

    def ended(self, ending: Ending) -> None:
        """The scenario is over; with ``keep`` more is shown after it."""


@dataclass
class Result:
    """``ending`` None: there was no scenario to play, or it was interrupted. ``log``: the controller's last lines."""

    ending: Ending | None
    log: Sequence[str]


class _Tail(io.TextIOBase):
    """The last lines of a log, in memory."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=LOG_LINES)

    def write(self, text: str) -> int:
        self.lines.extend(text.splitlines())
        return len(text)


async def run(plan: Plan, audience: Audience, *, clock: Clock, rng: random.Random) -> Result:
    """Until the scenario has ended, or with ``keep`` (or without samples) until SIGINT, SIGTERM or SIGHUP.

    Raises ConfigError for a scenario's configuration that cannot be used, StartFailed for what keeps it from running.
    """
    tail = _Tail()
    logs = configure_logging("info", "json", stream=tail)  # type: ignore[arg-type]  # it only writes and flushes
    sandbox = _Sandbox(plan, audience, clock, rng)
    try:
        with _signals() as interrupted:
            async with AsyncExitStack() as stack:
                playing = asyncio.create_task(sandbox.play(stack, logs), name="sandbox")
                waiting = asyncio.create_task(interrupted.wait())
                try:
                    await asyncio.wait({playing, waiting}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (waiting, playing):
                        task.cancel()
                    await asyncio.wait({playing, waiting})
                if not playing.cancelled():
                    playing.result()
    finally:
        logs.close()
    return Result(sandbox.ending, tuple(tail.lines))


class _Sandbox:
    def __init__(self, plan: Plan, audience: Audience, clock: Clock, rng: random.Random) -> None:
        self._plan, self._audience, self._clock, self._rng = plan, audience, clock, rng
        self.ending: Ending | None = None

    async def play(self, stack: AsyncExitStack, logs: Any) -> None:
        """What is entered into ``stack`` is left in the opposite order, by whoever gave it."""
        plan, audience = self._plan, self._audience
        try:
            directory = stack.enter_context(place(plan.kubeconfig_out))
        except OSError as error:
            raise StartFailed(
                f"no temporary directory can be made ({error.strerror or error}): set TMPDIR to a directory of yours"
            ) from error
        settings = _settings(plan.scenario, directory / "config.json")
        audience.starts("an API server in memory, a simulated Tekton, and the controller")
        server, api, path = await self._serve(stack, directory)
        await install(api, plan.manifests, clock=self._clock)
        cast = Cast(Simulation(api, clock=self._clock, rng=self._rng, speed=plan.speed), plan.scenario)
        server.logs = cast.pods
        director = Director(api, plan.scenario, clock=self._clock, rng=self._rng, speed=plan.speed, note=audience.note)
        await director.prepare()
        await cast.pods.ensure_node()
        events = Informer(api, EVENTS, clock=self._clock, rng=self._rng, resync_period=0)
        own = await self._account(api, directory, path)
        await stack.enter_async_context(cast.simulation.running())
        await stack.enter_async_context(director.watching())
        await stack.enter_async_context(_background(events.run(), "sandbox-events"))
        controller = await stack.enter_async_context(_controller(settings, own, logs, self._clock))
        await _while_running(controller, events.wait_synced(LEAD_SECONDS))
        lease = ObjectKey(names.DEFAULT_CONTROLLER_NAMESPACE, settings.controller.leader_election_id)
        await _while_running(controller, self._lead(api, lease))
        audience.ready(path)
        showing = self._keep_showing(director, events)
        async with _background(showing, "sandbox-view"):
            if plan.samples:
                self.ending = await _while_running(controller, director.play())
                audience.show(self._scene(director, events))
                audience.ended(self.ending)
            if plan.keep or not plan.samples:
                await _while_running(controller, asyncio.Event().wait())

    async def _serve(self, stack: AsyncExitStack, directory: Path) -> tuple[ApiServer, Api, Path]:
        """The server behind its socket, an administrator's client of it, and his kubeconfig."""
        token = secrets.token_urlsafe(24)
        administrator = User.known(ADMINISTRATOR, ADMINISTRATOR, ("system:masters",))
        server = ApiServer(clock=self._clock, rng=self._rng, tokens={token: administrator})
        certificate = self_signed(self._clock.now())
        front = HttpFront(server, host=LOOPBACK, port=self._plan.port, certificate=certificate)
        stack.push_async_callback(front.stop)
        stack.push_async_callback(server.close)
        try:
            await front.start()
        except OSError as error:
            raise StartFailed(
                f"port {self._plan.port} of {LOOPBACK} cannot be had ({os.strerror(error.errno or 0)}): "
                "choose another with --port, or none for a free one"
            ) from error
        path = self._plan.kubeconfig_out or directory / "kubeconfig"
        content = kubeconfig.kubeconfig(
            server=front.url,
            ca_pem=certificate.pem,
            token=token,
            user=ADMINISTRATOR,
            namespace=self._plan.scenario.namespace,
        )
        try:
            stack.enter_context(kubeconfig.held(path, content))
        except BlockingIOError:
            raise ConfigError(f"--kubeconfig-out {path}: {kubeconfig.IN_USE}") from None
        except OSError as error:
            raise ConfigError(
                f"--kubeconfig-out {path}: cannot be written ({error.strerror}): name a file in a directory of yours"
            ) from None
        ca, own = directory / "ca.crt", directory / "administrator"
        kubeconfig.write(ca, certificate.pem)
        kubeconfig.derive(path, own, ca)
        transport = await Transport.connect(ConnectionSettings(kubeconfig=str(own)), clock=self._clock)
        stack.push_async_callback(transport.close)
        return server, Api(transport, throttle=None, clock=self._clock, rng=self._rng), path

    async def _account(self, api: Api, directory: Path, administrators: Path) -> Path:
        """The kubeconfig of the controller: the same server, the token of its service account."""
        home = names.DEFAULT_CONTROLLER_NAMESPACE
        token = await account_token(api, ObjectKey(home, names.COMPONENT))
        path = directory / "controller"
        kubeconfig.derive(administrators, path, directory / "ca.crt", token=token)
        return path

    async def _lead(self, api: Api, lease: ObjectKey) -> None:
        """Wait until the controller works: the scenario's deadline is not for its start."""
        async with asyncio.timeout(LEAD_SECONDS):
            while True:
                try:
                    if spec(await api.get(LEASES, lease)).get("holderIdentity"):
                        return
                except NotFound:
                    pass  # it comes with the first holder
                await self._clock.sleep(POLL_SECONDS)

    async def _keep_showing(self, director: Director, events: Informer) -> None:
        while True:
            self._audience.show(self._scene(director, events))
            await self._clock.sleep(SHOW_SECONDS)

    def _scene(self, director: Director, events: Informer) -> Scene:
        told = [found.decode() for found in events.store.list()]
        ours = [event for event in told if event.get("involvedObject", {}).get("kind") in _SHOWN_KINDS]
        return Scene(
            self._clock.now(),
            [found.decode() for found in director.executions.store.list()],
            [found.decode() for found in director.locks.store.list()],
            sorted(
                ours, key=lambda event: (str(event.get("lastTimestamp")), int(event["metadata"]["resourceVersion"]))
            ),
        )


def _settings(scenario: Scenario, file: Path) -> Settings:
    """The controller's settings: the scenario's, and addresses that are free. Nothing of the caller's environment."""
    address = f"{LOOPBACK}:0"
    own = {"retryPeriod": RETRY_PERIOD, "metricsAddress": address, "healthAddress": address}
    file.write_text(
        json.dumps(
            {**scenario.configuration, "controller": {**own, **scenario.configuration.get("controller", {})}},
            default=str,
        )
    )
    try:
        return load_settings(file, {}, {})
    except ConfigError as error:
        problems = [f"scenario {scenario.file}: configuration: {problem}" for problem in error.problems]
        raise ConfigError([problem.replace(f"{file}", "the scenario") for problem in problems]) from None


@asynccontextmanager
async def _controller(settings: Settings, file: Path, logs: Any, clock: Clock) -> AsyncIterator[asyncio.Task[int]]:
    """The controller as its Deployment would run it; stopped in order at the end."""
    stop = asyncio.Event()
    connection = ConnectionSettings(kubeconfig=str(file))
    task = asyncio.create_task(run_controller(settings, connection, logs, stop=stop), name="sandbox-controller")
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=END_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """``work`` runs inside; how it fails is raised at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        ended = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if ended:
        task.result()


async def _while_running(controller: asyncio.Task[int], work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; StartFailed when the controller ends before it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, controller}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StartFailed(f"the controller ended by itself, with exit code {controller.result()}")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """An event that the signals set with which people and terminals end a program."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

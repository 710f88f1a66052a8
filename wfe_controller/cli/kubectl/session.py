"""One command's connection to the cluster, and how a command refuses.

Neighbours: every command runs its work in ``run``. Refusals carry the reason and the next step (SPEC 10).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from wfe_controller.api.names import WORKFLOWEXECUTIONS
from wfe_controller.app.exits import EXIT_ENVIRONMENT, ExitError
from wfe_controller.app.logs import configure_logging
from wfe_controller.cli.kubectl.options import Places
from wfe_controller.cli.kubectl.words import CommandLine, one_line
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import Clock, RealClock
from wfe_controller.kube.errors import (
    ApiError,
    ConnectionFailed,
    Forbidden,
    KubeConfigError,
    KubeError,
    NotFound,
    RequestTimeout,
    Unauthorized,
    transient,
)
from wfe_controller.kube.objects import Json, ObjectKey, Resource, mapping, namespace_of, status, text

T = TypeVar("T")

SELF_SUBJECT_REVIEWS = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False)


class Refusal(ExitError):
    """Nothing was done: ``reason``, and the command that goes on from here ("" = there is none)."""

    code = EXIT_ENVIRONMENT

    def __init__(self, reason: str, next_: str = "") -> None:
        super().__init__(f"{one_line(reason)}\n  next: {next_}" if next_ else one_line(reason))
        self.reason = reason
        self.next = next_


class Elsewhere(Refusal):
    """It is not in this namespace, but one of its name is in another."""


@dataclass(frozen=True, slots=True)
class Session:
    """``namespace``: the one to work in; ``home``: the controller's; ``execution``: that of the runs."""

    api: Api
    clock: Clock
    namespace: str
    home: str
    execution: str
    commands: CommandLine

    async def now(self) -> datetime:
        """The server's time: all instants are compared with it, not with this machine's."""
        return await self.api.server_date() or self.clock.now()

    async def username(self) -> str:
        """Who the server says we are."""
        body = {"apiVersion": SELF_SUBJECT_REVIEWS.api_version, "kind": SELF_SUBJECT_REVIEWS.kind}
        answer = await self.api.raw("POST", SELF_SUBJECT_REVIEWS.path(), body=body)
        return text(mapping(status(answer).get("userInfo")).get("username"))

    async def execution_named(self, name: str) -> Json:
        """The WorkflowExecution of that name; a Refusal that says where it is, when it is elsewhere."""
        try:
            return await self.api.get(WORKFLOWEXECUTIONS, ObjectKey(self.namespace, name))
        except NotFound as error:
            if error.type_missing:
                raise no_kinds(self) from None
            raise await self._elsewhere(name) from None

    async def _elsewhere(self, name: str) -> Refusal:
        missing = f"there is no WorkflowExecution {name!r} in namespace {self.namespace!r}"
        try:
            found = await self.api.list(WORKFLOWEXECUTIONS, field_selector=f"metadata.name={name}")
        except Forbidden:
            found = []
        if found:
            where = namespace_of(found[0])
            there = self.commands.wfe("get", name, namespace=where)
            return Elsewhere(f"{missing}, but there is one in {where!r}", there)
        return Refusal(missing, self.commands.wfe("get", namespace=self.namespace))


def no_kinds(session: Session) -> Refusal:
    """Our CRDs are not there. Most often it is the wrong cluster: nobody is told to install anything at once."""
    known = f"{session.api.transport.server} does not know WorkflowExecutions"
    which = session.commands.wfe("doctor", namespace=session.namespace)
    return Refusal(f"{known}: it is not the cluster you mean, or the CRDs are not installed there", which)


def refused(error: KubeError, session: Session) -> Refusal:
    """What the server answered, or why it did not, and where to look next."""
    commands = session.commands
    match error:
        case Forbidden():
            return Refusal(
                f"the API server refuses: {error.message}", commands.wfe("doctor", namespace=session.namespace)
            )
        case Unauthorized():
            said = "the API server does not know you (401): your token or certificate has expired or is not for it"
            return Refusal(f"{said}; log in again", commands.kubectl("auth", "whoami"))
        case NotFound() if error.type_missing:
            return no_kinds(session)
        case NotFound():
            return Refusal(f"it went away meanwhile: {error.message}", commands.wfe("get", namespace=session.namespace))
        case ConnectionFailed() | RequestTimeout():
            return Refusal(unreachable(error, session.api.transport.server), commands.kubectl("cluster-info"))
        case ApiError() if transient(error):
            return Refusal(
                f"the API server cannot answer now: {error}", commands.kubectl("get", "--raw", "/readyz?verbose")
            )
    return Refusal(f"the API server refuses: {error}", commands.wfe("doctor", namespace=session.namespace))


def unreachable(error: KubeError, server: str) -> str:
    """Why nothing came back from ``server``, in words of the trade."""
    if isinstance(error, RequestTimeout):
        return f"{server} does not answer: {error}"
    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"its certificate is not one that your kubeconfig trusts ({cause.verify_message})"
        return f"{server} may not be the cluster you mean: {why}"
    if isinstance(cause, socket.gaierror):
        return f"the name in {server} cannot be resolved ({cause.strerror})"
    if isinstance(cause, ConnectionRefusedError):
        return f"nobody listens at {server}: the API server is down, or elsewhere"
    return f"{server} does not answer: {error}"


def _root(error: BaseException) -> BaseException | None:
    """The system's own error below those of the HTTP library, which carry it as an attribute."""
    cause: BaseException | None = error.__cause__
    for _ in range(5):
        inner = getattr(cause, "certificate_error", None) or getattr(cause, "os_error", None)
        below = inner if isinstance(inner, BaseException) and inner is not cause else getattr(cause, "__cause__", None)
        if below is None:
            return cause
        cause = below
    return cause


def run(places: Places, work: Callable[[Session], Awaitable[T]]) -> T:
    """Connect, do the work, disconnect. A refused right becomes a Refusal that names it."""
    control = configure_logging("error", "console")
    try:
        return asyncio.run(_run(places, work))
    finally:
        control.close()


async def _run(places: Places, work: Callable[[Session], Awaitable[T]]) -> T:
    clock = RealClock()
    settings = ConnectionSettings(kubeconfig=places.kubeconfig, context=places.context, user_agent="kubectl-wfe")
    transport = await Transport.connect(settings, clock=clock)
    try:
        namespace = places.namespace or transport.namespace or "default"
        api = Api(transport, throttle=None, clock=clock)
        session = Session(api, clock, namespace, places.home, places.execution, places.commands)
        try:
            return await work(session)
        except KubeConfigError:
            raise  # what is in a file, and exit code 2: main says it
        except KubeError as error:
            raise refused(error, session) from None
    finally:
        await transport.close()

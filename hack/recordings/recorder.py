"""Plays situations on a control plane, several at once, each in a namespace of its own, and gives what was written.

Whose pods they are: those of a real node (``hack.cluster``), those of our simulator under the real Tekton (what a node
cannot be made to do), or everything simulated, for a look at differences.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum

from hack.controlplane import Plane
from hack.recordings.company import Company
from hack.recordings.situations import Object, Situation
from hack.recordings.stage import NeverOver
from hack.recordings.workloads import Work
from hack.recordings.workloads import record as record_work
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.sandbox.simulators.tekton import terms


class Pods(Enum):
    """REAL: a node runs them. PLAYED: our simulator, under the real controllers. SIMULATED: Tekton is ours too."""

    REAL = "real"
    PLAYED = "played"
    SIMULATED = "simulated"


def record(
    plane: Plane,
    items: Iterable[Situation | Work],
    pods: Pods,
    *,
    at_once: int,
    done: Callable[[Situation | Work, Object | NeverOver], None] = lambda item, found: None,
) -> list[Object | NeverOver]:
    """One for each: what was written, normalised, or how it did not end; ``done`` hears of each when it is over."""
    return asyncio.run(_record(plane, list(items), pods, at_once, done))


async def _record(
    plane: Plane,
    items: list[Situation | Work],
    pods: Pods,
    at_once: int,
    done: Callable[[Situation | Work, Object | NeverOver], None],
) -> list[Object | NeverOver]:
    turn = asyncio.Semaphore(at_once)
    async with _connected(plane) as (api, clock):
        company = Company(api, clock=clock, pods=pods is not Pods.REAL, tekton=pods is Pods.SIMULATED)

        async def one(item: Situation | Work) -> Object | NeverOver:
            async with turn:
                with _namespace(plane) as namespace:
                    found = await _play(plane, api, company, item, pods, namespace, clock)
            done(item, found)
            return found

        async with company.playing():
            return await asyncio.gather(*(one(item) for item in items))


async def _play(
    plane: Plane, api: Api, company: Company, item: Situation | Work, pods: Pods, namespace: str, clock: RealClock
) -> Object | NeverOver:
    try:
        if isinstance(item, Work):
            return await record_work(api, item, namespace=namespace, registry=plane.registry, clock=clock)
        found = await company.play(item, namespace=namespace, bundle=_bundle(plane, item, pods))
    except NeverOver as error:
        return error
    if pods is Pods.PLAYED:
        _default(found)
    return found


@asynccontextmanager
async def _connected(plane: Plane) -> AsyncIterator[tuple[Api, RealClock]]:
    clock = RealClock()
    transport = await Transport.connect(ConnectionSettings(kubeconfig=str(plane.kubeconfig)), clock=clock)
    try:
        yield Api(transport, throttle=None, clock=clock), clock
    finally:
        await transport.close()


@contextmanager
def _namespace(plane: Plane) -> Iterator[str]:
    """The plane's own client keeps a connection for each thread: no threads here, and the moment does not matter."""
    name = f"rec-{uuid.uuid4().hex[:8]}"
    plane.ensure_namespace(name)
    try:
        yield name
    finally:
        plane.client.delete(f"/api/v1/namespaces/{name}")


def _default(found: Object) -> None:
    """Pods are played where Tekton's webhook does not run: this is what it writes into every TaskRun on a cluster."""
    for states in found["taskRuns"].values():
        states[0]["spec"].setdefault("timeout", terms.DEFAULT_TIMEOUT_TEXT)


def _bundle(plane: Plane, situation: Situation, pods: Pods) -> str:
    """The reference of the situation's pipeline, which is there then unless it shall be missing."""
    if situation.missing:
        return f"{plane.registry}/wf/there-is-none:v1"
    if pods is Pods.SIMULATED:
        return f"registry.invalid/wf/{situation.name}:v1"
    return plane.push_bundle(f"wf/{situation.name}", [situation.pipeline_at(plane.registry)])

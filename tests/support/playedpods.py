"""The kubelet of an embedded plane: the simulated pods, told what to do as the played ones of a real plane are.

The same words (hack.controlplane.behaviours), the same rules and the same pods (Tekton's, and those that are managed by
somebody) as :class:`hack.controlplane.kubelet.Kubelet`; unlike its pods these have a node and take a moment to end.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Container, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hack.controlplane import behaviours
from hack.controlplane.behaviours import Behaviour
from hack.controlplane.kubelet import LABELS, Rule
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.control.outcomes import Done, Outcome
from wfe_controller.kube.objects import PODS, ObjectKey
from wfe_controller.sandbox.simulators.play import Play
from wfe_controller.sandbox.simulators.pods import PodSimulator
from wfe_controller.sandbox.simulators.simulation import Simulation

Object = dict[str, Any]
T = TypeVar("T")
START_SECONDS = 30.0


def plays(pod: Object, behaviour: Behaviour, seconds: float | None = None) -> dict[str, Play]:
    """What a behaviour is for each container; the one that it is about takes all the time (``seconds``: that long)."""
    names = [item["name"] for item in pod["spec"]["containers"]]
    culprit = behaviour.container if behaviour.container in names else names[-1]
    word = behaviour.word
    play = Play(
        seconds=behaviour.seconds if seconds is None else seconds,
        exit_code=behaviour.exit_code if word == "fail" else 0,
        hang=word == "hang" and seconds is None,
        oom=word == "oom",
        evicted=word == "evicted",
        image_missing=word == "imagepull",
        unschedulable=word == "unschedulable",
    )
    return {name: play if name == culprit else Play(seconds=0.0) for name in names}


class _Pods(PodSimulator):
    """Only the pods that a played kubelet plays. One that hangs while a finalizer holds it ignores its deletion, so
    that a test can have a pod that does not end, for as long as it likes."""

    def __init__(
        self, simulation: Simulation, plays: Callable[[Object], Mapping[str, Play]], hanging: Container[str]
    ) -> None:
        super().__init__(simulation, plays=plays)
        self._hanging = hanging

    async def reconcile(self, key: ObjectKey) -> Outcome:
        known = self._sim.informer(PODS).store.get(key)
        if known is not None:
            held = known.deleting and known.field("metadata", "finalizers") and known.uid in self._hanging
            if held or not any(label in known.labels for label in LABELS):
                return Done()
        return await super().reconcile(key)


class PlayedPods:
    """Plays pods from :meth:`start` to :meth:`stop`. Its methods may be called from any thread but its own."""

    def __init__(self, kubeconfig: str | Path) -> None:
        self._kubeconfig = str(kubeconfig)
        self._rules: list[Rule] = []
        self._hanging: dict[str, tuple[ObjectKey, Object]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="played-pods")
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._pods: _Pods

    def start(self) -> PlayedPods:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError("the played pods do not start")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        clock = RealClock()
        transport = await Transport.connect(ConnectionSettings(kubeconfig=self._kubeconfig), clock=clock)
        try:
            simulation = Simulation(Api(transport, throttle=None, clock=clock), clock=clock, rng=random.Random())
            self._pods = _Pods(simulation, self._choose, self._hanging)
            await self._pods.ensure_node()
            async with simulation.running():
                self._ready.set()
                await self._stop.wait()
        finally:
            await transport.close()

    def _choose(self, pod: Object) -> Mapping[str, Play]:
        asked = (behaviours.parse(answer) for rule in self._rules if (answer := rule(pod)) is not None)
        behaviour = next((found for found in asked if found is not None), None) or behaviours.of_pod(pod)
        if behaviour.word == "hang":
            metadata = pod["metadata"]
            self._hanging[metadata["uid"]] = (ObjectKey(metadata["namespace"], metadata["name"]), pod)
        return plays(pod, behaviour)

    def _call(self, function: Callable[[], T]) -> T:
        """In the loop of the simulation, which alone touches what belongs to it."""

        async def call() -> T:
            return function()

        work: Coroutine[Any, Any, T] = call()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    def behave(self, rule: Rule | str) -> None:
        """Ask ``rule(pod)`` for the behaviour of every later pod first (None: ask on).

        A plain word stands for all pods.
        """
        self._call(lambda: self._rules.insert(0, rule if callable(rule) else lambda pod: rule))

    def reset(self) -> None:
        """Forget all rules and let go of every pod that hangs, so that nothing of one test reaches the next."""
        self._call(self._rules.clear)
        self.finish(lambda pod: True)

    def finish(self, which: Callable[[Object], bool], behaviour: str = "success") -> int:
        """End the hanging pods that ``which`` picks, now; gives their number."""
        chosen = behaviours.parse(behaviour)
        if chosen is None:
            raise ValueError(f"no behaviour: {behaviour!r}")

        def end() -> int:
            picked = [(uid, key, pod) for uid, (key, pod, _) in self._running().items() if which(pod)]
            for uid, key, pod in picked:
                del self._hanging[uid]
                self._pods.change(key, plays(pod, chosen, self._pods.ran(key)))
            return len(picked)

        return self._call(end)

    def hanging(self) -> list[str]:
        """namespace/name of the pods that run until :meth:`finish`."""
        return self._call(lambda: sorted(str(key) for key, _, _ in self._running().values()))

    def _running(self) -> dict[str, tuple[ObjectKey, Object, float]]:
        found = {}
        for uid, (key, pod) in self._hanging.items():
            ran = self._pods.ran(key)
            if ran is not None:
                found[uid] = (key, pod, ran)
        return found

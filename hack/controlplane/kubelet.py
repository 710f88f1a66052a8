"""The test kubelet: plays pods on a plane that has no node, in process or as ``python -m hack.controlplane.kubelet``.

One thread lists and watches pods, one thread writes their next status when it is due. A pod is played when it belongs
to Tekton or carries app.kubernetes.io/managed-by. ``spec.nodeName`` stays empty on purpose: the API server removes an
unscheduled pod at once, while a scheduled one would wait for a kubelet to confirm its end. What a pod does is asked,
in this order, from the rules given to :meth:`Kubelet.behave`, then from the pod itself
(:mod:`hack.controlplane.behaviours`).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hack.controlplane import behaviours
from hack.controlplane.behaviours import Behaviour
from hack.controlplane.client import Refused, RestClient

Object = dict[str, Any]
Rule = Callable[[Object], str | None]
LABELS = ("tekton.dev/taskRun", "app.kubernetes.io/managed-by")
_RETRY_SECONDS = 0.2
log = logging.getLogger("kubelet")


@dataclass
class Played:
    """A pod in play. ``step`` is what happens next: run, finish or nothing more."""

    pod: Object
    behaviour: Behaviour
    step: str
    started: str = ""

    @property
    def path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"


class Kubelet:
    """Plays pods from :meth:`start` to :meth:`stop`. Its methods may be called from any thread."""

    def __init__(self, kubeconfig: str | Path) -> None:
        self._client = RestClient.from_kubeconfig(kubeconfig)
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self._pods: dict[str, Played] = {}
        self._rules: list[Rule] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=run, name=f"kubelet-{run.__name__}") for run in (self._look, self._play)
        ]
        self.finished: list[str] = []

    def start(self) -> Kubelet:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            while thread.is_alive():  # a watch may open just after it was told to end
                self._client.interrupt_watches()
                thread.join(timeout=0.05)

    def behave(self, rule: Rule | str) -> None:
        """Ask ``rule(pod)`` for the behaviour of every later pod first (None: ask on).

        A plain word stands for all pods.
        """
        with self._changed:
            self._rules.insert(0, rule if callable(rule) else lambda pod: rule)

    def reset(self) -> None:
        """Forget all rules and let go of every pod that hangs, so that nothing of one test reaches the next."""
        with self._changed:
            self._rules.clear()
        self.finish(lambda pod: True)

    def finish(self, which: Callable[[Object], bool], behaviour: str = "success") -> int:
        """End the hanging pods that ``which`` picks, now; gives their number."""
        chosen = behaviours.parse(behaviour)
        if chosen is None:
            raise ValueError(f"no behaviour: {behaviour!r}")
        count = 0
        with self._changed:
            for uid, played in self._pods.items():
                if played.step == "hang" and which(played.pod):
                    played.behaviour, played.step = chosen, "finish"
                    self._schedule(uid, 0)
                    count += 1
        return count

    def hanging(self) -> list[str]:
        """namespace/name of the pods that run until :meth:`finish`."""
        with self._changed:
            return sorted(_name(played.pod) for played in self._pods.values() if played.step == "hang")

    # -- the watching thread --------------------

    def _look(self) -> None:
        try:
            while not self._stopping:
                self._list_and_watch()
        finally:
            self._client.close()

    def _list_and_watch(self) -> None:
        try:
            page = self._client.get("/api/v1/pods")
            self._forget_all_but({pod["metadata"]["uid"] for pod in page["items"]})
            for pod in page["items"]:
                self._seen(pod)
            for event in self._client.watch("/api/v1/pods", resource_version=page["metadata"]["resourceVersion"]):
                if event["type"] in ("ADDED", "MODIFIED"):
                    self._seen(event["object"])
                elif event["type"] == "DELETED":
                    self._gone(event["object"])
                else:  # ERROR: most often 410, too old; list again
                    break
        except (Refused, OSError, HTTPException, ValueError) as problem:
            if not self._stopping:
                log.warning("the watch of pods ended, again in %s s: %s", _RETRY_SECONDS, problem)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, timeout=_RETRY_SECONDS)

    def _seen(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if not any(label in metadata.get("labels", {}) for label in LABELS) or "deletionTimestamp" in metadata:
            return
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return
        with self._changed:
            known = self._pods.get(metadata["uid"])
            if known is None:
                asked = (behaviours.parse(answer) for rule in self._rules if (answer := rule(pod)) is not None)
                behaviour = next((found for found in asked if found is not None), None) or behaviours.of_pod(pod)
                self._pods[metadata["uid"]] = Played(pod, behaviour, "run")
                self._schedule(metadata["uid"], 0)
            else:
                known.pod = pod

    def _gone(self, pod: Object) -> None:
        with self._changed:
            self._pods.pop(pod["metadata"]["uid"], None)

    def _schedule(self, uid: str, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), uid))
        self._changed.notify_all()

    # -- the playing thread --------------------

    def _play(self) -> None:
        try:
            while (uid := self._next_due()) is not None:
                self._step(uid)
        finally:
            self._client.close()

    def _next_due(self) -> str | None:
        with self._changed:
            while not self._stopping:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(timeout=wait)
        return None

    def _step(self, uid: str) -> None:
        with self._changed:
            played = self._pods.get(uid)
            if played is None:
                return
            step, behaviour, pod = played.step, played.behaviour, played.pod
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if step == "run" and behaviour.word in behaviours.STUCK:
            status, after = behaviours.stuck(pod, behaviour, now), "stuck"
        elif step == "run":
            status, after = behaviours.running(pod, now), "hang" if behaviour.word == "hang" else "finish"
        else:
            status, after = behaviours.finished(pod, behaviour, played.started, now), "ended"
        try:
            self._client.merge_patch(played.path, {"metadata": {"uid": uid}, "status": status})
        except Refused as refused:
            if refused.status in (404, 409):  # deleted, or another pod under this name
                self._forget(uid)
                return
            self._again(uid, refused)
            return
        except (OSError, HTTPException) as problem:
            self._again(uid, problem)
            return
        with self._changed:
            played.step = after
            if step == "run":
                played.started = now
            if after == "finish":
                self._schedule(uid, behaviour.seconds)
            elif after == "ended":
                self.finished.append(_name(pod))

    def _forget(self, uid: str) -> None:
        with self._changed:
            self._pods.pop(uid, None)

    def _forget_all_but(self, uids: set[str]) -> None:
        """Pods that went away while nobody watched."""
        with self._changed:
            self._pods = {uid: played for uid, played in self._pods.items() if uid in uids}

    def _again(self, uid: str, problem: Exception) -> None:
        log.warning("cannot write a pod's status, again in %s s: %s", _RETRY_SECONDS, problem)
        with self._changed:
            self._schedule(uid, _RETRY_SECONDS)


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.controlplane.kubelet", description="Play pods on a plane without a node."
    )
    parser.add_argument("--kubeconfig", required=True, help="a kubeconfig that the plane wrote")
    parser.add_argument("--behaviour", help="what every pod does, instead of what it says itself")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    kubelet = Kubelet(options.kubeconfig)
    if options.behaviour:
        kubelet.behave(options.behaviour)
    kubelet.start()
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    kubelet.stop()


if __name__ == "__main__":
    main()

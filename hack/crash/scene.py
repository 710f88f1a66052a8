"""One play: two executions want one target, one write goes wrong, and all comes to rest; then the observer judges."""

from __future__ import annotations

import contextlib
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hack.controlplane.client import Refused
from hack.crash.chronicle import ENDED, HASH, target_hash
from hack.crash.replicas import Late, Object, Site, Watcher, wait
from hack.crash.stories import HOLD_SECONDS, Story
from wfe_controller.app.failpoints import Armed

API = "/apis/kubernaut.ai/v1alpha1"
TIMEOUT = 60.0


@dataclass
class Outcome:
    """One line of the table. ``wrong`` empty = all held."""

    story: str
    point: str
    moment: str
    action: str
    hits: int = 0
    answer: str = ""
    ended: dict[str, str] = field(default_factory=dict)
    contended: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    target: str = ""
    points: list[str] = field(default_factory=list)


class Scene:
    """One target of its own with two executions of different workflows."""

    def __init__(self, site: Site, bundle: str) -> None:
        self._site, self._client, self._bundle = site, site.plane.client, bundle
        self.target = f"{site.namespace}/deployment/t-{uuid.uuid4().hex[:10]}"
        self.names = [f"w{uuid.uuid4().hex[:10]}" for _ in range(2)]

    @property
    def lock_name(self) -> str:
        return f"wfe-{target_hash(self.target)}"

    def create(self) -> None:
        """Both at once, so that they contend."""
        for number, name in enumerate(self.names):
            self._create(name, number)

    def create_successor(self, bundle: str) -> None:
        """One more, when the first have ended."""
        self._bundle = bundle
        self.names.append(f"w{uuid.uuid4().hex[:10]}")
        self._create(self.names[-1], len(self.names))

    def _create(self, name: str, number: int) -> None:
        body = execution(self._site.namespace, name, self.target, self._bundle, f"workflow-{number}")
        self._client.create(f"{API}/namespaces/{self._site.namespace}/workflowexecutions", body)

    @property
    def _runs(self) -> str:
        return f"/apis/tekton.dev/v1/namespaces/{self._site.execution}/pipelineruns"

    def occupy(self) -> None:
        """A run of somebody else's takes the name."""
        run = {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": self.lock_name, "namespace": self._site.execution},
            "spec": {"status": "PipelineRunPending", "pipelineRef": {"name": "whatever"}},
        }
        self._client.create(self._runs, run)

    # -- what stories ask and do --------------------

    def get(self, name: str) -> Object | None:
        return self._look(f"{API}/namespaces/{self._site.namespace}/workflowexecutions/{name}")

    def _look(self, path: str) -> Object | None:
        try:
            return self._client.get(path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def undecided(self) -> list[str]:
        return [name for name in self.names if phase_of(self.get(name)) not in (*ENDED, "gone")]

    def lock_status(self) -> Object:
        path = f"{API}/namespaces/{self._site.home}/targetlocks/{self.lock_name}"
        found: Object = (self._look(path) or {}).get("status") or {}
        return found

    def pod_running(self) -> bool:
        path = f"/api/v1/namespaces/{self._site.execution}/pods?labelSelector=kubernaut.ai/target-hash%3D"
        pods = self._client.get(path + target_hash(self.target))["items"]
        return any(p.get("status", {}).get("phase") == "Running" for p in pods)

    def annotate(self, name: str, annotations: Object) -> None:
        path = f"{API}/namespaces/{self._site.namespace}/workflowexecutions/{name}"
        with _unless_gone():
            self._client.merge_patch(path, {"metadata": {"annotations": annotations}})

    def annotate_lock(self, annotations: Object) -> None:
        path = f"{API}/namespaces/{self._site.home}/targetlocks/{self.lock_name}"
        self._client.merge_patch(path, {"metadata": {"annotations": annotations}})

    def delete(self, name: str) -> None:
        with _unless_gone():
            self._client.delete(f"{API}/namespaces/{self._site.namespace}/workflowexecutions/{name}")

    def clearance_told(self) -> bool:
        """Neither block nor request are left on the lock, and who failed has ``status.blockClearance``."""
        lock = self._look(f"{API}/namespaces/{self._site.home}/targetlocks/{self.lock_name}") or {"metadata": {}}
        if "block" in lock.get("status", {}) or "kubernaut.ai/clear-block" in lock["metadata"].get("annotations", {}):
            return False
        told = [(self.get(name) or {}).get("status", {}) for name in self.names]
        return all("blockClearance" in status for status in told if status.get("phase") == "Failed")

    def at_rest(self) -> bool:
        """Both have ended and let go, nothing holds the target, and its run is gone."""
        for name in self.names:
            obj = self.get(name)
            if obj is not None and (phase_of(obj) not in ENDED or obj["metadata"].get("finalizers")):
                return False
        status = self.lock_status()
        if "holder" in status:
            return False
        run = self._look(f"{self._runs}/{self.lock_name}")
        return run is None or HASH not in run["metadata"].get("labels", {})

    def without_trace(self) -> bool:
        """At rest, and the record is gone too."""
        path = f"{API}/namespaces/{self._site.home}/targetlocks/{self.lock_name}"
        return self.at_rest() and self._look(path) is None

    def calls(self) -> list[str]:
        """The points of this scene so far, in order."""
        words = {self.lock_name, *self.names}
        return [
            call["point"]
            for call in self._site.calls()
            if any(word in call["path"] for word in words) or call["point"].startswith("create-")
        ]


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Between the look and the act an object may go."""
    try:
        yield
    except Refused as refused:
        if refused.status != 404:
            raise


def execution(namespace: str, name: str, target: str, bundle: str, workflow: str) -> Object:
    return {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "remediationRequestRef": {"name": "crash"},
            "targetResource": target,
            "workflowRef": {"workflowId": workflow, "version": "1", "containerImage": bundle},
        },
    }


def play(
    site: Site,
    watcher: Watcher,
    story: Story,
    bundles: Mapping[str, str],
    point: str = "",
    moment: Any = "",
    action: Any = "",
) -> Outcome:
    """Once, with one trouble (none: to learn the points). Never raises for what it is there to find."""
    outcome = Outcome(story.name, point, moment, action)
    scene = Scene(site, bundles[story.behaviour])
    outcome.target = scene.target
    began = time.monotonic()
    try:
        site.await_ready()
        if story.prepare is not None:
            story.prepare(scene)
        if point:
            armed = Armed(
                id=uuid.uuid4().hex[:12],
                point=point,
                moment=moment,
                action=action,
                seconds=HOLD_SECONDS,
                about=(scene.lock_name, scene.target, *scene.names),
            )
            site.arm(armed)
            _play(site, scene, story, armed, outcome, bundles)
        else:
            _quiet(scene, story, outcome)
    except Late as late:
        outcome.wrong.append(str(late))
    finally:
        site.disarm()
        _wake_all(site)
    _judge(watcher, scene, story, outcome)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _quiet(scene: Scene, story: Story, outcome: Outcome) -> None:
    before = len(scene.calls())
    scene.create()
    for condition, act in story.script:
        wait(lambda c=condition: c(scene), TIMEOUT, f"{story.name}: its moment to act")
        before = len(scene.calls())
        act(scene)
    wait(lambda: _rested(scene, story), TIMEOUT, f"{story.name}: everything to be at rest")
    after = list(dict.fromkeys(scene.calls()[before:]))
    outcome.points = [point for point in after if not point.endswith("-events")]


def _play(site: Site, scene: Scene, story: Story, armed: Armed, outcome: Outcome, bundles: Mapping[str, str]) -> None:
    scene.create()
    script = list(story.script)
    at_hit = story.at_hit
    resumed = False
    deadline = time.monotonic() + TIMEOUT
    while True:
        pid = site.hit(armed)
        if pid:
            outcome.hits = 1
            if at_hit is not None:
                at_hit(scene)
                at_hit = None
        if script and script[0][0](scene):
            script.pop(0)[1](scene)
        if pid and not script and _rested(scene, story):
            if armed.action != "stop" or resumed:
                break
            wait(lambda stopped=pid: site.other_leads(stopped), TIMEOUT, "the other replica to lead")
            if story.successor:
                scene.create_successor(bundles[story.successor])
                wait(scene.pod_running, TIMEOUT, "the run of the successor to act")
            site.resume(pid)
            resumed = True
            wait(lambda: site.answer_of(armed), 10.0, "the stopped write to go on")
            if story.successor and not scene.pod_running():
                outcome.wrong.append("the successor had ended before the late write came: nothing was shown")
        if time.monotonic() > deadline:
            what = "everything to be at rest" if pid else f"{armed.point}:{armed.moment} to be hit"
            raise Late(f"waited {TIMEOUT:g} s for {what}")
        time.sleep(0.1)
    if armed.action == "hold":
        wait(lambda: site.answer_of(armed), HOLD_SECONDS + 5.0, "the held write to be answered")
    if armed.action in ("hold", "stop"):
        outcome.answer = site.answer_of(armed)
        wait(lambda: _rested(scene, story), TIMEOUT, "everything to be at rest again after the late request")


def _rested(scene: Scene, story: Story) -> bool:
    return (scene.without_trace() if story.vanishes else scene.at_rest()) and story.rested(scene)


def _wake_all(site: Site) -> None:
    """Whatever went wrong: nobody stays stopped."""
    for replica in site.replicas:
        site.plane.processes.signal(replica, signal.SIGCONT)


def _judge(watcher: Watcher, scene: Scene, story: Story, outcome: Outcome) -> None:
    answer = watcher.ask(targets=[scene.target])
    findings = answer["findings"][scene.target]
    outcome.wrong += [*answer["blind"], *findings["wrong"]]
    outcome.ended, outcome.contended = findings["ended"], findings["contended"]
    if not findings["contended"] and story.contends:
        outcome.wrong.append("no contention was seen")
    allowed = {*story.winner, "Skipped/ResourceBusy", *_losers(story)}
    odd = {name: how for name, how in findings["ended"].items() if how not in allowed}
    if odd:
        outcome.wrong.append(f"ended otherwise than the story allows: {odd}")
    if not any(how in story.winner for how in findings["ended"].values()):
        outcome.wrong.append(f"nobody won: {findings['ended']}")


def _losers(story: Story) -> Sequence[str]:
    """The second one may be looked at only after the first has ended, when the leader died in between."""
    return ("Skipped/PreviousExecutionFailed", "Completed") if story.winner != {"Completed"} else ()


def phase_of(obj: Object | None) -> str:
    """The phase; "gone" = there is no such object."""
    return str((obj.get("status") or {}).get("phase", "")) if obj is not None else "gone"

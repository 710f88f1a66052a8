"""The situations: a pipeline, a run of it, and what is done to the run at which moment. Pure data and predicates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.play import Play

Object = dict[str, Any]
RUN = "run"
PIPELINE = "workflow"
REGISTRY = "REGISTRY"
"""In an image: the registry of the place where the situation is played, host:port."""


@dataclass
class Seen:
    """The newest version of everything in the namespace; task runs and pods by name."""

    run: Object = field(default_factory=dict)
    task_runs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)

    def reason(self) -> str:
        return str(_condition(self.run).get("reason", ""))

    def done(self) -> bool:
        return _condition(self.run).get("status") in ("True", "False")

    def settled(self) -> bool:
        """The run is done, and nothing of it will change any more."""
        ended = all(_condition(item).get("status") in ("True", "False") for item in self.task_runs.values())
        return (
            self.done()
            and ended
            and all(pod.get("status", {}).get("phase") in ("Succeeded", "Failed") for pod in self.pods.values())
            and not any("deletionTimestamp" in pod["metadata"] for pod in self.pods.values())
        )

    def running(self, task: str) -> bool:
        """A step of that task runs, and Tekton has seen it."""
        item = self.task_runs.get(f"{RUN}-{task}", {})
        return any("running" in step for step in item.get("status", {}).get("steps", []))

    def waiting(self, task: str) -> bool:
        item = self.task_runs.get(f"{RUN}-{task}", {})
        return _condition(item).get("reason", "") in ("ExceededNodeResources", "PullImageFailed")


@dataclass(frozen=True)
class Cue:
    """``verb`` with ``value`` as soon as ``when`` holds: set (spec.status), start, orphan (delete, children stay),
    delete (Foreground, as we do it), create (the same run again), lose (delete the pods, as a node's drain does)."""

    when: Callable[[Seen], bool]
    verb: str
    value: str = ""
    after: float = 0.0
    """Seconds from then: a step that is said to run has not begun yet, as Tekton's entrypoint waits for a word."""


@dataclass(frozen=True)
class Situation:
    """``spec`` is added to the run's; ``over`` ends the recording. ``missing``: no such bundle in the registry;
    ``refusal``: what the registry says to that, for the simulator.

    ``played``: why its pods cannot be had from a real node; the real Tekton is then recorded with played ones.
    """

    name: str
    pipeline: Object
    spec: Object = field(default_factory=dict)
    cues: tuple[Cue, ...] = ()
    over: Callable[[Seen], bool] = Seen.settled
    missing: bool = False
    refusal: str = ""
    about: str = ""
    played: str = ""

    def pipeline_at(self, registry: str) -> Object:
        """The pipeline where ``registry`` (host:port) is the place's."""
        found: Object = json.loads(json.dumps(self.pipeline).replace(f"{REGISTRY}/", f"{registry}/"))
        return found


def _condition(obj: Object) -> Object:
    conditions = obj.get("status", {}).get("conditions", [])
    found: Object = next((item for item in conditions if item["type"] == "Succeeded"), {})
    return found


def step(name: str = "act", does: Play = play.DEFAULT, **more: Any) -> Object:
    """The words for the simulator, and for a real node what makes it come true."""
    found = {
        "name": name,
        "image": f"{REGISTRY}/there-is-none:1" if does.image_missing else "busybox:1",
        "command": ["/bin/sh", "-c"],
        "args": [script(does)],
        "env": [{"name": play.ENVIRONMENT, "value": play.encode(does)}],
        **more,
    }
    if needs := resources(does):
        found["computeResources"] = needs
    return found


def resources(does: Play) -> Object:
    if does.unschedulable:
        return {"requests": {"cpu": "1k"}}
    return {"limits": {"memory": "32Mi"}} if does.oom else {}


def script(does: Play) -> str:
    """The same in a shell, for a node where steps really run."""
    lines = ["trap '' TERM"] if does.ignores_term else []
    lines += [f"printf '%s' '{value}' > /tekton/results/{name}" for name, value in does.results.items()]
    lines += [f"echo '{does.log}'"] if does.log else []
    lines += ["while :; do sleep 1; done"] if does.hang else [f"sleep {does.seconds:g}"]
    lines += ["tail /dev/zero"] if does.oom else []
    if does.failures:
        lines += [f"[ $(context.task.retry-count) -ge {does.failures} ] || exit {does.exit_code or 1}; exit 0"]
        return "; ".join(lines)
    return "; ".join([*lines, f"exit {does.exit_code}"])


def task(name: str, *steps: Object, **more: Any) -> Object:
    spec = {"steps": list(steps) or [step(does=QUICK)], **more.pop("task", {})}
    return {"name": name, "taskSpec": spec, **more}


def pipeline(*tasks: Object, **more: Any) -> Object:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": PIPELINE},
        "spec": {"tasks": list(tasks), **more},
    }


QUICK = Play(seconds=2)
HANG = Play(hang=True)
FAILS = Play(seconds=2, exit_code=3)
ONE = pipeline(task("remediate"))
NO_WEBHOOK = "with Tekton's webhook a cluster ends it at once, and it has no pods; recorded where there is no webhook"
HANGING = pipeline(task("remediate", step(does=HANG)))
CLEANED = pipeline(task("first", step(does=HANG)), task("second", runAfter=["first"]), **{"finally": [task("cleanup")]})
TARGET = {"params": [{"name": "TARGET_RESOURCE", "value": "shop/deployment/cart"}]}


def _while_running(name: str, verb: str, value: str = "") -> Cue:
    return Cue(lambda seen: seen.running(name), verb, value, after=2.0)


SITUATIONS = (
    Situation("success", ONE, about="one task, one step"),
    Situation(
        "parameters",
        pipeline(
            task(
                "remediate",
                step(does=QUICK, env=[{"name": "WHAT", "value": "$(params.what) of $(context.taskRun.name)"}]),
                task={"params": [{"name": "what", "type": "string"}]},
                params=[
                    {"name": "what", "value": "$(params.TARGET_RESOURCE) $(params.mode) $(context.pipelineRun.name)"}
                ],
            ),
            params=[
                {"name": "TARGET_RESOURCE", "type": "string"},
                {"name": "mode", "type": "string", "default": "soft"},
            ],
        ),
        TARGET,
        about="parameters of the run, defaults and context reach the step",
    ),
    Situation(
        "results",
        pipeline(
            task(
                "look",
                step(does=Play(seconds=2, results={"replicas": "3"})),
                task={"results": [{"name": "replicas"}]},
            ),
            task(
                "act",
                step(does=QUICK),
                task={"params": [{"name": "replicas"}]},
                params=[{"name": "replicas", "value": "$(tasks.look.results.replicas)"}],
            ),
            task("report", step(does=QUICK), runAfter=["act"]),
            results=[{"name": "was", "value": "$(tasks.look.results.replicas)"}],
        ),
        about="a result of one task is a parameter of the next, and a result of the run",
    ),
    Situation(
        "parallel",
        pipeline(
            task("left", step(does=QUICK)),
            task("right", step(does=Play(seconds=6))),
            task("after", runAfter=["left", "right"]),
        ),
        about="two tasks at once, a third after both",
    ),
    Situation(
        "step-fails",
        pipeline(
            task("remediate", step("look", QUICK), step("act", FAILS), step("check", QUICK)),
            task("report", runAfter=["remediate"]),
        ),
        about="the second of three steps exits with 3; the next task never starts",
    ),
    Situation(
        "fails-with-finally",
        pipeline(
            task("remediate", step(does=FAILS)),
            task("report", runAfter=["remediate"]),
            **{"finally": [task("cleanup")]},
        ),
        about="a failed task, and the finally task that runs nevertheless",
    ),
    Situation(
        "finally-fails",
        pipeline(task("remediate"), **{"finally": [task("cleanup", step(does=FAILS))]}),
        about="all tasks succeed, the finally task fails",
    ),
    Situation(
        "one-of-two-fails",
        pipeline(
            task("left", step(does=FAILS)), task("right", step(does=Play(seconds=6))), task("after", runAfter=["right"])
        ),
        about="the run stops: what runs may end, nothing new is started",
    ),
    Situation(
        "step-continues",
        pipeline(task("remediate", step("look", FAILS, onError="continue"), step("act", QUICK))),
        about="a step that may fail",
    ),
    Situation("oom", pipeline(task("remediate", step(does=Play(seconds=2, oom=True)))), about="killed for its memory"),
    Situation(
        "evicted",
        pipeline(task("remediate", step(does=Play(seconds=2, evicted=True)))),
        about="the node gives up the pod",
        played="the node of hack/cluster never evicts: a full disk of the machine must not cost it its images",
    ),
    Situation(
        "middle-task-fails",
        pipeline(
            task("first"), task("second", step(does=FAILS), runAfter=["first"]), task("third", runAfter=["second"])
        ),
        about="the second of three tasks fails; the third never starts",
    ),
    Situation(
        "last-task-fails",
        pipeline(
            task("first"), task("second", runAfter=["first"]), task("third", step(does=FAILS), runAfter=["second"])
        ),
        about="the last of three tasks fails",
    ),
    Situation(
        "pod-deleted",
        HANGING,
        cues=(_while_running("remediate", "lose"),),
        about="somebody deletes the pod of a running step",
    ),
    Situation(
        "run-deleted",
        HANGING,
        cues=(_while_running("remediate", "delete"),),
        over=lambda seen: not (seen.run or seen.task_runs or seen.pods),
        about="somebody deletes the run while a step runs: its pod ends first, then the TaskRun, then the run",
    ),
    Situation(
        "retries",
        pipeline(task("remediate", step(does=Play(seconds=2, failures=1, exit_code=4)), retries=2)),
        about="fails once, then succeeds",
    ),
    Situation(
        "retries-exhausted",
        pipeline(task("remediate", step(does=FAILS), retries=1)),
        about="fails as often as it may",
    ),
    Situation(
        "image-missing",
        pipeline(task("remediate", step(does=Play(image_missing=True)))),
        about="the image of the only step cannot be had",
    ),
    Situation(
        "unschedulable",
        pipeline(task("remediate", step(does=Play(unschedulable=True)))),
        cues=(Cue(lambda seen: seen.waiting("remediate"), "set", "Cancelled"),),
        about="no room for the pod; cancelled while it waits",
    ),
    Situation(
        "pending",
        ONE,
        {"status": "PipelineRunPending"},
        cues=(Cue(lambda seen: seen.reason() == "PipelineRunPending", "start"),),
        about="created pending, started by a JSON patch",
    ),
    Situation(
        "cancelled", CLEANED, cues=(_while_running("first", "set", "Cancelled"),), about="finally tasks do not run"
    ),
    Situation(
        "cancelled-run-finally",
        CLEANED,
        cues=(_while_running("first", "set", "CancelledRunFinally"),),
        about="the running task is cancelled, finally tasks run",
    ),
    Situation(
        "stopped-run-finally",
        pipeline(
            task("first", step(does=Play(seconds=6))),
            task("second", runAfter=["first"]),
            **{"finally": [task("cleanup")]},
        ),
        cues=(_while_running("first", "set", "StoppedRunFinally"),),
        about="the running task may end, nothing new but finally",
    ),
    Situation(
        "cancelled-between-steps",
        pipeline(task("remediate", step("look", HANG), step("act", QUICK))),
        cues=(_while_running("remediate", "set", "Cancelled"),),
        about="the first of two steps runs, the second waits for it",
    ),
    Situation(
        "done-before-pods",
        pipeline(task("remediate", step(does=Play(hang=True, ignores_term=True)))),
        cues=(_while_running("remediate", "set", "CancelledRunFinally"),),
        over=lambda seen: seen.done() and not seen.pods,
        about="the run is done while its pod ignores SIGTERM until the grace is over",
    ),
    Situation(
        "tasks-time-out",
        CLEANED,
        {"timeouts": {"pipeline": "60s", "tasks": "12s"}},
        about="the tasks' time-out; finally runs",
    ),
    Situation("pipeline-times-out", HANGING, {"timeouts": {"pipeline": "12s"}}, about="the whole run's time-out"),
    Situation(
        "task-times-out",
        pipeline(task("remediate", step(does=HANG), timeout="12s")),
        about="the time-out of one task",
    ),
    Situation(
        "parameter-missing",
        pipeline(task("remediate"), params=[{"name": "TARGET_RESOURCE", "type": "string"}]),
        about="the pipeline wants a parameter that the run does not bring",
    ),
    Situation(
        "bad-graph",
        pipeline(task("one", runAfter=["two"]), task("two", runAfter=["one"])),
        about="tasks that wait for each other",
        played=NO_WEBHOOK,
    ),
    Situation(
        "bundle-missing",
        ONE,
        missing=True,
        over=lambda seen: seen.reason() == "ResolvingPipelineRef",
        about="it stays so until its time-out",
        played=NO_WEBHOOK,
    ),
    Situation(
        "bundle-missing-cancelled",
        ONE,
        missing=True,
        cues=(
            Cue(lambda seen: seen.reason() == "ResolvingPipelineRef", "set", "CancelledRunFinally"),
            Cue(lambda seen: seen.run.get("spec", {}).get("status") == "CancelledRunFinally", "set", "Cancelled"),
        ),
        about="CancelledRunFinally does nothing while the bundle is being resolved, Cancelled does",
        played=NO_WEBHOOK,
    ),
    Situation(
        "bundle-refused",
        ONE,
        missing=True,
        refusal=f"cannot retrieve the oci image: GET http://{REGISTRY}/v2/wf/there-is-none/manifests/v1: "
        "NAME_UNKNOWN: Unknown name",
        about="a cluster with Tekton's webhook: the run fails as soon as the registry says no",
    ),
    Situation(
        "other-name",
        {**ONE, "metadata": {"name": "something-else"}},
        over=lambda seen: seen.reason() == "ResolvingPipelineRef",
        about="the bundle holds no pipeline of that name",
        played=NO_WEBHOOK,
    ),
    Situation(
        "name-reused",
        ONE,
        cues=(
            Cue(lambda seen: seen.settled(), "orphan"),
            Cue(lambda seen: not seen.run, "create"),
        ),
        about="a new run under the name of an old one whose TaskRun is still there: succeeded at once",
    ),
)

"""The situations: a pipeline, a run of it, and what is done to the run at which moment. Pure data and predicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.play import Play

Object = dict[str, Any]
RUN = "run"
PIPELINE = "workflow"


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
    delete, create (the same run again)."""

    when: Callable[[Seen], bool]
    verb: str
    value: str = ""


@dataclass(frozen=True)
class Situation:
    """``spec`` is added to the run's; ``over`` ends the recording. ``missing``: no such bundle in the registry."""

    name: str
    pipeline: Object
    spec: Object = field(default_factory=dict)
    cues: tuple[Cue, ...] = ()
    over: Callable[[Seen], bool] = Seen.settled
    missing: bool = False
    about: str = ""


def _condition(obj: Object) -> Object:
    conditions = obj.get("status", {}).get("conditions", [])
    found: Object = next((item for item in conditions if item["type"] == "Succeeded"), {})
    return found


def step(name: str = "act", does: Play = play.DEFAULT, **more: Any) -> Object:
    command = {"image": "busybox:1", "command": ["/bin/sh", "-c"], "args": [script(does)]}
    return {"name": name, **command, "env": [{"name": play.ENVIRONMENT, "value": play.encode(does)}], **more}


def script(does: Play) -> str:
    """The same in a shell, for a node where steps really run."""
    lines = ["trap '' TERM"] if does.ignores_term else []
    lines += [f"printf '%s' '{value}' > /tekton/results/{name}" for name, value in does.results.items()]
    lines += [f"echo '{does.log}'"] if does.log else []
    lines += ["while :; do sleep 1; done"] if does.hang else [f"sleep {does.seconds:g}"]
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


QUICK = Play(seconds=0.5)
HANG = Play(hang=True)
FAILS = Play(seconds=0.5, exit_code=3)
ONE = pipeline(task("remediate"))
HANGING = pipeline(task("remediate", step(does=HANG)))
CLEANED = pipeline(task("first", step(does=HANG)), task("second", runAfter=["first"]), **{"finally": [task("cleanup")]})
TARGET = {"params": [{"name": "TARGET_RESOURCE", "value": "shop/deployment/cart"}]}


def _running(name: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.running(name)


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
                step(does=Play(seconds=0.5, results={"replicas": "3"})),
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
            task("right", step(does=Play(seconds=3))),
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
            task("left", step(does=FAILS)), task("right", step(does=Play(seconds=3))), task("after", runAfter=["right"])
        ),
        about="the run stops: what runs may end, nothing new is started",
    ),
    Situation(
        "step-continues",
        pipeline(task("remediate", step("look", FAILS, onError="continue"), step("act", QUICK))),
        about="a step that may fail",
    ),
    Situation(
        "oom", pipeline(task("remediate", step(does=Play(seconds=0.5, oom=True)))), about="killed for its memory"
    ),
    Situation(
        "evicted",
        pipeline(task("remediate", step(does=Play(seconds=0.5, evicted=True)))),
        about="the node gives up the pod",
    ),
    Situation(
        "retries",
        pipeline(task("remediate", step(does=Play(seconds=0.5, failures=1, exit_code=4)), retries=2)),
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
        "cancelled", CLEANED, cues=(Cue(_running("first"), "set", "Cancelled"),), about="finally tasks do not run"
    ),
    Situation(
        "cancelled-run-finally",
        CLEANED,
        cues=(Cue(_running("first"), "set", "CancelledRunFinally"),),
        about="the running task is cancelled, finally tasks run",
    ),
    Situation(
        "stopped-run-finally",
        pipeline(
            task("first", step(does=Play(seconds=3))),
            task("second", runAfter=["first"]),
            **{"finally": [task("cleanup")]},
        ),
        cues=(Cue(_running("first"), "set", "StoppedRunFinally"),),
        about="the running task may end, nothing new but finally",
    ),
    Situation(
        "done-before-pods",
        pipeline(task("remediate", step(does=Play(hang=True, ignores_term=True)))),
        cues=(Cue(_running("remediate"), "set", "CancelledRunFinally"),),
        over=lambda seen: seen.done() and not seen.pods,
        about="the run is done while its pod ignores SIGTERM until the grace is over",
    ),
    Situation(
        "tasks-time-out",
        CLEANED,
        {"timeouts": {"pipeline": "60s", "tasks": "3s"}},
        about="the tasks' time-out; finally runs",
    ),
    Situation("pipeline-times-out", HANGING, {"timeouts": {"pipeline": "3s"}}, about="the whole run's time-out"),
    Situation(
        "task-times-out",
        pipeline(task("remediate", step(does=HANG), timeout="3s")),
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
    ),
    Situation(
        "bundle-missing",
        ONE,
        missing=True,
        over=lambda seen: seen.reason() == "ResolvingPipelineRef",
        about="it stays so until its time-out",
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
    ),
    Situation(
        "other-name",
        {**ONE, "metadata": {"name": "something-else"}},
        over=lambda seen: seen.reason() == "ResolvingPipelineRef",
        about="the bundle holds no pipeline of that name",
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

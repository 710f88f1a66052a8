"""Scenarios: which pipelines there are and how their steps behave, what is asked for when, and how it must end.

One YAML file is the whole story of a sandbox run (``sandbox/scenarios/default.yaml`` is the shipped one). Here is what
stands in it and what is made of it; ``scenario_file`` reads and checks it, ``director`` plays it. Pure.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from wfe_controller.api import names
from wfe_controller.api.phases import Phase
from wfe_controller.kube.objects import Json
from wfe_controller.sandbox.simulators import play
from wfe_controller.sandbox.simulators.play import Play

REGISTRY = "registry.sandbox"
"""Where the bundles seem to be; nobody ever asks a registry for them."""
PIPELINE = "workflow"
"""The Pipeline's name inside every bundle."""
IMAGE = "registry.sandbox/tools/kubectl:1"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class Step(_Part, frozen=True):
    """One step of a task. What it runs is for the eye; ``play`` is what it does."""

    name: str = "act"
    image: str = IMAGE
    command: list[str] = []
    args: list[str] = []
    script: str = ""
    env: dict[str, str] = {}
    on_error: str = ""
    play: Play = play.DEFAULT


class Task(_Part, frozen=True):
    """One task of a pipeline, with its steps embedded."""

    name: str
    steps: list[Step]
    run_after: list[str] = []
    params: dict[str, str] = {}
    results: list[str] = []
    retries: int = 0
    timeout: str = ""
    on_error: str = ""


class Param(_Part, frozen=True):
    name: str
    default: str | None = None


class Bundle(_Part, frozen=True):
    """One workflow: an OCI bundle with one Pipeline in it. ``resolution`` never: Tekton 1.12 and a missing bundle."""

    tasks: list[Task] = []
    finally_: list[Task] = msgspec.field(default_factory=list, name="finally")
    params: list[Param] = []
    workflow_id: str = ""
    version: str = "1.0.0"
    resolution: Literal["ok", "never", "refused"] = "ok"
    refusal: str = "the sandbox refuses this bundle"


class When(_Part, frozen=True):
    """A moment. All that is given must hold; nothing given: at once.

    ``target`` with ``is``: free (its lock exists, nobody holds it), held, blocked, open (neither held nor blocked).
    ``after``: seconds, at speed 1, since the rest of it came true.
    """

    execution: str = ""
    phase: Phase | None = None
    target: str = ""
    is_: Literal["free", "held", "blocked", "open"] | None = msgspec.field(default=None, name="is")
    after: float = 0.0


class Expect(_Part, frozen=True):
    """How a WorkflowExecution must end. ``reason``: of its failure or skip; "" only where there is none."""

    phase: Phase
    reason: str = ""


class Sample(_Part, frozen=True):
    """One WorkflowExecution: created when ``when`` holds."""

    name: str
    target: str
    bundle: str
    expect: Expect
    say: str = ""
    namespace: str = ""
    when: list[When] = []
    parameters: dict[str, str] = {}
    timeout: str = ""


class ClearBlock(_Part, frozen=True):
    target: str
    by: str
    reason: str


class Cancel(_Part, frozen=True):
    execution: str
    by: str
    reason: str


class Decision(_Part, frozen=True):
    """What an operator does, once, when ``when`` holds."""

    when: list[When]
    say: str = ""
    clear_block: ClearBlock | None = None
    cancel: Cancel | None = None
    pause: str = ""
    resume: str = ""
    delete: str = ""


class Workload(_Part, frozen=True):
    """A Deployment that is there from the start, for the eye and for the steps engine."""

    name: str
    namespace: str = ""
    replicas: int = 2
    image: str = "registry.sandbox/shop/app:1"


class Lock(_Part, frozen=True):
    """How a target must stand at the end."""

    target: str
    blocked: bool = False
    outcome: str = ""


class Scenario(_Part, frozen=True):
    """The whole file. ``deadline`` is in seconds at speed 1; ``configuration`` is that of the controller's file."""

    samples: list[Sample]
    bundles: dict[str, Bundle]
    about: str = ""
    namespace: str = "default"
    deadline: float = 60.0
    configuration: dict[str, dict[str, Any]] = {}
    workloads: list[Workload] = []
    operator: list[Decision] = []
    locks: list[Lock] = []
    file: str = "scenario"

    # -- what is made of it

    def pipeline(self, name: str) -> Json:
        """The Pipeline object inside the bundle of that name."""
        bundle = self.bundles[name]
        spec: Json = {"tasks": [_task(task) for task in bundle.tasks]}
        if bundle.params:
            spec["params"] = [_param(param) for param in bundle.params]
        if bundle.finally_:
            spec["finally"] = [_task(task) for task in bundle.finally_]
        return {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": PIPELINE}, "spec": spec}

    def digest(self, name: str) -> str:
        """Of the bundle's content: the same scenario gives the same digests."""
        content = msgspec.json.encode(self.pipeline(name), order="deterministic")
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def reference(self, name: str) -> str:
        return f"{REGISTRY}/workflows/{name}@{self.digest(name)}"

    def references(self) -> dict[str, list[Json]]:
        """Reference -> objects, of the bundles that can be had: what a resolver needs."""
        ok = (name for name, bundle in self.bundles.items() if bundle.resolution == "ok")
        return {self.reference(name): [self.pipeline(name)] for name in ok}

    def refusals(self) -> dict[str, str]:
        """Reference -> what the resolver says, of those it refuses."""
        return {
            self.reference(name): bundle.refusal
            for name, bundle in self.bundles.items()
            if bundle.resolution == "refused"
        }

    def execution(self, sample: Sample) -> Json:
        """The WorkflowExecution of a sample."""
        bundle = self.bundles[sample.bundle]
        spec: Json = {
            "remediationRequestRef": {"name": "sandbox", "namespace": sample.namespace or self.namespace},
            "targetResource": sample.target,
            "workflowRef": {
                "workflowId": bundle.workflow_id or sample.bundle,
                "version": bundle.version,
                "containerImage": self.reference(sample.bundle),
                "containerDigest": self.digest(sample.bundle),
            },
        }
        if sample.parameters:
            spec["parameters"] = sample.parameters
        if sample.timeout:
            spec["executionConfig"] = {"timeout": sample.timeout}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.WORKFLOWEXECUTIONS.kind,
            "metadata": {"name": sample.name, "namespace": sample.namespace or self.namespace},
            "spec": spec,
        }

    def namespaces(self) -> list[str]:
        """Those of samples and workloads, the scenario's own first."""
        found = [self.namespace, *(s.namespace for s in self.samples), *(w.namespace for w in self.workloads)]
        return list(dict.fromkeys(name for name in found if name))

    def sample(self, name: str) -> Sample:
        return next(sample for sample in self.samples if sample.name == name)


def _param(param: Param) -> Json:
    return {"name": param.name, "type": "string"} | ({} if param.default is None else {"default": param.default})


def _task(task: Task) -> Json:
    spec: Json = {"steps": [_step(step) for step in task.steps]}
    if task.params:
        spec["params"] = [{"name": name, "type": "string"} for name in task.params]
    if task.results:
        spec["results"] = [{"name": name, "type": "string"} for name in task.results]
    found: Json = {"name": task.name, "taskSpec": spec}
    if task.params:
        found["params"] = [{"name": name, "value": value} for name, value in task.params.items()]
    for key, value in (
        ("runAfter", task.run_after),
        ("retries", task.retries),
        ("timeout", task.timeout),
        ("onError", task.on_error),
    ):
        if value:
            found[key] = value
    return found


def _step(step: Step) -> Json:
    env = {**step.env, play.ENVIRONMENT: play.encode(step.play)}
    found: Json = {"name": step.name, "image": step.image, "env": [{"name": k, "value": v} for k, v in env.items()]}
    for key, value in (("command", step.command), ("args", step.args), ("script", step.script)):
        if value:
            found[key] = value
    if step.on_error:
        found["onError"] = step.on_error
    if not step.script and not step.command:
        found["command"] = ["/bin/true"]
    return found

"""The tasks of a pipeline: their defaults, what each waits for, and what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfe_controller.kube.objects import Json, items, mapping, text
from wfe_controller.sandbox.simulators.tekton.substitution import result_references
from wfe_controller.sandbox.simulators.tekton.terms import USER_ERROR


class Unfit(Exception):
    """A run of this pipeline cannot go on; reason and message as Tekton gives them."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def with_defaults(spec: Mapping[str, Any]) -> Json:
    """The spec of a Pipeline as Tekton stores it in a status."""
    found: Json = {**spec}
    if items(found.get("params")):
        found["params"] = [_typed(entry) for entry in items(found["params"])]
    if items(found.get("results")):
        found["results"] = [{"description": "", **mapping(entry)} for entry in items(found["results"])]
    for part in ("tasks", "finally"):
        if items(found.get(part)):
            found[part] = [_task(mapping(entry)) for entry in items(found[part])]
    return found


def task_defaults(spec: Mapping[str, Any]) -> Json:
    """The spec of an embedded task as Tekton stores it in a TaskRun."""
    found = {key: value for key, value in spec.items() if key not in ("metadata", "spec")}
    for part in ("params", "results"):
        if items(found.get(part)):
            found[part] = [_typed(entry) for entry in items(found[part])]
    for part in ("steps", "sidecars"):
        if items(found.get(part)):
            found[part] = [{"computeResources": {}, **mapping(entry)} for entry in items(found[part])]
    return found


def _task(task: Mapping[str, Any]) -> Json:
    if "taskSpec" not in task:
        return dict(task)
    spec = mapping(task["taskSpec"])
    return {**task, "taskSpec": {"metadata": {}, "spec": None, **spec, **task_defaults(spec)}}


def _typed(entry: object) -> Json:
    given = dict(mapping(entry))
    if "type" not in given:
        default = given.get("default")
        given["type"] = "array" if isinstance(default, list) else "object" if isinstance(default, dict) else "string"
    return given


def dependencies(tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Task name -> the names of those it waits for. Raises Unfit for a cycle or an unknown name."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        name = text(task.get("name"))
        if name in found:
            raise _bad_graph("duplicate pipeline task")
        uses = [other for other, _ in result_references([task.get("params"), task.get("when")])]
        found[name] = list(dict.fromkeys([*items(task.get("runAfter")), *uses]))
    if name := _in_cycle(found):
        raise _bad_graph(
            f'cycle detected; task "{name}" depends on ' + ", ".join(f'"{other}"' for other in sorted(found[name]))
        )
    for name, others in found.items():
        for other in others:
            if other not in found:
                raise _bad_graph(
                    f"couldn't add link between {name} and {other}: task {name} depends on {other} but {other} "
                    "wasn't present in Pipeline"
                )
    return found


def _bad_graph(message: str) -> Unfit:
    return Unfit("PipelineInvalidGraph", message)


def _in_cycle(found: Mapping[str, Sequence[str]]) -> str:
    """The first task, by name, that can never start; "" when all can."""
    open_ = {name: {other for other in others if other in found} for name, others in found.items()}
    while free := [name for name, others in open_.items() if not others]:
        for name in free:
            del open_[name]
        for others in open_.values():
            others.difference_update(free)
    return min(open_, default="")


def check(run: Json, name: str, spec: Mapping[str, Any]) -> None:
    """What Tekton checks before it starts anything, in its order. Raises Unfit."""
    namespace, run_name = run["metadata"]["namespace"], run["metadata"]["name"]
    where = f"{namespace}/{run_name}"
    tasks = [mapping(entry) for entry in items(spec.get("tasks"))]
    finally_ = [mapping(entry) for entry in items(spec.get("finally"))]
    try:
        dependencies(tasks)
    except Unfit as bad:
        message = f"{USER_ERROR}PipelineRun {where}'s Pipeline DAG is invalid: {bad.message}"
        raise Unfit(bad.reason, message) from None
    for task in [*tasks, *finally_]:
        foreign = [key for key in ("matrix", "pipelineSpec", "pipelineRef", "taskRef") if key in task]
        if foreign or "taskSpec" not in task:
            what = foreign[0] if foreign else "a task without taskSpec"
            raise Unfit(
                "PipelineValidationFailed",
                f"{USER_ERROR}Pipeline {namespace}/{name} can't be Run; it has an invalid spec: task "
                f'"{text(task.get("name"))}": {what} is not played by the sandbox',
            )
    given = {
        text(mapping(entry).get("name")): mapping(entry).get("value") for entry in items(run["spec"].get("params"))
    }
    declared = [mapping(entry) for entry in items(spec.get("params"))]
    missing = [text(entry.get("name")) for entry in declared if "default" not in entry and entry["name"] not in given]
    if missing:
        raise Unfit(
            "ParameterMissing",
            f"{USER_ERROR}PipelineRun {where} is missing some parameters required by Pipeline {namespace}/{name}: "
            f"pipelineRun missing parameters: [{' '.join(missing)}]",
        )
    wrong = [
        n for entry in declared if (n := text(entry.get("name"))) in given and _kind(given[n]) != entry.get("type")
    ]
    if wrong:
        raise Unfit(
            "ParameterTypeMismatch",
            f"{USER_ERROR}PipelineRun {where} parameters have mismatching types with Pipeline {namespace}/{name}'s "
            f"parameters: parameters have inconsistent types : [{' '.join(wrong)}]",
        )


def _kind(value: object) -> str:
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "string"

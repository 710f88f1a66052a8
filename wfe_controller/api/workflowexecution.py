"""Reading a WorkflowExecution: from a raw object to a typed spec, late, in the snapshot.

The models stand in ``spec`` and ``status``; the rules beyond them in ``validation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from wfe_controller.api.phases import Engine
from wfe_controller.api.problems import InvalidSpec, Problem, article, json_kind
from wfe_controller.api.spec import WorkflowExecutionSpec
from wfe_controller.api.status import WorkflowExecutionStatus
from wfe_controller.api.validation import beyond_schema, problem_of

__all__ = [
    "InvalidSpec",
    "Problem",
    "WorkflowExecutionSpec",
    "WorkflowExecutionStatus",
    "engine_of",
    "parse_spec",
]


def parse_spec(obj: Mapping[str, Any]) -> WorkflowExecutionSpec:
    """The typed spec of a whole WorkflowExecution; raises InvalidSpec with every problem found.

    Pure and total: any JSON value in any place gives a spec or an InvalidSpec.
    """
    raw = obj.get("spec")
    if not isinstance(raw, Mapping):
        rule = "is required" if raw is None else f"is {article(json_kind(raw))}, not an object"
        raise InvalidSpec([Problem("spec", "", rule, "write a spec (kubectl explain wfe.spec)")])
    try:
        spec = WorkflowExecutionSpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidSpec(_ordered(problem_of(detail) for detail in error.errors(include_url=False))) from None
    problems = _ordered(beyond_schema(spec, raw))
    if problems:
        raise InvalidSpec(problems)
    return spec


def _ordered(problems: Iterable[Problem]) -> list[Problem]:
    """What concerns the image comes first: without it nothing else matters (T72)."""
    return sorted(problems, key=lambda problem: problem.field != "spec.workflowRef.containerImage")


def engine_of(obj: Mapping[str, Any]) -> Engine | None:
    """The engine a raw object names, valid or not; None when it names none or both."""
    raw = obj.get("spec")
    if not isinstance(raw, Mapping):
        return None
    tekton, steps = raw.get("workflowRef") is not None, raw.get("workflowDefinition") is not None
    if tekton == steps:
        return None
    return Engine.TEKTON if tekton else Engine.STEPS

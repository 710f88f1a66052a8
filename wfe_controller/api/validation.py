"""Rules of a spec that a schema cannot say, and the words for those it can.

The API server enforces the schema on what it is given; the controller checks everything again, late, in the snapshot:
the object may be older than the CRD, and some rules need bytes instead of characters (SPEC 1.1), the group of a target,
or a comparison across fields. Order: the containerImage error comes before the target's (T72).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wfe_controller.api import spec as model
from wfe_controller.api.durations import parse_duration
from wfe_controller.api.problems import Problem, article, json_kind, path_of, redacted, shown
from wfe_controller.api.schema import SpecModel
from wfe_controller.api.targets import TargetError, parse_target

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_STEPS_ONLY = ("execution_strategy", "adaptive_orchestration", "condition_overrides")
_STEPS_ONLY_CONFIG = ("step_timeout_default", "max_parallel_steps", "drain_timeout")


def problem_of(error: ErrorDetails) -> Problem:
    """One pydantic error in our words."""
    loc = tuple(part for part in error["loc"])
    field = path_of(loc)
    secret = len(loc) > 1 and "parameters" in loc[:-1]
    given = error["input"]
    value = "" if given is None else redacted(given) if secret else shown(given)
    limits = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return Problem(field, "", "is required", f"add {loc[-1]}")
        case "extra_forbidden":
            return Problem(
                field, "", "is not a known field", "remove it, or correct its name (kubectl explain wfe.spec)"
            )
        case "string_too_long":
            rule = f"has {len(str(given))} characters, at most {limits['max_length']} are allowed"
            return Problem(field, value, rule, "shorten it")
        case "string_too_short" | "too_short":
            return Problem(field, value, "is empty", "give it a value")
        case "too_long":
            size = len(given) if isinstance(given, list | dict) else limits["actual_length"]
            what = "entries"
            return Problem(field, "", f"has {size} {what}, at most {limits['max_length']} are allowed", "remove some")
        case "string_pattern_mismatch":
            form = model.FORMS[limits["pattern"]]
            return Problem(field, value, form.rule, form.remedy)
        case "greater_than_equal":
            return Problem(
                field, value, f"is less than {_number(limits['ge'])}", f"write {_number(limits['ge'])} or more"
            )
        case "less_than_equal":
            return Problem(
                field, value, f"is more than {_number(limits['le'])}", f"write {_number(limits['le'])} or less"
            )
        case "literal_error":
            return Problem(field, value, "is not an allowed value", f"write {limits['expected']}")
        case _ as kind if kind in _TYPES:
            return Problem(field, value, f"is {article(json_kind(given))}, not {_TYPES[kind]}", f"write {_TYPES[kind]}")
        case _:
            return Problem(field, value, f"is not valid ({error['msg']})", "correct it (kubectl explain wfe.spec)")


_TYPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def beyond_schema(spec: model.WorkflowExecutionSpec, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a spec that the models accept; ``raw`` is what it was made from."""
    yield from _engine(spec)
    if spec.workflow_ref is not None:
        yield from _digest(spec.workflow_ref)
    try:
        parse_target(spec.target_resource)
    except TargetError as error:
        yield Problem("spec.targetResource", shown(spec.target_resource), error.rule, error.remedy)
    yield from _parameters(spec.parameters or {})
    yield from _durations(spec)
    if spec.workflow_definition is not None:
        yield from _steps(spec.workflow_definition)
    size = len(_encoded(json.dumps(raw, separators=(",", ":"), ensure_ascii=False)))
    if size > model.MAX_SPEC_BYTES:
        yield Problem(
            "spec",
            "",
            f"has {size} bytes as JSON, at most {model.MAX_SPEC_BYTES} are allowed",
            "pass references instead of data",
        )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _engine(spec: model.WorkflowExecutionSpec) -> Iterator[Problem]:
    tekton, steps = spec.workflow_ref is not None, spec.workflow_definition is not None
    if tekton == steps:
        yield Problem(
            "spec",
            "",
            f"has {'both' if tekton else 'neither'} workflowRef (tekton engine) {'and' if tekton else 'nor'} "
            "workflowDefinition (steps engine)",
            "write exactly one of them",
        )
        return
    config = spec.execution_config
    if steps:
        if config is not None and config.service_account_name is not None:
            yield Problem(
                "spec.executionConfig.serviceAccountName",
                shown(config.service_account_name),
                "needs the tekton engine, each action has its own account",
                "remove it",
            )
        return
    remedy = "remove it, or use workflowDefinition"
    for name in _STEPS_ONLY:
        if getattr(spec, name) is not None:
            yield Problem(f"spec.{_alias(spec, name)}", "", "needs the steps engine", remedy)
    for name in _STEPS_ONLY_CONFIG:
        value = getattr(config, name, None)
        if config is not None and value is not None:
            field = f"spec.executionConfig.{_alias(config, name)}"
            yield Problem(field, shown(value), "needs the steps engine", remedy)
    no_rollback = "needs the steps engine, a pipeline cannot be rolled back"
    if spec.rollback_strategy is not None and spec.rollback_strategy.type != "None":
        yield Problem("spec.rollbackStrategy.type", shown(spec.rollback_strategy.type), no_rollback, remedy)
    if spec.rollback_on_failure:
        yield Problem("spec.rollbackOnFailure", "true", no_rollback, remedy)


def _alias(of: SpecModel, name: str) -> str:
    return type(of).model_fields[name].alias or name


def _digest(ref: model.WorkflowRef) -> Iterator[Problem]:
    _, at, in_image = ref.container_image.partition("@")
    if at and ref.container_digest is not None and ref.container_digest != in_image:
        yield Problem(
            "spec.workflowRef.containerDigest",
            shown(ref.container_digest),
            f"is not the digest in containerImage ({shown(in_image)})",
            "correct one of them, or leave the digest out of containerImage",
        )


def _parameters(parameters: Mapping[str, str]) -> Iterator[Problem]:
    total = 0
    for key, value in parameters.items():
        field = path_of(("parameters", key))
        key_bytes, value_bytes = len(_encoded(key)), len(_encoded(value))
        total += key_bytes + value_bytes
        if not 1 <= key_bytes <= model.MAX_PARAMETER_KEY:
            rule = f"has a key of {key_bytes} bytes, 1 to {model.MAX_PARAMETER_KEY} are allowed"
            yield Problem(field, "", rule, "rename the key")
        elif not model.PARAMETER_KEY.fullmatch(key):
            yield Problem(
                field,
                "",
                "has a key that is no parameter name",
                "use letters, digits, '_', '-' and '.', a letter or '_' first, such as REPLICA_COUNT",
            )
        if value_bytes > model.MAX_PARAMETER_VALUE:
            rule = f"has {value_bytes} bytes, at most {model.MAX_PARAMETER_VALUE} are allowed"
            yield Problem(field, redacted(value), rule, "pass a reference instead of the data")
    if total > model.MAX_PARAMETERS_SUM:
        yield Problem(
            "spec.parameters",
            "",
            f"has {total} bytes in keys and values, at most {model.MAX_PARAMETERS_SUM} are allowed",
            "pass references instead of data",
        )


def _durations(spec: model.WorkflowExecutionSpec) -> Iterator[Problem]:
    written = spec.execution_config.timeout if spec.execution_config else None
    if written is None:
        return
    if not model.MIN_TIMEOUT <= parse_duration(written) <= model.MAX_TIMEOUT:
        yield Problem(
            "spec.executionConfig.timeout",
            shown(written),
            "is outside 1m to 24h",
            "write a duration such as 30m, or leave it out for the default",
        )


def _steps(definition: model.WorkflowDefinition) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, step in enumerate(definition.steps):
        first = seen.setdefault(step.name, index)
        if first != index:
            yield Problem(
                f"spec.workflowDefinition.steps[{index}].name",
                shown(step.name),
                f"is the name of steps[{first}] too",
                "give every step a name of its own",
            )

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wfe_controller.api.phases import Engine
from wfe_controller.api.workflowexecution import InvalidSpec, engine_of, parse_spec

TEKTON: dict[str, Any] = {
    "remediationRequestRef": {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "RemediationRequest", "name": "rr-1"},
    "targetResource": "prod/Deployment.apps/web",
    "workflowRef": {"workflowId": "restart", "version": "1.2", "containerImage": "reg.example/wf/restart:v1"},
    "parameters": {"REPLICAS": "3", "EMPTY": ""},
}
STEPS: dict[str, Any] = {
    "remediationRequestRef": {"name": "rr-1"},
    "targetResource": "prod/deployment/web",
    "workflowDefinition": {"steps": [{"name": "scale", "action": "scale_deployment", "parameters": {"replicas": 3}}]},
}

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
PATHS: list[tuple[str | int, ...]] = [
    *(
        (name,)
        for name in (*TEKTON, "confidence", "executionConfig", "rollbackStrategy", "workflowDefinition", "other")
    ),
    ("remediationRequestRef", "name"),
    ("workflowRef", "containerImage"),
    ("workflowRef", "containerDigest"),
    ("parameters", "REPLICAS"),
]


def refusal(raw: Any) -> str:
    """The message, "" for a good spec; any other exception fails the test."""
    try:
        parse_spec({"spec": raw})
    except InvalidSpec as error:
        return str(error)
    return ""


def test_a_tekton_spec_reads_as_written() -> None:
    """T72, T75."""
    spec = parse_spec({"spec": TEKTON})
    assert spec.engine is Engine.TEKTON
    assert spec.target.canonical == "prod/deployment/web"
    assert spec.workflow_id == "restart"
    assert spec.parameters == {"REPLICAS": "3", "EMPTY": ""}
    assert spec.timeout == timedelta(minutes=30)
    assert spec.service_account_name == ""
    assert spec.definition_hash == ""


def test_values_of_parameters_are_kept_byte_for_byte() -> None:
    """T58: equals signs, newlines, quotes, unicode, 10 KB."""
    value = "a=b\n\"'\\ üñ \u0000 " + "x" * 10_000
    spec = parse_spec({"spec": {**TEKTON, "parameters": {"V": value}}})
    assert spec.parameters == {"V": value}


def test_time_out_and_account_of_the_spec() -> None:
    spec = parse_spec({"spec": {**TEKTON, "executionConfig": {"timeout": "1h30m", "serviceAccountName": "runner"}}})
    assert spec.timeout == timedelta(minutes=90)
    assert spec.service_account_name == "runner"


def test_the_workflow_id_of_steps_is_the_name_or_the_hash() -> None:
    """SPEC 1.1: defaults written or left out give the same id; another step gives another."""
    bare = parse_spec({"spec": STEPS})
    assert bare.engine is Engine.STEPS
    assert bare.workflow_id == "sha256:" + bare.definition_hash[:16]
    assert len(bare.definition_hash) == 64
    explicit = copy.deepcopy(STEPS)
    explicit["workflowDefinition"]["steps"][0] |= {"criticalStep": True, "runPolicy": "OnSuccess"}
    assert parse_spec({"spec": explicit}).workflow_id == bare.workflow_id
    explicit["workflowDefinition"]["steps"][0]["parameters"]["replicas"] = 4
    assert parse_spec({"spec": explicit}).workflow_id != bare.workflow_id
    explicit["workflowDefinition"] |= {"name": "scale-up", "version": "2"}
    named = parse_spec({"spec": explicit})
    assert named.workflow_id == "scale-up"


def test_a_parsed_spec_cannot_be_changed() -> None:
    spec = parse_spec({"spec": TEKTON})
    with pytest.raises(ValidationError, match="frozen"):
        spec.target_resource = "x"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("obj", "engine"),
    [
        ({"spec": TEKTON}, Engine.TEKTON),
        ({"spec": STEPS}, Engine.STEPS),
        ({"spec": {**TEKTON, "workflowDefinition": {}}}, None),
        ({"spec": {"workflowRef": None}}, None),
        ({"spec": {"workflowRef": 3}}, Engine.TEKTON),
        ({"spec": []}, None),
        ({}, None),
    ],
)
def test_the_engine_of_a_raw_object(obj: dict[str, Any], engine: Engine | None) -> None:
    assert engine_of(obj) is engine


@given(path=st.sampled_from(PATHS), value=JSON)
def test_any_json_anywhere_gives_a_spec_or_an_invalid_spec(path: tuple[str, ...], value: Any) -> None:
    """P:W7: a malformed object never stops a worker, and the message is one line of bounded length."""
    raw: Any = copy.deepcopy(TEKTON)
    node = raw
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    message = refusal(raw)
    assert "\n" not in message
    assert len(message) < 4096


@given(JSON)
def test_any_json_as_spec(value: Any) -> None:
    assert refusal(value).startswith("spec")


@pytest.mark.parametrize(
    "change",
    [
        {"targetResource": "prod/deployment/\ud800"},
        {"parameters": {"A": "\ud800"}},
        {"parameters": {"\ud800": "v"}},
        {"\ud800": 1},
        {"rationale": "\ud800"},
        {"confidence": 10**400},
    ],
)
def test_text_that_is_no_unicode_is_a_problem_not_a_crash(change: dict[str, Any]) -> None:
    """P:W7: JSON can carry lone surrogates and numbers of any size."""
    assert refusal({**TEKTON, **change}).startswith("spec")

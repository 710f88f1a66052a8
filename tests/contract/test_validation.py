"""Field validation levels, dry run, schema, defaults and pruning of our kinds, and the rules we ship."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.contract.session import Session
from tests.support.badinput import ACCEPTED, CASES, STEPS, TEKTON, Case

WRONG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "nmae": "b"}, "dta": {}, "data": {"k": "v"}}


@pytest.mark.parametrize("level", ["Strict", "Warn", "Ignore", "", "Loud"])
def test_unknown_fields(api: Session, level: str) -> None:
    """Strict refuses, Warn says it in headers, Ignore drops them silently; Warn when nothing is said."""
    codes = {"Strict": 400, "Loud": 422}
    api.post(api.cm(), WRONG, codes.get(level, 201), fieldValidation=level)
    body = api.execution()
    body["spec"]["nothing"] = 1
    body["spec"]["workflowRef"]["image"] = "x"
    body["metadata"]["nmae"] = "y"
    api.post(api.wfe(), body, codes.get(level, 201), fieldValidation=level)


def test_unknown_fields_by_default(api: Session) -> None:
    api.post(api.cm(), WRONG)
    api.post(api.wfe(), api.execution(spec={**TEKTON, "nothing": 1}))


@pytest.mark.parametrize("level", ["Strict", "Warn", "Ignore"])
def test_duplicate_fields(api: Session, level: str) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"},"data":{"j":"3"}}'
    api.post(api.cm(), body, 400 if level == "Strict" else 201, fieldValidation=level)
    ours = json.dumps(api.execution()).replace('"version": "1.2"', '"version": "1", "version": "1.2"').encode()
    api.post(api.wfe(), ours, 400 if level == "Strict" else 201, fieldValidation=level)


@pytest.mark.parametrize("level", ["Strict", "Warn"])
def test_unknown_and_duplicate_fields_in_yaml(api: Session, level: str) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n  k: w\nnothing: 1\n"
    code = 400 if level == "Strict" else 201
    api.post(api.cm(), body, code, content_type="application/yaml", fieldValidation=level)
    ours = (
        b"apiVersion: kubernaut.ai/v1alpha1\nkind: TargetLock\nmetadata: {name: l}\nspec:\n  target: a/pod/b\n"
        b"  target: a/pod/c\n  more: 1\n"
    )
    path = api.path("targetlocks", group="kubernaut.ai/v1alpha1")
    api.post(path, ours, code, content_type="application/yaml", fieldValidation=level)


def test_unknown_fields_in_updates_and_patches(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    made["spec"]["nothing"] = 1
    api.put(api.wfe("x"), made, 400, fieldValidation="Strict")
    api.put(api.wfe("x"), made, keep="spec")
    patch = {"spec": {"nothing": 1}}
    api.patch(api.wfe("x"), patch, code=422, fieldValidation="Strict")
    api.patch(api.wfe("x"), patch, fieldValidation="Warn", keep="spec")
    api.make(api.cm(), api.config_map())
    api.patch(api.cm("a"), {"nothing": 1}, code=422, fieldValidation="Strict")
    api.patch(api.cm("a"), {"nothing": 1}, fieldValidation="Warn")
    api.patch(api.cm("a"), {"nothing": 1}, "strategic", 422, fieldValidation="Strict")


def test_case_of_field_names_counts(api: Session) -> None:
    api.post(api.cm(), {**api.config_map(), "Data": {"k": "v"}}, 400, fieldValidation="Strict")
    api.post(api.cm(), {**api.config_map(), "Data": {"k": "v"}}, fieldValidation="Ignore")


def test_dry_run(api: Session) -> None:
    """Everything happens but the writing: uid and time are there, a resourceVersion is not."""
    api.post(api.cm(), api.config_map("a", {"k": "v"}), dryRun="All")
    api.post(api.wfe(), api.execution(), dryRun="All")
    api.get(api.cm("a"), 404)
    made = api.make(api.wfe(), api.execution())
    api.post(api.wfe(), api.execution(), 409, dryRun="All")
    api.patch(api.wfe("x"), {"metadata": {"labels": {"a": "b"}}}, dryRun="All")
    made["metadata"]["labels"] = {"a": "b"}
    api.put(api.wfe("x"), made, dryRun="All", keep="metadata")
    api.get(api.wfe("x"), keep="metadata.labels metadata.generation")
    api.patch(api.wfe("x") + "/status", {"status": {"phase": "Nonsense"}}, code=422, dryRun="All")


@pytest.mark.parametrize("value", ["all", "true", "None", ""])
def test_dry_run_values(api: Session, value: str) -> None:
    api.post(api.cm(), api.config_map(), 422, dryRun=value)


def test_dry_run_twice(api: Session) -> None:
    api.post(api.cm(), api.config_map(), 201, dryRun=["All", "All"])


def test_dry_run_generate_name(api: Session) -> None:
    made = api.post(api.cm(), {"metadata": {"generateName": "g-"}}, dryRun="All", quiet=True)
    assert len(made["metadata"]["name"]) == 7


def test_defaults_of_ours(api: Session) -> None:
    spec = {**STEPS, "executionConfig": {}, "rollbackStrategy": {}}
    api.post(api.wfe(), api.execution(spec=spec), keep="spec")


def test_defaults_come_with_updates(api: Session) -> None:
    """Also into what a status patch writes."""
    api.make(api.wfe(), api.execution(spec=STEPS))
    status = {"phase": "Pending", "stepStatuses": [{"stepNumber": 1, "name": "scale"}]}
    api.patch(api.wfe("x") + "/status", {"status": status}, keep="status")


def test_free_fields_stay(api: Session) -> None:
    """x-kubernetes-preserve-unknown-fields: any depth, any type."""
    spec = copy.deepcopy(STEPS)
    spec["workflowDefinition"]["steps"][0]["parameters"] = {"a": {"b": [1, 2.5, None, {"c": True}]}, "d": "e"}
    api.post(api.wfe(), api.execution(spec=spec), keep="spec.workflowDefinition")


def test_nulls(api: Session) -> None:
    """null of an optional field without default is as if it were not there."""
    spec = {**TEKTON, "rationale": None, "confidence": None, "executionConfig": None}
    api.post(api.wfe(), api.execution(spec=spec), 201, keep="spec")


@pytest.mark.parametrize(
    ("text", "code"), [("3", 201), ("3.0", 201), ("1e1", 201), ("2.5", 422), ("99999999999999999999", 422), ("-0", 422)]
)
def test_numbers(api: Session, text: str, code: int) -> None:
    """3.0 is an integer for the server, and stored as one; a number beyond 64 bits is a float."""
    spec = {**copy.deepcopy(STEPS), "executionConfig": {"maxParallelSteps": 0}}
    body = json.dumps(api.execution(spec=spec)).replace('"maxParallelSteps": 0', f'"maxParallelSteps": {text}')
    api.post(api.wfe(), body.encode(), code, keep="spec.executionConfig")


def test_status_schema(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    path = api.wfe("x") + "/status"
    for status in (
        {"phase": "Sleeping"},
        {"phase": 5},
        {"startTime": "yesterday"},
        {"conditions": [{"type": "A"}]},
        {"conditions": {"a": "b"}},
        "text",
        {"phase": "Failed", "failureDetails": {}},
    ):
        api.patch(path, {"status": status}, code=422)
    api.patch(path, {"status": {"nothing": 1}}, keep="status")


def bad_spec(case: Case) -> Any:
    return pytest.param(case, id=case.id)


@pytest.mark.parametrize("case", [bad_spec(case) for case in CASES if len(json.dumps(case.build())) < 60000])
def test_bad_specs(api: Session, case: Case) -> None:
    """One wrong thing each: which field, which rule, which words (badinput.py says the same of kubectl)."""
    accepted = case.server == ACCEPTED
    code = 201 if accepted else 400 if "strict decoding" in case.server[0] else 422
    api.post(api.wfe(), case.build(namespace=""), code, dryRun="All", fieldValidation="Strict", keep="kind")


def test_good_specs(api: Session) -> None:
    """Every rule has a case that passes too."""
    every = {
        **TEKTON,
        "executionConfig": {"timeout": "1h30m", "serviceAccountName": "runner.x"},
        "confidence": 0.5,
        "rationale": "because",
    }
    steps = {
        **STEPS,
        "executionConfig": {"timeout": "24h", "stepTimeoutDefault": "5m", "maxParallelSteps": 5, "drainTimeout": "2m"},
        "rollbackStrategy": {"type": "Automatic"},
        "rollbackOnFailure": True,
    }
    for number, spec in enumerate((TEKTON, STEPS, every, steps)):
        api.post(api.wfe(), api.execution(f"x{number}", spec), 201, keep="spec")
    for number, target in enumerate(("node/worker-1", "Node.example.com/x", "a/Widget.example.com/b", "ns/pod/a.b")):
        api.post(
            api.wfe(), api.execution(f"t{number}", {**TEKTON, "targetResource": target}), keep="spec.targetResource"
        )


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"targetResource": "prod/deployment/other"}},
        {"spec": {"parameters": None}},
        {"spec": {"rationale": "later"}},
        {"spec": None},
        {"spec": {"workflowRef": {"containerDigest": "sha256:" + "0" * 64}}},
    ],
    ids=["change", "remove-map", "add", "null", "add-below"],
)
def test_spec_is_immutable(api: Session, patch: Any) -> None:
    api.make(api.wfe(), api.execution(spec=TEKTON))
    api.patch(api.wfe("x"), patch, code=422)
    api.patch(api.wfe("x"), {"metadata": {"labels": {"a": "b"}}}, keep="metadata.labels")
    api.patch(api.wfe("x"), {"spec": {"targetResource": TEKTON["targetResource"]}}, keep="metadata.generation")


def test_spec_is_immutable_by_put(api: Session) -> None:
    made = api.make(api.wfe(), api.execution(spec=TEKTON))
    made["spec"]["targetResource"] = "a/pod/b"
    api.put(api.wfe("x"), made, 422)
    del made["spec"]
    api.put(api.wfe("x"), made, 422)


FAILED = {
    "phase": "Failed",
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:01:00Z",
    "failureDetails": {
        "reason": "TaskFailed",
        "message": "exit code 1",
        "failedAt": "2026-01-01T00:01:00Z",
        "executionTimeBeforeFailure": "1m0s",
        "naturalLanguageSummary": "It failed.",
        "wasExecutionFailure": True,
    },
}
SKIPPED = {
    "phase": "Skipped",
    "completionTime": "2026-01-01T00:01:00Z",
    "skipDetails": {"reason": "ResourceBusy", "message": "busy", "skippedAt": "2026-01-01T00:01:00Z"},
}


@pytest.mark.parametrize(
    ("end", "patch"),
    [
        (FAILED, {"phase": "Running"}),
        (FAILED, {"phase": "Completed"}),
        (FAILED, {"phase": None}),
        (FAILED, {"startTime": "2026-01-02T00:00:00Z"}),
        (FAILED, {"completionTime": None}),
        (FAILED, {"failureDetails": {"wasExecutionFailure": False}}),
        (FAILED, {"failureDetails": None}),
        (FAILED, SKIPPED),
        (FAILED, None),
        (SKIPPED, {"skipDetails": None}),
        (SKIPPED, {"startTime": "2026-01-01T00:00:00Z"}),
    ],
    ids=[
        "another-phase", "another-end", "phase-null", "start", "completion-null", "evidence", "evidence-null",
        "skip-after-failure", "status-null", "skip-null", "start-after-skip",
    ],
)  # fmt: skip
def test_the_end_is_final(api: Session, end: Any, patch: Any) -> None:
    """The CEL rules on status with oldSelf; what is not final stays writable."""
    api.make(api.wfe(), api.execution(spec=TEKTON))
    path = api.wfe("x") + "/status"
    api.patch(path, {"status": end}, quiet=True)
    api.patch(path, {"status": patch}, code=422)
    condition = {
        "type": "A",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:02:00Z",
    }
    api.patch(path, {"status": {"conditions": [condition]}}, keep="status.phase status.conditions")
    api.patch(path, {"status": {"conditions": None}}, keep="status")


def test_lock_rules(api: Session) -> None:
    path = api.path("targetlocks", group="kubernaut.ai/v1alpha1")
    base = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "TargetLock", "metadata": {"name": "l"}}
    for spec, code in (({}, 422), ({"target": ""}, 422), ({"target": "x" * 513}, 422), ({"target": "a/pod/b"}, 201)):
        api.post(path, {**base, "spec": spec}, code)
    api.post(path, {**base, "metadata": {"name": "m"}}, 422)
    api.patch(f"{path}/l", {"spec": {"target": "x/y/z"}}, code=422)
    api.patch(f"{path}/l", {"spec": {"target": None}}, code=422)
    api.patch(f"{path}/l", {"spec": None}, code=422)
    for status, code in (
        ({"holder": {"uid": "u"}}, 422),
        ({"holder": {"uid": "u", "name": "n", "namespace": "m", "acquiredAt": "2026-01-01T00:00:00Z"}}, 200),
        ({"workflows": [{"workflowId": "w"}, {"workflowId": "w"}]}, 422),
        ({"workflows": [{"workflowId": "w", "consecutiveFailures": -1}]}, 422),
        ({"workflows": [{"workflowId": "w"}]}, 200),
    ):
        api.patch(f"{path}/l/status", {"status": status}, code=code, keep="status")


def test_steps_in_another_order_are_no_change(api: Session) -> None:
    """A map list is compared by its keys: the rule that spec is immutable does not see the order."""
    spec = copy.deepcopy(STEPS)
    spec["workflowDefinition"]["steps"] = [
        {"name": "a", "action": "cordon_node"},
        {"name": "b", "action": "drain_node"},
    ]
    made = api.make(api.wfe(), api.execution(spec=spec))
    made["spec"]["workflowDefinition"]["steps"].reverse()
    api.put(api.wfe("x"), made, keep="spec.workflowDefinition")


def test_strings_are_measured_in_characters(api: Session) -> None:
    path = api.path("targetlocks", group="kubernaut.ai/v1alpha1")
    base = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "TargetLock"}
    api.post(path, {**base, "metadata": {"name": "a"}, "spec": {"target": "ä" * 512}}, keep="metadata.name")
    api.post(path, {**base, "metadata": {"name": "b"}, "spec": {"target": "ä" * 513}}, 422)

"""The CEL rule that keeps ``status.pipelineRunRef``, by the engine of the sandbox (SPEC 2.4, 13, decision 0010)."""

from __future__ import annotations

from typing import Any

import pytest

from wfe_controller.api import crd
from wfe_controller.api.names import WORKFLOWEXECUTIONS
from wfe_controller.kube.objects import Json
from wfe_controller.sandbox.apiserver.cel import Rules

REF = {"name": "wfe-1", "namespace": "kubernaut-workflows", "uid": "r-1"}
RULES = Rules.compile(crd.crd(WORKFLOWEXECUTIONS.kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def execution(ref: Json | None, **meta: Any) -> Json:
    status = {"phase": "Running", **({} if ref is None else {"pipelineRunRef": ref})}
    spec = {
        "remediationRequestRef": {"name": "rr"},
        "targetResource": "shop/deployment/cart",
        "workflowRef": {"workflowId": "restart", "version": "1", "containerImage": "reg.example/wf/restart:v1"},
    }
    return {"metadata": {"name": "x", "namespace": "ops", **meta}, "spec": spec, "status": status}


def refusals(old: Json, new: Json) -> list[str]:
    return [str(cause) for cause in RULES.evaluate(new, old)]


@pytest.mark.parametrize(
    "changed",
    [
        None,
        {**REF, "uid": "r-2"},
        {**REF, "uid": ""},
        {**REF, "namespace": "elsewhere"},
        {**REF, "name": "wfe-2"},
    ],
    ids=["gone", "another-run", "nobody", "another-namespace", "another-name"],
)
def test_no_part_of_a_named_run_changes(changed: Json | None) -> None:
    """The pods of the run are looked for in the namespace that the reference names: with another namespace written
    there none was found, and the target was let go while they ran."""
    assert any("status.pipelineRunRef stays as it is" in said for said in refusals(execution(REF), execution(changed)))


@pytest.mark.parametrize("old", [{"name": "wfe-1"}, {**REF, "uid": ""}], ids=["name-only", "empty-uid"])
def test_a_reference_without_a_uid_binds_nobody(old: Json) -> None:
    """An earlier release stored the name alone (T-1.4). Every later update of such an object was refused with "no such
    key: uid", its finalizer could never be taken off, and a running one could never name the run it adopted."""
    let_go = execution(old)
    assert (
        refusals(execution(old, finalizers=["workflowexecution.kubernaut.ai/workflowexecution-cleanup"]), let_go) == []
    )
    assert refusals(execution(old), execution(REF)) == []


def test_the_same_reference_and_the_first_one_are_fine() -> None:
    assert refusals(execution(None), execution(REF)) == []
    assert refusals(execution(REF), execution(dict(REF), labels={"a": "b"})) == []

"""The PipelineRun we ask for: what is in it, what is never in it (SPEC 3, T-1.6)."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.shell import EXECUTION, RUN_NAME, TARGET, UID, wfe
from wfe_controller.api import names
from wfe_controller.api.targets import parse_target
from wfe_controller.api.workflowexecution import parse_spec
from wfe_controller.kube.objects import Json
from wfe_controller.workflows.engines.tekton.build import bundle_reference, pipeline_run, registry_trouble
from wfe_controller.workflows.settings import ShellSettings

LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def built(obj: Json | None = None, settings: ShellSettings | None = None) -> Json:
    obj = obj or wfe()
    spec = parse_spec(obj)
    return pipeline_run(obj, spec, parse_target(spec.target_resource), settings or ShellSettings())


def params(manifest: Json) -> dict[str, str]:
    return {param["name"]: param["value"] for param in manifest["spec"]["params"]}


def test_the_run_is_in_the_execution_namespace_under_the_hash_of_its_target() -> None:
    """T1, T71: wherever the WorkflowExecution lives."""
    meta = built()["metadata"]
    assert (meta["namespace"], meta["name"]) == (EXECUTION, RUN_NAME)
    assert built(settings=ShellSettings(execution_namespace="elsewhere"))["metadata"]["namespace"] == "elsewhere"


def test_it_is_born_pending_and_resolved_from_the_bundle_as_it_is_named() -> None:
    """BR-WE-001, SPEC 2.4: a run that starts at its creation could be started by a request that lands late."""
    spec = built()["spec"]
    assert spec["status"] == "PipelineRunPending"
    assert spec["pipelineRef"] == {
        "resolver": "bundles",
        "params": [
            {"name": "bundle", "value": "reg.example/wf/restart:v1"},
            {"name": "name", "value": "workflow"},
            {"name": "kind", "value": "pipeline"},
        ],
    }


def test_labels_are_safe_and_annotations_raw_and_nobody_owns_it() -> None:
    """TH1, T59, T78, I-65, P:T8: an object without labels, with names no label can carry; no ownerReference ever."""
    ref = {"workflowId": "team/restart it!" + "x" * 80, "version": "1", "containerImage": "reg.example/wf:v1"}
    obj = wfe(workflowRef=ref)
    obj["metadata"] |= {"name": "n" * 200, "namespace": "ops"}
    meta = built(obj)["metadata"]
    assert all(LABEL.fullmatch(value) for value in meta["labels"].values()), meta["labels"]
    assert meta["labels"][names.OWNER_UID] == UID
    annotations = meta["annotations"]
    assert annotations[names.OWNER_NAME] == "n" * 200
    assert annotations[names.WORKFLOW_ID] == ref["workflowId"]
    assert annotations[names.TARGET_RESOURCE] == TARGET
    assert "ownerReferences" not in meta


@pytest.mark.parametrize("parameters", [None, {}], ids=["none", "empty"])
def test_without_parameters_only_the_built_in_one_is_there(parameters: Json | None) -> None:
    """T58, T75."""
    assert params(built(wfe(parameters=parameters))) == {"TARGET_RESOURCE": TARGET}


def test_parameters_are_strings_sorted_untouched_and_the_built_in_one_wins() -> None:
    """BR-WE-002, TH32, T58, T75: Tekton refuses a name that comes twice."""
    given = {"Z": "1", "note": 'a=b\n"ü"', "EMPTY": "", "TARGET_RESOURCE": "other/pod/x", "A": "x" * 10_000}
    manifest = built(wfe(parameters=given))
    listed = [param["name"] for param in manifest["spec"]["params"]]
    assert listed == sorted(given)
    assert params(manifest) == {**given, "TARGET_RESOURCE": TARGET}


def test_one_field_sets_all_three_time_outs() -> None:
    """TH16, P:T4: 2 h 30 asked for are 2 h 30 for the tasks; without them Tekton's hour would end the run."""
    timeouts = built(wfe(executionConfig={"timeout": "2h30m"}))["spec"]["timeouts"]
    assert timeouts == {"tasks": "2h30m0s", "finally": "5m0s", "pipeline": "2h35m0s"}
    assert built()["spec"]["timeouts"]["tasks"] == "30m0s"


@pytest.mark.parametrize(
    ("wanted", "used"),
    [(None, "kubernaut-workflow-runner"), ("admin", "kubernaut-workflow-runner"), ("patcher", "patcher")],
    ids=["default", "not-allowed", "allowed"],
)
def test_the_account_is_honoured_only_from_the_allow_list(wanted: str | None, used: str) -> None:
    """BR-WE-006, TH16, T75: else whoever may write a WorkflowExecution picks the rights it runs with."""
    obj = wfe(executionConfig={"serviceAccountName": wanted}) if wanted else wfe()
    manifest = built(obj, ShellSettings(allowed_service_accounts=("patcher",)))
    assert manifest["spec"]["taskRunTemplate"] == {"serviceAccountName": used}


def test_a_digest_pins_the_image_and_a_registry_can_be_demanded() -> None:
    digest = "sha256:" + "a" * 64
    assert bundle_reference("reg.example:5000/wf/restart:v1", digest) == f"reg.example:5000/wf/restart@{digest}"
    assert bundle_reference("reg.example/wf", None) == "reg.example/wf"
    allowed = ShellSettings(allowed_registries=("reg.example/wf",))
    assert registry_trouble("reg.example/wf/restart:v1", allowed) == ""
    assert "execution.allowedRegistries" in registry_trouble("reg.example/wf-evil/restart:v1", allowed)


def test_parameters_that_the_pipeline_does_not_know_are_passed_on() -> None:
    """T83: a bundle is not opened here, so there is no declared list to filter by."""
    assert params(built(wfe(parameters={"UNDECLARED": "1"})))["UNDECLARED"] == "1"


def test_the_manifest_is_the_same_each_time() -> None:
    """I-29: what is created again after a crash is what was created before it."""
    obj = wfe(parameters={"b": "1", "a": "2"})
    assert json.dumps(built(obj)) == json.dumps(built(obj))

"""What Tekton's own webhook refuses, and that whoever asked for it is told why."""

from __future__ import annotations

import pytest

from hack.controlplane import Plane, Refused
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION
from tests.support.tekton import runs_path
from tests.support.workloads import Workloads, step, task, workflow

ECHO = workflow(task("one", step('echo "$0"', "$(params.WORD)")), params=("TARGET_RESOURCE", "WORD"))


def test_a_run_that_the_webhook_refuses(wfe: Workloads) -> None:
    """SPEC 3, create errors: our schema takes this value, Tekton does not. Failed at once, nothing was started, and
    the status and an Event have the webhook's words."""
    name = wfe.start(ECHO, target := wfe.target(), parameters={"WORD": "$(tasks.other.results.word)"})
    status = wfe.await_phase(name)
    details = status["failureDetails"]
    assert (status["phase"], details["reason"]) == ("Failed", "ConfigurationError")
    assert details["wasExecutionFailure"] is False
    for said in (details["message"], status["message"], details["naturalLanguageSummary"]):
        assert "cannot use result expressions" in said
    condition = wfe.condition(name, "TektonPipelineCreated")
    assert (condition["status"], condition["reason"]) == ("False", "PipelineCreationFailed")
    eventually(lambda: "cannot use result expressions" in wfe.said(name), what="the Event to say why")
    assert not wfe.runs(name)
    wfe.await_released(name)
    assert wfe.lock_status(target)["workflows"][0]["consecutiveFailures"] == 1
    assert "block" not in wfe.lock_status(target)


EDITS = {
    "suspended again": {"status": "PipelineRunPending"},
    "cancelled afterwards": {"status": "Cancelled"},
    "given more time": {"timeouts": {"pipeline": "2h"}},
    "another target": {"params": [{"name": "TARGET_RESOURCE", "value": "another"}]},
}


def test_a_finished_run_cannot_be_edited(wfe: Workloads, cluster: Plane) -> None:
    """Reference, real-cluster 2: without the webhook the evidence of what was run could be changed afterwards."""
    name = wfe.start(workflow(task("one", step("true"))))
    assert wfe.await_phase(name, timeout=60)["phase"] == "Completed"
    (run,) = wfe.runs(name)
    for what, edit in EDITS.items():
        with pytest.raises(Refused, match="admission webhook") as refused:
            cluster.client.merge_patch(runs_path(EXECUTION, run["metadata"]["name"]), {"spec": edit})
        assert refused.value.status == 400, what
    assert wfe.runs(name)[0]["spec"] == run["spec"]

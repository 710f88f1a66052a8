"""Every way a real run ends: what its pods did is what the status says.

Ends that are only reached by waiting are begun together, before the first test of this module, and judged after the
quick ones: the tier would take two minutes more otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hack.controlplane import Plane
from tests.support.cluster import Controller
from tests.support.eventually import eventually
from tests.support.executions import EXECUTION
from tests.support.tekton import runs_path
from tests.support.workloads import Workloads, sleeping, step, task, workflow

ECHO = workflow(
    task("one", step('echo "target=$0 selector=$1"', "$(params.TARGET_RESOURCE)", "$(params.SELECTOR)")),
    params=("TARGET_RESOURCE", "SELECTOR"),
)


NOWHERE = "no/such:image"


@dataclass(frozen=True)
class Begun:
    """Names of what waits meanwhile."""

    wfe: Workloads
    time_out: str
    no_image: str
    no_room: str


@pytest.fixture(scope="module", autouse=True)
def begun(cluster: Plane, controller: Controller) -> Iterator[Begun]:
    cluster.ensure_namespace(name := "e2e-begun")
    wfe = Workloads(cluster, name)
    yield Begun(
        wfe,
        time_out=wfe.start(sleeping(600), executionConfig={"timeout": "1m"}),
        no_image=wfe.start(workflow(task("one", step("true", image=f"{cluster.registry}/{NOWHERE}")))),
        no_room=wfe.start(workflow(task("one", step("true", computeResources={"requests": {"cpu": "500"}})))),
    )
    cluster.client.delete(f"/api/v1/namespaces/{name}")


def failure(status: dict[str, object]) -> dict[str, object]:
    assert status["phase"] == "Failed", status
    details = status["failureDetails"]
    assert isinstance(details, dict)
    return details


def test_parameters_reach_the_pod_untouched(wfe: Workloads) -> None:
    """T-1.6: a value with quotes, a dollar and a semicolon is data on its whole way; TARGET_RESOURCE is built in."""
    value = 'app="web"; $(echo no) `id` ünïcode'
    name = wfe.start(ECHO, target := wfe.target(), parameters={"SELECTOR": value})
    assert wfe.await_phase(name, timeout=90)["phase"] == "Completed"
    assert wfe.log(name) == f"target={target} selector={value}\n"


def test_progress_counts_real_tasks(wfe: Workloads) -> None:
    """T-3.3: two tasks one after the other; the first is seen as done while the second runs."""
    name = wfe.start(workflow(task("first", step("true")), task("second", step("sleep 5"), after="first")))
    eventually(lambda: wfe.status(name).get("progress") == 50, 60, on_failure=lambda: wfe.status(name))
    status = wfe.await_phase(name, timeout=60)
    assert (status["phase"], status["progress"]) == ("Completed", 100)


def test_what_a_waiting_pod_waits_for_is_told(begun: Begun) -> None:
    """P:T2: the scheduler's and the kubelet's own word is in the status while the phase is still Running."""
    for name, reasons in ((begun.no_room, {"Unschedulable"}), (begun.no_image, {"ErrImagePull", "ImagePullBackOff"})):
        status = eventually(
            lambda name=name, reasons=reasons: (  # type: ignore[misc]
                status if (status := begun.wfe.status(name)).get("reason") in reasons else None
            ),
            60,
            on_failure=lambda name=name: begun.wfe.status(name),  # type: ignore[misc]
        )
        assert status["phase"] == "Running"


def test_exit_code_of_a_task_in_the_middle(wfe: Workloads) -> None:
    """T-4.1, T-4.4: which task, which step, which code; a step ran, so the target is blocked."""
    tasks = (
        task("prepare", step("true")),
        task("change", step("true", name="look"), step("echo broken >&2; exit 37"), after="prepare"),
        task("report", step("true"), after="change"),
    )
    name = wfe.start(workflow(*tasks), target := wfe.target())
    details = failure(wfe.await_phase(name, timeout=90))
    assert (details["reason"], details["wasExecutionFailure"]) == ("TaskFailed", True)
    assert (details["failedTaskName"], details["failedStepName"], details["exitCode"]) == ("change", "act", 37)
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_out_of_memory(wfe: Workloads) -> None:
    limits = {"limits": {"memory": "24Mi"}}
    pipeline = workflow(task("one", step("tail /dev/zero", computeResources=limits)))
    details = failure(wfe.finish(pipeline))
    assert (details["reason"], details["wasExecutionFailure"]) == ("OOMKilled", True)


def test_a_bundle_that_does_not_exist(wfe: Workloads) -> None:
    """SPEC 3: resolved by nobody, so nothing started; the message has the registry's own words."""
    name = wfe.create(target := wfe.target(), f"{wfe.plane.registry}/no/such:bundle")
    details = failure(wfe.await_phase(name, timeout=60))
    assert (details["reason"], details["wasExecutionFailure"]) == ("ConfigurationError", False)
    assert "/v2/no/such/manifests/bundle" in details["message"]
    wfe.await_released(name)
    assert wfe.lock_status(target)["workflows"][0]["consecutiveFailures"] == 1


def test_a_parameter_that_the_pipeline_wants_and_nobody_gave(wfe: Workloads) -> None:
    details = failure(wfe.finish(ECHO))
    assert (details["reason"], details["wasExecutionFailure"]) == ("ConfigurationError", False)


def test_quota(wfe: Workloads, cluster: Plane) -> None:
    """SPEC 3: no pod may be made; Tekton waits, our start time-out ends it, and nothing is blocked."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": EXECUTION},
        "spec": {"hard": {"pods": "0"}},
    }
    path = f"/api/v1/namespaces/{EXECUTION}/resourcequotas"
    cluster.client.create(path, quota)
    try:
        eventually(lambda: "hard" in cluster.client.get(f"{path}/none").get("status", {}))
        details = failure(wfe.finish(workflow(task("one", step("true"))), timeout=150))
    finally:
        cluster.client.delete(f"{path}/none")
    assert (details["reason"], details["wasExecutionFailure"]) == ("ResourceExhausted", False)


@pytest.mark.parametrize("kind", ["pipelineruns", "taskruns"])
def test_somebody_deletes_what_runs(wfe: Workloads, cluster: Plane, kind: str) -> None:
    """TH13: never a success, always an execution failure, and the target stays blocked."""
    name = wfe.start(sleeping(120), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    (run,) = wfe.runs(name)
    victim = run["metadata"]["name"] if kind == "pipelineruns" else run["status"]["childReferences"][0]["name"]
    cluster.client.delete(f"{runs_path(EXECUTION).removesuffix('pipelineruns')}{kind}/{victim}")
    details = failure(wfe.await_phase(name, timeout=120))
    assert details["wasExecutionFailure"] is True
    assert all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in wfe.pods(name))
    wfe.await_released(name)
    assert wfe.lock_status(target)["block"]["reason"] == "ExecutionFailed"


def test_a_pod_that_fits_nowhere(begun: Begun) -> None:
    """SPEC 3, startTimeout: the scheduler's own word stands in the failure; nothing started, so nothing is blocked."""
    details = failure(begun.wfe.await_phase(begun.no_room, timeout=120))
    assert (details["reason"], details["wasExecutionFailure"]) == ("ResourceExhausted", False)
    assert "Insufficient cpu" in str(details["message"])


def test_an_image_that_is_nowhere(begun: Begun) -> None:
    """P:T2: nothing started, so nothing is blocked and the failure is counted."""
    status = begun.wfe.await_phase(begun.no_image, timeout=120)
    details = failure(status)
    assert (details["reason"], details["wasExecutionFailure"]) == ("ImagePullBackOff", False)
    assert NOWHERE in str(details["message"])
    assert status["consecutiveFailures"] == 1


def test_time_out(begun: Begun) -> None:
    """P:T4: Tekton's own time-out of the tasks; the pod is really gone when the phase is terminal."""
    details = failure(begun.wfe.await_phase(begun.time_out, timeout=150))
    assert (details["reason"], details["wasExecutionFailure"]) == ("DeadlineExceeded", True)
    assert all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in begun.wfe.pods(begun.time_out))

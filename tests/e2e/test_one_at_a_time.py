"""One target, many requests: one run at a time, each with its own pods, and a history that holds the next one back."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from hack.controlplane import Plane
from tests.support.eventually import eventually
from tests.support.executions import API, EXECUTION, HOME
from tests.support.workloads import Workloads, sleeping, step, task, workflow
from wfe_controller.api.names import LOCK_FINALIZER, lock_name

CODE = workflow(task("one", step('echo "$0"; exit "$0"', "$(params.CODE)")), params=("TARGET_RESOURCE", "CODE"))


def test_twenty_at_once(wfe: Workloads) -> None:
    """BR-WE-003: of twenty requests made in one moment exactly one runs; the others say who is in their way."""
    bundle, target = wfe.push(sleeping(10)), wfe.target()
    names = [f"race-{number}" for number in range(20)]
    for name in names:  # paused first, so that all of them are there when the race starts
        wfe.create(target, bundle, name=name, annotations={"kubernaut.ai/pause": "true"})
    for name in names:
        wfe.await_phase(name, "Pending")
    for name in names:
        wfe.annotate(name, pause=None)
    ended = {name: wfe.await_phase(name, timeout=90) for name in names}
    assert Counter(status["phase"] for status in ended.values()) == {"Completed": 1, "Skipped": 19}
    (winner,) = (name for name, status in ended.items() if status["phase"] == "Completed")
    assert [run["metadata"]["annotations"]["kubernaut.ai/workflow-execution"] for run in wfe.runs()] == [winner]
    for name, status in ended.items():
        if name != winner:
            assert status["skipDetails"]["reason"] == "ResourceBusy"
            assert status["skipDetails"]["conflictingWorkflow"]["name"] == winner
            assert not wfe.pods(name)


def test_eight_targets_at_once(wfe: Workloads) -> None:
    """Different targets do not wait for each other: all of them run."""
    bundle = wfe.push(workflow(task("one", step("true"))))
    names = [wfe.create(wfe.target(), bundle) for _ in range(8)]
    assert [wfe.await_phase(name, timeout=180)["phase"] for name in names] == ["Completed"] * 8


def test_block_and_clear(wfe: Workloads) -> None:
    """SPEC 1.3, 7: after a failure that may have changed something nothing runs until somebody has looked."""
    target = wfe.target()
    failed = wfe.start(CODE, target, parameters={"CODE": "3"})
    assert wfe.await_phase(failed, timeout=90)["failureDetails"]["exitCode"] == 3
    wfe.await_released(failed)
    assert wfe.finish(CODE, target, parameters={"CODE": "0"})["skipDetails"]["reason"] == "PreviousExecutionFailed"
    wfe.clear_block(target)
    eventually(lambda: "block" not in wfe.lock_status(target), what="the block to be cleared")
    assert wfe.finish(CODE, target, parameters={"CODE": "0"})["phase"] == "Completed"


def test_twenty_runs_of_one_target_each_with_its_own_pod(wfe: Workloads) -> None:
    """SPEC 3: Tekton finds TaskRuns by name; a successor must never be judged by its predecessor's pod."""
    target, failing = wfe.target(), 11
    for number in range(20):
        code = 50 + number if number == failing else 0
        name = wfe.start(CODE, target, parameters={"CODE": str(code)})
        status = wfe.await_phase(name, timeout=90)
        (pod,) = wfe.pods(name)
        assert pod["metadata"]["creationTimestamp"] >= wfe.get(name)["metadata"]["creationTimestamp"]
        assert wfe.log(name) == f"{code}\n", number
        if number != failing:
            assert status["phase"] == "Completed", (number, status)
            continue
        assert status["failureDetails"]["exitCode"] == code
        wfe.await_released(name)
        wfe.clear_block(target)
        eventually(lambda: "block" not in wfe.lock_status(target), what="the block to be cleared")


def test_backoff_is_of_one_workflow(wfe: Workloads) -> None:
    """SPEC 2.2: the second try of a bundle that is not there waits for the backoff; another workflow does not."""
    target = wfe.target()
    first = wfe.create(target, f"{wfe.plane.registry}/no/such:bundle")
    assert wfe.await_phase(first, timeout=60)["consecutiveFailures"] == 1
    wfe.await_released(first)
    again = wfe.await_phase(wfe.create(target, f"{wfe.plane.registry}/no/such:bundle"))
    assert again["skipDetails"]["reason"] == "RecentlyRemediated"
    assert wfe.finish(CODE, target, workflow="another", parameters={"CODE": "0"})["phase"] == "Completed"


def test_a_record_that_a_crash_left_empty_goes(wfe: Workloads) -> None:
    """SPEC 1.3, 2.6: a record is created, then acquired; who dies in between leaves one that says nothing. The sweeper
    takes it away, finalizer and all, and the target can be worked on afterwards."""
    target = wfe.target()
    record = {
        "apiVersion": "kubernaut.ai/v1alpha1",
        "kind": "TargetLock",
        "metadata": {"name": lock_name(target), "namespace": HOME, "finalizers": [LOCK_FINALIZER]},
        "spec": {"target": target},
    }
    wfe.plane.client.create(f"{API}/namespaces/{HOME}/targetlocks", record)
    eventually(lambda: wfe.lock(target) is None, 30, what="the empty record to go")
    assert wfe.finish(CODE, target, parameters={"CODE": "0"})["phase"] == "Completed"


def test_many_clients_at_once(wfe: Workloads) -> None:
    """Four clients race for five targets, eight requests each: no target ever has two runs."""
    bundle = wfe.push(sleeping(3))
    targets = [wfe.target() for _ in range(5)]

    def ask(number: int) -> str:
        name = wfe.create(targets[number % 5], bundle, name=f"many-{number}")
        wfe.plane.client.close()  # the connection is this thread's own
        return name

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(ask, range(40)))
    ended = [wfe.await_phase(name, timeout=180)["phase"] for name in names]
    assert set(ended) <= {"Completed", "Skipped"}
    spans: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        body = wfe.get(name)
        if body["status"]["phase"] == "Completed":
            span = (body["status"]["startTime"], body["status"]["completionTime"])
            spans.setdefault(body["spec"]["targetResource"], []).append(span)
    assert len(spans) == 5
    for several in spans.values():
        ordered = sorted(several)
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(ordered))


def test_a_pod_taken_away_by_force_is_made_again_by_tekton(wfe: Workloads, cluster: Plane) -> None:
    """Not guaranteed: once per step. ``kubectl delete pod --force`` of a running pod -> Tekton makes another one under
    the same name for the same TaskRun, counts no retry, and the step begins anew, maybe beside the first container. Of
    that nothing tells the two pods apart from one: the run stays ours, the target stays held until the second pod has
    ended, and the status says what Tekton says."""
    name = wfe.start(sleeping(10), target := wfe.target())
    eventually(lambda: wfe.running_pod(name), 60, what="the pod to run")
    (first,) = wfe.pods(name)
    before = wfe.status(name)["pipelineRunRef"]
    where = ("-n", EXECUTION, first["metadata"]["name"])
    cluster.kubectl("delete", "pod", *where, "--grace-period=0", "--force", "--wait=false", check=True)

    def again() -> bool:
        return wfe.running_pod(name) and [p["metadata"]["uid"] for p in wfe.pods(name)] != [first["metadata"]["uid"]]

    eventually(again, 60, what="the pod that Tekton makes instead")
    assert wfe.phase(name) == "Running"
    assert wfe.lock_status(target)["holder"]["name"] == name
    status = wfe.await_phase(name, timeout=60)
    assert (status["phase"], status["pipelineRunRef"]) == ("Completed", before)
    assert "failureDetails" not in status
    (second,) = wfe.pods(name)
    assert second["metadata"]["name"] == first["metadata"]["name"]
    assert second["status"]["phase"] == "Succeeded", "released only after the second pod had ended"
    assert len(wfe.runs(name)) == 1

"""The controller as processes on a real server: one request's way, a clean exit, a killed leader."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.replicas import (
    ACCOUNT,
    HOME,
    LEASE,
    Controllers,
    executions_path,
    phase,
    workflow_execution,
)
from tests.support.tekton import pipeline

RUNS = "kubernaut-workflows"
CREDENTIAL = "authentication.kubernetes.io/credential-id"
LOCKS = "/apis/kubernaut.ai/v1alpha1/namespaces/kubernaut-system/targetlocks"


def test_one_request_becomes_one_run_and_a_clean_exit_gives_the_lease_back(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """The thinnest true path under the generated RBAC: no right is missing, one run, the target is free again."""
    controller = controllers()
    bundle = plane.push_bundle("controller/one", [pipeline()])
    target = f"{namespace}/deployment/web"
    plane.client.create(executions_path(namespace), workflow_execution(namespace, "one", target, bundle))
    eventually(
        lambda: phase(plane, namespace, "one") == "Completed",
        on_failure=lambda: plane.client.get(executions_path(namespace, "one")).get("status"),
    )
    run = plane.client.get(executions_path(namespace, "one"))["status"]["pipelineRunRef"]
    created = {"resource": "pipelineruns", "verb": "create", "namespace": RUNS, "name": run["name"]}
    assert len(plane.audit(**created)) == 1

    def lock_is_free() -> bool:
        (lock,) = (item for item in plane.client.get(LOCKS)["items"] if item["spec"]["target"] == target)
        return "holder" not in lock["status"] and lock["status"]["lastExecution"]["outcome"] == "Completed"

    eventually(lock_is_free)
    assert controller.get("/readyz")[0] == 200
    assert controller.terminate() == 0
    assert not plane.client.get(LEASE)["spec"].get("holderIdentity")
    refused = [line for line in controller.log_lines() if "forbidden" in str(line).lower()]
    assert refused == []


def test_a_killed_leader_never_means_a_second_run(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """SIGKILL in the middle of a run: the other replica takes over and sees the same run to its end."""
    controllers()
    controllers()
    kubelet.behave(lambda pod: "hang")
    bundle = plane.push_bundle("controller/two", [pipeline()])
    path = executions_path(namespace, "two")
    plane.client.create(
        executions_path(namespace), workflow_execution(namespace, "two", f"{namespace}/deployment/web", bundle)
    )
    eventually(lambda: phase(plane, namespace, "two") == "Running" and len(kubelet.hanging()) == 1)
    before = plane.client.get(path)["status"]["pipelineRunRef"]
    leader = controllers.leader()
    leader.kill()
    successor = controllers.leader()
    assert successor is not leader
    assert kubelet.finish(lambda pod: True) == 1
    eventually(lambda: phase(plane, namespace, "two") == "Completed", on_failure=lambda: successor.log[-3000:])
    assert plane.client.get(path)["status"]["pipelineRunRef"] == before
    created = {"resource": "pipelineruns", "verb": "create", "namespace": RUNS, "name": before["name"]}
    assert len(plane.audit(**created)) == 1


def credential_id(kubeconfig: Path) -> str:
    """What the audit log calls the token in it."""
    token = json.loads(kubeconfig.read_text())["users"][0]["user"]["token"]
    claims = token.split(".")[1]
    return f"JTI={json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))['jti']}"


def executions(plane: Plane, namespace: str, bundle: str, count: int) -> list[str]:
    """That many, each on a target of its own."""
    wanted = [f"w{number}" for number in range(count)]
    for name in wanted:
        body = workflow_execution(namespace, name, f"{namespace}/deployment/{name}", bundle)
        plane.client.create(executions_path(namespace), body)
    return wanted


def test_a_standby_is_ready_and_takes_over_from_a_leader_that_leaves(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """SPEC 11, 12: SIGTERM gives the lease back, exit 0; the other goes on at once, not after the lease's time."""
    lease = {"controller": {"leaseDuration": "60s", "renewDeadline": "40s", "retryPeriod": "1s"}}
    leader, standby = controllers(lease), controllers(lease)
    assert controllers.leader() is leader
    assert standby.get("/readyz")[0] == 200
    assert not [line for line in standby.log_lines() if line["event"] == "leader tasks started"]
    bundle = plane.push_bundle("controller/takeover", [pipeline(image="busybox:slow-1")])
    (name,) = executions(plane, namespace, bundle, 1)
    eventually(lambda: phase(plane, namespace, name) == "Running")
    assert leader.terminate() == 0
    # Less than the lease's time: only a lease that was given back can be had by then.
    eventually(lambda: controllers.leader() is standby, timeout=20)
    eventually(lambda: phase(plane, namespace, name) == "Completed", on_failure=lambda: standby.log[-3000:])
    run = plane.client.get(executions_path(namespace, name))["status"]["pipelineRunRef"]["name"]
    assert len(plane.audit(resource="pipelineruns", verb="create", namespace=RUNS, name=run)) == 1


def test_a_standby_that_leaves_writes_nothing(
    plane: Plane, controllers: Controllers, controller_kubeconfig: Path, tmp_path: Path
) -> None:
    """E4: it has a token of its own here, so the audit log tells its requests from the leader's."""
    controllers()
    leader = controllers.leader()
    leaders_token = controller_kubeconfig.read_text()
    mine = tmp_path / "kubeconfig"
    mine.write_text(plane.kubeconfig_for(ACCOUNT, HOME).read_text())
    controller_kubeconfig.write_text(leaders_token)
    others = Controllers(plane, mine, f"standby-{tmp_path.name}")
    try:
        standby = others()
        before = plane.client.get(LEASE)["spec"]["holderIdentity"]
        assert standby.terminate() == 0
    finally:
        others.stop()
    credential = credential_id(mine)
    requests = [e for e in plane.audit() if credential in e["user"].get("extra", {}).get(CREDENTIAL, [])]
    questions = "selfsubjectaccessreviews"  # are asked by POST
    written = [
        (e["verb"], e["requestURI"])
        for e in requests
        if e["verb"] not in ("get", "list", "watch") and e["objectRef"]["resource"] != questions
    ]
    assert written == []
    assert requests, "the audit log names the token of every request"
    assert plane.client.get(LEASE)["spec"]["holderIdentity"] == before
    assert leader.running


def test_a_rolling_restart_under_load_loses_nothing(
    plane: Plane, kubelet: Kubelet, namespace: str, controllers: Controllers
) -> None:
    """Both replicas are replaced one after the other while ten workflows run: ten ends, ten runs."""
    first, second = controllers(), controllers()
    bundle = plane.push_bundle("controller/rolling", [pipeline(image="busybox:slow-3")])
    wanted = executions(plane, namespace, bundle, 10)
    eventually(lambda: any(phase(plane, namespace, name) == "Running" for name in wanted))
    for old in (first, second):
        new = controllers()
        assert old.terminate() == 0
        assert new.running
    eventually(
        lambda: [phase(plane, namespace, name) for name in wanted] == ["Completed"] * 10,
        timeout=60,
        on_failure=lambda: [phase(plane, namespace, name) for name in wanted],
    )
    for name in wanted:
        run = plane.client.get(executions_path(namespace, name))["status"]["pipelineRunRef"]["name"]
        assert len(plane.audit(resource="pipelineruns", verb="create", namespace=RUNS, name=run)) == 1

    def held() -> list[str]:
        mine = [item for item in plane.client.get(LOCKS)["items"] if item["spec"]["target"].startswith(namespace)]
        return [item["spec"]["target"] for item in mine if item.get("status", {}).get("holder")]

    eventually(lambda: not held(), what="every target to be free again", on_failure=held)

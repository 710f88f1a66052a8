"""The commands as an operator types them, through the real kubectl: output, refusals with the next step, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hack.controlplane import Plane
from hack.controlplane.kubelet import Kubelet
from tests.support.eventually import eventually
from tests.support.executions import HOME, Executions
from tests.support.plugin import Plugin


def allow(plane: Plane, namespace: str, user: str, *rules: dict[str, list[str]]) -> None:
    """Bind ``user`` to these rules in one namespace."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": f"may-{user}"}, "rules": list(rules)}
    plane.client.ensure(f"{path}/roles", role)
    plane.client.ensure(
        f"{path}/rolebindings",
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"may-{user}"},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": f"may-{user}"},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
        },
    )


def test_get(wfe: Executions, kubectl: Plugin) -> None:
    """Names, all namespaces, phases, and the forms for programs."""
    name = wfe.create(wfe.target(), workflow="restart-it")
    wfe.await_phase(name, "Completed")
    head, row = kubectl("get").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "DONE", "TARGET", "REASON", "AGE"]
    assert row.split()[:3] == [name, "Completed", "1/1"]
    assert "restart-it" in kubectl("get", "-o", "wide").stdout
    everywhere = [row.split()[:2] for row in kubectl("get", "-A").stdout.splitlines()]
    assert [wfe.namespace, name] in everywhere  # how wide the first column is depends on what others left there
    assert kubectl("get", "-o", "name").stdout.strip() == f"workflowexecution.kubernaut.ai/{name}"
    assert kubectl("get", name, "-o", "json").json["metadata"]["name"] == name
    listed = yaml.safe_load(kubectl("get", "-o", "yaml").stdout)
    assert (listed["kind"], len(listed["items"]), listed["items"][0]["kind"]) == ("List", 1, "WorkflowExecution")
    none = kubectl("get", "--phase", "Running")
    assert (none.code, none.stdout) == (0, "")
    assert f"no WorkflowExecutions in namespace {wfe.namespace}" in none.stderr


def test_the_namespace_of_the_context_is_used(wfe: Executions, kubectl: Plugin, plane: Plane, tmp_path: Path) -> None:
    """As kubectl does: what ``kubectl config set-context`` says, and ``--context`` by name."""
    name = wfe.create(wfe.target())
    copy = tmp_path / "config"
    content = yaml.safe_load(plane.kubeconfig.read_text())
    (first,) = content["contexts"]
    other = {"name": "mine", "context": {**first["context"], "namespace": wfe.namespace}}
    content["contexts"].append(other)
    copy.write_text(yaml.safe_dump(content))
    env = {"KUBECONFIG": str(copy)}
    assert name in kubectl.shell("kubectl wfe get --context mine", env=env).stdout
    assert name not in kubectl.shell("kubectl wfe get", env=env).stdout
    told = kubectl.shell(f"kubectl wfe explain {name} --context mine -o json", env=env).json
    assert "--context mine" in told["next"]["command"]


def test_locks_tree_and_graph(wfe: Executions, kubectl: Plugin, kubelet: Kubelet) -> None:
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    head, row = kubectl("locks", target).stdout.splitlines()
    assert head.split()[:3] == ["TARGET", "STATE", "BY"]
    assert row.split()[:3] == [target, "Held", f"{wfe.namespace}/{name}"]
    assert kubectl("locks", target, "-o", "json").json["status"]["holder"]["name"] == name
    assert target in kubectl("locks", "--held").stdout
    assert target not in kubectl("locks", "--blocked").stdout
    shown = kubectl("tree", name).stdout
    assert "TargetLock wfe-" in shown
    assert "Held  by this execution" in shown
    assert "Step act  Running" in shown
    (task,) = kubectl("graph", name, "-o", "json").json["nodes"]
    assert (task["name"], task["state"]) == ("remediate", "Running")
    assert 'n0["remediate<br/>Running' in kubectl("graph", name).stdout
    assert "digraph" in kubectl("graph", name, "-o", "dot").stdout
    kubelet.finish(lambda pod: pod["metadata"]["annotations"].get("kubernaut.ai/workflow-execution") == name)
    live = kubectl("tree", name, "--watch")
    assert "Completed  [####################] 100%" in live.stdout


def test_watch_tells_each_change_and_the_end(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target(), "busybox:fail-4")
    said = kubectl("watch", name, "--exit-status", "--timeout", "60")
    assert said.code == 1, "it failed, and --exit-status was given"
    assert said.stdout.splitlines()[-1].split()[1:3] == [name, "Failed"]
    assert kubectl("watch", name).code == 0
    lines = [json.loads(line) for line in kubectl("watch", name, "-o", "json").stdout.splitlines()]
    assert lines[-1]["status"]["phase"] == "Failed"
    hanging = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    tired = kubectl("watch", hanging, "--timeout", "1")
    assert tired.code == 1
    assert f"next: kubectl wfe explain {hanging} -n {wfe.namespace}" in tired.stderr


def test_watch_of_a_namespace_goes_on(wfe: Executions, kubectl: Plugin) -> None:
    watching = kubectl.start(f"kubectl wfe watch -n {wfe.namespace}")
    try:
        assert watching.stdout is not None
        name = wfe.create(wfe.target())
        seen: list[str] = []
        while "Completed" not in " ".join(seen):
            seen.append(watching.stdout.readline())
            assert seen[-1], "it ended by itself"
        assert name in seen[0]
    finally:
        watching.kill()
        watching.communicate()


def test_pause_and_resume_leave_who_and_why(wfe: Executions, kubectl: Plugin) -> None:
    """``-by`` is who the server says we are; the reason is kept; resume takes all of it off."""
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    refused = kubectl("pause", name)
    assert refused.code == 1
    assert refused.complaint.endswith(f"next: kubectl wfe resume {name} -n {wfe.namespace}")
    kubectl("resume", name)
    wfe.await_phase(name, "Completed")
    target = wfe.target()
    holder = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(holder, "TektonPipelineRunning"))
    late = kubectl("pause", holder)
    assert (late.code, "a pause stops only what has not" in late.complaint) == (1, True)
    assert kubectl("cancel", holder, "--reason", "enough").code == 0
    notes = wfe.get(holder)["metadata"]["annotations"]
    assert notes["kubernaut.ai/cancel"] == notes["kubernaut.ai/cancel-reason"] == "enough"
    assert notes["kubernaut.ai/cancel-by"] == "admin"
    again = kubectl("cancel", holder, "--reason", "enough")
    assert (again.code, "already" in again.complaint or "has ended" in again.complaint) == (1, True)


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
def test_what_has_ended_takes_no_decision(wfe: Executions, kubectl: Plugin, command: str) -> None:
    name = wfe.create(wfe.target())
    wfe.await_phase(name, "Completed")
    before = wfe.await_released(name)["metadata"]["resourceVersion"]
    refused = kubectl(command, name, *(["--reason", "why not"] if command == "cancel" else []))
    assert refused.code == 1
    assert refused.complaint == (
        f"kubectl-wfe: error: {wfe.namespace}/{name} has ended (Completed): there is nothing to {command}\n"
        f"  next: kubectl wfe explain {name} -n {wfe.namespace}"
    )
    assert wfe.get(name)["metadata"]["resourceVersion"] == before, "nothing was written"


def test_names_that_do_not_exist_here(wfe: Executions, kubectl: Plugin) -> None:
    name = wfe.create(wfe.target())
    elsewhere = kubectl("explain", name, "-n", "default")
    assert elsewhere.code == 1
    assert f"but there is one in '{wfe.namespace}'" in elsewhere.complaint
    assert elsewhere.complaint.endswith(f"next: kubectl wfe get {name} -n {wfe.namespace}")
    nowhere = kubectl("tree", "no-such-one")
    assert (nowhere.code, nowhere.complaint.endswith(f"next: kubectl wfe get -n {wfe.namespace}")) == (1, True)


def test_clear_block_of_what_is_free_or_held(wfe: Executions, kubectl: Plugin) -> None:
    free = kubectl("clear-block", wfe.target(), "--reason", "looked at it well")
    assert free.code == 1
    assert "there is nothing to clear" in free.complaint
    assert free.complaint.endswith("next: kubectl wfe locks --blocked")
    target = wfe.target()
    name = wfe.create(target, "busybox:hang")
    eventually(lambda: wfe.condition(name, "TektonPipelineRunning"))
    held = kubectl("clear-block", name, "--reason", "looked at it well")
    assert held.code == 1
    assert f"it is held by {wfe.namespace}/{name}: a hold ends with its holder" in held.complaint
    wrong = kubectl("clear-block", "a/b/c/d", "--reason", "looked at it well")
    assert wrong.code == 2
    wfe.annotate(name, cancel="the test is over")


def test_clear_block_works_with_the_operators_rights_only(
    wfe: Executions, kubectl: Plugin, plane: Plane, tmp_path: Path
) -> None:
    """Without them it is refused with who may not do what; with patch on locks it is done, in that person's name."""
    target = wfe.target()
    name = wfe.create(target, "busybox:fail-1")
    wfe.await_phase(name, "Failed")
    wfe.await_released(name)
    mallory = Plugin(tmp_path / "mallory", plane.kubectl_path, plane.kubeconfig_for_user("mallory"), wfe.namespace)
    refused = mallory("clear-block", target, "--reason", "looked at it well")
    assert refused.code == 1
    assert 'User "mallory" cannot get resource "targetlocks"' in refused.complaint
    assert refused.complaint.endswith(f"next: kubectl wfe doctor -n {wfe.namespace}")
    doctor = mallory("doctor")
    assert doctor.code == 1
    assert f"you may not list workflowexecutions.kubernaut.ai in {wfe.namespace}" in doctor.stdout
    rule = {"apiGroups": ["kubernaut.ai"], "resources": ["targetlocks"], "verbs": ["get", "list", "patch"]}
    allow(plane, HOME, "alice", rule)
    alice = Plugin(tmp_path / "alice", plane.kubectl_path, plane.kubeconfig_for_user("alice"), wfe.namespace)

    def cleared() -> bool:
        said = alice("clear-block", target, "--reason", "the deployment is as it was")
        assert said.code == 0, said
        return True

    eventually(cleared, what="the binding to be in force")
    clearance = wfe.lock_status(target)["clearances"][-1]
    assert (clearance["by"], clearance["reason"]) == ("alice", "the deployment is as it was")


def test_retry(wfe: Executions, kubectl: Plugin) -> None:
    """A clone under a name that is free, or under the one that is given; refused while the first has not ended."""
    name = wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"}, parameters={"REPLICAS": "3"})
    wfe.await_phase(name, "Pending")
    early = kubectl("retry", name)
    assert (early.code, "has not ended (Pending)" in early.complaint) == (1, True)
    kubectl("cancel", name, "--reason", "another one")
    wfe.await_phase(name, "Failed")
    assert f"{name}-r2 would be created" in kubectl("retry", name, "--dry-run").stdout
    made = kubectl("retry", name, "--name", "by-hand", "--reason", "once more", "-o", "json").json
    assert made["metadata"]["annotations"]["kubernaut.ai/retry-of-by"] == "admin"
    assert made["spec"] == wfe.get(name)["spec"]
    wfe.await_phase("by-hand", "Completed")
    taken = kubectl("retry", name, "--name", "by-hand")
    assert (taken.code, "exists already" in taken.complaint) == (1, True)
    assert f"{name}-r2 created" in kubectl("retry", name).stdout
    wfe.await_phase(f"{name}-r2", "Completed")
    assert f"{name}-r3 created" in kubectl("retry", name).stdout, "the next name that is free"


def test_doctor(wfe: Executions, kubectl: Plugin) -> None:
    said = kubectl("doctor")
    assert said.code == 0, said.stdout
    assert "leads, renewed" in said.stdout
    checks = {check["name"]: check["verdict"] for check in kubectl("doctor", "-o", "json").json["checks"]}
    assert checks == dict.fromkeys(
        ("server", "you", "kinds", "controller", "tekton", "runner account", "your rights"), "ok"
    )


def test_completion_asks_the_cluster(wfe: Executions, kubectl: Plugin) -> None:
    """kubectl's own protocol (``kubectl_complete-wfe``), and names of the namespace that was typed."""
    name = wfe.create(wfe.target())
    said = kubectl.shell(f"kubectl_complete-wfe explain -n {wfe.namespace} ''")
    assert said.stdout.splitlines() == [name, ":4"]
    assert "explain\t" in kubectl.shell("kubectl_complete-wfe ex").stdout
    through = kubectl.shell(f"kubectl __complete wfe explain -n {wfe.namespace} {name[:5]}")
    assert name in through.stdout


def test_output_that_nobody_reads_to_the_end(wfe: Executions, kubectl: Plugin) -> None:
    """``| head``: no traceback, no error text."""
    wfe.create(wfe.target(), annotations={"kubernaut.ai/pause": "true"})
    said = kubectl.shell(f"kubectl wfe get -n {wfe.namespace} -o yaml | head -1")
    assert (said.stdout.startswith("apiVersion"), said.stderr) == (True, "")

"""Built-in kinds that we use: leases, events, pods, deployments, jobs, secrets, accounts, budgets and eviction."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Session
from tests.contract.test_updates import job

LEASES = "coordination.k8s.io/v1"


def lease(**spec: Any) -> dict[str, Any]:
    good = {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.123456Z",
        "leaseTransitions": 0,
    }
    return {"apiVersion": LEASES, "kind": "Lease", "metadata": {"name": "l"}, "spec": {**good, **spec}}


def test_lease(api: Session) -> None:
    """Microseconds stay; a holder that comes late loses by the version."""
    path = api.path("leases", group=LEASES)
    made = api.post(path, lease())
    assert made["spec"]["renewTime"] == "2026-01-01T00:00:00.123456Z"
    mine = {**made, "spec": {**made["spec"], "holderIdentity": "a", "renewTime": "2026-01-01T00:00:05.000000Z"}}
    api.put(f"{path}/l", mine, keep="spec")
    api.put(f"{path}/l", {**mine, "spec": {**mine["spec"], "holderIdentity": "b"}}, 409)
    api.delete(f"{path}/l")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"leaseDurationSeconds": 0}, 422),
        ({"leaseDurationSeconds": -1}, 422),
        ({"leaseDurationSeconds": "x"}, 400),
        ({"leaseTransitions": -1}, 422),
        ({"renewTime": "yesterday"}, 400),
        ({"renewTime": "2026-01-01T00:00:00Z"}, 400),
        ({"renewTime": None, "holderIdentity": None}, 201),
        ({"holderIdentity": ""}, 201),
    ],
    ids=["zero", "negative", "text", "transitions", "no-time", "no-fraction", "nulls", "empty-holder"],
)
def test_lease_fields(api: Session, spec: Any, code: int) -> None:
    api.post(api.path("leases", group=LEASES), lease(**spec), code, keep="spec", show=None)


def event(api: Session, name: str = "e", **fields: Any) -> dict[str, Any]:
    base = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {"kind": "ConfigMap", "namespace": api.ns, "name": "a", "apiVersion": "v1"},
        "type": "Normal",
        "reason": "Tested",
        "message": "a message",
        "source": {"component": "tests"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
    }
    return {**base, **fields}


def test_event(api: Session) -> None:
    path = api.path("events")
    api.post(path, event(api))
    api.patch(f"{path}/e", {"count": 2, "lastTimestamp": "2026-01-01T00:01:00Z"}, keep="count")
    api.get(path, fieldSelector="involvedObject.name=a,type=Normal,reason=Tested", keep="metadata.name")
    api.get(path, fieldSelector="involvedObject.kind=Pod", keep="metadata.name")
    api.get(path, 400, fieldSelector="message=x")


def test_event_of_another_namespace(api: Session) -> None:
    wrong = event(api, involvedObject={"kind": "Pod", "namespace": "default", "name": "a"})
    api.post(api.path("events"), wrong, 422)


def test_event_in_the_new_group(api: Session) -> None:
    """One store, two faces."""
    body = {
        "metadata": {"name": "n"},
        "regarding": {"kind": "ConfigMap", "namespace": api.ns, "name": "a", "apiVersion": "v1"},
        "type": "Normal",
        "reason": "Tested",
        "action": "Testing",
        "note": "a note",
        "reportingController": "example.com/tests",
        "reportingInstance": "tests-1",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    }
    path = api.path("events", group="events.k8s.io/v1")
    api.post(path, body)
    api.get(api.path("events", "n"))
    api.post(api.path("events"), event(api, "old"), quiet=True)
    api.get(path + "/old")
    api.post(path, {**body, "metadata": {"name": "m"}, "action": ""}, 422)
    api.post(path, {**body, "metadata": {"name": "m"}, "type": "Odd"}, 422)
    api.post(path, {**body, "metadata": {"name": "m"}, "reportingController": ""}, 422)


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    base = {"containers": [{"name": "c", "image": "i:1"}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {**base, **spec}}


def test_pod_defaults(api: Session) -> None:
    api.accounts()
    api.post(api.path("pods"), pod())


def test_pod_gets_its_account(api: Session) -> None:
    """The projected token volume and its mount, unless the pod says no."""
    api.accounts()
    body = pod()
    del body["spec"]["automountServiceAccountToken"]
    api.post(api.path("pods"), body, keep="spec.volumes spec.containers spec.serviceAccountName spec.serviceAccount")
    api.post(api.path("pods"), pod("q", serviceAccountName="nobody"), 403)


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": []},
        {"containers": [{"image": "i"}]},
        {"containers": [{"name": "c"}]},
        {"containers": [{"name": "C", "image": "i"}]},
        {"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]},
        {"restartPolicy": "Sometimes"},
        {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]},
        {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "w", "mountPath": "/x"}]}]},
        {"containers": [{"name": "c", "image": "i", "env": [{"value": "x"}]}]},
    ],
    ids=[
        "no-container", "no-name", "no-image", "upper", "twice", "restart", "volumes-twice", "mount", "env",
    ],
)  # fmt: skip
def test_pod_is_checked(api: Session, spec: Any) -> None:
    api.accounts()
    api.post(api.path("pods"), pod(**spec), 422)


def test_pod_spec_is_immutable_but_for_the_image(api: Session) -> None:
    api.accounts()
    path = api.path("pods")
    api.make(path, pod())
    image = {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    api.patch(f"{path}/p", image, "strategic", keep="spec.containers metadata.generation")
    api.patch(f"{path}/p", {"spec": {"restartPolicy": "Never"}}, code=422, show=lambda seen: seen["message"][:200])
    api.patch(f"{path}/p", {"spec": {"activeDeadlineSeconds": 5}}, keep="spec.activeDeadlineSeconds")


def test_pod_binding(api: Session) -> None:
    api.accounts()
    path = api.path("pods")
    api.make(path, pod())
    node = api.unique("node-", "NODE")
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}
    api.post(f"{path}/p/binding", body)
    api.get(f"{path}/p", keep="spec.nodeName status.conditions")
    api.post(f"{path}/p/binding", body, 409)


def test_pod_deletion_is_graceful_on_a_node(api: Session) -> None:
    """Marked with a time in the future; grace 0 ends it."""
    api.accounts()
    path = api.path("pods")
    api.make(path, pod(nodeName="nowhere"))
    marked = api.delete(f"{path}/p", keep="metadata.deletionGracePeriodSeconds metadata.name")
    assert marked["metadata"]["deletionTimestamp"] > marked["metadata"]["creationTimestamp"]
    api.delete(f"{path}/p", {"gracePeriodSeconds": 10}, keep="metadata.deletionGracePeriodSeconds")
    api.delete(f"{path}/p", {"gracePeriodSeconds": 20}, keep="metadata.deletionGracePeriodSeconds")
    uid = marked["metadata"]["uid"]
    api.delete(f"{path}/p", {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}, keep="metadata.name")
    api.get(f"{path}/p", 404)


def test_pod_deletion_without_a_node_is_at_once(api: Session) -> None:
    api.accounts()
    path = api.path("pods")
    api.make(path, pod())
    api.delete(f"{path}/p", keep="metadata.name metadata.deletionGracePeriodSeconds")
    api.get(f"{path}/p", 404)
    api.make(path, pod("done", nodeName="nowhere"))
    api.patch(f"{path}/done/status", {"status": {"phase": "Succeeded"}}, quiet=True)
    api.delete(f"{path}/done", keep="metadata.name")
    api.get(f"{path}/done", 404)


def test_pod_status(api: Session) -> None:
    api.accounts()
    path = api.path("pods")
    api.make(path, pod())
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": None}
    api.patch(f"{path}/p/status", {"status": {"conditions": [condition]}}, "strategic", keep="status")
    other = {"type": "Initialized", "status": "True"}
    api.patch(f"{path}/p/status", {"status": {"phase": "Running", "conditions": [other]}}, "strategic", keep="status")
    api.patch(f"{path}/p/status", {"metadata": {"labels": {"a": "b"}}}, keep="metadata.labels")
    uid = {"metadata": {"uid": "11111111-1111-1111-1111-111111111111"}, "status": {"phase": "Failed"}}
    api.patch(f"{path}/p/status", uid, "strategic", 422)


def test_deployment_defaults(api: Session) -> None:
    from tests.contract.test_patches import deployment

    api.post(api.path("deployments", group="apps/v1"), deployment(), dryRun="All")


def test_deployment_is_checked(api: Session) -> None:
    from tests.contract.test_patches import deployment

    path = api.path("deployments", group="apps/v1")
    body = deployment()
    body["spec"]["selector"]["matchLabels"] = {"app": "other"}
    api.post(path, body, 422)
    body = deployment()
    del body["spec"]["selector"]
    api.post(path, body, 422)
    body = deployment()
    body["spec"]["replicas"] = -1
    api.post(path, body, 422)


def test_deployment_scale(api: Session) -> None:
    from tests.contract.test_patches import deployment

    path = api.path("deployments", group="apps/v1")
    api.make(path, deployment())
    seen = api.get(f"{path}/d/scale", keep="kind apiVersion metadata.name spec status.selector")
    assert seen["spec"] == {} or seen["spec"].get("replicas") == 0
    api.patch(f"{path}/d/scale", {"spec": {"replicas": 2}}, keep="kind spec")
    api.get(f"{path}/d", keep="spec.replicas")
    api.patch(f"{path}/d/scale", {"spec": {"replicas": -2}}, code=422)


def test_replica_set_defaults(api: Session) -> None:
    from tests.contract.test_patches import deployment

    template = deployment()["spec"]["template"]
    body = {"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}}
    api.post(api.path("replicasets", group="apps/v1"), body, dryRun="All")


def test_job_defaults(api: Session) -> None:
    """Selector and template labels carry the job's uid, under the old and the new names."""
    api.post(api.path("jobs", group="batch/v1"), job())


def test_job_is_checked(api: Session) -> None:
    path = api.path("jobs", group="batch/v1")
    pod_template = {"spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]}}
    for spec in ({"template": pod_template}, {"parallelism": -1}, {"backoffLimit": -1}, {"completionMode": "Odd"}):
        api.post(path, job(**spec), 422, dryRun="All")


def test_job_is_immutable(api: Session) -> None:
    path = api.path("jobs", group="batch/v1")
    api.make(path, job())
    api.patch(f"{path}/j", {"spec": {"completions": 5}}, code=422)
    api.patch(f"{path}/j", {"spec": {"parallelism": 3}}, keep="spec.parallelism metadata.generation")
    api.patch(f"{path}/j", {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}, code=422,
              show=lambda seen: seen["message"][:100])  # fmt: skip


def test_job_deletion_orphans_by_default(api: Session) -> None:
    path = api.path("jobs", group="batch/v1")
    api.make(path, job())
    api.delete(f"{path}/j", keep="metadata.finalizers")


def test_secret(api: Session) -> None:
    path = api.path("secrets")
    api.post(path, {"metadata": {"name": "a"}, "stringData": {"k": "v"}, "data": {"k": "eA==", "l": "eQ=="}})
    api.post(path, {"metadata": {"name": "b"}, "data": {"k": "not base64!"}}, 400)
    api.post(path, {"metadata": {"name": "b"}, "data": {"bad key": "eA=="}}, 422)
    api.post(path, {"metadata": {"name": "tls"}, "type": "kubernetes.io/tls", "data": {}}, 422)
    api.patch(f"{path}/a", {"type": "other"}, code=422)


def test_immutable_data(api: Session) -> None:
    api.make(api.cm(), {**api.config_map("a", {"k": "v"}), "immutable": True})
    api.patch(api.cm("a"), {"data": {"k": "w"}}, code=422)
    api.patch(api.cm("a"), {"immutable": False}, code=422)
    api.patch(api.cm("a"), {"metadata": {"labels": {"a": "b"}}}, keep="metadata.labels")


def test_config_map_is_checked(api: Session) -> None:
    api.post(api.cm(), api.config_map("a", {"bad key": "v"}), 422)
    api.post(api.cm(), {**api.config_map("a", {"k": "v"}), "binaryData": {"k": "eA=="}}, 422)
    api.post(api.cm(), api.config_map("a", {"k": "x" * (1024 * 1024 + 1)}), 422)


def test_service_account(api: Session) -> None:
    api.post(api.path("serviceaccounts"), {"metadata": {"name": "a"}, "automountServiceAccountToken": False})


def test_node(api: Session) -> None:
    """No namespace; taints for what the node controller does not know yet come from admission."""
    name = api.unique("node-", "NODE")
    body = {"metadata": {"name": name}, "spec": {"unschedulable": True}}
    api.post("/api/v1/nodes", body, keep="kind metadata.name spec.unschedulable")
    api.patch(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None}}, "strategic", keep="spec.unschedulable")
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "capacity": {"cpu": "2"}}}
    api.patch(f"/api/v1/nodes/{name}/status", status, "strategic", keep="status.capacity status.allocatable")
    api.delete(f"/api/v1/nodes/{name}", keep="status")


def test_network_policy_defaults(api: Session) -> None:
    body = {"metadata": {"name": "n"}, "spec": {"podSelector": {}, "egress": [{"ports": [{"port": 443}]}]}}
    api.post(api.path("networkpolicies", group="networking.k8s.io/v1"), body)


def test_budget_and_eviction(api: Session) -> None:
    """201 when nothing stands against it, 429 with the budget as cause when something does."""
    api.accounts()
    path = api.path("pods")
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    api.make(path, pod())
    api.post(f"{path}/p/eviction", {**body, "metadata": {"name": "other"}}, 400)
    api.post(f"{path}/p/eviction", body)
    api.get(f"{path}/p", 404)
    api.post(f"{path}/p/eviction", body, 404)
    guarded = pod()
    guarded["metadata"]["labels"] = {"app": "x"}
    guarded["spec"]["nodeName"] = "nowhere"
    api.make(path, guarded)
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    api.patch(f"{path}/p/status", {"status": ready}, "strategic", quiet=True)
    budgets = api.path("poddisruptionbudgets", group="policy/v1")
    api.post(budgets, budget, keep="spec")
    api.until(f"{budgets}/b", lambda _, seen: seen["status"].get("currentHealthy") == 1, "the counted budget")
    api.post(f"{path}/p/eviction", body, 429)
    api.get(
        f"{budgets}/b", keep="status.disruptionsAllowed status.currentHealthy status.desiredHealthy status.expectedPods"
    )


def test_admission_policies_are_stored(api: Session) -> None:
    group = "/apis/admissionregistration.k8s.io/v1"
    name = api.unique("p", "POLICY")
    constraints = {"resourceRules": [{"apiGroups": ["nothing.example.com"], "apiVersions": ["v1"],
                                      "operations": ["CREATE"], "resources": ["x"]}]}  # fmt: skip
    spec = {"failurePolicy": "Fail", "matchConstraints": constraints, "validations": [{"expression": "true"}]}
    api.post(f"{group}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec}, keep="kind spec")
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    api.post(f"{group}/validatingadmissionpolicybindings", binding, keep="kind spec")
    api.delete(f"{group}/validatingadmissionpolicybindings/{name}", keep="status")
    api.delete(f"{group}/validatingadmissionpolicies/{name}", keep="status")


def test_service(api: Session) -> None:
    """Headless, so that no address has to be given out."""
    path = api.path("services")
    spec = {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    api.post(path, {"metadata": {"name": "s"}, "spec": spec})
    api.get(path, keep="metadata.name")
    api.patch(f"{path}/s", {"spec": {"selector": {"a": "c"}}}, "strategic", keep="spec.selector")
    api.delete(f"{path}/s", keep="status metadata.name")


def test_pod_log_without_a_node(api: Session) -> None:
    api.accounts()
    path = api.path("pods")
    api.get(f"{path}/p/log", 404)
    api.make(path, pod())
    api.get(f"{path}/p/log", 400, container="nothing")


def test_replica_set_scale(api: Session) -> None:
    """Owned by nobody, of nothing: its controller leaves it at zero."""
    path = api.path("replicasets", group="apps/v1")
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    api.make(path, {"metadata": {"name": "r"}, "spec": spec})
    api.get(f"{path}/r/scale", keep="kind apiVersion metadata.name spec status.selector")

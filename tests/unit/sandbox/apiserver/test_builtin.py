"""Built-in kinds: what the server fills in, refuses and keeps; compared with a real server (1.36) when written."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import builtin
from wfe_controller.sandbox.apiserver.quantities import canonical, is_quantity, parse_quantity
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.schema import Schema

INFOS = {
    (info.group, info.plural): info
    for info in builtin.resources(lambda: datetime(2026, 1, 1, tzinfo=UTC), random.Random(1))
}
POD = {"containers": [{"name": "a", "image": "b"}]}
WORKLOAD = {
    "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD},
}
CONTAINER = {
    "name": "a",
    "image": "b",
    "imagePullPolicy": "Always",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
TEMPLATE = {
    "containers": [CONTAINER],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}


def find(plural: str) -> ResourceInfo:
    return next(info for (group, name), info in INFOS.items() if name == plural and group != "events.k8s.io")


def made(plural: str, **parts: Any) -> dict[str, Any]:
    """An object as it is stored on create."""
    info = find(plural)
    obj = copy.deepcopy({"apiVersion": info.api_version, "kind": info.kind, "metadata": {"name": "q"}, **parts})
    if info.namespaced:
        obj["metadata"]["namespace"] = "default"
    obj["metadata"]["uid"] = "u-1"
    Schema.compile(info.schema).prune(obj)
    info.strategy.default(obj)
    info.strategy.prepare_create(obj)
    return obj


def said(plural: str, **parts: Any) -> list[tuple[str, str]]:
    return [(one.field, one.message) for one in find(plural).strategy.validate_create(made(plural, **parts))]


def update(plural: str, old: dict[str, Any], change: Any) -> list[tuple[str, str]]:
    new = copy.deepcopy(old)
    change(new)
    find(plural).strategy.prepare_update(new, old)
    return [(one.field, one.message) for one in find(plural).strategy.validate_update(new, old)]


def test_discovery_data() -> None:
    pods, namespaces = INFOS["", "pods"], INFOS["", "namespaces"]
    assert (pods.short_names, pods.categories, "eviction" in pods.subresources) == (("po",), ("all",), True)
    assert ("deletecollection" in pods.verbs, "deletecollection" in namespaces.verbs) == (True, False)
    assert (pods.generation, INFOS["", "configmaps"].generation) == (True, False)
    assert INFOS["", "events"].storage == INFOS["events.k8s.io", "events"].storage == "events"
    assert INFOS["apiextensions.k8s.io", "customresourcedefinitions"].short_names == ("crd", "crds")


def test_defaults_of_pods() -> None:
    pod = made("pods", spec=POD)
    assert pod["spec"] == {**TEMPLATE, "enableServiceLinks": True}
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_defaults_inside_containers_and_volumes() -> None:
    container = {
        "name": "a",
        "image": "b:1.0",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "livenessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": "0.5"}},
    }
    volumes = [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]
    spec = made("pods", spec={"containers": [container], "volumes": volumes})["spec"]
    (kept,) = spec["containers"]
    assert kept["imagePullPolicy"] == "IfNotPresent"
    assert kept["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert kept["env"][0]["valueFrom"]["fieldRef"] == {"fieldPath": "metadata.name", "apiVersion": "v1"}
    assert kept["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert kept["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
    ]


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], quality: str) -> None:
    pod = made("pods", spec={"containers": [{"name": "a", "image": "b", "resources": resources}]})
    assert pod["status"]["qosClass"] == quality


def test_defaults_of_deployments() -> None:
    obj = made("deployments", spec=WORKLOAD)
    assert obj["spec"] == {
        **WORKLOAD,
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": TEMPLATE},
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }


def test_a_job_selects_its_pods_by_its_uid() -> None:
    obj = made("jobs", spec={"template": {"spec": {**POD, "restartPolicy": "Never"}}})
    labels = {
        "batch.kubernetes.io/controller-uid": "u-1",
        "batch.kubernetes.io/job-name": "q",
        "controller-uid": "u-1",
        "job-name": "q",
    }
    assert obj["metadata"]["labels"] == obj["spec"]["template"]["metadata"]["labels"] == labels
    assert obj["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert (obj["spec"]["completions"], obj["spec"]["backoffLimit"], obj["spec"]["suspend"]) == (1, 6, False)


def test_string_data_of_a_secret_is_only_written() -> None:
    obj = made("secrets", stringData={"a": "b", "c": "new"}, data={"c": "b2xk"})
    assert (obj["type"], obj["data"], "stringData" in obj) == ("Opaque", {"a": "Yg==", "c": "bmV3"}, False)


def test_a_namespace_carries_its_name_and_a_finalizer() -> None:
    obj = made("namespaces")
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "q"}
    assert (obj["spec"], obj["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


@pytest.mark.parametrize(
    ("plural", "parts", "expected"),
    [
        ("pods", {"spec": {}}, [("spec.containers", "Required value")]),
        (
            "pods",
            {"spec": {"containers": [{"name": "a", "image": "b"}, {"name": "a"}]}},
            [("spec.containers[1].name", 'Duplicate value: "a"'), ("spec.containers[1].image", "Required value")],
        ),
        (
            "pods",
            {"spec": {**POD, "restartPolicy": "Foo"}},
            [("spec.restartPolicy", 'Unsupported value: "Foo": supported values: "Always", "OnFailure", "Never"')],
        ),
        (
            "pods",
            {"spec": {"containers": [{**CONTAINER, "volumeMounts": [{"name": "q", "mountPath": "/x"}]}]}},
            [("spec.containers[0].volumeMounts[0].name", 'Not found: "q"')],
        ),
        (
            "pods",
            {
                "spec": {
                    "containers": [{**CONTAINER, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}]
                }
            },
            [
                (
                    "spec.containers[0].resources.requests",
                    'Invalid value: "2": must be less than or equal to cpu limit of 1500m',
                )
            ],
        ),
        (
            "deployments",
            {"spec": {**WORKLOAD, "selector": {"matchLabels": {"a": "c"}}}},
            [
                (
                    "spec.template.metadata.labels",
                    'Invalid value: {"a":"b"}: `selector` does not match template `labels`',
                )
            ],
        ),
        (
            "jobs",
            {"spec": {"template": {"spec": POD}}},
            [("spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')],
        ),
        (
            "leases",
            {"spec": {"leaseDurationSeconds": 0}},
            [("spec.leaseDurationSeconds", "Invalid value: 0: must be greater than 0")],
        ),
        (
            "configmaps",
            {"data": {"a b": "x"}, "binaryData": {"c": "Yg=="}},
            [
                (
                    "data[a b]",
                    "Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or "
                    "'.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
                    "'[-._a-zA-Z0-9]+')",
                )
            ],
        ),
        (
            "configmaps",
            {"data": {"a": "x" * (1024 * 1024 + 1)}},
            [("[]", "Too long: may not be more than 1048576 bytes")],
        ),
        (
            "roles",
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            [
                (
                    "rules[0].nonResourceURLs",
                    'Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
                )
            ],
        ),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "Role", "name": "x"}},
            [("roleRef.kind", 'Unsupported value: "Role": supported values: "ClusterRole"')],
        ),
        (
            "events",
            {"involvedObject": {"kind": "Pod", "namespace": "other"}},
            [("involvedObject.namespace", 'Invalid value: "other": does not match event.namespace')],
        ),
        ("services", {"spec": {}}, [("spec.ports", "Required value")]),
    ],
)
def test_refusals(plural: str, parts: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert said(plural, **parts) == expected


def test_selectors_of_workloads_are_immutable() -> None:
    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["selector"]["matchLabels"]["x"] = "y"
        obj["spec"]["template"]["metadata"]["labels"]["x"] = "y"

    assert update("deployments", made("deployments", spec=WORKLOAD), change) == [
        ("spec.selector", 'Invalid value: {"matchLabels":{"a":"b","x":"y"}}: field is immutable')
    ]


@pytest.mark.parametrize("annotated", [True, False])
def test_the_generation_of_a_deployment_counts_annotations_too(annotated: bool) -> None:
    old = made("deployments", spec=WORKLOAD)
    old["metadata"]["generation"] = 3
    new = copy.deepcopy(old)
    new["metadata"]["annotations" if annotated else "labels"] = {"a": "b"}
    find("deployments").strategy.prepare_update(new, old)
    assert new["metadata"]["generation"] == (4 if annotated else 3)


def test_role_references_are_immutable() -> None:
    old = made("rolebindings", roleRef={"kind": "ClusterRole", "name": "view"})
    assert update("rolebindings", old, lambda obj: obj["roleRef"].update(name="edit")) == [
        (
            "roleRef",
            'Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: cannot change '
            "roleRef",
        )
    ]


def test_immutable_data_stays_and_so_does_the_mark() -> None:
    old = made("configmaps", data={"a": "b"}, immutable=True)
    why = "Forbidden: field is immutable when `immutable` is set"
    assert update("configmaps", old, lambda obj: obj.update(data={"a": "c"})) == [("data", why)]
    assert update("configmaps", old, lambda obj: obj.pop("immutable")) == [("immutable", why)]
    assert update("configmaps", old, lambda obj: obj["metadata"].update(labels={"a": "b"})) == []


def test_of_a_pod_only_images_and_a_few_times_change() -> None:
    old = made("pods", spec=POD)
    assert update("pods", old, lambda obj: obj["spec"]["containers"][0].update(image="z")) == []
    (only,) = update("pods", old, lambda obj: obj["spec"].update(restartPolicy="Never"))
    assert only[1].startswith("Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    assert update("pods", old, lambda obj: obj["spec"]["containers"].append({"name": "z", "image": "z"})) == [
        ("spec.containers", "Forbidden: pod updates may not add or remove containers")
    ]


@pytest.mark.parametrize(
    ("node", "phase", "asked", "seconds"),
    [("", "Pending", None, 0), ("n", "Running", None, 30), ("n", "Running", 5, 5), ("n", "Failed", None, 0)],
)
def test_grace_of_pods(node: str, phase: str, asked: int | None, seconds: int) -> None:
    pod = made("pods", spec={**POD, "nodeName": node})
    pod["status"]["phase"] = phase
    assert find("pods").strategy.grace(pod, asked) == seconds


def test_events_of_both_groups_are_one() -> None:
    strategy = INFOS["events.k8s.io", "events"].strategy
    new = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod"},
        "note": "m",
        "reportingController": "a.b/c",
        "deprecatedSource": {},
    }
    stored = strategy.to_storage(copy.deepcopy(new))
    assert stored["apiVersion"] == "v1"
    assert (stored["involvedObject"], stored["message"], stored["reportingComponent"], stored["source"]) == (
        {"kind": "Pod"}, "m", "a.b/c", {},
    )  # fmt: skip
    assert strategy.from_storage(stored) == new


def test_new_events_say_who_reports() -> None:
    fields = [
        field
        for field, _ in said("events", involvedObject={"namespace": "default"}, eventTime="2020-01-01T00:00:00.000001Z")
    ]
    assert fields == ["reportingComponent"] * 3 + ["reportingInstance", "action", "reason"]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1500Mi", "1500Mi"), ("0", "0"), ("1e3", "1e3"),
        ("100000", "100k"), ("1.5Gi", "1536Mi"), (".5", "500m"), ("512Ki", "512Ki"), ("2000k", "2M"),
    ],
)  # fmt: skip
def test_quantities_have_one_form(text: str, form: str) -> None:
    assert canonical(text) == form
    assert parse_quantity(text) == parse_quantity(form)


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1e" + "9" * 5000, "9" * 5000, "." + "9" * 5000])
def test_quantities_without_an_end_are_none(text: str) -> None:
    """A real server takes them, and works on the larger ones for minutes; here nobody else would be answered."""
    assert not is_quantity(text)

"""What kubectl get shows; the words for pods were taken from a real kube-apiserver 1.36."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe_controller.sandbox.apiserver import jsonpath
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import StatusError
from wfe_controller.sandbox.apiserver.table import table
from wfe_controller.sandbox.apiserver.words import human, selector_text

Json = dict[str, Any]

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CREATED = "2026-11-22T11:58:30Z"
THEN = "2026-11-22T11:50:00Z"


def row(group: str, plural: str, obj: Json, **named: Any) -> list[Any]:
    info = ResourceInfo(group, "v1", plural, "X", **named)
    made = {**obj, "metadata": {"name": "x", "creationTimestamp": CREATED, **obj.get("metadata", {})}}
    cells: list[Any] = table(info, [made], now=NOW)["rows"][0]["cells"]
    return cells


# -- pods --------------------


def container(name: str, state: Json, ready: bool = False, restarts: int = 0, last: Json | None = None) -> Json:
    found = {"name": name, "state": state, "ready": ready, "restartCount": restarts}
    return {**found, "lastState": last} if last else found


def ended(code: int, reason: str = "", **more: Any) -> Json:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": THEN, **more}}


RUNS: Json = {"running": {"startedAt": THEN}}
CRASHED = ended(1, "Error")
INITS = [{"name": "i1"}, {"name": "i2"}, {"name": "sc", "restartPolicy": "Always"}]


@pytest.mark.parametrize(
    ("spec", "status", "metadata", "shown"),
    [
        pytest.param({}, {"phase": "Pending"}, {}, ["0/2", "Pending", "0"], id="pending"),
        pytest.param(
            {},
            {"phase": "Running", "containerStatuses": [container("a", RUNS, True), container("b", RUNS)]},
            {},
            ["1/2", "Running", "0"],
            id="one-ready",
        ),
        pytest.param(
            {},
            {
                "phase": "Running",
                "containerStatuses": [
                    container("a", {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=3, last=CRASHED),
                    container("b", RUNS, True),
                ],
            },
            {},
            ["1/2", "CrashLoopBackOff", "3 (10m ago)"],
            id="crash-loop",
        ),
        pytest.param(
            {},
            {"phase": "Succeeded", "containerStatuses": [container("a", ended(0, "Completed"))]},
            {"deletionTimestamp": THEN},
            ["0/2", "Completed", "0"],
            id="completed-and-deleted",
        ),
        pytest.param({}, {"phase": "Failed", "reason": "Evicted"}, {}, ["0/2", "Evicted", "0"], id="evicted"),
        pytest.param(
            {},
            {
                "phase": "Failed",
                "containerStatuses": [container("a", ended(0, "Completed")), container("b", ended(2))],
            },
            {},
            ["0/2", "ExitCode:2", "0"],
            id="error-hides-completed",
        ),
        pytest.param(
            {},
            {
                "phase": "Running",
                "containerStatuses": [container("a", ended(0, "Completed")), container("b", RUNS, True)],
            },
            {},
            ["1/2", "NotReady", "0"],
            id="half-done",
        ),
        pytest.param(
            {"initContainers": INITS},
            {
                "phase": "Pending",
                "initContainerStatuses": [container("i1", ended(0)), container("i2", RUNS)],
            },
            {},
            ["0/3", "Init:1/3", "0"],
            id="initializing",
        ),
        pytest.param(
            {"initContainers": INITS},
            {"phase": "Pending", "initContainerStatuses": [container("i1", ended(3), restarts=1, last=CRASHED)]},
            {},
            ["0/3", "Init:ExitCode:3", "1 (10m ago)"],
            id="init-failed",
        ),
        pytest.param(
            {},
            {"phase": "Running", "containerStatuses": [container("a", RUNS, True), container("b", RUNS, True)]},
            {"deletionTimestamp": THEN},
            ["2/2", "Terminating", "0"],
            id="terminating",
        ),
    ],
)
def test_one_word_for_a_pod(spec: Json, status: Json, metadata: Json, shown: list[str]) -> None:
    pod = {"metadata": metadata, "spec": {"containers": [{"name": "a"}, {"name": "b"}], **spec}, "status": status}
    assert row("", "pods", pod)[1:4] == shown


def test_a_row_says_that_a_pod_has_run_its_course() -> None:
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Failed"}}
    made = table(ResourceInfo("", "v1", "pods", "Pod"), [pod], now=NOW)["rows"][0]
    assert made["conditions"] == [
        {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}
    ]


# -- other kinds --------------------

TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}


@pytest.mark.parametrize(
    ("group", "plural", "obj", "cells"),
    [
        ("", "namespaces", {"status": {"phase": "Active"}}, ["x", "Active", "90s"]),
        ("", "configmaps", {"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}, ["x", 3, "90s"]),
        ("", "secrets", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "90s"]),
        (
            "apps",
            "deployments",
            {
                "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            ["x", "1/2", 2, 1, "90s", "a,b", "i,j", "a=b"],
        ),
        (
            "batch",
            "jobs",
            {
                "spec": {"completions": 3, "template": TEMPLATE},
                "status": {"succeeded": 1, "startTime": THEN, "conditions": [{"type": "Failed", "status": "True"}]},
            },
            ["x", "Failed", "1/3", "10m", "90s", "a,b", "i,j", "<none>"],
        ),
        ("coordination.k8s.io", "leases", {"spec": {"holderIdentity": "me"}}, ["x", "me", "90s"]),
        ("rbac.authorization.k8s.io", "roles", {}, ["x", CREATED]),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
                    {"kind": "Group", "name": "g"},
                    {"kind": "Group", "name": "h"},
                ],
            },
            ["x", "Role/r", "90s", "u", "g, h", "n/s"],
        ),
        (
            "policy",
            "poddisruptionbudgets",
            {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}},
            ["x", "50%", "N/A", 1, "90s"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_rows_of_built_in_kinds(group: str, plural: str, obj: Json, cells: list[Any]) -> None:
    assert row(group, plural, obj) == cells


EVENT = {
    "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "f"},
    "reason": "R",
    "message": " m \n",
    "type": "Normal",
}


@pytest.mark.parametrize(
    ("more", "last", "first", "count", "source"),
    [
        (
            {"count": 3, "firstTimestamp": THEN, "lastTimestamp": CREATED, "source": {"component": "c", "host": "h"}},
            "90s",
            "10m",
            3,
            "c, h",
        ),
        (
            {
                "eventTime": THEN,
                "series": {"count": 7, "lastObservedTime": CREATED},
                "reportingComponent": "x",
                "reportingInstance": "y",
            },
            "90s",
            "10m",
            7,
            "x, y",
        ),
        ({}, "<unknown>", "<unknown>", 1, ""),
    ],
    ids=["old", "series", "bare"],
)
def test_events(more: Json, last: str, first: str, count: int, source: str) -> None:
    assert row("", "events", {**EVENT, **more}) == [
        last, "Normal", "R", "pod/p", "f", source, "m", first, count, "x",
    ]  # fmt: skip


def test_selectors_are_written_as_people_write_them() -> None:
    selector = {
        "matchLabels": {"b": "1"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]},
            {"key": "c", "operator": "DoesNotExist"},
        ],
    }
    assert selector_text(selector) == "a in (x,y),b=1,!c"


# -- custom resources --------------------


def column(path: str, kind: str = "string") -> Json:
    return {"name": "C", "type": kind, "jsonPath": path}


WIDGET: Json = {
    "spec": {"size": 3, "ratio": 2.5, "on": True, "tags": ["a", "b"], "free": {"b": 1}, "when": THEN, "none": None},
    "status": {"conditions": [{"type": "A", "status": "True"}, {"type": "Ready", "status": "False", "n": 2}]},
}


@pytest.mark.parametrize(
    ("path", "kind", "cell"),
    [
        (".spec.size", "integer", 3),
        (".spec.ratio", "integer", 2),
        (".spec.size", "number", 3.0),
        (".spec.size", "string", "3"),
        (".spec.on", "boolean", True),
        (".spec.on", "string", "true"),
        (".spec.on", "integer", None),
        (".spec.tags", "string", '["a","b"]'),
        (".spec.free", "string", '{"b":1}'),
        (".spec.tags[1]", "string", "b"),
        (".spec.tags[7]", "string", None),
        (".spec.when", "date", "10m"),
        (".spec.size", "date", None),
        (".metadata.name", "date", "<invalid>"),
        (".spec.none", "string", None),
        (".spec.missing.deeper", "string", None),
        ('.status.conditions[?(@.type=="Ready")].status', "string", "False"),
        (".status.conditions[?(@.n>1)].type", "string", "Ready"),
        (".spec['missing','size']", "string", "3"),
    ],
)
def test_cells_of_custom_resources(path: str, kind: str, cell: object) -> None:
    assert row("ex.io", "widgets", WIDGET, custom=True, columns=(column(path, kind),))[1] == cell


def test_the_age_is_shown_when_a_crd_says_nothing() -> None:
    assert row("ex.io", "widgets", {}, custom=True) == ["x", "90s"]


@pytest.mark.parametrize("path", [".a[", ".a[1:2]", ".a..b", "{range .a}"])
def test_other_json_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="unrecognized column definition"):
        jsonpath.find(path, {})


def test_what_stands_beside_the_cells() -> None:
    info = ResourceInfo("", "v1", "secrets", "Secret")
    obj = {"metadata": {"name": "s"}, "data": {}}
    assert table(info, [obj], include_object="None", now=NOW)["rows"][0]["object"] is None
    assert table(info, [obj], include_object="Object", now=NOW)["rows"][0]["object"] == obj
    beta = table(info, [obj], now=NOW, columns=False, version="meta.k8s.io/v1beta1")
    assert beta["columnDefinitions"] is None
    assert beta["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"
    with pytest.raises(StatusError) as caught:
        table(info, [], include_object="Foo", now=NOW)
    assert (caught.value.code, caught.value.message) == (
        400,
        'Unable to convert to Table as requested: includeObject: Invalid value: "Foo": '
        "must be 'Metadata', 'Object', 'None', or empty",
    )


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=-5), "<invalid>"),
        (timedelta(seconds=-1), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(minutes=9, seconds=5), "9m5s"),
        (timedelta(minutes=179), "179m"),
        (timedelta(hours=7, minutes=1), "7h1m"),
        (timedelta(hours=47), "47h"),
        (timedelta(days=7, hours=3), "7d3h"),
        (timedelta(days=400), "400d"),
        (timedelta(days=1100), "3y5d"),
        (timedelta(days=4000), "10y"),
    ],
)
def test_durations(span: timedelta, text: str) -> None:
    assert human(span.total_seconds()) == text

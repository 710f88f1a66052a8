"""Server-side tables, as kubectl get shows them, and metadata-only answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import TABLE, Session

METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def brief(table: Any) -> Any:
    """Columns without descriptions, cells with ages as AGE."""
    columns = [[column[key] for key in ("name", "type", "format", "priority")] for column in table["columnDefinitions"]]
    ages = [
        index for index, column in enumerate(columns) if column[0] in ("Age", "Last Seen", "First Seen", "Created At")
    ]
    rows = []
    for row in table["rows"]:
        cells = [
            "AGE" if index in ages and cell not in ("<unknown>",) else cell for index, cell in enumerate(row["cells"])
        ]
        rows.append([cells, row.get("object", {}).get("kind"), row.get("conditions")])
    return [table["kind"], table["apiVersion"], sorted(table["metadata"]), columns, rows]


def test_table_of_ours(api: Session) -> None:
    api.make(api.wfe(), api.execution("a"))
    api.make(api.wfe(), api.execution("b"))
    status = {
        "phase": "Skipped",
        "executionEngine": "tekton",
        "reason": "ResourceBusy",
        "progress": 50,
        "completionTime": "2026-01-01T00:01:00Z",
        "skipDetails": {
            "reason": "ResourceBusy",
            "message": "busy",
            "skippedAt": "2026-01-01T00:01:00Z",
            "conflictingWorkflow": {
                "name": "other",
                "workflowId": "w",
                "startedAt": "2026-01-01T00:00:00Z",
                "targetResource": "prod/deployment/web",
            },
        },
    }
    api.patch(api.wfe("b") + "/status", {"status": status}, quiet=True)
    api.get(api.wfe(), accept=TABLE, show=brief)
    api.get(api.wfe("b"), accept=TABLE, show=brief)


def test_table_definitions_have_descriptions(api: Session) -> None:
    """Those of ours; the texts of built-in kinds are not kept (docs/sandbox.md)."""
    table = api.get(api.wfe(), accept=TABLE, quiet=True)
    api.show("columns", table["columnDefinitions"][1:])


def test_table_of_locks(api: Session) -> None:
    path = api.path("targetlocks", group="kubernaut.ai/v1alpha1")
    base = {"apiVersion": "kubernaut.ai/v1alpha1", "kind": "TargetLock", "spec": {"target": "prod/deployment/web"}}
    api.make(path, {**base, "metadata": {"name": "l"}})
    status = {
        "holder": {
            "uid": "u",
            "name": "wfe-a",
            "namespace": "n",
            "engine": "tekton",
            "acquiredAt": "2026-01-01T00:00:00Z",
        },
        "workflows": [
            {"workflowId": "cooling", "consecutiveFailures": 0, "cooldownUntil": "2026-01-01T00:09:00Z"},
            {"workflowId": "w", "consecutiveFailures": 2, "nextAllowedExecution": "2026-01-01T00:05:00Z"},
        ],
        "block": {
            "reason": "ExecutionFailed",
            "by": {"uid": "u", "name": "wfe-0"},
            "since": "2026-01-01T00:00:00Z",
            "message": "m",
        },
    }
    api.patch(f"{path}/l/status", {"status": status}, quiet=True)
    api.get(path, accept=TABLE, show=brief)


@pytest.mark.parametrize("include", ["Object", "None", "Metadata", "", "Everything"])
def test_table_objects(api: Session, include: str) -> None:
    api.make(api.wfe(), api.execution("a"))
    code = 400 if include == "Everything" else 200

    def objects(table: Any) -> Any:
        if table["kind"] != "Table":
            return table
        rows = [sorted(row["object"]) if row.get("object") else None for row in table["rows"]]
        return [rows, [row["object"]["kind"] if row.get("object") else None for row in table["rows"]]]

    api.get(api.wfe(), code, accept=TABLE, includeObject=include, show=objects)


def test_table_of_nothing(api: Session) -> None:
    api.get(api.path("secrets"), accept=TABLE, show=brief)
    api.get(api.path("secrets", "nope"), 404, accept=TABLE)


def test_table_in_pages(api: Session) -> None:
    for name in ("a", "b"):
        api.make(api.wfe(), api.execution(name))
    table = api.get(api.wfe(), accept=TABLE, limit=1, quiet=True)
    api.show("metadata", {**table["metadata"], "resourceVersion": "", "continue": bool(table["metadata"]["continue"])})


def test_table_falls_back(api: Session) -> None:
    """kubectl asks for a table first and takes JSON where there is none."""
    api.make(api.wfe(), api.execution("a"))
    accept = f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    api.get(api.wfe(), accept=accept, show=lambda seen: [seen["kind"], seen["apiVersion"]])
    api.get(api.wfe(), accept=f"application/json,{TABLE}", show=lambda seen: seen["kind"])
    api.get(api.wfe("a"), 406, accept="application/json;as=Table;v=v2;g=meta.k8s.io")


def test_table_of_config_maps_and_secrets(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v", "l": "w"}))
    api.make(api.path("secrets"), {"metadata": {"name": "s"}, "data": {"k": "dg=="}})
    api.get(api.cm("a"), accept=TABLE, show=brief)
    api.get(api.path("secrets"), accept=TABLE, show=brief)


def test_table_of_namespaces(api: Session) -> None:
    api.get(f"/api/v1/namespaces/{api.ns}", accept=TABLE, show=brief)


def test_table_of_pods(api: Session) -> None:
    api.accounts()
    spec = {
        "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}],
        "automountServiceAccountToken": False,
    }
    path = api.path("pods")
    for name in ("a", "b", "c", "d"):
        api.make(path, {"metadata": {"name": name}, "spec": spec})
    running = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "containerStatuses": [
            {"name": "c", "ready": True, "restartCount": 2, "image": "i", "imageID": "", "state": {"running": {}}},
            {"name": "d", "ready": False, "restartCount": 0, "image": "i", "imageID": "",
             "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ],
    }  # fmt: skip
    api.patch(f"{path}/b/status", {"status": running}, quiet=True)
    api.patch(f"{path}/c/status", {"status": {"phase": "Succeeded"}}, quiet=True)
    api.patch(f"{path}/d/status", {"status": {"phase": "Failed", "reason": "Evicted"}}, quiet=True)
    api.get(path, accept=TABLE, show=brief)


def test_table_of_jobs(api: Session) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}
    path = api.path("jobs", group="batch/v1")
    spec = {"managedBy": "example.com/nobody", "completions": 3, "template": {"spec": pod}}
    api.make(path, {"metadata": {"name": "j"}, "spec": spec})
    api.get(path, accept=TABLE, show=lambda table: brief(table)[:4])
    table = api.get(path, accept=TABLE, quiet=True)
    api.show("cells", table["rows"][0]["cells"][:3])


def test_table_of_deployments(api: Session) -> None:
    from tests.contract.test_patches import deployment

    path = api.path("deployments", group="apps/v1")
    api.make(path, deployment())
    api.get(path, accept=TABLE, show=brief)
    api.get(api.path("replicasets", group="apps/v1"), accept=TABLE, show=lambda table: brief(table)[:4])


def test_table_of_leases_and_events(api: Session) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    api.make(api.path("leases", group="coordination.k8s.io/v1"), lease)
    api.get(api.path("leases", group="coordination.k8s.io/v1"), accept=TABLE, show=brief)
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": api.ns, "name": "p"},
        "type": "Warning",
        "reason": "Tested",
        "message": "a message",
        "source": {"component": "tests"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 3,
    }
    api.make(api.path("events"), event)
    api.get(api.path("events"), accept=TABLE, show=brief)


@pytest.mark.parametrize(
    ("plural", "group", "body"),
    [
        ("roles", "rbac.authorization.k8s.io/v1", {"rules": []}),
        ("rolebindings", "rbac.authorization.k8s.io/v1",
         {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
          "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
        ("networkpolicies", "networking.k8s.io/v1", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ("poddisruptionbudgets", "policy/v1", {"spec": {"minAvailable": 1}}),
        ("serviceaccounts", "", {}),
    ],
    ids=["role", "binding", "policy", "budget", "account"],
)  # fmt: skip
def test_table_of_others(api: Session, plural: str, group: str, body: Any) -> None:
    path = api.path(plural, group=group)
    api.make(path, {"metadata": {"name": "a"}, **body})
    api.get(f"{path}/a", accept=TABLE, show=brief)


def test_table_of_definitions(api: Session) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/targetlocks.kubernaut.ai"
    api.get(path, accept=TABLE, show=lambda table: [brief(table)[3], table["rows"][0]["cells"][0]])


def test_metadata_only(api: Session) -> None:
    api.make(api.wfe(), api.execution("a", labels={"l": "1"}))
    api.get(api.wfe("a"), accept=METADATA)
    api.get(api.wfe(), accept=METADATA_LIST)
    api.get(api.cm(), accept=METADATA_LIST, show=lambda seen: [seen["kind"], seen["apiVersion"]])

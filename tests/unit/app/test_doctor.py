"""app/doctor and app/rights: each thing that can be wrong in a cluster gives one row with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe_controller.api.crd import crd
from wfe_controller.app.config import load_settings
from wfe_controller.app.doctor import Doctor, Row, Verdict, parse_version
from wfe_controller.app.home import home_namespace
from wfe_controller.app.rights import RIGHTS, Answer, Place, Question, Right, Scope, ask_rights, missing, review
from wfe_controller.kube.client.transport import ConnectionSettings
from wfe_controller.kube.clock import RealClock, rfc3339_micro
from wfe_controller.kube.errors import ConnectionFailed, Forbidden, KubeError, NotFound
from wfe_controller.kube.objects import Json, ObjectKey, Resource

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
FORBIDDEN = Forbidden(403, "Forbidden", "no")


class Clock(RealClock):
    def now(self) -> datetime:
        return NOW


class Cluster:
    """A healthy cluster that a test breaks. ``objects``: (plural, namespace, name) -> object or the error to raise."""

    def __init__(self) -> None:
        self.version: Json = {"gitVersion": "v1.36.3"}
        self.date: datetime | None = NOW
        self.denied: set[str] = set()
        self.leases: list[Json] | KubeError = []
        self.objects: dict[tuple[str, str, str], Json | KubeError] = {
            ("namespaces", "", "kubernaut-system"): {},
            ("namespaces", "", "kubernaut-workflows"): {},
            ("serviceaccounts", "kubernaut-workflows", "kubernaut-workflow-runner"): {},
            ("configmaps", "tekton-pipelines", "pipelines-info"): {"data": {"version": "v1.12.0"}},
            ("configmaps", "tekton-pipelines", "config-defaults"): {"data": {}},
        }
        for kind in ("WorkflowExecution", "TargetLock"):
            definition = crd(kind)
            definition["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
            self.objects["customresourcedefinitions", "", definition["metadata"]["name"]] = definition
        self.discovery = {"/apis/tekton.dev/v1": ["pipelineruns", "taskruns"]}
        self.transport = type("Transport", (), {"server": "https://10.0.0.1:6443"})()

    async def raw(self, method: str, path: str, *, body: Any = None, **_: Any) -> Json:
        if isinstance(self.version, KubeError):
            raise self.version
        if path == "/version":
            return self.version
        if path in self.discovery:
            return {"resources": [{"name": name} for name in self.discovery[path]]}
        if body is not None:
            asked = body["spec"]["resourceAttributes"]
            name = "/".join(part for part in (asked["resource"], asked.get("subresource")) if part)
            return {"status": {"allowed": f"{asked['verb']} {name}" not in self.denied}}
        raise NotFound(404, "NotFound", path)

    async def get(self, resource: Resource, key: ObjectKey, **_: Any) -> Json:
        found = self.objects.get((resource.plural, key.namespace, key.name))
        if found is None:
            raise NotFound(404, "NotFound", str(key))
        if isinstance(found, KubeError):
            raise found
        return found

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> list[Json]:
        if isinstance(self.leases, KubeError):
            raise self.leases
        return self.leases

    async def server_date(self) -> datetime | None:
        return self.date

    def config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        self.objects["configmaps", namespace, name] = {"data": dict(data)}


def lease(namespace: str, holder: str, renewed: datetime) -> Json:
    return {
        "metadata": {"namespace": namespace, "name": "workflowexecution.kubernaut.ai"},
        "spec": {"holderIdentity": holder, "renewTime": rfc3339_micro(renewed), "leaseDurationSeconds": 15},
    }


def held_by(holder: str, renewed: datetime) -> Json:
    return lease("kubernaut-system", holder, renewed)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def examine(cluster: Cluster, **overrides: str) -> list[Row]:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    settings = load_settings(None, {}, keys, default_path=Path("/nonexistent"))
    return await Doctor(cluster, settings, settings.controller.namespace, Clock()).examine()  # type: ignore[arg-type]


def only(rows: list[Row], verdict: Verdict = Verdict.FAIL) -> Row:
    (row,) = [row for row in rows if row.verdict is verdict]
    return row


async def test_a_healthy_cluster_is_all_ok(cluster: Cluster) -> None:
    rows = await examine(cluster)
    assert {row.verdict for row in rows} == {Verdict.OK}
    assert {row.name: row.seen for row in rows} == {
        "server": "Kubernetes v1.36.3 at https://10.0.0.1:6443",
        "clock": "within 5 s of the server",
        "namespace kubernaut-system": "exists",
        "namespace kubernaut-workflows": "exists",
        "rights": f"all {len(list(Scope('a', 'b').questions()))} are granted",
        "crd workflowexecutions": "served, with the schema of this version",
        "crd targetlocks": "served, with the schema of this version",
        "tekton": "Tekton v1.12.0",
        "tekton time-out": "default-timeout-minutes is 60",
        "tekton pruner": "none seen",
        "runner account": "kubernaut-workflows/kubernaut-workflow-runner exists",
        "lease": "kubernaut-system/workflowexecution.kubernaut.ai does not exist: the controller has not run here yet",
        "other installs": "none seen",
    }


async def test_a_server_that_does_not_answer_is_the_only_row(cluster: Cluster) -> None:
    cluster.version = ConnectionFailed("connection refused")  # type: ignore[assignment]
    (row,) = await examine(cluster)
    assert (row.name, row.verdict, row.seen) == ("server", Verdict.FAIL, "could not ask: connection refused")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("v1.32.0", Verdict.OK), ("v1.31.9", Verdict.FAIL), ("v1.30.4-gke.1", Verdict.FAIL), ("", Verdict.WARN)],
)
async def test_the_server_must_be_new_enough(cluster: Cluster, version: str, verdict: Verdict) -> None:
    cluster.version = {"gitVersion": version}
    assert (await examine(cluster))[0].verdict is verdict


@pytest.mark.parametrize(
    ("seconds", "seen"),
    [
        (5, None),
        (-5, None),
        (30, "this machine is 30 s behind the server"),
        (-30, "this machine is 29 s ahead of the server"),
    ],
)
async def test_clock_skew_above_five_seconds_is_a_warning(cluster: Cluster, seconds: int, seen: str | None) -> None:
    cluster.date = NOW + timedelta(seconds=seconds)
    rows = {row.name: row for row in await examine(cluster)}
    assert rows["clock"].verdict is (Verdict.WARN if seen else Verdict.OK)
    if seen:
        assert rows["clock"].seen == seen


async def test_each_missing_right_is_a_row_with_its_use(cluster: Cluster) -> None:
    """P:X3: every one, not only the first."""
    cluster.denied = {"create pipelineruns", "delete pipelineruns", "update workflowexecutions/status", "get pods/log"}
    rows = [row for row in await examine(cluster) if row.name == "right"]
    assert [(row.verdict, row.seen) for row in rows] == [
        (
            Verdict.FAIL,
            "may not update workflowexecutions/status.kubernaut.ai in all namespaces; needed to write what happened",
        ),
        (
            Verdict.FAIL,
            "may not create, delete pipelineruns.tekton.dev in namespace kubernaut-workflows; needed to run a workflow",
        ),
        (
            Verdict.WARN,
            "may not get pods/log in namespace kubernaut-workflows; needed to keep the last lines of a failing step",
        ),
    ]


async def test_an_old_crd_fails_with_the_field(cluster: Cluster) -> None:
    """P:U1: the field that would be pruned is named."""
    definition = cluster.objects["customresourcedefinitions", "", "targetlocks.kubernaut.ai"]
    assert isinstance(definition, dict)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["status"]["properties"]["block"]
    row = only(await examine(cluster))
    assert (row.name, row.seen) == ("crd targetlocks", "missing fields: status.block")
    assert "manifests crds" in row.remedy


async def test_an_absent_or_unreadable_crd(cluster: Cluster) -> None:
    cluster.objects["customresourcedefinitions", "", "targetlocks.kubernaut.ai"] = FORBIDDEN
    del cluster.objects["customresourcedefinitions", "", "workflowexecutions.kubernaut.ai"]
    cluster.discovery["/apis/kubernaut.ai/v1alpha1"] = ["targetlocks"]
    rows = {row.name: row for row in await examine(cluster)}
    assert (rows["crd workflowexecutions"].verdict, rows["crd workflowexecutions"].seen) == (
        Verdict.FAIL,
        "not installed",
    )
    assert rows["crd targetlocks"].verdict is Verdict.WARN


@pytest.mark.parametrize("fault", ["not established", "not served"])
async def test_a_crd_that_is_there_but_not_usable_fails(cluster: Cluster, fault: str) -> None:
    definition = cluster.objects["customresourcedefinitions", "", "targetlocks.kubernaut.ai"]
    assert isinstance(definition, dict)
    if fault == "not served":
        definition["spec"]["versions"][0]["served"] = False
    else:
        definition["status"]["conditions"][0]["status"] = "False"
    assert fault in only(await examine(cluster)).seen


async def test_a_newer_crd_is_a_warning(cluster: Cluster) -> None:
    definition = cluster.objects["customresourcedefinitions", "", "targetlocks.kubernaut.ai"]
    assert isinstance(definition, dict)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["status"]["properties"]["novelty"] = {"type": "string"}
    assert only(await examine(cluster), Verdict.WARN).seen == "unknown fields: status.novelty"


async def test_a_server_without_a_date_is_a_warning(cluster: Cluster) -> None:
    cluster.date = None
    assert only(await examine(cluster), Verdict.WARN).name == "clock"


async def test_what_may_not_be_looked_at_is_a_warning_not_a_failure(cluster: Cluster) -> None:
    cluster.objects["namespaces", "", "kubernaut-system"] = FORBIDDEN
    cluster.objects["serviceaccounts", "kubernaut-workflows", "kubernaut-workflow-runner"] = FORBIDDEN
    cluster.objects["configmaps", "tekton-pipelines", "config-defaults"] = FORBIDDEN
    rows = await examine(cluster)
    assert [row.name for row in rows if row.verdict is Verdict.WARN] == ["namespace kubernaut-system", "runner account"]
    assert {row.name: row.seen for row in rows}["tekton time-out"].endswith("not readable")


async def test_missing_tekton_fails_only_when_it_is_required(cluster: Cluster) -> None:
    cluster.discovery = {}
    assert only(await examine(cluster)).seen == "tekton.dev/v1 is not served"
    optional = await examine(cluster, controller__requireTekton="false")
    assert only(optional, Verdict.WARN).name == "tekton"
    assert not [row for row in await examine(cluster, engines="steps") if row.name.startswith("tekton")]


@pytest.mark.parametrize(
    ("data", "labels", "verdict", "seen"),
    [
        ({"version": "v1.5.0"}, {}, Verdict.FAIL, "Tekton v1.5.0"),
        (None, {"pipeline.tekton.dev/release": "v1.6.1"}, Verdict.OK, "Tekton v1.6.1"),
        ({"version": "devel"}, {"app.kubernetes.io/version": "v1.7.0"}, Verdict.OK, "Tekton v1.7.0"),
        ({"version": "devel"}, {}, Verdict.WARN, "served; calls itself devel"),
        (None, {}, Verdict.WARN, "served; version not readable"),
    ],
    ids=["too-old", "from-label", "from-second-label", "devel", "unreadable"],
)
async def test_the_version_of_tekton_comes_from_wherever_it_can_be_read(
    cluster: Cluster, data: Mapping[str, str] | None, labels: Mapping[str, str], verdict: Verdict, seen: str
) -> None:
    del cluster.objects["configmaps", "tekton-pipelines", "pipelines-info"]
    if data is not None:
        cluster.config_map("tekton-pipelines", "pipelines-info", data)
    cluster.objects["customresourcedefinitions", "", "pipelineruns.tekton.dev"] = {"metadata": {"labels": dict(labels)}}
    rows = {row.name: row for row in await examine(cluster)}
    assert (rows["tekton"].verdict, rows["tekton"].seen) == (verdict, seen)


@pytest.mark.parametrize(
    ("config", "limits", "seen"),
    [
        ({"disabled": False, "keep": 5}, None, "TektonConfig prunes: disabled=False, keep=5"),
        ({"disabled": True, "keep": 5}, None, None),
        (None, "ttlSecondsAfterFinished: 60\n", "tekton-pruner-default-spec: ttlSecondsAfterFinished=60"),
        (None, "namespaces: {kubernaut-workflows: {historyLimit: 1}}\n", "tekton-pruner-default-spec: historyLimit=1"),
        (None, "namespaces: {other: {historyLimit: 1}}\n", None),
        (None, "{", "tekton-pruner-default-spec: unreadable global-config"),
    ],
    ids=["operator", "operator-off", "global", "our-namespace", "another-namespace", "unreadable"],
)
async def test_a_pruner_that_would_delete_our_runs_is_a_warning(
    cluster: Cluster, config: Json | None, limits: str | None, seen: str | None
) -> None:
    """P:T1, opportunity 4."""
    if config is not None:
        cluster.objects["tektonconfigs", "", "config"] = {"spec": {"pruner": config}}
    if limits is not None:
        cluster.config_map("tekton-pipelines", "tekton-pruner-default-spec", {"global-config": limits})
    rows = {row.name: row for row in await examine(cluster)}
    assert rows["tekton pruner"].verdict is (Verdict.WARN if seen else Verdict.OK)
    if seen:
        assert rows["tekton pruner"].seen.endswith(seen)
        assert "kubernaut-workflows" in rows["tekton pruner"].remedy


async def test_a_short_default_timeout_matters_only_to_an_old_tekton(cluster: Cluster) -> None:
    cluster.config_map("tekton-pipelines", "config-defaults", {"default-timeout-minutes": "10"})
    assert not [row for row in await examine(cluster) if row.verdict is not Verdict.OK]
    cluster.config_map("tekton-pipelines", "pipelines-info", {"version": "v1.6.0"})
    row = only(await examine(cluster), Verdict.WARN)
    assert row.seen == "default-timeout-minutes is 10, less than execution.defaultTimeout = 30m"


async def test_a_bundle_cannot_be_resolved_when_the_resolver_is_off(cluster: Cluster) -> None:
    cluster.config_map("tekton-pipelines-resolvers", "resolvers-feature-flags", {"enable-bundles-resolver": "false"})
    assert only(await examine(cluster)).name == "tekton resolvers"


async def test_namespaces_and_accounts_that_are_missing_are_named(cluster: Cluster) -> None:
    rows = await examine(
        cluster, execution__namespace="jobs", execution__allowedServiceAccounts="extra", controller__watchNamespaces="a"
    )
    assert [(row.name, row.seen) for row in rows if row.verdict is Verdict.FAIL] == [
        ("namespace jobs", "does not exist"),
        ("namespace a", "does not exist"),
        ("runner account", "jobs/kubernaut-workflow-runner does not exist"),
        ("runner account", "jobs/extra does not exist"),
    ]
    cluster.objects["namespaces", "", "kubernaut-workflows"] = {"status": {"phase": "Terminating"}}
    assert only(await examine(cluster)).seen == "is being deleted"


@pytest.mark.parametrize(
    ("held", "verdict", "seen"),
    [
        (held_by("pod-a", NOW - timedelta(seconds=3)), Verdict.OK, "is held by pod-a, renewed 3 s ago"),
        (held_by("pod-a", NOW - timedelta(minutes=2)), Verdict.WARN, "is held by pod-a, last renewed 2m ago"),
        (held_by("", NOW), Verdict.OK, "is free: no controller is running"),
        ({"spec": {"holderIdentity": "pod-a"}}, Verdict.WARN, "is held by pod-a, never renewed"),
        (FORBIDDEN, Verdict.WARN, "may not be read"),
    ],
    ids=["alive", "dead", "free", "odd", "forbidden"],
)  # fmt: skip
async def test_the_lease_tells_who_leads(cluster: Cluster, held: Any, verdict: Verdict, seen: str) -> None:
    cluster.objects["leases", "kubernaut-system", "workflowexecution.kubernaut.ai"] = held
    rows = {row.name: row for row in await examine(cluster)}
    assert rows["lease"].verdict is verdict
    assert rows["lease"].seen == f"kubernaut-system/workflowexecution.kubernaut.ai {seen}"


async def test_a_second_live_install_fails_with_its_identity(cluster: Cluster) -> None:
    """P:U5."""
    cluster.leases = [
        lease("kubernaut-system", "pod-a", NOW),
        lease("old-place", "pod-z", NOW - timedelta(hours=1)),
        lease("team-b", "pod-b", NOW),
    ]
    assert only(await examine(cluster)).seen == "lease team-b/workflowexecution.kubernaut.ai is held by pod-b"
    cluster.leases = FORBIDDEN
    rows = {row.name: row for row in await examine(cluster)}
    assert rows["other installs"].verdict is Verdict.OK


async def test_a_check_that_cannot_ask_does_not_stop_the_others(cluster: Cluster) -> None:
    cluster.objects["namespaces", "", "kubernaut-system"] = ConnectionFailed("reset")
    rows = await examine(cluster)
    assert only(rows).seen == "could not ask: reset"
    assert rows[-1].name == "other installs"


@pytest.mark.parametrize(
    ("text", "version"),
    [("v1.36.3", (1, 36)), ("1.6", (1, 6)), ("v1.30.4-gke.1", (1, 30)), ("devel", None), ("", None)],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


async def test_rights_are_asked_where_they_are_needed(cluster: Cluster) -> None:
    scope = Scope("home", "exec", ("a", "b"), ("steps",))
    asked = [(str(question.right), question.namespace) for question in scope.questions()]
    assert ("get workflowexecutions.kubernaut.ai", "a") in asked
    assert ("get workflowexecutions.kubernaut.ai", "b") in asked
    assert ("create leases.coordination.k8s.io", "home") in asked
    assert ("list pods", "exec") in asked
    assert not [name for name, _ in asked if "tekton.dev" in name], "its engine is off"
    assert len(await ask_rights(cluster, scope)) == len(asked)  # type: ignore[arg-type]


def test_no_right_is_wider_than_it_must_be() -> None:
    """SPEC: nothing for Secrets, no wildcard; cluster-wide only what has no namespace."""
    assert not [
        right for right in RIGHTS if right.resource.plural == "secrets" or "*" in (right.verb, right.resource.plural)
    ]
    assert {right.verb for right in RIGHTS if right.place is Place.CLUSTER} == {"get"}
    assert len(set(RIGHTS)) == len(RIGHTS)


def test_a_review_names_only_what_is_asked() -> None:
    question = next(q for q in Scope("a", "b").questions() if q.right.subresource == "status")
    assert review(question)["spec"] == {
        "resourceAttributes": {
            "verb": "update",
            "group": "kubernaut.ai",
            "version": "v1alpha1",
            "resource": "workflowexecutions",
            "subresource": "status",
        }
    }


def test_rights_that_a_role_may_grant_by_name_are_asked_by_name() -> None:
    """A Role with resourceNames refuses the nameless question, though everything needed is granted."""
    named = {(str(q.right), q.name) for q in Scope("a", "b", lease="mine").questions() if q.name}
    crd = "get customresourcedefinitions.apiextensions.k8s.io"
    assert named == {
        ("get leases.coordination.k8s.io", "mine"),
        ("update leases.coordination.k8s.io", "mine"),
        (crd, "workflowexecutions.kubernaut.ai"),
        (crd, "targetlocks.kubernaut.ai"),
        (crd, "pipelineruns.tekton.dev"),
        (crd, "taskruns.tekton.dev"),
    }


def test_optional_rights_do_not_count_as_missing_for_the_start() -> None:
    def answer(right: Right) -> Answer:
        return Answer(Question(right, "x"), False)

    required = [right for right in RIGHTS if right.required]
    assert len(missing([answer(right) for right in RIGHTS])) == len(required) < len(RIGHTS)


def test_home_is_the_pods_namespace_and_never_the_contexts(tmp_path: Path) -> None:
    """SPEC 8, P:E8."""
    settings = load_settings(default_path=Path("/nonexistent"))
    pod = ConnectionSettings(service_account_dir=str(tmp_path))
    assert home_namespace(settings, pod, {}) == "kubernaut-system", "no token: not in a cluster"
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("team-a\n")
    assert home_namespace(settings, pod, {}) == "team-a"
    assert home_namespace(settings, pod, {"KUBECONFIG": "/x"}) == "kubernaut-system"
    explicit = ConnectionSettings(kubeconfig="/x", service_account_dir=str(tmp_path))
    assert home_namespace(settings, explicit, {}) == "kubernaut-system"

"""manifests/: what kustomize makes of them, and that what they say agrees with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from wfe_controller.api.names import (
    COMPONENT,
    DEFAULT_CONTROLLER_NAMESPACE,
    DEFAULT_EXECUTION_NAMESPACE,
    RUNNER_SERVICE_ACCOUNT,
)
from wfe_controller.api.workflowexecution import parse_spec
from wfe_controller.app.config import load_settings
from wfe_controller.app.metric_names import Kind, metrics_table
from wfe_controller.cli.rbac import AGGREGATE_TO_RUNNER

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
OVERLAYS = ["base", "overlays/dev", "overlays/prod"]
KUBECTL = shutil.which("kubectl")

Objects = dict[tuple[str, str], dict[str, Any]]


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def kustomize(directory: Path) -> Objects:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed: the kustomizations are only checked file by file")
    done = subprocess.run([KUBECTL, "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    objects = [obj for obj in yaml.safe_load_all(done.stdout) if obj]
    out = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
    assert len(out) == len(objects)
    return out


def deployment(objects: Objects | None = None) -> dict[str, Any]:
    if objects is not None:
        return objects["Deployment", COMPONENT]
    return documents(MANIFESTS / "base/deployment.yaml")[0]


@pytest.mark.parametrize("path", sorted(MANIFESTS.rglob("kustomization.yaml")), ids=lambda path: str(path.parent.name))
def test_every_kustomization_lists_what_is_there(path: Path) -> None:
    """A file that no kustomization names is never applied; one that is missing breaks every overlay."""
    (body,) = documents(path)
    listed = [*body.get("resources", ()), *body.get("components", ())]
    for entry in listed:
        target = path.parent / entry
        assert (target / "kustomization.yaml").is_file() if target.is_dir() else target.is_file(), entry
    here = {file.name for file in path.parent.glob("*.yaml")} - {"kustomization.yaml", "config.yaml"}
    assert here == {entry for entry in listed if entry.endswith(".yaml")}


@pytest.mark.parametrize("path", sorted(MANIFESTS.rglob("config.yaml")), ids=lambda path: path.parent.name)
def test_every_configuration_file_is_accepted(path: Path) -> None:
    """Each key exists, and the namespaces are those of the manifests."""
    settings = load_settings(path, env={})
    assert settings.controller.namespace == DEFAULT_CONTROLLER_NAMESPACE
    assert settings.execution.namespace == DEFAULT_EXECUTION_NAMESPACE
    assert settings.execution.service_account == RUNNER_SERVICE_ACCOUNT


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_a_whole_installation(overlay: str) -> None:
    objects = kustomize(MANIFESTS / overlay)
    assert {
        ("Namespace", DEFAULT_CONTROLLER_NAMESPACE),
        ("Namespace", DEFAULT_EXECUTION_NAMESPACE),
        ("CustomResourceDefinition", "workflowexecutions.kubernaut.ai"),
        ("CustomResourceDefinition", "targetlocks.kubernaut.ai"),
        ("ServiceAccount", COMPONENT),
        ("ServiceAccount", RUNNER_SERVICE_ACCOUNT),
        ("ConfigMap", "workflowexecution-config"),
        ("Deployment", COMPONENT),
        ("Service", f"{COMPONENT}-metrics"),
        ("NetworkPolicy", COMPONENT),
        ("FlowSchema", f"{COMPONENT}-leases"),
    } <= objects.keys()
    assert ("PodDisruptionBudget", COMPONENT) in objects or deployment(objects)["spec"]["replicas"] == 1
    assert load_settings_from(objects["ConfigMap", "workflowexecution-config"]["data"]["config.yaml"])
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    for kind, path in (("Service", ("selector",)), ("NetworkPolicy", ("podSelector", "matchLabels"))):
        for (found, _), obj in objects.items():
            if found == kind:
                selector = obj["spec"]
                for step in path:
                    selector = selector[step]
                assert selector.items() <= labels.items(), kind


def load_settings_from(text: str) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load(text)
    return body


def test_the_overlays_differ_as_they_say() -> None:
    dev, prod = (kustomize(MANIFESTS / "overlays" / name) for name in ("dev", "prod"))
    assert deployment(dev)["spec"]["replicas"] == 1
    assert deployment(prod)["spec"]["replicas"] == 2
    assert "debug" in dev["ConfigMap", "workflowexecution-config"]["data"]["config.yaml"]
    assert "allowedRegistries" in prod["ConfigMap", "workflowexecution-config"]["data"]["config.yaml"]
    enforce = "pod-security.kubernetes.io/enforce"
    assert prod["Namespace", DEFAULT_CONTROLLER_NAMESPACE]["metadata"]["labels"][enforce] == "restricted"
    assert enforce not in dev["Namespace", DEFAULT_CONTROLLER_NAMESPACE]["metadata"]["labels"]
    spread = deployment(prod)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [entry["whenUnsatisfiable"] for entry in spread] == ["ScheduleAnyway", "DoNotSchedule"]


def test_the_components_fit_on_the_base(tmp_path: Path) -> None:
    """Namespaced: no ClusterRole of the controller is left. Monitoring: needs CRDs of others, hence a component."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    overlay = tmp_path / "manifests/overlays/mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        "resources: [../../base]\ncomponents: [../../components/namespaced, ../../monitoring]\n"
    )
    objects = kustomize(overlay)
    assert not [name for kind, name in objects if kind.startswith("ClusterRole") and name.startswith(COMPONENT)]
    assert objects["RoleBinding", COMPONENT]["metadata"]["namespace"] == DEFAULT_CONTROLLER_NAMESPACE
    (container,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    settings = load_settings(env={"WFE_CONTROLLER__WATCH_NAMESPACES": variables["WFE_CONTROLLER__WATCH_NAMESPACES"]})
    assert settings.controller.watch_namespaces == (DEFAULT_CONTROLLER_NAMESPACE,)
    assert {("ServiceMonitor", COMPONENT), ("PrometheusRule", COMPONENT)} <= objects.keys()


def test_the_pod_is_restricted_and_told_who_it_is() -> None:
    """Point 4, T-12; the numbers of T-11."""
    pod = deployment()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"/tmp"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert pod["terminationGracePeriodSeconds"] == 45
    assert {entry["name"] for entry in container["env"]} >= {"POD_NAME", "POD_NAMESPACE", "POD_UID"}
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "128Mi"}
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert (live["httpGet"]["path"], live["initialDelaySeconds"], live["periodSeconds"]) == ("/healthz", 15, 20)
    assert (ready["httpGet"]["path"], ready["initialDelaySeconds"], ready["periodSeconds"]) == ("/readyz", 5, 10)


def test_ports_agree_with_the_configuration() -> None:
    """T-11, BR-WE-008: metrics 9090, health 8081, the same in settings, container, Service and NetworkPolicy."""
    settings = load_settings(MANIFESTS / "base/config.yaml", env={})
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.controller.metrics_address == f":{ports['metrics']}"
    assert settings.controller.health_address == f":{ports['health']}"
    (policy,) = documents(MANIFESTS / "base/networkpolicy.yaml")
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == set(ports.values())


def test_the_lease_has_a_flow_of_its_own() -> None:
    """I-71: else a burst of our own LISTs can delay the renewal of the lease."""
    (schema,) = documents(MANIFESTS / "base/flowschema.yaml")
    assert schema["spec"]["priorityLevelConfiguration"]["name"] == "leader-election"
    assert schema["spec"]["matchingPrecedence"] < 9000, "the built-in schema for all service accounts comes at 9000"
    (rule,) = schema["spec"]["rules"]
    assert rule["subjects"][0]["serviceAccount"] == {"name": COMPONENT, "namespace": DEFAULT_CONTROLLER_NAMESPACE}
    (requests,) = rule["resourceRules"]
    assert (requests["resources"], requests["verbs"]) == (["leases"], ["get", "create", "update"])


def test_every_alert_asks_for_a_metric_that_exists_and_says_what_to_do() -> None:
    known = {definition.name: definition.kind for definition in metrics_table()}
    known |= {
        f"{name}_{part}": kind for name, kind in known.items() if kind is Kind.HISTOGRAM for part in ("bucket", "sum")
    }
    words = {"increase", "sum", "max", "absent", "and", "or"}
    (body,) = documents(MANIFESTS / "monitoring/prometheusrule.yaml")
    for group in body["spec"]["groups"]:
        for alert in group["rules"]:
            expression = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", alert["expr"])
            used = set(re.findall(r"[a-z_]{3,}", expression)) - words
            assert used, alert["alert"]
            assert used <= known.keys(), alert["alert"]
            assert alert["annotations"].keys() >= {"summary", "action"}, alert["alert"]
            counters = [name for name in used if known[name] is Kind.COUNTER]
            assert not counters or "increase(" in alert["expr"], "a counter above 0 alerts for ever (TH29)"


@pytest.mark.parametrize("path", sorted((MANIFESTS / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_samples_are_good(path: Path) -> None:
    for obj in documents(path):
        match obj["kind"]:
            case "WorkflowExecution":
                parse_spec(obj)
            case "Pipeline":
                assert obj["metadata"]["name"] == "workflow", "the name the bundles resolver asks for"
                assert "TARGET_RESOURCE" in {param["name"] for param in obj["spec"]["params"]}
            case "RoleBinding":
                assert obj["subjects"][0]["name"] == RUNNER_SERVICE_ACCOUNT
            case kind:
                pytest.fail(f"{kind} is no sample")
    assert path.name in (MANIFESTS / "samples/README.md").read_text()


def test_the_label_that_joins_rights_to_the_runner_is_told() -> None:
    assert AGGREGATE_TO_RUNNER in (MANIFESTS / "samples/runner-binding.yaml").read_text()

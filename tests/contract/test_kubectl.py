"""kubectl itself as a client: what it prints on both servers."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

import pytest

from tests.contract.session import Session
from tests.support.badinput import STEPS


def two(api: Session) -> None:
    api.make(api.wfe(), api.execution("a", labels={"app": "web"}, annotations={"note": "first"}))
    api.make(api.wfe(), api.execution("b", spec=STEPS))
    status = {
        "phase": "Running",
        "executionEngine": "tekton",
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [
            {
                "type": "Started",
                "status": "True",
                "reason": "R",
                "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    api.patch(api.wfe("a") + "/status", {"status": status}, quiet=True)


@pytest.mark.parametrize("output", ["", "-owide", "-oname", "--show-labels", "--no-headers", "-Lapp"])
def test_get(api: Session, output: str) -> None:
    two(api)
    api.kubectl("get", "wfe", *([output] if output else []))


@pytest.mark.parametrize("output", ["-oyaml", "-ojson"])
def test_get_whole(api: Session, output: str) -> None:
    two(api)
    api.kubectl("get", "wfe", "a", output)
    api.kubectl("get", "wfe", output)


def test_get_columns_and_paths(api: Session) -> None:
    two(api)
    api.kubectl(
        "get", "wfe", "-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase,TARGET:.spec.targetResource"
    )
    api.kubectl("get", "wfe", "-o", "jsonpath={.items[*].metadata.name}")
    api.kubectl("get", "wfe", "a", "-o", "go-template={{.spec.targetResource}}")
    api.kubectl("get", "wfe", "--sort-by=.spec.targetResource", "-oname")


def test_get_selected(api: Session) -> None:
    two(api)
    api.kubectl("get", "wfe", "-lapp=web", "-oname")
    api.kubectl("get", "wfe", "--field-selector=status.phase=Running", "-oname")
    api.kubectl("get", "wfe", "--field-selector=spec.nothing=x", "-oname", code=1)
    api.kubectl("get", "wfe", "--chunk-size=1", "-oname")
    api.kubectl("get", "wfe", "a", "nope", "-oname", code=1)


def test_get_names_of_kinds(api: Session) -> None:
    """Short name, singular, plural with group, category, several at once."""
    two(api)
    for name in (
        "wfe",
        "workflowexecution",
        "workflowexecutions.kubernaut.ai",
        "workflowexecutions.v1alpha1.kubernaut.ai",
        "kubernaut",
    ):
        api.kubectl("get", name, "-oname")
    api.kubectl("get", "wfe,tlock", "-oname")
    api.kubectl("get", "wfe/a", "secret", "-oname", code=1)
    api.kubectl("get", "nonsense", code=1)


def test_get_nothing(api: Session) -> None:
    api.kubectl("get", "wfe")
    api.kubectl("get", "secrets")
    api.kubectl("get", "wfe", "nope", code=1)
    api.kubectl("get", "wfe", "nope", "--ignore-not-found")


def test_get_built_ins(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.kubectl("get", "cm", "a")
    api.kubectl("get", "cm", "a", "-oyaml")
    api.kubectl("get", "ns", api.ns)


def test_get_watch(api: Session) -> None:
    """-w prints a line for what is there and one for each change."""
    two(api)
    server = api.server
    assert server.kubectl is not None
    command = [
        str(server.kubectl), f"--kubeconfig={server.kubeconfigs['admin']}", f"--namespace={api.ns}",
        "get", "wfe", "-w", "--no-headers", "-o", "custom-columns=N:.metadata.name,L:.metadata.labels.step",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        killer = threading.Timer(20, watching.kill)
        killer.start()
        lines = [watching.stdout.readline().split() for _ in range(2)]
        for step in ("1", "2"):
            api.patch(api.wfe("a"), {"metadata": {"labels": {"step": step}}}, quiet=True)
            lines.append(watching.stdout.readline().split())
        watching.terminate()
        killer.cancel()
    api.show("lines", lines)


def without_times(text: str) -> list[str]:
    """describe prints managed fields not, but uid and times by name."""
    return [
        " ".join(line.split())
        for line in text.splitlines()
        if not line.strip().startswith(("UID:", "Resource Version:", "Creation Timestamp:", "CreationTimestamp:"))
    ]


def test_describe(api: Session) -> None:
    two(api)
    api.kubectl("describe", "wfe", "a", show=without_times)


def test_describe_with_events(api: Session) -> None:
    two(api)
    uid = api.get(api.wfe("a"), quiet=True)["metadata"]["uid"]
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "WorkflowExecution", "namespace": api.ns, "name": "a", "uid": uid,
                           "apiVersion": "kubernaut.ai/v1alpha1"},
        "type": "Warning", "reason": "Tested", "message": "a message", "source": {"component": "tests"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 3,
    }  # fmt: skip
    api.make(api.path("events"), event)

    def events(text: str) -> list[str]:
        lines = without_times(text)
        found = lines[lines.index("Events:") + 3 :]
        return [" ".join(word for word in line.split() if not word.endswith(("d", "h"))) for line in found]

    api.kubectl("describe", "wfe", "a", show=events)


def test_describe_config_map(api: Session) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    api.kubectl("describe", "cm", "a", show=without_times)


def test_create(api: Session) -> None:
    body = api.execution()
    api.kubectl("create", "-f", "-", input=body)
    api.kubectl("create", "-f", "-", input=body, code=1)
    api.kubectl("create", "-f", "-", "--dry-run=server", input=api.execution("y"))
    api.kubectl("create", "-f", "-", "-oyaml", "--dry-run=client", input=api.execution("y"))
    api.kubectl("create", "configmap", "made", "--from-literal=k=v")
    api.kubectl("create", "namespace", api.ns, code=1)


def test_create_with_mistakes(api: Session) -> None:
    """Strict validation is kubectl's default."""
    body = api.execution()
    body["spec"]["targetRessource"] = "x"
    api.kubectl("create", "-f", "-", input=body, code=1)
    api.kubectl("create", "-f", "-", "--validate=warn", input=body)
    body = api.execution("z")
    body["spec"]["targetResource"] = "nonsense"
    body["spec"]["parameters"] = {"lower": "x"}
    api.kubectl("create", "-f", "-", input=body, code=1)
    api.kubectl("create", "-f", "-", input={**body, "kind": "Nonsense"}, code=1)
    api.kubectl("create", "-f", "-", input="not: [yaml", code=1)


def test_apply_client_side(api: Session) -> None:
    body = api.execution(labels={"a": "1", "b": "1"})
    api.kubectl("apply", "-f", "-", input=body)
    api.kubectl("apply", "-f", "-", input=body)
    body["metadata"]["labels"] = {"a": "2"}
    api.kubectl("apply", "-f", "-", input=body)
    api.get(api.wfe("x"), keep="metadata.labels")
    body["spec"]["targetResource"] = "a/pod/b"
    api.kubectl("apply", "-f", "-", input=body, code=1)


def test_apply_client_side_built_ins(api: Session) -> None:
    """Through a strategic merge patch of two and three sides."""
    from tests.contract.test_patches import deployment

    body = deployment()
    api.kubectl("apply", "-f", "-", input=body)
    body["spec"]["template"]["spec"]["containers"] = body["spec"]["template"]["spec"]["containers"][:1]
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "Y", "value": "2"}]
    api.kubectl("apply", "-f", "-", input=body)
    api.kubectl("apply", "-f", "-", input=body)
    found = api.get(api.path("deployments", "d", "apps/v1"), quiet=True)
    api.show("containers", found["spec"]["template"]["spec"]["containers"])


def test_apply_server_side(api: Session) -> None:
    body = api.execution(labels={"a": "1"})
    api.kubectl("apply", "--server-side", "-f", "-", input=body)
    body["metadata"]["labels"] = {"a": "2"}
    api.kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", input=body, code=1)
    api.kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", input=body)
    api.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=body)


def test_apply_several(api: Session) -> None:
    items = [api.config_map("a", {"k": "v"}), api.execution(), api.config_map("b")]
    api.kubectl("apply", "-f", "-", input={"apiVersion": "v1", "kind": "List", "items": items})
    api.kubectl("delete", "-f", "-", input={"apiVersion": "v1", "kind": "List", "items": items})


def test_diff(api: Session) -> None:
    """Exit code 1 and what would change."""
    body = api.execution(labels={"a": "1"})
    api.make(api.wfe(), body)
    api.kubectl("diff", "-f", "-", input=body)
    body["metadata"]["labels"] = {"a": "2"}

    def changes(text: str) -> list[str]:
        return [line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]

    api.kubectl("diff", "-f", "-", input=body, code=1, show=changes)
    api.kubectl("diff", "--server-side", "--force-conflicts", "-f", "-", input=body, code=1, show=changes)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", {"metadata": {"labels": {"a": "b"}}}),
        ("json", [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
        ("strategic", {"metadata": {"labels": {"a": "b"}}}),
    ],
)
def test_patch(api: Session, kind: str, patch: Any) -> None:
    api.make(api.cm(), api.config_map())
    api.make(api.wfe(), api.execution())
    text = json.dumps(patch)
    api.kubectl("patch", "cm", "a", f"--type={kind}", f"--patch={text}")
    api.kubectl("patch", "cm", "a", f"--type={kind}", f"--patch={text}")
    api.kubectl("patch", "wfe", "x", f"--type={kind}", f"--patch={text}", code=1 if kind == "strategic" else 0)


def test_patch_status(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.kubectl("patch", "wfe", "x", "--subresource=status", "--type=merge", '--patch={"status":{"phase":"Pending"}}')
    api.kubectl("get", "wfe", "x", "--subresource=status", "-o", "jsonpath={.status.phase}")
    api.kubectl(
        "patch", "wfe", "x", "--subresource=status", "--type=merge", '--patch={"status":{"phase":"Odd"}}', code=1
    )


def test_label_and_annotate(api: Session) -> None:
    api.make(api.wfe(), api.execution())
    api.kubectl("label", "wfe", "x", "a=1")
    api.kubectl("label", "wfe", "x", "a=2", code=1)
    api.kubectl("label", "wfe", "x", "a=2", "--overwrite")
    api.kubectl("label", "wfe", "x", "a-")
    api.kubectl("label", "wfe", "x", "a=b c", code=1)
    api.kubectl("annotate", "wfe", "x", "kubernaut.ai/cancel=please")
    api.kubectl("annotate", "wfe", "--all", "n=1")
    api.get(api.wfe("x"), keep="metadata.labels metadata.annotations")


def test_delete(api: Session) -> None:
    two(api)
    api.kubectl("delete", "wfe", "a")
    api.kubectl("delete", "wfe", "a", code=1)
    api.kubectl("delete", "wfe", "a", "--ignore-not-found")
    api.kubectl("delete", "wfe", "--all")
    api.make(api.wfe(), api.execution(finalizers=["example.com/a"]))
    api.kubectl("delete", "wfe", "x", "--wait=false")
    api.kubectl("delete", "wfe", "x", "--timeout=1s", code=1)
    api.patch(api.wfe("x"), {"metadata": {"finalizers": None}}, quiet=True)


@pytest.mark.parametrize("policy", ["background", "foreground", "orphan"])
def test_delete_cascade(api: Session, policy: str) -> None:
    owner = api.make(api.wfe(), api.execution())
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "x", "uid": owner["metadata"]["uid"]}
    api.make(api.cm(), api.config_map("child", ownerReferences=[reference]))
    api.kubectl("delete", "wfe", "x", f"--cascade={policy}")
    if policy == "orphan":
        api.get(api.cm("child"), keep="metadata.name")
    else:
        api.until_gone(api.cm("child"))


def test_wait(api: Session) -> None:
    two(api)
    api.kubectl("wait", "wfe/a", "--for=condition=Started", "--timeout=5s")
    api.kubectl("wait", "wfe/a", "--for=jsonpath={.status.phase}=Running", "--timeout=5s")
    api.kubectl("wait", "wfe/a", "--for=condition=Ended", "--timeout=1s", code=1)
    api.kubectl("wait", "wfe/nope", "--for=delete", "--timeout=5s")
    api.kubectl("wait", "wfe/nope", "--for=condition=X", "--timeout=5s", code=1)


@pytest.mark.parametrize(
    "what", ["wfe", "wfe.spec", "wfe.spec.workflowRef", "tlock.status.holder", "cm.data", "wfe.nothing"]
)
def test_explain(api: Session, what: str) -> None:
    api.kubectl("explain", what, code=1 if what == "wfe.nothing" else 0, show=brief)


@pytest.mark.parametrize("what", ["wfe", "tlock"])
def test_explain_recursive(api: Session, what: str) -> None:
    api.kubectl("explain", what, "--recursive", show=brief)


def brief(text: str) -> list[str]:
    """Without the texts of the standard fields and of built-in kinds, which say nothing about us (docs/sandbox.md)."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if any(line == "KIND:       ConfigMap" for line in lines):
        return lines[: lines.index("DESCRIPTION:")]
    found: list[str] = []
    standard = False
    for line in lines:
        if line.startswith("  ") and not line.startswith("    "):
            standard = line.split()[0] in ("apiVersion", "kind", "metadata")
        elif not line.startswith("  "):
            standard = False
        if not (standard and line.startswith("    ")):
            found.append(line)
    return found


def test_auth_can_i(api: Session) -> None:
    api.kubectl("auth", "can-i", "create", "wfe")
    api.kubectl("auth", "can-i", "create", "wfe", user="mallory", code=1)
    api.kubectl("auth", "can-i", "get", "pods", "--subresource=log", user="mallory", code=1)
    api.kubectl("auth", "can-i", "get", "/apis", user="mallory")
    api.kubectl("auth", "whoami", "-ojson", user="alice")


def test_auth_can_i_list(api: Session) -> None:
    def rules(text: str) -> list[list[str]]:
        return sorted({tuple(line.split()) for line in text.splitlines()})  # type: ignore[arg-type]  # shown as lists

    api.kubectl("auth", "can-i", "--list", user="mallory", show=lambda text: [" ".join(row) for row in rules(text)])
    api.kubectl("auth", "can-i", "--list", show=lambda text: [" ".join(row) for row in rules(text)][:3])


def test_forbidden(api: Session) -> None:
    api.kubectl("get", "wfe", user="mallory", code=1)
    api.kubectl("create", "cm", "x", user="mallory", code=1)
    api.kubectl("delete", "ns", api.ns, user="mallory", code=1)


def test_api_resources(api: Session) -> None:
    api.kubectl("api-resources", "--api-group=kubernaut.ai", "-owide")
    api.kubectl("api-resources", "--api-group=coordination.k8s.io", "-oname")
    api.kubectl("api-resources", "--categories=kubernaut", "-oname")
    api.kubectl(
        "api-versions",
        show=lambda text: [line for line in text.split() if line in ("v1", "kubernaut.ai/v1alpha1", "apps/v1")],
    )


def test_version(api: Session) -> None:
    def minor(text: str) -> Any:
        seen = json.loads(text)
        return [seen["serverVersion"]["major"], seen["serverVersion"]["minor"]]

    api.kubectl("version", "-ojson", show=minor)


def test_raw_and_replace(api: Session) -> None:
    made = api.make(api.wfe(), api.execution())
    api.kubectl("get", "--raw", "/readyz")
    api.kubectl("get", "--raw", "/nothing", code=1)
    made["metadata"]["labels"] = {"a": "b"}
    api.kubectl("replace", "-f", "-", input=made)
    made["metadata"]["resourceVersion"] = "1"
    api.kubectl("replace", "-f", "-", input=made, code=1)


def test_cluster_scoped_commands(api: Session) -> None:
    api.kubectl("get", "crd", "targetlocks.kubernaut.ai", "-oname")
    api.kubectl("create", "serviceaccount", "robot")
    api.kubectl("create", "role", "reader", "--verb=get,list", "--resource=workflowexecutions.kubernaut.ai")
    api.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={api.ns}:robot")
    api.kubectl("auth", "can-i", "list", "wfe", f"--as=system:serviceaccount:{api.ns}:robot")


def test_rollout_and_scale(api: Session) -> None:
    from tests.contract.test_patches import deployment

    body = deployment()
    api.make(api.path("deployments", group="apps/v1"), body)
    api.kubectl("scale", "deployment", "d", "--replicas=0")
    api.kubectl("set", "image", "deployment/d", "a=a:9")
    found = api.get(api.path("deployments", "d", "apps/v1"), quiet=True)
    api.show("image", found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_bad_token(api: Session, tmp_path: Any) -> None:
    from dataclasses import replace

    config = json.loads(api.server.kubeconfigs["admin"].read_text())
    config["users"][0]["user"]["token"] = "wrong"
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    done = replace(api.server, kubeconfigs={"admin": path}).run_kubectl("get", "wfe", cache=tmp_path / "cache")
    api.show("refused", [done.returncode, done.stderr.strip().splitlines()[-1]])


def test_create_typed(api: Session) -> None:
    """kubectl sends these as protobuf."""
    api.kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    api.kubectl("create", "deployment", "d", "--image=i:1", "--replicas=0")
    api.kubectl("create", "job", "j", "--image=i:1", "--dry-run=server", "-oname")
    api.kubectl("create", "token", "nobody", code=1)
    found = api.get(api.path("deployments", "d", "apps/v1"), quiet=True)
    api.show("spec", [found["spec"]["replicas"], found["spec"]["template"]["spec"]["containers"][0]["image"]])

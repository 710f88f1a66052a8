"""Commands against a real server: an operator's mistake is one line and exit code 2, what the cluster lacks is 1."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.controlplane import Plane
from hack.controlplane.processes import free_ports
from tests.support.commands import Started, start, wfe_controller
from tests.support.replicas import LEASE, Controllers


def kubeconfig_of(server: str, path: Path) -> str:
    """A kubeconfig that names ``server`` and nothing wrong."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return str(path)


MISTAKES = {
    "kubeconfig-missing": (
        ["--kubeconfig={tmp}/none"],
        {},
        "kubeconfig {tmp}/none: no such file; correct it, or name another with --kubeconfig or --context",
    ),
    "kubeconfig-no-yaml": (["--kubeconfig={tmp}/broken"], {}, "kubeconfig {tmp}/broken"),
    "kubeconfig-of-the-environment": ([], {"KUBECONFIG": "{tmp}/none"}, "{tmp}/none"),
    "unknown-context": (["--kubeconfig={good}", "--context=prod"], {}, "Expected object with name prod in {good}"),
    "unknown-flag": (["--leader"], {}, "No such option '--leader'"),
    "unknown-key": (
        ["--config={tmp}/unknown-key.yaml"],
        {},
        "execution.coolDown (file {tmp}/unknown-key.yaml): unknown key",
    ),
    "bad-duration": (
        ["--config={tmp}/bad-duration.yaml"],
        {},
        "execution.cooldownPeriod = 5 (file {tmp}/bad-duration.yaml): not a duration; write a duration with its unit, "
        "like 90s, 5m or 1h30m",
    ),
    "config-missing": (
        ["--config={tmp}/none.yaml"],
        {},
        "config file {tmp}/none.yaml: does not exist; create it or correct --config",
    ),
    "unknown-variable": ([], {"WFE_EXECUTION__COOLDOWN": "5m"}, "WFE_EXECUTION__COOLDOWN"),
}


@pytest.fixture(scope="module")
def files(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the placeholders of MISTAKES stand for."""
    directory = tmp_path_factory.mktemp("mistakes")
    (directory / "broken").write_text("clusters: [")
    (directory / "unknown-key.yaml").write_text("execution: {coolDown: 5m}\n")
    (directory / "bad-duration.yaml").write_text("execution: {cooldownPeriod: 5}\n")
    return {"tmp": str(directory), "good": str(plane.kubeconfig)}


@pytest.fixture(scope="module", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Started]]:
    """A start against a port where nobody listens; it tries for half a minute, while the other tests run."""
    (port,) = free_ports(1)
    kubeconfig = kubeconfig_of(f"https://127.0.0.1:{port}", tmp_path_factory.mktemp("unreachable") / "kubeconfig")
    started = start("run", f"--kubeconfig={kubeconfig}")
    yield port, started
    started.stop()  # with several planes only one of the turns of this module asks for its end


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_operator_is_one_line_and_exit_2(mistake: str, files: dict[str, str]) -> None:
    """Point 8: nothing is started, nothing but the reason is said."""
    arguments, env, message = MISTAKES[mistake]
    ended = wfe_controller(
        "run", *(a.format(**files) for a in arguments), env={k: v.format(**files) for k, v in env.items()}
    )
    assert ended.code == 2, ended.stderr
    assert message.format(**files) in ended.complaint


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named(controller_kubeconfig: Path, taken: int) -> None:
    """Exit 1, before anything is led."""
    ended = wfe_controller(
        "run",
        f"--kubeconfig={controller_kubeconfig}",
        f"--metrics-address=127.0.0.1:{taken}",
        f"--health-address=127.0.0.1:{free_ports(1)[0]}",
    )
    assert ended.code == 1, ended.stderr
    assert ended.complaint == (
        f"cannot listen on port {taken} (controller.metricsAddress = 127.0.0.1:{taken}): port is in use; stop the "
        f"other process or set controller.metricsAddress"
    )


def test_no_election_beside_a_living_leader(
    controllers: Controllers, controller_kubeconfig: Path, plane: Plane
) -> None:
    """SPEC 8: two controllers must not act at once; what was typed is refused, the lease stays where it is."""
    controllers()
    controllers.leader()
    holder = plane.client.get(LEASE)["spec"]["holderIdentity"]
    ended = wfe_controller("run", f"--kubeconfig={controller_kubeconfig}", "--no-leader-elect")
    assert ended.code == 2, ended.stderr
    assert ended.complaint == (
        f"--no-leader-elect: the Lease kubernaut-system/workflowexecution.kubernaut.ai is alive, held by {holder}; two "
        f"controllers must not act at once: stop the other one, or leave leader election on"
    )
    assert plane.client.get(LEASE)["spec"]["holderIdentity"] == holder


def test_doctor_finds_nothing_wrong(controllers: Controllers, controller_kubeconfig: Path, plane: Plane) -> None:
    """The plane has all that the controller needs, as seen with exactly its rights; it writes nothing."""
    # Built from Go modules, Tekton's objects call themselves "devel"; a release says its version there.
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pipelineruns.tekton.dev"
    plane.client.merge_patch(definition, {"metadata": {"labels": {"pipeline.tekton.dev/release": "v1.12.0"}}})
    controllers()
    controllers.leader()
    told = wfe_controller("doctor", f"--kubeconfig={controller_kubeconfig}")
    assert told.code == 0, told.stdout
    *rows, total = told.stdout.splitlines()
    assert total.endswith(" ok, 0 warnings, 0 failures"), told.stdout
    assert {row.split()[0] for row in rows} == {"ok"}
    parsed = json.loads(wfe_controller("doctor", f"--kubeconfig={controller_kubeconfig}", "-o", "json").stdout)
    assert parsed["ok"] is True
    seen = {check["name"]: check["seen"] for check in parsed["checks"]}
    assert {"server", "clock", "rights", "crd workflowexecutions", "crd targetlocks", "tekton", "lease"} <= set(seen)
    assert "is held by" in seen["lease"]


def test_doctor_names_the_rights_an_account_lacks(plane: Plane) -> None:
    """Exit 1; every missing right by verb, kind and namespace, with what it is needed for."""
    plane.client.ensure(
        "/api/v1/namespaces/kubernaut-system/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "kubernaut-system"}},
    )
    told = wfe_controller("doctor", f"--kubeconfig={plane.kubeconfig_for('nobody', 'kubernaut-system')}", "-o", "json")
    assert told.code == 1, told.stdout
    parsed = json.loads(told.stdout)
    assert parsed["ok"] is False
    failed = [check["seen"] for check in parsed["checks"] if check["verdict"] == "fail"]
    for right in ("create", "patch", "delete"):
        assert any(f"{right}" in seen and "pipelineruns" in seen for seen in failed), failed
    assert any("targetlocks/status" in seen and "kubernaut-system" in seen for seen in failed), failed
    assert all(check["remedy"] for check in parsed["checks"] if check["verdict"] == "fail")


def test_a_server_that_cannot_be_reached(unreachable: tuple[int, Started]) -> None:
    """Exit 1 after the patience of a start, which outlasts the restart of a server."""
    port, started = unreachable
    ended = started.ended()
    assert ended.code == 1, ended.stderr
    assert ended.complaint.startswith("the API server cannot be asked: ")
    assert f"127.0.0.1:{port}" in ended.complaint

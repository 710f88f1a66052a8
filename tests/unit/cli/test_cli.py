"""cli: what the operator typed wrong is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import structlog
from click.testing import CliRunner, Result

from wfe_controller import __version__
from wfe_controller.app.config import Settings
from wfe_controller.app.doctor import Row, Verdict
from wfe_controller.app.exits import StartFailed
from wfe_controller.cli.doctor import as_json, as_text
from wfe_controller.cli.main import COMMANDS, main
from wfe_controller.kube.client.transport import ConnectionSettings
from wfe_controller.kube.errors import ConnectionFailed, KubeConfigError

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
users: [{name: a, user: {token: x}}]
current-context: a
"""


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No kubeconfig, no settings in the environment, and logging as it was."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    handlers = list(logging.getLogger().handlers)
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    return file


def invoke(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, args, env=env, prog_name="wfe-controller")


def the_line(result: Result, code: int = 2) -> str:
    """The one line of a refusal, after checking that it is one and alone."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    plain = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    (line,) = plain
    assert line.startswith("wfe-controller: error: ")
    assert "Traceback" not in result.stderr
    return line.removeprefix("wfe-controller: error: ")


class Controller:
    """Stands for app/main: remembers what it was given."""

    def __init__(self, outcome: int | Exception = 0) -> None:
        self.outcome = outcome
        self.settings: Settings | None = None
        self.connection: ConnectionSettings | None = None

    async def __call__(self, settings: Settings, connection: ConnectionSettings, *_: Any) -> int:
        self.settings, self.connection = settings, connection
        await asyncio.sleep(0)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def controller() -> Iterator[Controller]:
    """In place of the module: its wiring is proven elsewhere, and loading it is most of the time of a command."""
    stand_in = Controller()
    module = ModuleType("wfe_controller.app.main")
    module.run_controller = stand_in  # type: ignore[attr-defined]
    with patch.dict(sys.modules, {"wfe_controller.app.main": module}):
        yield stand_in


@pytest.mark.parametrize("command", ["run", "doctor"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("client: {qps: 20\n", "not valid YAML"),
        ("clients: {qps: 20}\n", "clients (file FILE): unknown key; did you mean client.qps?"),
        ("client: {requestTimeout: 10}\n", "client.requestTimeout = 10 (file FILE): not a duration;"),
        (None, "config file FILE: does not exist; create it or correct --config"),
    ],
    ids=["broken-yaml", "unknown-key", "bad-duration", "missing-file"],
)
def test_a_wrong_settings_file_is_one_line_and_exit_2(
    command: str, content: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    assert message.replace("FILE", str(file)) in the_line(invoke(command, "--config", str(file)))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "--leader"], "No such option '--leader'"),
        (["run", "--log-format", "xml"], "Invalid value for '--log-format'"),
        (["run", "extra"], "Got unexpected extra argument (extra); see 'wfe-controller run --help'"),
        (["rum"], "No such command 'rum'"),
        (["doctor", "-o", "yaml"], "Invalid value for '-o'"),
        (["run", "--set", "client.qps"], "--set client.qps: no value; write it like --set execution.cooldownPeriod=5m"),
        (["run", "--set", "client.qps=fast"], 'client.qps = "fast" (flag --set): not a number'),
        (["run", "--set", "qps=1"], "qps (flag --set): unknown key; did you mean client.qps?"),
        (["run", "--metrics-address", "9090"], 'controller.metricsAddress = "9090" (flag --metrics-address): not an'),
        (
            ["run", "--controllers", "all"],
            'controller.controllers[0] = "all" (flag --controllers): this version has no',
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_2(args: list[str], message: str) -> None:
    assert message in the_line(invoke(*args))


def test_a_wrong_variable_is_one_line_and_exit_2() -> None:
    assert (
        the_line(invoke("run", env={"WFE_CLIENT__QPS": "x"})) == 'client.qps = "x" (env WFE_CLIENT__QPS): not a number'
    )
    assert "did you mean WFE_CLIENT__QPS?" in the_line(invoke("run", env={"WFE_CLIENT_QPS": "1"}))


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_a_kubeconfig_that_cannot_be_used_is_one_line_and_exit_2(
    command: str, tmp_path: Path, kubeconfig: Path
) -> None:
    missing = tmp_path / "none"
    assert the_line(invoke(command, "--kubeconfig", str(missing))).startswith(f"kubeconfig {missing}: no such file")
    kubeconfig.write_text("{not yaml")
    assert str(kubeconfig) in the_line(invoke(command, "--kubeconfig", str(kubeconfig)))
    assert str(missing) in the_line(invoke(command, env={"KUBECONFIG": str(missing)}))
    assert ".kube/config: no such file" in the_line(invoke(command))


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_an_unknown_context_is_one_line_and_exit_2(command: str, kubeconfig: Path) -> None:
    line = the_line(invoke(command, "--kubeconfig", str(kubeconfig), "--context", "prod"))
    assert "prod" in line
    assert "--context" in line


def test_run_needs_nothing_but_a_kubeconfig(controller: Controller, kubeconfig: Path) -> None:
    """Issue 3, point 7: from a laptop without any other setting."""
    assert invoke("run", "--kubeconfig", str(kubeconfig)).exit_code == 0
    assert controller.connection is not None
    assert controller.connection.kubeconfig == str(kubeconfig)


def test_every_flag_of_run_becomes_its_setting(controller: Controller, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("controller: {metricsAddress: ':1', leaderElection: true}\nclient: {qps: 3}\n")
    result = invoke(
        "run", "--context", "c", "--config", str(file), "--controllers", "workflowexecution", "--no-leader-elect",
        "--metrics-address", ":2", "--health-address", ":3", "--log-format", "json", "--no-require-tekton",
        "--set", "controller.metricsAddress=:9", "--set", "execution.cooldownPeriod=1m", "-v",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = controller.settings
    assert settings is not None
    assert settings.controller.metrics_address == ":2", "the flag itself beats --set"
    assert settings.controller.health_address == ":3"
    assert settings.controller.leader_election is False
    assert settings.controller.require_tekton is False
    assert settings.logging.level == "debug"
    assert settings.execution.cooldown_period == 60
    assert settings.client.qps == 3
    assert controller.connection == ConnectionSettings(context="c")


def test_the_start_log_has_version_hash_and_effective_settings(controller: Controller) -> None:
    """T-11: what ran, with which settings; an absent file at the default path is said."""
    result = invoke("run", "--set", "client.qps=3", "--set", "audit.http.url=http://u:hunter2@x")
    entries = [json.loads(line) for line in result.stderr.splitlines()]
    (start,) = [entry for entry in entries if entry["event"] == "starting"]
    assert start["version"] == __version__
    assert len(start["config_hash"]) == 16
    assert start["config"]["client"]["qps"] == 3
    assert "hunter2" not in result.stderr
    file, idle = [entry["event"] for entry in entries if entry["level"] == "warning"]
    assert file.startswith("no config file at /etc/workflowexecution/config.yaml")
    assert idle == "settings without effect in this version: audit.http.url"


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (StartFailed("cannot listen on port 9090"), 1, "cannot listen on port 9090"),
        (ConnectionFailed("refused"), 1, "the API server refused or did not answer: refused"),
        (KubeConfigError("kubeconfig x: odd"), 2, "kubeconfig x: odd; correct it, or name another with"),
    ],
    ids=["environment", "api", "kubeconfig"],
)
def test_what_ends_the_controller_becomes_its_exit_code(
    controller: Controller, outcome: Exception, code: int, message: str
) -> None:
    """SPEC 12: 2 for what was typed or configured, 1 for the environment."""
    controller.outcome = outcome
    assert the_line(invoke("run"), code).startswith(message)


def test_the_controllers_own_exit_code_is_handed_on(controller: Controller) -> None:
    controller.outcome = 1
    assert invoke("run").exit_code == 1


def test_a_defect_leaves_as_one_log_line_and_exit_1(controller: Controller) -> None:
    controller.outcome = RuntimeError("bug")
    result = invoke("run")
    assert result.exit_code == 1
    last = json.loads(result.stderr.splitlines()[-1])
    assert (last["level"], last["event"]) == ("critical", "ended by a defect of the controller")
    assert "RuntimeError: bug" in last["exception"]


def test_doctor_reports_an_unreachable_server_and_exits_1(kubeconfig: Path) -> None:
    result = invoke("doctor", "--kubeconfig", str(kubeconfig), "-o", "json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["checks"][0]["name"]) == (1, False, "server")


def test_the_report_is_aligned_and_counted() -> None:
    rows = [
        Row("server", Verdict.OK, "Kubernetes v1.36.3"),
        Row("clock", Verdict.WARN, "skewed\nby 9 s", "use NTP"),
        Row("right", Verdict.FAIL, "may not list pods", "apply the RBAC"),
    ]
    assert as_text(rows) == (
        "ok    server  Kubernetes v1.36.3\n"
        "warn  clock   skewed by 9 s\n"
        "              -> use NTP\n"
        "FAIL  right   may not list pods\n"
        "              -> apply the RBAC\n"
        "1 ok, 1 warnings, 1 failures"
    )
    assert json.loads(as_json(rows[:2])) == {
        "ok": True,
        "checks": [
            {"name": "server", "verdict": "ok", "seen": "Kubernetes v1.36.3", "remedy": ""},
            {"name": "clock", "verdict": "warn", "seen": "skewed\nby 9 s", "remedy": "use NTP"},
        ],
    }


def test_version() -> None:
    assert invoke("version").stdout.startswith(f"wfe-controller {__version__} (Python 3.")
    assert json.loads(invoke("version", "-o", "json").stdout)["version"] == __version__


def test_help_is_help() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)
    assert invoke("run", "-h").exit_code == 0
    assert invoke().exit_code == 2


def test_shell_completion_knows_the_commands() -> None:
    env = {"_WFE_CONTROLLER_COMPLETE": "bash_complete", "COMP_WORDS": "wfe-controller v", "COMP_CWORD": "1"}
    assert "version" in invoke(env=env).output


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    """``wfe-controller manifests all | head -1``"""
    command = f"{sys.executable} -m wfe_controller version | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1")

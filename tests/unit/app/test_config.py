"""app/config: every key from every source, precedence, and the exact words of each refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wfe_controller.app.config import Setting, Settings, load_settings, settings_table
from wfe_controller.app.exits import ConfigError

TABLE = {setting.key: setting for setting in settings_table()}

# Three other valid spellings for keys whose values have a form of their own.
SPELLINGS: dict[str, tuple[Any, Any, Any]] = {
    "engines": (["tekton"], ["steps"], ["steps", "tekton"]),
    "controller.metricsAddress": (":1001", "127.0.0.1:1002", "[::1]:1003"),
    "controller.healthAddress": (":1001", "127.0.0.1:1002", "[::1]:1003"),
    "controller.watchNamespaces": (["a"], ["b"], ["a", "b"]),
    "controller.requireTekton": (True, False, True),
    "execution.allowedServiceAccounts": (["a"], ["b"], ["a", "b.c"]),
    "execution.allowedRegistries": (["a.io"], ["b:5000/x"], ["a.io", "b.io"]),
    "steps.enabledActions": (["a"], ["b"], ["a", "b"]),
    "steps.protectedNamespaces": (["a"], ["b"], ["a", "b"]),
    "policies.mode": ("off", "observe", "off"),
    "audit.http.url": ("http://a", "https://b:8080", "http://c/d"),
    "logging.level": ("debug", "warning", "error"),
}
# One value only, or none besides the default.
FEW: dict[str, Any] = {"logging.format": "console", "audit.sink": None, "controller.controllers": None}


def spellings(setting: Setting) -> tuple[Any, Any, Any]:
    if setting.key in SPELLINGS:
        return SPELLINGS[setting.key]
    default = setting.default
    if setting.is_duration:
        base = int(default or 0)
        return f"{base + 1}s", f"{base + 2}s", f"{base + 3}s"
    if isinstance(default, bool):
        return (not default, default, not default)
    if isinstance(default, int | float):
        return (default + 1, default + 2, default + 3)
    return ("name-a", "name-b", "name-c")


def as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(tmp_path: Path, key: str, value: Any) -> Path:
    node: Any = value
    for part in reversed(key.split(".")):
        node = {part: node}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(node))
    return file


def spelt(settings: Settings, setting: Setting) -> Any:
    value = settings.value(setting.path)
    if setting.is_duration:
        return f"{value:g}s"
    return list(value) if isinstance(value, tuple) else value


def refusal(**kwargs: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(**kwargs)
    assert "\n" not in str(caught.value)
    return list(caught.value.problems)


NOWHERE = Path("/nonexistent/config.yaml")


@pytest.mark.parametrize("setting", [s for s in settings_table() if s.key not in FEW], ids=lambda s: s.key)
def test_every_key_is_read_from_file_environment_and_flag_in_that_order(setting: Setting, tmp_path: Path) -> None:
    """SPEC 8: flags > environment > file > defaults, for every key there is; each reading changes the hash. (T67)"""
    in_file, in_env, in_flag = spellings(setting)
    file = write(tmp_path, setting.key, in_file)
    env = {setting.env: as_text(in_env)}
    flags = {setting.key: as_text(in_flag)}
    default = load_settings(None, {}, {}, default_path=NOWHERE)
    from_file = load_settings(file, {}, {})
    assert default.value(setting.path) == setting.default
    assert spelt(from_file, setting) == in_file
    assert from_file.hash != default.hash
    assert spelt(load_settings(file, env, {}), setting) == in_env
    assert spelt(load_settings(file, env, flags), setting) == in_flag


def test_every_key_is_described_and_spelt_for_the_environment() -> None:
    assert all(setting.about for setting in settings_table())
    assert TABLE["execution.cooldownPeriod"].env == "WFE_EXECUTION__COOLDOWN_PERIOD"
    assert TABLE["audit.http.url"].env == "WFE_AUDIT__HTTP__URL"
    assert TABLE["engines"].env == "WFE_ENGINES"


def test_defaults_are_those_of_the_specification() -> None:
    """T-11, SPEC 2.2, 8: the numbers an operator relies on without a file."""
    settings = load_settings(None, {}, {}, default_path=NOWHERE)
    assert settings.describe()["execution"] == {
        "namespace": "kubernaut-workflows",
        "serviceAccount": "kubernaut-workflow-runner",
        "allowedServiceAccounts": [],
        "allowedRegistries": [],
        "cooldownPeriod": "5m",
        "baseCooldownPeriod": "1m",
        "maxCooldownPeriod": "10m",
        "maxBackoffExponent": 4,
        "maxConsecutiveFailures": 5,
        "streakRetention": "24h",
        "startDeadline": "30m",
        "startTimeout": "10m",
        "resolutionTimeout": "1m",
        "createRetryTimeout": "5m",
        "runRetention": None,
        "defaultTimeout": "30m",
        "pollInterval": "10s",
        "sweepInterval": "1m",
        "cancelFinallyTimeout": "1m",
        "cancelTimeout": "2m",
        "cancelDeadline": "3m",
    }
    assert (settings.client.qps, settings.client.burst) == (20, 30)
    assert settings.controller.leader_election
    assert (settings.controller.lease_duration, settings.controller.renew_deadline) == (15, 10)
    assert (settings.controller.metrics_address, settings.controller.health_address) == (":9090", ":8081")
    assert settings.engines == ("tekton", "steps")


def test_an_absent_file_at_the_default_path_is_a_warning() -> None:
    settings = load_settings(None, {}, {}, default_path=NOWHERE)
    assert settings.path is None
    assert settings.warnings == ("no config file at /nonexistent/config.yaml: using defaults, environment and flags",)


def test_the_default_path_is_read_when_it_is_there(tmp_path: Path) -> None:
    file = write(tmp_path, "client.qps", 5)
    settings = load_settings(None, {}, {}, default_path=file)
    assert (settings.client.qps, settings.path, settings.warnings) == (5, file, ())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("client: {qps: 1\n", "line 2 column 1: not valid YAML: "),
        ("client: {qps: 1}\nclient: {burst: 9}\n", "line 2 column 1: not valid YAML: key 'client' is written twice"),
        ("- a\n", 'holds ["a"]; it must be a mapping of sections'),
        ("a: 1\n---\nb: 2\n", "line 2 column 1: not valid YAML: but found another document"),
        ("\x00", "not valid YAML: "),
    ],
    ids=["broken", "twice", "list", "two-documents", "binary"],
)
def test_a_file_that_is_no_settings_file_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    (line,) = refusal(path=file)
    assert line.startswith(f"config file {file}")
    assert problem in line


def test_an_explicit_file_must_exist(tmp_path: Path) -> None:
    """Bug 674 no. 4: never silently the defaults. (T67)"""
    file = tmp_path / "none.yaml"
    assert refusal(path=file) == [f"config file {file}: does not exist; create it or correct --config"]
    assert refusal(path=tmp_path) == [f"config file {tmp_path}: is a directory; name the YAML file in it"]


ADDRESS = "not an address; write it as host:port or :port with a port of 0 to 65535, like :9090"
IPV6 = "not an address; an IPv6 address goes into brackets, like [::1]:9090"
TIMEOUT = "must be between 1m and 24h, as a WorkflowExecution's own timeout"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "not UTF-8 at byte 0; save it as UTF-8"),
        (b"#" * (1024 * 1024 + 1), "1048577 bytes, more than 1048576; is it the right file?"),
    ],
    ids=["encoding", "size"],
)
def test_a_file_of_another_kind_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    assert refusal(path=file) == [f"config file {file}: {problem}"]


def test_a_file_behind_something_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    (line,) = refusal(path=tmp_path / "plain" / "config.yaml")
    assert line.endswith("cannot be read (Not a directory); correct its permissions")


@pytest.mark.parametrize("content", ["", "# only a comment\n", "client:\n", "audit:\n  http:\n"])
def test_empty_files_and_sections_mean_the_defaults(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    assert load_settings(file, {}, {}).hash == load_settings(default_path=NOWHERE).hash


def test_yaml_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("client: &rates {qps: 5, burst: 9}\n")
    assert load_settings(file, {}, {}).client.burst == 9
    file.write_text("steps: {stepTimeout: &t 1m, drainTimeout: *t}\n")
    assert load_settings(file, {}, {}).steps.drain_timeout == 60


DURATION = "not a duration; write a duration with its unit, like 90s, 5m or 1h30m"
NAMESPACE = (
    "not a namespace name; write lower-case letters, digits and '-', starting and ending with a letter or digit, "
    "at most 63"
)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("execution.cooldownPeriod", 300, f"300 (FILE): {DURATION}"),
        ("execution.cooldownPeriod", "5 minutes", f'"5 minutes" (FILE): {DURATION}'),
        ("execution.cooldownPeriod", "-5m", f'"-5m" (FILE): {DURATION}'),
        ("execution.cooldownPeriod", True, f"true (FILE): {DURATION}"),
        ("execution.pollInterval", "0s", '"0s" (FILE): must be longer than 0; write it like 10s or 5m'),
        ("execution.maxConsecutiveFailures", 0, "0 (FILE): must be at least 1"),
        ("execution.maxConsecutiveFailures", 2.5, "2.5 (FILE): not a whole number"),
        ("execution.maxConsecutiveFailures", True, "true (FILE): must be a number"),
        ("execution.namespace", "My_NS", f'"My_NS" (FILE): {NAMESPACE}'),
        ("execution.namespace", None, "null (FILE): not text; put it into quotes"),
        ("execution.defaultTimeout", "30s", f'"30s" (FILE): {TIMEOUT}'),
        ("controller.watchNamespaces", ["a", "b_"], None),
        ("controller.watchNamespaces", ["a", "a"], '["a", "a"] (FILE): names something twice; remove the repetition'),
        ("controller.metricsAddress", "9090", f'"9090" (FILE): {ADDRESS}'),
        ("controller.metricsAddress", ":99999", f'":99999" (FILE): {ADDRESS}'),
        ("controller.metricsAddress", "::1:80", f'"::1:80" (FILE): {IPV6}'),
        ("controller.leaderElection", "maybe", '"maybe" (FILE): not a yes or no; write true or false'),
        ("controller.leaderElectionId", "Not A Name", None),
        ("controller.controllers", ["kubernetesexecution"], None),
        ("controller.controllers", [], "[] (FILE): nothing would run; name workflowexecution"),
        ("controller.leaseDuration", "15.5s", '"15.5s" (FILE): a Lease holds whole seconds; write it like 15s'),
        ("engines", ["argo"], None),
        ("engines", [], "[] (FILE): nothing could run; name tekton, steps or both"),
        ("client.qps", -1, "-1 (FILE): must be at least 0"),
        ("client.burst", 5, "5 (FILE): must be at least 6"),
        ("client", 5, "5 (FILE): must be a section; put its keys below it, indented"),
        ("logging.level", "loud", '"loud" (FILE): must be one of debug, info, warning or error'),
        ("policies.mode", False, "false (FILE): must be one of off, observe or enforce"),
        ("audit.http.url", "ftp://u:p@x", None),
        ("execution.allowedRegistries", ["a b"], None),
        ("execution.allowedRegistries", "[1", '"[1" (FILE): not a list; write a,b or a JSON array'),
        ("execution.allowedRegistries", 5, "5 (FILE): not a list; write one, like [a, b]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_key_value_origin_rule_and_remedy(
    key: str, value: Any, rule: str | None, tmp_path: Path
) -> None:
    file = write(tmp_path, key, value)
    (line,) = refusal(path=file)
    assert line.startswith(f"{key}")
    assert f"(file {file}): " in line
    if rule is not None:
        assert line == f"{key} = {rule.replace('FILE', f'file {file}')}"


def test_an_item_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, "controller.watchNamespaces", ["a", "b_"])
    assert refusal(path=file) == [f'controller.watchNamespaces[1] = "b_" (file {file}): {NAMESPACE}']


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    (line,) = refusal(path=write(tmp_path, "audit.http.url", "ftp://user:hunter2@x"))
    assert "hunter2" not in line
    good = load_settings(None, {}, {"audit.http.url": "http://user:hunter2@x:80/p?k=hunter2"}, default_path=NOWHERE)
    assert good.describe()["audit"]["http"]["url"] == "http://x:80/p"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            {"execution.maxCooldownPeriod": "30s"},
            'execution.maxCooldownPeriod = "30s" (flag --set): must be at least execution.baseCooldownPeriod = "1m"; '
            "raise it or lower the other",
        ),
        (
            {"execution.streakRetention": "5m"},
            'execution.streakRetention = "5m" (flag --set): must be at least execution.maxCooldownPeriod = "10m", '
            "else a pause would be forgotten before its end; raise it or lower the other",
        ),
        (
            {"controller.leaseDuration": "10s"},
            'controller.leaseDuration = "10s" (flag --set): must be longer than controller.renewDeadline = "10s"; '
            "raise it or lower the other",
        ),
        (
            {"controller.retryPeriod": "9s"},
            'controller.renewDeadline = "10s" (default): must be longer than 1.2 x controller.retryPeriod = 10800ms; '
            "raise it or lower the other",
        ),
        (
            {"execution.cancelTimeout": "1m"},
            'execution.cancelTimeout = "1m" (flag --set): must be longer than execution.cancelFinallyTimeout = "1m"; '
            "raise it or lower the other",
        ),
        (
            {"controller.healthAddress": "127.0.0.1:9090"},
            'controller.healthAddress = "127.0.0.1:9090" (flag --set): takes the port of controller.metricsAddress = '
            '":9090" with another host; write the same address twice or use two ports',
        ),
        (
            {"engines": "steps", "controller.requireTekton": "true"},
            'controller.requireTekton = "true" (flag --set): the tekton engine is not enabled; add tekton to engines '
            "or unset this",
        ),
        (
            {"steps.stepTimeoutMax": "1m"},
            'steps.stepTimeoutMax = "1m" (flag --set): must be at least steps.stepTimeout = "5m"; '
            "raise it or lower the other",
        ),
        (
            {"audit.sink": "http"},
            'audit.http.url = null (default): needed because audit.sink = "http"; name the store',
        ),
        (
            {"audit.sink": "file"},
            'audit.file.path = null (default): needed because audit.sink = "file"; name the file',
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_an_impossible_combination_names_both_keys(overrides: dict[str, str], problem: str) -> None:
    """TH43."""
    assert refusal(path=None, env={}, overrides=overrides, default_path=NOWHERE) == [problem]


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    file = write(tmp_path, "execution.cooldown_period", "5m")
    assert refusal(path=file) == [
        f"execution.cooldown_period (file {file}): unknown key; did you mean execution.cooldownPeriod?"
    ]
    assert refusal(env={"WFE_EXECUTION__COOLDOWNPERIOD": "5m"}, default_path=NOWHERE) == [
        "WFE_EXECUTION__COOLDOWNPERIOD (environment): unknown key; did you mean WFE_EXECUTION__COOLDOWN_PERIOD?"
    ]
    assert refusal(overrides={"zzzz": "1"}, default_path=NOWHERE) == [
        "zzzz (flag --set): unknown key; remove it, or see the list of settings in the docs"
    ]


def test_variables_that_kubernetes_injects_for_services_are_not_settings() -> None:
    """A Service called wfe-metrics in the pod's namespace must not keep the controller from starting."""
    links = {
        "WFE_METRICS_SERVICE_HOST": "10.0.0.1",
        "WFE_METRICS_SERVICE_PORT": "9090",
        "WFE_METRICS_SERVICE_PORT_HTTP": "9090",
        "WFE_METRICS_PORT": "tcp://10.0.0.1:9090",
        "WFE_METRICS_PORT_9090_TCP": "tcp://10.0.0.1:9090",
        "WFE_METRICS_PORT_9090_TCP_ADDR": "10.0.0.1",
    }
    assert load_settings(None, links, {}, default_path=NOWHERE).hash == load_settings(default_path=NOWHERE).hash


def test_the_origin_of_a_value_is_the_one_that_won(tmp_path: Path) -> None:
    file = write(tmp_path, "client.qps", "bad")
    env = {"WFE_CLIENT__QPS": "worse"}
    assert refusal(path=file, env=env) == ['client.qps = "worse" (env WFE_CLIENT__QPS): not a number']
    flagged = refusal(path=file, env=env, overrides={"client.qps": "x"}, origins={"client.qps": "flag --qps"})
    assert flagged == ['client.qps = "x" (flag --qps): not a number']


def test_all_problems_are_told_at_once_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("client: {qps: x, bust: 9}\nexecution: {pollInterval: 10}\n")
    problems = refusal(path=file)
    assert [line.split(" ")[0] for line in problems] == ["client.bust", "execution.pollInterval", "client.qps"]


def test_a_json_list_and_an_empty_value_come_through_the_environment() -> None:
    env = {"WFE_CONTROLLER__WATCH_NAMESPACES": '["a", "b"]', "WFE_CONTROLLER__REQUIRE_TEKTON": ""}
    settings = load_settings(None, env, {}, default_path=NOWHERE)
    assert settings.controller.watch_namespaces == ("a", "b")
    assert settings.controller.require_tekton is None


def test_settings_cannot_be_changed_in_place() -> None:
    settings = load_settings(default_path=NOWHERE)
    with pytest.raises(ValueError, match="frozen"):
        settings.client.qps = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.engines = ()


@pytest.mark.parametrize(
    ("overrides", "required"),
    [({}, True), ({"engines": "steps"}, False), ({"controller.requireTekton": "false"}, False)],
    ids=["tekton-enabled", "steps-only", "flag-off"],
)
def test_tekton_is_required_by_default_only_when_its_engine_is_enabled(
    overrides: dict[str, str], required: bool
) -> None:
    assert load_settings(None, {}, overrides, default_path=NOWHERE).tekton_required is required


def test_run_retention_follows_the_cooldown_unless_given() -> None:
    follow = load_settings(None, {}, {"execution.cooldownPeriod": "7m"}, default_path=NOWHERE)
    zero = load_settings(None, {}, {"execution.runRetention": "0s"}, default_path=NOWHERE)
    assert (follow.execution.kept_for, zero.execution.kept_for) == (420, 0)


def test_what_reloads_is_what_the_specification_names() -> None:
    """SPEC 8: log level, rates, policy mode and limits; nothing that decides who may write or where."""
    reloadable = {setting.key for setting in settings_table() if setting.reloads}
    assert {"logging.level", "client.qps", "client.burst", "policies.mode", "execution.cooldownPeriod"} <= reloadable
    assert not {key for key in reloadable if key.startswith(("controller.", "audit."))}
    assert "execution.namespace" not in reloadable


def test_settings_of_parts_that_are_not_there_are_warned_about() -> None:
    """Somebody who sets an audit sink must not believe that there is an audit trail."""
    settings = load_settings(None, env={"WFE_AUDIT__SINK": "file", "WFE_AUDIT__FILE__PATH": "/var/audit"})
    (warning,) = [w for w in settings.warnings if "without effect" in w]
    assert warning == "settings without effect in this version: audit.sink, audit.file.path"
    assert not [w for w in load_settings(None, env={}).warnings if "without effect" in w]

"""The command line itself: usage, exit codes, connection flags, completion, colours; no cluster is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from wfe_controller.cli.kubectl import options
from wfe_controller.cli.kubectl.completion import completions
from wfe_controller.cli.kubectl.main import COMMANDS, main
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.words import CommandLine, age, folded, is_placeholder, one_line


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="kubectl-wfe", env={"KUBECONFIG": "/nowhere/config"})


def test_help_names_every_command() -> None:
    said = invoke("--help")
    assert said.exit_code == 0
    assert all(command in said.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_in_80_columns(command: str) -> None:
    said = invoke(command, "-h")
    assert said.exit_code == 0
    assert max(map(len, said.output.splitlines())) <= 80


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "completion"])
def test_every_command_goes_where_kubectl_goes(command: str) -> None:
    """SPEC 10: -n, --kubeconfig, --context and a form for programs."""
    found = main.get_command(click.Context(main), command)
    assert found is not None
    names = {name for parameter in found.params for name in parameter.opts}
    assert {"-n", "--namespace", "--kubeconfig", "--context", "-o"} <= names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain"], "Missing argument 'NAME'"),
        (["cancel", "web"], "Missing option '--reason'"),
        (["cancel", "web", "--reason", "<why>"], "replace <why> with your own words"),
        (["cancel", "web", "--reason", "  "], "say why in at least 1 character"),
        (["clear-block", "shop/deployment/web", "--reason", "too short"], "say why in at least 10 characters"),
        (
            ["clear-block", "shop/deployment/web", "--reason", "<what you found on the target>"],
            "replace <what you found on the target> with your own words",
        ),
        (["get", "web", "-A"], "a name cannot be combined with -A"),
        (["get", "-o", "xml"], "'xml' is not one of"),
        (["watch", "--exit-status"], "--exit-status needs a NAME"),
        (["explian", "web"], "No such command 'explian'"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(words: list[str], said: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("kubectl-wfe: error: ")
    assert said in line


def test_a_missing_kubeconfig_is_exit_2() -> None:
    result = invoke("get")
    assert result.exit_code == 2
    assert result.stderr.startswith("kubectl-wfe: error: kubeconfig /nowhere/config: no such file")
    assert "--kubeconfig" in result.stderr


def test_completion_knows_commands_and_options() -> None:
    assert {value for value, _ in completions(["ex"])} == {"explain"}
    assert "--reason" in {value for value, _ in completions(["cancel", "--r"])}
    assert {value for value, _ in completions(["graph", "-o", ""])} == {"mermaid", "dot", "json", "yaml"}


def test_completion_of_names_is_silent_when_the_cluster_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    assert completions(["explain", "w"]) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    said = invoke("completion", shell)
    assert said.exit_code == 0
    assert f"_KUBECTL_WFE_COMPLETE={shell}_complete" in said.output


def test_the_bash_script_is_one_that_bash_reads(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(invoke("completion", "bash").output)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@pytest.mark.parametrize(
    ("env", "terminal", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours_only_on_a_terminal(
    env: dict[str, str], terminal: bool, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    style = Style.of_terminal(env)
    assert style.colour is colour
    assert style.cut is terminal
    assert Style.of_terminal({**env, "COLUMNS": "200"}).width == 200
    assert Style.of_terminal({**env, "COLUMNS": "40"}).width == 80


def test_command_lines_are_quoted_and_fold_for_a_shell() -> None:
    line = CommandLine(("--context", "my prod"))
    command = line.wfe("clear-block", "shop/deployment/web", "--reason", "it's fine", namespace="shop")
    done = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done[-4:] == ["-n", "shop", "--context", "my prod"]
    assert "it's fine" in done
    lines = folded(command, 40)
    assert all(len(part) <= 45 for part in lines)
    again = subprocess.run(
        ["/bin/sh", "-c", "printf '%s\\n' " + "\n".join(lines)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert again == done


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (285, "4m45s"), (3600, "60m"), (11000, "3h3m"), (200000, "2d")],
)
def test_ages(seconds: float, said: str) -> None:
    assert age(seconds) == said


def test_placeholders_are_known_again() -> None:
    assert is_placeholder(" <why> ")
    assert not is_placeholder("<5 replicas, as before>, looked twice")
    assert one_line("a\x1b[2J\n b") == "a?[2J b"


def test_places_are_kept_in_the_commands() -> None:
    places = options.Places("f", "c", None, "ops", "kubernaut-workflows")
    assert places.commands == CommandLine(("--kubeconfig", "f", "--context", "c"), ("--controller-namespace", "ops"))

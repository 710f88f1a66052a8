"""``wfe-controller sandbox``: a cluster in memory with the controller in it, and a story to watch."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wfe_controller.app.exits import ConfigError, StartFailed
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.manifests import DEFAULT_SCOPE, everything

if TYPE_CHECKING:
    from wfe_controller.sandbox.director import Ending
    from wfe_controller.sandbox.simulators.scenario import Scenario

EXTRA = {"cel_expr_python": "cel-expr-python", "cryptography": "cryptography", "re2": "google-re2"}
"""Modules that only the sandbox needs, and the packages that bring them."""
LOG_LINES = 8


@click.command()
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Port on loopback; else a free one."
)
@click.option(
    "--kubeconfig-out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the kubeconfig is written; else into a temporary directory. Removed at the end.",
)
@click.option("--keep", is_flag=True, help="Stay when the scenario has ended, until ctrl-C.")
@click.option("--no-samples", is_flag=True, help="Create nothing, and stay until ctrl-C: the stage is yours.")
@click.option("--scenario", metavar="FILE", type=click.Path(path_type=Path), help="Another story than the shipped one.")
@click.option(
    "--speed", metavar="X", type=click.FloatRange(0.1, 100), default=1.0, help="How fast pods work; 1 = as written."
)
def sandbox(
    port: int, kubeconfig_out: Path | None, keep: bool, no_samples: bool, scenario: Path | None, speed: float
) -> int:
    """Watch the controller work, without a cluster.

    An API server in memory, on loopback, that kubectl can talk to; Tekton, pods and workloads are simulated; the
    controller is the real one, under the rights of its own service account. A scenario is played: exit code 0 when
    every request ends as it says, 1 when one does not.
    """
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise StartFailed(
            f"the sandbox needs what is not installed ({', '.join(missing)}): pip install 'wfe-controller[sandbox]', "
            "or pip install -e '.[sandbox]' in a clone"
        )
    from wfe_controller.cli.stage import Stage  # with all of the sandbox behind it
    from wfe_controller.kube.clock import RealClock
    from wfe_controller.sandbox.run import Plan, run
    from wfe_controller.sandbox.simulators.scenario_file import ScenarioError

    story = _scenario(scenario)
    out = _writable(kubeconfig_out)
    clock, style, live = RealClock(), Style.of_terminal(), _is_terminal()
    stage = Stage(
        _write,
        style,
        clock=clock,
        about="" if no_samples else story.about,
        live=live,
        stays=keep or no_samples,
        size=shutil.get_terminal_size,
    )
    plan = Plan(story, everything(DEFAULT_SCOPE), port, out, keep, not no_samples, speed)
    try:
        result = asyncio.run(run(plan, stage, clock=clock, rng=random.Random()))
    except ScenarioError as error:  # what only the API server could find
        raise ConfigError(str(error)) from None
    finally:
        stage.close()
    if result.ending is None:
        if no_samples:
            return 0
        raise StartFailed("interrupted before the scenario had ended; nothing of it is left")
    if not result.ending.ok:
        click.echo(_last(result.log), err=True)
        raise StartFailed(_complaint(result.ending, story))
    return 0


def _scenario(path: Path | None) -> Scenario:
    from wfe_controller.sandbox.simulators import scenario_file

    try:
        return scenario_file.default() if path is None else scenario_file.load(path.expanduser())
    except scenario_file.ScenarioError as error:
        raise ConfigError(str(error)) from None


def _writable(path: Path | None) -> Path | None:
    """Raises ConfigError rather than overwrite somebody's kubeconfig."""
    from wfe_controller.sandbox.kubeconfig import IN_USE, is_held, is_ours

    if path is None:
        return None
    path = path.expanduser().absolute()
    if not path.parent.is_dir():
        raise ConfigError(
            f"--kubeconfig-out {path}: there is no directory {path.parent}: make it, or name another file"
        )
    there = os.path.exists(path)  # Path's own raises for a name that is too long
    if there and not is_ours(path):
        raise ConfigError(f"--kubeconfig-out {path}: is there already and would be lost: name a new file")
    if there and is_held(path):
        raise ConfigError(f"--kubeconfig-out {path}: {IN_USE}")
    return path


def _is_terminal() -> bool:
    """Whether standard output is one on which the cursor can be moved."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _complaint(ending: Ending, story: Scenario) -> str:
    """One line: what ended otherwise; else what can never come, or came too late."""
    wrong = [f"{v.name}: expected {v.expected}, is {v.found}" for v in ending.verdicts if not v.ok and not v.open]
    left = [v.name for v in ending.verdicts if not v.ok and v.open]
    told = [f"{len(wrong)} did not end as expected: {'; '.join(wrong)}"] if wrong else []
    told += [ending.stuck] if ending.stuck else []
    if not ending.in_time:
        told.append(f"its deadline of {story.deadline:g} s is over")
    told += [f"not waited for: {', '.join(left)}"] if left else []
    return f"scenario {story.file}: {'; '.join(told)}"


def _last(log: Sequence[str]) -> str:
    """The end of the controller's log, of what is worth a look first."""
    loud = [line for line in log if '"level":"info"' not in line and '"level":"debug"' not in line]
    return "\n".join(["the controller's log ends with:", *(loud or log)[-LOG_LINES:]])

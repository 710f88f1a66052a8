"""``kubectl-wfe``, also ``kubectl wfe``. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar, NoReturn

import click

from wfe_controller.cli.main import Commands

COMMANDS = {
    "get": "wfe_controller.cli.kubectl.reading:get",
    "tree": "wfe_controller.cli.kubectl.tree:tree",
    "watch": "wfe_controller.cli.kubectl.watching:watch",
    "explain": "wfe_controller.cli.kubectl.explain.command:explain",
    "cancel": "wfe_controller.cli.kubectl.decisions:cancel",
    "pause": "wfe_controller.cli.kubectl.decisions:pause",
    "resume": "wfe_controller.cli.kubectl.decisions:resume",
    "clear-block": "wfe_controller.cli.kubectl.clearing:clear_block",
    "locks": "wfe_controller.cli.kubectl.reading:locks",
    "retry": "wfe_controller.cli.kubectl.retrying:retry",
    "graph": "wfe_controller.cli.kubectl.graph:graph",
    "doctor": "wfe_controller.cli.kubectl.doctor:doctor",
    "completion": "wfe_controller.cli.kubectl.completion:completion",
}


class Plugin(Commands):
    program: ClassVar[str] = "kubectl-wfe"
    table: ClassVar[Mapping[str, str]] = COMMANDS

    def fail(self, message: str, code: int) -> NoReturn:
        """The reason on one line, the next step, if there is one, on a line of its own (see session.Refusal)."""
        reason, _, step = message.partition("\n")
        click.echo(f"{self.program}: error: {' '.join(reason.split())}", err=True)
        if step:
            click.echo(step, err=True)
        sys.exit(code)


@click.group(cls=Plugin, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
def main() -> None:
    """See and steer WorkflowExecutions. Start with 'kubectl wfe explain NAME'."""


if __name__ == "__main__":
    main(prog_name="kubectl-wfe")

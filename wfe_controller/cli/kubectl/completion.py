"""Shell completion: the script for bash, zsh and fish, names from the cluster, and kubectl's way of asking a plugin.

For ``kubectl wfe <TAB>`` kubectl runs an executable ``kubectl_complete-wfe`` with the words so far; ``for_kubectl`` is
that program. Completion never says anything: what cannot be found out at once is left out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import ShellComplete, get_completion_class

from wfe_controller.app.exits import ExitError
from wfe_controller.kube.errors import KubeError

PROGRAM = "kubectl-wfe"
VARIABLE = "_KUBECTL_WFE_COMPLETE"
SECONDS = 2.0
LIMIT = 200
NO_FILES = ":4"
"""kubectl's ShellCompDirectiveNoFileComp."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(kubectl-wfe completion bash)
    zsh:   source <(kubectl-wfe completion zsh)
    fish:  kubectl-wfe completion fish | source
    For 'kubectl wfe <TAB>' nothing more is needed than kubectl's own completion.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(_completer(found).source())


def _completer(kind: type[ShellComplete]) -> ShellComplete:
    from wfe_controller.cli.kubectl.main import main  # the group knows this command

    return kind(main, {}, PROGRAM, VARIABLE)


def completions(words: Sequence[str]) -> list[tuple[str, str]]:
    """(value, help) of what may follow; the last word is the one that is being typed."""
    from wfe_controller.cli.kubectl.main import behind_the_command

    *before, incomplete = words or [""]
    found = _completer(ShellComplete).get_completions(behind_the_command(list(before)), incomplete)
    return [(item.value, item.help or "") for item in found]


def for_kubectl() -> None:
    """The program ``kubectl_complete-wfe``."""
    for value, help_ in completions(sys.argv[1:]):
        click.echo(f"{value}\t{help_}" if help_ else value)
    click.echo(NO_FILES)


def execution_names(given: Mapping[str, Any]) -> list[str]:
    """Names of WorkflowExecutions for the options typed so far; nothing when the cluster is slow or says no."""
    from wfe_controller.api.names import WORKFLOWEXECUTIONS
    from wfe_controller.cli.kubectl.options import Places
    from wfe_controller.cli.kubectl.session import Session, run
    from wfe_controller.kube.objects import name_of

    places = Places(
        given.get("kubeconfig"),
        given.get("context"),
        given.get("namespace"),
        given.get("controller_namespace") or "",
        given.get("execution_namespace") or "",
    )

    async def work(session: Session) -> list[str]:
        async with asyncio.timeout(SECONDS):
            return [name_of(obj) for obj in await session.api.list(WORKFLOWEXECUTIONS, session.namespace)]

    try:
        return sorted(run(places, work))[:LIMIT]
    except (KubeError, ExitError, TimeoutError, OSError):
        return []  # a shell that completes has nobody to tell this to; the command itself will say it

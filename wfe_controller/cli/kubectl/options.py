"""Options that the commands share: where the cluster is, which namespace, which form of output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from wfe_controller.api.names import DEFAULT_CONTROLLER_NAMESPACE, DEFAULT_EXECUTION_NAMESPACE
from wfe_controller.cli.kubectl.words import CommandLine, is_placeholder

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. None = what kubectl's context says. ``home``: the controller's namespace."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    home: str
    execution: str

    @property
    def commands(self) -> CommandLine:
        """Command lines that reach the same places."""
        connection: tuple[str, ...] = ()
        if self.kubeconfig:
            connection += ("--kubeconfig", self.kubeconfig)
        if self.context:
            connection += ("--context", self.context)
        places: tuple[str, ...] = ()
        if self.home != DEFAULT_CONTROLLER_NAMESPACE:
            places += ("--controller-namespace", self.home)
        if self.execution != DEFAULT_EXECUTION_NAMESPACE:
            places += ("--execution-namespace", self.execution)
        return CommandLine(connection, places)


def cluster_options(command: F) -> F:
    """``-n``, ``--kubeconfig``, ``--context`` and the namespaces of the installation; gives ``places: Places``."""

    def with_places(*args: Any, **values: Any) -> Any:
        kubeconfig = values.pop("kubeconfig")
        places = Places(
            os.path.expanduser(kubeconfig) if kubeconfig else None,
            values.pop("context"),
            values.pop("namespace"),
            values.pop("controller_namespace"),
            values.pop("execution_namespace"),
        )
        return command(*args, places=places, **values)

    with_places.__name__ = command.__name__
    with_places.__doc__ = command.__doc__
    with_places.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    options = (
        click.option("-n", "--namespace", metavar="NS", help="Namespace; else that of kubectl's context."),
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig file; else KUBECONFIG or ~/.kube/config."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option(
            "--controller-namespace",
            metavar="NS",
            envvar="WFE_CONTROLLER__NAMESPACE",
            default=DEFAULT_CONTROLLER_NAMESPACE,
            help=f"Where the controller and the TargetLocks live; else {DEFAULT_CONTROLLER_NAMESPACE}.",
        ),
        click.option(
            "--execution-namespace",
            metavar="NS",
            envvar="WFE_EXECUTION__NAMESPACE",
            default=DEFAULT_EXECUTION_NAMESPACE,
            help=f"Where the runs are; else {DEFAULT_EXECUTION_NAMESPACE}.",
        ),
    )
    wrapped: Any = with_places
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]  # the same command with more parameters


def all_namespaces_option(command: F) -> F:
    """``-A``."""
    return click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")(command)


def output_option(*forms: str) -> Callable[[F], F]:
    """``-o``, with the forms the command knows besides json and yaml."""
    return click.option(
        "-o",
        "--output",
        metavar="FORM",
        type=click.Choice([*forms, "json", "yaml"]),
        help="|".join([*forms, "json", "yaml"]),
    )


def reason_option(*, required: bool = True, least: int = 1) -> Callable[[F], F]:
    """``--reason``: recorded with the decision. A placeholder of ours that was not replaced is refused."""

    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        if is_placeholder(value):
            raise click.BadParameter(f"replace {value.strip()} with your own words", ctx, param)
        if len(value.strip()) < least:
            raise click.BadParameter(f"say why in at least {least} character{'s' if least > 1 else ''}", ctx, param)
        return value.strip()

    text = "Why; recorded with your name."
    return click.option("--reason", metavar="TEXT", required=required, callback=check, help=text)


def execution_argument(command: F) -> F:
    """NAME of a WorkflowExecution, completed by the shell from the cluster."""
    return click.argument("name", metavar="NAME", shell_complete=complete_execution)(command)


def complete_execution(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names in the namespace; nothing when the cluster does not answer at once."""
    from wfe_controller.cli.kubectl.completion import execution_names  # loads the client

    return [CompletionItem(name) for name in execution_names(ctx.params) if name.startswith(incomplete)]

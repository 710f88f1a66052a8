"""Options that the commands share: where the cluster is, which namespace, which form of output."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from wfe_controller.api.durations import DurationError, parse_duration
from wfe_controller.api.names import (
    DEFAULT_CONTROLLER_NAMESPACE,
    DEFAULT_EXECUTION_NAMESPACE,
    GROUP,
    TARGETLOCKS,
    WORKFLOWEXECUTIONS,
)
from wfe_controller.cli.kubectl.words import HOME, CommandLine, is_placeholder
from wfe_controller.kube.objects import Resource

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
            places += (HOME, self.home)
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
        click.option(
            "-n",
            "--namespace",
            metavar="NS",
            callback=_namespace,
            help="Namespace; else that of kubectl's context.",
        ),
        click.option("--kubeconfig", metavar="FILE", help="Kubeconfig file; else KUBECONFIG or ~/.kube/config."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option(
            HOME,
            metavar="NS",
            envvar="WFE_CONTROLLER__NAMESPACE",
            default=DEFAULT_CONTROLLER_NAMESPACE,
            callback=_namespace,
            help=f"Where the controller and the TargetLocks live; else {DEFAULT_CONTROLLER_NAMESPACE}.",
        ),
        click.option(
            "--execution-namespace",
            metavar="NS",
            envvar="WFE_EXECUTION__NAMESPACE",
            default=DEFAULT_EXECUTION_NAMESPACE,
            callback=_namespace,
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


_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_NAMESPACE = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def _namespace(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A namespace that can exist; "" is none, as for kubectl."""
    if not value:
        return None if param.name == "namespace" else str(param.get_default(ctx))
    if not _NAMESPACE.fullmatch(value):
        raise click.BadParameter(f"{value[:80]!r} is no name of a namespace", ctx, param)
    return value


def words_for(resource: Resource, *short: str) -> frozenset[str]:
    """How people write the kind before a name: ``kind``, plural, short names, with and without the group."""
    words = {resource.kind.lower(), resource.plural}
    return frozenset({*words, *short, *(f"{word}.{GROUP}" for word in words)})


OF_EXECUTIONS = words_for(WORKFLOWEXECUTIONS, "wfe")
OF_LOCKS = words_for(TARGETLOCKS, "tlock")


def object_name(value: str, kinds: frozenset[str]) -> str:
    """The name in ``NAME`` or ``KIND/NAME``, as ``-o name`` prints it. ValueError says what is wrong with it."""
    kind, slash, name = value.rpartition("/")
    if slash and kind.lower() not in kinds:
        raise ValueError(f"{value[:80]!r} is none of ours: write a name, or {sorted(kinds, key=len)[0]}/NAME")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} cannot be a name: lower-case letters, digits, '-' and '.', 253 at most")
    return name


def _execution(ctx: click.Context, param: click.Parameter, value: object) -> object:
    if value is None:
        return None
    try:
        if isinstance(value, tuple):
            return tuple(dict.fromkeys(object_name(str(name), OF_EXECUTIONS) for name in value))
        return object_name(str(value), OF_EXECUTIONS)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


DRY_RUN = "--dry-run"


def dry_run_option(command: F) -> F:
    """``--dry-run[=server|client]`` as ``dry_run``: none, server, client. The bare flag gets its value in main."""
    return click.option(
        DRY_RUN,
        metavar="[=client]",
        type=click.Choice(["none", "client", "server"]),
        default="none",
        help="Write nothing: the API server checks it; =client: not even that.",
    )(command)


def tried(dry_run: str) -> str:
    """What stands behind the answer of a dry run."""
    return "" if dry_run == "none" else f" ({dry_run} dry run)"


def execution_argument(command: F) -> F:
    """NAME of a WorkflowExecution, completed by the shell from the cluster."""
    return click.argument("name", metavar="NAME", callback=_execution, shell_complete=complete_execution)(command)


def execution_if_named(command: F) -> F:
    """[NAME]."""
    return click.argument(
        "name", metavar="[NAME]", required=False, callback=_execution, shell_complete=complete_execution
    )(command)


def executions_if_named(command: F) -> F:
    """[NAME]..."""
    return click.argument(
        "names", metavar="[NAME]...", nargs=-1, callback=_execution, shell_complete=complete_execution
    )(command)


class Seconds(click.ParamType[float]):
    """``90``, ``90s``, ``1h30m``: seconds without a unit, as ours were always read, or a duration, as kubectl's are."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        written = str(value).strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", written):
            return float(written)
        try:
            return parse_duration(written).total_seconds()
        except DurationError as error:
            self.fail(str(error), param, ctx)


def complete_execution(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names in the namespace; nothing when the cluster does not answer at once."""
    from wfe_controller.cli.kubectl.completion import execution_names  # loads the client

    return [CompletionItem(name) for name in execution_names(ctx.params) if name.startswith(incomplete)]

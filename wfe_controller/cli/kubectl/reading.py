"""``get`` and ``locks``: what there is, as tables or as objects."""

from __future__ import annotations

import re
from datetime import datetime

import click

from wfe_controller.api.names import TARGETLOCKS, WORKFLOWEXECUTIONS, lock_name
from wfe_controller.api.phases import Phase
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.cli.kubectl.options import (
    OF_LOCKS,
    Places,
    all_namespaces_option,
    cluster_options,
    executions_if_named,
    output_option,
)
from wfe_controller.cli.kubectl.output import as_list, machine, tidied
from wfe_controller.cli.kubectl.session import Refusal, Session, no_kinds, run
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.views import executions_table, locks_table, needs_clearing
from wfe_controller.cli.kubectl.words import one_line
from wfe_controller.kube.errors import BadRequest, NotFound
from wfe_controller.kube.objects import Json, name_of, spec, status, text


class PhaseName(click.Choice[str]):
    """A phase in any case; they are listed as they are spelt."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        spelt = {str(phase).lower(): str(phase) for phase in Phase}
        return super().convert(spelt.get(value.lower(), value), param, ctx)


LOCK_NAME = re.compile(r"wfe-[0-9a-f]{16}")


@click.command()
@executions_if_named
@all_namespaces_option
@click.option("-l", "--selector", metavar="LABELS", default="", help="Only those with these labels.")
@click.option(
    "--phase",
    metavar="PHASE",
    type=PhaseName([str(phase) for phase in Phase]),
    help="Only those in this phase.",
)
@output_option("wide", "name")
@cluster_options
def get(
    names: tuple[str, ...], all_namespaces: bool, selector: str, phase: str | None, output: str | None, places: Places
) -> None:
    """List WorkflowExecutions, or show those with these names."""
    if names and (all_namespaces or selector or phase):
        raise click.UsageError("a name cannot be combined with -A, -l or --phase")

    missing: list[Refusal] = []

    async def work(session: Session) -> tuple[list[Json], datetime]:
        if names:
            there = []
            for name in names:
                try:
                    there.append(await session.execution_named(name))
                except Refusal as refusal:
                    missing.append(refusal)
            if not there:
                raise missing[0]
            return there, await session.now()
        scope = None if all_namespaces else session.namespace
        fields = f"status.phase={phase}" if phase else ""
        try:
            found = await session.api.list(WORKFLOWEXECUTIONS, scope, label_selector=selector, field_selector=fields)
        except NotFound:
            raise no_kinds(session) from None
        except BadRequest as error:
            raise click.UsageError(f"--selector {selector!r}: {one_line(error.message)}") from None
        if not found and output is None:
            which = " that match" if selector or phase else ""
            where = "any namespace" if all_namespaces else f"namespace {session.namespace}"
            click.echo(f"no WorkflowExecutions in {where}{which}", err=True)
        return found, await session.now()

    found, now = run(places, work)
    if output == "name":
        for obj in found:
            click.echo(f"workflowexecution.kubernaut.ai/{name_of(obj)}")
    elif output in ("json", "yaml"):
        click.echo(machine(tidied(found[0]) if len(names) == 1 else as_list(found), output))
    elif found:
        style = Style.of_terminal()
        click.echo(executions_table(found, now, style, wide=output == "wide", namespaces=all_namespaces))
    if missing:  # what there is was shown, as kubectl does
        raise missing[0]


@click.command()
@click.argument("target", metavar="[TARGET]", required=False)
@click.option("--held", is_flag=True, help="Only targets that an execution holds.")
@click.option("--blocked", is_flag=True, help="Only targets that wait for clear-block.")
@output_option("wide", "name")
@cluster_options
def locks(target: str | None, held: bool, blocked: bool, output: str | None, places: Places) -> None:
    """List the targets that are held, blocked, or remembered.

    TARGET is a target as in a spec (shop/deployment/web) or the name of a TargetLock.
    """

    async def work(session: Session) -> tuple[list[Json], datetime]:
        try:
            found = await session.api.list(TARGETLOCKS, session.home)
        except NotFound:
            raise no_kinds(session) from None
        if target is not None:
            found = locks_of(found, target)
            if not found:
                raise Refusal(
                    f"{target} has no lock: nothing holds or blocks it, and nothing is remembered of it",
                    session.commands.wfe("locks"),
                )
        found = [lock for lock in found if not held or status(lock).get("holder")]
        found = [lock for lock in found if not blocked or needs_clearing(lock)]
        if not found and output is None:
            click.echo(f"no TargetLocks{' of that kind' if held or blocked else ''} in {session.home}", err=True)
        return found, await session.now()

    found, now = run(places, work)
    if output == "name":
        for obj in found:
            click.echo(f"targetlock.kubernaut.ai/{name_of(obj)}")
    elif output in ("json", "yaml"):
        click.echo(machine(tidied(found[0]) if target is not None else as_list(found), output))
    elif found:
        click.echo(locks_table(found, now, Style.of_terminal(), wide=output == "wide"))


def locks_of(found: list[Json], target: str) -> list[Json]:
    """Those that show this target, or are meant by it. UsageError names the rule that it breaks.

    What is shown comes first: a custom kind's target has lost its group there, and may break the rules of a spec.
    """
    shown = [lock for lock in found if text(spec(lock).get("target")) == target]
    if shown:
        return shown
    wanted = lock_of(target)
    return [lock for lock in found if name_of(lock) == wanted]


def lock_of(target: str) -> str:
    """The lock's name for a target or a lock's name; UsageError names the rule that the target breaks."""
    kind, _, name = target.rpartition("/")
    if LOCK_NAME.fullmatch(name) and (not kind or kind.lower() in OF_LOCKS):
        return name
    try:
        return lock_name(parse_target(target).canonical)
    except TargetError as error:
        raise click.UsageError(str(error)) from None

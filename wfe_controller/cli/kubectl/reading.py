"""``get`` and ``locks``: what there is, as tables or as objects."""

from __future__ import annotations

import re
from datetime import datetime

import click

from wfe_controller.api.names import TARGETLOCKS, WORKFLOWEXECUTIONS, lock_name
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.cli.kubectl.options import (
    Places,
    all_namespaces_option,
    cluster_options,
    complete_execution,
    output_option,
)
from wfe_controller.cli.kubectl.output import as_list, machine, tidied
from wfe_controller.cli.kubectl.session import Refusal, Session, no_kinds, run
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.views import executions_table, locks_table
from wfe_controller.kube.errors import NotFound
from wfe_controller.kube.objects import Json, name_of, status

LOCK_NAME = re.compile(r"wfe-[0-9a-f]{16}")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_execution)
@all_namespaces_option
@click.option("-l", "--selector", metavar="LABELS", default="", help="Only those with these labels.")
@click.option("--phase", metavar="PHASE", default="", help="Only those in this phase.")
@output_option("wide", "name")
@cluster_options
def get(
    names: tuple[str, ...], all_namespaces: bool, selector: str, phase: str, output: str | None, places: Places
) -> None:
    """List WorkflowExecutions, or show those with these names."""
    if names and (all_namespaces or selector or phase):
        raise click.UsageError("a name cannot be combined with -A, -l or --phase")

    async def work(session: Session) -> tuple[list[Json], datetime]:
        if names:
            return [await session.execution_named(name) for name in names], await session.now()
        scope = None if all_namespaces else session.namespace
        fields = f"status.phase={phase}" if phase else ""
        try:
            found = await session.api.list(WORKFLOWEXECUTIONS, scope, label_selector=selector, field_selector=fields)
        except NotFound:
            raise no_kinds(session) from None
        if not found and output is None:
            where = "any namespace" if all_namespaces else f"namespace {session.namespace}"
            click.echo(f"no WorkflowExecutions in {where}", err=True)
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
            wanted = lock_of(target)
            found = [lock for lock in found if name_of(lock) == wanted]
            if not found:
                raise Refusal(
                    f"{target} has no lock: nothing holds or blocks it, and nothing is remembered of it",
                    session.commands.wfe("locks"),
                )
        found = [lock for lock in found if not held or status(lock).get("holder")]
        found = [lock for lock in found if not blocked or status(lock).get("block")]
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


def lock_of(target: str) -> str:
    """The lock's name for a target or a lock's name; UsageError names the rule that the target breaks."""
    if LOCK_NAME.fullmatch(target):
        return target
    try:
        return lock_name(parse_target(target).canonical)
    except TargetError as error:
        raise click.UsageError(str(error)) from None

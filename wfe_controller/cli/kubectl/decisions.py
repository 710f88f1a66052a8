"""``cancel``, ``pause`` and ``resume``. The judgements are pure: an object in, a Refusal or None out."""

from __future__ import annotations

from collections.abc import Callable

import click

from wfe_controller.api.conditions import is_true
from wfe_controller.api.names import ANNOTATION_CANCEL, ANNOTATION_PAUSE, WORKFLOWEXECUTIONS, by
from wfe_controller.api.phases import Phase, is_terminal
from wfe_controller.api.reasons import ConditionType
from wfe_controller.cli.kubectl.options import (
    Places,
    cluster_options,
    dry_run_option,
    execution_argument,
    output_option,
    reason_option,
    tried,
)
from wfe_controller.cli.kubectl.output import machine, tidied
from wfe_controller.cli.kubectl.session import Refusal, Session, run
from wfe_controller.cli.kubectl.words import WHY, CommandLine
from wfe_controller.cli.kubectl.writes import annotate, decision, without
from wfe_controller.kube.objects import Json, annotations_of, is_deleting, key_of, status, text

PLAINLY_NO = ("false", "off", "0", "no", "n")
"""Values of the cancel annotation that cancel nothing (workflows.snapshot; a test compares)."""
Judge = Callable[[Json, CommandLine], Refusal | None]


def against_any(obj: Json, commands: CommandLine, what: str) -> Refusal | None:
    """An object that has ended, or goes anyway, takes no decision any more."""
    key, phase = key_of(obj), text(status(obj).get("phase"))
    if is_terminal(phase):
        return Refusal(f"{key} has ended ({phase}): there is nothing to {what}", commands.on("explain", key))
    if is_deleting(obj):
        return Refusal(f"{key} is being deleted, which ends it: there is nothing to {what}", commands.on("watch", key))
    return None


def against_cancel(obj: Json, commands: CommandLine) -> Refusal | None:
    refusal = against_any(obj, commands, "cancel")
    if refusal is None and asked_to_cancel(obj):
        who = annotations_of(obj).get(by(ANNOTATION_CANCEL)) or "somebody"
        return Refusal(f"{key_of(obj)} is being cancelled already, by {who}", commands.on("watch", key_of(obj)))
    return refusal


def asked_to_cancel(obj: Json) -> bool:
    """Whether the cancel annotation that stands there is one that the controller follows (``cancel=false`` is not)."""
    value = annotations_of(obj).get(ANNOTATION_CANCEL)
    return isinstance(value, str) and value.strip().lower() not in PLAINLY_NO


def against_pause(obj: Json, commands: CommandLine) -> Refusal | None:
    refusal = against_any(obj, commands, "pause")
    if refusal is not None:
        return refusal
    key, current = key_of(obj), status(obj)
    if annotations_of(obj).get(ANNOTATION_PAUSE) == "true":
        return Refusal(f"{key} is paused already", commands.on("resume", key))
    if current.get("phase") == Phase.RUNNING and is_true(
        current.get("conditions"), ConditionType.TEKTON_PIPELINE_RUNNING
    ):
        started = f"{key} has started, and a pause stops only what has not: end it instead"
        return Refusal(started, commands.on("cancel", key, "--reason", WHY))
    return None


def against_resume(obj: Json, commands: CommandLine) -> Refusal | None:
    refusal = against_any(obj, commands, "resume")
    if refusal is None and ANNOTATION_PAUSE not in annotations_of(obj):
        return Refusal(f"{key_of(obj)} is not paused", commands.on("explain", key_of(obj)))
    return refusal


def _decide(
    places: Places, name: str, judge: Judge, changes: Callable[[str], dict[str, str | None]], dry_run: str
) -> tuple[Json, CommandLine]:
    async def work(session: Session) -> tuple[Json, CommandLine]:
        obj = await session.execution_named(name)
        refusal = judge(obj, session.commands)
        if refusal is not None:
            raise refusal
        wanted = changes(await session.username())

        def stands(fresh: Json) -> Refusal | None:
            return judge(fresh, session.commands)

        written = await annotate(session, WORKFLOWEXECUTIONS, obj, wanted, stands, dry_run=dry_run)
        return written, session.commands

    return run(places, work)


def _say(obj: Json, output: str | None, done: str, next_: str, dry_run: str) -> None:
    if output:
        click.echo(machine(tidied(obj), output))
    elif dry_run != "none":
        click.echo(f"{key_of(obj)} {done}{tried(dry_run)}")
    else:
        click.echo(f"{key_of(obj)} {done}\n  next: {next_}")


@click.command()
@execution_argument
@reason_option()
@dry_run_option
@output_option()
@cluster_options
def cancel(name: str, reason: str, dry_run: str, output: str | None, places: Places) -> None:
    """End it, in order: Failed/Cancelled. Nothing is rolled back.

    When a step may have started, its target is blocked afterwards until somebody clears the block.
    """
    obj, commands = _decide(
        places, name, against_cancel, lambda who: decision(ANNOTATION_CANCEL, reason, who, reason), dry_run
    )
    _say(obj, output, "is being cancelled", commands.on("watch", key_of(obj)), dry_run)


@click.command()
@execution_argument
@reason_option(required=False)
@dry_run_option
@output_option()
@cluster_options
def pause(name: str, reason: str | None, dry_run: str, output: str | None, places: Places) -> None:
    """Start nothing of it until it is resumed. What has started goes on; deadlines keep running."""
    obj, commands = _decide(
        places, name, against_pause, lambda who: decision(ANNOTATION_PAUSE, "true", who, reason), dry_run
    )
    _say(obj, output, "is paused", commands.on("resume", key_of(obj)), dry_run)


@click.command()
@execution_argument
@dry_run_option
@output_option()
@cluster_options
def resume(name: str, dry_run: str, output: str | None, places: Places) -> None:
    """Take the pause off."""
    obj, commands = _decide(places, name, against_resume, lambda who: without(ANNOTATION_PAUSE), dry_run)
    _say(obj, output, "goes on", commands.on("watch", key_of(obj)), dry_run)

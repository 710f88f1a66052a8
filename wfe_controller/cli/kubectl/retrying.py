"""``retry``: the same request again, as a new object. The old one stays as it ended. Cloning and naming are pure."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import timedelta

import click
import yaml

from wfe_controller.api.names import DECISION_ANNOTATIONS, GROUP, WORKFLOWEXECUTIONS, by, reason
from wfe_controller.api.workflowexecution import InvalidSpec, parse_spec
from wfe_controller.cli.kubectl.explain.facts import Facts
from wfe_controller.cli.kubectl.explain.gather import gather
from wfe_controller.cli.kubectl.explain.model import Situation
from wfe_controller.cli.kubectl.explain.obstacle import Obstacle, obstacle
from wfe_controller.cli.kubectl.options import (
    OF_EXECUTIONS,
    Places,
    cluster_options,
    dry_run_option,
    execution_argument,
    object_name,
    output_option,
    reason_option,
    tried,
)
from wfe_controller.cli.kubectl.output import machine, tidied
from wfe_controller.cli.kubectl.session import Refusal, Session, run
from wfe_controller.cli.kubectl.words import CommandLine, instant, one_line
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import AlreadyExists, BadRequest, Invalid, KubeError
from wfe_controller.kube.objects import Json, annotations_of, key_of, labels_of, name_of, namespace_of, spec

RETRY_OF = f"{GROUP}/retry-of"
"""On a clone: the name of the execution it repeats. For people; nothing decides by it."""
NAME_MAX = 253
_NUMBERED = re.compile(r"(?P<stem>.+)-r(?P<number>[0-9]{1,4})")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

LET_PASS = frozenset({Situation.WAITING_FOR_RELEASE, Situation.LOCK_UNKNOWN})
"""Obstacles that the controller itself waits for: a new object is not skipped because of them."""


def next_name(name: str) -> str:
    """``web-r2`` for ``web``, ``web-r3`` for ``web-r2``."""
    found = _NUMBERED.fullmatch(name)
    stem, number = (found["stem"], int(found["number"]) + 1) if found else (name, 2)
    suffix = f"-r{number}"
    return f"{stem[: NAME_MAX - len(suffix)].rstrip('-.')}{suffix}"


def clone(obj: Json, name: str, who: str, why: str | None) -> Json:
    """The request of ``obj`` as a new object: spec and labels, and annotations that are no decisions about the old."""
    decided = {a for d in DECISION_ANNOTATIONS for a in (d, by(d), reason(d))}
    left_out = {*decided, _APPLIED, RETRY_OF, by(RETRY_OF), reason(RETRY_OF)}
    notes = {key: value for key, value in annotations_of(obj).items() if key not in left_out}
    notes |= {RETRY_OF: name_of(obj), by(RETRY_OF): who}
    if why:
        notes[reason(RETRY_OF)] = why
    meta: Json = {"name": name, "namespace": namespace_of(obj)}
    if labels_of(obj):
        meta["labels"] = dict(labels_of(obj))
    return {
        "apiVersion": WORKFLOWEXECUTIONS.api_version,
        "kind": WORKFLOWEXECUTIONS.kind,
        "metadata": {**meta, "annotations": notes},
        "spec": dict(spec(obj)),
    }


def against_retry(facts: Facts, found: Obstacle | None, *, edited: bool) -> Refusal | None:
    """Why a clone would be pointless now."""
    if not facts.ended:
        said = f"{facts.key} has not ended ({facts.phase or 'not started'}): a second one would be skipped"
        return Refusal(said, facts.commands.on("explain", facts.key))
    if not edited:
        try:
            parse_spec(facts.obj)
        except InvalidSpec as invalid:
            said = f"its spec cannot be used as it is: {invalid}"
            return Refusal(said, facts.commands.on("retry", facts.key, "--edit"))
    if found is not None and found.situation not in LET_PASS:
        return Refusal(f"it would be skipped: {found.said}", found.next.command)
    return None


def _new_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else object_name(value, OF_EXECUTIONS)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command()
@execution_argument
@click.option(
    "--name",
    "new_name",
    metavar="NAME",
    callback=_new_name,
    help="Name of the new object; else the old one with -r2, -r3...",
)
@click.option("--edit", is_flag=True, help="Correct the copy in your editor first (KUBE_EDITOR, EDITOR).")
@click.option("--when-allowed", is_flag=True, help="Wait for the end of a cooldown or backoff first.")
@dry_run_option
@reason_option(required=False)
@output_option("name")
@cluster_options
def retry(
    name: str,
    new_name: str | None,
    edit: bool,
    when_allowed: bool,
    dry_run: str,
    reason: str | None,
    output: str | None,
    places: Places,
) -> None:
    """Create the same request again, as a new object."""

    async def work(session: Session) -> Json:
        obj = await session.execution_named(name)
        await _allowed(session, obj, wait=when_allowed, edited=edit)
        body = clone(obj, new_name or next_name(name), await session.username(), reason)
        if not edit:
            return await _created(session, body, named=new_name is not None, dry_run=dry_run)
        body, text = edited_copy(body, session.commands)
        try:
            return await _created(session, body, named=True, dry_run=dry_run)
        except (Refusal, KubeError) as error:
            raise kept(text, error.reason if isinstance(error, Refusal) else str(error), session.commands) from None

    made = run(places, work)
    if output == "name":
        click.echo(f"workflowexecution.kubernaut.ai/{name_of(made)}")
    elif output:
        click.echo(machine(tidied(made), output))
    elif dry_run != "none":
        click.echo(f"{key_of(made)} would be created{tried(dry_run)}")
    else:
        click.echo(f"{key_of(made)} created\n  next: {places.commands.on('watch', key_of(made))}")


async def _allowed(session: Session, obj: Json, *, wait: bool, edited: bool) -> None:
    """Return when a new one may be created; raise what stands against it."""
    while True:
        facts = await gather(session, obj)
        found = obstacle(facts)
        until = found.allowed_at if found is not None else None
        if not wait or until is None or not facts.ended:
            refusal = against_retry(facts, found, edited=edited)
            if refusal is not None:
                raise refusal
            return
        click.echo(f"waiting until {instant(until)}: {found.said if found else ''}", err=True)
        left = (until - facts.now) / timedelta(seconds=1)
        await session.clock.sleep(max(left, 0.0) + 1.0)


async def _created(session: Session, body: Json, *, named: bool, dry_run: str) -> Json:
    """Create it; a name of our own choice that is taken is counted up."""
    for _ in range(50):
        if dry_run == "client":
            return body
        try:
            return await session.api.create(WORKFLOWEXECUTIONS, body, lane=Lane.START, dry_run=dry_run == "server")
        except AlreadyExists:
            if named:
                taken = f"{key_of(body)} exists already"
                raise Refusal(taken, session.commands.on("explain", key_of(body))) from None
            body["metadata"]["name"] = next_name(name_of(body))
        except (Invalid, BadRequest) as error:
            raise Refusal(f"the API server refuses the copy: {one_line(error.message)}") from None
    raise Refusal("fifty names were taken: give one with --name")


def kept(text: str, why: str, commands: CommandLine) -> Refusal:
    """What was typed in an editor at night is not thrown away: it is in a file that only its writer may read."""
    handle, path = tempfile.mkstemp(prefix="kubectl-wfe-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Refusal(f"{why}; what you edited is kept in {path}", commands.kubectl("create", "-f", path))


def edited_copy(body: Json, commands: CommandLine, edit: Callable[[str], str | None] | None = None) -> tuple[Json, str]:
    """The copy as it comes back from the editor, and its text. Nothing is created from one that was not changed."""
    before = machine(body, "yaml") + "\n"
    after = (edit or _in_editor)(before)
    if after is None or after == before:
        raise Refusal("nothing was changed in the editor, so nothing was created")
    try:
        parsed = yaml.safe_load(after)
    except yaml.YAMLError as error:
        raise kept(after, f"the edited text is no YAML: {one_line(str(error))}", commands) from None
    meta = parsed.get("metadata") if isinstance(parsed, dict) else None
    if not isinstance(meta, dict):
        raise kept(after, "the edited text is no object with metadata", commands)
    there = (("kind", parsed), ("apiVersion", parsed), ("namespace", meta))
    for field, part in there:
        was = (body if part is parsed else body["metadata"]).get(field)
        if part.get(field) != was:
            raise kept(after, f"only the request may be corrected: {field} was {was!r}", commands)
    name = meta.get("name")
    try:
        object_name(name if isinstance(name, str) else "", OF_EXECUTIONS)
        parse_spec(parsed)
    except InvalidSpec as invalid:
        raise kept(after, f"the edited spec cannot be used: {invalid}", commands) from None
    except ValueError as error:
        raise kept(after, f"metadata.name: {error}", commands) from None
    return parsed, after


def _in_editor(text: str) -> str | None:
    return click.edit(text, editor=os.environ.get("KUBE_EDITOR") or None, extension=".yaml", require_save=False)

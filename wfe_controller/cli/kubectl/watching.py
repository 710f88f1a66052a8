"""``watch``: one line for each change, until the execution has ended (or, for all of them, until you stop it)."""

from __future__ import annotations

import click
import msgspec

from wfe_controller.api.names import FINALIZER, WORKFLOWEXECUTIONS
from wfe_controller.api.phases import Phase, is_terminal
from wfe_controller.cli.kubectl.options import (
    Places,
    Seconds,
    all_namespaces_option,
    cluster_options,
    execution_if_named,
)
from wfe_controller.cli.kubectl.output import json_text, tidied
from wfe_controller.cli.kubectl.session import Refusal, Session, run
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.views import event_line
from wfe_controller.cli.kubectl.words import one_line
from wfe_controller.kube.errors import ConnectionFailed, Gone, RequestTimeout, Unavailable
from wfe_controller.kube.objects import Json, finalizers_of, key_of, status, text, uid_of

SERVER_SECONDS = 300
AGAIN = 1.0
PATIENCE = 120.0
"""Seconds for which a server that is restarted is waited for."""


class Seen:
    """What was printed last of each object: a change that shows nothing new prints nothing."""

    def __init__(self, style: Style, form: str | None, *, namespaces: bool) -> None:
        self._style, self._form, self._namespaces = style, form, namespaces
        self._last: dict[str, str] = {}

    async def show(self, session: Session, obj: Json) -> None:
        if self._form == "json":
            click.echo(json_text(tidied(obj)))
            return
        line = event_line(obj, session.clock.now(), self._style, namespaces=self._namespaces)
        said = line.split("  ", 1)[1]
        if self._last.get(uid_of(obj)) != said:
            self._last[uid_of(obj)] = said
            click.echo(line)


def over(obj: Json) -> bool:
    """Whether nothing more will happen to it by itself: it has ended and let go of its target.

    Only our finalizer tells that: one of somebody else may stay for ever.
    """
    return is_terminal(text(status(obj).get("phase"))) and FINALIZER not in finalizers_of(obj)


@click.command()
@execution_if_named
@all_namespaces_option
@click.option("--exit-status", is_flag=True, help="End with 1 unless it completed. Needs a NAME.")
@click.option("--timeout", metavar="TIME", type=Seconds(), help="Give up after 90, 90s or 5m, with exit code 1.")
@click.option("-o", "--output", type=click.Choice(["json"]), metavar="FORM", help="json: one object a line.")
@cluster_options
def watch(
    name: str | None,
    all_namespaces: bool,
    exit_status: bool,
    timeout: float | None,
    output: str | None,
    places: Places,
) -> int:
    """Follow one execution until it has ended and its target is free, or all of a namespace."""
    if name is not None and all_namespaces:
        raise click.UsageError("a name cannot be combined with -A")
    if exit_status and name is None:
        raise click.UsageError("--exit-status needs a NAME")

    async def work(session: Session) -> str:
        return await _follow(session, name, all_namespaces, timeout, output)

    phase = run(places, work)
    return 1 if exit_status and phase != Phase.COMPLETED else 0


async def _follow(session: Session, name: str | None, everywhere: bool, timeout: float | None, form: str | None) -> str:
    """The phase it ended in; "Deleted" when it went away."""
    scope = None if everywhere else session.namespace
    fields = f"metadata.name={name}" if name else ""
    seen = Seen(Style.of_terminal(), form, namespaces=everywhere)
    end = None if timeout is None else session.clock.monotonic() + timeout
    if name is not None:
        await session.execution_named(name)  # refuses, with where it is, when it is not here
    known, connected, lost = False, False, None
    while True:
        try:
            page = await session.api.list_page(WORKFLOWEXECUTIONS, scope, field_selector=fields, limit=None)
        except (ConnectionFailed, RequestTimeout, Unavailable) as error:
            if not connected:
                raise
            if lost is None:
                lost = session.clock.monotonic()
                click.echo(f"the connection is lost, trying again: {one_line(str(error))}", err=True)
            if session.clock.monotonic() - lost >= PATIENCE or (end is not None and session.clock.monotonic() >= end):
                raise
            await session.clock.sleep(AGAIN)
            continue
        connected, lost = True, None
        objs: list[Json] = [msgspec.json.decode(raw) for raw in page.items]
        for obj in objs:
            known = True
            await seen.show(session, obj)
            if name is not None and over(obj):
                return text(status(obj).get("phase"))
        if name is not None and known and not objs:
            click.echo(f"{session.namespace}/{name} is gone", err=True)
            return "Deleted"
        try:
            found = await _stream(session, scope, fields, page.resource_version, end, seen, single=name is not None)
        except (ConnectionFailed, RequestTimeout, Unavailable, Gone):
            found = None
        if found is not None:
            return found
        if end is not None and session.clock.monotonic() >= end:
            next_ = session.commands.wfe("explain", name, namespace=session.namespace) if name else ""
            raise Refusal(f"it has not ended within {timeout:g} s", next_)
        await session.clock.sleep(AGAIN)


async def _stream(
    session: Session, scope: str | None, fields: str, version: str, end: float | None, seen: Seen, *, single: bool
) -> str | None:
    """Print changes until the stream ends; the end of a single object, None = the stream has to be opened again."""
    left = SERVER_SECONDS if end is None else max(1, min(SERVER_SECONDS, int(end - session.clock.monotonic()) + 1))
    async with session.api.watch(
        WORKFLOWEXECUTIONS,
        scope,
        field_selector=fields,
        resource_version=version,
        timeout_seconds=left,
        idle_timeout=left + 15.0,
    ) as stream:
        async for line in stream:
            event = msgspec.json.decode(line)
            obj: Json = event.get("object") or {}
            match event.get("type"):
                case "ERROR":
                    return None
                case "DELETED":
                    click.echo(f"{key_of(obj)} is gone", err=True)
                    if single:
                        return "Deleted"
                case "ADDED" | "MODIFIED":
                    await seen.show(session, obj)
                    if single and over(obj):
                        return text(status(obj).get("phase"))
    return None

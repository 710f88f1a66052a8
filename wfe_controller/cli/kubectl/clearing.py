"""``clear-block``: lift the block or the failure streak of a target.

The value of the annotation is the UID that the controller expects (locking.clearance), taken from the lock, so that
nobody has to copy it, and one clearance lifts one block.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from wfe_controller.api.names import (
    ANNOTATION_CLEAR_BLOCK,
    OWNER_UID,
    TARGETLOCKS,
    lock_name,
)
from wfe_controller.api.reasons import BlockReason
from wfe_controller.api.targets import TargetError, parse_target
from wfe_controller.cli.kubectl.explain.facts import event_time, unfinished
from wfe_controller.cli.kubectl.options import (
    OF_EXECUTIONS,
    OF_LOCKS,
    Places,
    Seconds,
    cluster_options,
    complete_execution,
    dry_run_option,
    object_name,
    output_option,
    reason_option,
    tried,
)
from wfe_controller.cli.kubectl.output import machine, tidied
from wfe_controller.cli.kubectl.reading import LOCK_NAME
from wfe_controller.cli.kubectl.session import Elsewhere, Refusal, Session, no_kinds, run
from wfe_controller.cli.kubectl.words import CommandLine, instant, one_line
from wfe_controller.cli.kubectl.writes import annotate, decision
from wfe_controller.kube.errors import Forbidden, NotFound
from wfe_controller.kube.objects import (
    EVENTS,
    PODS,
    Json,
    ObjectKey,
    annotations_of,
    key_of,
    mapping,
    name_of,
    namespace_of,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.clearance import FORCE, MIN_REASON, expected_uid
from wfe_controller.locking.record import LockRecord, LockUnreadable

POLL = 0.25


def against_clear(lock: Json, reason: str, commands: CommandLine, survivors: list[str]) -> Refusal | None:
    """Why this lock takes no clear-block now. ``survivors``: unfinished pods of the execution that caused the block."""
    try:
        record = LockRecord.from_object(lock)
    except LockUnreadable as error:
        edit = commands.kubectl(
            "edit", "targetlock", name_of(lock), "--subresource=status", namespace=namespace_of(lock)
        )
        return Refusal(f"the lock cannot be understood: {error}", edit)
    if not expected_uid(record):
        held = record.holder
        if held is not None:
            key = ObjectKey(held.namespace, held.name)
            said = f"{record.target} is not blocked, it is held by {key}: a hold ends with its holder"
            return Refusal(said, commands.on("explain", key))
        return Refusal(
            f"{record.target} has no block and no failure streak: there is nothing to clear",
            commands.wfe("locks", record.target),
        )
    block = record.block
    forced = reason.lower().startswith(FORCE)
    if block is not None and block.reason == BlockReason.CANCEL_INCOMPLETE and survivors and not forced:
        where = f"pods of the cancelled run are still there: {', '.join(survivors[:5])}"
        namespace = survivors[0].partition("/")[0]
        end = commands.kubectl("delete", "pod", *[s.partition("/")[2] for s in survivors[:5]], namespace=namespace)
        return Refusal(f"{where}; end them first, or give a reason that starts with '{FORCE}'", end)
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the controller did with the request: ``done``, or ``why`` not ("" = no answer within the time)."""

    done: bool
    why: str = ""


@click.command("clear-block")
@click.argument("what", metavar="TARGET|NAME", shell_complete=complete_execution)
@reason_option(least=MIN_REASON)
@click.option(
    "--wait",
    metavar="TIME",
    type=Seconds(),
    default="15s",
    show_default=True,
    help="How long to wait for the controller; 0 = not.",
)
@dry_run_option
@output_option()
@cluster_options
def clear_block(what: str, reason: str, wait: float, dry_run: str, output: str | None, places: Places) -> None:
    """Lift the block of a target, and its failure streaks. First look at the target.

    Takes the target (shop/deployment/web) or a WorkflowExecution of the namespace, also one that is gone. The reason
    says what you found; one that starts with 'force:' clears an incomplete cancellation whose pods are still there.
    """

    before: list[Json] = []

    async def work(session: Session) -> tuple[Json, Answer]:
        lock, meant = await _find(session, what)
        left = await _survivors(session, lock)
        refusal = against_clear(lock, reason, session.commands, left) or against_another(lock, meant, session)
        if refusal is not None:
            raise refusal
        value = expected_uid(LockRecord.from_object(lock))
        before.append(lock)
        changes = decision(ANNOTATION_CLEAR_BLOCK, value, await session.username(), reason)

        def judge(fresh: Json) -> Refusal | None:
            refusal = against_clear(fresh, reason, session.commands, left)
            if refusal is None and expected_uid(LockRecord.from_object(fresh)) != value:
                return Refusal(
                    "another execution blocked the target meanwhile: look again", session.commands.wfe("locks")
                )
            return refusal

        written = await annotate(session, TARGETLOCKS, lock, changes, judge, dry_run=dry_run)
        waits = wait > 0 and dry_run == "none"
        answer = await _answer(session, written, value, wait) if waits else Answer(False)
        if waits and not answer.done:
            why = answer.why or f"the controller has not answered within {wait:g} s; it will when one leads"
            raise Refusal(f"requested, but not cleared: {why}", session.commands.wfe("locks", _target(lock)))
        return written, answer

    lock, answer = run(places, work)
    if output:
        click.echo(machine(tidied(lock), output))
    else:
        done = "is cleared" if answer.done else "will be cleared by the controller"
        click.echo(one_line(f"{_target(lock)} {done}{tried(dry_run)}"))
        lifts = "lifted" if answer.done else "what it lifts"
        click.echo(one_line(f"{lifts}: {what_it_is(before[0])}"), err=True)


def what_it_is(lock: Json) -> str:
    """What a clearance of this lock lifts, in words: whose block, or which streak."""
    record = LockRecord.from_object(lock)
    block = record.block
    if block is not None:
        return f"the block by {block.by_name or block.by_uid} ({block.reason}, since {instant(block.since)})"
    streaks = [f"{entry.workflow_id} ({entry.consecutive_failures})" for entry in record.workflows]
    return f"the failures in a row of {', '.join(streaks[:5])}"


def against_another(lock: Json, meant: Json | None, session: Session) -> Refusal | None:
    """Who names an execution that failed means its block, and has looked at what that one did: not at another's."""
    block = mapping(mapping(status(lock).get("block")).get("by"))
    if meant is None or not block or block.get("uid") == uid_of(meant) or not _acted(meant):
        return None
    other = text(block.get("name")) or text(block.get("uid"))
    said = f"{_target(lock)} is blocked by {other}, not by {key_of(meant)}"
    return Refusal(
        f"{said}: look at what that one did, then name the target", session.commands.wfe("locks", _target(lock))
    )


def _acted(obj: Json) -> bool:
    return mapping(status(obj).get("failureDetails")).get("wasExecutionFailure") is True


def _target(lock: Json) -> str:
    return text(spec(lock).get("target"))


async def _find(session: Session, what: str) -> tuple[Json, Json | None]:
    """The lock that is meant: by target, by its own name, or by an execution, there (it comes too) or gone."""
    commands = session.commands
    kind, _, name = what.rpartition("/")
    if kind.lower() in OF_EXECUTIONS:
        what = name
    if LOCK_NAME.fullmatch(name) and (not kind or kind.lower() in OF_LOCKS):
        return await _lock(session, name, name), None
    if "/" in what:
        try:
            canonical = parse_target(what).canonical
        except TargetError as error:
            shown = await _shown(session, what)
            if shown is None:
                raise click.UsageError(str(error)) from None
            return shown, None
        return await _lock(session, lock_name(canonical), canonical), None
    try:
        what = object_name(what, OF_EXECUTIONS)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        obj = await session.execution_named(what)
    except Elsewhere:
        raise
    except Refusal:
        found = [lock for lock in await session.api.list(TARGETLOCKS, session.home) if _blamed(lock) == what]
        if len(found) == 1:
            return found[0], None
        many = f"several targets remember an execution {what!r}: name the target" if found else ""
        none = f"there is no WorkflowExecution {what!r} in {session.namespace!r}, and no target is blocked by one"
        raise Refusal(many or none, commands.wfe("locks", "--blocked")) from None
    try:
        canonical = parse_target(text(spec(obj).get("targetResource"))).canonical
    except TargetError as error:
        raise Refusal(f"{key_of(obj)} has no usable target: {error}", commands.wfe("locks")) from None
    return await _lock(session, lock_name(canonical), canonical), obj


async def _shown(session: Session, target: str) -> Json | None:
    """The lock that shows this target: a custom kind's has lost its group, and may break the rules of a spec."""
    try:
        lock = await session.api.get(TARGETLOCKS, ObjectKey(session.home, lock_name(target)))
    except NotFound:
        return None
    return lock if _target(lock) == target else None


def _blamed(lock: Json) -> str:
    current = status(lock)
    block = mapping(mapping(current.get("block")).get("by"))
    return text(block.get("name")) or text(mapping(current.get("lastExecution")).get("name"))


async def _lock(session: Session, name: str, target: str) -> Json:
    try:
        return await session.api.get(TARGETLOCKS, ObjectKey(session.home, name))
    except NotFound as error:
        if error.type_missing:
            raise no_kinds(session) from None
        reason = f"{target} has no lock in {session.home}: there is nothing to clear"
        raise Refusal(reason, session.commands.wfe("locks", "--blocked")) from None


async def _survivors(session: Session, lock: Json) -> list[str]:
    """``namespace/name`` of unfinished pods of the execution that caused the block, as far as they may be listed."""
    block = mapping(status(lock).get("block"))
    if block.get("reason") != BlockReason.CANCEL_INCOMPLETE:
        return []
    uid = text(mapping(block.get("by")).get("uid"))
    try:
        pods = await session.api.list(PODS, session.execution, label_selector=f"{OWNER_UID}={uid}")
    except Forbidden:
        return []
    return [str(key_of(pod)) for pod in unfinished(pods)]


async def _answer(session: Session, lock: Json, value: str, seconds: float) -> Answer:
    """Wait until the block is off, the request was refused, or the time is over."""
    asked = await session.now()
    end = session.clock.monotonic() + seconds
    while session.clock.monotonic() < end:
        try:
            fresh = await session.api.get(TARGETLOCKS, key_of(lock))
        except NotFound:
            return Answer(True)
        try:
            record = LockRecord.from_object(fresh)
        except LockUnreadable as error:
            return Answer(False, f"the lock cannot be understood any more: {error}")
        if uid_of(fresh) != uid_of(lock) or expected_uid(record) != value:
            return Answer(True)
        if ANNOTATION_CLEAR_BLOCK not in annotations_of(fresh):
            return Answer(False, "somebody took the request off again")
        for event in await _refusals(session, lock):
            at = event_time(event)
            if at is not None and at >= asked.replace(microsecond=0):
                return Answer(False, text(event.get("message")))
        await session.clock.sleep(POLL)
    return Answer(False)


async def _refusals(session: Session, lock: Json) -> list[Json]:
    try:
        events = await session.api.list(
            EVENTS, namespace_of(lock), field_selector=f"involvedObject.uid={uid_of(lock)},reason=ClearBlockRefused"
        )
    except Forbidden:
        return []
    return events

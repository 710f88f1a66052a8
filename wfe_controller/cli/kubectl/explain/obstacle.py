"""What keeps the next execution of a workflow from its target now, by the same rules as the controller. Pure.

Neighbours: locking.decision decides; skips, failures and the command ``retry`` ask here. Invariant: the instants that
stand in the record decide, not the settings of the controller, which the command line does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from wfe_controller.api.names import OWNER_NAME, OWNER_NAMESPACE, OWNER_UID, WORKFLOW_ID
from wfe_controller.api.phases import is_terminal
from wfe_controller.api.reasons import BlockReason
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread, owner_of, unfinished
from wfe_controller.cli.kubectl.explain.model import Next, Situation
from wfe_controller.cli.kubectl.words import WHAT_YOU_FOUND, age, one_line, plural, since
from wfe_controller.failure.tekton import observe
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import (
    annotations_of,
    is_deleting,
    items,
    metadata,
    name_of,
    namespace_of,
    spec,
    status,
    text,
    uid_of,
)
from wfe_controller.locking.decision import (
    AwaitHolderCleanup,
    Claim,
    ForeignRun,
    HolderState,
    SkipBlocked,
    SkipBusy,
    SkipCooling,
    SkipExhausted,
    decide,
)
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import LockRecord, LockUnreadable

_CENTURY = 36500 * 86400.0
AS_STORED = Limits(success_cooldown=_CENTURY, backoff_base=_CENTURY, backoff_max=_CENTURY)
"""Windows so wide that only the stored instants matter. The limit of failures in a row is the default one."""

_BLOCKED = {
    BlockReason.CANCEL_INCOMPLETE: Situation.BLOCKED_CANCEL_INCOMPLETE,
    BlockReason.ORPHANED_RUN: Situation.BLOCKED_ORPHANED_RUN,
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """``said``: one clause, in the present. ``next``: what removes it, or waits for its end."""

    situation: Situation
    said: str
    next: Next
    since: datetime | None = None
    waiting_for: str = ""
    allowed_at: datetime | None = None
    evidence: tuple[str, ...] = ()


def obstacle(facts: Facts) -> Obstacle | None:
    """What would keep a new execution of this workflow waiting or skipped; None = nothing that could be seen.

    An unreadable lock is an obstacle of its own: whether the target is free is not guessed.
    """
    record = facts.record
    if isinstance(record, Unread):
        return Obstacle(
            Situation.LOCK_UNKNOWN,
            "whether the target is free could not be read",
            Next(facts.commands.wfe("doctor", namespace=facts.key.namespace), "says which right is missing"),
        )
    if isinstance(record, LockUnreadable):
        return unreadable(facts, str(record))
    try:
        decision = decide(
            record,
            Claim("(a new one)", facts.key.name, facts.key.namespace, facts.workflow_id or "(none)", facts.engine),
            holder_state=_holder_state(facts, record),
            foreign_run=foreign_run(facts),
            now=facts.now,
            limits=AS_STORED,
            target=facts.target,
        )
    except OverflowError:
        return unreadable(facts, "status.workflows: an instant that is beyond every calendar")
    match decision:
        case SkipBlocked() if record is not None:
            return _blocked(facts, record)
        case SkipExhausted() if record is not None:
            return _exhausted(facts, record)
        case SkipCooling(remaining=left):
            return _cooling(facts, record, left or 0.0)
        case SkipBusy():
            return _busy(facts)
        case AwaitHolderCleanup(holder=ended):
            said = f"the target is being released by {ended.namespace}/{ended.name}, which has ended"
            return Obstacle(Situation.WAITING_FOR_RELEASE, said, again(facts), since=ended.acquired_at)
        case _:
            return None


def again(facts: Facts, why: str = "creates it again under a new name") -> Next:
    """Clone it."""
    return Next(facts.commands.on("retry", facts.key), why)


def unreadable(facts: Facts, why: str) -> Obstacle:
    """The record makes no sense: a person has to mend it."""
    lock = facts.lock if isinstance(facts.lock, dict) else {}
    edit = facts.commands.kubectl(
        "edit", "targetlock", name_of(lock), "--subresource=status", namespace=namespace_of(lock)
    )
    return Obstacle(
        Situation.LOCK_UNKNOWN,
        "the lock of the target cannot be understood",
        Next(edit, "mend the field that is named; nothing starts on the target before"),
        evidence=(why,),
    )


def foreign_run(facts: Facts) -> ForeignRun | None:
    """The run under our name that a controller would not touch: live, or made by somebody else (as launch does)."""
    run = facts.run
    if not isinstance(run, dict) or facts.own_run is not None:
        return None
    ours = bool(owner_of(run))
    done = observe(run, [], []).done
    if ours and (spec(run).get("status") == "PipelineRunPending" or done or is_deleting(run)):
        return None
    notes = annotations_of(run)
    return ForeignRun(
        owner_name=text(notes.get(OWNER_NAME)) if ours else "",
        owner_uid=owner_of(run),
        started_at=parse_rfc3339(metadata(run).get("creationTimestamp")) or facts.now,
        workflow_id=text(notes.get(WORKFLOW_ID)),
        owner_namespace=text(notes.get(OWNER_NAMESPACE)),
        finished=done,
    )


def _holder_state(facts: Facts, record: LockRecord | None) -> HolderState | None:
    if record is None or record.holder is None:
        return None
    holder = facts.obj if record.holder.uid == facts.uid else facts.holder
    if isinstance(holder, Unread):
        return HolderState.LIVE
    if holder is None or uid_of(holder) != record.holder.uid:
        return HolderState.GONE
    return HolderState.TERMINAL if is_terminal(text(status(holder).get("phase"))) else HolderState.LIVE


def clear(facts: Facts, why: str) -> Next:
    """Clear the streak of the target; what was found there only a person can say."""
    return Next(facts.commands.wfe("clear-block", facts.target, "--reason", WHAT_YOU_FOUND), why)


def clear_after_a_look(facts: Facts) -> Next:
    """Clear the block of the target, which may have been changed: the command that shows it is said too."""
    next_ = clear(facts, "once you have looked at the target and it is in a state you know")
    *namespace, kind, name = facts.target.split("/") if facts.target.count("/") in (1, 2) else ("", "")
    look = facts.commands.kubectl("describe", kind, name, namespace="".join(namespace)) if kind and name else ""
    return Next(next_.command, next_.why, look)


def _blocked(facts: Facts, record: LockRecord) -> Obstacle:
    block = record.block
    assert block is not None
    known = {str(reason): reason for reason in BlockReason}
    reason = known.get(block.reason)
    situation = (
        _BLOCKED.get(reason, Situation.BLOCKED_EXECUTION_FAILED) if reason else Situation.BLOCKED_EXECUTION_FAILED
    )
    next_ = clear_after_a_look(facts)
    evidence = [one_line(block.message)] if block.message else []
    if reason is BlockReason.CANCEL_INCOMPLETE:
        left = [] if isinstance(facts.survivors, Unread) else unfinished(facts.survivors)
        if left:
            evidence.append(f"still there: {', '.join(name_of(pod) for pod in left[:5])}")
            pods = facts.commands.kubectl(
                "delete", "pod", *(name_of(pod) for pod in left[:5]), namespace=namespace_of(left[0])
            )
            next_ = Next(pods, "ends what the cancelled run left behind; the block can be cleared after that")
    return Obstacle(
        situation,
        f"the target is blocked ({block.reason}) by {block.by_name or block.by_uid}",
        next_,
        since=block.since,
        waiting_for="a person who looks at the target and clears the block",
        evidence=(*evidence, *facts.refusals(block.since)),
    )


def _exhausted(facts: Facts, record: LockRecord) -> Obstacle:
    entry = record.entry(facts.workflow_id)
    last = record.last_execution
    if entry is None:
        said = f"the target remembers {plural(len(record.workflows), 'workflow')} that failed or cool down, and no more"
    else:
        said = f"workflow {facts.workflow_id} failed {entry.consecutive_failures} times in a row before its first step"
    evidence = () if last is None else (f"the last one was {last.name} ({last.outcome})",)
    return Obstacle(
        Situation.EXHAUSTED,
        said,
        clear(facts, "once the cause of the failures is gone"),
        since=entry.last_failure_at if entry is not None else None,
        waiting_for="a person who removes the cause and clears the streak",
        evidence=(*evidence, *facts.refusals(entry.last_failure_at if entry is not None else None)),
    )


def _cooling(facts: Facts, record: LockRecord | None, left: float) -> Obstacle:
    entry = record.entry(facts.workflow_id) if record is not None else None
    allowed = facts.now + timedelta(seconds=left)
    wait = Next(
        facts.commands.on("retry", facts.key, "--when-allowed"), "waits until it may run, then creates it again"
    )
    if entry is not None and entry.consecutive_failures:
        times = "once" if entry.consecutive_failures == 1 else f"{entry.consecutive_failures} times in a row"
        said = (
            f"workflow {facts.workflow_id} failed {times} before its first step and backs off for another {age(left)}"
        )
        situation, started = Situation.BACKOFF, entry.last_failure_at
    else:
        last = record.last_execution if record is not None else None
        mine = last is not None and last.workflow_id == facts.workflow_id
        by = f" ({last.name})" if last is not None and mine else ""
        said = f"workflow {facts.workflow_id} succeeded here recently{by} and cools down for another {age(left)}"
        situation = Situation.COOLDOWN
        started = last.completed_at if last is not None else None
    return Obstacle(
        situation,
        said,
        wait,
        since=started,
        waiting_for=f"the cooldown of workflow {facts.workflow_id} to end; another workflow may run now"
        if situation is Situation.COOLDOWN
        else f"the backoff of workflow {facts.workflow_id} to end",
        allowed_at=allowed,
    )


def _busy(facts: Facts) -> Obstacle:
    who = facts.who
    if who is not None:
        said = f"{who} is working on the target since {since(who.since, facts.now) if who.since else 'some time'}"
        watch = facts.commands.wfe("watch", who.name, namespace=who.namespace)
        return Obstacle(
            Situation.BUSY,
            said,
            Next(watch, "follow it until the target is free"),
            since=who.since,
            waiting_for=f"{who} to end",
        )
    run = foreign_run(facts)
    found = facts.run
    assert run is not None
    assert isinstance(found, dict)
    where = f"{namespace_of(found)}/{name_of(found)}"
    if run.owner_name:
        said = f"PipelineRun {where} still runs for {run.owner_namespace}/{run.owner_name}"
        watch = facts.commands.wfe("watch", run.owner_name, namespace=run.owner_namespace)
        return Obstacle(Situation.FOREIGN_RUN, said, Next(watch, "follow it until it has ended"), since=run.started_at)
    said = f"PipelineRun {where} has the name of the target's run and is not ours"
    if run.finished:
        end = facts.commands.kubectl("delete", "pipelinerun", name_of(found), namespace=namespace_of(found))
        next_ = Next(end, "it has ended; the controller deletes no run that is not its own")
        waiting = "somebody to delete it"
    else:
        end = facts.commands.kubectl(
            "wait",
            f"pipelinerun/{name_of(found)}",
            "--for=jsonpath={.status.completionTime}",
            "--timeout=1h",
            namespace=namespace_of(found),
        )
        next_ = Next(end, "wait until it has ended")
        waiting = "that run to end"
    said_by = [f"{m.get('manager')}" for m in items(metadata(found).get("managedFields")) if isinstance(m, dict)]
    evidence = (f"it carries no {OWNER_UID}; written by {', '.join(dict.fromkeys(said_by)) or 'somebody unknown'}",)
    return Obstacle(Situation.FOREIGN_RUN, said, next_, since=run.started_at, waiting_for=waiting, evidence=evidence)

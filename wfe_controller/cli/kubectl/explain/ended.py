"""Situations of an execution that has ended, and of one that is gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe_controller.api.phases import Phase
from wfe_controller.api.reasons import ConditionReason, ConditionType, FailureReason, SkipReason
from wfe_controller.api.workflowexecution import InvalidSpec, parse_spec
from wfe_controller.cli.kubectl.explain import waiting
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread
from wfe_controller.cli.kubectl.explain.model import Explanation, Next, Situation, Who
from wfe_controller.cli.kubectl.explain.obstacle import Obstacle, again, clear_after_a_look, obstacle
from wfe_controller.cli.kubectl.words import instant, one_line, plural
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import mapping, text
from wfe_controller.locking.record import LockRecord

_STARTED = {
    FailureReason.CANCELLED: Situation.CANCELLED,
    FailureReason.DEADLINE_EXCEEDED: Situation.FAILED_DEADLINE,
    FailureReason.PIPELINE_RUN_DELETED: Situation.RUN_DELETED,
}
_UNSTARTED = {
    FailureReason.CANCELLED: Situation.CANCELLED_BEFORE_START,
    FailureReason.DEADLINE_EXCEEDED: Situation.NEVER_STARTED,
    FailureReason.PERMISSION_DENIED: Situation.PERMISSION_DENIED,
}
_HEADLINES = {
    Situation.CANCELLED: "was cancelled after a step may have started",
    Situation.FAILED_DEADLINE: "failed: it did not end in its time",
    Situation.RUN_DELETED: "failed: somebody deleted its PipelineRun before it had ended",
    Situation.CANCEL_INCOMPLETE: "was given up: a cancellation did not get rid of everything in time",
    Situation.CANCELLED_BEFORE_START: "was cancelled before anything started",
    Situation.NEVER_STARTED: "failed: it could not start in its time",
    Situation.PERMISSION_DENIED: "failed: the controller may not create PipelineRuns",
    Situation.INVALID_SPEC: "failed: its spec cannot be used",
    Situation.MISSING_SERVICE_ACCOUNT: "failed: the service account it runs as does not exist",
}


TO_CORRECT = frozenset(
    {FailureReason.CONFIGURATION_ERROR, FailureReason.IMAGE_PULL_BACK_OFF, FailureReason.RESOURCE_EXHAUSTED}
)
"""Reasons for which the same again ends the same again."""


def ended(facts: Facts) -> Explanation:
    """A terminal phase."""
    if facts.phase == Phase.COMPLETED:
        return _completed(facts)
    if facts.phase == Phase.SKIPPED:
        return _skipped(facts)
    return _failed(facts)


def _completed(facts: Facts) -> Explanation:
    total, duration = facts.status.get("totalSteps"), text(facts.status.get("duration"))
    found = obstacle(facts)
    cooling = found if found is not None and found.situation is Situation.COOLDOWN else None
    notes = [one_line(text(mapping(facts.status.get("pipelineRunStatus")).get("message")))]
    if cooling is not None:
        notes.append(cooling.said)
    did = plural(total, "task") if isinstance(total, int) else "its tasks"
    return facts.told(
        Situation.COMPLETED,
        f"completed{f' in {duration}' if duration else ''}; there is nothing to do",
        Next(facts.commands.on("tree", facts.key), "shows what it did"),
        since=facts.at("completionTime"),
        allowed_at=cooling.allowed_at if cooling is not None else None,
        evidence=tuple(note for note in notes if note),
        changed=f"{did} completed" if total != 1 else "1 task completed",
    )


def _done_since(facts: Facts) -> str:
    """The execution of the same workflow that completed on the target after this one ended; "" = none is known."""
    record, ended_at = facts.record, facts.at("completionTime")
    last = record.last_execution if isinstance(record, LockRecord) else None
    if last is None or ended_at is None or last.uid == facts.uid or last.outcome != Phase.COMPLETED:
        return ""
    same = last.workflow_id == facts.workflow_id
    return last.name if same and last.completed_at is not None and last.completed_at >= ended_at else ""


def _repeats(next_: Next) -> bool:
    """Whether the command creates the same again as it was."""
    words = next_.command.split()
    return words[2:3] == ["retry"] and "--edit" not in words


def _only_if_needed(facts: Facts, next_: Next, notes: list[str]) -> Next:
    """Nobody should repeat at night what another execution has done meanwhile; ``notes`` gets a line that says so."""
    name = _done_since(facts)
    if not name or next_.command.split()[2:3] != ["retry"]:
        return next_
    notes.append(f"since then {name}, the same workflow, has completed on the target")
    return Next(next_.command, f"only if it is still needed: {next_.why}")


def _skipped(facts: Facts) -> Explanation:
    details = mapping(facts.status.get("skipDetails"))
    why = _why_skipped(details)
    found = obstacle(facts)
    nothing = "nothing: it was refused before anything was done"
    if found is None:
        notes: list[str] = []
        next_ = _only_if_needed(facts, again(facts, "it stays skipped; this creates it again under a new name"), notes)
        return facts.told(
            Situation.SKIPPED,
            f"was skipped: {why}; nothing stands in the way any more",
            next_,
            since=facts.at("completionTime"),
            allowed_at=facts.now,
            evidence=tuple(notes),
            changed=nothing,
        )
    return _stands(facts, found, f"was skipped: {why}", nothing)


def _stands(facts: Facts, found: Obstacle, headline: str, changed: str) -> Explanation:
    notes: list[str] = []
    next_ = _only_if_needed(facts, found.next, notes)
    return facts.told(
        found.situation,
        headline,
        next_,
        since=found.since or facts.at("completionTime"),
        waiting_for=found.waiting_for,
        allowed_at=found.allowed_at,
        evidence=(f"now {found.said}", *found.evidence, *notes),
        changed=changed,
    )


def _why_skipped(details: Mapping[str, Any]) -> str:
    other, before = mapping(details.get("conflictingWorkflow")), mapping(details.get("recentRemediation"))
    match text(details.get("reason")):
        case SkipReason.RESOURCE_BUSY:
            name = text(other.get("name"))
            return (
                "a PipelineRun that is not ours has the name of its run"
                if name in ("", "unknown")
                else f"{name} was working on its target"
            )
        case SkipReason.RECENTLY_REMEDIATED:
            ended_ = "succeeded there" if before.get("outcome") == "Completed" else "failed there before its first step"
            return f"the same workflow had just {ended_} ({text(before.get('name')) or 'unknown'})"
        case SkipReason.EXHAUSTED_RETRIES:
            return "its workflow had failed too often in a row on its target"
        case SkipReason.PREVIOUS_EXECUTION_FAILED:
            return f"its target was blocked by {text(before.get('name')) or 'an earlier execution'}"
        case other_reason:
            return other_reason or "no reason was recorded"


def _failed(facts: Facts) -> Explanation:
    details = mapping(facts.status.get("failureDetails"))
    executed = details.get("wasExecutionFailure") is not False
    situation = _situation(facts, details, executed=executed)
    found = obstacle(facts)
    evidence = [*_evidence(details)]
    next_ = found.next if found is not None else again(facts)
    if not executed and isinstance(facts.record, Unread):
        next_ = again(facts, "creates it again; the controller looks at the lock before it starts anything")
    waiting_for = found.waiting_for if found is not None else ""
    match situation:
        case Situation.INVALID_SPEC:
            evidence = [*_problems(facts)]
            next_ = Next(facts.commands.on("retry", facts.key, "--edit"), "opens a copy in your editor to correct it")
        case Situation.MISSING_SERVICE_ACCOUNT:
            account = _missing_account(facts, details)
            make = facts.commands.kubectl("create", "serviceaccount", account, namespace=facts.execution)
            next_ = Next(make, "creates it; or correct execution.serviceAccount, if another one is meant; then retry")
            evidence.append(f"ServiceAccount {facts.execution}/{account} does not exist now either")
        case Situation.PERMISSION_DENIED:
            next_ = Next(waiting.apply_rights(facts), f"{waiting.RIGHTS}; then retry")
    if found is not None and found.situation not in (Situation.WAITING_FOR_RELEASE,):
        evidence.append(f"now {found.said}")
        evidence += [line for line in found.evidence if line.startswith(("Event ", "still there"))]
    next_ = _only_if_needed(facts, next_, evidence)
    if not executed and text(details.get("reason")) in TO_CORRECT and _repeats(next_):
        mend = "correct what the evidence names first (with --edit, if it is in the request)"
        next_ = Next(next_.command, f"{mend}; {next_.why}")
    cleared = mapping(facts.status.get("blockClearance"))
    if cleared:
        by, why = text(cleared.get("clearedBy")), one_line(text(cleared.get("clearReason")))
        at = parse_rfc3339(cleared.get("clearedAt"))
        evidence.append(f"its block was cleared by {by}{f' at {instant(at)}' if at else ''}: {why}")
    return facts.told(
        situation,
        _headline(situation, details),
        next_,
        since=facts.at("completionTime"),
        waiting_for=waiting_for,
        allowed_at=found.allowed_at if found is not None else facts.now,
        evidence=tuple(dict.fromkeys(line for line in evidence if line)),
        changed=_changed(facts, executed=executed),
    )


def _situation(facts: Facts, details: Mapping[str, Any], *, executed: bool) -> Situation:
    reason = text(details.get("reason"))
    known = {str(r): r for r in FailureReason}
    if facts.condition(ConditionType.CANCELLING).get("reason") == ConditionReason.CANCEL_INCOMPLETE:
        return Situation.CANCEL_INCOMPLETE
    if executed:
        return _STARTED.get(known.get(reason, FailureReason.UNKNOWN), Situation.FAILED_EXECUTION)
    if reason == FailureReason.CONFIGURATION_ERROR:
        if _missing_account(facts, details):
            return Situation.MISSING_SERVICE_ACCOUNT
        return Situation.INVALID_SPEC if _problems(facts) else Situation.FAILED_BEFORE_START
    return _UNSTARTED.get(known.get(reason, FailureReason.UNKNOWN), Situation.FAILED_BEFORE_START)


def _headline(situation: Situation, details: Mapping[str, Any]) -> str:
    if situation in _HEADLINES:
        return _HEADLINES[situation]
    reason, code = text(details.get("reason")) or "Unknown", details.get("exitCode")
    if situation is Situation.FAILED_BEFORE_START:
        return f"failed before its first step ({reason})"
    step, task = text(details.get("failedStepName")), text(details.get("failedTaskName"))
    where = f" in step {step} of task {task}" if step and task else f" in task {task}" if task else ""
    with_code = f" with exit code {code}" if isinstance(code, int) else ""
    return f"failed{where}{with_code} ({reason})"


def _evidence(details: Mapping[str, Any]) -> list[str]:
    """What proves it: message, container, and the last words of its log."""
    out = [one_line(text(details.get("message")))]
    kept = mapping(details.get("evidence"))
    if kept:
        where = f"pod {text(kept.get('pod'))}" if kept.get("pod") else "its pod"
        container = f", container {text(kept.get('container'))}" if kept.get("container") else ""
        code = f", exit code {kept['exitCode']}" if isinstance(kept.get("exitCode"), int) else ""
        reason = f" ({text(kept.get('podReason'))})" if kept.get("podReason") else ""
        out.append(f"{where}{container}{code}{reason}")
        tail = [line for line in text(kept.get("logTail")).splitlines() if line.strip()]
        out += [f"log: {one_line(line)}" for line in tail[-3:]]
    return [line for line in out if line]


def _changed(facts: Facts, *, executed: bool) -> str:
    if not executed:
        return "nothing: no step ever started"
    done, total = facts.status.get("completedSteps"), facts.status.get("totalSteps")
    many = f"{done or 0} of {total} tasks had completed and were not undone" if isinstance(total, int) else ""
    return f"a step may have started; {many or 'nothing was undone'}: the state of the target is unknown"


def _problems(facts: Facts) -> list[str]:
    """What is wrong with the spec, one line each."""
    try:
        parse_spec(facts.obj)
    except InvalidSpec as invalid:
        return [str(problem) for problem in invalid.problems[:5]]
    return []


def _missing_account(facts: Facts, details: Mapping[str, Any]) -> str:
    """The account that the failure names and that does not exist now; "" = none."""
    message = text(details.get("message"))
    return next((name for name, there in facts.accounts.items() if there is False and repr(name) in message), "")


def gone(facts: Facts) -> Explanation:
    """The execution does not exist; what does its target remember of it?"""
    record = facts.record
    if not isinstance(record, LockRecord):
        return facts.told(
            Situation.GONE,
            "does not exist, and no target remembers it",
            Next(facts.commands.wfe("get", namespace=facts.key.namespace), "lists what there is"),
        )
    holder, block, last = record.holder, record.block, record.last_execution
    if holder is not None and holder.name == facts.key.name:
        return facts.told(
            Situation.GONE_HOLDING,
            "does not exist any more, and still holds its target: somebody took its finalizer off",
            Next(
                facts.commands.wfe("locks", record.target), "what it left behind is ended; then the target is blocked"
            ),
            since=holder.acquired_at,
            waiting_for="the controller to end what it left behind",
            changed="unknown: its run may have gone on",
        )
    if block is not None and block.by_name == facts.key.name:
        return facts.told(
            Situation.GONE_BLOCKING,
            f"does not exist any more, and its target is still blocked by it ({block.reason})",
            clear_after_a_look(facts),
            since=block.since,
            waiting_for="a person who looks at the target and clears the block",
            evidence=(one_line(block.message), *facts.refusals(block.since)),
            changed="the state of the target is unknown",
        )
    if last is None:
        return facts.told(
            Situation.GONE,
            "does not exist any more, and its target does not remember how it ended",
            Next(facts.commands.wfe("locks", record.target), "shows what its target remembers"),
        )
    return facts.told(
        Situation.GONE,
        f"does not exist any more; it ended as {last.outcome}",
        Next(facts.commands.wfe("locks", record.target), "shows what its target remembers"),
        since=last.completed_at,
        holder=Who(holder.namespace, holder.name, holder.uid, holder.acquired_at) if holder is not None else None,
    )

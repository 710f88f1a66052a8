"""``tree``: one execution with its lock, run, tasks, pods and steps, and how far each is. ``build`` and ``drawn`` are
pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from wfe_controller.api.names import TEKTON_PIPELINE_TASK, TEKTON_TASK_RUN
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread
from wfe_controller.cli.kubectl.explain.gather import gather
from wfe_controller.cli.kubectl.options import Places, cluster_options, execution_argument, output_option
from wfe_controller.cli.kubectl.output import json_text, machine
from wfe_controller.cli.kubectl.session import Session, run
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.tables import elided
from wfe_controller.cli.kubectl.views import duration, shown_phase
from wfe_controller.cli.kubectl.words import age, between, cells, one_line
from wfe_controller.kube.objects import Json, condition, items, labels_of, mapping, name_of, spec, status, text
from wfe_controller.locking.record import LockRecord

REFRESH = 2.0
BAR = 20
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@dataclass(frozen=True, slots=True)
class Node:
    """``state``: one word; ``detail``: what there is to say besides, "" = nothing; ``progress``: 0 to 100, if known."""

    kind: str
    name: str
    state: str
    detail: str = ""
    children: tuple[Node, ...] = field(default=())
    progress: int | None = None

    def to_json(self) -> Json:
        own = {"kind": self.kind, "name": self.name, "state": self.state, "detail": self.detail}
        out: Json = {key: value for key, value in own.items() if value}
        if self.progress is not None:
            out["progress"] = self.progress
        if self.children:
            out["children"] = [child.to_json() for child in self.children]
        return out


def build(facts: Facts) -> Node:
    """The tree of one execution; what could not be read is a node that says so."""
    found = facts.status.get("progress")
    percent = found if isinstance(found, int) else None
    took = duration(facts.obj, facts.now)
    done = "" if percent is None else f"{percent}%"
    detail = ", ".join(word for word in (done, facts.target, facts.reason, took) if word)
    children = [_lock_node(facts), *(_run_nodes(facts) if facts.engine == "tekton" else _step_nodes(facts))]
    return Node("WorkflowExecution", str(facts.key), shown_phase(facts.obj), detail, tuple(children), percent)


def _bar(percent: int) -> str:
    filled = round(BAR * max(0, min(100, percent)) / 100)
    return f"[{'#' * filled}{'.' * (BAR - filled)}]"


def _lock_node(facts: Facts) -> Node:
    record = facts.record
    if isinstance(record, Unread):
        return Node("TargetLock", facts.target, "NotRead", record.why)
    if record is None:
        return Node("TargetLock", facts.target, "Free", "nothing is remembered of it")
    if not isinstance(record, LockRecord):
        return Node("TargetLock", name_of(mapping(facts.lock)), "Unreadable", str(record))
    if record.holder is not None:
        mine = record.holder.uid == facts.uid
        who = "this execution" if mine else f"{record.holder.namespace}/{record.holder.name}"
        for_ = age((facts.now - record.holder.acquired_at).total_seconds())
        blocked = ", and blocked" if record.block is not None else ""
        return Node("TargetLock", record.name, "Held", f"by {who} for {for_}{blocked}")
    if record.block is not None:
        by = record.block.by_name or record.block.by_uid
        return Node("TargetLock", record.name, "Blocked", f"{record.block.reason}, by {by}")
    last = record.last_execution
    return Node("TargetLock", record.name, "Free", f"last: {last.name} ({last.outcome})" if last is not None else "")


def _run_nodes(facts: Facts) -> Iterator[Node]:
    if isinstance(facts.run, Unread):
        yield Node("PipelineRun", "", "NotRead", facts.run.why)
        return
    run_ = facts.own_run
    if run_ is None:
        ref = mapping(facts.status.get("pipelineRunRef"))
        if ref:
            yield Node("PipelineRun", text(ref.get("name")), "Gone", "deleted, or past its retention")
        return
    said = condition(run_, "Succeeded")
    state = _state(said) if spec(run_).get("status") != "PipelineRunPending" else "Pending"
    done, total = facts.status.get("completedSteps"), facts.status.get("totalSteps")
    counted = f"{done or 0} of {total} tasks" if isinstance(total, int) and total else ""
    reason = text(said.get("reason"))
    detail = ", ".join(word for word in (counted, reason if reason != state else "") if word)
    yield Node("PipelineRun", name_of(run_), state, detail, tuple(_task_nodes(facts, run_)))


def _state(said: Mapping[str, Any]) -> str:
    return {"True": "Succeeded", "False": "Failed", "Unknown": "Running"}.get(text(said.get("status")), "Waiting")


def planned_tasks(run_: Json | None) -> list[Mapping[str, Any]]:
    """The tasks of the resolved pipeline in their order, finally tasks last."""
    pipeline = mapping(status(run_ or {}).get("pipelineSpec"))
    return [mapping(task) for key in ("tasks", "finally") for task in items(pipeline.get(key))]


def _task_nodes(facts: Facts, run_: Json) -> Iterator[Node]:
    if isinstance(facts.task_runs, Unread):
        yield Node("TaskRun", "", "NotRead", facts.task_runs.why)
        return
    mine = {text(labels_of(t).get(TEKTON_PIPELINE_TASK)) or name_of(t): t for t in facts.task_runs}
    planned = [text(task.get("name")) for task in planned_tasks(run_)]
    for name in dict.fromkeys([*planned, *mine]):
        task_run = mine.get(name)
        if task_run is None:
            yield Node("Task", name, "Waiting")
            continue
        said = condition(task_run, "Succeeded")
        reason, state = text(said.get("reason")), _state(said)
        current = status(task_run)
        took = between(current.get("startTime"), current.get("completionTime") or facts.now)
        detail = ", ".join(word for word in (reason if reason != state else "", took) if word)
        yield Node("Task", name, state, detail, tuple(_pod_nodes(facts, task_run)))


def _pod_nodes(facts: Facts, task_run: Json) -> Iterator[Node]:
    steps = tuple(_tekton_steps(task_run, facts.now))
    if isinstance(facts.pods, Unread):
        yield Node("Pod", text(status(task_run).get("podName")), "NotRead", facts.pods.why, steps)
        return
    own = [p for p in facts.pods if labels_of(p).get(TEKTON_TASK_RUN) == name_of(task_run)]
    for pod in own:
        why = _not_running(pod)
        node = text(spec(pod).get("nodeName"))
        detail = ", ".join(word for word in (why, f"on {node}" if node else "") if word)
        yield Node("Pod", name_of(pod), text(status(pod).get("phase")) or "Unknown", detail, steps)
    if not own:
        yield from steps


def _not_running(pod: Json) -> str:
    """Why a pod that waits does not run: its scheduler's or its first waiting container's word."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return text(scheduled.get("reason"))
    states = [mapping(mapping(s).get("state")) for s in items(status(pod).get("containerStatuses"))]
    return next((text(mapping(s["waiting"]).get("reason")) for s in states if "waiting" in s), "")


def _tekton_steps(task_run: Json, now: datetime) -> Iterator[Node]:
    for step in map(mapping, items(status(task_run).get("steps"))):
        name = text(step.get("name"))
        ended, running = mapping(step.get("terminated")), mapping(step.get("running"))
        if ended:
            code, took = ended.get("exitCode"), between(ended.get("startedAt"), ended.get("finishedAt"))
            state = "Succeeded" if code == 0 else "Failed"
            yield Node("Step", name, state, f"exit code {code}{f', {took}' if took else ''}")
        elif running:
            yield Node("Step", name, "Running", between(running.get("startedAt"), now))
        else:
            yield Node("Step", name, "Waiting", text(mapping(step.get("waiting")).get("reason")))


def _step_nodes(facts: Facts) -> Iterator[Node]:
    """Steps of the steps engine: from status when it has planned them, else from the spec."""
    seen = {text(mapping(s).get("name")): mapping(s) for s in items(facts.status.get("steps"))}
    for step in map(mapping, items(mapping(spec(facts.obj).get("workflowDefinition")).get("steps"))):
        name = text(step.get("name"))
        current = seen.get(name, {})
        took = between(current.get("startTime"), current.get("completionTime") or facts.now)
        after = ", ".join(text(d) for d in items(step.get("dependsOn")))
        words = (text(step.get("action")), text(current.get("reason")), took, f"after {after}" if after else "")
        yield Node("Step", name, text(current.get("phase")) or "Waiting", ", ".join(w for w in words if w))


def drawn(node: Node, style: Style) -> str:
    """The tree with lines; details are shortened to the width."""
    return "\n".join(_drawn(node, style, "", ""))


def _drawn(node: Node, style: Style, first: str, rest: str) -> Iterator[str]:
    tee, last, bar = ("├─ ", "└─ ", "│  ") if style.unicode else ("|- ", "`- ", "|  ")
    kind = "" if node.kind == "WorkflowExecution" else f"{node.kind} "
    head, state, detail = f"{first}{kind}{one_line(node.name)}".rstrip(), one_line(node.state), one_line(node.detail)
    barred = detail if node.progress is None else f"{_bar(node.progress)} {detail}"
    if not style.cut:
        detail = barred
    else:
        state = elided(state, style.width // 4, style)
        head = elided(head, style.width - cells(state) - 2, style)
        if cells(head) + cells(state) + 4 + cells(barred) <= style.width:
            detail = barred
        detail = elided(detail, max(0, style.width - cells(head) - cells(state) - 4), style)
    colour = {"Succeeded": "Completed", "Blocked": "Failed", "Free": ""}.get(node.state, node.state)
    yield f"{head}  {style.phase(colour, state)}{f'  {style.dim(detail)}' if detail else ''}"
    for index, child in enumerate(node.children):
        at_end = index == len(node.children) - 1
        yield from _drawn(child, style, rest + (last if at_end else tee), rest + ("   " if at_end else bar))


def _shown(node: Node, style: Style, output: str | None, *, live: bool) -> str:
    """Once, or one of many: an object a line, a YAML document, or the screen anew."""
    if output == "json" and live:
        return json_text(node.to_json())
    if output:
        return f"{'---' + chr(10) if live else ''}{machine(node.to_json(), output)}"
    return f"{_CLEAR if live and style.colour else ''}{drawn(node, style)}"


@click.command()
@execution_argument
@click.option("-w", "--watch", "live", is_flag=True, help="Draw it again until it has ended.")
@output_option()
@cluster_options
def tree(name: str, live: bool, output: str | None, places: Places) -> None:
    """Show one execution with its lock, run, tasks, pods and steps."""
    style = Style.of_terminal()

    async def work(session: Session) -> None:
        while True:
            facts = await gather(session, await session.execution_named(name))
            node = build(facts)
            click.echo(_shown(node, style, output, live=live))
            if not live or facts.ended:
                return
            await session.clock.sleep(REFRESH)

    run(places, work)

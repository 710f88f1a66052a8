"""Situations of an execution whose run exists. Pure."""

from __future__ import annotations

from wfe_controller.api.names import OWNER_UID
from wfe_controller.api.reasons import ConditionType, WaitReason
from wfe_controller.cli.kubectl.explain import waiting
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread, waiting_pods
from wfe_controller.cli.kubectl.explain.model import Explanation, Next, Situation
from wfe_controller.cli.kubectl.words import age, one_line
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import Json, items, mapping, metadata, name_of, namespace_of, spec, status, text

DRAIN_PATIENCE = 15.0
"""Seconds within which the pods of a run that has ended normally end too."""
RESOLVING = "ResolvingPipelineRef"

IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "PullImageFailed", "InvalidImageName"})
NO_ROOM = frozenset({"Unschedulable", "ExceededNodeResources", "ExceededResourceQuota"})


def running(facts: Facts) -> Explanation:
    """Phase Running, in the order of what an operator has to know first."""
    if facts.true_since(ConditionType.CANCELLING) is not None:
        return _cancelling(facts)
    if facts.true_since(ConditionType.LOCK_CONFLICT) is not None:
        return _conflict(facts)
    match facts.reason:
        case WaitReason.PAUSED:
            return waiting.paused(facts)
        case WaitReason.LOCK_UNKNOWN:
            return waiting.lock_unknown(facts)
        case WaitReason.WAITING_FOR_RELEASE:
            return _draining(facts)
    if waiting_pods(facts):
        return _stuck_pod(facts)
    if facts.reason == RESOLVING:
        return _resolving(facts)
    if facts.true_since(ConditionType.TEKTON_PIPELINE_RUNNING) is None:
        return facts.told(
            Situation.STARTING,
            "its run was created; no step has started yet",
            waiting.watch(facts, "follow it until it has ended"),
            since=facts.at("startTime"),
            waiting_for="its first pod to start",
            ends_at=facts.at("deadlineAt"),
            evidence=_run_says(facts),
            changed="nothing yet: no step has started",
        )
    return _plainly(facts)


def _plainly(facts: Facts) -> Explanation:
    done, total, percent = (facts.status.get(k) for k in ("completedSteps", "totalSteps", "progress"))
    steps = _running_steps(facts)
    doing = f"running: {done or 0} of {total or '?'} tasks done ({percent or 0} %)"
    return facts.told(
        Situation.RUNNING,
        doing,
        waiting.watch(facts, "follow it until it has ended"),
        since=facts.at("startTime"),
        waiting_for=", ".join(steps[:3]) or "the pipeline to end",
        ends_at=facts.at("deadlineAt"),
        evidence=_run_says(facts),
        changed=f"{done or 0} of {total or '?'} tasks have completed",
    )


def _running_steps(facts: Facts) -> list[str]:
    """``step act of task remediate, for 12s`` of every step that runs."""
    if isinstance(facts.task_runs, Unread):
        return []
    out = []
    for task_run in facts.task_runs:
        for step in map(mapping, items(status(task_run).get("steps"))):
            began = parse_rfc3339(mapping(step.get("running")).get("startedAt"))
            if began is not None:
                task = mapping(metadata(task_run).get("labels")).get("tekton.dev/pipelineTask") or name_of(task_run)
                for_ = age((facts.now - began).total_seconds())
                out.append(f"step {text(step.get('name'))} of task {task}, for {for_}")
    return out


def _run_says(facts: Facts) -> tuple[str, ...]:
    seen = mapping(facts.status.get("pipelineRunStatus"))
    said = f"{text(seen.get('reason'))}: {one_line(text(seen.get('message')))}".strip(": ")
    ref = mapping(facts.status.get("pipelineRunRef"))
    run = f"PipelineRun {text(ref.get('namespace'))}/{text(ref.get('name'))}" if ref else "its PipelineRun"
    return (f"{run} says {said}",) if said else ()


def _resolving(facts: Facts) -> Explanation:
    params = [mapping(p) for p in items(mapping(spec(facts.own_run or {}).get("pipelineRef")).get("params"))]
    bundle = next((text(p.get("value")) for p in params if p.get("name") == "bundle"), "")
    bundle = bundle or text(mapping(spec(facts.obj).get("workflowRef")).get("containerImage"))
    return facts.told(
        Situation.RESOLVING,
        "Tekton is fetching its bundle, which takes longer than it should",
        waiting.watch(facts, "it fails by itself when the bundle does not come; nothing is changed then"),
        since=facts.at("startTime"),
        waiting_for=f"the bundle {bundle}",
        ends_at=facts.at("deadlineAt"),
        evidence=(*_run_says(facts), "does the image exist, and can Tekton's resolvers reach the registry?"),
        changed="nothing yet: no step has started",
    )


def _stuck_pod(facts: Facts) -> Explanation:
    first = waiting_pods(facts)[0]
    reason, pod = text(first.get("reason")), text(first.get("pod"))
    where = f"pod {pod}" if pod else f"the pod of task {text(first.get('task'))}"
    said = one_line(text(first.get("message")))
    started = facts.true_since(ConditionType.TEKTON_PIPELINE_RUNNING) is not None
    changed = "an earlier task has run; see tree" if started else "nothing yet: no step has started"
    evidence = (f"{where}: {reason}{f': {said}' if said else ''}", *facts.warnings(facts.at("startTime"), 1))
    if reason in IMAGE:
        situation, headline = Situation.IMAGE_PULL, "its pod cannot start: an image cannot be pulled"
        next_ = waiting.cancel(facts, "a wrong image does not mend itself; correct the workflow, then retry")
        waits = "an image that can be pulled"
    elif reason in NO_ROOM:
        situation, headline = Situation.UNSCHEDULABLE, "its pod cannot start: there is no room for it"
        next_ = waiting.watch(facts, "it starts as soon as there is room, and fails by itself when none comes")
        waits = "a node with room, or a quota"
    else:
        situation, headline = Situation.POD_WAITING, f"its pod cannot start: {reason}"
        next_ = waiting.cancel(facts, "correct what the pod names, then retry")
        waits = f"{where} to start"
    return facts.told(
        situation,
        headline,
        next_,
        since=facts.at("startTime"),
        waiting_for=waits,
        ends_at=facts.at("deadlineAt"),
        evidence=evidence,
        changed=changed,
    )


def _draining(facts: Facts) -> Explanation:
    left = facts.live_pods
    ended = parse_rfc3339(status(facts.own_run or {}).get("completionTime"))
    patient = ended is not None and (facts.now - ended).total_seconds() < DRAIN_PATIENCE
    if patient:
        next_ = waiting.watch(facts, "follow it: that takes seconds")
    elif left:
        ask = facts.commands.kubectl(
            "delete", "pod", *(name_of(pod) for pod in left[:5]), namespace=namespace_of(left[0])
        )
        next_ = Next(ask, "ends them in order; on a node that is lost they stay until the node is dealt with")
    else:
        selector = f"--selector={OWNER_UID}={facts.uid}"
        ask = facts.commands.kubectl("get", "pod", selector, "-o", "wide", namespace=facts.execution)
        next_ = Next(ask, "which pods are left, and on which node")
    return facts.told(
        Situation.DRAINING,
        "the pipeline has ended, but its pods have not: the target stays held until they have",
        next_,
        since=ended or facts.at("startTime"),
        waiting_for=", ".join(name_of(pod) for pod in left[:5]) or facts.message,
        ends_at=facts.at("deadlineAt"),
        evidence=tuple(_pod_line(pod) for pod in left[:3]) or _run_says(facts),
        changed="the pipeline has ended; a pod that goes on may still change the target",
    )


def _pod_line(pod: Json) -> str:
    node = text(spec(pod).get("nodeName")) or "no node"
    going = ", being deleted" if metadata(pod).get("deletionTimestamp") else ""
    return f"pod {name_of(pod)} is {text(status(pod).get('phase')) or 'in no phase'} on {node}{going}"


def _cancelling(facts: Facts) -> Explanation:
    found = facts.condition(ConditionType.CANCELLING)
    since = facts.true_since(ConditionType.CANCELLING)
    left = [name_of(pod) for pod in facts.live_pods[:5]]
    return facts.told(
        Situation.CANCELLING,
        f"being ended ({text(found.get('reason'))})",
        waiting.watch(facts, "follow it until it has ended; at the deadline it ends in any case"),
        since=since,
        waiting_for=f"its pods: {', '.join(left)}" if left else "its run and pods to end",
        ends_at=facts.at("deadlineAt"),
        evidence=(one_line(text(found.get("message"))), *facts.warnings(since)),
        changed="what its steps have done stays done: a cancellation rolls nothing back",
    )


def _conflict(facts: Facts) -> Explanation:
    found = facts.condition(ConditionType.LOCK_CONFLICT)
    return facts.told(
        Situation.LOCK_CONFLICT,
        "its run is live, and the lock of its target is in other hands: two may act at once",
        waiting.cancel(facts, "ends this one; then look for a second installation (kubectl wfe doctor)"),
        since=facts.true_since(ConditionType.LOCK_CONFLICT),
        waiting_for="nothing: it runs on, and launches nothing new",
        ends_at=facts.at("deadlineAt"),
        evidence=(one_line(text(found.get("message"))), *facts.warnings()),
        changed="its steps go on",
    )

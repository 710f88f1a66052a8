"""Situations of an execution that has not started, or that nobody works on. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from wfe_controller.api.names import (
    COMPONENT,
    DEFAULT_CONTROLLER_NAMESPACE,
    DEFAULT_EXECUTION_NAMESPACE,
    FINALIZER,
)
from wfe_controller.api.reasons import ConditionReason, ConditionType, WaitReason
from wfe_controller.cli.kubectl.explain.facts import Facts, Leader, Unread
from wfe_controller.cli.kubectl.explain.model import Explanation, Next, Situation
from wfe_controller.cli.kubectl.explain.obstacle import unreadable
from wfe_controller.cli.kubectl.words import WHY, age, since
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import annotations_of, finalizers_of, is_deleting, metadata, spec, text, uid_of
from wfe_controller.locking.record import LockUnreadable

UNSEEN_PATIENCE = 20.0
"""Seconds within which a controller that leads has looked at a new object, even right after a takeover."""
RELEASE_PATIENCE = 60.0
"""Seconds after which a release takes longer than it should."""
RIGHTS = "gives the controller its rights (with --watch-namespace for each, if it watches only some)"
TEKTON_RELEASE = "https://storage.googleapis.com/tekton-releases/pipeline/latest/release.yaml"


def nobody_leads(facts: Facts) -> Explanation:
    """No controller, or one that has gone silent: nothing goes on, whatever the status says."""
    lease = facts.lease if isinstance(facts.lease, dict) else {}
    renewed = parse_rfc3339(spec(lease).get("renewTime"))
    elsewhere = facts.leads_elsewhere
    if elsewhere:
        why = f"there is one in {', '.join(elsewhere)}: its Lease is held"
    elif facts.leader is Leader.SILENT:
        who = text(spec(lease).get("holderIdentity"))
        why = f"the Lease is held by {who}, which does not renew it"
        if renewed is not None:
            why += f": last at {since(renewed, facts.now)}"
    elif facts.lease is None:
        why = f"there is no Lease in namespace {facts.home}: no controller has ever led there"
    else:
        why = "the Lease is free: the last controller has ended"
    doing = f"in phase {facts.phase}" if facts.phase else "not looked at yet"
    if is_deleting(facts.obj):
        doing = f"being deleted, {doing}"
    return facts.told(
        Situation.NO_LEADER,
        f"{doing}, and no controller leads in {facts.home}"
        if elsewhere
        else f"{doing}, and no controller is at work, so nothing goes on",
        _there(facts, elsewhere[0]) if elsewhere else _start_one(facts),
        since=renewed or facts.created,
        waiting_for="a controller that leads",
        evidence=(why, *((facts.message,) if facts.message else ())),
    )


def _there(facts: Facts, home: str) -> Next:
    """The same question, asked of the installation that there is: another controller is the last thing to start."""
    look = facts.commands.at_home(home).on("explain", facts.key)
    return Next(look, f"the controller and its locks may be in {home}: looks there")


def _start_one(facts: Facts) -> Next:
    """Where the controller runs decides how it is started."""
    deployment = facts.deployment
    if isinstance(deployment, Unread):
        return Next(facts.commands.wfe("doctor", namespace=facts.key.namespace), "says what can be seen of it")
    if deployment is None:
        here = f"no Deployment {COMPONENT} in {facts.home}: this runs the controller here"
        placed = [] if facts.home == DEFAULT_CONTROLLER_NAMESPACE else ["--set", f"controller.namespace={facts.home}"]
        return Next(shlex.join(["wfe-controller", "run", *facts.commands.connection, *placed]), here)
    if spec(deployment).get("replicas") == 0:
        scale = facts.commands.kubectl("scale", f"deployment/{COMPONENT}", "--replicas=2", namespace=facts.home)
        return Next(scale, "its Deployment is scaled to 0")
    restart = facts.commands.kubectl("rollout", "restart", f"deployment/{COMPONENT}", namespace=facts.home)
    return Next(restart, "a restart is always safe: the next process goes on where the last one was")


def deleting(facts: Facts) -> Explanation:
    """It has a deletionTimestamp: who still holds it?"""
    at = parse_rfc3339(metadata(facts.obj).get("deletionTimestamp")) or facts.now
    finalizers = finalizers_of(facts.obj)
    foreign = [name for name in finalizers if name != FINALIZER]
    if FINALIZER not in finalizers and foreign:
        index = finalizers.index(foreign[0])
        path = f"/metadata/finalizers/{index}"
        take_off = facts.commands.kubectl(
            "patch",
            "workflowexecution",
            facts.key.name,
            "--type=json",
            f'-p=[{{"op":"test","path":"{path}","value":"{foreign[0]}"}},{{"op":"remove","path":"{path}"}}]',
            namespace=facts.key.namespace,
        )
        return facts.told(
            Situation.DELETION_HELD,
            f"deleted, and held by {foreign[0]}, a finalizer that is not ours",
            Next(take_off, "only when you are sure that its owner will not come back for it"),
            since=at,
            waiting_for=f"the owner of the finalizer {foreign[0]}",
            evidence=(f"our own work is done: {FINALIZER} is off",),
            changed=_progress(facts),
        )
    return facts.told(
        Situation.DELETING,
        "being deleted: its run is cancelled and its pods are waited for; nothing is rolled back",
        watch(facts, "follow it until it is gone"),
        since=at,
        waiting_for=facts.message or "the controller to release the target",
        ends_at=facts.at("deadlineAt"),
        evidence=facts.warnings(at),
        changed=_progress(facts),
    )


def _progress(facts: Facts) -> str:
    done, total = facts.status.get("completedSteps"), facts.status.get("totalSteps")
    return f"{done or 0} of {total} tasks had completed" if isinstance(total, int) and total else ""


def watch(facts: Facts, why: str) -> Next:
    return Next(facts.commands.on("watch", facts.key), why)


def cancel(facts: Facts, why: str) -> Next:
    return Next(facts.commands.on("cancel", facts.key, "--reason", WHY), why)


def unseen(facts: Facts) -> Explanation:
    """No status at all, although a controller leads, or may."""
    waited = (facts.now - facts.created).total_seconds()
    if waited <= UNSEEN_PATIENCE or facts.leader is not Leader.ALIVE:
        return facts.told(
            Situation.NOT_SEEN,
            "just created: the controller has not looked at it yet",
            watch(facts, "follow it until it has ended"),
            since=facts.created,
            waiting_for="the controller",
        )
    logs = facts.commands.kubectl("logs", f"deployment/{COMPONENT}", "--since=10m", namespace=facts.home)
    return facts.told(
        Situation.NOT_WATCHED,
        f"not looked at for {age(waited)}, although a controller leads",
        Next(logs, "is the namespace in controller.watchNamespaces, and does the log name this object?"),
        since=facts.created,
        waiting_for="a controller that watches this namespace",
        evidence=facts.warnings(),
    )


def pending(facts: Facts) -> Explanation:
    """Phase Pending: status.reason says for what it waits."""
    start = parse_rfc3339(facts.condition(ConditionType.READY).get("lastTransitionTime")) or facts.created
    shared = {"since": start, "ends_at": facts.at("deadlineAt"), "changed": "nothing: no run was started"}
    match facts.reason:
        case WaitReason.PAUSED:
            return paused(facts)
        case WaitReason.ENGINE_UNAVAILABLE:
            return _engine(facts, shared)
        case WaitReason.LOCK_UNKNOWN:
            return lock_unknown(facts)
        case WaitReason.WAITING_FOR_RELEASE:
            return _release(facts, shared)
        case WaitReason.CREATE_RETRYING:
            return _create(facts, shared)
        case _:
            return facts.told(
                Situation.WAITING,
                f"waits ({facts.reason or 'without a reason'})",
                watch(facts, "follow it until it has ended"),
                waiting_for=facts.message,
                evidence=facts.warnings(),
                **shared,
            )


def paused(facts: Facts) -> Explanation:
    """By annotation; who and why stand beside it."""
    notes = annotations_of(facts.obj)
    who, why = text(notes.get("kubernaut.ai/pause-by")), text(notes.get("kubernaut.ai/pause-reason"))
    told = f"paused by {who or 'somebody who left no name'}{f': {why}' if why else ''}"
    return facts.told(
        Situation.PAUSED,
        "paused: nothing is started",
        Next(facts.commands.on("resume", facts.key), "takes the pause off"),
        since=facts.true_since(ConditionType.PAUSED) or facts.created,
        waiting_for="somebody to resume it; deadlines keep running",
        ends_at=facts.at("deadlineAt"),
        evidence=(told,),
        changed="nothing: no run was started",
    )


def _engine(facts: Facts, shared: Mapping[str, object]) -> Explanation:
    missing = isinstance(facts.run, Unread) and "not served" in facts.run.why
    if facts.engine == "tekton":
        why = "Tekton's kinds are not served by this cluster" if missing else ""
        install = facts.commands.kubectl("apply", "--server-side", "-f", TEKTON_RELEASE)
        next_ = Next(install, "it starts by itself within a minute of Tekton's arrival")
    else:
        why = "this version of the controller has no steps engine"
        next_ = cancel(facts, "it cannot run here; nothing is recorded on the target")
    return facts.told(
        Situation.ENGINE_UNAVAILABLE,
        f"waits for the {facts.engine} engine, which is not there",
        next_,
        waiting_for=facts.message or f"the {facts.engine} engine",
        evidence=tuple(line for line in (why,) if line),
        **shared,
    )


def lock_unknown(facts: Facts) -> Explanation:
    record = facts.record
    if isinstance(record, LockUnreadable):
        found = unreadable(facts, str(record))
        next_, evidence = found.next, found.evidence
    else:
        next_, evidence = watch(facts, "until the controller can read it again"), facts.warnings()
    return facts.told(
        Situation.LOCK_UNKNOWN,
        "waits, because the lock of its target cannot be understood",
        next_,
        since=parse_rfc3339(facts.condition(ConditionType.READY).get("lastTransitionTime")) or facts.created,
        waiting_for="a lock that makes sense: on what it does not know the controller does not act",
        ends_at=facts.at("deadlineAt"),
        evidence=evidence,
        changed="nothing: no run was started" if not facts.phase or facts.phase == "Pending" else "",
    )


def _release(facts: Facts, shared: Mapping[str, object]) -> Explanation:
    who, holder = facts.who, facts.holder
    gone = who is not None and who.uid != facts.uid and (holder is None or _other(holder, who.uid))
    if gone:
        return facts.told(
            Situation.WAITING_FOR_ORPHAN,
            f"waits: the target is held by {who}, which does not exist any more",
            watch(facts, "what it left behind is ended after a minute of grace; then the target is blocked"),
            waiting_for=facts.message,
            evidence=(f"the lock names {who}, and there is none with uid {who.uid if who else ''}",),
            **shared,
        )
    start = parse_rfc3339(facts.condition(ConditionType.READY).get("lastTransitionTime")) or facts.created
    waited = (facts.now - start).total_seconds()
    if who is not None and who.uid != facts.uid and waited > RELEASE_PATIENCE:
        look = facts.commands.wfe("explain", who.name, namespace=who.namespace)
        return facts.told(
            Situation.WAITING_FOR_RELEASE,
            f"waits for {who} to release the target, for {age(waited)} now, which takes seconds else",
            Next(look, "says what keeps it from letting go"),
            waiting_for=facts.message or f"{who} to release the target",
            evidence=facts.warnings(),
            **shared,
        )
    return facts.told(
        Situation.WAITING_FOR_RELEASE,
        "waits for the target to be released; that takes seconds",
        watch(facts, "follow it until it has ended"),
        waiting_for=facts.message or "the last holder's cleanup",
        evidence=facts.warnings(),
        **shared,
    )


def _other(holder: object, uid: str) -> bool:
    return isinstance(holder, dict) and uid_of(holder) != uid


def _create(facts: Facts, shared: Mapping[str, object]) -> Explanation:
    refused = text(facts.condition(ConditionType.TEKTON_PIPELINE_CREATED).get("reason"))
    match refused:
        case ConditionReason.RBAC_DENIED:
            next_ = Next(apply_rights(facts), f"{RIGHTS}; it tries again by itself")
        case ConditionReason.QUOTA_EXCEEDED:
            edit = facts.commands.kubectl("edit", "resourcequota", namespace=facts.execution)
            next_ = Next(edit, "raise what is used up; it tries again by itself")
        case _:
            next_ = watch(facts, "it is tried again until the deadline")
    return facts.told(
        Situation.CREATE_RETRYING,
        "the API server refuses its PipelineRun; it is tried again",
        next_,
        waiting_for="the PipelineRun to be accepted",
        evidence=(facts.message, *facts.warnings()) if facts.message else facts.warnings(),
        **shared,
    )


def apply_rights(facts: Facts) -> str:
    """Everything the controller may do, from the binary itself, for the namespaces of this installation."""
    placed = [] if facts.home == DEFAULT_CONTROLLER_NAMESPACE else ["-n", facts.home]
    placed += [] if facts.execution == DEFAULT_EXECUTION_NAMESPACE else ["--execution-namespace", facts.execution]
    made = shlex.join(["wfe-controller", "manifests", "rbac", *placed])
    applied = ["kubectl", "apply", "--server-side", "--force-conflicts", *facts.commands.connection, "-f", "-"]
    return f"{made} | {shlex.join(applied)}"

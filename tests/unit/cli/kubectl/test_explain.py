"""explain as a pure function: every situation, its cause, evidence, holder, next time and its ONE next command."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import runs
from tests.support.explained import (
    KEY,
    NOW,
    OTHER_UID,
    TARGET,
    UID,
    ago,
    ahead,
    blocked,
    condition,
    facts,
    failed,
    held,
    lease,
    lock,
    running,
    skipped,
    wfe,
)
from wfe_controller.cli.kubectl.explain.decide import explain
from wfe_controller.cli.kubectl.explain.facts import Facts, Unread
from wfe_controller.cli.kubectl.explain.gather import _read, leases_elsewhere, looked_twice
from wfe_controller.cli.kubectl.explain.model import Situation
from wfe_controller.cli.kubectl.explain.text import as_text
from wfe_controller.cli.kubectl.session import Session
from wfe_controller.cli.kubectl.style import Style
from wfe_controller.cli.kubectl.words import CommandLine
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.clock import Clock, rfc3339
from wfe_controller.kube.errors import Unavailable
from wfe_controller.kube.objects import Json

HERE = "-n shop"
CLEAR = f"kubectl wfe clear-block {TARGET} --reason '<what you found on the target>'"
RETRY = f"kubectl wfe retry restart-web {HERE}"
WATCH = f"kubectl wfe watch restart-web {HERE}"
CANCEL = f"kubectl wfe cancel restart-web --reason '<why>' {HERE}"
EXEC = "kubectl -n kubernaut-workflows"
FORBIDDEN = Unread("TargetLock", "forbidden")


@dataclass(frozen=True)
class Case:
    """``says``: what headline, waiting and evidence must contain; ``holder``: name, "" = nobody, None = not said."""

    facts: Facts
    situation: str
    next: str
    says: tuple[str, ...] = ()
    holder: str | None = ""
    allowed: str = ""
    changed: str = ""


def waiting(reason: str, message: str = "", **more: Any) -> Json:
    fields = {"reason": reason, "message": message, "deadlineAt": ahead(900)}
    return wfe("Pending", **{**fields, "conditions": [condition("Ready", "False", reason)], **more})


def entry(failures: int = 0, **more: str) -> Json:
    return {"workflows": [{"workflowId": "restart", "consecutiveFailures": failures, **more}]}


def last(name: str = "earlier", outcome: str = "Failed") -> Json:
    told = {"uid": OTHER_UID, "name": name, "workflowId": "restart", "outcome": outcome}
    return {"lastExecution": {**told, "completedAt": ago(100), "releasedAt": ago(99)}}


def stuck(reason: str, message: str = "") -> Json:
    pods = [{"pod": "p-pod", "task": "act", "reason": reason, "message": message}]
    return running(
        conditions=[],
        reason=reason,
        pipelineRunStatus={"status": "Unknown", "reason": "Running", "waiting": pods},
    )


def pod(name: str = "left-pod", phase: str = "Running") -> Json:
    return {
        "metadata": {"name": name, "namespace": "kubernaut-workflows"},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": phase},
    }


MINE = lock(**held())
OTHERS = lock(**held("other", OTHER_UID, 40))
OTHER = wfe("Running", name="other", uid=OTHER_UID)

CASES = {
    "nobody-ever-led": Case(
        facts(wfe(), lease=None),
        "no-leader",
        "wfe-controller run",
        ("not looked at yet", "there is no Lease in namespace kubernaut-system"),
    ),
    "leader-silent": Case(
        facts(running(), lock=MINE, lease=lease(95), deployment={"spec": {"replicas": 2}}),
        "no-leader",
        "kubectl -n kubernaut-system rollout restart deployment/workflowexecution-controller",
        ("in phase Running", "pod-a_1, which does not renew it", "(95s ago)"),
        "restart-web",
    ),
    "scaled-to-0": Case(
        facts(wfe(), lease=lease(holder=""), deployment={"spec": {"replicas": 0}}),
        "no-leader",
        "kubectl -n kubernaut-system scale deployment/workflowexecution-controller --replicas=2",
        ("the Lease is free",),
    ),
    "silent-and-deployment-forbidden": Case(
        facts(wfe(), lease=lease(95), deployment=Unread("Deployment", "forbidden")),
        "no-leader",
        f"kubectl wfe doctor {HERE}",
    ),
    "deletion-without-a-controller": Case(
        facts(running(deleting=40), lock=MINE, lease=None),
        "no-leader",
        "wfe-controller run",
        ("being deleted",),
        "restart-web",
    ),
    "just-created": Case(facts(wfe(created=3)), "not-seen", WATCH, ("has not looked at it yet",)),
    "not-watched": Case(
        facts(wfe(created=90)),
        "not-watched",
        "kubectl -n kubernaut-system logs deployment/workflowexecution-controller --since=10m",
        ("not looked at for 90s",),
    ),
    "lease-forbidden-is-not-nobody": Case(
        facts(wfe(created=90), lease=Unread("Lease", "forbidden")), "not-seen", WATCH
    ),
    "paused": Case(
        facts(waiting("Paused", annotations={"kubernaut.ai/pause": "true", "kubernaut.ai/pause-by": "alice"})),
        "paused",
        f"kubectl wfe resume restart-web {HERE}",
        ("paused by alice",),
        changed="nothing",
    ),
    "paused-before-the-start-of-its-run": Case(
        facts(running(conditions=[], reason="Paused"), lock=MINE),
        "paused",
        f"kubectl wfe resume restart-web {HERE}",
        holder="restart-web",
    ),
    "tekton-missing": Case(
        facts(waiting("EngineUnavailable", "no Tekton"), run=Unread("PipelineRun x", "not served by this cluster")),
        "engine-unavailable",
        "kubectl apply --server-side -f https://storage.googleapis.com/tekton-releases/pipeline/latest/release.yaml",
        ("tekton engine", "kinds are not served"),
    ),
    "steps-engine": Case(
        facts(waiting("EngineUnavailable", executionEngine="steps")), "engine-unavailable", CANCEL, ("steps engine",)
    ),
    "lock-unknown": Case(
        facts(waiting("LockUnknown"), lock=lock(block={"reason": 1})),
        "lock-unknown",
        f"kubectl -n kubernaut-system edit targetlock {MINE['metadata']['name']} --subresource=status",
        ("status.block",),
        None,
    ),
    "lock-was-unknown": Case(facts(waiting("LockUnknown"), lock=lock()), "lock-unknown", WATCH),
    "waiting-for-release": Case(
        facts(waiting("WaitingForRelease", "it is being released"), lock=OTHERS, holder=OTHER),
        "waiting-for-release",
        WATCH,
        ("it is being released",),
        "other",
    ),
    "waiting-for-orphan": Case(
        facts(waiting("WaitingForRelease", "x"), lock=OTHERS, holder=None),
        "waiting-for-orphan",
        WATCH,
        ("shop/other, which does not exist any more",),
        "other",
    ),
    "waiting-for-orphan-by-uid": Case(
        facts(waiting("WaitingForRelease", "x"), lock=OTHERS, holder=wfe(name="other", uid="new")),
        "waiting-for-orphan",
        WATCH,
        holder="other",
    ),
    "holder-forbidden-is-not-gone": Case(
        facts(waiting("WaitingForRelease", "x"), lock=OTHERS, holder=Unread("other", "forbidden")),
        "waiting-for-release",
        WATCH,
        holder="other",
    ),
    "rights-missing": Case(
        facts(
            waiting(
                "CreateRetrying", "forbidden", conditions=[condition("TektonPipelineCreated", "False", "RBACDenied")]
            ),
            lock=MINE,
        ),
        "create-retrying",
        "wfe-controller manifests rbac | kubectl apply --server-side --force-conflicts -f -",
        ("forbidden",),
        "restart-web",
    ),
    "quota": Case(
        facts(
            waiting(
                "CreateRetrying", "quota", conditions=[condition("TektonPipelineCreated", "False", "QuotaExceeded")]
            )
        ),
        "create-retrying",
        f"{EXEC} edit resourcequota",
    ),
    "webhook": Case(facts(waiting("CreateRetrying", "webhook: no answer")), "create-retrying", WATCH, ("webhook",)),
    "another-wait": Case(facts(waiting("NewReason", "of a later version")), "waiting", WATCH, ("NewReason",)),
    "resolving": Case(
        facts(running(conditions=[], reason="ResolvingPipelineRef"), lock=MINE),
        "resolving-bundle",
        WATCH,
        ("registry.example.com/wf/restart:1",),
        "restart-web",
        changed="nothing yet",
    ),
    "starting": Case(
        facts(running(conditions=[]), lock=MINE), "starting", WATCH, holder="restart-web", changed="nothing yet"
    ),
    "running": Case(
        facts(
            running(),
            lock=MINE,
            run=runs.run(tasks=["act", "check"], children=["act"]),
            task_runs=[runs.task_run("act", "Unknown", "Running", steps=[runs.running_step("main")])],
        ),
        "running",
        WATCH,
        ("1 of 2 tasks done (50 %)", "step main of task act, for 4m40s", "says Running: Tasks Completed: 1"),
        "restart-web",
        changed="1 of 2 tasks have completed",
    ),
    "image": Case(facts(stuck("ImagePullBackOff", "not found"), lock=MINE), "image-pull", CANCEL, holder="restart-web"),
    "unschedulable": Case(
        facts(stuck("Unschedulable", "0/3 nodes"), lock=MINE),
        "unschedulable",
        WATCH,
        ("0/3 nodes",),
        "restart-web",
    ),
    "pod-quota": Case(facts(stuck("ExceededResourceQuota")), "unschedulable", WATCH),
    "pod-config": Case(facts(stuck("CreateContainerConfigError", "no secret")), "pod-waiting", CANCEL, ("no secret",)),
    "draining-just-now": Case(
        facts(running(reason="WaitingForRelease"), run=runs.run("True", ended=ago(3)), pods=[pod()]),
        "draining",
        WATCH,
        ("left-pod",),
    ),
    "draining-for-long": Case(
        facts(
            running(reason="WaitingForRelease"),
            run=runs.run("True", ended=ago(90)),
            pods=[pod(), pod("done", "Succeeded")],
        ),
        "draining",
        f"{EXEC} delete pod left-pod",
        ("pod left-pod is Running on node-1",),
        changed="may still change the target",
    ),
    "draining-unseen": Case(
        facts(running(reason="WaitingForRelease"), pods=Unread("pods", "forbidden")),
        "draining",
        f"{EXEC} get pod --selector=kubernaut.ai/workflow-execution-uid={UID} -o wide",
    ),
    "cancelling": Case(
        facts(
            running(conditions=[condition("Cancelling", "True", "Cancelled", "cancelled by al: wrong")]),
            lock=MINE,
            pods=[pod()],
        ),
        "cancelling",
        WATCH,
        ("cancelled by al: wrong", "its pods: left-pod"),
        "restart-web",
    ),
    "deleting": Case(
        facts(running(deleting=20, message="waits"), lock=MINE),
        "deleting",
        WATCH,
        ("nothing is rolled back",),
        "restart-web",
    ),
    "deletion-held": Case(
        facts(wfe("Completed", finalizers=["example.com/x"], deleting=9)),
        "deletion-held",
        "kubectl -n shop patch workflowexecution restart-web --type=json "
        '\'-p=[{"op":"test","path":"/metadata/finalizers/0","value":"example.com/x"},'
        '{"op":"remove","path":"/metadata/finalizers/0"}]\'',
        ("example.com/x",),
    ),
    "lock-conflict": Case(
        facts(
            running(conditions=[condition("LockConflict", "True", "HeldByAnother", "held by shop/other")]),
            lock=OTHERS,
            holder=OTHER,
        ),
        "lock-conflict",
        CANCEL,
        ("two may act at once", "held by shop/other"),
        "other",
    ),
    "completed": Case(
        facts(
            wfe("Completed", startTime=ago(90), completionTime=ago(30), duration="1m0s", totalSteps=2),
            lock=lock(**entry(cooldownUntil=ahead(270)), **last("restart-web", "Completed")),
        ),
        "completed",
        f"kubectl wfe tree restart-web {HERE}",
        ("completed in 1m0s", "cools down for another 4m30s"),
        allowed=ahead(270),
        changed="2 tasks completed",
    ),
    "invalid-spec": Case(
        facts(failed("ConfigurationError", executed=False, spec={"executionConfig": {"timeout": "5s"}})),
        "invalid-spec",
        f"kubectl wfe retry restart-web --edit {HERE}",
        ("spec.executionConfig.timeout",),
        changed="nothing",
        allowed=rfc3339(NOW),
    ),
    "missing-account": Case(
        facts(
            failed("ConfigurationError", executed=False, message="service account 'runner' does not exist in ..."),
            accounts={"runner": False, "kubernaut-workflow-runner": True},
        ),
        "missing-service-account",
        f"{EXEC} create serviceaccount runner",
        ("ServiceAccount kubernaut-workflows/runner does not exist now either",),
        changed="nothing",
        allowed=rfc3339(NOW),
    ),
    "account-forbidden-is-not-missing": Case(
        facts(
            failed("ConfigurationError", executed=False, message="service account 'runner' does not exist in ..."),
            accounts={"runner": Unread("ServiceAccount", "forbidden")},
        ),
        "failed-before-start",
        RETRY,
        allowed=rfc3339(NOW),
    ),
    "permission-denied": Case(
        facts(failed("PermissionDenied", executed=False)),
        "permission-denied",
        "wfe-controller manifests rbac | kubectl apply --server-side --force-conflicts -f -",
        allowed=rfc3339(NOW),
    ),
    "never-started": Case(
        facts(failed("DeadlineExceeded", executed=False, message="not started within 30m0s: no Tekton")),
        "never-started",
        RETRY,
        ("no Tekton",),
        allowed=rfc3339(NOW),
    ),
    "cancelled-before-start": Case(
        facts(failed("Cancelled", executed=False)), "cancelled-before-start", RETRY, allowed=rfc3339(NOW)
    ),
    "failed-before-start-backing-off": Case(
        facts(
            failed("ImagePullBackOff", executed=False),
            lock=lock(**entry(2, lastFailureAt=ago(30), nextAllowedExecution=ahead(90)), **last()),
        ),
        "failed-before-start",
        f"kubectl wfe retry restart-web --when-allowed {HERE}",
        ("failed 2 times in a row before its first step and backs off for another 90s",),
        allowed=ahead(90),
        changed="nothing: no step ever started",
    ),
    "failed-execution": Case(
        facts(
            failed(
                details={
                    "failedTaskName": "act",
                    "failedStepName": "main",
                    "exitCode": 3,
                    "evidence": {"pod": "p-pod", "container": "step-main", "exitCode": 3, "logTail": "a\nboom\n"},
                },
                totalSteps=2,
                completedSteps=1,
            ),
            lock=lock(**blocked(), **last("restart-web")),
        ),
        "failed-execution",
        CLEAR,
        (
            "failed in step main of task act with exit code 3",
            "pod p-pod, container step-main, exit code 3",
            "log: boom",
        ),
        changed="1 of 2 tasks had completed and were not undone: the state of the target is unknown",
    ),
    "failed-execution-lock-forbidden": Case(
        facts(failed(), lock=FORBIDDEN), "failed-execution", f"kubectl wfe doctor {HERE}", holder=None
    ),
    "failed-execution-cleared": Case(
        facts(failed(blockClearance={"clearedBy": "alice", "clearReason": "looked", "clearedAt": ago(5)}), lock=lock()),
        "failed-execution",
        RETRY,
        ("its block was cleared by alice at 2026-03-01 12:04:55Z: looked",),
        allowed=rfc3339(NOW),
    ),
    "failed-deadline": Case(facts(failed("DeadlineExceeded"), lock=lock(**blocked())), "failed-deadline", CLEAR),
    "cancelled": Case(facts(failed("Cancelled"), lock=lock(**blocked())), "cancelled", CLEAR),
    "run-deleted": Case(facts(failed("PipelineRunDeleted"), lock=lock(**blocked())), "run-deleted", CLEAR),
    "cancel-incomplete": Case(
        facts(
            failed("Cancelled", conditions=[condition("Cancelling", "False", "CancelIncomplete")]),
            lock=lock(**blocked("CancelIncomplete")),
            survivors=[pod()],
        ),
        "cancel-incomplete",
        f"{EXEC} delete pod left-pod",
        ("still there: left-pod",),
    ),
    "busy": Case(
        facts(
            skipped("ResourceBusy", conflictingWorkflow={"name": "other"}),
            lock=OTHERS,
            holder=OTHER,
        ),
        "busy",
        "kubectl wfe watch other -n shop",
        ("was skipped: other was working on its target", "shop/other is working on the target since"),
        "other",
        changed="nothing",
    ),
    "busy-holder-forbidden": Case(
        facts(skipped("ResourceBusy"), lock=OTHERS, holder=Unread("other", "forbidden")),
        "busy",
        "kubectl wfe watch other -n shop",
        holder="other",
    ),
    "busy-then-released": Case(
        facts(skipped("ResourceBusy"), lock=OTHERS, holder=wfe("Completed", name="other", uid=OTHER_UID)),
        "waiting-for-release",
        RETRY,
        holder="other",
    ),
    "busy-then-blocked": Case(
        facts(
            skipped("ResourceBusy", conflictingWorkflow={"name": "other"}),
            lock=lock(**blocked(name="other", uid=OTHER_UID)),
        ),
        "blocked-execution-failed",
        CLEAR,
        ("other was working on its target", "now the target is blocked (ExecutionFailed) by other"),
    ),
    "foreign-live": Case(
        facts(
            skipped("ResourceBusy", conflictingWorkflow={"name": "unknown"}),
            run={**runs.run(), "metadata": {**runs.run()["metadata"], "uid": "foreign"}},
        ),
        "foreign-run",
        f"{EXEC} wait pipelinerun/wfe-x '--for=jsonpath={{.status.completionTime}}' --timeout=1h",
        ("not ours",),
    ),
    "foreign-finished": Case(
        facts(skipped("ResourceBusy"), run={**runs.run("True"), "metadata": {**runs.run()["metadata"], "uid": "f"}}),
        "foreign-run",
        f"{EXEC} delete pipelinerun wfe-x",
    ),
    "cooldown": Case(
        facts(
            skipped("RecentlyRemediated", recentRemediation={"name": "earlier", "outcome": "Completed"}),
            lock=lock(**entry(cooldownUntil=ahead(60)), **last("earlier", "Completed")),
        ),
        "cooldown",
        f"kubectl wfe retry restart-web --when-allowed {HERE}",
        ("had just succeeded there (earlier)",),
        allowed=ahead(60),
    ),
    "backoff": Case(
        facts(
            skipped("RecentlyRemediated", recentRemediation={"name": "earlier", "outcome": "Failed"}),
            lock=lock(**entry(1, lastFailureAt=ago(20), nextAllowedExecution=ahead(40))),
        ),
        "backoff",
        f"kubectl wfe retry restart-web --when-allowed {HERE}",
        ("failed once before its first step",),
        allowed=ahead(40),
    ),
    "exhausted": Case(
        facts(skipped("ExhaustedRetries"), lock=lock(**entry(5, lastFailureAt=ago(20)), **last())),
        "exhausted",
        CLEAR,
        ("failed 5 times in a row", "the last one was earlier (Failed)"),
    ),
    "orphan": Case(
        facts(skipped("PreviousExecutionFailed"), lock=lock(**blocked("OrphanedRun", "lost", OTHER_UID))),
        "blocked-orphaned-run",
        CLEAR,
        ("blocked (OrphanedRun) by lost",),
    ),
    "incomplete-without-survivors": Case(
        facts(skipped("PreviousExecutionFailed"), lock=lock(**blocked("CancelIncomplete", "lost", OTHER_UID))),
        "blocked-cancel-incomplete",
        CLEAR,
    ),
    "block-of-a-later-version": Case(
        facts(skipped("PreviousExecutionFailed"), lock=lock(**blocked("SomethingNew"))),
        "blocked-execution-failed",
        CLEAR,
    ),
    "refused-clearance-is-evidence": Case(
        facts(
            skipped("PreviousExecutionFailed"),
            lock=lock(**blocked()),
            lock_events=[
                {"type": "Warning", "reason": "ClearBlockRefused", "message": "wrong uid", "lastTimestamp": ago(2)}
            ],
        ),
        "blocked-execution-failed",
        CLEAR,
        ("Event ClearBlockRefused: wrong uid",),
    ),
    "skipped-and-free": Case(
        facts(skipped("ResourceBusy", conflictingWorkflow={"name": "other"}), lock=lock(**last("other", "Completed"))),
        "skipped",
        RETRY,
        ("nothing stands in the way any more",),
        allowed=rfc3339(NOW),
    ),
    "skipped-lock-forbidden": Case(
        facts(skipped("ResourceBusy"), lock=FORBIDDEN), "lock-unknown", f"kubectl wfe doctor {HERE}", holder=None
    ),
    "gone-blocking": Case(
        facts(None, lock=lock(**blocked(), **last("restart-web"))), "gone-blocking", CLEAR, ("it failed",)
    ),
    "gone-holding": Case(
        facts(None, lock=MINE),
        "gone-holding",
        f"kubectl wfe locks {TARGET}",
        ("still holds its target",),
        "restart-web",
    ),
    "gone-remembered": Case(
        facts(None, lock=lock(**last("restart-web", "Completed"))),
        "gone",
        f"kubectl wfe locks {TARGET}",
        ("Completed",),
    ),
    "gone-and-forgotten": Case(facts(None), "gone", f"kubectl wfe get {HERE}"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_situation(case: Case) -> None:
    told = explain(case.facts)
    assert (told.situation, told.next.command) == (case.situation, case.next)
    assert told.next.why
    said = " | ".join((told.headline, told.waiting_for, *told.evidence))
    for words in case.says:
        assert words in said
    out = told.to_json()
    if case.holder is None:
        assert "holder" not in out
    else:
        assert (out["holder"] or {}).get("name", "") == case.holder
    assert out.get("allowedAt", "") == case.allowed
    assert case.changed in told.changed
    assert set(told.unread) == {str(f) for f in _all(case.facts) if isinstance(f, Unread)}


def _all(given_: Facts) -> list[Any]:
    values = [getattr(given_, name) for name in given_.__dataclass_fields__]
    return [*values, *given_.accounts.values()]


def test_every_situation_has_a_case() -> None:
    assert {case.situation for case in CASES.values()} == {str(s) for s in Situation}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_text_fits_80_columns_and_ends_with_the_command(case: Case) -> None:
    """Folded with backslashes it is still the same command for a shell."""
    told = explain(case.facts)
    text = as_text(told, Style())
    head, _, command = text.rpartition("\n  $ ")
    longest = max(len(word) for word in told.next.command.split("' ")) if "'" in told.next.command else 0
    for line in text.splitlines():
        assert len(line) <= 80 or longest > 60 or "https://" in line or len(line.split()[0]) > 60, line
    assert told.headline.split()[0] in head
    assert shlex.split(command.replace("\\\n", " ")) == shlex.split(told.next.command)


def test_the_way_to_the_cluster_is_part_of_every_command() -> None:
    """What was typed to get there stands in the command that goes on."""
    line = CommandLine(("--context", "prod"), ("--controller-namespace", "ops"))
    for case in CASES.values():
        command = explain(replace(case.facts, commands=line)).next.command
        assert "--context prod" in command, command
        assert ("--controller-namespace ops" in command) == command.startswith("kubectl wfe"), command


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**10) | st.text(max_size=8) | st.sampled_from([ago(5), "True", UID]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    *("phase", "reason", "message", "conditions", "failureDetails", "skipDetails", "pipelineRunRef"),
    *("pipelineRunStatus", "startTime", "deadlineAt", "completedSteps", "totalSteps", "progress"),
    *("blockClearance", "completionTime"),
]
PHASES = st.sampled_from(["", "Pending", "Running", "Completed", "Failed", "Skipped", "Degraded", "RolledBack", "New"])


@given(
    phase=PHASES,
    status=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5),
    lock_status=json_values,
    others=st.lists(json_values, max_size=2),
)
def test_whatever_stands_there_is_explained(phase: str, status: Json, lock_status: Any, others: list[Any]) -> None:
    """Total: odd shapes of other writers give an answer with one command, never an exception."""
    obj = wfe()
    obj["status"] = {**status, **({"phase": phase} if phase else {})}
    broken = {**lock(), "status": lock_status}
    pods = [o for o in others if isinstance(o, dict)]
    told = explain(facts(obj, lock=broken, pods=pods, task_runs=pods, events=pods))
    assert told.next.command
    assert re.match(r"(kubectl|wfe-controller) ", told.next.command)
    assert as_text(told, Style())
    assert KEY.name in told.name


# -- who leads, by clocks that differ, and where ----------------------------------------------------------------------


@dataclass
class _Leases:
    """A Lease that is renewed between two looks, or is not; and what stands in other namespaces."""

    renews: bool
    elsewhere: tuple[str, ...] = ()
    looks: int = 0

    async def get(self, resource: Any, key: Any) -> Json:
        self.looks += 1
        return {**lease(95), "metadata": {"name": "lease", "resourceVersion": str(self.looks if self.renews else 0)}}

    async def list(self, resource: Any, **selectors: str) -> list[Json]:
        assert selectors == {"field_selector": "metadata.name=workflowexecution.kubernaut.ai"}
        return [
            {**lease(), "metadata": {"namespace": namespace}} for namespace in (*self.elsewhere, "kubernaut-system")
        ]

    async def server_date(self) -> Any:
        return NOW

    async def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 2


def _looking(leases: _Leases) -> Session:
    api, clock = cast(Api, leases), cast(Clock, leases)
    return Session(api, clock, "shop", "kubernaut-system", "kubernaut-workflows", CommandLine())


SILENT = {**lease(95), "metadata": {"name": "lease", "resourceVersion": "0"}}


async def test_a_controller_with_a_wrong_clock_is_not_called_dead() -> None:
    """Its Lease looks 95 s old and is renewed before our eyes: nobody is told to restart it."""
    before = facts(running(), lock=MINE, lease=SILENT)
    assert explain(before).situation is Situation.NO_LEADER
    told = explain(await looked_twice(_looking(_Leases(renews=True)), before))
    assert told.situation is Situation.RUNNING
    assert "the clock of the controller is about 95s behind that of the API server" in told.evidence


async def test_a_lease_that_nobody_renews_is_silent_whatever_its_time_says() -> None:
    """Also one from the future: the controller's clock was ahead when it died."""
    for old in (SILENT, {**lease(-600), "metadata": {"name": "lease", "resourceVersion": "0"}}):
        leases = _Leases(renews=False)
        told = explain(await looked_twice(_looking(leases), facts(running(), lock=MINE, lease=old)))
        assert told.situation is Situation.NO_LEADER
        assert leases.looks > 2


async def test_a_lease_that_is_plainly_alive_or_free_needs_one_look() -> None:
    plain: tuple[Json | Unread | None, ...] = (lease(), None, {"spec": {}}, Unread("Lease", "forbidden"))
    for seen in plain:
        leases = _Leases(renews=False)
        await looked_twice(_looking(leases), facts(running(), lease=seen))
        assert leases.looks == 0


async def test_another_controller_is_the_last_thing_to_start() -> None:
    """The namespace of the controller was not given: the one that leads elsewhere is named, none is started here."""
    elsewhere = await leases_elsewhere(_looking(_Leases(False, ("remedy",))))
    assert elsewhere == ("remedy",)
    known = facts(wfe(), lease=None, leads_elsewhere=elsewhere)
    told = explain(replace(known, commands=CommandLine((), ("--controller-namespace", "ops"))))
    assert told.situation is Situation.NO_LEADER
    assert "no controller leads in kubernaut-system" in told.headline
    assert told.next.command == f"kubectl wfe explain restart-web {HERE} --controller-namespace remedy"


# -- what should not be done again ------------------------------------------------------------------------------------

DONE_SINCE = {
    "lastExecution": {
        "uid": OTHER_UID,
        "name": "fixed",
        "workflowId": "restart",
        "outcome": "Completed",
        "completedAt": ago(10),
        "releasedAt": ago(9),
    }
}


@pytest.mark.parametrize(
    "obj", [failed(), failed(executed=False), skipped("ResourceBusy")], ids=["ran", "not", "skipped"]
)
@pytest.mark.parametrize("cooling", [True, False])
def test_what_another_has_done_since_is_not_repeated_blindly(obj: Json, cooling: bool) -> None:
    windows = entry(cooldownUntil=ahead(60)) if cooling else {}
    told = explain(facts(obj, lock=lock(**DONE_SINCE, **windows)))
    assert "since then fixed, the same workflow, has completed on the target" in told.evidence
    assert told.next.why.startswith("only if it is still needed: ")
    assert " retry " in told.next.command
    if cooling:
        assert told.waiting_for == "the cooldown of workflow restart to end; another workflow may run now"
        assert any("succeeded here recently (fixed)" in line for line in told.evidence)


@pytest.mark.parametrize(
    "other", [{"outcome": "Failed"}, {"workflowId": "other"}, {"completedAt": ago(60)}, {"uid": UID}], ids=str
)
def test_what_says_nothing_about_the_need(other: Json) -> None:
    """Failed, another workflow, before this one ended, or this one itself."""
    told = explain(facts(failed(), lock=lock(lastExecution={**DONE_SINCE["lastExecution"], **other})))
    assert told.next.why == "creates it again under a new name"


@pytest.mark.parametrize("reason", ["ConfigurationError", "ImagePullBackOff", "ResourceExhausted"])
def test_the_same_again_ends_the_same_again(reason: str) -> None:
    told = explain(facts(failed(reason, executed=False, message="no such bundle")))
    assert told.next.command == RETRY
    assert told.next.why.startswith("correct what the evidence names first")
    assert explain(facts(failed("Unknown", executed=False))).next.why == "creates it again under a new name"


def test_a_release_that_takes_too_long_leads_to_the_holder() -> None:
    """Seconds are normal; after a minute it is the holder's story that says why."""
    slow = waiting("WaitingForRelease", "x", conditions=[condition("Ready", "False", "WaitingForRelease", since=200)])
    told = explain(facts(slow, lock=OTHERS, holder=OTHER))
    assert told.situation is Situation.WAITING_FOR_RELEASE
    assert "waits for shop/other to release the target, for 3m20s now" in told.headline
    assert told.next.command == "kubectl wfe explain other -n shop"


def test_an_annotation_that_does_nothing_is_said() -> None:
    said = "kubernaut.ai/pause='yes' pauses nothing: the value that does is 'true'"
    ignored = condition("Paused", "False", "AnnotationIgnored", said)
    told = explain(facts(running(conditions=[*running()["status"]["conditions"], ignored]), lock=MINE))
    assert told.situation is Situation.RUNNING
    assert said in told.evidence


async def test_what_fails_to_answer_is_not_read_and_nothing_is_guessed() -> None:
    """One request of many that fails leaves the other answers: it stands under 'not read'."""

    async def broken() -> Json | None:
        raise Unavailable(503, "ServiceUnavailable", "no endpoints")

    seen: Json | Unread | None = await _read("PipelineRun x", broken(), None)
    assert seen == Unread("PipelineRun x", "503 ServiceUnavailable: no endpoints")


@pytest.mark.parametrize(
    ("target", "look"),
    [
        ("shop/Deployment.apps/web", "kubectl -n shop describe deployment web"),
        ("node/worker-1", "kubectl describe node worker-1"),
        ("odd", ""),
    ],
)
def test_before_a_block_is_cleared_the_target_is_looked_at_with(target: str, look: str) -> None:
    """At night nobody spells it: the command stands above the one that clears. A streak has changed nothing there."""
    told = explain(facts(failed(spec={"targetResource": target}), lock=lock(**blocked())))
    assert told.next.look == look
    assert told.to_json()["next"].get("look", "") == look
    text = as_text(told, Style())
    assert (f"  look first  {look}" in text) is bool(look)
    exhausted = explain(facts(skipped("ExhaustedRetries"), lock=lock(**entry(5, lastFailureAt=ago(20)), **last())))
    assert exhausted.next.look == ""
    assert "look" not in exhausted.to_json()["next"]


def test_a_lock_with_an_instant_beyond_the_calendar_is_one_that_cannot_be_understood() -> None:
    known = facts(skipped("RecentlyRemediated"), lock=lock(**entry(2, lastFailureAt="9999-12-31T23:59:59Z")))
    told = explain(known)
    assert told.situation is Situation.LOCK_UNKNOWN
    assert "edit targetlock" in told.next.command


def test_gone_and_nothing_said_of_its_end() -> None:
    told = explain(facts(None, lock=lock()))
    assert told.situation is Situation.GONE
    assert told.next.command == f"kubectl wfe locks {TARGET}"


def test_what_stands_in_the_way_may_be_older_than_what_was_refused() -> None:
    """'since 8m' of an execution that was created seconds ago: both times are said."""
    old = lock(**held("other", OTHER_UID, 490))
    told = explain(facts(skipped("ResourceBusy"), lock=old, holder=OTHER))
    assert told.to_json()["endedAt"] == ago(30)
    assert "(8m10s ago); this one ended 30s ago" in as_text(told, Style())
    assert "this one ended" not in as_text(explain(facts(failed(), lock=lock(**blocked()))), Style())


def test_rights_are_given_where_the_installation_is() -> None:
    """Not in the default namespaces, where a second set of roles would help nobody."""
    known = replace(facts(failed("PermissionDenied", executed=False)), home="ops", execution="runs")
    command = explain(known).next.command
    assert command.startswith("wfe-controller manifests rbac -n ops --execution-namespace runs | kubectl apply ")
    nobody = replace(facts(wfe(), lease=None), home="ops")
    assert explain(nobody).next.command == "wfe-controller run --set controller.namespace=ops"


def test_what_opens_the_editor_does_not_say_to_open_it() -> None:
    told = explain(CASES["invalid-spec"].facts)
    assert told.next.why == "opens a copy in your editor to correct it"

"""One controller on the server of ``fakeapi``, driven a whole reconcile at a time; errors are put in by verb."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from tests.support.fakeapi import Call, FakeApi, FakeServer, Feed
from tests.support.stepping import HOME, ManualClock, Told
from wfe_controller.api import names
from wfe_controller.kube.cache.consistency import Consistency
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.control.outcomes import Outcome
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, Json, ObjectKey, Resource, uid_of
from wfe_controller.locking.ledger import Ledger
from wfe_controller.workflows.instruments import NoWorkflowInstruments
from wfe_controller.workflows.lockkeeper import LockKeeper
from wfe_controller.workflows.reader import Reader
from wfe_controller.workflows.reconciler import Reconciler
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.sweeper import Sweeper
from wfe_controller.workflows.world import World


class Counted(NoWorkflowInstruments):
    """Counts the calls that a test asks about."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def finished(self, outcome: str, engine: str, seconds: float | None) -> None:
        self.calls[f"finished {outcome}"] += 1

    def status_conflict(self) -> None:
        self.calls["conflict"] += 1

    def status_truncated(self) -> None:
        self.calls["truncated"] += 1

    def orphan(self, kind: str) -> None:
        self.calls[f"orphan {kind}"] += 1


class Bench:
    """``fail``: asked before every call; what it returns is raised. ``calls``: (verb, plural) of what was asked."""

    def __init__(self, settings: ShellSettings | None = None) -> None:
        self.clock = ManualClock()
        self.server = FakeServer(self.clock)
        self.api = FakeApi(self.server, self._hook)
        self.feed = Feed(self.server)
        self.told = Told()
        self.counted = Counted()
        self.fail: Callable[[Call], Exception | None] = lambda call: None
        self.woken: list[ObjectKey] = []
        self.settings = settings or ShellSettings()
        stores, api = self.feed.stores, cast(Api, self.api)
        self.world = World(
            api=api,
            ledger=Ledger(api, HOME, self.clock),
            clock=self.clock,
            settings=lambda: self.settings,
            executions=stores[names.WORKFLOWEXECUTIONS],
            locks=stores[names.TARGETLOCKS],
            runs=stores[names.PIPELINERUNS],
            task_runs=stores[names.TASKRUNS],
            pods=stores[PODS],
            consistency=Consistency({r: stores[r] for r in (names.WORKFLOWEXECUTIONS, names.PIPELINERUNS)}, self.clock),
            events=self.told,
            engine=lambda name: (name == "tekton", f"no engine {name}"),
            wake=self.woken.append,
            wake_lock=self.woken.append,
            instruments=self.counted,
        )
        self.reconciler = Reconciler(self.world)
        self.keeper = LockKeeper(self.world, Reader(self.world))
        self.sweeper = Sweeper(self.world)
        account = {"metadata": {"name": "kubernaut-workflow-runner", "namespace": "kubernaut-workflows"}}
        self.server.create(SERVICE_ACCOUNTS, account)

    async def _hook(self, call: Call) -> None:
        error = None if call.done else self.fail(call)
        if error is not None:
            raise error

    def create(self, obj: Json) -> ObjectKey:
        """The object without what only a server may say."""
        meta = {k: v for k, v in obj["metadata"].items() if k in ("name", "namespace", "annotations")}
        made = self.server.create(names.WORKFLOWEXECUTIONS, {**obj, "metadata": meta})
        return ObjectKey(made["metadata"]["namespace"], made["metadata"]["name"])

    async def reconcile(self, key: ObjectKey) -> Outcome:
        """One reconcile on caches that are up to date."""
        self.feed.deliver()
        return await self.reconciler.reconcile(key)

    async def keep(self, key: ObjectKey) -> Outcome:
        """One reconcile of a lock."""
        self.feed.deliver()
        return await self.keeper.reconcile(key)

    def wfe(self, key: ObjectKey) -> Json:
        return self.server.get(names.WORKFLOWEXECUTIONS, key)

    def status(self, key: ObjectKey) -> Json:
        return cast(Json, self.wfe(key).get("status") or {})

    def lock_status(self, target: str) -> Json:
        found = self.server.objects[names.TARGETLOCKS].get(ObjectKey(HOME, names.lock_name(target)), {})
        return cast(Json, found.get("status") or {})

    def runs(self) -> list[Json]:
        return self.server.all(names.PIPELINERUNS)

    def set_status(self, resource: Resource, obj: Json, status: Json) -> None:
        """As Tekton would."""

        def change(stored: Json) -> None:
            stored["status"] = status

        self.server.update(resource, ObjectKey(obj["metadata"]["namespace"], obj["metadata"]["name"]), change)

    def children(self, run: Json, task_run: Json, pod: Json) -> None:
        """A TaskRun and a pod that belong to ``run``."""
        owner, uid = {names.OWNER_UID: run["metadata"]["labels"][names.OWNER_UID]}, uid_of(run)
        for resource, child, more in (
            (names.TASKRUNS, task_run, {names.TEKTON_PIPELINE_RUN: run["metadata"]["name"]}),
            (PODS, pod, {names.TEKTON_PIPELINE_RUN_UID: uid}),
        ):
            body = {
                **child,
                "metadata": {**child["metadata"], "ownerReferences": [{"kind": "PipelineRun", "uid": uid}]},
            }
            body["metadata"]["labels"] = {**child["metadata"].get("labels", {}), **owner, **more}
            self.server.create(resource, body)

    def writes(self, resource: Resource, verb: str = "") -> list[Call]:
        """Calls that wanted to write that kind."""
        return [c for c in self.api.calls if c.writes and c.resource is resource and verb in ("", c.verb)]


def always(error: Exception, verb: str, resource: Resource, times: int = 10**6) -> Callable[[Call], Any]:
    """A ``fail`` that answers that verb of that kind with ``error``, ``times`` times."""
    left = [times]

    def fail(call: Call) -> Exception | None:
        if (call.verb, call.resource) != (verb, resource) or not left[0]:
            return None
        left[0] -= 1
        return error

    return fail

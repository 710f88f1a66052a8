"""A world over fakes for the parts of the shell that do I/O: effects, reader, status writer, reconciler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tests.support import shell
from tests.support.fakeapi import Call, FakeApi, FakeServer, Feed
from tests.support.stepping import ManualClock, Told, make_world
from wfe_controller.api import names
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, Json, ObjectKey, Resource
from wfe_controller.workflows.settings import ShellSettings
from wfe_controller.workflows.snapshot import Inputs, Snapshot

KEY = ObjectKey("ops", "cart-1")
RUN = ObjectKey(shell.EXECUTION, shell.RUN_NAME)


class Bench:
    """``fail`` maps (verb, resource, "before" | "after") to the error that call raises, once."""

    def __init__(self) -> None:
        self.clock = ManualClock(shell.NOW)
        self.server = FakeServer(self.clock)
        self.fail: dict[tuple[str, Resource, str], Exception] = {}
        self.during: Callable[[Call], None] = lambda call: None
        self.api = FakeApi(self.server, self._hook)
        self.feed = Feed(self.server)
        self.told = Told()
        self.settings = ShellSettings()
        self.world = make_world(self.api, self.feed, self.clock, self.settings, self.told)

    async def _hook(self, call: Call) -> None:
        self.during(call)
        error = self.fail.pop((call.verb, call.resource, "after" if call.done else "before"), None)
        if error is not None:
            raise error

    @property
    def calls(self) -> list[str]:
        return [f"{call.verb} {call.resource.plural}" for call in self.api.calls]

    def put(self, resource: Resource, obj: Json) -> Json:
        """Store ``obj`` with its status, and show it to the caches."""
        made = self.server.create(resource, obj)
        if "status" in obj:
            key = ObjectKey(made["metadata"]["namespace"], made["metadata"]["name"])
            made = self.server.update(resource, key, lambda stored: stored.update(status=obj["status"]))
        self.feed.deliver()
        return made

    def account(self) -> None:
        meta = {"name": "kubernaut-workflow-runner", "namespace": shell.EXECUTION}
        self.server.create(SERVICE_ACCOUNTS, {"metadata": meta})

    def execution(self, status: Json | None = None, **more: Any) -> Snapshot:
        """A stored WorkflowExecution as a snapshot."""
        return self.snapshot(self.put(names.WORKFLOWEXECUTIONS, shell.wfe(status, **more)))

    def snapshot(self, obj: Json, **inputs: Any) -> Snapshot:
        return Snapshot(wfe=obj, now=self.clock.now(), settings=self.settings, inputs=Inputs(**inputs))

    def run(self, owner: str, **more: Any) -> Json:
        return self.put(names.PIPELINERUNS, shell.run(owner=owner, **more))

    def pod(self, name: str, **labels: str) -> None:
        meta = {"name": name, "namespace": shell.EXECUTION, "labels": labels}
        self.put(PODS, {"metadata": meta, "status": {"phase": "Running"}})

    def stored(self, resource: Resource = names.WORKFLOWEXECUTIONS, key: ObjectKey = KEY) -> Json:
        return self.server.get(resource, key)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Quiet: what is logged is not looked at here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield Bench()
    structlog.reset_defaults()

"""Sending Events: never in the way, never for ever."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from wfe_controller.kube import errors
from wfe_controller.kube.client.patches import MERGE, Patch
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.events.recorder import Recorder, cut_message, event_name
from wfe_controller.kube.instruments import NoInstruments
from wfe_controller.kube.objects import EVENTS, Json, ObjectKey, Resource

pytestmark = pytest.mark.looptime

WFE: Json = {
    "apiVersion": "kubernaut.ai/v1alpha1",
    "kind": "WorkflowExecution",
    "metadata": {"name": "fix", "namespace": "team", "uid": "u1", "resourceVersion": "7"},
}


class Server:
    """Keeps Events; raises what the test lines up, before or after the write."""

    def __init__(self) -> None:
        self.events: dict[ObjectKey, Json] = {}
        self.calls: list[tuple[str, float]] = []
        self.before: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.hang = False

    async def _meet(self, verb: str) -> None:
        self.calls.append((verb, asyncio.get_running_loop().time()))
        if self.hang:
            await asyncio.Event().wait()
        if self.before and (error := self.before.pop(0)):
            raise error

    async def create(self, resource: Resource, obj: Json, *, lane: Lane) -> Json:
        assert resource is EVENTS
        await self._meet("create")
        key = ObjectKey(obj["metadata"]["namespace"], obj["metadata"]["name"])
        if key in self.events:
            raise errors.AlreadyExists(409, "AlreadyExists", "taken")
        self.events[key] = obj
        if self.after and (error := self.after.pop(0)):
            raise error
        return obj

    async def patch(self, resource: Resource, key: ObjectKey, patch: Patch, *, lane: Lane) -> Json:
        await self._meet("patch")
        if key not in self.events:
            raise errors.NotFound(404, "NotFound", "no such event")
        assert patch.content_type == MERGE
        self.events[key].update(json.loads(patch.body))
        return self.events[key]


class Counted(NoInstruments):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def sent(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.server = Server()
        self.instruments = Counted()
        self.recorder = Recorder(
            self.server,
            "wfe-controller",
            "pod-1_abc",
            clock=LoopClock(),
            rng=random.Random(1),
            instruments=self.instruments,
            **settings,
        )
        self.task = asyncio.create_task(self.recorder.run())

    def record(self, reason: str = "Failing", message: str = "it fails", regarding: Json = WFE) -> None:
        self.recorder.event(regarding, "Warning", reason, message, action="Run")

    @property
    def only(self) -> Json:
        assert len(self.server.events) == 1
        return next(iter(self.server.events.values()))


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.task.cancel()
    await asyncio.wait([bench.task])


async def test_the_event_is_what_kubectl_describe_looks_for(bench: Bench) -> None:
    """2.7: describe selects by involvedObject's uid, kind, name and namespace."""
    bench.record()
    await asyncio.sleep(1)
    event = bench.only
    name = event["metadata"].pop("name")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "team"},
        "involvedObject": {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "WorkflowExecution",
            "namespace": "team",
            "name": "fix",
            "uid": "u1",
            "resourceVersion": "7",
        },
        "type": "Warning",
        "reason": "Failing",
        "message": "it fails",
        "action": "Run",
        "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "wfe-controller"},
        "reportingComponent": "wfe-controller",
        "reportingInstance": "pod-1_abc",
    }
    assert name.startswith("fix.")
    assert bench.instruments.outcomes == ["created"]


async def test_a_repeat_patches_count_and_time(bench: Bench) -> None:
    """I-66, O3."""
    for _ in range(3):
        bench.record()
        await asyncio.sleep(300)
    await asyncio.sleep(1)
    assert (bench.only["count"], bench.only["lastTimestamp"]) == (3, "2026-01-01T00:10:00Z")
    assert bench.only["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert bench.instruments.outcomes == ["created", "suppressed", "patched"]


async def test_an_event_the_server_forgot_is_created_again(bench: Bench) -> None:
    """I-67: 404 on patch -> create, under a new name, with the whole count."""
    bench.record()
    await asyncio.sleep(601)
    (old,) = bench.server.events
    bench.server.events.clear()
    bench.record()
    await asyncio.sleep(1)
    assert bench.only["count"] == 2
    assert old not in bench.server.events
    assert [verb for verb, _ in bench.server.calls] == ["create", "patch", "create"]


async def test_a_create_whose_answer_was_lost_is_one_event(bench: Bench) -> None:
    """I-44. Story: the create is committed, the connection breaks before the answer. The second try has the same name,
    so the server says AlreadyExists, and that is success, not a second Event."""
    bench.server.after = [errors.ConnectionFailed("reset")]
    bench.record()
    await asyncio.sleep(60)
    assert bench.only["count"] == 1
    assert bench.instruments.outcomes == ["created"]


async def test_tries_are_bounded_and_the_reason_is_not_silenced(bench: Bench, logs: list[EventDict]) -> None:
    """I-68: 12 tries 10 s apart, the first wait random; then given up, and the next sighting starts again."""
    bench.server.before = [errors.Unavailable(503, "", "down") for _ in range(12)]
    bench.record()
    await asyncio.sleep(200)
    times = [time for _, time in bench.server.calls]
    assert len(times) == 12
    assert 0 < times[1] < 10
    assert all(later - earlier == pytest.approx(10) for earlier, later in itertools.pairwise(times[1:]))
    assert bench.instruments.outcomes == ["failed"]
    assert [entry["event"] for entry in logs] == ["event given up"]
    bench.record()
    await asyncio.sleep(1)
    assert bench.only["count"] == 2


async def test_a_refusal_is_dropped_at_once(bench: Bench, logs: list[EventDict]) -> None:
    """I-68: the namespace is being deleted, say."""
    bench.server.before = [errors.Forbidden(403, "Forbidden", "namespace is being terminated")]
    bench.record()
    bench.record("Other")
    await asyncio.sleep(60)
    assert len(bench.server.calls) == 2
    assert bench.instruments.outcomes == ["failed", "created"]
    assert "terminated" in logs[0]["error"]


async def test_a_full_queue_drops_and_never_blocks(logs: list[EventDict]) -> None:
    """I-68: one log line a minute, not one per event."""
    bench = Bench(queue_size=5)
    bench.server.hang = True
    for n in range(20):
        bench.record(regarding={**WFE, "metadata": {**WFE["metadata"], "uid": f"u{n}"}})
    assert bench.instruments.outcomes == ["dropped"] * 15
    assert len(logs) == 1
    bench.task.cancel()
    await asyncio.wait([bench.task])


async def test_cluster_scoped_objects_report_to_default(bench: Bench) -> None:
    """core/v1 validation: an Event about an object without a namespace lives in default."""
    bench.record(regarding={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "u"}})
    await asyncio.sleep(1)
    assert bench.only["metadata"]["namespace"] == "default"
    assert "namespace" not in bench.only["involvedObject"]


async def test_flush_sends_what_is_waiting_without_waits(bench: Bench) -> None:
    """I-56: also what sits in a pause between two tries."""
    bench.server.before = [errors.Unavailable(503, "", "down")]
    bench.record("First")
    await asyncio.sleep(0.1)
    bench.record("Second")
    assert await bench.recorder.flush(2)
    assert asyncio.get_running_loop().time() < 1
    assert len(bench.server.events) == 2


async def test_flush_is_bounded(bench: Bench) -> None:
    bench.server.hang = True
    bench.record()
    assert not await bench.recorder.flush(2)
    assert asyncio.get_running_loop().time() == 2


async def test_flush_gives_up_on_a_server_that_is_down(bench: Bench) -> None:
    """I-56: one try each, not twelve."""
    bench.server.before = [errors.ConnectionFailed("refused") for _ in range(50)]
    for n in range(3):
        bench.record(f"Reason{n}")
    assert await bench.recorder.flush(2)
    assert len(bench.server.calls) <= 4


async def test_cancelling_the_worker_loses_only_what_is_in_flight(bench: Bench) -> None:
    """W2: the supervisor restarts it, and the interrupted reason is free for its next sighting."""
    bench.server.hang = True
    bench.record()
    await asyncio.sleep(1)
    bench.task.cancel()
    await asyncio.wait([bench.task])
    bench.server.hang = False
    bench.task = asyncio.create_task(bench.recorder.run())
    bench.record()
    await asyncio.sleep(1)
    assert bench.only["count"] == 2


def test_messages_are_cut_at_whole_characters() -> None:
    """1024 bytes, not characters."""
    assert cut_message("x" * 1024) == "x" * 1024
    cut = cut_message("ü" * 1000)
    assert len(cut.encode()) <= 1024
    assert cut.endswith("ü...")


@pytest.mark.parametrize(
    ("name", "begins"),
    [("fix", "fix."), ("system:Node_1", "system-node-1."), ("", "f"), ("a" * 300, "a" * 236 + ".")],
)
def test_event_names_are_valid(name: str, begins: str) -> None:
    made = event_name(name, "f" * 16)
    assert made.startswith(begins)
    assert len(made) <= 253

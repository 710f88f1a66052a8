"""Failpoints on a real connection: one write goes wrong exactly once, everything else is untouched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rawserver import RawServer, ok, refuse
from wfe_controller.api import names
from wfe_controller.app.failpoints import ARMED, CALLS, VARIABLE, Armed, FailingTransport, Names
from wfe_controller.kube.client.transport import ConnectionSettings, Response
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.errors import ConnectionFailed, NotLeading, RequestTimeout

RUNS = "/apis/tekton.dev/v1/namespaces/runs/pipelineruns"
LOCK = "/apis/kubernaut.ai/v1alpha1/namespaces/home/targetlocks/wfe-1/status"
WFE = "/apis/kubernaut.ai/v1alpha1/namespaces/ops/workflowexecutions/one"
RUN = json.dumps({"metadata": {"name": "wfe-1"}}).encode()


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer() as running:
        running.on("POST", RUNS, ok({"kind": "PipelineRun"}))
        yield running


@pytest.fixture
async def transport(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FailingTransport]:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    settings = ConnectionSettings(server.kubeconfig(tmp_path / "kubeconfig"))
    connected = await FailingTransport.connect(settings, clock=RealClock())
    assert isinstance(connected, FailingTransport)
    yield connected
    await connected.close()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What would have been done to this process."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    return sent


def arm(tmp_path: Path, moment: Any, action: Any, **more: Any) -> None:
    Armed(id="x", point="create-pipelineruns", moment=moment, action=action, **more).write(tmp_path)


async def post(transport: FailingTransport, **more: Any) -> Response:
    return await transport.request("POST", RUNS, body=RUN, **more)


def told(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / CALLS).read_text().splitlines()]


async def test_nothing_armed_means_only_a_note(transport: FailingTransport, server: RawServer, tmp_path: Path) -> None:
    assert (await post(transport)).status == 200
    assert [(c["point"], c["status"], c["fired"]) for c in told(tmp_path)] == [("create-pipelineruns", 200, "")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(("moment", "sent"), [("before", 0), ("after", 1)])
async def test_a_kill_before_or_after_the_write(
    transport: FailingTransport,
    server: RawServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    sent: int,
) -> None:
    """At the moment of the signal the server has seen the write, or has not."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: seen.append((number, len(server.requests))))
    arm(tmp_path, moment, "kill")
    await post(transport)
    assert seen == [(signal.SIGKILL, sent)]
    assert (tmp_path / f"hit-x.{os.getpid()}").exists()
    await post(transport)
    assert len(seen) == 1, "a point fires once"


async def test_a_lost_answer_comes_after_the_commit(
    transport: FailingTransport, server: RawServer, tmp_path: Path, signals: list[int]
) -> None:
    arm(tmp_path, "after", "lose")
    with pytest.raises(ConnectionFailed):
        await post(transport)
    assert len(server.requests) == 1
    assert signals == []


async def test_who_freezes_before_the_gate_is_refused_by_it_after_waking(
    transport: FailingTransport, server: RawServer, tmp_path: Path, signals: list[int]
) -> None:
    def gate() -> float:
        if signals:
            raise NotLeading("the lease is lost")
        return 5.0

    arm(tmp_path, "before", "stop")
    with pytest.raises(NotLeading):
        await post(transport, gate=gate)
    assert signals == [signal.SIGSTOP]
    assert not server.requests
    assert told(tmp_path)[-1]["error"] == "NotLeading"


async def test_who_freezes_behind_the_gate_sends_late(
    transport: FailingTransport, server: RawServer, tmp_path: Path, signals: list[int]
) -> None:
    """Election is not fencing: the gate was passed, the bytes go out after the lease was lost."""

    def gate() -> float:
        if signals:
            raise NotLeading("the lease is lost")
        return 5.0

    arm(tmp_path, "sending", "stop")
    assert (await post(transport, gate=gate)).status == 200
    assert signals == [signal.SIGSTOP]
    assert len(server.requests) == 1
    assert told(tmp_path)[-1]["fired"] == "x"


async def test_a_late_request_arrives_even_when_its_caller_was_cancelled(
    transport: FailingTransport, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that lost its lease ends its workers at once; what is on the wire then arrives all the same."""
    stopped = asyncio.Event()
    monkeypatch.setattr(os, "kill", lambda pid, number: stopped.set())
    arm(tmp_path, "sending", "stop")
    caller = asyncio.create_task(post(transport))
    await stopped.wait()
    caller.cancel()
    await transport.close()
    assert len(server.requests) == 1


async def test_a_held_request_times_out_for_its_caller_and_is_sent_afterwards(
    transport: FailingTransport, server: RawServer, tmp_path: Path
) -> None:
    arm(tmp_path, "sending", "hold", seconds=0.05)
    with pytest.raises(RequestTimeout):
        await post(transport, gate=lambda: 0.01)
    assert not server.requests
    await server.wait_for(lambda: len(server.requests) == 1)


async def test_the_nth_call_about_the_named_object(
    transport: FailingTransport, tmp_path: Path, signals: list[int]
) -> None:
    arm(tmp_path, "before", "kill", nth=2, about=("wfe-1",))
    await transport.request("POST", RUNS, body=b'{"metadata": {"name": "other"}}')
    await post(transport)
    assert not signals
    await post(transport)
    assert signals == [signal.SIGKILL]
    assert not (tmp_path / ARMED).exists()


HELD = {"holder": {"uid": "u"}}
ENDED = {"lastExecution": {"uid": "u"}}


@pytest.mark.parametrize(
    ("call", "point"),
    [
        (("POST", RUNS, {}), "create-pipelineruns"),
        (("DELETE", f"{RUNS}/wfe-1", {}), "delete-pipelineruns"),
        (
            ("PATCH", f"{RUNS}/wfe-1", [{"op": "test"}, {"op": "remove", "path": "/spec/status"}]),
            "patch-pipelineruns-start",
        ),
        (
            ("PATCH", f"{RUNS}/wfe-1", [{"op": "add", "path": "/spec/status", "value": "CancelledRunFinally"}]),
            "patch-pipelineruns-cancelledrunfinally",
        ),
        (("PATCH", WFE, {"metadata": {"finalizers": [names.FINALIZER]}}), "patch-workflowexecutions-finalizer-on"),
        (("PATCH", WFE, {"metadata": {"finalizers": None}}), "patch-workflowexecutions-finalizer-off"),
        (("PUT", f"{WFE}/status", {"status": {"phase": "Running"}}), "update-workflowexecutions-status-running"),
        (
            ("PUT", f"{WFE}/status", {"status": {"phase": "Running", "pipelineRunStatus": {"a": 1}}}),
            "update-workflowexecutions-status-progress",
        ),
        (
            ("PUT", f"{WFE}/status", {"status": {"phase": "Running", "conditions": [{"type": "Cancelling"}]}}),
            "update-workflowexecutions-status-cancelling",
        ),
        (("PUT", f"{WFE}/status", {"status": {"phase": "Failed"}}), "update-workflowexecutions-status-failed"),
        (("PUT", LOCK, {"status": HELD}), "update-targetlocks-status-acquire"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_of_points(call: tuple[str, str, Any], point: str) -> None:
    method, path, body = call
    assert Names().point(method, path, json.dumps(body).encode()) == point


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (HELD, ENDED, "settle"),
        (HELD, {}, "drop"),
        (ENDED, ENDED | {"clearances": [{"by": "a"}]}, "clear"),
        (ENDED | {"workflows": [{}]}, ENDED, "prune"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_put_of_a_lock_from_another(before: Any, after: Any, what: str) -> None:
    """Told by what was read before: the body shows only the record as it shall be."""
    points = Names()
    read = {"metadata": {"name": "wfe-1"}, "status": before}
    points.saw(LOCK.removesuffix("/status"), Response(200, {}, json.dumps(read).encode()))
    point = points.point("PUT", LOCK, json.dumps({"status": after}).encode())
    assert point == f"update-targetlocks-status-{what}"


async def test_a_refused_write_leaves_the_point_to_the_one_that_is_committed(
    transport: FailingTransport, server: RawServer, tmp_path: Path
) -> None:
    """Two workers create the record of one target at once; the one that asked first is told AlreadyExists, because the
    other one's request was faster. That other one is the commit behind which the process was to die."""
    server.forget()
    server.on("POST", RUNS, refuse(409, "AlreadyExists"), ok({"kind": "PipelineRun"}))
    arm(tmp_path, "after", "lose")
    assert (await post(transport)).status == 409
    with pytest.raises(ConnectionFailed):
        await post(transport)
    assert (tmp_path / f"hit-x.{os.getpid()}").exists()

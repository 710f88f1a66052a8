"""The value of a parameter that a name calls secret is nowhere in what we write, under whatever name it is printed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import shell
from tests.support.bench import Bench
from tests.support.fakeapi import Call
from wfe_controller.api import names
from wfe_controller.app.logs import configure_logging
from wfe_controller.kube.errors import Forbidden
from wfe_controller.kube.objects import PODS, Json

SECRET = "correct horse"
PARAMETERS = {
    "DB_PASSWORD": SECRET,
    "TLS_KEY": "first line of it\nsecond line of it",
    "API_TOKEN": "abc",
    "MODE": "safe",
}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    control = configure_logging("debug", stream=stream)
    yield stream
    control.close()


@pytest.fixture
def bench(logged: io.StringIO) -> Bench:
    return Bench()


@pytest.fixture
def said(bench: Bench) -> list[str]:
    """Events: ``reason: message``."""
    events: list[str] = []
    bench.told.on_event = lambda regarding, reason, message: events.append(f"{reason}: {message}")
    return events


async def test_the_pipeline_prints_a_secret_parameter_under_a_harmless_name(
    bench: Bench, said: list[str], logged: io.StringIO
) -> None:
    """TH31, SPEC 13: create with DB_PASSWORD -> its step prints "connecting as correct horse" -> Tekton repeats it in
    the messages of the TaskRun and of the run -> it fails. The value stood in status.message, in the summary, in
    evidence.logTail, in conditions, in the Event and in the log: no word next to it says that it is a secret."""
    key = bench.create(shell.wfe(parameters=PARAMETERS))
    await bench.reconcile(key)
    (run,) = bench.runs()
    assert {p["name"]: p["value"] for p in run["spec"]["params"]}.items() >= PARAMETERS.items(), "untouched"
    waiting = shell.pod("Pending")
    waiting["status"]["containerStatuses"] = [_waits(f"no image for {SECRET}")]
    bench.children(run, _failing(bench, run), waiting)
    bench.set_status(names.PIPELINERUNS, run, shell.working())
    bench.clock.advance(10)
    await bench.reconcile(key)
    assert "no image for [REDACTED]" in bench.status(key)["message"]
    _end(bench, run)
    for _ in range(4):
        bench.clock.advance(10)
        await bench.reconcile(key)
    status = bench.status(key)
    assert (status["phase"], status["failureDetails"]["reason"]) == ("Failed", "TaskFailed")
    assert status["failureDetails"]["evidence"]["logTail"].splitlines()[-2:] == [
        "connecting as [REDACTED], mode safe",
        "the key is [REDACTED]",
    ]
    assert bench.lock_status(shell.TARGET)["block"]["reason"] == "ExecutionFailed"
    stored = [json.dumps(status), json.dumps(bench.lock_status(shell.TARGET))]
    assert SECRET not in "".join([*stored, *said])
    told = "\n".join([*stored, *said, logged.getvalue()])
    assert "connecting as [REDACTED]" in told
    assert SECRET not in told
    assert "second line" not in told


async def test_a_refusal_that_repeats_the_parameters_is_masked_wherever_it_is_told(
    bench: Bench, said: list[str], logged: io.StringIO
) -> None:
    """An admission policy refuses the run and quotes it: the words reach status, an Event and the log."""
    refusal = Forbidden(403, "Forbidden", f'param "x" has the value "{SECRET}", which is weak')

    def fail(call: Call) -> Exception | None:
        return refusal if (call.verb, call.resource) == ("create", names.PIPELINERUNS) else None

    bench.fail = fail
    key = bench.create(shell.wfe(parameters=PARAMETERS))
    await bench.reconcile(key)
    told = json.dumps(bench.status(key)) + str(said) + logged.getvalue()
    assert told.count("which is weak") >= 3
    assert SECRET not in told


async def test_our_own_words_around_a_secret_parameter(bench: Bench, said: list[str]) -> None:
    """Somebody cancels because "it printed correct horse": the condition Cancelling and its Event quote the reason."""
    key = bench.create(shell.wfe(parameters=PARAMETERS))
    await bench.reconcile(key)
    note = {"metadata": {"annotations": {names.ANNOTATION_CANCEL: f"it printed {SECRET}"}}}
    bench.server.update(names.WORKFLOWEXECUTIONS, key, lambda obj: obj["metadata"].update(note["metadata"]))
    bench.clock.advance(10)
    await bench.reconcile(key)
    told = json.dumps(bench.status(key)["conditions"])
    assert "it printed [REDACTED]" in told
    assert any("it printed [REDACTED]" in event for event in said)
    assert SECRET not in told + "".join(said)


async def test_a_read_that_is_refused_in_words_that_quote_a_secret_parameter(bench: Bench) -> None:
    """The lock cannot be read; status.message says why."""
    refusal = Forbidden(403, "Forbidden", f"whoever says {SECRET} may not")
    bench.fail = lambda call: refusal if (call.verb, call.resource) == ("get", names.TARGETLOCKS) else None
    key = bench.create(shell.wfe(parameters=PARAMETERS))
    await bench.reconcile(key)
    assert "whoever says [REDACTED] may not" in bench.status(key)["message"]
    assert SECRET not in json.dumps(bench.status(key))


async def test_what_was_known_of_one_object_is_not_looked_for_in_the_next(bench: Bench) -> None:
    """One worker, one task, two objects: the second one's text is its own."""
    first = bench.create(shell.wfe(parameters={"PASSWORD": "Deployment"}))
    await bench.reconcile(first)
    obj = shell.wfe(targetResource="shop/Deployment/other/too/many")
    obj["metadata"]["name"] = "cart-2"
    second = bench.create(obj)
    await bench.reconcile(second)
    assert "shop/Deployment/other" in bench.status(second)["failureDetails"]["message"]


def _waits(message: str) -> Json:
    return {"name": "step-act", "state": {"waiting": {"reason": "ImagePullBackOff", "message": message}}}


def _failing(bench: Bench, run: Json) -> Json:
    task_run = shell.task_run(started=False)
    task_run["metadata"]["ownerReferences"][0]["uid"] = run["metadata"]["uid"]
    return task_run


def _end(bench: Bench, run: Json) -> None:
    """The step ran and failed; everybody repeats what it said."""
    said = f"connecting as {SECRET}, mode safe"
    status: dict[str, Any] = shell.task_run("False", code=1)["status"]
    status["conditions"][0]["message"] = said
    bench.set_status(names.TASKRUNS, shell.task_run(), status)
    bench.set_status(PODS, shell.pod(), {"phase": "Failed"})
    ended = shell.finished("False")
    ended["conditions"][0]["message"] = said
    bench.set_status(names.PIPELINERUNS, run, ended)
    log = f"/api/v1/namespaces/{shell.EXECUTION}/pods/{shell.RUN_NAME}-act-pod/log"
    bench.api.logs[log] = f"{said}\nthe key is {PARAMETERS['TLS_KEY'].splitlines()[1]}"

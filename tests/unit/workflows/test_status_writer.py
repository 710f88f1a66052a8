"""The one status write: budget, 413, a word the server does not know (P:S1, TH26), stale inputs (I-61)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support import shell
from tests.support.crdschema import violations
from wfe_controller.api import names
from wfe_controller.api.conditions import get_condition, is_true
from wfe_controller.kube.cache.consistency import Fresh, Waiting
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.errors import Conflict, ConnectionFailed, Invalid, TooLarge
from wfe_controller.kube.objects import Json
from wfe_controller.workflows.phases.ending import settlement_of
from wfe_controller.workflows.snapshot import Snapshot
from wfe_controller.workflows.status_writer import StatusWriter, minimal, plain

if TYPE_CHECKING:
    from .conftest import Bench

TOO_LARGE = TooLarge(413, "RequestEntityTooLarge", "limit is 3145728")
UNKNOWN_WORD = Invalid(422, "Invalid", 'status.failureDetails.reason: Unsupported value: "TaskFailed"')


def verdict(**evidence: str) -> Json:
    """A real terminal status, as the handlers make it, with a cancellation given up in it."""
    since = {"type": "Cancelling", "status": "True", "reason": "Cancelled", "message": "cancelled by ann: wrong"}
    obj = shell.wfe(shell.running(conditions=[{**since, "lastTransitionTime": "2026-03-01T12:00:00Z"}]), finalizer=True)
    answers = {**shell.HELD, shell.Input.PODS: (shell.pod(),), shell.Input.TASK_RUNS: (shell.task_run(),)}
    status = shell.committed(shell.decide(shell.snapshot(obj, 180, cached_run=shell.run(shell.working())), answers)[0])
    if evidence:
        status["failureDetails"]["evidence"] = evidence
    return status


@pytest.fixture
def writer(bench: Bench) -> StatusWriter:
    return StatusWriter(bench.world)


def running(bench: Bench) -> Snapshot:
    return bench.execution(shell.running(), finalizer=True)


def fits_the_schema(status: Json) -> None:
    assert violations("WorkflowExecution", msgspec.json.decode(msgspec.json.encode(status)), part="status") == []


async def test_the_written_object_comes_back_and_is_waited_for(bench: Bench, writer: StatusWriter) -> None:
    """I-28."""
    seen = running(bench)
    obj = await writer.write(seen, {**seen.status, "progress": 5}, Lane.PROGRESS)
    assert obj == bench.stored()
    assert isinstance(bench.world.consistency.ready(seen.key), Waiting)
    bench.feed.deliver()
    assert isinstance(bench.world.consistency.ready(seen.key), Fresh)


async def test_a_stale_look_is_a_conflict_and_writes_nothing(bench: Bench, writer: StatusWriter) -> None:
    seen = running(bench)
    bench.server.update(names.WORKFLOWEXECUTIONS, seen.key, lambda o: o["status"].update(progress=7))
    with pytest.raises(Conflict):
        await writer.write(seen, verdict(), Lane.TERMINAL)
    assert bench.stored()["status"]["phase"] == "Running"


async def test_a_lost_answer_is_raised_not_repeated(bench: Bench, writer: StatusWriter) -> None:
    """I-44."""
    seen = running(bench)
    bench.fail["replace", names.WORKFLOWEXECUTIONS, "after"] = ConnectionFailed("reset")
    with pytest.raises(ConnectionFailed):
        await writer.write(seen, verdict(), Lane.TERMINAL)
    assert bench.calls.count("replace workflowexecutions") == 1


@pytest.mark.parametrize("error", [pytest.param(TOO_LARGE, id="413"), pytest.param(UNKNOWN_WORD, id="422")])
async def test_a_verdict_is_never_lost_for_its_size_or_its_words(
    bench: Bench, writer: StatusWriter, error: Exception
) -> None:
    """P:S1, TH26: written smaller or in prose, and the settlement derived from it is still the same block."""
    seen = running(bench)
    bench.fail["replace", names.WORKFLOWEXECUTIONS, "before"] = error
    whole = verdict()
    await writer.write(seen, whole, Lane.TERMINAL)
    written = bench.stored()["status"]
    fits_the_schema(written)
    assert (written["phase"], written["completionTime"]) == ("Failed", whole["completionTime"])
    assert written["pipelineRunRef"] == whole["pipelineRunRef"]
    assert is_true(written["conditions"], "StatusTruncated")
    assert is_true(written["conditions"], "Finished")
    block = settlement_of(seen, written).block
    assert block is not None
    assert block.reason == "CancelIncomplete"


async def test_a_progress_that_is_refused_is_not_reworded(bench: Bench, writer: StatusWriter) -> None:
    """Only a verdict is worth losing words for."""
    seen = running(bench)
    bench.fail["replace", names.WORKFLOWEXECUTIONS, "before"] = UNKNOWN_WORD
    with pytest.raises(Invalid):
        await writer.write(seen, {**seen.status, "progress": 5}, Lane.PROGRESS)


@pytest.mark.parametrize("size", [300 * 1024, 3 * 1024 * 1024])
async def test_a_status_over_its_budget_is_cut_before_it_is_sent(bench: Bench, writer: StatusWriter, size: int) -> None:
    seen = running(bench)
    await writer.write(seen, verdict(logTail="x" * size), Lane.TERMINAL)
    written = bench.stored()["status"]
    assert len(msgspec.json.encode(written)) < bench.settings.status_budget
    fits_the_schema(written)


def test_the_reworded_status_says_what_it_was() -> None:
    seen = shell.snapshot(shell.wfe(shell.running()))
    status = plain(seen, verdict(), "422: Unsupported value")
    assert status["failureDetails"]["reason"] == status["failureReason"] == "Unknown"
    assert status["failureDetails"]["message"].startswith("Cancelled: ")
    assert "422: Unsupported value" in status["message"]
    fits_the_schema(status)


@pytest.mark.parametrize(("reason", "counts"), [("Cancelled", False), ("DeadlineExceeded", False), ("Forbidden", True)])
def test_a_reworded_end_counts_as_the_end_it_was(reason: str, counts: bool) -> None:
    """Cancelled before it started; a server with an older CRD refuses the status (422); it is written again as Unknown;
    the settlement, derived from what stands there, lengthened the streak."""
    seen = shell.snapshot(shell.wfe(shell.running()))
    details = {"reason": reason, "message": "m", "wasExecutionFailure": False}
    whole = shell.ended("Failed", reason=reason, failureDetails=details)
    written = plain(seen, whole, "422: Unsupported value")
    assert written["failureDetails"]["reason"] == "Unknown"
    assert settlement_of(seen, written).counts is counts


def test_the_minimal_status_is_minimal() -> None:
    """Under 4 KiB whatever the messages are."""
    whole = verdict(logTail="x" * 4096)
    whole["message"] = whole["failureDetails"]["message"] = "m" * 30000
    small = minimal(shell.snapshot(shell.wfe(shell.running())), whole)
    assert len(msgspec.json.encode(small)) < 4096
    assert get_condition(small["conditions"], "Cancelling")["reason"] == "CancelIncomplete"  # type: ignore[index] # there
    fits_the_schema(small)


def test_what_the_handlers_write_fits_the_schema() -> None:
    """T16, TH26."""
    fits_the_schema(verdict())

"""A cleared block is told on the execution that caused it, whatever happens in between (BR-WE-013)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.bench import Bench
from tests.support.fakeapi import Call
from tests.support.shell import TARGET, at, ended, wfe
from tests.support.stepping import HOME
from wfe_controller.api import names
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.errors import Conflict, ConnectionFailed, Forbidden
from wfe_controller.kube.objects import Json, ObjectKey, uid_of

LOCK = ObjectKey(HOME, names.lock_name(TARGET))
WHY = "looked at the deployment"


class Died(Exception):
    """The process ends here."""


def request(uid: str, why: str = WHY) -> Json:
    name = names.ANNOTATION_CLEAR_BLOCK
    return {name: uid, names.by(name): "ann", names.reason(name): why}


def blocked() -> tuple[Bench, ObjectKey]:
    """An execution that failed after it had acted, its block, and a person who wants it cleared."""
    bench = Bench()
    key = bench.create(wfe())
    details = {"reason": "TaskFailed", "wasExecutionFailure": True}
    bench.set_status(names.WORKFLOWEXECUTIONS, bench.wfe(key), ended("Failed", failureDetails=details))
    uid = uid_of(bench.wfe(key))
    block = {"reason": "ExecutionFailed", "by": {"uid": uid, "name": key.name}, "since": rfc3339(at(0)), "message": "x"}
    meta = {"name": LOCK.name, "namespace": LOCK.namespace, "annotations": request(uid)}
    made = bench.server.create(names.TARGETLOCKS, {"metadata": meta, "spec": {"target": TARGET}})
    bench.set_status(names.TARGETLOCKS, made, {"block": block})
    return bench, key


def at_the_telling(error: Exception) -> Callable[[Call], Exception | None]:
    """Once, when status.blockClearance is to be written."""
    left = [error]

    def fail(call: Call) -> Exception | None:
        telling = call.resource is names.WORKFLOWEXECUTIONS and call.writes
        return left.pop() if telling and left else None

    return fail


def asked(bench: Bench) -> bool:
    annotations = bench.server.objects[names.TARGETLOCKS][LOCK]["metadata"].get("annotations") or {}
    return names.ANNOTATION_CLEAR_BLOCK in annotations


@pytest.mark.parametrize(
    "error",
    [
        Died(),
        ConnectionFailed("the answer was lost"),
        Conflict(409, "Conflict", "the object has been modified"),
    ],
    ids=["dies", "lost", "stale"],
)
async def test_what_breaks_off_after_the_clearance_is_told_by_the_next_look(error: Exception) -> None:
    """Found by the crash suite, killed right behind the PUT of the clearance: the successor found no block any more,
    took the annotations off, and who had cleared it never stood on the execution. A conflict did the same without any
    crash: it was passed over."""
    bench, key = blocked()
    bench.fail = at_the_telling(error)
    with pytest.raises(type(error)):
        await bench.keep(LOCK)
    assert "block" not in bench.lock_status(TARGET)
    assert "blockClearance" not in bench.status(key)
    assert asked(bench), "the request is all that says whose block it was"
    bench.clock.advance(60)
    await bench.keep(LOCK)
    told = bench.status(key)["blockClearance"]
    assert (told["clearedBy"], told["clearReason"]) == ("ann", WHY)
    assert told["clearedAt"] == bench.lock_status(TARGET)["clearances"][0]["at"]
    assert not asked(bench)
    assert len(bench.lock_status(TARGET)["clearances"]) == 1


async def test_a_refusal_does_not_keep_the_request_for_ever() -> None:
    bench, key = blocked()
    bench.fail = at_the_telling(Forbidden(403, "Forbidden", "no"))
    await bench.keep(LOCK)
    assert "blockClearance" not in bench.status(key)
    assert not asked(bench)


async def test_another_request_left_behind_tells_nothing() -> None:
    """A request nobody answered names some execution; the newest clearance is not about it."""
    bench, key = blocked()
    uid = uid_of(bench.wfe(key))

    def change(lock: Json) -> None:
        lock["metadata"]["annotations"] = request(uid, "another reason altogether")
        lock["status"] = {"clearances": [{"by": "ann", "at": rfc3339(at(0)), "reason": WHY, "verified": False}]}

    bench.server.update(names.TARGETLOCKS, LOCK, change)
    await bench.keep(LOCK)
    assert "blockClearance" not in bench.status(key)
    assert not asked(bench)

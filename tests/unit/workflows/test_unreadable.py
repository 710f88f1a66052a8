"""A right that is missing: the object says what cannot be read, and goes on soon after the right is back."""

from __future__ import annotations

from tests.support.bench import Bench
from tests.support.fakeapi import Call
from tests.support.shell import wfe
from wfe_controller.api import names
from wfe_controller.kube.control.outcomes import RequeueAfter
from wfe_controller.kube.errors import Forbidden
from wfe_controller.kube.objects import ObjectKey

REFUSED = Forbidden(403, "Forbidden", 'pipelineruns.tekton.dev "x" is forbidden')


def refused(call: Call) -> Exception | None:
    return REFUSED if call.verb == "get" and call.resource == names.PIPELINERUNS else None


async def test_a_run_that_may_not_be_read_is_told_in_status_and_asked_for_again() -> None:
    """The execution namespace's RoleBinding is deleted; a request arrives; the binding comes back without any event.

    Before, such an object had a finalizer, no phase and no reason, and the queue's backoff grew past a minute.
    """
    bench = Bench()
    bench.fail = refused
    key: ObjectKey = bench.create(wfe())
    assert isinstance(await bench.reconcile(key), RequeueAfter)
    status = bench.status(key)
    assert (status["phase"], status["reason"]) == ("Pending", "LockUnknown")
    assert "named-run cannot be read" in status["message"]
    assert not bench.runs()
    before = bench.wfe(key)["metadata"]["resourceVersion"]
    bench.clock.advance(10)
    assert isinstance(await bench.reconcile(key), RequeueAfter)
    assert bench.wfe(key)["metadata"]["resourceVersion"] == before, "the same words are not written again"
    bench.fail = lambda call: None
    bench.clock.advance(10)
    await bench.reconcile(key)
    assert bench.status(key)["phase"] == "Running"

"""What stands under the name of my run and is not mine is not touched (SPEC 13, TH2, T39)."""

from __future__ import annotations

import pytest

from tests.support.bench import Bench
from tests.support.shell import ended, finished, run, running, wfe, working
from wfe_controller.api import names
from wfe_controller.kube.objects import Json, ObjectKey


def _with_the_run_of_another(bench: Bench, status: Json, theirs: Json) -> ObjectKey:
    """An object that has owned a run, and the newer run of another object under the same name."""
    key = bench.create(wfe())
    bench.server.update(names.WORKFLOWEXECUTIONS, key, lambda obj: obj["metadata"].update(finalizers=[names.FINALIZER]))
    bench.set_status(names.WORKFLOWEXECUTIONS, bench.wfe(key), status)
    made = bench.server.create(names.PIPELINERUNS, theirs)
    bench.set_status(names.PIPELINERUNS, made, theirs["status"])
    return key


@pytest.mark.parametrize(
    "theirs", [run(pending=True), run(working()), run(finished())], ids=["pending", "works", "over"]
)
@pytest.mark.parametrize("deleted", [False, True], ids=["stays", "is-deleted"])
@pytest.mark.parametrize("status", [ended(), running()], ids=["ended", "running"])
async def test_the_run_of_a_newer_object_is_not_in_my_hands(status: Json, deleted: bool, theirs: Json) -> None:
    """An old object comes by again after a restart, long past its retention, or its own run was replaced while nobody
    looked: it deleted, cancelled or started what it found under the name."""
    bench = Bench()
    owner = {names.OWNER_UID: "uid-of-another", names.OWNER_NAME: "cart-0", names.OWNER_NAMESPACE: "ops"}
    meta = {**theirs["metadata"], "annotations": {**theirs["metadata"]["annotations"], **owner}}
    meta["labels"] = {**theirs["metadata"]["labels"], names.OWNER_UID: "uid-of-another"}
    key = _with_the_run_of_another(bench, status, {**theirs, "metadata": meta})
    if deleted:
        bench.server.delete(names.WORKFLOWEXECUTIONS, key)
    for _ in range(6):
        bench.clock.advance(600)
        await bench.reconcile(key)
    assert bench.writes(names.PIPELINERUNS) == []

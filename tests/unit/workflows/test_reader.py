"""Live reads: absent is an answer, unreadable is not (SPEC 2.1; TH22, TH23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import shell
from wfe_controller.api import names
from wfe_controller.kube.errors import Forbidden, NotFound, RequestTimeout, Unavailable
from wfe_controller.kube.objects import PODS, SERVICE_ACCOUNTS, ObjectKey
from wfe_controller.locking.decision import HolderState
from wfe_controller.locking.record import Holder, LockRecord, LockUnreadable, TargetCollision
from wfe_controller.workflows.plan import Input
from wfe_controller.workflows.reader import Reader
from wfe_controller.workflows.snapshot import Evidence

if TYPE_CHECKING:
    from .conftest import Bench

LOCK = ObjectKey("kubernaut-system", names.lock_name(shell.TARGET))
NO_TYPE = NotFound(404, "NotFound", "the server could not find the requested resource")


@pytest.fixture
def reader(bench: Bench) -> Reader:
    return Reader(bench.world)


async def test_no_record_is_an_answer(bench: Bench, reader: Reader) -> None:
    assert (await reader.read(bench.execution(), Input.LOCK)).inputs.lock is None


async def test_a_lock_that_may_not_be_read_is_unreadable_not_free(bench: Bench, reader: Reader) -> None:
    bench.fail["get", names.TARGETLOCKS, "before"] = Forbidden(403, "Forbidden", "no")
    assert isinstance((await reader.read(bench.execution(), Input.LOCK)).inputs.lock, LockUnreadable)


async def test_locks_that_are_not_served_are_unreadable_not_free(bench: Bench, reader: Reader) -> None:
    bench.fail["get", names.TARGETLOCKS, "before"] = NO_TYPE
    assert isinstance((await reader.read(bench.execution(), Input.LOCK)).inputs.lock, LockUnreadable)


async def test_a_lock_read_that_fails_stops_the_decision(bench: Bench, reader: Reader) -> None:
    """T11, TH22: an error is never "no history"."""
    bench.fail["get", names.TARGETLOCKS, "before"] = Unavailable(500, "InternalError", "etcd")
    with pytest.raises(Unavailable):
        await reader.read(bench.execution(), Input.LOCK)


async def test_a_record_of_another_target_under_the_name_is_a_collision(bench: Bench, reader: Reader) -> None:
    """TH41."""
    await bench.world.ledger.ensure(shell.TARGET)
    bench.server.update(names.TARGETLOCKS, LOCK, lambda o: o["spec"].update(target="shop/deployment/other"))
    assert isinstance((await reader.read(bench.execution(), Input.LOCK)).inputs.lock, TargetCollision)


@pytest.mark.parametrize(
    ("status", "uid", "state"),
    [
        pytest.param({"phase": "Running"}, None, HolderState.LIVE, id="T3-live"),
        pytest.param(None, None, HolderState.LIVE, id="TH8-no-phase-yet-is-live"),
        pytest.param({"phase": "Completed"}, None, HolderState.TERMINAL, id="T13-ended"),
        pytest.param({"phase": "Running"}, "older", HolderState.GONE, id="another-uid-under-its-name"),
    ],
)
async def test_the_holder_is_asked_itself(
    bench: Bench, reader: Reader, status: dict[str, str] | None, uid: str | None, state: HolderState
) -> None:
    made = bench.execution(status)
    holder = Holder(uid or made.uid, made.key.name, made.key.namespace, "tekton", shell.NOW)
    assert await reader.holder_state(holder) is state


async def test_a_holder_that_is_not_there_is_gone_and_one_we_may_not_see_is_live(bench: Bench, reader: Reader) -> None:
    """SPEC 2.6: a holder in an unwatched namespace is kept."""
    holder = Holder("uid-2", "cart-2", "ops", "tekton", shell.NOW)
    assert await reader.holder_state(holder) is HolderState.GONE
    bench.fail["get", names.WORKFLOWEXECUTIONS, "before"] = Forbidden(403, "Forbidden", "no")
    assert await reader.holder_state(holder) is HolderState.LIVE


@pytest.mark.parametrize(("status", "woken"), [({"phase": "Failed"}, "wfe"), (None, "lock")])
async def test_who_ended_without_letting_go_is_sent_for(
    bench: Bench, reader: Reader, status: dict[str, str] | None, woken: str
) -> None:
    """SPEC 2.1 step 6: enqueue the cleanup; a gone holder's is the lock keeper's."""
    sent: list[str] = []
    bench.world.wake = lambda key: sent.append("wfe")
    bench.world.wake_lock = lambda key: sent.append("lock")
    uid = bench.execution(status).uid if status else "uid-gone"
    meta = {"name": LOCK.name, "namespace": LOCK.namespace, "uid": "l", "resourceVersion": "1"}
    holder = Holder(uid, "cart-1" if status else "cart-9", "ops", "tekton", shell.NOW)
    seen = bench.snapshot(shell.wfe(), lock=LockRecord(shell.TARGET, holder=holder, raw={"metadata": meta}))
    await reader.read(seen, Input.HOLDER)
    assert sent == [woken]


async def test_what_uses_the_name_is_found_by_tektons_label(bench: Bench, reader: Reader) -> None:
    """SPEC 3: Tekton finds TaskRuns by name; whoever carries the label is in the way, ours or not."""
    bench.pod("left-over", **{names.TEKTON_PIPELINE_RUN: shell.RUN_NAME})
    bench.pod("unrelated", **{names.TEKTON_PIPELINE_RUN: "another-run"})
    assert (await reader.read(bench.execution(), Input.NAME_USERS)).inputs.name_users == ("Pod left-over",)


async def test_pods_are_found_by_the_uid_of_their_execution(bench: Bench, reader: Reader) -> None:
    seen = bench.execution()
    bench.pod("mine", **{names.OWNER_UID: seen.uid})
    bench.pod("theirs", **{names.OWNER_UID: "uid-2"})
    pods = (await reader.read(seen, Input.PODS)).inputs.pods
    assert [p["metadata"]["name"] for p in pods] == ["mine"]  # type: ignore[union-attr] # it was read


async def test_without_tekton_nothing_of_it_is_there(bench: Bench, reader: Reader) -> None:
    bench.fail["list", names.TASKRUNS, "before"] = NO_TYPE
    assert (await reader.read(bench.execution(), Input.TASK_RUNS)).inputs.task_runs == ()


async def test_pods_that_cannot_be_listed_stop_the_verdict(bench: Bench, reader: Reader) -> None:
    """SPEC 13: never conclude from what could not be read."""
    bench.fail["list", PODS, "before"] = Forbidden(403, "Forbidden", "no")
    with pytest.raises(Forbidden):
        await reader.read(bench.execution(), Input.PODS)


async def test_an_account_that_exists_is_remembered_for_a_while_and_its_absence_never(
    bench: Bench, reader: Reader
) -> None:
    seen = bench.execution()
    assert (await reader.read(seen, Input.RUNNER_ACCOUNT)).inputs.runner_account is False
    bench.account()
    for seconds, asked in ((0, 2), (29, 2), (2, 3)):
        bench.clock.advance(seconds)
        assert (await reader.read(seen, Input.RUNNER_ACCOUNT)).inputs.runner_account is True
        assert bench.calls.count(f"get {SERVICE_ACCOUNTS.plural}") == asked


LOG = f"/api/v1/namespaces/{shell.EXECUTION}/pods/{shell.RUN_NAME}-act-pod/log"


async def test_the_evidence_is_the_redacted_end_of_the_failing_containers_log(bench: Bench, reader: Reader) -> None:
    """P:T9, T-18.10."""
    bench.api.logs[LOG] = "x" * 9000 + "\npassword=hunter2\nboom"
    seen = bench.snapshot(
        shell.wfe(shell.running()),
        own_run=shell.run(shell.finished("False")),
        task_runs=(shell.task_run("False", code=1),),
        pods=(),
    )
    evidence = (await reader.read(seen, Input.EVIDENCE)).inputs.evidence
    assert isinstance(evidence, Evidence)
    assert evidence.container == "step-act"
    assert evidence.log_tail.endswith("boom")
    assert "hunter2" not in evidence.log_tail
    assert len(evidence.log_tail.encode()) == 4096, "the schema refuses one more, and with it the verdict"


async def test_a_secret_is_not_parted_from_its_name_by_the_cut(bench: Bench, reader: Reader) -> None:
    """T-18.10: the cut falls into the secret."""
    bench.api.logs[LOG] = "password=" + "hunter2-" * 4 + "\n" + "x" * (4096 - 17)
    seen = bench.snapshot(
        shell.wfe(shell.running()),
        own_run=shell.run(shell.finished("False")),
        task_runs=(shell.task_run("False", code=1),),
        pods=(),
    )
    assert "hunter2" not in str((await reader.read(seen, Input.EVIDENCE)).inputs.evidence)


@pytest.mark.parametrize(
    "error", [RequestTimeout("5 s"), NotFound(404, "NotFound", "pod gone"), Forbidden(403, "", "")]
)
async def test_a_log_that_cannot_be_had_delays_no_verdict(bench: Bench, reader: Reader, error: Exception) -> None:
    bench.fail["text", PODS, "before"] = error
    seen = bench.snapshot(
        shell.wfe(shell.running()),
        own_run=shell.run(shell.finished("False")),
        task_runs=(shell.task_run("False", code=1),),
        pods=(),
    )
    assert (await reader.read(seen, Input.EVIDENCE)).inputs.evidence == Evidence("step-act", "")


async def test_long_lines_do_not_push_the_end_of_the_log_out(bench: Bench, reader: Reader) -> None:
    """200 lines of 1 KiB: the server cut the answer after 64 KiB, from the front, so the line that said why was not in
    it. The limit is above what that many lines can hold, and the answer is cut here."""
    said: list[Any] = []
    told = bench.api.text

    async def text(path: str, *, params: Any = None, timeout: float = 0) -> str:
        said.append(params)
        whole = await told(path, params=params, timeout=timeout)
        lines = whole.splitlines(keepends=True)[-int(params["tailLines"]) :]
        return "".join(lines)[: int(params["limitBytes"])]

    bench.api.text = text  # type: ignore[method-assign]  # with the limits of a kubelet
    bench.api.logs[LOG] = ("x" * 16_000 + "\n") * 300 + "boom: password=hunter2"
    seen = bench.snapshot(
        shell.wfe(shell.running()),
        own_run=shell.run(shell.finished("False")),
        task_runs=(shell.task_run("False", code=1),),
        pods=(),
    )
    evidence = (await reader.read(seen, Input.EVIDENCE)).inputs.evidence
    assert isinstance(evidence, Evidence)
    assert "boom" in evidence.log_tail
    assert "hunter2" not in evidence.log_tail
    assert len(said) == 1

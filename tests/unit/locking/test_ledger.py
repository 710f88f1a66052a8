"""One transition, one compare-and-swap; and a record that is never lost while it says something (SPEC 1.3, 2.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.locks import LockServer
from wfe_controller.api.names import LOCK_FINALIZER, lock_name
from wfe_controller.api.reasons import LockOutcome
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.clock import rfc3339
from wfe_controller.kube.errors import Conflict, NotFound
from wfe_controller.kube.objects import Json, ObjectKey
from wfe_controller.locking.decision import Claim
from wfe_controller.locking.ledger import Ledger
from wfe_controller.locking.limits import Limits
from wfe_controller.locking.record import LockUnreadable, TargetCollision
from wfe_controller.locking.transitions import HeldByAnother, Settlement

TARGET = "shop/deployment/cart"
KEY = ObjectKey("kubernaut-system", lock_name(TARGET))
ME = Claim("uid-1", "wfe-1", "ops", "restart", "tekton")
OTHER = Claim("uid-2", "wfe-2", "ops", "scale", "steps")
LIMITS = Limits()


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def boottime(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the ledger never waits")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> LockServer:
    return LockServer()


@pytest.fixture
def ledger(server: LockServer, clock: Clock) -> Ledger:
    return Ledger(server, "kubernaut-system", clock)


def completed(clock: Clock) -> Settlement:
    return Settlement(LockOutcome.COMPLETED, False, False, clock.now())


async def test_a_record_is_born_with_its_finalizer_in_one_write(ledger: Ledger, server: LockServer) -> None:
    record = await ledger.ensure(TARGET)
    assert record.finalizers == [LOCK_FINALIZER]
    assert server.writes == [("create", Lane.START)]
    assert await ledger.ensure(TARGET) == record, "one that is there already is read, not made again"


async def test_losing_the_race_to_create_is_fine(ledger: Ledger, server: LockServer, clock: Clock) -> None:
    rival = Ledger(server, "kubernaut-system", clock)
    real = server.create

    async def lose(*args: object, **kwargs: object) -> Json:
        server.create = real  # type: ignore[method-assign] # the race happens once
        await rival.ensure(TARGET)
        return await real(*args, **kwargs)  # type: ignore[arg-type] # passed through untouched

    server.create = lose  # type: ignore[method-assign] # the hook of this test
    record = await ledger.ensure(TARGET)
    assert record.uid == server.objects[KEY]["metadata"]["uid"]


async def test_a_whole_life_is_two_writes_on_status(ledger: Ledger, server: LockServer, clock: Clock) -> None:
    """SPEC 11: start takes one, the end takes one."""
    record = await ledger.acquire(await ledger.ensure(TARGET), ME)
    record = await ledger.settle(record, ME, completed(clock), LIMITS)
    assert server.writes == [("create", Lane.START), ("replace", Lane.START), ("replace", Lane.RELEASE)]
    assert record.holder is None
    assert record.last_execution is not None
    assert record == await ledger.read(TARGET)


async def test_doing_it_again_writes_nothing(ledger: Ledger, server: LockServer, clock: Clock) -> None:
    held = await ledger.acquire(await ledger.ensure(TARGET), ME)
    assert await ledger.acquire(held, ME) is held
    freed = await ledger.settle(held, ME, completed(clock), LIMITS)
    count = len(server.writes)
    assert await ledger.settle(freed, ME, completed(clock), LIMITS) is freed
    assert await ledger.drop_hold(freed, ME.uid) is freed
    assert len(server.writes) == count


async def test_two_acquires_on_one_reading_have_one_winner(ledger: Ledger) -> None:
    """P:L7, TH48: check and act are one compare-and-swap."""
    seen = await ledger.ensure(TARGET)
    await ledger.acquire(seen, ME)
    with pytest.raises(Conflict):
        await ledger.acquire(seen, OTHER)
    current = await ledger.read(TARGET)
    assert current is not None
    with pytest.raises(HeldByAnother):
        await ledger.acquire(current, OTHER)


async def test_a_settle_on_a_stale_reading_is_a_conflict_not_a_lost_update(ledger: Ledger, clock: Clock) -> None:
    held = await ledger.acquire(await ledger.ensure(TARGET), ME)
    await ledger.drop_hold(held, ME.uid)
    with pytest.raises(Conflict):
        await ledger.settle(held, ME, completed(clock), LIMITS)


async def test_a_record_deleted_meanwhile_is_a_conflict(ledger: Ledger, server: LockServer) -> None:
    record = await ledger.ensure(TARGET)
    server.objects.clear()
    with pytest.raises(Conflict, match="deleted meanwhile"):
        await ledger.acquire(record, ME)


async def test_a_missing_type_is_not_a_free_target(ledger: Ledger, server: LockServer) -> None:
    """TH22: 404 without a name is the API saying that it knows no TargetLocks."""

    async def not_served(*args: object, **kwargs: object) -> Json:
        raise NotFound(404, "NotFound", "the server could not find the requested resource")

    server.get = not_served  # type: ignore[method-assign] # the hook of this test
    with pytest.raises(LockUnreadable, match="manifests/crds"):
        await ledger.read(TARGET)


async def test_a_collision_is_raised_not_adopted(ledger: Ledger, server: LockServer) -> None:
    await ledger.ensure(TARGET)
    server.objects[KEY]["spec"]["target"] = "other/deployment/x"
    with pytest.raises(TargetCollision):
        await ledger.ensure(TARGET)


async def test_clearing_then_taking_the_annotations_off(ledger: Ledger, server: LockServer, clock: Clock) -> None:
    """SPEC 7: clearance first; only the three annotations go."""
    held = await ledger.acquire(await ledger.ensure(TARGET), ME)
    await ledger.settle(held, ME, Settlement(LockOutcome.FAILED, True, False, clock.now()), LIMITS)
    server.objects[KEY]["metadata"]["annotations"] = {
        "kubernaut.ai/clear-block": "uid-1",
        "kubernaut.ai/clear-block-by": "ada",
        "kubernaut.ai/clear-block-reason": "checked by hand",
        "team": "shop",
    }
    blocked = await ledger.read(TARGET)
    assert blocked is not None
    cleared = await ledger.clear(blocked, by="ada", reason="checked by hand", verified=False, limits=LIMITS)
    assert cleared.block is None
    assert cleared.annotations["kubernaut.ai/clear-block"] == "uid-1"
    tidy = await ledger.remove_clear_annotations(cleared)
    assert tidy.annotations == {"team": "shop"}
    count = len(server.writes)
    assert await ledger.remove_clear_annotations(tidy) is tidy
    assert len(server.writes) == count


async def test_a_clear_request_written_meanwhile_is_not_removed(ledger: Ledger, server: LockServer) -> None:
    record = await ledger.ensure(TARGET)
    server.objects[KEY]["metadata"]["annotations"] = {"kubernaut.ai/clear-block": "uid-1"}
    seen = await ledger.read(TARGET)
    assert seen is not None
    await ledger.acquire(record, ME)  # anything that moves the version
    with pytest.raises(Conflict):
        await ledger.remove_clear_annotations(seen)


async def test_an_empty_record_is_deleted_in_three_bound_steps(ledger: Ledger, server: LockServer) -> None:
    record = await ledger.ensure(TARGET)
    assert await ledger.delete_if_empty(record, LIMITS)
    assert server.objects == {}
    assert [verb for verb, _ in server.writes] == ["create", "delete", "patch"]


async def test_a_record_that_says_something_stays(ledger: Ledger, server: LockServer, clock: Clock) -> None:
    held = await ledger.acquire(await ledger.ensure(TARGET), ME)
    assert not await ledger.delete_if_empty(held, LIMITS)
    freed = await ledger.settle(held, ME, completed(clock), LIMITS)
    assert not await ledger.delete_if_empty(freed, LIMITS), "cooling down"
    clock.time += timedelta(seconds=300)
    assert await ledger.delete_if_empty(freed, LIMITS)


def _acquired_in_between(server: LockServer, at: str) -> None:
    """Another writer takes the hold right before the next request of that kind."""

    def hook(verb: str) -> None:
        if verb != at:
            server.before = hook
            return
        obj = server.objects[KEY]
        obj["metadata"]["resourceVersion"] = "900"
        obj["status"] = {
            "holder": {
                "uid": OTHER.uid,
                "name": OTHER.name,
                "namespace": OTHER.namespace,
                "engine": OTHER.engine,
                "acquiredAt": rfc3339(datetime(2026, 3, 1, 12, tzinfo=UTC)),
            }
        }

    server.before = hook


@pytest.mark.parametrize("step", ["delete", "patch"])
async def test_an_acquire_that_slips_into_the_deletion_is_never_lost(
    ledger: Ledger, server: LockServer, clock: Clock, step: str
) -> None:
    """The reason for the order delete, look, finalizer off: the hold stands on an object that cannot vanish."""
    record = await ledger.ensure(TARGET)
    _acquired_in_between(server, step)
    assert not await ledger.delete_if_empty(record, LIMITS)
    current = await ledger.read(TARGET)
    assert current is not None
    assert current.holder is not None
    assert current.holder.uid == OTHER.uid
    assert current.finalizers == [LOCK_FINALIZER]
    assert current.deleting == (step == "patch")
    # A terminating record goes on deciding and goes away when it is empty again.
    clock.time += timedelta(hours=1)
    freed = await ledger.settle(current, OTHER, Settlement(LockOutcome.FAILED, False, False, clock.now()), LIMITS)
    assert await ledger.delete_if_empty(freed, LIMITS)
    assert server.objects == {}


async def test_a_record_recreated_by_somebody_else_is_not_touched(ledger: Ledger, server: LockServer) -> None:
    stale = await ledger.ensure(TARGET)
    assert await ledger.delete_if_empty(stale, LIMITS)
    fresh = await ledger.ensure(TARGET)
    assert not await ledger.delete_if_empty(stale, LIMITS), "uid precondition"
    assert await ledger.read(TARGET) == fresh


async def test_foreign_finalizers_stay(ledger: Ledger, server: LockServer) -> None:
    await ledger.ensure(TARGET)
    server.objects[KEY]["metadata"]["finalizers"] = ["example.org/backup", LOCK_FINALIZER]
    record = await ledger.read(TARGET)
    assert record is not None
    assert await ledger.delete_if_empty(record, LIMITS)
    assert server.objects[KEY]["metadata"]["finalizers"] == ["example.org/backup"]

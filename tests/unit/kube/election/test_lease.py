"""The Lease record as a value."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.leaseserver import LeaseServer
from wfe_controller.kube.election.lease import LeaseLock, LeaseRecord
from wfe_controller.kube.errors import Conflict
from wfe_controller.kube.objects import Json, ObjectKey

KEY = ObjectKey("kubernaut-system", "lease")
INSTANT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def test_the_record_is_written_as_client_go_writes_it() -> None:
    """MicroTime with six digits and Z, integers for the rest."""
    record = LeaseRecord("me", 15, INSTANT, INSTANT, 3)
    assert record.fields() == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-03-01T12:00:00.123456Z",
        "renewTime": "2026-03-01T12:00:00.123456Z",
        "leaseTransitions": 3,
    }
    assert LeaseRecord.from_object({"spec": record.fields()}) == record


@pytest.mark.parametrize(
    "lease",
    [
        {},
        {"spec": None},
        {"spec": []},
        {"spec": {"holderIdentity": None, "leaseDurationSeconds": "15", "renewTime": 7, "leaseTransitions": -1}},
        {"spec": {"holderIdentity": 5, "leaseDurationSeconds": True, "acquireTime": "yesterday"}},
    ],
)
def test_odd_records_of_others_read_as_empty(lease: Json) -> None:
    assert LeaseRecord.from_object(lease) == LeaseRecord()


@pytest.mark.looptime
async def test_a_write_keeps_what_others_put_there_and_conflicts_when_it_moved() -> None:
    """I-48: compare-and-swap on what was read."""
    server = LeaseServer()
    server.lease = {
        "metadata": {"name": "lease", "labels": {"team": "sre"}, "resourceVersion": "0"},
        "spec": {"holderIdentity": "", "strategy": "OldestEmulationVersion"},
    }
    lock = LeaseLock(server.client("a"), KEY)
    assert await lock.read() == LeaseRecord()
    await lock.write(LeaseRecord("me", 15, INSTANT, INSTANT, 1))
    assert server.lease["metadata"]["labels"] == {"team": "sre"}
    assert server.lease["spec"]["strategy"] == "OldestEmulationVersion"
    server.edit(holderIdentity="other")
    with pytest.raises(Conflict):
        await lock.write(LeaseRecord("me", 15, INSTANT, INSTANT, 1))
    assert server.lease["spec"]["holderIdentity"] == "other"

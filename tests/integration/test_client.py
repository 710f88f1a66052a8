"""What the client takes for granted about the API server, asked of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from hack.controlplane import Plane
from wfe_controller.kube import errors
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import PAGE_SIZE, Api
from wfe_controller.kube.client.throttle import Lane
from wfe_controller.kube.client.transport import ConnectionSettings, Transport
from wfe_controller.kube.clock import RealClock
from wfe_controller.kube.objects import Json, ObjectKey, Resource, resource_version_of, uid_of

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[Api]:
    transport = await Transport.connect(ConnectionSettings(str(plane.kubeconfig)), clock=RealClock())
    yield Api(transport, throttle=None, clock=RealClock())
    await transport.close()


def config_map(namespace: str, name: str, **data: Any) -> Json:
    metadata = {"namespace": namespace, "name": name, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_refusals_have_the_types_we_gave_them(api: Api, namespace: str) -> None:
    """Every refusal that a reconciler tells apart, from the server itself."""
    made = await api.create(CONFIG_MAPS, config_map(namespace, "a", k="1"), lane=Lane.START)
    key = ObjectKey(namespace, "a")
    with pytest.raises(errors.AlreadyExists):
        await api.create(CONFIG_MAPS, config_map(namespace, "a"), lane=Lane.START)
    with pytest.raises(errors.NotFound) as missing:
        await api.get(CONFIG_MAPS, ObjectKey(namespace, "nothing"))
    assert not missing.value.type_missing
    with pytest.raises(errors.NotFound) as unserved:
        await api.list(Resource("nope.example.com", "v1", "things", "Thing"))
    assert unserved.value.type_missing
    with pytest.raises(errors.Invalid) as invalid:
        await api.create(CONFIG_MAPS, config_map(namespace, "B_"), lane=Lane.START)
    assert [cause.field for cause in invalid.value.causes] == ["metadata.name"]
    with pytest.raises(errors.BadRequest):
        await api.create(CONFIG_MAPS, config_map(namespace, "b", k=5), lane=Lane.START)
    moved = await api.patch(
        CONFIG_MAPS, key, patches.merge_patch({"data": {"k": "2"}}, resource_version_of(made)), lane=Lane.PROGRESS
    )
    with pytest.raises(errors.Conflict):
        await api.replace(CONFIG_MAPS, made, lane=Lane.PROGRESS)
    with pytest.raises(errors.Conflict):
        await api.patch(CONFIG_MAPS, key, patches.merge_patch({}, resource_version_of(made)), lane=Lane.PROGRESS)
    with pytest.raises(errors.Invalid):
        await api.patch(
            CONFIG_MAPS,
            key,
            patches.json_patch([patches.test("/data/k", "9"), patches.remove("/data/k")]),
            lane=Lane.PROGRESS,
        )
    assert await api.get(CONFIG_MAPS, key) == moved


async def test_deletes_hit_only_what_was_looked_at(api: Api, namespace: str) -> None:
    made = await api.create(CONFIG_MAPS, config_map(namespace, "a"), lane=Lane.START)
    key, uid = ObjectKey(namespace, "a"), uid_of(made)
    with pytest.raises(errors.Conflict):
        await api.delete(CONFIG_MAPS, key, uid="another", lane=Lane.RELEASE)
    with pytest.raises(errors.Conflict):
        await api.delete(CONFIG_MAPS, key, uid=uid, resource_version="1", lane=Lane.RELEASE)
    await api.delete(CONFIG_MAPS, key, uid=uid, resource_version=resource_version_of(made), lane=Lane.RELEASE)
    with pytest.raises(errors.NotFound):
        await api.delete(CONFIG_MAPS, key, uid=uid, lane=Lane.RELEASE)


async def test_dry_run_and_apply(api: Api, namespace: str) -> None:
    await api.create(CONFIG_MAPS, config_map(namespace, "dry"), lane=Lane.START, dry_run=True)
    with pytest.raises(errors.NotFound):
        await api.get(CONFIG_MAPS, ObjectKey(namespace, "dry"))
    wanted = config_map(namespace, "applied", k="1")
    applied = await api.patch(
        CONFIG_MAPS, ObjectKey(namespace, "applied"), patches.apply_patch(wanted, "wfe-test"), lane=Lane.START
    )
    assert applied["data"] == {"k": "1"}
    assert applied["metadata"]["managedFields"][0]["manager"] == "wfe-test"


def batched(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


async def test_lists_come_in_pages_of_one_snapshot(api: Api, namespace: str) -> None:
    """I-3: more than one page, every object once, apiVersion and kind filled in."""
    count = PAGE_SIZE + 20
    for batch in batched(range(count), 40):  # all at once, the last would wait for longer than a request may take
        await asyncio.gather(
            *(api.create(CONFIG_MAPS, config_map(namespace, f"n-{n}"), lane=Lane.START) for n in batch)
        )
    found = await api.list(CONFIG_MAPS, namespace, label_selector="app=x")
    assert len({uid_of(obj) for obj in found}) == len(found) == count
    assert {(obj["apiVersion"], obj["kind"]) for obj in found} == {("v1", "ConfigMap")}
    first = await api.list_page(CONFIG_MAPS, namespace, label_selector="app=x", limit=100)
    await api.create(CONFIG_MAPS, config_map(namespace, "a-late-one"), lane=Lane.START)
    rest = await api.list_page(
        CONFIG_MAPS, namespace, label_selector="app=x", limit=None, continue_token=first.continue_token
    )
    assert len(first.items) + len(rest.items) == count
    assert rest.resource_version == first.resource_version
    assert rest.continue_token == ""


async def test_a_watch_goes_on_where_the_list_ended(api: Api, namespace: str) -> None:
    """I-1: nothing between LIST and WATCH is lost, and the server's own end of the stream is a clean one."""
    page = await api.list_page(CONFIG_MAPS, namespace)
    made = await api.create(CONFIG_MAPS, config_map(namespace, "w"), lane=Lane.START)
    events = []
    async with api.watch(
        CONFIG_MAPS, namespace, resource_version=page.resource_version, timeout_seconds=2, idle_timeout=10
    ) as opened:
        async for line in opened:
            event = msgspec.json.decode(line)
            events.append(
                (event["type"], event["object"]["metadata"].get("name"), resource_version_of(event["object"]))
            )
    assert ("ADDED", "w", resource_version_of(made)) in events


async def test_initial_events_end_with_their_bookmark(api: Api, namespace: str) -> None:
    """I-4."""
    await api.create(CONFIG_MAPS, config_map(namespace, "w"), lane=Lane.START)
    async with api.watch(
        CONFIG_MAPS, namespace, timeout_seconds=5, send_initial_events=True, idle_timeout=10
    ) as opened:
        async for line in opened:
            event = msgspec.json.decode(line)
            if event["type"] == "BOOKMARK":
                break
            assert event["type"] == "ADDED"
    assert event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


async def test_versions_the_server_cannot_serve(api: Api, namespace: str) -> None:
    """I-2: a version from the future is a 504 with its own cause; a foreign token is a 400."""
    with pytest.raises(errors.Unavailable) as future:
        await api.list_page(
            CONFIG_MAPS, namespace, limit=None, resource_version="99999999999", resource_version_match="NotOlderThan"
        )
    assert future.value.status == 504
    assert [cause.reason for cause in future.value.causes] == ["ResourceVersionTooLarge"]
    with pytest.raises(errors.BadRequest):
        await api.list_page(CONFIG_MAPS, namespace, continue_token="bogus")


async def test_clock_and_rights_can_be_asked(api: Api) -> None:
    """What the doctor needs: the Date header and an access review."""
    date = await api.server_date()
    assert date is not None
    assert abs(date - datetime.now(UTC)) < timedelta(seconds=5)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}},
    }
    answer = await api.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    assert answer["status"]["allowed"] is True

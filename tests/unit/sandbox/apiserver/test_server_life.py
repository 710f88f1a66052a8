"""What the embedded server promises beyond single answers: determinism, garbage collection, faults, ends of watches.

That answers equal the real server's is tests/contract's matter.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.sandbox.apiserver.conftest import CM, Client, make_server
from wfe_controller.sandbox.apiserver import faults
from wfe_controller.sandbox.apiserver.message import ConnectionDropped, Stream
from wfe_controller.sandbox.apiserver.watch import QUEUE

OWNED: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap"}


def named(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}}


def owner(obj: Any, **more: Any) -> dict[str, Any]:
    return {**OWNED, "name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"], **more}


async def names(client: Client) -> set[str]:
    await client.server.collector.idle()
    listed = await client.json("GET", CM)
    return {item["metadata"]["name"] for item in listed["items"]} - {"kube-root-ca.crt"}


@pytest.mark.looptime
async def test_the_same_seed_gives_the_same_server() -> None:
    """Uids, generated names and versions repeat with the seed and differ with another one."""

    async def run(seed: int) -> Any:
        client = Client(make_server(seed))
        made = await client.create({"metadata": {"generateName": "g-"}})
        await client.server.collector.idle()
        listed = await client.json("GET", "/api/v1/configmaps")
        await client.server.close()
        return made, listed

    first, again, other = await run(1), await run(1), await run(2)
    assert first == again
    assert first[0]["metadata"]["uid"] != other[0]["metadata"]["uid"]


@pytest.mark.looptime
async def test_background_deletion_takes_dependents_of_that_uid_only(client: Client) -> None:
    top = await client.create(named("top"))
    await client.create(named("child", ownerReferences=[owner(top)]))
    other = await client.create(named("other"))
    await client.create(named("shared", ownerReferences=[owner(top), owner(other)]))
    stranger = {**owner(top), "uid": "00000000-0000-0000-0000-000000000000"}
    await client.create(named("orphan-by-uid", ownerReferences=[stranger]))
    assert await names(client) == {"top", "child", "other", "shared"}
    await client.json("DELETE", f"{CM}/top")
    assert await names(client) == {"other", "shared"}
    shared = await client.json("GET", f"{CM}/shared")
    assert [r["name"] for r in shared["metadata"]["ownerReferences"]] == ["other"]


@pytest.mark.looptime
async def test_foreground_deletion_waits_for_blocking_dependents(client: Client) -> None:
    top = await client.create(named("top"))
    await client.create(
        named("held", finalizers=["example.com/hold"], ownerReferences=[owner(top, blockOwnerDeletion=True)])
    )
    gone = await client.json("DELETE", f"{CM}/top?propagationPolicy=Foreground")
    assert gone["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert await names(client) == {"top", "held"}
    body = {"metadata": {"finalizers": None}}
    await client.json("PATCH", f"{CM}/held", body, content_type="application/merge-patch+json")
    assert await names(client) == set()


@pytest.mark.looptime
async def test_orphaning_leaves_dependents_without_the_owner(client: Client) -> None:
    top = await client.create(named("top"))
    await client.create(named("child", ownerReferences=[owner(top)]))
    await client.json("DELETE", f"{CM}/top?propagationPolicy=Orphan")
    assert await names(client) == {"child"}
    assert "ownerReferences" not in (await client.json("GET", f"{CM}/child"))["metadata"]


@pytest.mark.looptime
async def test_a_namespace_gets_its_account_and_ends_when_it_is_empty(client: Client) -> None:
    await client.json("POST", "/api/v1/namespaces", named("n"), 201)
    await client.server.collector.idle()
    await client.json("GET", "/api/v1/namespaces/n/serviceaccounts/default")
    held = "/api/v1/namespaces/n/configmaps"
    await client.create(named("held", finalizers=["example.com/hold"]), held)
    await client.json("DELETE", "/api/v1/namespaces/n")
    await client.server.collector.idle()
    left = await client.json("GET", "/api/v1/namespaces/n")
    reasons = {c["type"]: c["status"] for c in left["status"]["conditions"]}
    assert reasons["NamespaceFinalizersRemaining"] == "True"
    assert (await client.json("POST", held, named("new"), 403))["details"]["causes"][0]["reason"] == (
        "NamespaceTerminating"
    )
    body = {"metadata": {"finalizers": None}}
    await client.json("PATCH", f"{held}/held", body, content_type="application/merge-patch+json")
    await client.server.collector.idle()
    await client.json("GET", "/api/v1/namespaces/n", code=404)


# -- watches --------------------


@pytest.mark.looptime
async def test_a_watch_ends_at_its_timeout_with_a_bookmark_before(client: Client) -> None:
    started = asyncio.get_running_loop().time()
    path = f"{CM}?watch=1&timeoutSeconds=90&allowWatchBookmarks=true&resourceVersion=1&fieldSelector=metadata.name=none"
    events = [(event["type"], asyncio.get_running_loop().time() - started) async for event in client.watch(path)]
    assert events == [("BOOKMARK", pytest.approx(60)), ("BOOKMARK", pytest.approx(88))]
    assert asyncio.get_running_loop().time() - started == pytest.approx(90)


@pytest.mark.looptime
async def test_a_watch_hears_what_happens_before_it_is_read(client: Client) -> None:
    """Nothing falls between the answer's head and the first read."""
    stream = await client.ask("GET", f"{CM}?watch=1&resourceVersion={client.server.store.revision}&timeoutSeconds=5")
    assert isinstance(stream, Stream)
    await client.create(named("early"))
    first = await anext(stream.lines)
    assert json.loads(first)["object"]["metadata"]["name"] == "early"
    await stream.lines.aclose()


@pytest.mark.looptime
async def test_a_reader_that_is_too_slow_is_cut_and_misses_nothing_before(client: Client) -> None:
    made = await client.create(named("busy"))
    stream = await client.ask("GET", f"{CM}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert isinstance(stream, Stream)
    table = client.server.store.table("configmaps")
    for _ in range(QUEUE + 10):
        old = table.objects["default/busy"]
        client.server.store.write(table, old.decode(), old)
    seen = 0
    async for chunk in stream.lines:
        seen += chunk.count(b"\n")
    assert seen == QUEUE


@pytest.mark.looptime
async def test_an_abandoned_watch_is_forgotten(client: Client) -> None:
    stream = await client.ask("GET", f"{CM}?watch=1&resourceVersion=1&timeoutSeconds=100")
    assert isinstance(stream, Stream)
    await anext(stream.lines)
    assert client.server.store.table("configmaps").listeners
    await stream.lines.aclose()
    assert not client.server.store.table("configmaps").listeners


# -- faults --------------------


@pytest.mark.looptime
async def test_a_lost_answer_is_a_write_that_happened(client: Client) -> None:
    client.server.faults.add(faults.lose_answer(verb="create", resource="configmaps"))
    with pytest.raises(ConnectionDropped):
        await client.ask("POST", CM, named("a"))
    await client.json("GET", f"{CM}/a")
    await client.create(named("b"))  # one request only


@pytest.mark.looptime
async def test_a_dropped_request_is_a_write_that_did_not_happen(client: Client) -> None:
    client.server.faults.add(faults.drop(verb="create"))
    with pytest.raises(ConnectionDropped):
        await client.ask("POST", CM, named("a"))
    await client.json("GET", f"{CM}/a", code=404)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
async def test_refusals_hit_what_they_are_for(client: Client, code: int, reason: str) -> None:
    fault = client.server.faults.add(faults.refuse(code, verb="get", name="a", count=2, skip=1))
    await client.create(named("a"))
    await client.json("GET", f"{CM}/a")
    for _ in range(2):
        answer = await client.json("GET", f"{CM}/a", code=code)
        assert answer["reason"] == reason
    await client.json("GET", f"{CM}/a")
    assert fault.hits == 2


@pytest.mark.looptime
async def test_a_delay_takes_the_clocks_time(client: Client) -> None:
    client.server.faults.add(faults.delay(30.0, verb="list"))
    started = asyncio.get_running_loop().time()
    await client.json("GET", CM)
    assert asyncio.get_running_loop().time() - started == pytest.approx(30.0)


@pytest.mark.looptime
async def test_a_stale_read_shows_an_older_state(client: Client) -> None:
    await client.create(named("a"))
    revision = client.server.store.revision
    await client.json("DELETE", f"{CM}/a")
    client.server.faults.add(faults.stale_read(1, count=2))
    assert (await client.json("GET", f"{CM}/a"))["metadata"]["name"] == "a"
    listed = await client.json("GET", CM)
    assert "a" in {item["metadata"]["name"] for item in listed["items"]}
    assert listed["metadata"]["resourceVersion"] == str(revision)
    await client.json("GET", f"{CM}/a", code=404)


@pytest.mark.looptime
async def test_a_cut_watch_ends_after_its_lines_with_the_error(client: Client) -> None:
    for name in "abc":
        await client.create(named(name))
    error = faults.refuse(410).error
    client.server.faults.add(faults.cut_watch(after=2, error=error))
    events = [event async for event in client.watch(f"{CM}?watch=1&labelSelector=")]
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "ERROR"]
    assert events[-1]["object"]["code"] == 410


# -- who and how much --------------------


@pytest.mark.looptime
async def test_rights_change_with_the_roles_that_are_stored(client: Client) -> None:
    bearer = {"authorization": "Bearer nobody"}
    await client.json("GET", CM, code=403, **bearer)
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await client.create({**named("reader"), "rules": rules}, f"{rbac}/roles")
    subject = {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    await client.create({**named("reader"), "subjects": [subject], "roleRef": ref}, f"{rbac}/rolebindings")
    await client.json("GET", CM, **bearer)
    await client.json("DELETE", f"{rbac}/rolebindings/reader")
    await client.json("GET", CM, code=403, **bearer)


@pytest.mark.looptime
async def test_a_token_of_an_account_ends_with_its_time_and_with_the_account(client: Client) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await client.create(named("robot"), accounts)
    made = await client.json("POST", f"{accounts}/robot/token", {"spec": {"expirationSeconds": 600}}, 201)
    bearer = {"authorization": f"Bearer {made['status']['token']}"}
    await client.json("GET", CM, code=403, **bearer)
    await asyncio.sleep(601)
    await client.json("GET", CM, code=401, **bearer)
    made = await client.json("POST", f"{accounts}/robot/token", {"spec": {}}, 201)
    bearer = {"authorization": f"Bearer {made['status']['token']}"}
    await client.json("DELETE", f"{accounts}/robot")
    await client.json("GET", CM, code=401, **bearer)


@pytest.mark.looptime
async def test_a_bug_answers_500_and_leaves_the_server_alive(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("wfe_controller.sandbox.apiserver.verbs.create", broken)
        assert (await client.json("POST", CM, named("a"), 500))["reason"] == "InternalError"
    await client.create(named("a"))

"""Verbs, retries and the write gate over a scripted transport, under virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from wfe_controller.kube import errors
from wfe_controller.kube.client import patches
from wfe_controller.kube.client.api import Api
from wfe_controller.kube.client.throttle import Lane, Throttle
from wfe_controller.kube.client.transport import Response, Transport
from wfe_controller.kube.clock import LoopClock
from wfe_controller.kube.objects import LEASES, NAMESPACES, PODS, ObjectKey, Resource

pytestmark = pytest.mark.looptime

CLOCK = LoopClock()
RUNS = Resource("tekton.dev", "v1", "pipelineruns", "PipelineRun")
KEY = ObjectKey("ns", "a")


def answer(body: Any, status: int = 200, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, names, body if isinstance(body, bytes) else msgspec.json.encode(body))


def refusal(code: int, reason: str = "", **headers: str) -> Response:
    return answer({"kind": "Status", "reason": reason, "message": "no", "code": code}, code, **headers)


@dataclass
class Sent:
    at: float
    method: str
    path: str
    params: Mapping[str, str]
    body: Any
    content_type: str
    limit: float


@dataclass
class Script:
    """Stands in for the transport: gives the scripted answers in order, asks the gate where the real one does."""

    answers: list[Response | BaseException]
    sent: list[Sent] = field(default_factory=list)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        timeout: float,
        gate: Callable[[], float] | None,
    ) -> Response:
        limit = timeout if gate is None else min(timeout, gate())
        decoded = None if body is None else msgspec.json.decode(body)
        self.sent.append(Sent(CLOCK.monotonic(), method, path, params or {}, decoded, content_type, limit))
        result = self.answers.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result


@dataclass
class Counts:
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    refused: int = 0

    def request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        self.requests.append((verb, resource, code))

    def throttled(self, lane: str, seconds: float) -> None: ...

    def gate_refused(self) -> None:
        self.refused += 1


class Gate:
    def __init__(self, *verdicts: float) -> None:
        self.verdicts = list(verdicts)
        self.asked = 0

    def check(self) -> float:
        self.asked += 1
        left = self.verdicts.pop(0)
        if left <= 0:
            raise errors.NotLeading("the lease is lost")
        return left


def make(
    *answers: Response | BaseException, throttle: Throttle | None = None, gate: Gate | None = None
) -> tuple[Api, Script, Counts]:
    script, counts = Script(list(answers)), Counts()
    api = Api(
        cast(Transport, script), throttle=throttle, clock=CLOCK, instruments=counts, gate=gate, rng=random.Random(1)
    )
    return api, script, counts


POD = {"metadata": {"namespace": "ns", "name": "a", "resourceVersion": "7"}}

VERBS: dict[str, Callable[[Api], Awaitable[object]]] = {
    "get": lambda api: api.get(PODS, KEY),
    "list": lambda api: api.list(PODS, "ns"),
    "create": lambda api: api.create(PODS, POD, lane=Lane.START),
    "update": lambda api: api.replace(PODS, POD, lane=Lane.TERMINAL),
    "patch": lambda api: api.patch(PODS, KEY, patches.merge_patch({}), lane=Lane.PROGRESS),
    "delete": lambda api: api.delete(PODS, KEY, uid="u", lane=Lane.RELEASE),
}
READS = ("get", "list")
WRITES = ("create", "update", "patch", "delete")


async def test_paths_bodies_and_labels_of_every_verb() -> None:
    api, script, counts = make(*[answer({"kind": "Pod", "items": []})] * 9)
    for call in VERBS.values():
        await call(api)
    lease = {"metadata": {"namespace": "kube", "name": "l", "resourceVersion": "1"}}
    await api.replace(LEASES, lease, lane=Lane.LEASE)
    await api.replace(RUNS, POD, subresource="status", lane=Lane.TERMINAL)
    await api.create(NAMESPACES, {"metadata": {"name": "n"}}, lane=Lane.START, dry_run=True)
    assert [(s.method, s.path) for s in script.sent] == [
        ("GET", "/api/v1/namespaces/ns/pods/a"),
        ("GET", "/api/v1/namespaces/ns/pods"),
        ("POST", "/api/v1/namespaces/ns/pods"),
        ("PUT", "/api/v1/namespaces/ns/pods/a"),
        ("PATCH", "/api/v1/namespaces/ns/pods/a"),
        ("DELETE", "/api/v1/namespaces/ns/pods/a"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube/leases/l"),
        ("PUT", "/apis/tekton.dev/v1/namespaces/ns/pipelineruns/a/status"),
        ("POST", "/api/v1/namespaces"),
    ]
    assert script.sent[8].params == {"dryRun": "All"}
    assert script.sent[4].content_type == "application/merge-patch+json"
    assert counts.requests[:6] == [(verb, "pods", "200") for verb in VERBS]


async def test_delete_always_names_the_uid() -> None:
    """A delete without precondition could hit the successor of the object that was looked at. (TH2)"""
    api, script, _ = make(answer({"kind": "Status", "status": "Success"}), answer({"kind": "Pod"}))
    await api.delete(PODS, KEY, uid="u-1", lane=Lane.RELEASE)
    await api.delete(PODS, KEY, uid="u-1", resource_version="9", propagation="Foreground", lane=Lane.RELEASE)
    assert script.sent[0].body["preconditions"] == {"uid": "u-1"}
    assert script.sent[0].body["propagationPolicy"] == "Background"
    assert script.sent[1].body["preconditions"] == {"uid": "u-1", "resourceVersion": "9"}
    assert script.sent[1].body["propagationPolicy"] == "Foreground"
    with pytest.raises(ValueError, match="uid"):
        await api.delete(PODS, KEY, uid="", lane=Lane.RELEASE)
    assert len(script.sent) == 2


async def test_replace_without_version_is_refused_here() -> None:
    """I-61: a PUT without resourceVersion is last writer wins."""
    api, script, _ = make()
    with pytest.raises(ValueError, match="resourceVersion"):
        await api.replace(PODS, {"metadata": {"namespace": "ns", "name": "a"}}, lane=Lane.TERMINAL)
    assert script.sent == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x", "a?x=1", "a%2fb", "a#b", "a b", "a\nb"])
async def test_a_name_never_changes_the_path(name: str) -> None:
    """Names come out of other people's objects; none may reach another resource."""
    api, script, _ = make()
    with pytest.raises(ValueError, match="name"):
        await api.get(PODS, ObjectKey("ns", name))
    with pytest.raises(ValueError, match="name"):
        await api.delete(PODS, ObjectKey("ns", name), uid="u", lane=Lane.RELEASE)
    assert script.sent == []


# -- lists


async def test_list_drains_all_pages_and_fills_in_the_kind() -> None:
    """I-3: quorum read (no resourceVersion), pages of 500; items of a List lack apiVersion and kind."""
    pages = [
        answer({"metadata": {"resourceVersion": "9", "continue": "t1", "remainingItemCount": 1}, "items": [POD]}),
        answer({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}, "spec": {"x": 1}}]}),
    ]
    api, script, _ = make(*pages)
    found = await api.list(RUNS, "ns", label_selector="a=b", field_selector="metadata.name!=z")
    assert [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in found] == [
        ("tekton.dev/v1", "PipelineRun", "a"),
        ("tekton.dev/v1", "PipelineRun", "b"),
    ]
    chosen = {"labelSelector": "a=b", "fieldSelector": "metadata.name!=z", "limit": "500"}
    assert [s.params for s in script.sent] == [chosen, {**chosen, "continue": "t1"}]


async def test_list_starts_again_unpaged_when_the_snapshot_expires() -> None:
    """I-3: 410 on a later page; nothing of the first page may appear twice."""
    whole = answer({"metadata": {}, "items": [POD, {"metadata": {"name": "b"}}]})
    api, script, _ = make(answer({"metadata": {"continue": "t"}, "items": [POD]}), refusal(410, "Expired"), whole)
    assert [o["metadata"]["name"] for o in await api.list(PODS)] == ["a", "b"]
    assert script.sent[2].params == {}


async def test_410_on_the_first_page_is_raised() -> None:
    api, _, _ = make(refusal(410, "Expired"))
    with pytest.raises(errors.Gone):
        await api.list(PODS)


async def test_list_page_carries_what_the_pager_needs() -> None:
    meta = b'{"resourceVersion":"12","remainingItemCount":3,"continue":"c"}'
    body = b'{"kind":"PodList","metadata":' + meta + b',"items":[{"a":1}]}'
    api, script, _ = make(answer(body), answer({"items": None}))
    page = await api.list_page(PODS, "ns", limit=1, resource_version="5", resource_version_match="NotOlderThan")
    assert [bytes(item) for item in page.items] == [b'{"a":1}']
    assert (page.resource_version, page.continue_token, page.remaining) == ("12", "c", 3)
    assert script.sent[0].params == {
        "limit": "1",
        "resourceVersion": "5",
        "resourceVersionMatch": "NotOlderThan",
    }
    empty = await api.list_page(PODS, continue_token="c", resource_version="5", limit=None)
    assert empty.items == []
    assert script.sent[1].params == {"continue": "c"}, "a token brings its own version"


# -- refusals


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (refusal(400, "BadRequest"), errors.BadRequest),
        (refusal(401, "Unauthorized"), errors.Unauthorized),
        (refusal(403, "Forbidden"), errors.Forbidden),
        (refusal(404, "NotFound"), errors.NotFound),
        (refusal(405, "MethodNotAllowed"), errors.MethodNotAllowed),
        (refusal(409, "Conflict"), errors.Conflict),
        (refusal(409, "AlreadyExists"), errors.AlreadyExists),
        (refusal(410, "Gone"), errors.Gone),
        (refusal(413), errors.TooLarge),
        (refusal(415), errors.MethodNotAllowed),
        (refusal(422, "Invalid"), errors.Invalid),
        (refusal(500, "InternalError"), errors.Unavailable),
        (refusal(504, "Timeout"), errors.Unavailable),
        (answer(b"<html>bad gateway</html>", 502), errors.Unavailable),
        (answer(b"", 503), errors.Unavailable),
        (answer(b'["not a status"]', 403), errors.Forbidden),
        (answer(b"\xff\xfe", 404), errors.NotFound),
        (answer(b"", 302), errors.ApiError),
    ],
    ids=lambda value: value.status if isinstance(value, Response) else None,
)
async def test_errors_are_typed_and_writes_are_sent_once(response: Response, kind: type[errors.ApiError]) -> None:
    """I-44: a write that may have been committed (5xx) is raised, not repeated."""
    api, script, counts = make(response)
    with pytest.raises(errors.ApiError) as raised:
        await api.create(PODS, POD, lane=Lane.START)
    assert type(raised.value) is kind
    assert raised.value.status == response.status
    assert len(script.sent) == 1
    assert counts.requests == [("create", "pods", str(response.status))]


async def test_invalid_carries_its_field_causes_and_text_bodies_their_text() -> None:
    causes = [{"field": "spec.x", "reason": "FieldValueInvalid", "message": "bad"}]
    status = {"kind": "Status", "reason": "Invalid", "message": "m", "details": {"causes": causes}}
    api, _, _ = make(answer(status, 422), answer(b"upstream connect error", 403))
    with pytest.raises(errors.Invalid) as invalid:
        await api.create(PODS, POD, lane=Lane.START)
    assert invalid.value.causes == (errors.Cause("spec.x", "FieldValueInvalid", "bad"),)
    with pytest.raises(errors.Forbidden, match="upstream connect error"):
        await api.create(PODS, POD, lane=Lane.START)


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize("failure", [errors.ConnectionFailed("reset"), errors.RequestTimeout("late")])
async def test_a_write_without_answer_is_raised_not_repeated(verb: str, failure: errors.KubeError) -> None:
    """I-44."""
    api, script, counts = make(failure)
    with pytest.raises(type(failure)):
        await VERBS[verb](api)
    assert len(script.sent) == 1
    assert counts.requests[0][2] == ("timeout" if isinstance(failure, errors.RequestTimeout) else "error")


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("failure", [errors.ConnectionFailed("reset"), refusal(500), refusal(503)], ids=str)
async def test_a_read_gets_one_second_chance(verb: str, failure: Any) -> None:
    api, script, _ = make(failure, answer({"items": []}))
    await VERBS[verb](api)
    assert len(script.sent) == 2
    api, script, _ = make(failure, failure)
    with pytest.raises(errors.KubeError):
        await VERBS[verb](api)
    assert len(script.sent) == 2


@pytest.mark.parametrize("failure", [errors.RequestTimeout("late"), refusal(504, "Timeout")], ids=["ours", "504"])
async def test_a_read_that_timed_out_is_not_repeated(failure: Any) -> None:
    """It has already cost its caller the whole time; "Too large resource version" comes as a 504 after 3 s (I-2)."""
    api, script, _ = make(failure)
    with pytest.raises((errors.RequestTimeout, errors.Unavailable)):
        await api.get(PODS, KEY)
    assert len(script.sent) == 1


# -- Retry-After


@pytest.mark.parametrize("verb", VERBS)
async def test_429_is_waited_for_on_every_verb(verb: str) -> None:
    """Q3, I-69: at least Retry-After, plus jitter, then the same request again."""
    api, script, counts = make(refusal(429, "TooManyRequests", Retry_After="3"), answer({"items": []}))
    await VERBS[verb](api)
    assert 3.0 < script.sent[1].at - script.sent[0].at <= 3.0 * 1.25
    assert script.sent[0].body == script.sent[1].body
    assert [code for _, _, code in counts.requests] == ["429", "200"]


async def test_429_three_times_is_raised_with_its_wait() -> None:
    api, script, _ = make(*[refusal(429, Retry_After="1")] * 3)
    with pytest.raises(errors.Throttled) as raised:
        await api.create(PODS, POD, lane=Lane.START)
    assert len(script.sent) == 3
    assert raised.value.retry_after == 1


@pytest.mark.parametrize(
    ("response", "least", "most"),
    [
        (refusal(429), 1.0, 1.25),
        (refusal(429, Retry_After="soon"), 1.0, 1.25),
        (refusal(429, Retry_After="0"), 0.0, 0.0),
        (refusal(429, Retry_After="Thu, 01 Jan 2026 00:00:04 GMT"), 4.0, 5.0),
        (answer({"kind": "Status", "details": {"retryAfterSeconds": 2}}, 429), 2.0, 2.5),
        (refusal(503, Retry_After="2"), 2.0, 2.5),
    ],
    ids=["none", "odd", "zero", "date", "in the body", "503"],
)
async def test_forms_of_retry_after(response: Response, least: float, most: float) -> None:
    """Q3 names header and body; RFC 9110 allows a date. The virtual clock starts at 2026-01-01."""
    api, script, _ = make(response, answer({}))
    await api.get(PODS, KEY)
    assert least <= script.sent[1].at - script.sent[0].at <= most


async def test_503_with_retry_after_is_not_repeated_for_a_write() -> None:
    api, script, _ = make(refusal(503, Retry_After="2"))
    with pytest.raises(errors.Unavailable) as raised:
        await api.create(PODS, POD, lane=Lane.START)
    assert raised.value.retry_after == 2
    assert len(script.sent) == 1


async def test_a_wait_of_minutes_is_the_callers_decision() -> None:
    api, script, _ = make(refusal(429, Retry_After="600"))
    before = CLOCK.monotonic()
    with pytest.raises(errors.Throttled):
        await api.get(PODS, KEY)
    assert CLOCK.monotonic() == before
    assert len(script.sent) == 1


async def test_one_429_quietens_everybody_but_the_lease() -> None:
    """Q3: the other workers do not go on hitting a server that asked for quiet."""
    throttle = Throttle(20, 30, 5, clock=CLOCK)
    api, script, _ = make(refusal(429, Retry_After="5"), *[answer({})] * 3, throttle=throttle)
    first = asyncio.create_task(VERBS["create"](api))  # type: ignore[arg-type]  # an Awaitable here is a coroutine
    await asyncio.sleep(0.1)
    lease = {"metadata": {"namespace": "kube", "name": "l", "resourceVersion": "1"}}
    await api.replace(LEASES, lease, lane=Lane.LEASE)
    await asyncio.gather(first, api.get(PODS, KEY))
    start = script.sent[0].at
    assert [(s.method, s.at - start >= 5) for s in script.sent] == [
        ("POST", False),
        ("PUT", False),
        ("GET", True),
        ("POST", True),
    ]


# -- the write gate


@pytest.mark.parametrize("verb", WRITES)
async def test_gate_is_asked_before_every_write_and_bounds_its_timeout(verb: str) -> None:
    """E1, I-51."""
    gate = Gate(3.5, 60.0)
    api, script, _ = make(answer({}), answer({}))
    gated = api.gated(gate)
    await VERBS[verb](gated)
    await VERBS[verb](gated)
    assert [s.limit for s in script.sent] == [3.5, 10.0]
    assert gate.asked == 2


@pytest.mark.parametrize("verb", READS)
async def test_gate_is_not_asked_for_reads(verb: str) -> None:
    gate = Gate()
    api, _, _ = make(answer({"items": []}), gate=gate)
    await VERBS[verb](api)
    assert gate.asked == 0


@pytest.mark.parametrize("verb", WRITES)
async def test_a_closed_gate_sends_nothing_and_is_counted(verb: str) -> None:
    api, script, counts = make(gate=Gate(0))
    with pytest.raises(errors.NotLeading):
        await VERBS[verb](api)
    assert script.sent == []
    assert counts.refused == 1
    assert counts.requests == []


async def test_gate_that_closes_during_a_retry_after_stops_the_retry() -> None:
    """E1: what was true before the wait is not true after it."""
    api, script, _ = make(refusal(429, Retry_After="3"), gate=Gate(60, 0))
    with pytest.raises(errors.NotLeading):
        await api.create(PODS, POD, lane=Lane.START)
    assert len(script.sent) == 1


async def test_raw_asks_the_gate_unless_it_only_reviews_access() -> None:
    gate = Gate(60)
    api, script, counts = make(*[answer({"gitVersion": "v1"})] * 3, gate=gate)
    await api.raw("GET", "/version")
    await api.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body={"spec": {}})
    assert gate.asked == 0
    await api.raw("POST", "/apis/x/v1/things", body={"a": 1}, params={"dryRun": "All"})
    assert gate.asked == 1
    assert script.sent[2].body == {"a": 1}
    assert {resource for _, resource, _ in counts.requests} == {"raw"}


# -- odd successes


async def test_a_success_that_is_not_json_is_a_broken_connection() -> None:
    """A proxy answered, or cut the answer: for a write the outcome is unknown (I-44)."""
    bottomless = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bad = [b"[]", b"", b'{"a":"\xff"}', bottomless]
    api, _, _ = make(answer(b"<html>login</html>"), answer(b'{"items":[1'), answer(b'{"items":[1]}'), *map(answer, bad))
    with pytest.raises(errors.ConnectionFailed, match="<html>login"):
        await api.create(PODS, POD, lane=Lane.START)
    for _ in range(2):
        with pytest.raises(errors.ConnectionFailed):
            await api.list(PODS)
    for _ in bad:
        with pytest.raises(errors.ConnectionFailed):
            await api.get(PODS, KEY)


@pytest.mark.parametrize("header", ["Sun, 06 Nov 1994 08:49:37 GMT", "", "yesterday"])
async def test_server_date(header: str) -> None:
    api, script, _ = make(answer({}, Date=header))
    date = await api.server_date()
    assert script.sent[0].path == "/version"
    assert (date.isoformat() if date else "") == ("1994-11-06T08:49:37+00:00" if "GMT" in header else "")


async def test_text_is_decoded_whatever_its_bytes_and_bounded_over_all_tries() -> None:
    """A pod's log; the caller's limit also covers the wait that a 429 asks for."""
    api, script, _ = make(answer(b"log \xff line"), refusal(429, Retry_After="9"))
    assert await api.text("/api/v1/namespaces/ns/pods/a/log", params={"tailLines": "5"}, timeout=2) == "log \ufffd line"
    assert script.sent[0].params == {"tailLines": "5"}
    before = CLOCK.monotonic()
    with pytest.raises(errors.RequestTimeout, match="within 2 s"):
        await api.text("/api/v1/namespaces/ns/pods/a/log", timeout=2)
    assert CLOCK.monotonic() - before == pytest.approx(2)

"""Bytes that no client should send: the codes and words of the real server, and a server that goes on."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.contract.session import PATCHES, Session


def alive(api: Session) -> None:
    assert api.get("/readyz", quiet=True) == "ok"


BODIES = {
    "empty": b"",
    "garbage": b"\x00\x01\x02\xff",
    "half": b'{"metadata":{"name":"a"',
    "list": b"[]",
    "text": b'"x"',
    "number": b"5",
    "null": b"null",
    "trailing": b'{"metadata":{"name":"a"}} more',
    "two": b'{"metadata":{"name":"a"}}{"metadata":{"name":"b"}}',
    "single-quotes": b"{'a':1}",
    "bad-escape": b'{"metadata":{"name":"\\x"}}',
    "bad-utf8": b'{"metadata":{"name":"a"},"data":{"k":"\xff\xfe"}}',
    "nan": b'{"metadata":{"name":"a"},"data":{"k":NaN}}',
    "bom": b'\xef\xbb\xbf{"metadata":{"name":"a"}}',
    "control": b'{"metadata":{"name":"a"},"data":{"k":"\x01"}}',
    "lone-surrogate": b'{"metadata":{"name":"a"},"data":{"k":"\\ud800"}}',
}
ACCEPTED = {"bad-utf8", "lone-surrogate"}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_built_ins(api: Session, name: str) -> None:
    api.post(api.cm(), BODIES[name], 201 if name in ACCEPTED else 422 if name == "null" else 400)
    alive(api)


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_ours(api: Session, name: str) -> None:
    whole = json.dumps(api.execution(annotations={"k": "VALUE"})).encode()
    body = BODIES[name]
    if b'"metadata"' in body:
        value = {"bad-utf8": b'"\xff\xfe"', "nan": b"NaN", "control": b'"\x01"', "lone-surrogate": b'"\\ud800"'}.get(
            name
        )
        if value:
            body = whole.replace(b'"VALUE"', value)
        elif name == "half":
            body = whole[:-5]
        elif name in ("trailing", "two"):
            body = whole + (b" more" if name == "trailing" else whole)
        elif name == "bom":
            body = b"\xef\xbb\xbf" + whole
        else:
            body = whole.replace(b'"VALUE"', b'"\\x"')
    api.post(api.wfe(), body, 201 if name in ACCEPTED else 400, show=lambda seen: cut(seen))
    alive(api)


def cut(seen: object) -> object:
    """Where the text quotes the whole body, only its beginning is compared."""
    if isinstance(seen, dict) and len(seen.get("message", "")) > 300:
        return {**seen, "message": seen["message"][:200]}
    return seen


TYPES = ["text/plain", "application/xml", "application/x-www-form-urlencoded", "nonsense",
         "application/merge-patch+json",
         "application/cbor", "application/json; charset=latin1", "a/b; c"]  # fmt: skip


@pytest.mark.parametrize("content_type", TYPES)
def test_content_types(api: Session, content_type: str) -> None:
    fine = content_type.startswith("application/json")
    body = json.dumps(api.config_map()).encode()
    api.post(api.cm(), body, 201 if fine else 415, content_type=content_type)
    body = json.dumps(api.execution()).encode()
    api.post(api.wfe(), body, 201 if fine else 415, content_type=content_type)


def test_no_content_type(api: Session) -> None:
    api.post(api.cm(), api.config_map(), 201, content_type=None)
    api.post(api.wfe(), api.execution(), 201, content_type=None)


@pytest.mark.parametrize("megabytes", [2, 4, 10])
def test_big_bodies(api: Session, megabytes: int) -> None:
    """3 MiB are read; beyond that 413. What is read must still fit into a key of the store (1.5 MiB)."""
    filler = "x" * (megabytes * 1024 * 1024)
    spec = {**api.execution()["spec"], "rationale": filler}
    code = 413 if megabytes > 3 else 422
    api.post(api.wfe(), api.execution(spec=spec), code, show=cut)
    api.post(api.cm(), api.config_map("a", {"k": filler}), code, show=cut)
    alive(api)


def test_big_patches(api: Session) -> None:
    api.make(api.cm(), api.config_map())
    body = json.dumps({"data": {"k": "x" * (4 * 1024 * 1024)}}).encode()
    api.patch(api.cm("a"), body, "merge", 413)
    body = json.dumps({"preconditions": {"uid": "x" * (4 * 1024 * 1024)}}).encode()
    api.delete(api.cm("a"), body, 413)


@pytest.mark.parametrize("depth", [100, 10001, 200000])
@pytest.mark.parametrize("shape", ["lists", "objects"])
def test_deep_bodies(api: Session, depth: int, shape: str) -> None:
    opening, closing = ("[", "]") if shape == "lists" else ('{"a":', "}")
    inner = opening * depth + ("" if shape == "lists" else "1") + closing * depth
    body = json.dumps(api.execution()).replace('"REPLICAS": "3"', f'"REPLICAS": {inner}').encode()
    api.post(api.wfe(), body, 422 if depth == 100 else 400, show=cut)
    body = f'{{"metadata":{{"name":"a"}},"data":{inner}}}'.encode()
    api.post(api.cm(), body, 400, show=cut)
    alive(api)


def test_deep_free_fields(api: Session) -> None:
    """Where anything goes, depth goes too, to a limit."""
    for depth in (50, 300):
        inner = '{"a":' * depth + "1" + "}" * depth
        step = '{"name":"s","action":"do","parameters":' + inner + "}"
        spec = (
            '{"remediationRequestRef":{"name":"r"},"targetResource":"a/pod/b","workflowDefinition":{"steps":['
            + step
            + "]}}"
        )
        body = json.dumps({**api.execution(f"x{depth}"), "spec": 0}).replace('"spec": 0', f'"spec": {spec}')
        api.post(api.wfe(), body.encode(), 201, keep="metadata.name")
        api.get(api.wfe(f"x{depth}"), keep="metadata.name")


def test_deep_yaml(api: Session) -> None:
    body = b"a: " * 5000 + b"1"
    api.post(api.cm(), body, 400, content_type="application/yaml", show=cut)
    api.post(api.cm(), b"[" * 20000, 400, content_type="application/yaml", show=cut)
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n".encode() for i in range(9)
    )
    api.post(api.cm(), bomb, 400, content_type="application/yaml", show=cut)
    alive(api)


@pytest.mark.parametrize("kind", PATCHES)
def test_patch_bodies(api: Session, kind: str) -> None:
    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    query = {"fieldManager": "m"} if kind == "apply" else {}
    for body in (b"\x00\xff", b"{", b'{"a":' * 20000):
        api.patch(api.cm("a"), body, kind, 400, show=cut, **query)
    alive(api)


LONG = "9" * 5000


@pytest.mark.parametrize("name", ["limit", "timeoutSeconds", "resourceVersion"])
def test_long_numbers_in_queries(api: Session, name: str) -> None:
    answer = api.raw(api.head("GET", f"{api.cm()}?{name}={LONG}") + b"\r\n", show=False)
    assert answer is not None
    seen = json.loads(answer.body)
    api.show("answer", [answer.status, seen["reason"], seen["message"].replace(LONG, "LONG")])


def test_long_numbers_in_bodies(api: Session) -> None:
    def short(seen: object) -> object:
        return json.loads(json.dumps(seen).replace(LONG, "LONG"))

    api.make(api.cm(), api.config_map("a", {"k": "v"}))
    body = json.dumps({**api.execution("b"), "x": 0}).replace('"x": 0', f'"x": {LONG}').encode()
    api.post(api.wfe(), body, 400, show=short)
    api.patch(api.cm("a"), f'{{"x": {LONG}}}'.encode(), "merge", 400, show=short)
    add = {"op": "add", "path": f"/metadata/finalizers/{LONG}", "value": "a/b"}
    api.patch(api.cm("a"), [{"op": "add", "path": "/metadata/finalizers", "value": []}, add], "json", 422, show=short)
    alive(api)


def test_long_numbers_in_yaml(api: Session) -> None:
    """They are texts."""
    body = f"metadata: {{name: c}}\ndata: {{decimal: {LONG}, hexadecimal: 0x{LONG}}}".encode()
    api.post(
        api.cm(),
        body,
        201,
        content_type="application/yaml",
        show=lambda seen: {key: value.replace(LONG, "LONG") for key, value in seen["data"].items()},
    )
    alive(api)


def test_copies_that_grow(api: Session) -> None:
    """Each operation doubles the object: a few dozen fill any memory."""
    api.make(api.cm(), api.config_map("a", {"k": "v" * 1000}))
    grow = [{"op": "copy", "from": "/metadata", "path": f"/metadata/x{number}"} for number in range(64)]
    api.patch(api.cm("a"), grow, "json", 422, fieldValidation="Ignore")
    grow = [{"op": "copy", "from": "/data", "path": f"/metadata/x{number}"} for number in range(3500)]
    api.patch(api.cm("a"), grow, "json", 422, fieldValidation="Ignore")
    api.patch(api.cm("a"), grow[:2000], "json", keep="metadata.name", fieldValidation="Ignore")
    alive(api)


LINES = {
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "no-host": b"GET /readyz HTTP/1.1\r\n\r\n",
    "bad-header": b"GET /readyz HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    "bad-length": b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    "negative-length": b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two-lengths": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad-method": b"G@T /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", LINES)
def test_requests_that_are_none(api: Session, name: str) -> None:
    """Only the code is compared: the words are those of the HTTP library."""
    answer = api.raw(LINES[name], finish=False, show=False)
    api.show("code", answer.status if answer else None)
    alive(api)


# Refused on both servers, but the HTTP library of the double sees it earlier or words it otherwise (docs/sandbox.md).
OTHER_LINES = {
    "no-version": b"GET /api\r\n\r\n",
    "http-9": b"GET /api HTTP/9.9\r\nHost: x\r\n\r\n",
    "spaces": b"GET  /api  HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad-chunk": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad-coding": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n",
    "unknown-method": b"FOO /api HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", OTHER_LINES)
def test_requests_that_both_refuse(api: Session, name: str) -> None:
    answer = api.raw(OTHER_LINES[name], finish=False, show=False)
    api.show("refused", answer is None or answer.status >= 400)
    alive(api)


def test_half_requests(api: Session) -> None:
    """The client goes away in the middle of the head, of the body, of a chunk."""
    head = api.head("POST", api.cm(), Content_Type="application/json")
    for data in (
        head[:20],
        head,
        head + b"Content-Length: 100\r\n\r\n",
        head + b'Content-Length: 100\r\n\r\n{"metadata":',
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"met',
    ):
        connection = api.wire.connect()
        connection.send(data)
        connection.close()
    alive(api)
    assert api.get(api.cm("a"), 404)["code"] == 404


def test_chunked_bodies(api: Session) -> None:
    body = json.dumps(api.config_map()).encode()
    head = api.head("POST", api.cm(), Content_Type="application/json", Transfer_Encoding="chunked")
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:10], body[10:]))
    answer = api.raw(head + b"\r\n" + chunks + b"0\r\n\r\n", method="POST")
    assert answer is not None
    assert answer.status == 201


def test_two_requests_at_once(api: Session) -> None:
    """Pipelined: answered in order on one connection."""
    one = api.head("GET", api.cm("a")) + b"\r\n"
    connection = api.wire.connect()
    connection.send(one + api.head("GET", api.cm("b")) + b"\r\n")
    api.show("codes", [connection.read("GET").status, connection.read("GET").status])
    connection.close()


PATHS = [
    "/api/v1/namespaces/%00/configmaps", "/api/v1//namespaces", "/api/v1/namespaces/", "/api/v1/namespaces/x/../y",
    "/api/v1/namespaces/%2e%2e/configmaps", "/api/v1/namespaces/a%2Fb/configmaps/c",
    "/api/v1/namespaces/default/configmaps/",
    "/apis/kubernaut.ai/v1alpha1/namespaces/default/workflowexecutions/",
    "/api/v1/namespaces/default/configmaps/a/b/c/d",
    "/apis//v1", "/api/", "/apis/", "//", "/api/v1/watch/namespaces/default/configmaps/x/y/z",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_odd_paths(api: Session, path: str) -> None:
    answer = api.raw(api.head("GET", path) + b"\r\n", show=False)
    assert answer is not None
    text = answer.body.decode(errors="replace")
    api.show("answer", [answer.status, json.loads(text).get("message") if text[:1] == "{" else text[:80]])


@pytest.mark.parametrize(
    "query", ["limit=1&limit=x", "%zz=1", "a;b", "labelSelector=%20", "watch=1&watch=0&timeoutSeconds=1", "=", "&&&"]
)
def test_odd_queries(api: Session, query: str) -> None:
    answer = api.raw(api.head("GET", f"{api.path('secrets')}?{query}") + b"\r\n", show=False)
    assert answer is not None
    text = answer.body.decode(errors="replace")
    api.show("answer", [answer.status, json.loads(text).get("message") if text[:1] == "{" else text[:80]])


def test_long_urls(api: Session) -> None:
    answer = api.raw(api.head("GET", api.cm() + "?x=" + "y" * 5000) + b"\r\n", show=False)
    assert answer is not None
    assert answer.status == 200
    answer = api.raw(api.head("GET", api.cm("a")[:-1] + "n" * 6000) + b"\r\n", show=False)
    assert answer is not None
    assert answer.status == 404


def test_many_headers(api: Session) -> None:
    headers = {f"X-{number}": "y" * 50 for number in range(100)}
    api.get(api.cm("a"), 404, headers=headers)
    alive(api)


def test_content_encodings_are_not_looked_at(api: Session) -> None:
    """A body is what was sent, whatever the head says it is in."""
    body = json.dumps(api.config_map()).encode()
    for encoding in ("gzip", "deflate", "br", "nonsense"):
        api.post(api.cm(), body, 201, headers={"Content-Encoding": encoding}, keep="metadata.name", dryRun="All")
    packed = gzip.compress(body, mtime=0)
    api.post(api.cm(), packed, 400, headers={"Content-Encoding": "gzip"}, show=lambda seen: seen["reason"])
    alive(api)


def test_bodies_of_reads_are_not_looked_at(api: Session) -> None:
    api.call("GET", api.cm("a"), b"x" * (4 * 1024 * 1024), 404)
    api.call("GET", "/readyz", b"{", 200)


@pytest.mark.parametrize(
    ("user", "expected"), [("admin", "100-continue"), ("alice", "100-continue"), (None, "100-continue"), ("admin", "x")]
)
def test_expectations(api: Session, user: str | None, expected: str) -> None:
    """Who waits to be asked for his body is not asked when he may not send it; what else is expected is refused."""
    body = json.dumps(api.config_map()).encode()
    head = api.head("POST", api.cm(), user=user, Content_Type="application/json", Expect=expected)
    allowed = user == "admin" and expected == "100-continue"
    data = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + (body if allowed else b"")
    answer = api.raw(data, method="POST", show=False)
    assert answer is not None
    api.show("code", answer.status)
    alive(api)


def test_broken_escapes(api: Session) -> None:
    for path in ("/api/v1/namespaces/%zz/configmaps", "/api/%", "/api/v1/namespaces/%4/configmaps"):
        answer = api.raw(api.head("GET", path) + b"\r\n", show=False)
        assert answer is not None
        api.show(path, answer.status)

"""What a case holds in its hands: requests to one server, a namespace of its own, and the transcript of what it saw.

Every call says which code it expects, and what came back goes into the transcript, which is compared with the recording
of the real server in expected/ when the case ends (``quiet=True``: preparations that the case is not about).
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import re
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.contract.servers import Server
from tests.contract.transcript import Symbols, pick
from tests.contract.wire import Answer, Closed, Wire

Json = dict[str, Any]
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
CORE = "/api/v1"
OURS = "/apis/kubernaut.ai/v1alpha1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_SHOWN_HEADERS = ("warning", "retry-after", "allow", "www-authenticate", "location")
DEADLINE = 20.0
_KLOG = re.compile(r"[EWI]\d{4} ")  # what client-go logs on the way, with times and process ids


class Session:
    """One case on one server."""

    def __init__(self, server: Server, *, patience: float = DEADLINE) -> None:
        self.server = server
        self.wire = Wire(server.host, server.port, server.context, timeout=patience)
        self._patience = patience
        self.symbols = Symbols()
        self.steps: list[Json] = []
        self._ns = ""
        self.surprises: list[str] | None = None

    def unexpected(self, what: str) -> None:
        """A code that the case does not expect; a recording goes on and tells all of them at its end."""
        if self.surprises is None:
            raise AssertionError(what)
        place = next(frame for frame in traceback.extract_stack()[::-1] if "/test_" in frame.filename)
        self.surprises.append(f"{os.environ.get('PYTEST_CURRENT_TEST')} line {place.lineno}: {what}")

    # -- places ---------------

    @property
    def ns(self) -> str:
        """The case's own namespace, created when first asked for."""
        if not self._ns:
            self._ns = self.new_namespace("NS")
        return self._ns

    def new_namespace(self, symbol: str) -> str:
        """One more namespace, shown as ``symbol``."""
        name = f"c-{uuid.uuid4().hex[:10]}"
        self.symbols.alias(name, symbol)
        self.post(
            f"{CORE}/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, quiet=True
        )
        return name

    def unique(self, prefix: str, symbol: str) -> str:
        """A cluster-wide name of the case's own, shown as ``symbol``."""
        name = f"{prefix}{uuid.uuid4().hex[:8]}"
        self.symbols.alias(name, symbol)
        return name

    def path(self, plural: str, name: str = "", group: str = "", namespace: str | None = None) -> str:
        """``/api/v1/namespaces/NS/configmaps/x``; group as ``apps/v1``; ``namespace=""`` is the whole cluster."""
        root = f"/apis/{group}" if group else CORE
        place = self.ns if namespace is None else namespace
        middle = f"/namespaces/{place}" if place else ""
        return f"{root}{middle}/{plural}" + (f"/{name}" if name else "")

    def wfe(self, name: str = "", namespace: str | None = None) -> str:
        return self.path("workflowexecutions", name, "kubernaut.ai/v1alpha1", namespace)

    def cm(self, name: str = "", namespace: str | None = None) -> str:
        return self.path("configmaps", name, namespace=namespace)

    # -- requests ---------------

    def get(self, path: str, code: int = 200, **options: Any) -> Any:
        return self.call("GET", path, None, code, **options)

    def post(self, path: str, body: Any, code: int = 201, **options: Any) -> Any:
        return self.call("POST", path, body, code, **options)

    def put(self, path: str, body: Any, code: int = 200, **options: Any) -> Any:
        return self.call("PUT", path, body, code, **options)

    def patch(self, path: str, body: Any, kind: str = "merge", code: int = 200, **options: Any) -> Any:
        return self.call("PATCH", path, body, code, content_type=PATCHES[kind], **options)

    def delete(self, path: str, body: Any = None, code: int = 200, **options: Any) -> Any:
        return self.call("DELETE", path, body, code, **options)

    def call(
        self,
        method: str,
        path: str,
        body: Any,
        code: int,
        *,
        user: str | None = "admin",
        token: str | None = None,
        accept: str | None = "application/json",
        content_type: str | None = "application/json",
        headers: dict[str, str] | None = None,
        quiet: bool = False,
        managed: bool = False,
        keep: str = "",
        show: Callable[[Any], Any] | None = None,
        any_code: bool = False,
        patch: str = "",
        **query: Any,
    ) -> Any:
        """One request; gives the JSON of the answer (or its text).

        ``body`` is bytes as they are, or an object for JSON. ``keep`` and ``show`` narrow what goes into the
        transcript. The other keywords are query parameters.
        """
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        all_headers = self._headers(user, token, accept, headers)
        content_type = PATCHES[patch] if patch else content_type
        if payload is not None and content_type is not None:
            all_headers["Content-Type"] = content_type
        answer = self.wire.exchange(method, self.wire.encode(method, path, query, all_headers, payload))
        named = {
            key: "RV" if key == "resourceVersion" and _is_version(str(value)) else value for key, value in query.items()
        }
        asked = self.symbols.text(f"{method} {path}" + (f" {named}" if named else ""))
        seen = _decoded(answer)
        if answer.status != code and not any_code:
            self.unexpected(f"{asked}: {answer.status} instead of {code}: {self.symbols.text(str(seen))[:1500]}")
        if not quiet:
            shown = seen
            if keep and answer.status < 300:
                shown = pick(shown, keep)
            if show is not None:
                shown = show(shown)
            self._record(asked, answer, shown, managed)
        return seen

    def raw(self, data: bytes, *, finish: bool = False, method: str = "GET", show: bool = True) -> Answer | None:
        """Bytes as they are on a connection of their own; None when the server closes it without an answer."""
        connection = self.wire.connect()
        try:
            connection.send(data)
            if finish:
                connection.finish_sending()
            answer = connection.read(method)
        except (Closed, BrokenPipeError, ConnectionResetError):
            answer = None
        finally:
            connection.close()
        if show and answer is None:
            self.steps.append({"ask": "bytes", "closed": True})
        elif show and answer is not None:
            self._record("bytes", answer, _decoded(answer), False)
        return answer

    def head(self, method: str, path: str, *, user: str | None = "admin", **headers: str) -> bytes:
        """The head of a request without the empty line that ends it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.wire.host}:{self.wire.port}"]
        given = {**self._headers(user, None, "application/json", None)}
        given.update({name.replace("_", "-"): value for name, value in headers.items()})
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in given.items()), ""]).encode()

    @contextmanager
    def watch(
        self,
        path: str,
        code: int = 200,
        *,
        user: str | None = "admin",
        accept: str = "application/json",
        token: str | None = None,
        **query: Any,
    ) -> Iterator[Watch]:
        """A watch on a connection of its own; the transcript gets the events that the case takes from it."""
        query = {"watch": "1", "timeoutSeconds": "15", **query}
        query = {name: value for name, value in query.items() if value is not None}
        data = self.wire.encode("GET", path, query, self._headers(user, token, accept, None), None)
        shown = {key: value for key, value in query.items() if key not in ("resourceVersion", "watch")}
        step: Json = {"ask": self.symbols.text(f"WATCH {path} {shown}"), "code": code}
        self.steps.append(step)
        with self.wire.stream("GET", data) as response:
            if response.status != code:
                self.unexpected(f"{step['ask']}: {response.status} instead of {code}")
            if response.status != 200:
                step["answer"] = self.symbols.clean(json.loads(response.read()))
            yield Watch(response, step, self.symbols)

    def _headers(
        self, user: str | None, token: str | None, accept: str | None, more: dict[str, str] | None
    ) -> dict[str, str]:
        found = {"User-Agent": "contract/1.0"}
        if token is None and user is not None:
            token = self.server.tokens[user]
        if token is not None:
            found["Authorization"] = f"Bearer {token}"
        if accept is not None:
            found["Accept"] = accept
        return {**found, **(more or {})}

    def kubectl(
        self,
        *args: str,
        input: Any = None,
        code: int = 0,
        user: str = "admin",
        show: Callable[[str], Any] | None = None,
    ) -> str:
        """kubectl in the case's namespace; what it printed goes into the transcript, YAML and JSON as values."""
        text = input if isinstance(input, str) or input is None else json.dumps(input)
        done = self.server.run_kubectl(f"--namespace={self.ns}", *args, input=text, user=user)
        asked = self.symbols.text(f"kubectl {' '.join(args)}")
        if done.returncode != code:
            self.unexpected(f"{asked}: {done.returncode} instead of {code}: {done.stdout[-800:]} {done.stderr[-800:]}")
        step: Json = {"ask": asked, "code": done.returncode}
        if done.stdout:
            step["out"] = self.symbols.clean(show(done.stdout) if show else _printed(done.stdout, args))
        if done.stderr:
            step["err"] = self.symbols.clean([line for line in _lines(done.stderr) if not _KLOG.match(line)])
        self.steps.append(step)
        return done.stdout

    # -- common preparations ---------------

    def make(self, path: str, body: Json, **options: Any) -> Any:
        """Create something that the case needs and is not about."""
        return self.post(path, body, quiet=True, **options)

    def config_map(self, name: str = "a", data: Json | None = None, **metadata: Any) -> Json:
        """The object, not yet created."""
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
        return {**obj, "data": data} if data is not None else obj

    def execution(self, name: str = "x", spec: Json | None = None, **metadata: Any) -> Json:
        """A good WorkflowExecution, not yet created."""
        good = {
            "remediationRequestRef": {"name": "rr-1"},
            "targetResource": "prod/deployment/web",
            "workflowRef": {"workflowId": "restart", "version": "1.2", "containerImage": "reg.example/wf/restart:v1"},
            "parameters": {"REPLICAS": "3"},
        }
        return {
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, **metadata},
            "spec": copy.deepcopy(spec) if spec is not None else good,
        }

    def until(self, path: str, reached: Callable[[int, Any], bool], what: str) -> Any:
        """Ask until it is so: a controller of the real server works in another process."""
        end = time.monotonic() + self._patience
        while True:
            data = self.wire.encode("GET", path, {}, self._headers("admin", None, "application/json", None), None)
            answer = self.wire.exchange("GET", data)
            seen = _decoded(answer)
            if reached(answer.status, seen):
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"{what} never came: {answer.status} {answer.body[:1000]!r}")
            time.sleep(0.02)

    def until_gone(self, path: str) -> None:
        self.until(path, lambda code, _: code == 404, f"the end of {path}")

    def accounts(self) -> None:
        """Wait for the default service account of the namespace, without which no pod is admitted."""
        self.until(self.path("serviceaccounts", "default"), lambda code, _: code == 200, "the default account")

    # -- transcript ---------------

    def show(self, what: str, value: Any, *, managed: bool = False) -> None:
        """Put a value that the case worked out into the transcript."""
        self.steps.append({"show": what, "value": self.symbols.clean(value, managed=managed)})

    def _record(self, asked: str, answer: Answer, shown: Any, managed: bool) -> None:
        step: Json = {"ask": asked, "code": answer.status}
        for name in _SHOWN_HEADERS:
            if name in answer.headers:
                step[name] = self.symbols.text(answer.headers[name])
        kind = answer.headers.get("content-type", "")
        if kind != "application/json":
            step["type"] = kind
        step["answer"] = self.symbols.clean(shown, managed=managed)
        self.steps.append(step)

    def close(self) -> None:
        self.wire.close()


class Watch:
    """Events of an open watch, one by one."""

    def __init__(self, response: http.client.HTTPResponse, step: Json, symbols: Symbols) -> None:
        self._response, self._step, self._symbols = response, step, symbols

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return self._response.getheader(name)

    def next(self, keep: str = "", show: bool = True) -> Json:
        """The next event. Raises AssertionError when the stream ends instead."""
        line = self._response.readline()
        if not line:
            raise AssertionError(f"the watch ended after {self._step.get('events')}")
        event: Json = json.loads(line)
        if show:
            self.record(event, keep)
        return event

    def rest(self, keep: str = "", show: bool = True) -> list[Json]:
        """Everything until the server ends the stream."""
        events = [json.loads(line) for line in iter(self._response.readline, b"")]
        if show:
            for event in events:
                self.record(event, keep)
        return events

    def until_bookmark(self, keep: str = "", show: bool = True) -> list[Json]:
        """Everything up to and with the next bookmark."""
        events = [self.next(keep, show)]
        while events[-1]["type"] != "BOOKMARK":
            events.append(self.next(keep, show))
        return events

    def record(self, event: Json, keep: str = "") -> None:
        shown = event
        if event["type"] == "BOOKMARK":  # its version is wherever the server stands, not that of an object
            metadata = {**event["object"]["metadata"], "resourceVersion": "RV"}
            shown = {**event, "object": {**event["object"], "metadata": metadata}}
        elif keep:
            shown = {**event, "object": pick(event["object"], keep)}
        self._step.setdefault("events", []).append(self._symbols.clean(shown))


def _decoded(answer: Answer) -> Any:
    if answer.body[:1] in (b"{", b"[") and "yaml" not in answer.headers.get("content-type", ""):
        try:
            return json.loads(answer.body)
        except ValueError:
            pass
    return answer.body.decode(errors="replace")


def _printed(text: str, args: tuple[str, ...]) -> Any:
    """Output as a value where it is YAML or JSON, else its lines."""
    if any(arg in ("-ojson", "-oyaml", "--output=json", "--output=yaml") for arg in args):
        return yaml.load(text, Loader=yaml.BaseLoader)  # times and numbers stay text
    return _lines(text)


def _lines(text: str) -> list[str]:
    """Lines with the ages and the widths of columns taken out."""
    lines = [re.sub(r"(?<=\s)(\d+s|<invalid>)(?=\s|$)", "AGE", line.rstrip()) for line in text.splitlines()]
    return [re.sub(r" {2,}", "  ", line) for line in lines]


def _is_version(text: str) -> bool:
    """Whether it is a version some write has given out, not one that the case made up."""
    return text.isdigit() and 2 <= len(text) <= 8

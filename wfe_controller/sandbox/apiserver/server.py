"""The whole server without sockets: one request in, one answer or stream out.

The order is that of kube-apiserver: who asks (401), may they (403), does it exist (404, 405), in which form (406), and
then the verb. ``http`` and ``inprocess`` call :meth:`ApiServer.handle` and nothing else; everything a client can see
goes through it. Refusals are StatusErrors from wherever; a bug ends in a 500 and a log entry, never in a dead server.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import structlog

from wfe_controller.sandbox.apiserver import (
    builtin,
    discovery,
    lists,
    negotiation,
    reviews,
    routes,
    subresources,
    verbs,
    verbs_delete,
    verbs_patch,
)
from wfe_controller.sandbox.apiserver.auth import Auth
from wfe_controller.sandbox.apiserver.collect import Collector
from wfe_controller.sandbox.apiserver.core import Answer, Call, Clock, Core
from wfe_controller.sandbox.apiserver.faults import Act, Facts, Fault, Faults
from wfe_controller.sandbox.apiserver.message import JSON, YAML, ConnectionDropped, Request, Response, Stream
from wfe_controller.sandbox.apiserver.rbac import User, bootstrap
from wfe_controller.sandbox.apiserver.resources import Registry
from wfe_controller.sandbox.apiserver.routes import Route
from wfe_controller.sandbox.apiserver.status import (
    StatusError,
    bad_request,
    internal,
    method_not_routed,
    no_such_route,
    not_found,
    too_large,
)
from wfe_controller.sandbox.apiserver.store import HISTORY, Store

Json = dict[str, Any]

MAX_BODY = 3 * 1024 * 1024
DEEPEST = 6_000
"""Frames of recursion: objects of 400 levels are walked by functions that need several frames a level."""
TRACE_LINES = 12
TEXT = "text/plain; charset=utf-8"
_ONLY_CREATE = frozenset({"create"})
_READS = ("get", "list", "watch")

_log = structlog.get_logger("wfe.sandbox.apiserver")


class _NotFoundText(Exception):
    """A path nothing is served at: the plain 404 of Go's mux."""


class ApiServer:
    """An API server in memory. ``tokens`` are the bearer tokens it knows from the start.

    ``rng`` and ``uid`` make names, uids and default watch timeouts; ``clock`` is all it knows of time. Background work
    (garbage collection, namespaces) starts with the first request; :meth:`close` ends it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        tokens: Mapping[str, User],
        uid: Callable[[], str] | None = None,
        history: int = HISTORY,
        authorize: bool = True,
    ) -> None:
        sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEPEST))  # the whole process: a sandbox, or a test of it
        self.core = Core(store=Store(history=history), registry=Registry(), clock=clock, rng=rng, uid=uid)
        for info in builtin.resources(clock.now, rng):
            self.core.registry.add(info)
        self.auth = Auth(self.core, tokens)
        self.faults = Faults()
        self.collector = Collector(self.core)
        self.core.stale = self._stale
        self.logs: subresources.Logs | None = None
        """Where pods/log comes from; None: every log is empty."""
        self._authorize = authorize
        self._discovery = discovery.Discovery(self.core.registry)
        self.collector.bootstrap([*bootstrap()])

    # -- for whoever embeds it --------------------

    @property
    def store(self) -> Store:
        return self.core.store

    def compact(self, revision: int | None = None) -> None:
        """Forget history up to a revision (None: all of it), as etcd's compaction does."""
        self.core.store.compact(revision)

    async def close(self) -> None:
        """End the background work and every watch."""
        for table in self.core.store.tables.values():
            for listener in tuple(table.listeners):
                cut = getattr(getattr(listener, "__self__", None), "cut", None)
                if cut is not None:
                    cut()
        await self.collector.close()

    # -- requests --------------------

    async def handle(self, request: Request) -> Response | Stream:
        """Answer one request. Raises ConnectionDropped when a fault wants the connection to end."""
        self.collector.wake()
        warnings: list[str] = []
        try:
            answer = await self._handle(request, warnings)
            if warnings and not answer.warnings:
                answer.warnings = _warnings(warnings)
            return answer
        except StatusError as error:
            return self._refusal(request, error, warnings)
        except _NotFoundText:
            return Response(404, {"Content-Type": TEXT}, b"404 page not found\n")
        except ConnectionDropped:
            raise
        except Exception:  # noqa: BLE001 - a bug here must not end the sandbox; it is logged with its traceback
            # As text, and cut: a renderer that shows locals would print whole objects.
            trace = traceback.format_exc(limit=-TRACE_LINES)
            _log.error("request failed inside the server", method=request.method, path=request.path, trace=trace)
            return self._refusal(request, internal("the embedded server has a bug here; its log has more"), warnings)

    def screen(self, request: Request) -> Response | None:
        """The refusal of who may not do this, whatever the body will be; None when it may come."""
        warnings: list[str] = []
        try:
            user = self.auth.user(request, warnings)
            if self._authorize:
                self.auth.require(user, routes.parse(request).attributes)
        except StatusError as error:
            return self._refusal(request, error, warnings)
        return None

    async def _handle(self, request: Request, warnings: list[str]) -> Response | Stream:
        user = self.auth.user(request, warnings)
        route = routes.parse(request)
        attributes = route.attributes
        if self._authorize:
            self.auth.require(user, attributes)
        if len(request.body) > MAX_BODY:
            raise too_large(f"limit is {MAX_BODY}")
        if not route.resource:
            return self._path(request, route)
        if request.method == "HEAD":
            raise method_not_routed()
        call = self._call(request, route, user)
        call.warnings = warnings
        facts = self._facts(call) if self.faults else None
        if facts is not None:
            await self._before(facts)
        if call.verb == "watch":
            return self._watch(call, facts)
        answer = await self._verb(call)
        if facts is not None and self.faults.take(facts, Act.LOSE):
            raise ConnectionDropped
        return self._answer(call, answer)

    def _call(self, request: Request, route: Route, user: User) -> Call:
        info = self.core.registry.find(route.group, route.version, route.resource)
        if info is None:
            known = [other for other in self.core.registry.all() if other.group == route.group]
            # A group of built-in kinds answers for itself; those of CRDs are only there for what they serve.
            raise no_such_route() if any(not other.custom for other in known) else _NotFoundText
        missing = _NotFoundText() if info.custom else no_such_route()
        if info.namespaced != route.scoped:
            everywhere = info.namespaced and not route.name and not route.subresource
            if not everywhere:
                raise missing
            if route.verb not in ("list", "watch") or route.namespace:
                raise missing if info.custom else method_not_routed()
        if ".." in (namespace := route.namespace) or namespace == ".":
            raise StatusError(500, "", f'invalid key: "/{info.plural}/{namespace}"')
        if route.name and info.verbs == _ONLY_CREATE:
            raise missing
        if route.rest:
            raise not_found(info.group, info.plural, route.name) if info.custom else missing
        namespace = route.namespace if info.namespaced else ""
        form = negotiation.negotiate(request, custom=info.custom)
        kind = self.core.kind_of(info)
        return Call(request, user, kind, namespace, route.name, route.subresource, route.verb, form)

    async def _verb(self, call: Call) -> Answer:
        core, info, verb = self.core, call.info, call.verb
        if call.subresource and call.subresource != "status":
            return await subresources.answer(core, self.auth, self.logs, call)
        if call.subresource and not info.has_status:
            raise no_such_route() if not info.custom else call.missing()
        if call.subresource and verb not in ("get", "update", "patch"):
            raise method_not_routed() if not info.custom else subresources.not_supported(call)
        if not verb and info.custom:
            raise subresources.not_supported(call)
        if not verb or (not call.subresource and verb not in info.verbs):
            raise method_not_routed()
        if reviews.is_review(info):
            return reviews.answer(core, self.auth, call)
        if verb == "get":
            return await lists.get(core, call)
        if verb == "list":
            return lists.render_list(core, call, await lists.list_page(core, call))
        if verb == "create":
            if call.name and not info.custom:  # the handler of CRDs does not look at the name
                raise method_not_routed()
            call.name = ""
            return verbs.create(core, call)
        if verb in ("update", "patch") and not call.name:
            raise bad_request("name must be provided") if info.custom else method_not_routed()
        if verb == "update":
            return verbs.update(core, call)
        if verb == "patch":
            return verbs_patch.patch(core, call)
        if verb == "delete":
            return verbs_delete.delete(core, call)
        page = await lists.list_page(core, call)
        verbs_delete.delete_collection(core, call, page.chosen)
        return lists.render_list(core, call, page)

    # -- answers --------------------

    def _answer(self, call: Call, answer: Answer) -> Response:
        headers = _headers(call.form.media_type)
        warnings = _warnings(call.warnings)
        if answer.text is not None:
            return Response(answer.code, {"Content-Type": "text/plain"}, answer.text.encode())
        if answer.data is not None:
            body = answer.data if call.form.plain else negotiation.reform(answer.data, call.form)
            return Response(answer.code, headers, body, warnings)
        if answer.stored is not None and call.form.plain:
            return Response(answer.code, headers, call.kind.encode(answer.stored) + b"\n", warnings)
        obj = call.kind.load(answer.stored) if answer.stored is not None else answer.obj
        if obj is None:
            return Response(answer.code, {}, b"")
        if call.form.transform and "items" not in obj and obj.get("kind") == call.info.kind:
            obj = lists.render_one(self.core, call, obj)
        return Response(answer.code, headers, negotiation.write(obj, call.form), warnings)

    def _refusal(self, request: Request, error: StatusError, warnings: list[str]) -> Response:
        form = negotiation.Form(pretty=negotiation.wants_pretty(request))
        if YAML in request.header("accept") and JSON not in request.header("accept"):
            form = negotiation.Form(media_type=YAML)
        headers = _headers(form.media_type)
        headers.update(error.headers)
        return Response(error.code, headers, negotiation.write(error.to_json(), form), _warnings(warnings))

    def _path(self, request: Request, route: Route) -> Response:
        """Everything that is not about a resource."""
        found = self._discovery.answer(request)
        if found is None:
            raise _NotFoundText
        return found

    # -- watches and faults --------------------

    def _watch(self, call: Call, facts: Facts | None) -> Stream:
        if "watch" not in call.info.verbs:
            raise method_not_routed()
        watch = lists.open_watch(self.core, call)
        lines: AsyncIterator[bytes] = watch.lines()
        fault = self.faults.take(facts, Act.CUT) if facts is not None else None
        if fault is not None:
            lines = _cut(lines, fault)
        return Stream(200, _headers(call.form.media_type), lines, _warnings(call.warnings))

    @staticmethod
    def _facts(call: Call) -> Facts:
        return Facts(call.verb, call.info.group_resource, call.subresource, call.namespace, call.name, call.user.name)

    async def _before(self, facts: Facts) -> None:
        fault = self.faults.take(facts, Act.DELAY)
        if fault is not None:
            await self.core.clock.sleep(fault.seconds)
        fault = self.faults.take(facts, Act.DROP, Act.REFUSE)
        if fault is None:
            return
        if fault.act is Act.DROP or fault.error is None:
            raise ConnectionDropped
        raise fault.error

    def _stale(self, call: Call) -> int | None:
        if not self.faults or call.verb not in _READS:
            return None
        fault = self.faults.take(self._facts(call), Act.STALE)
        return None if fault is None else max(0, self.core.store.revision - fault.behind)


def _headers(media_type: str) -> dict[str, str]:
    return {"Content-Type": media_type, "Cache-Control": "no-cache, private"}


def _warnings(texts: list[str]) -> tuple[str, ...]:
    return tuple(f"299 - {json.dumps(text, ensure_ascii=False)}" for text in dict.fromkeys(texts)) if texts else ()


async def _cut(lines: AsyncIterator[bytes], fault: Fault) -> AsyncIterator[bytes]:
    """A watch that ends after some of its lines, whatever comes."""
    left = fault.after
    while left > 0:
        chunk = await anext(lines, b"")
        if not chunk:
            return
        parts = chunk.splitlines(keepends=True)[:left]
        left -= len(parts)
        yield b"".join(parts)
    close = getattr(lines, "aclose", None)
    if close is not None:
        await close()
    if fault.error is not None:
        yield lists.error_line(fault.error)

"""Failpoints: die, freeze, lose the answer or be late at one named write. For ``hack/crash`` only.

Not part of any build: pyproject.toml keeps this package out of the wheel, from which the image is made, and
``app.main`` uses it only where the variable KUBE_FAILPOINTS names a directory. Only the main connection has failpoints,
that of the lease has none. One file at a time arms one point (:class:`Armed`); the process that reaches it first claims
it by a rename, so a point fires once however many replicas and restarts there are. What was written goes to
``calls.jsonl``, so a quiet run tells which points there are.

A point is ``<verb>-<resource>[-<subresource>]-<what>``, like ``update-targetlocks-status-settle``, and a moment:

- ``before``: the write gate has not been asked yet;
- ``sending``: the gate has let it through, no byte is written: what happens now is a request released late;
- ``after``: the server has committed it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from wfe_controller.api import names
from wfe_controller.kube.client.transport import Response, Transport
from wfe_controller.kube.errors import ConnectionFailed, KubeError, RequestTimeout
from wfe_controller.kube.objects import items, mapping, text

VARIABLE = "KUBE_FAILPOINTS"
ARMED = "armed.json"
CALLS = "calls.jsonl"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REVIEWS = "/apis/authorization.k8s.io/"


@dataclass(frozen=True, slots=True)
class Armed:
    """One armed point. ``about``: only calls count whose path or body names one of these; ``seconds``: how long to
    hold."""

    id: str
    point: str
    moment: Literal["before", "sending", "after"]
    action: Literal["kill", "stop", "lose", "hold"]
    nth: int = 1
    seconds: float = 0.0
    about: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Arm it, in one step for whoever reads."""
        partial = directory / f"{ARMED}.new"
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(directory / ARMED)

    @classmethod
    def read(cls, path: Path) -> Armed | None:
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        known = {field.name: raw[field.name] for field in fields(cls) if field.name in raw}
        return cls(**{**known, "about": tuple(known.get("about", ()))})


def directory() -> Path | None:
    """Where the armed point is looked for; None = failpoints are off."""
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


class Names:
    """Says what a call is for. Remembers the status of the locks it has seen pass, to tell one PUT from another."""

    def __init__(self) -> None:
        self._locks: dict[str, Mapping[str, Any]] = {}

    def saw(self, path: str, response: Response) -> None:
        """Learn from an answer about one lock, or from a list of them."""
        if f"/{names.TARGETLOCKS.plural}" not in path or response.status >= 300:
            return
        answer = mapping(json.loads(response.body or b"{}"))
        for obj in items(answer.get("items")) or [answer]:
            name = text(mapping(mapping(obj).get("metadata")).get("name"))
            if name:
                self._locks[name] = mapping(mapping(obj).get("status"))

    def point(self, method: str, path: str, body: bytes | None) -> str:
        """The name of the point, without its moment."""
        segments = path.partition("/namespaces/")[2].split("/")[1:]
        plural, name, subresource = [*segments, "", "", ""][:3]
        content = json.loads(body) if body else None
        what = self._what(method, plural, name, subresource, content)
        return "-".join(part for part in (_VERBS.get(method, method.lower()), plural, subresource, what) if part)

    def _what(self, method: str, plural: str, name: str, subresource: str, content: Any) -> str:
        if method == "PATCH" and isinstance(content, list):
            return next((_operation(op) for op in content if op.get("op") != "test"), "")
        content = mapping(content)
        if method == "PATCH":
            meta = mapping(content.get("metadata"))
            if "finalizers" in meta:
                return "finalizer-on" if names.FINALIZER in items(meta["finalizers"]) else "finalizer-off"
            return "annotations-off" if "annotations" in meta else ""
        if method == "PUT" and plural == names.TARGETLOCKS.plural:
            return _lock_change(self._locks.get(name, {}), mapping(content.get("status")))
        if method == "PUT" and plural == names.WORKFLOWEXECUTIONS.plural:
            return _status_change(mapping(content.get("status")))
        return ""


def _operation(operation: Mapping[str, Any]) -> str:
    path, value = text(operation.get("path")), operation.get("value")
    if path == "/spec/status":
        return "start" if operation.get("op") == "remove" else text(value).lower()
    if path.startswith("/metadata/finalizers"):
        return "finalizer-off"
    return path.strip("/").replace("/", "-").lower()


def _lock_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if bool(before.get("holder")) != bool(after.get("holder")):
        if after.get("holder"):
            return "acquire"
        return "settle" if before.get("lastExecution") != after.get("lastExecution") else "drop"
    return "clear" if len(items(after.get("clearances"))) != len(items(before.get("clearances"))) else "prune"


def _status_change(after: Mapping[str, Any]) -> str:
    if after.get("blockClearance"):
        return "clearance"
    phase = text(after.get("phase")).lower()
    if phase != "running":
        return phase
    cancelling = [c for c in items(after.get("conditions")) if c.get("type") == "Cancelling"]
    if cancelling:
        return "cancelling"
    return "progress" if after.get("pipelineRunStatus") else "running"


class FailingTransport(Transport):
    """A transport that does at the armed point what was asked for; otherwise it is the plain one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        where = directory()
        if where is None:
            raise AssertionError(f"{VARIABLE} is not set")
        self._directory = where
        self._names = Names()
        self._counted: Counter[str] = Counter()
        self._late: set[asyncio.Task[Response]] = set()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        timeout: float = 10,
        gate: Callable[[], float] | None = None,
        **others: Any,
    ) -> Response:
        """As Transport.request, with the failpoints of writes."""

        async def send(timeout: float, gate: Callable[[], float] | None) -> Response:
            plain = super(FailingTransport, self).request
            response = await plain(method, path, body=body, timeout=timeout, gate=gate, **others)
            self._names.saw(path, response)
            return response

        if method == "GET" or path.startswith(_REVIEWS):
            return await send(timeout, gate)
        point = self._names.point(method, path, body)
        subject = path + (body or b"").decode("utf-8", "replace")
        armed = self._armed(point, subject)
        if armed is None:
            return self._told(point, path, await send(timeout, gate))
        return await self._fire(armed, point, path, timeout, gate, send)

    async def _fire(
        self,
        armed: Armed,
        point: str,
        path: str,
        timeout: float,
        gate: Callable[[], float] | None,
        send: Callable[[float, Callable[[], float] | None], Any],
    ) -> Response:
        try:
            if armed.moment == "before":
                self._act(armed)
                return self._told(point, path, await send(timeout, gate), armed)
            if armed.moment == "sending":
                limit = min(timeout, gate()) if gate is not None else timeout

                async def release(seconds: float) -> Response:
                    await asyncio.sleep(seconds)
                    return self._told(point, path, await send(10.0, None), armed)

                fired = self._act(armed)
                late = asyncio.create_task(release(armed.seconds if fired else 0.0), name=f"late-{point}")
                self._late.add(late)
                late.add_done_callback(self._late.discard)
                if fired and armed.action == "hold":
                    # The caller runs into its time-out; the request goes out when nobody waits for it any more.
                    await asyncio.sleep(limit)
                    raise RequestTimeout(f"{point}: no answer within {limit:.3g} s (held back)")
                return await asyncio.shield(late)
            response: Response = self._told(point, path, await send(timeout, gate))
        except KubeError as error:
            self._note(point=point, path=path, error=type(error).__name__, fired=armed.id)
            raise
        if response.status < 300 and self._act(armed) and armed.action == "lose":
            raise ConnectionFailed(f"{point}: the answer was lost")
        return response

    async def close(self) -> None:
        """A request that is on its way arrives, also when the process that sent it ends."""
        await asyncio.gather(*self._late, return_exceptions=True)
        await super().close()

    def _armed(self, point: str, subject: str) -> Armed | None:
        """The armed point, when this call may be the one that is meant; claiming it decides.

        Not only the nth call itself: of two creates on their way the later one may be the one that is committed.
        """
        armed = Armed.read(self._directory / ARMED)
        if armed is None or armed.point != point or (armed.about and not any(a in subject for a in armed.about)):
            return None
        self._counted[armed.id] += 1
        return armed if self._counted[armed.id] >= armed.nth else None

    def _claim(self, armed: Armed) -> bool:
        """False when another replica was faster."""
        try:
            (self._directory / ARMED).rename(self._directory / f"hit-{armed.id}.{os.getpid()}")
        except FileNotFoundError:
            return False
        return True

    def _act(self, armed: Armed) -> bool:
        if not self._claim(armed):
            return False
        if armed.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif armed.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        return True

    def _told(self, point: str, path: str, response: Response, armed: Armed | None = None) -> Response:
        self._note(point=point, path=path, status=response.status, fired=armed.id if armed else "")
        return response

    def _note(self, **facts: Any) -> None:
        with (self._directory / CALLS).open("a") as calls:
            calls.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")

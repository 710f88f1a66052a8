"""The API server's own word on what it did: its audit log, read beside the watches and compared with them.

The watches show what became of the objects; the log shows who asked for it, how often, and what was answered. Two
witnesses that do not know of each other: a start that the watches folded into one change, a write that they missed and
a change that nobody asked for show only when both are asked. :class:`AuditLog` reads; ``compare`` is pure.

What cannot be told from it: which replica wrote. Both are one user, and a late write of the one that lost the lease is
allowed where it does no harm; that it does none is what the chronicle checks.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.crash.chronicle import EXECUTIONS, HASH, LOCKS, OWNER, PENDING, RUNS, Object, Seen

CONTROLLER = ":workflowexecution-controller"
WRITES = ("create", "update", "patch")


@dataclass(frozen=True)
class Request:
    """One write that was answered. ``version``: the resourceVersion that it was conditional on, 0 = on none."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    user: str
    version: int = 0
    body: Any = None

    @property
    def committed(self) -> bool:
        return 200 <= self.code < 300

    @property
    def unknown(self) -> bool:
        """The server may have done it all the same: it lost etcd, or the client went, before it knew."""
        return not self.committed and not 400 <= self.code < 499

    @property
    def starts(self) -> str:
        """The UID of the run that this takes out of pending; "" = it is no start."""
        ops = [op for op in self.body if isinstance(op, dict)] if isinstance(self.body, list) else []
        if not any(op.get("op") == "remove" and op.get("path") == "/spec/status" for op in ops):
            return ""
        return next((str(op.get("value")) for op in ops if op.get("path") == "/metadata/uid"), "unknown")


class AuditLog:
    """Reads what was added since the last time. Raises OSError when the log is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[int, int] = {}
        self._requests: dict[tuple[str, str, str], list[Request]] = defaultdict(list)

    def refresh(self) -> None:
        """The server cuts the log at 100 MB and gives the old part another name: files are known by their inode."""
        self._path.stat()
        for path in sorted(self._path.parent.glob(f"{self._path.stem}*{self._path.suffix}")):
            with path.open("rb") as file:
                inode = path.stat().st_ino
                file.seek(self._read.get(inode, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # being written
                    self._read[inode] = self._read.get(inode, 0) + len(line)
                    self._add(json.loads(line))

    def _add(self, event: Object) -> None:
        request = parse(event)
        if request is not None:
            self._requests[request.resource, request.namespace, request.name].append(request)

    def about(self, target: str, seen: Iterable[Seen]) -> list[Request]:
        """The writes on these objects, and on all that has the name of the target with that hash, seen or not."""
        keys = {(s.kind, s.obj["metadata"].get("namespace", ""), s.obj["metadata"]["name"]) for s in seen}
        keys |= {key for key in self._requests if key[2] == f"wfe-{target}"}
        return [request for key in sorted(keys) for request in self._requests.get(key, [])]


def parse(event: Object) -> Request | None:
    """The write that a line of the log tells of; None = it is none, or not on a kind that is looked at."""
    ref = event.get("objectRef") or {}
    if event.get("verb") not in WRITES or ref.get("resource") not in (RUNS, LOCKS, EXECUTIONS):
        return None
    if "dryRun=" in event.get("requestURI", ""):
        return None
    version = str(ref.get("resourceVersion") or "0")
    return Request(
        event["verb"],
        ref["resource"],
        ref.get("namespace", ""),
        ref.get("name", ""),
        (event.get("responseStatus") or {}).get("code", 0),
        event["user"]["username"],
        int(version) if version.isdigit() else 0,
        event.get("requestObject"),
    )


def compare(seen: list[Seen], requests: list[Request]) -> list[str]:
    """What the log of one target says that must not be, or that the watches do not know, or the other way round."""
    return [*_starts(seen, requests), *_creates(seen, requests), *_swaps(seen, requests)]


def _starts(seen: list[Seen], requests: list[Request]) -> Iterator[str]:
    """At most one answered with success per run and per execution; each one watched, each watched one asked for."""
    owners: dict[str, str] = {}
    watched: set[str] = set()
    pending: set[str] = set()
    for event in sorted((s for s in seen if s.kind == RUNS), key=lambda s: s.revision):
        uid, asked = event.obj["metadata"]["uid"], event.obj["spec"].get("status")
        owners[uid] = str((event.obj["metadata"].get("labels") or {}).get(OWNER, ""))
        if asked == PENDING:
            pending.add(uid)
        elif asked is None and uid in pending and event.type != "DELETED":
            watched.add(uid)
            pending.discard(uid)
    asked_for = [r for r in requests if r.resource == RUNS and r.starts]
    done = Counter(r.starts for r in asked_for if r.committed)
    for uid, times in done.items():
        if times > 1:
            yield f"the audit log shows {times} committed starts of run {uid}"
        if uid not in watched:
            yield f"the audit log shows a committed start of run {uid}, which the watches did not show"
    per_owner = Counter(owners.get(uid, "") for uid in done.elements())
    for owner, times in per_owner.items():
        if owner and times > 1:
            yield f"the audit log shows {times} committed starts for {owner}"
    for stranger in sorted({r.user for r in asked_for if r.committed and not r.user.endswith(CONTROLLER)}):
        yield f"the audit log shows a start by {stranger}"
    possible = done.keys() | {r.starts for r in asked_for if r.unknown}
    for uid in sorted(watched - possible):
        if owners[uid]:
            yield f"run {uid} was started, and the audit log shows nobody who asked for it"


def _creates(seen: list[Seen], requests: list[Request]) -> Iterator[str]:
    """As many runs and locks came as the controller was told that it had made."""
    for kind in (RUNS, LOCKS):
        made = {
            s.obj["metadata"]["uid"]
            for s in seen
            if s.kind == kind and (kind == LOCKS or HASH in (s.obj["metadata"].get("labels") or {}))
        }
        ours = [r for r in requests if r.resource == kind and r.verb == "create" and r.user.endswith(CONTROLLER)]
        told, unknown = sum(r.committed for r in ours), sum(r.unknown for r in ours)
        if not told <= len(made) <= told + unknown:
            yield f"the audit log shows {told} created {kind} ({unknown} unknown), the watches {len(made)}"


def _swaps(seen: list[Seen], requests: list[Request]) -> Iterator[str]:
    """A compare-and-swap of ours was made on a version that the watches showed, once, and they showed its result.

    Not Tekton's: it writes also what is there already, which changes no version.
    """
    revisions: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for event in seen:
        meta = event.obj["metadata"]
        revisions[event.kind, meta.get("namespace", ""), meta["name"]].add(event.revision)
    swaps = [r for r in requests if r.verb == "update" and r.committed and r.version and r.user.endswith(CONTROLLER)]
    for (key, version), times in Counter(((r.resource, r.namespace, r.name), r.version) for r in swaps).items():
        known, what = revisions[key], f"{key[0]} {key[1]}/{key[2]}"
        if times > 1:
            yield f"the audit log shows {times} committed writes on version {version} of {what}"
        if version not in known:
            yield f"the audit log shows a write on version {version} of {what}, which the watches did not show"
        if version >= max(known, default=0):
            yield f"the audit log shows a write on version {version} of {what}, of which nothing came by the watches"

"""Requests of the controller, counted from the API server's audit log: what the server saw, not what we say we sent."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

WRITES = ("create", "update", "patch", "delete")
APART = ("events", "leases")
"""Not part of a WorkflowExecution's writes (SPEC 11); leases belong to the process."""


class _Ref(msgspec.Struct, gc=False):
    resource: str = ""
    subresource: str = ""


class _User(msgspec.Struct, gc=False):
    username: str = ""


class _Line(msgspec.Struct, gc=False):
    verb: str
    user: _User
    requestReceivedTimestamp: str
    objectRef: _Ref = msgspec.field(default_factory=_Ref)
    responseStatus: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Line).decode


def now() -> str:
    """The present instant as the audit log spells it (the API server runs on this machine)."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def count(log: Path, user: str, since: str, until: str) -> Counter[str]:
    """Requests by ``verb resource[/subresource]`` (``!code`` added to refused ones) in a time, rotated files too."""
    found: Counter[str] = Counter()
    for path in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    continue
                entry = _decode(line)
                if entry.user.username != user or not since <= entry.requestReceivedTimestamp <= until:
                    continue
                ref, code = entry.objectRef, int(entry.responseStatus.get("code", 0))
                what = f"{entry.verb} {ref.resource}{'/' + ref.subresource if ref.subresource else ''}"
                found[what if code < 400 else f"{what} !{code}"] += 1
    return found


def is_write(what: str) -> bool:
    """Whether a counted request is one of a WorkflowExecution's own writes, Events apart."""
    verb, resource = what.split()[:2]
    return verb in WRITES and resource.partition("/")[0] not in APART and "!" not in what


def is_request(what: str) -> bool:
    return what.split()[1] != "leases"

"""The status of a CustomResourceDefinition: accepted names and conditions, and the next step towards Established.

Companion of ``crds``, which gives these names on to the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

Json = dict[str, Any]


def condition(crd: Json, kind: str) -> Json | None:
    found = [one for one in (crd.get("status") or {}).get("conditions") or [] if one.get("type") == kind]
    return found[0] if found else None


def is_established(crd: Json) -> bool:
    """Whether the definition's resources are served."""
    return (condition(crd, "Established") or {}).get("status") == "True"


def settle(crd: Json, others: Iterable[Json], now: datetime) -> Json | None:
    """The status to write next, None when there is nothing to change.

    First the names are accepted or not, in a second step the definition becomes Established.
    """
    status = crd.get("status") or {}
    accepted, conflict = _accept(crd, others)
    names = _condition(crd, "NamesAccepted", not conflict, *(conflict or ("NoConflicts", "no conflicts found")), now)
    if conflict and not is_established(crd):
        wanted = ("NotAccepted", "not all names are accepted")
        established: Json | None = _condition(crd, "Established", False, *wanted, now)
    else:
        established = condition(crd, "Established")
        if established is None or (established["status"] == "False" and established["reason"] == "NotAccepted"):
            wanted = ("Installing", "the initial names have been accepted")
            established = _condition(crd, "Established", False, *wanted, now)
        elif established["status"] == "False" and not conflict:
            wanted = ("InitialNamesAccepted", "the initial names have been accepted")
            established = _condition(crd, "Established", True, *wanted, now)
    others_kept = [
        one for one in status.get("conditions") or [] if one.get("type") not in ("NamesAccepted", "Established")
    ]
    conditions = [names, established, *others_kept]
    if conditions == (status.get("conditions") or []) and accepted == status.get("acceptedNames"):
        return None
    return {**status, "conditions": conditions, "acceptedNames": accepted}


def _condition(crd: Json, kind: str, true: bool, reason: str, message: str, now: datetime) -> Json:
    before = condition(crd, kind)
    status = "True" if true else "False"
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if before is not None and before.get("status") == status:
        at = before["lastTransitionTime"]
    return {"type": kind, "status": status, "lastTransitionTime": at, "reason": reason, "message": message}


def _accept(crd: Json, others: Iterable[Json]) -> tuple[Json, tuple[str, str] | None]:
    """Accepted names, and reason and message of the last conflict."""
    wanted = crd["spec"]["names"]
    held = (crd.get("status") or {}).get("acceptedNames") or {}
    resources_taken: set[str] = set()
    kinds_taken: set[str] = set()
    for other in others:
        if other["spec"]["group"] != crd["spec"]["group"] or other["metadata"]["name"] == crd["metadata"]["name"]:
            continue
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources_taken.update(names.get("shortNames") or [])
        resources_taken.update(names[key] for key in ("plural", "singular") if names.get(key))
        kinds_taken.update(names[key] for key in ("kind", "listKind") if names.get(key))
    accepted: Json = {}
    conflict: tuple[str, str] | None = None
    for key, taken, reason in (
        ("plural", resources_taken, "PluralConflict"),
        ("singular", resources_taken, "SingularConflict"),
        ("shortNames", resources_taken, "ShortNamesConflict"),
        ("kind", kinds_taken, "KindConflict"),
        ("listKind", kinds_taken, "ListKindConflict"),
    ):
        value = wanted.get(key)
        clash = [name for name in (value if isinstance(value, list) else [value]) if name in taken]
        if clash:
            conflict = (reason, ", ".join(f'"{name}" is already in use' for name in clash))
            value = held.get(key)
        if value or key in ("plural", "kind"):
            accepted[key] = value or ""
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, conflict

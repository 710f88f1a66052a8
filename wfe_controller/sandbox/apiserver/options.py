"""Options of a request: its query (and the body of a DELETE), checked as the real server checks them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wfe_controller.sandbox.apiserver import bodies
from wfe_controller.sandbox.apiserver.managedfields import manager_name, option_causes
from wfe_controller.sandbox.apiserver.message import Request
from wfe_controller.sandbox.apiserver.status import Cause, StatusError, bad_request, cause, invalid, quote

Json = dict[str, Any]

_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")
_POLICIES = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Of create, update and patch."""

    dry_run: bool
    manager: str
    """Who owns the fields; "" when neither the query nor the User-Agent says so."""
    validation: str
    """Ignore, Warn or Strict."""
    force: bool


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """``propagation`` is "" when not said; ``grace`` is in seconds, None when not said."""

    dry_run: bool
    propagation: str
    grace: int | None
    uid: str | None
    resource_version: str | None


def write_options(request: Request, kind: str, *, apply: bool = False) -> WriteOptions:
    """``kind`` is CreateOptions, UpdateOptions or PatchOptions."""
    query = request.query
    if not query:
        if apply:
            raise invalid("meta.k8s.io", kind, "", option_causes("", apply=True, force=None))
        return WriteOptions(False, manager_name("", request.header("user-agent")), "Warn", False)
    dry_run = list(query.get("dryRun", ()))
    validation = request.param("fieldValidation")
    manager = request.param("fieldManager")
    causes: list[Cause] = []
    force = request.flag("force") if "force" in query and kind == "PatchOptions" else None
    # Only patches know "force"; the other two rules about the manager hold everywhere.
    causes += option_causes(manager, apply=apply, force=force)
    causes += _dry_run_causes(dry_run)
    if validation not in _VALIDATIONS:
        supported = ", ".join(quote(value) for value in _VALIDATIONS)
        text = f"Unsupported value: {quote(validation)}: supported values: {supported}"
        causes.append(cause("NotSupported", "fieldValidation", text))
    if causes:
        raise invalid("meta.k8s.io", kind, "", causes)
    manager = manager_name(manager, request.header("user-agent"))
    return WriteOptions(bool(dry_run), manager, validation or "Warn", bool(force))


def delete_options(request: Request) -> DeleteOptions:
    """From the body when there is one, else from the query."""
    if request.body:
        return checked_delete_options(bodies.delete_options(request))
    query = request.query
    given: Json = {}
    for name in ("dryRun", "propagationPolicy"):
        if name in query:
            given[name] = query[name] if name == "dryRun" else query[name][0]
    if "orphanDependents" in query:
        given["orphanDependents"] = request.flag("orphanDependents")
    if "gracePeriodSeconds" in query:
        given["gracePeriodSeconds"] = integer(query["gracePeriodSeconds"][0])
    return checked_delete_options(given)


def checked_delete_options(given: Json) -> DeleteOptions:
    """Options whose types are right. Raises 422."""
    dry_run = list(given.get("dryRun") or ())
    policy = given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    causes = []
    if policy is not None and orphan is not None:
        text = f"Invalid value: {quote(policy)}: orphanDependents and deletionPropagation cannot be both set"
        causes.append(cause("Invalid", "propagationPolicy", text))
    if policy is not None and policy not in _POLICIES:
        supported = ", ".join(quote(value) for value in (*_POLICIES, "nil"))
        text = f"Unsupported value: {quote(policy)}: supported values: {supported}"
        causes.append(cause("NotSupported", "propagationPolicy", text))
    causes += _dry_run_causes(dry_run)
    if causes:
        raise invalid("meta.k8s.io", "DeleteOptions", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    preconditions = given.get("preconditions") or {}
    grace = given.get("gracePeriodSeconds")
    return DeleteOptions(
        bool(dry_run),
        policy or "",
        grace if isinstance(grace, int) else None,
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
    )


def _dry_run_causes(given: Sequence[str]) -> list[Cause]:
    if all(value == "All" for value in given):
        return []
    shown = "[" + ",".join(escaped(value) for value in given) + "]"
    return [cause("NotSupported", "dryRun", f'Unsupported value: {shown}: supported values: "All"')]


def integer(text: str) -> int:
    """A number of the query. Raises 400 as Go's strconv words it."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isascii() or not digits.isdigit():
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if _endless(digits) or not -(2**63) <= int(text) < 2**63:
        raise bad_request(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return int(text)


def revision(text: str) -> int:
    """A resourceVersion. Raises ValueError with the text of Go's strconv."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    if _endless(text) or int(text) >= 2**64:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return int(text)


def _endless(digits: str) -> bool:
    """More than fit 64 bits; Python refuses to read thousands of them."""
    return len(digits) > 20 and len(digits.lstrip("0")) > 20


def untyped(error: ValueError, prefix: str = "") -> StatusError:
    """What the real server says where it did not expect an error: 500 without a reason."""
    return StatusError(500, "", prefix + str(error))


def escaped(text: str) -> str:
    """Quoted as Go's JSON encoder quotes it: bytes that are no UTF-8 are one escape each."""
    return _BYTE.sub(r"\\ufffd", quote(text))

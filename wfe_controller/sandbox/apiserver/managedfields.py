"""Who owns which field: metadata.managedFields read, written and kept right on every create, update and patch.

``apply`` adds server-side apply on top of it. Sets come from ``fieldsets``, comparisons from ``merging``; the rules
(who loses a field, which fields nobody owns, when old entries are merged) are those of kube-apiserver's field
manager.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from wfe_controller.sandbox.apiserver.fieldsets import FieldSet
from wfe_controller.sandbox.apiserver.merging import Comparison, compare
from wfe_controller.sandbox.apiserver.message import printable
from wfe_controller.sandbox.apiserver.status import Cause, cause, quote
from wfe_controller.sandbox.apiserver.typed import Type, TypedError

Json = dict[str, Any]

MAX_MANAGER_BYTES = 128
MAX_UPDATE_MANAGERS = 10
_ANCIENT = "ancient-changes"
_META = "f:metadata"
# Nobody owns what identifies an object or what only the server writes.
_NEVER_OWNED = FieldSet.of(
    ("f:apiVersion",),
    ("f:kind",),
    (_META,),
    *(
        (_META, f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
)


@dataclass(frozen=True, slots=True)
class ManagerId:
    """Who wrote, how and through which endpoint. ``operation`` is Apply or Update; appliers have no version here."""

    manager: str
    operation: str
    api_version: str = ""
    subresource: str = ""

    @property
    def sort_text(self) -> str:
        """Orders managers as the real server's map of them is printed."""
        entry = {"manager": self.manager, "operation": self.operation}
        if self.api_version:
            entry["apiVersion"] = self.api_version
        if self.subresource:
            entry["subresource"] = self.subresource
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))

    def __str__(self) -> str:
        """As a conflict names it."""
        text = quote(self.manager)
        if self.subresource:
            text += f" with subresource {quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Owned:
    """What one manager owns. ``time`` is the RFC 3339 text of its last change, "" when it never changed anything."""

    fields: FieldSet
    api_version: str
    applied: bool
    time: str = ""


Managers = dict[ManagerId, Owned]


def decode(entries: Sequence[Any]) -> Managers:
    """Read metadata.managedFields; raises ValueError when one entry is not as it must be."""
    managers: Managers = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"managed fields entry {index} is not an object")
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        if operation not in ("Apply", "Update"):
            raise ValueError("operation must be `Apply` or `Update`")
        if not version:
            raise ValueError("apiVersion must not be empty")
        form = entry.get("fieldsType", "")
        if not form:
            raise ValueError(f"missing fieldsType in managed fields entry {index}")
        if form != "FieldsV1":
            raise ValueError(f"invalid fieldsType {quote(form)} in managed fields entry {index}")
        applied = operation == "Apply"
        key = ManagerId(
            str(entry.get("manager") or ""), operation, "" if applied else version, str(entry.get("subresource") or "")
        )
        fields = entry.get("fieldsV1")
        read = FieldSet.from_json(fields) if fields else FieldSet()
        managers[key] = Owned(read, version, applied, str(entry.get("time") or ""))
    return managers


def encode(managers: Managers) -> list[Json]:
    """The list for metadata.managedFields: appliers before updaters, the oldest first."""
    entries: list[Json] = []
    for key, owned in managers.items():
        entry: Json = {"manager": key.manager} if key.manager else {}
        entry["operation"] = "Apply" if owned.applied else key.operation
        entry["apiVersion"] = owned.api_version
        if owned.time:
            entry["time"] = owned.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = owned.fields.to_json()
        if key.subresource:
            entry["subresource"] = key.subresource
        entries.append(entry)
    if len(entries) > 1:
        entries.sort(
            key=lambda entry: (
                entry["operation"],
                entry.get("time", ""),
                entry.get("manager", ""),
                entry["apiVersion"],
                entry.get("subresource", ""),
            )
        )
    return entries


def managers_of(obj: Json | None) -> Managers:
    """The managers of a stored object; unreadable managedFields count as none."""
    entries = ((obj or {}).get("metadata") or {}).get("managedFields")
    if not isinstance(entries, list) or not entries:
        return {}
    try:
        return decode(entries)
    except ValueError:
        return {}


def requested_managers(live: Json | None, new: Json, *, subresource: str) -> Managers:
    """Where an update starts from: what the request says of managedFields if that is readable, else what is stored.

    A client that knows nothing of managedFields sends none, and must not delete them; one that wants to reset them
    sends ``[]`` or ``[{}]``. Through a subresource they cannot be changed.
    """
    entries = (new.get("metadata") or {}).get("managedFields")
    if subresource or not isinstance(entries, list):
        return managers_of(live)
    if entries in ([], [{}]):
        return {}
    try:
        found = decode(entries)
    except ValueError:
        found = {}
    return found or managers_of(live)


def timestamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def manager_name(field_manager: str, user_agent: str) -> str:
    """The manager of a request: the query parameter, else the User-Agent up to its first slash."""
    if field_manager:
        return printable(field_manager)
    name = "".join(letter for letter in user_agent.partition("/")[0] if letter.isprintable())
    return name.encode()[:MAX_MANAGER_BYTES].decode(errors="ignore") or "unknown"


def option_causes(field_manager: str, *, apply: bool, force: bool | None) -> list[Cause]:
    """What is wrong with the query of a write; ``force`` None when it is not there. For PatchOptions and the like."""
    causes: list[Cause] = []
    if apply and not field_manager:
        causes.append(cause("Required", "fieldManager", "Required value: is required for apply patch"))
    if not apply and force is not None:
        causes.append(cause("Forbidden", "force", "Forbidden: may not be specified for non-apply patch"))
    if len(field_manager.encode(errors="surrogateescape")) > MAX_MANAGER_BYTES:
        causes.append(cause("TooLong", "fieldManager", f"Too long: may not be more than {MAX_MANAGER_BYTES} bytes"))
    position = 0
    for letter in field_manager:
        if not letter.isprintable() and not "\udc80" <= letter <= "\udcff":
            why = f"invalid character U+{ord(letter):04X} (at position {position})"
            causes.append(cause("Invalid", "fieldManager", f"Invalid value: {quote(field_manager)}: {why}"))
        position += len(letter.encode(errors="surrogateescape"))
    return causes


def without_managed_fields(obj: Json) -> Json:
    """A copy that shares everything but the metadata object, which has no managedFields."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def losing(managers: Managers, comparison: Comparison, *, but: ManagerId | None, api_version: str) -> Managers:
    """What others (all but one) own of the fields a change modifies or adds: the conflicts of an apply.

    Entries of another API version are left alone: their fields have other names.
    """
    changed = comparison.modified.union(comparison.added)
    found: Managers = {}
    for key, owned in managers.items():
        if key != but and owned.api_version == api_version:
            fields = owned.fields.intersection(changed)
            if fields:
                found[key] = replace(owned, fields=fields)
    return found


def take(managers: Managers, comparison: Comparison, *, but: ManagerId | None, api_version: str) -> Managers:
    """The managers (all but one) without the fields that a change gave to its author, or removed."""
    gone = comparison.modified.union(comparison.added).union(comparison.removed)
    left: Managers = {}
    for key, owned in managers.items():
        if key == but or owned.api_version != api_version:
            left[key] = owned
            continue
        fields = owned.fields.difference(gone)
        if fields:
            left[key] = replace(owned, fields=fields)
    return left


def strip(fields: FieldSet) -> FieldSet:
    """Without what nobody owns."""
    return fields.difference(_NEVER_OWNED)


def track(
    live: Json | None,
    new: Json,
    managers: Managers,
    kind: Type,
    author: ManagerId,
    now: datetime,
    ignored: FieldSet | None,
) -> Managers:
    """The managers after ``author`` changed ``live`` (None: nothing there yet) to ``new``.

    Raises TypedError when an object does not fit its schema.
    """
    start: Json = live if live is not None else {key: new[key] for key in ("apiVersion", "kind") if key in new}
    try:
        comparison = compare(without_managed_fields(start), without_managed_fields(new), kind).ignoring(ignored)
    except ValueError as error:
        raise TypedError([str(error)]) from error
    after = take(managers, comparison, but=None, api_version=author.api_version)
    mine = strip(comparison.modified.union(comparison.added))
    if mine:
        before = after.get(author)
        fields = mine.union(before.fields) if before is not None else mine
        after[author] = Owned(fields, author.api_version, False, timestamp(now))
    return _capped(after)


def _capped(managers: Managers) -> Managers:
    """Merge the oldest updaters into one entry when there are more than ten."""
    updaters = [key for key, owned in managers.items() if not owned.applied]
    if len(updaters) <= MAX_UPDATE_MANAGERS:
        return managers
    updaters.sort(key=lambda key: (managers[key].time, key.sort_text))
    count, first = len(updaters), dict[str, ManagerId]()
    for key in updaters:
        if count <= MAX_UPDATE_MANAGERS:
            break
        owned = managers[key]
        bucket = ManagerId(_ANCIENT, "Update", owned.api_version)
        if owned.api_version not in first:
            first[owned.api_version] = key
            continue
        if bucket not in managers:
            managers[bucket] = managers.pop(first[owned.api_version])
        merged = owned.fields.union(managers[bucket].fields)
        if key != bucket:
            del managers[key]
        managers[bucket] = replace(managers[bucket], fields=merged, time=owned.time)
        count -= 1
    return managers


def keep_times(old: Json, new: Json) -> None:
    """Put the old times back into ``new`` when times in managedFields are all that differs: such a write is none.

    Called right before the server asks whether an update changes anything.
    """
    before = (old.get("metadata") or {}).get("managedFields")
    after = (new.get("metadata") or {}).get("managedFields")
    if not before or not after or len(before) != len(after) or before == after:
        return
    if [_untimed(entry) for entry in before] != [_untimed(entry) for entry in after]:
        return
    if without_managed_fields(old) == without_managed_fields(new):
        new["metadata"]["managedFields"] = before


def _untimed(entry: Json) -> Json:
    return {key: value for key, value in entry.items() if key != "time"}

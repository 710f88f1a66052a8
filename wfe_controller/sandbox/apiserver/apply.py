"""Server-side apply, and the field manager of one endpoint through which every write goes.

The server asks :func:`field_manager` for the manager of a resource and endpoint, then calls ``update`` after a
create, PUT or patch is decoded (before the server's own changes), or ``apply`` for an apply patch. The result of
``apply`` still has to be defaulted, prepared and validated like any update.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from wfe_controller.sandbox.apiserver import managedfields
from wfe_controller.sandbox.apiserver.fieldsets import FieldSet, Path, path_text
from wfe_controller.sandbox.apiserver.fitting import check
from wfe_controller.sandbox.apiserver.managedfields import ManagerId, Managers, Owned, without_managed_fields
from wfe_controller.sandbox.apiserver.merging import compare, merge, remove, with_named
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import Cause, StatusError, apply_conflict, bad_request
from wfe_controller.sandbox.apiserver.typed import MISSING, Type, TypedError, Types, field_set

Json = dict[str, Any]
Conflict = tuple[ManagerId, Path]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BEFORE_APPLY = "before-first-apply"
_MAX_ANNOTATIONS = 256 * 1024
_STATUS = FieldSet.of(("f:status",))
_SPEC = FieldSet.of(("f:spec",))
_CUSTOM_STATUS = FieldSet.of(("f:metadata",), ("f:spec",))
# What a write to /status of these kinds leaves alone besides the spec.
_STATUS_EXCEPTIONS: Mapping[str, FieldSet] = {
    "deployments.apps": _SPEC.union(FieldSet.of(("f:metadata", "f:labels"))),
    "pods": _SPEC.union(FieldSet.of(("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences"))),
    "customresourcedefinitions.apiextensions.k8s.io": _CUSTOM_STATUS,
}


class _Conflicts(Exception):
    def __init__(self, found: list[Conflict]) -> None:
        super().__init__("conflicts")
        self.found = found


class FieldManager:
    """Ownership of fields for one kind behind one endpoint (``subresource`` "" is the object itself).

    ``ignored`` are fields that writes through this endpoint cannot change, so they neither own nor conflict. ``custom``
    objects keep nulls as they are; those of built-in kinds have none.
    """

    def __init__(
        self,
        kind: Type,
        api_version: str,
        kind_name: str,
        *,
        subresource: str = "",
        ignored: FieldSet | None = None,
        custom: bool = True,
    ) -> None:
        self._kind = kind
        self._api_version = api_version
        self._kind_name = kind_name
        self._subresource = subresource
        self._ignored = ignored
        self._custom = custom

    # -- create, update, patch --------------------

    def update(self, live: Json | None, new: Json, *, manager: str, now: datetime) -> Json:
        """Set ``new.metadata.managedFields``, in place; ``live`` is what is stored, None for a create.

        ``manager`` comes from :func:`managedfields.manager_name`. An object whose fields nobody tracks stays so.
        """
        managers = managedfields.requested_managers(live, new, subresource=self._subresource)
        metadata = new.setdefault("metadata", {})
        metadata.pop("managedFields", None)
        if managers or live is None:
            author = ManagerId(manager, "Update", self._api_version, self._subresource)
            try:
                managers = managedfields.track(live, new, managers, self._kind, author, now, self._ignored)
            except TypedError:
                # As the real server does: rather no entries than wrong ones. Validation refuses such an object anyway.
                return new
        if managers:
            metadata["managedFields"] = managedfields.encode(managers)
        return new

    # -- apply --------------------

    def apply(self, live: Json | None, applied: Json, *, manager: str, force: bool, now: datetime) -> Json:
        """The object after an apply patch, a new dict; ``live`` None creates.

        Raises StatusError: 400 for another kind or managedFields in the patch, 500 for what does not fit the schema,
        409 with one cause a field for conflicts.
        """
        self._check_kind(applied)
        start: Json = live if live is not None else {"apiVersion": self._api_version, "kind": self._kind_name}
        managers = managedfields.managers_of(live)
        if not managers and live is not None:
            author = ManagerId(_BEFORE_APPLY, "Update", self._api_version, self._subresource)
            managers = managedfields.track(None, start, {}, self._kind, author, now, self._ignored)
        bare = without_managed_fields(start)
        try:
            new, managers = self._apply(bare, applied, managers, manager, force, now)
        except _Conflicts as error:
            if manager != "kubectl":
                raise _conflict_error(error.found) from None
            allowed = self._last_applied_fields(bare)
            left = [found for found in error.found if not allowed.has(found[1])]
            if left:
                raise _conflict_error(left) from None
            new, managers = self._apply(bare, applied, managers, manager, True, now)
        if manager == "kubectl":
            _sync_last_applied(new, applied)
        metadata = new.setdefault("metadata", {})
        if managers:
            metadata["managedFields"] = managedfields.encode(managers)
        return new

    def _check_kind(self, applied: Json) -> None:
        version, kind = str(applied.get("apiVersion") or ""), str(applied.get("kind") or "")
        if (version, kind) != (self._api_version, self._kind_name):
            group, _, name = version.rpartition("/")
            raise bad_request(f"invalid object type: {group}/{name}, Kind={kind}")
        if (applied.get("metadata") or {}).get("managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")

    def _apply(
        self, live: Json, applied: Json, managers: Managers, manager: str, force: bool, now: datetime
    ) -> tuple[Json, Managers]:
        key = ManagerId(manager, "Apply", subresource=self._subresource)
        self._fits(applied, "patch", duplicates=False)
        self._fits(live, "live", duplicates=True)
        merged = merge(live, applied, self._kind)
        last = managers.get(key)
        mine = field_set(applied, self._kind)
        if self._ignored:
            mine = mine.without(self._ignored)
        time = last.time if last is not None else ""
        managers = {**managers, key: Owned(mine, self._api_version, True, time)}
        if last is not None and last.fields and last.api_version == self._api_version:
            merged = self._pruned(merged, managers, last.fields)
        new: Json = merged if isinstance(merged, dict) else {}
        managers = self._settled(live, new, managers, key, force)
        own = managedfields.strip(managers[key].fields) if key in managers else FieldSet()
        if not own:
            managers.pop(key, None)
        else:
            changed = new != live
            managers[key] = replace(managers[key], fields=own, time=managedfields.timestamp(now) if changed else time)
        new = copy.deepcopy(new)
        if not self._custom:
            _drop_nulls(new, self._kind)
        return new, managers

    def _fits(self, obj: Json, what: str, *, duplicates: bool) -> None:
        try:
            check(obj, self._kind, duplicates=duplicates)
        except TypedError as error:
            metadata = obj.get("metadata") or {}
            group, _, version = self._api_version.rpartition("/")
            named = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
            subject = f"{named}; {group}/{version}, Kind={self._kind_name}"
            text = "typed patch object" if what == "patch" else "typed live object"
            raise StatusError(500, "", f"failed to create {text} ({subject}): {error}") from error

    def _settled(self, live: Json, new: Json, managers: Managers, key: ManagerId, force: bool) -> Managers:
        comparison = compare(live, new, self._kind).ignoring(self._ignored)
        losers = managedfields.losing(managers, comparison, but=key, api_version=self._api_version)
        if losers and not force:
            raise _Conflicts(
                [
                    (loser, path)
                    for loser in sorted(losers, key=lambda loser: loser.sort_text)
                    for path in losers[loser].fields.paths()
                ]
            )
        left = managedfields.take(managers, comparison, but=key, api_version=self._api_version)
        return {other: owned for other, owned in left.items() if owned.fields}

    def _pruned(self, merged: Any, managers: Managers, last: FieldSet) -> Any:
        """Take out what this manager applied before and does not any more, unless somebody owns it."""
        pruned = remove(merged, with_named(last, self._kind), self._kind)
        everything = with_named(field_set(merged, self._kind), self._kind)

        def named(value: Any) -> FieldSet:
            return with_named(field_set(value, self._kind), self._kind)

        owned = FieldSet()
        for other in managers.values():
            if other.api_version == self._api_version:
                owned = owned.union(other.fields)
        kept = named(pruned).union(with_named(owned, self._kind))
        pruned = remove(merged, everything.difference(kept), self._kind)
        # Only what was applied before may go; a field that came along (below an item, say) comes back.
        gone = everything.difference(named(pruned)).intersection(with_named(last, self._kind))
        return remove(merged, gone, self._kind)

    def _last_applied_fields(self, live: Json) -> FieldSet:
        """Fields that client-side apply set and nobody changed since: kubectl may take them over."""
        text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
        try:
            last = json.loads(text) if text else None
            if not isinstance(last, dict) or last.get("apiVersion") != self._api_version:
                return FieldSet()
            check(last, self._kind)
            difference = compare(last, live, self._kind)
        except (ValueError, TypedError):
            return FieldSet()
        fields = field_set(last, self._kind)
        return fields.difference(difference.modified).difference(difference.added).difference(difference.removed)


def _conflict_error(found: list[Conflict]) -> StatusError:
    causes = [Cause("FieldManagerConflict", f"conflict with {key}", path_text(path)) for key, path in found]
    if len(found) == 1:
        key, path = found[0]
        return apply_conflict(causes, f"Apply failed with 1 conflict: conflict with {key}: {path_text(path)}")
    lines: list[str] = []
    previous: ManagerId | None = None
    for key, path in found:
        if key != previous:
            lines.append(f"conflicts with {key}:")
            previous = key
        lines.append(f"- {path_text(path)}")
    return apply_conflict(causes, f"Apply failed with {len(found)} conflicts: " + "\n".join(lines))


def _sync_last_applied(obj: Json, applied: Json) -> None:
    """Keep kubectl's annotation right once an object that has it is applied on the server's side."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return
    last = copy.deepcopy(applied)
    (last.get("metadata", {}).get("annotations") or {}).pop(LAST_APPLIED, None)
    annotations[LAST_APPLIED] = json.dumps(last, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"
    if sum(len(name.encode()) + len(str(value).encode()) for name, value in annotations.items()) > _MAX_ANNOTATIONS:
        del annotations[LAST_APPLIED]


def _drop_nulls(value: Any, kind: Type) -> None:
    """Make of nulls what decoding into a Go struct makes of them: nothing, or "" in a map of strings."""
    atom = kind.for_value(value)
    if isinstance(value, dict) and atom.map is not None:
        for name in list(value):
            inner = atom.map.fields.get(name, atom.map.element)
            if value[name] is not None:
                if inner is not None:
                    _drop_nulls(value[name], inner)
            elif name in atom.map.fields:
                del value[name]
            elif inner is not None and inner.atom.scalar == "string":
                value[name] = ""
    elif isinstance(value, list) and atom.list is not None:
        for item in value:
            _drop_nulls(item, atom.list.element)


def ignored_fields(info: ResourceInfo, subresource: str) -> FieldSet | None:
    """What a write through an endpoint cannot change."""
    if not subresource:
        return _STATUS if info.has_status else None
    if subresource == "finalize":
        return _STATUS
    if subresource != "status":
        return None
    return _CUSTOM_STATUS if info.custom else _STATUS_EXCEPTIONS.get(info.group_resource, _SPEC)


def field_manager(
    info: ResourceInfo, subresource: str = "", definitions: Mapping[str, Json] | None = None
) -> FieldManager:
    """The field manager of an endpoint. Keep it as long as the ResourceInfo lives: compiling a schema takes time."""
    kind = Types(definitions, structs=not info.custom).compile_object(info.schema)
    ignored = ignored_fields(info, subresource)
    return FieldManager(kind, info.api_version, info.kind, subresource=subresource, ignored=ignored, custom=info.custom)


__all__ = ["LAST_APPLIED", "MISSING", "FieldManager", "field_manager", "ignored_fields"]

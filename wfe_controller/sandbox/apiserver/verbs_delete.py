"""DELETE of one object or of a collection: preconditions, finalizers of the propagation policy, grace, and the end.

What follows from a deletion (dependents, contents of a namespace) is ``collect``'s work, later.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

from wfe_controller.sandbox.apiserver import admission
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.options import DeleteOptions, delete_options
from wfe_controller.sandbox.apiserver.status import conflict, success
from wfe_controller.sandbox.apiserver.store import Stored

Json = dict[str, Any]

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)


def delete(core: Core, call: Call) -> Answer:
    """DELETE of one object: the object while it is on its way out, else what the kind answers at the end."""
    options = delete_options(call.request)
    stored = call.kind.table.get(call.key)
    if stored is None:
        raise call.missing()
    admission.may_delete(call.kind, stored)
    if call.info.strategy.orphans_by_default and not options.propagation:
        call.warnings.append(JOB_WARNING)
    return delete_object(core, call.kind, stored, options)


def delete_object(core: Core, kind: Kind, stored: Stored, options: DeleteOptions) -> Answer:
    """Delete a stored object as the options ask."""
    info = kind.info
    _check_preconditions(kind, stored, options)
    obj = kind.load(stored)
    metadata = obj["metadata"]
    before = list(metadata.get("finalizers") or ())
    finalizers = _finalizers(kind, before, options)
    ending = info.strategy.end_finalizer
    if ending and ending not in finalizers and not stored.deleting:
        finalizers = [*finalizers, ending]
    if finalizers != before:
        metadata["finalizers"] = finalizers
    if not finalizers:
        metadata.pop("finalizers", None)
    grace = info.strategy.grace(obj, options.grace)
    already = "deletionTimestamp" in metadata
    if already:
        # A shorter grace shortens it; a longer one changes nothing.
        known = int(metadata.get("deletionGracePeriodSeconds") or 0)
        sooner = options.grace is not None and grace < known
        if sooner:
            metadata["deletionGracePeriodSeconds"] = grace
            metadata["deletionTimestamp"] = _after(core, grace)
        grace = grace if sooner else known
    waits = bool(finalizers) or grace > 0 or not info.strategy.may_end(obj)
    if not already and (waits or info.strategy.graceful):
        metadata["deletionTimestamp"] = _after(core, grace)
        if info.strategy.may_end(obj):
            metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation"):
                metadata["generation"] += 1
        info.strategy.mark_deleting(obj)
    if waits:
        if options.dry_run or obj == kind.load(stored):
            return Answer(200, obj=obj)
        return Answer(200, stored=core.store.write(kind.table, kind.to_storage(obj), stored, kind.fields(obj)))
    if not options.dry_run:
        if info.strategy.graceful and obj != kind.load(stored):
            # That it is to go is written first, so that a watch sees it, also when there is nothing to wait for.
            stored = core.store.write(kind.table, kind.to_storage(obj), stored, kind.fields(obj))
        gone = core.store.erase(kind.table, stored)
        metadata["resourceVersion"] = str(gone.revision)
    if info.strategy.returns_deleted:
        return Answer(200, obj=obj)
    details = {"name": stored.name, "group": info.group, "kind": info.plural, "uid": stored.uid}
    return Answer(200, obj=success({key: value for key, value in details.items() if value}))


def delete_collection(core: Core, call: Call, chosen: Sequence[Stored]) -> None:
    """Delete every object of a selection, which was read a moment ago."""
    options = delete_options(call.request)
    for stored in chosen:
        current = call.kind.table.get(stored.key)
        if current is not None and current.uid == stored.uid:
            delete_object(core, call.kind, current, options)


def _after(core: Core, seconds: int) -> str:
    instant = core.now().astimezone(UTC) + timedelta(seconds=seconds)
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_preconditions(kind: Kind, stored: Stored, options: DeleteOptions) -> None:
    info = kind.info
    if info.group_resource == "namespaces":
        # The first step of their end looks at both itself.
        for what, wanted, found in (
            ("UID", options.uid, stored.uid),
            ("ResourceVersion", options.resource_version, str(stored.revision)),
        ):
            if wanted is not None and wanted != found:
                why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                raise conflict(info.group, info.plural, stored.name, why)
    if options.uid is not None and options.uid != stored.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({stored.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(info.group, info.kind, stored.name, why)
    if options.resource_version is not None and options.resource_version != str(stored.revision):
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({stored.revision}). The object might have been modified"
        )
        raise conflict(info.group, info.kind, stored.name, why)


def _finalizers(kind: Kind, before: list[str], options: DeleteOptions) -> list[str]:
    """The object's finalizers with those of the propagation policy."""
    policy = options.propagation
    if not policy:
        if ORPHAN in before:
            policy = "Orphan"
        elif FOREGROUND in before:
            policy = "Foreground"
        elif kind.info.strategy.orphans_by_default:
            policy = "Orphan"
    kept = [name for name in before if name not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    # The same set keeps its order: nothing has changed then.
    return before if sorted(kept) == sorted(before) else kept

"""Create and update: the order of steps every write goes through, whichever verb it came by.

Decoding, metadata of the server, defaults, what the kind itself does, validation, ownership of fields, and then, in
the same turn of the loop, the comparison with what is stored and the write. ``verbs_patch`` and ``verbs_delete`` end
here too; ``admission`` holds the checks that concern more than the one object.

Kept here: nothing is stored before everything was checked; a write that changes nothing gets no new resourceVersion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from wfe_controller.sandbox.apiserver import admission, cel, decode, managedfields, names
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.kinds import Kind
from wfe_controller.sandbox.apiserver.options import WriteOptions, revision, untyped, write_options
from wfe_controller.sandbox.apiserver.status import (
    Cause,
    StatusError,
    already_exists,
    bad_request,
    cause,
    conflict,
    invalid,
    stale,
    unmet,
)
from wfe_controller.sandbox.apiserver.store import Stored

Json = dict[str, Any]

MAX_GENERATED = 58
"""Characters of generateName that are kept."""
_GENERATE_TRIES = 8
_IDENTITY = ("apiVersion", "kind", "metadata")


def create(core: Core, call: Call) -> Answer:
    """POST of a new object."""
    options = write_options(call.request, "CreateOptions")
    obj = _read(core, call, options, "Create")
    return create_object(core, call, obj, options)


def update(core: Core, call: Call) -> Answer:
    """PUT of the object or of its status."""
    options = write_options(call.request, "UpdateOptions")
    obj = _read(core, call, options, "Update")
    check_name(obj, call.name)
    check_namespace(obj, call.namespace)
    stored = call.kind.table.get(call.key)
    if stored is None:
        if call.info.strategy.create_on_update and not call.subresource:
            return create_object(core, call, obj, options)
        raise call.missing()
    return update_object(core, call, stored, obj, options)


def _read(core: Core, call: Call, options: WriteOptions, action: str) -> Json:
    obj, warnings = decode.read(
        call.request.body,
        call.request.header("content-type", "application/json"),
        call.info,
        call.kind.schema,
        options.validation,
        core.registry,
        action=action,
        told=call.warnings,
    )
    call.warnings.extend(warnings)
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    return obj


def check_name(obj: Json, name: str) -> None:
    given = obj["metadata"].get("name") or ""
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_namespace(obj: Json, namespace: str) -> None:
    """Give the object the namespace of the request. Raises 400 when it names another one."""
    metadata = obj["metadata"]
    given = metadata.get("namespace") or ""
    if given and namespace and given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


# -- create --------------------


def create_object(
    core: Core,
    call: Call,
    obj: Json,
    options: WriteOptions,
    own: Callable[[Json], None] | None = None,
) -> Answer:
    """Store a new object; ``obj`` is decoded and pruned, and changed in place.

    ``own`` sets managedFields; None = those of a plain create.
    """
    kind, info = call.kind, call.info
    strategy, metadata = info.strategy, obj["metadata"]
    check_namespace(obj, call.namespace)
    # A name in the URL is that of an update or apply that creates.
    admission.may_create(core, kind, call.namespace, call.name or metadata.get("name") or "")
    wanted = metadata.pop("resourceVersion", None)
    if call.name:  # a PUT or apply that creates: nobody looks at the version
        wanted = None
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(name, None)
    metadata["creationTimestamp"] = core.timestamp()
    metadata["uid"] = core.uid()
    call.warnings.extend(_without_duplicate_owners(metadata))
    if not metadata.get("name") and metadata.get("generateName"):
        # Before the kind's own defaults: labels of some kinds repeat the name.
        metadata["name"] = _generate(core, call, metadata["generateName"])
    kind.schema.default(obj, keep_nulls=own is not None)
    strategy.default(obj)
    if own is not None:
        own(obj)
    else:
        kind.manager().update(None, obj, manager=options.manager, now=core.now())
    if info.custom or info.generation:
        metadata["generation"] = 1
    if info.has_status and not strategy.keeps_status:
        obj.pop("status", None)
    strategy.prepare_create(obj)
    admission.mutate(core, kind, obj)
    _refuse(call, obj, _create_causes(kind, obj))
    call.warnings.extend(names.warnings(obj))
    call.warnings.extend(strategy.warnings(obj, None))
    table = kind.table
    there = table.get(_key(obj))
    if there is not None:
        error = already_exists(info.group, info.plural, metadata["name"])
        if there.deleting:
            error.message = f"object is being deleted: {error.message}"
        raise error
    if wanted not in (None, "", "0"):
        if options.dry_run:  # it is the storage that refuses it
            obj["metadata"]["resourceVersion"] = wanted
            return Answer(201, obj=obj)
        raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
    if options.dry_run:
        return Answer(201, obj=obj)
    fields = kind.fields(obj)
    return Answer(201, stored=core.store.write(table, kind.to_storage(obj), None, fields))


def _without_duplicate_owners(metadata: Json) -> list[str]:
    """Keep one owner reference a uid, as the real server does, and say so."""
    references = metadata.get("ownerReferences")
    if not isinstance(references, list) or len(references) < 2:
        return []
    kept, doubled = [], []
    for reference in references:
        if reference in kept:
            doubled.append(reference.get("uid", ""))
        else:
            kept.append(reference)
    if not doubled:
        return []
    metadata["ownerReferences"] = kept
    return [
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(dict.fromkeys(doubled))
    ]


def _generate(core: Core, call: Call, base: str) -> str:
    for _ in range(_GENERATE_TRIES):
        name = base[:MAX_GENERATED] + core.suffix()
        key = f"{call.namespace}/{name}" if call.namespace else name
        if call.kind.table.get(key) is None:
            break
    return name


def _create_causes(kind: Kind, obj: Json) -> list[Cause]:
    causes = names.validate_metadata(obj, kind.info)
    causes += kind.schema.validate(obj)
    causes += kind.info.strategy.validate_create(obj)
    causes += _scale_causes(kind, obj)
    return _with_rules(kind, causes, obj, None)


def _with_rules(kind: Kind, causes: list[Cause], obj: Json, old: Json | None) -> list[Cause]:
    """CEL rules run unless what was found before makes them meaningless, and then say so."""
    if kind.rules is None:
        return causes
    if cel.blocked(causes):
        return [*causes, cel.NOT_CHECKED]
    return causes + kind.rules.evaluate(obj, old)


# -- update --------------------


def update_object(
    core: Core,
    call: Call,
    stored: Stored,
    new: Json,
    options: WriteOptions,
    own: Callable[[Json, Json], None] | None = None,
) -> Answer:
    """Replace what is stored by ``new`` (decoded and pruned), as far as the endpoint allows.

    ``own`` sets managedFields from (old, new); None = those of a plain update. The answer's code is 200.
    """
    kind, info = call.kind, call.info
    _check_preconditions(call, stored, new)
    old = kind.load(stored)
    carry_metadata(new["metadata"], old["metadata"])
    call.warnings.extend(_without_duplicate_owners(new["metadata"]))
    kind.schema.default(new, keep_nulls=applied(call))
    info.strategy.default(new)
    if own is not None:
        own(old, new)
    else:
        kind.manager(call.subresource).update(old, new, manager=options.manager, now=core.now())
    new = _merged(call, new, old)
    _refuse(call, new, _update_causes(call, new, old))
    call.warnings.extend(names.warnings(new, old))
    call.warnings.extend(info.strategy.warnings(new, old))
    return commit_update(core, kind, stored, old, new, dry_run=options.dry_run)


def commit_update(core: Core, kind: Kind, stored: Stored, old: Json, new: Json, *, dry_run: bool = False) -> Answer:
    """Write a checked new state of an object, or let the object end when nothing holds it any more."""
    metadata = new["metadata"]
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
    if ends(kind, new):
        if not dry_run:
            core.store.erase(kind.table, stored)
        return Answer(200, obj=new)
    if dry_run:
        return Answer(200, obj=new)
    managedfields.keep_times(old, new)
    if new == old:
        return Answer(200, stored=stored)
    return Answer(200, stored=core.store.write(kind.table, kind.to_storage(new), stored, kind.fields(new)))


def ends(kind: Kind, obj: Json) -> bool:
    """Whether an object that is being deleted may go now."""
    metadata = obj["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and kind.info.strategy.may_end(obj)
    )


def applied(call: Call) -> bool:
    return call.verb == "patch" and call.request.header("content-type").startswith("application/apply-patch")


def _check_preconditions(call: Call, stored: Stored, new: Json) -> None:
    info, metadata = call.info, new["metadata"]
    uid = metadata.get("uid") or ""
    if uid and uid != stored.uid and call.verb == "update":
        why = unmet(info.registry_path, call.key, "UID", uid, stored.uid)
        raise conflict(info.group, info.plural, call.name, why)
    given = metadata.get("resourceVersion") or ""
    try:
        wanted = revision(given) if given else 0
    except ValueError as error:
        raise untyped(error) from error
    if wanted == 0:
        if not info.custom and info.strategy.unconditional_update:
            return
        if applied(call):
            return
        text = "Invalid value: 0: must be specified for an update"
        found = [cause("Invalid", "metadata.resourceVersion", text)]
        raise invalid(info.group, info.plural, call.name, found)
    if wanted != stored.revision:
        raise stale(info.group, info.plural, call.name)


def _merged(call: Call, new: Json, old: Json) -> Json:
    """What the object becomes: the client's part of ``new``, the rest of ``old``, defaults filled in."""
    info = call.info
    strategy = info.strategy
    if call.subresource == "status":
        if info.custom:
            return _status_of_custom(new, old)
        merged = {**old, "metadata": new["metadata"]}
        merged.pop("status", None)
        if "status" in new:
            merged["status"] = new["status"]
        strategy.prepare_status(merged, old)
        return merged
    if info.has_status and not strategy.keeps_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    strategy.prepare_update(new, old)
    if (info.custom or info.generation) and new["metadata"].get("generation") == old["metadata"].get("generation"):
        ignored = (*_IDENTITY, "status") if info.has_status else _IDENTITY
        if any(new.get(key) != old.get(key) for key in {*new, *old} if key not in ignored):
            new["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1
    return new


def _status_of_custom(new: Json, old: Json) -> Json:
    """Only the status of a custom resource is written through /status, nothing of its metadata."""
    merged = dict(old)
    merged["metadata"] = metadata = dict(old["metadata"])
    metadata.pop("managedFields", None)
    if "managedFields" in new["metadata"]:
        metadata["managedFields"] = new["metadata"]["managedFields"]
    merged.pop("status", None)
    if "status" in new:
        merged["status"] = new["status"]
    return merged


def carry_metadata(new: Json, old: Json) -> None:
    """What an update cannot change or need not say comes from the stored object."""
    for name in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(name) in (None, "") and name in old:
            new[name] = old[name]
    new["creationTimestamp"] = old["creationTimestamp"]
    new.pop("selfLink", None)
    new.pop("generation", None)
    if "generation" in old:
        new["generation"] = old["generation"]


def _update_causes(call: Call, new: Json, old: Json) -> list[Cause]:
    kind, info = call.kind, call.info
    # Twice, as the real server runs them: once in the common part and once in that of the kind.
    causes = names.validate_metadata(new, info, old)
    changed = names.validate_update(new, old)
    causes = [*changed, *causes, *changed] if changed else causes
    if call.subresource == "status" and info.custom:
        causes += kind.schema.validate_status(new, old)
    else:
        causes += kind.schema.validate(new, old)
    if call.subresource == "status":
        causes += info.strategy.validate_status(new, old)
    else:
        causes += info.strategy.validate_update(new, old)
        causes += _scale_causes(kind, new)
    return _with_rules(kind, causes, new, old)


def _scale_causes(kind: Kind, obj: Json) -> list[Cause]:
    """The replicas a CRD's scale subresource stands for must be readable and not negative."""
    paths = kind.info.scale
    if paths is None or not kind.info.custom:
        return []
    causes = []
    for path in (paths.spec_replicas, paths.status_replicas):
        value: Any = obj
        for step in path.strip(".").split("."):
            if not isinstance(value, dict):
                type_ = "int64" if isinstance(value, int) else type(value).__name__
                shown = json.dumps(value)
                text = f"{path} accessor error: {shown} is of the type {type_}, expected map[string]interface{{}}"
                causes.append(cause("Invalid", path, f"Invalid value: 0: {text}"))
                value = None
                break
            value = value.get(step)
            if value is None:
                break
        if isinstance(value, int) and value < 0:
            text = f"Invalid value: {value}: should be a non-negative integer"
            causes.append(cause("Invalid", path, text))
    return causes


def _refuse(call: Call, obj: Json, causes: list[Cause]) -> None:
    if causes:
        info = call.info
        # Some kinds are checked in the version in which they are stored (events).
        group = info.group if info.storage == info.group_resource else info.storage.partition(".")[2]
        raise invalid(group, info.kind, obj["metadata"].get("name") or "", causes)


def _key(obj: Json) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])

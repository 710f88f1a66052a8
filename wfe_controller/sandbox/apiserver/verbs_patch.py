"""PATCH: four languages, one way into an update.

``patches`` and ``apply`` know the languages; here is what stands around them: media types, what a patch may not touch,
how a broken result is refused, and that an apply creates what is missing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wfe_controller.sandbox.apiserver import decode, goyaml, patches
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.gotypes import Mismatch, json_kind
from wfe_controller.sandbox.apiserver.govalues import go_text
from wfe_controller.sandbox.apiserver.options import WriteOptions, untyped, write_options
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.schema import Schema
from wfe_controller.sandbox.apiserver.status import (
    StatusError,
    bad_request,
    cause,
    conflict,
    invalid,
    quote,
    unsupported_media_type,
)
from wfe_controller.sandbox.apiserver.store import Stored
from wfe_controller.sandbox.apiserver.verbs import check_name, check_namespace, create_object, update_object

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def patch(core: Core, call: Call) -> Answer:
    """PATCH of an object or of its status."""
    language = media_type(call)
    applies = language == APPLY_PATCH
    options = write_options(call.request, "PatchOptions", apply=applies)
    stored = call.kind.table.get(call.key)
    if applies:
        return _apply(core, call, stored, options)
    if stored is None:
        raise call.missing()
    old = call.kind.load(stored)
    validates = options.validation != "Ignore"
    new = patched(call, language, old, call.info.schema or {}, validates=validates)
    if not isinstance(new, dict):
        new = {}
    problems = patches.problems(call.request.body, operations=language == JSON_PATCH)
    settle(call, new, options, problems, old, call.info, call.kind.schema)
    check_name(new, call.name)
    check_namespace(new, call.namespace)
    return update_object(core, call, stored, new, options)


def media_type(call: Call) -> str:
    """The language of a patch. Raises 415."""
    given = call.request.header("content-type").partition(";")[0].strip().lower()
    if call.info.custom:
        if given not in (JSON_PATCH, MERGE_PATCH, APPLY_PATCH):
            raise unsupported_media_type((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    elif given not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH):
        raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    return given


def patched(call: Call, language: str, old: Json, schema: Json, *, validates: bool) -> Any:
    """What a JSON, merge or strategic patch makes of ``old``; identity and types are not looked at."""
    body = call.request.body
    if language == JSON_PATCH:
        return patches.json_patch(old, body, validates=validates)
    if language == MERGE_PATCH:
        return patches.merge_patch(old, body, validates=validates)
    return patches.strategic_merge(old, body, schema)


def settle(
    call: Call, new: Json, options: WriteOptions, problems: list[str], old: Json, info: ResourceInfo, schema: Schema
) -> None:
    """Identity, Go types and unknown fields of the result of a patch, refused as the real server refuses them.

    ``info`` and ``schema`` are those of what is patched: of the resource, or of its scale.
    """
    # What is quoted in a refusal is the object before unknown fields are taken out of it.
    whole = msgspec.json.decode(msgspec.json.encode(new)) if options.validation == "Strict" else new
    try:
        if info.custom and (new.get("apiVersion") or "") != info.api_version:
            # Nothing is known of another version, not even the fields that this one has.
            known = ("apiVersion", "kind", "metadata")
            unknown = [f"unknown field {quote(name)}" for name in sorted(new) if name not in known]
        else:
            unknown = schema.prune(new)
    except Mismatch as error:
        if call.request.header("content-type").startswith(APPLY_PATCH) and not info.custom:
            raise _unconvertible(call, info, error) from error
        strategic = call.request.header("content-type").startswith(STRATEGIC_PATCH)
        why = f"unrecognized type: {_wanted(error)}" if strategic else str(error)
        raise _invalid_patch(call, new, old, info, why) from error
    if new.get("metadata") is None:
        new["metadata"] = {}
    found = [*problems, *unknown]
    if options.validation == "Strict" and found:
        text = f"strict decoding error: {', '.join(found)}"
        raise _invalid_patch(call, whole, old, info, text)
    if options.validation == "Warn":
        call.warnings.extend(found)
    for name, wanted in (("kind", info.kind), ("apiVersion", info.api_version)):
        given = new.get(name) or ""
        if given == wanted:
            continue
        if not info.custom:
            package = info.group.partition(".")[0] or "core"
            why = (
                f"converting ({_version(new)}.{new.get('kind') or ''}) to ({package}.{info.kind}): unknown conversion"
                if name == "kind"
                else f"no kind {quote(info.kind)} is registered for version {quote(given)} in scheme "
                '"pkg/runtime/scheme.go:111"'
            )
            raise _invalid_patch(call, new, old, info, why)
        shown = new.get("kind") or ""
        subject = metadata_name(new)
        raise invalid(
            info.group, shown, subject, [cause("Invalid", name, f"Invalid value: {quote(given)}: must be {wanted}")]
        )


def _unconvertible(call: Call, info: ResourceInfo, error: Mismatch) -> StatusError:
    """What was applied fits the schema, but not the Go type (bytes that are no base64)."""
    metadata = _applied(call)[0].get("metadata") or {}
    version = f"{info.group}/{info.version}, Kind={info.kind}"
    why = f"unable to convert unstructured object to {version}: error decoding from json: {error}"
    subject = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}; {version}"
    return untyped(ValueError(f"failed to convert new object ({subject}) to proper version: {why}"))


def metadata_name(obj: Json) -> str:
    metadata = obj.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""


def _version(obj: Json) -> str:
    return str(obj.get("apiVersion") or "").rpartition("/")[2]


def _invalid_patch(call: Call, new: Json, old: Json, info: ResourceInfo, why: str) -> StatusError:
    if call.request.header("content-type").startswith(STRATEGIC_PATCH):
        # Applied to the typed object: it is the patch itself that does not fit.
        shown = go_text(decode.loads(call.request.body))
    elif info.custom:
        shown = msgspec.json.encode(new, order="sorted").decode()
    else:
        shown = msgspec.json.encode(_as_patched(new, old)).decode()
    return invalid("", "", "", [cause("Invalid", "patch", f"Invalid value: {quote(shown)}: {why}")])


def _wanted(error: Mismatch) -> str:
    """The Go type that was expected."""
    return str(error).rpartition(" of type ")[2]


def _as_patched(new: Any, old: Any) -> Any:
    """Fields in the order a merge patch leaves: sorted where it went in, as they were where it did not."""
    if not isinstance(new, dict) or not isinstance(old, dict) or new == old:
        return new
    return {name: _as_patched(new[name], old.get(name)) for name in sorted(new)}


def _apply(core: Core, call: Call, stored: Stored | None, options: WriteOptions) -> Answer:
    applied, problems = _applied(call)
    info = call.info
    if "metadata" not in applied or applied["metadata"] is None:
        applied["metadata"] = {}
    manager = call.kind.manager(call.subresource)
    live = call.kind.load(stored) if stored is not None else None
    if live is None and call.subresource:
        raise call.missing()
    new = manager.apply(live, applied, manager=options.manager, force=options.force, now=core.now())
    settle(call, new, options, problems, live or {}, info, call.kind.schema)
    check_name(new, call.name)
    check_namespace(new, call.namespace)

    def keep(*_: Json) -> None:
        """managedFields are already those of the apply."""

    if stored is None:
        uid = new["metadata"].get("uid")
        if uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(info.group, info.plural, call.name, why)
        return create_object(core, call, new, options, own=keep)
    return update_object(core, call, stored, new, options, own=keep)


def _applied(call: Call) -> tuple[Json, list[str]]:
    body = call.request.body
    try:
        parsed = goyaml.parse(body)
    except goyaml.YamlProblem as error:
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from error
    if parsed.value is None:
        raise bad_request("invalid object type: /, Kind=")
    if not isinstance(parsed.value, dict):
        why = f"json: cannot unmarshal {json_kind(parsed.value)} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}")
    if parsed.depth > decode.MAX_KEPT_DEPTH:
        raise bad_request(f"the object is nested deeper than {decode.MAX_KEPT_DEPTH} levels")
    return parsed.value, list(parsed.duplicates)

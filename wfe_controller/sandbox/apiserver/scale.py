"""The scale of an object: how many replicas there are to be, whatever the kind calls that."""

from __future__ import annotations

from typing import Any

from wfe_controller.sandbox.apiserver import bodies, definitions, patches, verbs, verbs_patch
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.options import WriteOptions, write_options
from wfe_controller.sandbox.apiserver.status import (
    cause,
    invalid,
    method_not_allowed,
    method_not_routed,
    unsupported_media_type,
)

Json = dict[str, Any]

_DEFINITION = "io.k8s.api.autoscaling.v1.Scale"


def _at(obj: Any, path: str) -> Any:
    for step in path.strip(".").split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _scale_of(call: Call, obj: Json) -> Json:
    paths, metadata = call.info.scale, obj["metadata"]
    shown = {
        name: metadata[name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if name in metadata
    }
    if paths is None:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        replicas, current = spec.get("replicas") or 0, status.get("replicas") or 0
        selector = _selector_text(spec.get("selector") or {})
    else:
        replicas, current = _at(obj, paths.spec_replicas) or 0, _at(obj, paths.status_replicas) or 0
        selector = _at(obj, paths.label_selector) if paths.label_selector else ""
    status = {"replicas": current}
    if selector:
        status["selector"] = selector
    spec = {"replicas": replicas} if replicas or paths is not None else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown, "spec": spec, "status": status}


def _selector_text(selector: Json) -> str:
    labels = selector.get("matchLabels") or {}
    parts = [f"{key}={labels[key]}" for key in sorted(labels)]
    for rule in selector.get("matchExpressions") or ():
        key, operator, values = rule.get("key"), rule.get("operator"), sorted(rule.get("values") or ())
        listed = ",".join(values)
        text = {
            "In": f"{key} in ({listed})",
            "NotIn": f"{key} notin ({listed})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(text.get(operator, ""))
    return ",".join(parts)


def answer(core: Core, call: Call) -> Answer:
    """GET, PUT and PATCH of /scale."""
    info = call.info
    if call.verb not in ("get", "update", "patch"):
        raise method_not_allowed(info.group, info.plural, call.verb) if info.custom else method_not_routed()
    stored = call.kind.table.get(call.key)
    if stored is None:
        raise call.missing()
    obj = call.kind.load(stored)
    if call.verb == "get":
        return Answer(200, obj=_scale_of(call, obj))
    if call.verb == "update":
        options = write_options(call.request, "UpdateOptions")
        wanted = bodies.read(core, call, "Scale", options.validation, "Update")
        verbs.check_name(wanted, call.name)
        verbs.check_namespace(wanted, call.namespace)
    else:
        options = write_options(call.request, "PatchOptions")
        wanted = _patched(call, _scale_of(call, obj), options)
    replicas = (wanted.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        path = info.scale.spec_replicas if info.scale else "spec.replicas"
        rule = "should be a non-negative integer" if info.custom else "must be greater than or equal to 0"
        text = f"Invalid value: {replicas}: {rule}"
        kind = info.kind if info.custom else "Scale"
        group = info.group if info.custom else "autoscaling"
        raise invalid(group, kind, call.name, [cause("Invalid", path, text)])
    _put(obj, info.scale.spec_replicas if info.scale else ".spec.replicas", replicas)
    metadata = obj["metadata"]
    metadata["resourceVersion"] = wanted["metadata"].get("resourceVersion") or metadata["resourceVersion"]
    if wanted["metadata"].get("uid"):
        metadata["uid"] = wanted["metadata"]["uid"]
    inner = Call(call.request, call.user, call.kind, call.namespace, call.name, "", call.verb, call.form, call.warnings)

    def own(old: Json, new: Json) -> None:
        call.kind.manager("scale").update(old, new, manager=options.manager, now=core.now())

    done = verbs.update_object(core, inner, stored, obj, options, own=own)
    return Answer(200, obj=_scale_of(call, call.kind.load(done.stored) if done.stored is not None else obj))


def _patched(call: Call, now: Json, options: WriteOptions) -> Json:
    language = verbs_patch.media_type(call)
    if language == verbs_patch.APPLY_PATCH:
        known = [verbs_patch.JSON_PATCH, verbs_patch.MERGE_PATCH]
        raise unsupported_media_type(known if call.info.custom else [*known, verbs_patch.STRATEGIC_PATCH])
    schema = definitions.schema(_DEFINITION)
    validates = options.validation != "Ignore"
    new = verbs_patch.patched(call, language, now, schema, validates=validates)
    if not isinstance(new, dict):
        new = {}
    problems = patches.problems(call.request.body, operations=language == verbs_patch.JSON_PATCH)
    verbs_patch.settle(call, new, options, problems, now, bodies.info(call, "Scale"), bodies.schema("Scale"))
    verbs.check_name(new, call.name)
    verbs.check_namespace(new, call.namespace)
    return new


def _put(obj: Json, path: str, value: object) -> None:
    *steps, last = path.strip(".").split(".")
    for step in steps:
        inner = obj.get(step)
        if not isinstance(inner, dict):
            inner = obj[step] = {}
        obj = inner
    obj[last] = value

"""Reviews: objects that are only asked and never stored. Who am I, may I, what may I, whose token is this."""

from __future__ import annotations

import json
from typing import Any

from wfe_controller.sandbox.apiserver import decode
from wfe_controller.sandbox.apiserver.auth import Auth
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.options import write_options
from wfe_controller.sandbox.apiserver.rbac import Attributes, User
from wfe_controller.sandbox.apiserver.resources import ResourceInfo
from wfe_controller.sandbox.apiserver.status import Cause, bad_request, cause, invalid, quote
from wfe_controller.sandbox.apiserver.verbs import check_namespace

Json = dict[str, Any]

_ACCESS = ("selfsubjectaccessreviews", "subjectaccessreviews", "localsubjectaccessreviews")
_GROUPS = ("authorization.k8s.io", "authentication.k8s.io")
_FIELDS = ("namespace", "verb", "group", "version", "resource", "subresource", "name", "fieldSelector", "labelSelector")


def is_review(info: ResourceInfo) -> bool:
    return not info.custom and info.group in _GROUPS


def answer(core: Core, auth: Auth, call: Call) -> Answer:
    """POST of a review."""
    options = write_options(call.request, "CreateOptions")
    obj, warnings = decode.read(
        call.request.body,
        call.request.header("content-type", "application/json"),
        call.info,
        call.kind.schema,
        options.validation,
        core.registry,
    )
    call.warnings.extend(warnings)
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    check_namespace(obj, call.namespace)
    plural = call.info.plural
    if plural == "selfsubjectreviews":
        return _answer(call, {"creationTimestamp": core.timestamp()}, None, {"userInfo": call.user.to_json()})
    if plural == "selfsubjectrulesreviews":
        return _rules(auth, call, obj)
    call.kind.manager().update(None, obj, manager=options.manager, now=core.now())
    spec = obj.get("spec") or {}
    if plural == "tokenreviews":
        return _token(auth, call, obj, spec)
    return _access(auth, call, obj, spec)


def _answer(call: Call, metadata: Json, spec: Json | None, status: Json) -> Answer:
    made: Json = {"kind": call.info.kind, "apiVersion": call.info.api_version, "metadata": metadata}
    if spec is not None:
        made["spec"] = spec
    made["status"] = status
    return Answer(201, obj=made)


def _access(auth: Auth, call: Call, obj: Json, spec: Json) -> Answer:
    plural, metadata = call.info.plural, obj["metadata"]
    causes = _access_causes(call, plural, metadata, spec)
    if causes:
        # The real server has lost the kind by then.
        raise invalid(call.info.group, "", "", causes)
    if plural == "selfsubjectaccessreviews":
        user = call.user
    else:
        user = User(str(spec.get("user") or ""), str(spec.get("uid") or ""), tuple(spec.get("groups") or ()))
    decision = auth.decide(user, _attributes(spec))
    status: Json = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    resource = spec.get("resourceAttributes")
    if isinstance(resource, dict):
        spec["resourceAttributes"] = {name: resource[name] for name in _FIELDS if resource.get(name)}
    path = spec.get("nonResourceAttributes")
    if isinstance(path, dict):
        spec["nonResourceAttributes"] = {name: path[name] for name in ("path", "verb") if path.get(name)}
    return _answer(call, metadata, spec, status)


def _attributes(spec: Json) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(str(path.get("verb") or ""), path=str(path.get("path") or ""))
    found = spec["resourceAttributes"]
    verb, group, resource, subresource, name, namespace = (
        str(found.get(field) or "") for field in ("verb", "group", "resource", "subresource", "name", "namespace")
    )
    return Attributes(verb, group, resource, subresource, name, namespace)


def _access_causes(call: Call, plural: str, metadata: Json, spec: Json) -> list[Cause]:
    causes: list[Cause] = []
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        shown = json.dumps({"Path": path.get("path", ""), "Verb": path.get("verb", "")}, separators=(",", ":"))
        text = f"Invalid value: {shown}: cannot be specified in combination with resourceAttributes"
        causes.append(cause("Invalid", "spec.nonResourceAttributes", text))
    elif resource is None and path is None:
        text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(cause("Invalid", "spec.resourceAttributes", text))
    if plural != "selfsubjectaccessreviews" and not spec.get("user") and not spec.get("groups"):
        text = 'Invalid value: "": at least one of user or group must be specified'
        causes.append(cause("Invalid", "spec.user", text))
    for name in ("fieldSelector", "labelSelector"):
        selector = (resource or {}).get(name)
        if selector is not None and not selector.get("requirements") and not selector.get("rawSelector"):
            where = f"spec.resourceAttributes.{name}"
            text = f"Required value: when {where} is specified, requirements or rawSelector is required"
            causes.append(cause("Required", f"{where}.requirements", text))
    allowed = {"managedFields", "namespace"} if plural == "localsubjectaccessreviews" else {"managedFields"}
    if set(metadata) - allowed:
        shown = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
        besides = " except for namespace" if plural == "localsubjectaccessreviews" else ""
        causes.append(cause("Invalid", "metadata", f"Invalid value: {shown}: must be empty{besides}"))
    if plural == "localsubjectaccessreviews":
        asked = str((resource or {}).get("namespace") or "")
        if resource is not None and asked != call.namespace:
            text = f"Invalid value: {quote(asked)}: must match metadata.namespace"
            causes.append(cause("Invalid", "spec.resourceAttributes.namespace", text))
    return causes


def _rules(auth: Auth, call: Call, obj: Json) -> Answer:
    namespace = str((obj.get("spec") or {}).get("namespace") or "")
    if not namespace:
        raise bad_request("no namespace on request")
    resource_rules, other_rules, error = auth.policy.rules_for(call.user, namespace)
    status: Json = {"resourceRules": resource_rules, "nonResourceRules": other_rules, "incomplete": bool(error)}
    if error:
        status["evaluationError"] = error
    return _answer(call, {}, {}, status)


def _token(auth: Auth, call: Call, obj: Json, spec: Json) -> Answer:
    token = spec.get("token")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    found = auth.look_up(str(token))
    asked = spec.get("audiences") or ()
    audiences = [one for one in found.audiences if not asked or one in asked] if found is not None else []
    if found is None or (asked and not audiences):
        status: Json = {"user": {}, "error": "invalid bearer token"}
    else:
        status = {"authenticated": True, "user": found.user.to_json()}
        if audiences:
            status["audiences"] = audiences
    return _answer(call, obj["metadata"], spec, status)

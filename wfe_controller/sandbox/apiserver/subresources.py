"""What hangs below an object, other than its status: scale, eviction, binding, finalize, token, log."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any, Protocol

from wfe_controller.sandbox.apiserver import decode, patches, verbs, verbs_delete
from wfe_controller.sandbox.apiserver.auth import AUDIENCE, Auth, Token
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.options import DeleteOptions, write_options
from wfe_controller.sandbox.apiserver.rbac import User
from wfe_controller.sandbox.apiserver.selectors import parse_selector
from wfe_controller.sandbox.apiserver.status import (
    Cause,
    StatusError,
    bad_request,
    cause,
    conflict,
    disrupted,
    internal,
    invalid,
    method_not_allowed,
    method_not_routed,
    no_such_route,
    stale,
    success,
)
from wfe_controller.sandbox.apiserver.store import Stored

Json = dict[str, Any]

TOKEN_SECONDS = 3600
_SHORTEST_TOKEN = 600
_LONGEST_TOKEN = 2**32


class Logs(Protocol):
    """Where the text of pods/log comes from; the simulators have one."""

    def log(self, namespace: str, pod: str, container: str) -> str:
        """Everything the container has written so far."""


def not_supported(call: Call) -> StatusError:
    """405 of a CRD's endpoint, which names the verb."""
    return method_not_allowed(call.info.group, call.info.plural, call.verb)


async def answer(core: Core, auth: Auth, logs: Logs | None, call: Call) -> Answer:
    """Everything below an object but its status."""
    info, name = call.info, call.subresource
    if name not in info.subresources:
        raise call.missing() if info.custom else no_such_route()
    if name == "scale":
        return _scale(core, call)
    if info.custom:
        raise not_supported(call)
    wanted = {"eviction": "create", "binding": "create", "token": "create", "finalize": "update", "log": "get"}
    if call.verb != wanted.get(name):
        raise method_not_routed()
    if name == "finalize":
        return _finalize(core, call)
    stored = call.kind.table.get(call.key)
    if name == "log":
        return _log(logs, call, stored)
    body = _body(call, {"eviction": "Eviction", "binding": "Binding", "token": "TokenRequest"}[name])
    if stored is None:
        raise call.missing()
    if name == "eviction":
        return _evict(core, call, stored, body)
    if name == "binding":
        return _bind(core, call, stored, body)
    return _token(core, auth, call, stored, body)


def _body(call: Call, kind: str) -> Json:
    """The object of a subresource with a kind of its own; it may leave kind and apiVersion out."""
    found = decode.decode(call.request.body, call.request.header("content-type", "application/json"), kind=kind).value
    if not isinstance(found, dict):
        found = {}
    given = found.get("kind") or kind
    if given != kind:
        version = str(found.get("apiVersion") or "v1").rpartition("/")[2]
        why = f"converting ({version}.{given}) to ({kind}): unknown conversion"
        raise decode.unhandled(given, version, kind, why)
    if not isinstance(found.get("metadata"), dict):
        found["metadata"] = {}
    return found


# -- scale --------------------


def _at(obj: Any, path: str) -> Any:
    for step in path.strip(".").split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _scale_of(call: Call, stored: Stored) -> Json:
    obj, paths = call.kind.load(stored), call.info.scale
    metadata = obj["metadata"]
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


def _scale(core: Core, call: Call) -> Answer:
    if call.verb not in ("get", "update", "patch"):
        raise not_supported(call) if call.info.custom else method_not_routed()
    stored = call.kind.table.get(call.key)
    if stored is None:
        raise call.missing()
    now = _scale_of(call, stored)
    if call.verb == "get":
        return Answer(200, obj=now)
    if call.verb == "update":
        options = write_options(call.request, "UpdateOptions")
        wanted = _body(call, "Scale")
        verbs.check_name(wanted, call.name)
        verbs.check_namespace(wanted, call.namespace)
    else:
        options = write_options(call.request, "PatchOptions")
        wanted = _patched_scale(call, now)
    replicas = (wanted.get("spec") or {}).get("replicas") or 0
    obj = call.kind.load(stored)
    if not isinstance(replicas, int) or replicas < 0:
        path = call.info.scale.spec_replicas if call.info.scale else "spec.replicas"
        rule = "should be a non-negative integer" if call.info.custom else "must be greater than or equal to 0"
        text = f"Invalid value: {replicas}: {rule}"
        kind = call.info.kind if call.info.custom else "Scale"
        group = call.info.group if call.info.custom else "autoscaling"
        raise invalid(group, kind, call.name, [cause("Invalid", path, text)])
    _put(obj, call.info.scale.spec_replicas if call.info.scale else ".spec.replicas", replicas)
    metadata = obj["metadata"]
    metadata["resourceVersion"] = wanted["metadata"].get("resourceVersion") or metadata["resourceVersion"]
    if wanted["metadata"].get("uid"):
        metadata["uid"] = wanted["metadata"]["uid"]
    inner = Call(call.request, call.user, call.kind, call.namespace, call.name, "", call.verb, call.form, call.warnings)

    def own(old: Json, new: Json) -> None:
        call.kind.manager("scale").update(old, new, manager=options.manager, now=core.now())

    done = verbs.update_object(core, inner, stored, obj, options, own=own)
    if done.stored is None:
        return Answer(200, obj=now)
    return Answer(200, obj=_scale_of(call, done.stored))


def _patched_scale(call: Call, now: Json) -> Json:
    media_type = call.request.header("content-type").partition(";")[0].strip()
    body = call.request.body
    if media_type == "application/json-patch+json":
        found = patches.json_patch(now, body)
    else:
        found = patches.merge_patch(now, body)
    return found if isinstance(found, dict) else now


def _put(obj: Json, path: str, value: object) -> None:
    *steps, last = path.strip(".").split(".")
    for step in steps:
        inner = obj.get(step)
        if not isinstance(inner, dict):
            inner = obj[step] = {}
        obj = inner
    obj[last] = value


# -- pods --------------------


def _evict(core: Core, call: Call, stored: Stored, body: Json) -> Answer:
    """Delete a pod unless a disruption budget that matches it allows none."""
    name = body["metadata"].get("name") or call.name
    if name != call.name:
        raise bad_request("name in URL does not match name in Eviction object")
    pod = call.kind.load(stored)
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not stored.deleting:
        _spend_budget(core, call, stored)
    given = body.get("deleteOptions") or {}
    grace = given.get("gracePeriodSeconds")
    preconditions = given.get("preconditions") or {}
    dry_run = bool(given.get("dryRun")) or bool(call.request.param("dryRun"))
    options = DeleteOptions(
        dry_run,
        given.get("propagationPolicy") or "",
        grace if isinstance(grace, int) else None,
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
    )
    verbs_delete.delete_object(core, call.kind, stored, options)
    return Answer(201, obj=success(code=201))


def _spend_budget(core: Core, call: Call, stored: Stored) -> None:
    budgets = []
    for found in core.store.table("poddisruptionbudgets.policy").objects.values():
        selector = (found.decode().get("spec") or {}).get("selector")
        if found.namespace == stored.namespace and selector is not None and parse_selector(selector)(stored.labels):
            budgets.append(found)
    if not budgets:
        return
    if len(budgets) > 1:
        raise internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    kind = core.kind("policy", "v1", "poddisruptionbudgets")
    budget = kind.load(budgets[0])
    status = budget.get("status") or {}
    name = budgets[0].name
    if int(status.get("disruptionsAllowed") or 0) <= 0:
        text = "Cannot evict pod as it would violate the pod's disruption budget."
        why = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
            f"{status.get('currentHealthy', 0)} currently"
        )
        raise disrupted(text, [Cause("DisruptionBudget", why)])
    status["disruptionsAllowed"] -= 1
    status.setdefault("disruptedPods", {})[stored.name] = core.timestamp()
    budget["status"] = status
    core.store.write(kind.table, budget, budgets[0], kind.fields(budget))


def _bind(core: Core, call: Call, stored: Stored, body: Json) -> Answer:
    """What a scheduler does: put a pod on a node."""
    if body["metadata"].get("name") != call.name:
        raise bad_request("name in URL does not match name in Binding object")
    target = body.get("target") or {}
    if not target.get("name"):
        found = [cause("Required", "target.name", "Required value")]
        raise invalid("", "Binding", call.name, found)
    pod = call.kind.load(stored)
    if stored.deleting:
        raise conflict("", "pods/binding", call.name, f"pod {call.name} is being deleted, cannot be assigned to a host")
    spec = pod.setdefault("spec", {})
    if spec.get("nodeName"):
        why = f'pod {call.name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict("", "pods/binding", call.name, why)
    spec["nodeName"] = target["name"]
    status = pod.setdefault("status", {})
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    entry = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": core.timestamp(),
    }
    status["conditions"] = [*conditions, entry]
    core.store.write(call.kind.table, call.kind.to_storage(pod), stored, call.kind.fields(pod))
    return Answer(201, obj=success(code=201))


def _log(logs: Logs | None, call: Call, stored: Stored | None) -> Answer:
    """The text of one container; 204 while there is none."""
    if stored is None:
        raise call.missing()
    spec = call.kind.load(stored).get("spec") or {}
    names = [c["name"] for key in ("initContainers", "containers") for c in spec.get(key) or ()]
    container = call.request.param("container")
    if not container:
        own = [c["name"] for c in spec.get("containers") or ()]
        if len(own) != 1:
            listed = f"[{' '.join(own)}]"
            text = f"a container name must be specified for pod {call.name}, choose one of: {listed}"
            raise bad_request(text)
        container = own[0]
    elif container not in names:
        raise bad_request(f"container {container} is not valid for pod {call.name}")
    if logs is None or not spec.get("nodeName"):
        return Answer(204)
    return Answer(200, text=logs.log(stored.namespace, stored.name, container))


# -- namespaces, service accounts --------------------


def _finalize(core: Core, call: Call) -> Answer:
    """PUT of a namespace's spec.finalizers; the last one gone ends a namespace that is being deleted."""
    options = write_options(call.request, "UpdateOptions")
    body = _body(call, "Namespace")
    verbs.check_name(body, call.name)
    stored = call.kind.table.get(call.key)
    if stored is None:
        raise call.missing()
    old = call.kind.load(stored)
    new = call.kind.load(stored)
    given = body["metadata"].get("resourceVersion")
    if given and given != str(stored.revision):
        raise stale("", call.info.plural, call.name)
    finalizers = (body.get("spec") or {}).get("finalizers") or []
    new["spec"] = {"finalizers": finalizers} if finalizers else {}
    return verbs.commit_update(core, call.kind, stored, old, new, dry_run=options.dry_run)


def _token(core: Core, auth: Auth, call: Call, stored: Stored, body: Json) -> Answer:
    """A token of a service account, good until it expires or the account goes."""
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = TOKEN_SECONDS if seconds is None else seconds
    causes = []
    if seconds < _SHORTEST_TOKEN:
        text = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        causes.append(cause("Invalid", "spec.expirationSeconds", text))
    if seconds > _LONGEST_TOKEN:
        text = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
        causes.append(cause("Invalid", "spec.expirationSeconds", text))
    if causes:
        raise invalid("authentication.k8s.io", "TokenRequest", "", causes)
    text = f"sandbox.{core.rng.getrandbits(256):064x}"
    expires = core.now().astimezone(UTC) + timedelta(seconds=seconds)
    user = User.service_account(stored.namespace, stored.name, stored.uid)
    audiences = spec.get("audiences") or [AUDIENCE]
    account = (stored.namespace, stored.name, stored.uid)
    auth.issue(text, Token(user, expires, account, tuple(audiences)))
    metadata = {
        "name": stored.name,
        "namespace": stored.namespace,
        "uid": stored.uid,
        "creationTimestamp": core.timestamp(),
    }
    made = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec.get("boundObjectRef")},
        "status": {"token": text, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }
    return Answer(201, obj=made)

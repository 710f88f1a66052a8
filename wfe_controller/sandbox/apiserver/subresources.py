"""What hangs below an object, other than its status: scale, eviction, binding, finalize, token, log."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from wfe_controller.sandbox.apiserver import bodies, scale, verbs, verbs_delete
from wfe_controller.sandbox.apiserver.auth import AUDIENCE, CREDENTIAL, Auth, Token
from wfe_controller.sandbox.apiserver.core import Answer, Call, Core
from wfe_controller.sandbox.apiserver.options import WriteOptions, checked_delete_options, untyped, write_options
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
    not_found,
    quote,
    stale,
    success,
    unmet,
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
        return scale.answer(core, call)
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
    options = write_options(call.request, "CreateOptions")
    kind = {"eviction": "Eviction", "binding": "Binding", "token": "TokenRequest"}[name]
    body = bodies.read(core, call, kind, options.validation, "Create")
    verbs.check_namespace(body, call.namespace)
    if stored is None:
        raise call.missing()
    if name == "eviction":
        return _evict(core, call, stored, body, options)
    if name == "binding":
        return _bind(core, call, stored, body, options)
    return _token(core, auth, call, stored, body)


# -- pods --------------------


def _evict(core: Core, call: Call, stored: Stored, body: Json, asked: WriteOptions) -> Answer:
    """Delete a pod unless a disruption budget that matches it allows none."""
    if body["metadata"].get("name") != call.name:
        raise bad_request("name in URL does not match name in Eviction object")
    options = checked_delete_options(body.get("deleteOptions") or {})
    dry_run = options.dry_run or asked.dry_run
    pod = call.kind.load(stored)
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not stored.deleting:
        _spend_budget(core, call, stored, dry_run=dry_run)
    verbs_delete.delete_object(core, call.kind, stored, replace(options, dry_run=dry_run))
    return Answer(201, obj=success(code=201))


def _spend_budget(core: Core, call: Call, stored: Stored, *, dry_run: bool) -> None:
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
    if dry_run:
        return
    status["disruptionsAllowed"] -= 1
    status.setdefault("disruptedPods", {})[stored.name] = core.timestamp()
    budget["status"] = status
    core.store.write(kind.table, budget, budgets[0], kind.fields(budget))


def _bind(core: Core, call: Call, stored: Stored, body: Json, options: WriteOptions) -> Answer:
    """What a scheduler does: put a pod on a node. Its labels and annotations come with it."""
    given = body["metadata"]
    if given.get("name") != call.name:
        raise bad_request("name in URL does not match name in Binding object")
    target = body.get("target") or {}
    problems = []
    if (kind := target.get("kind") or "") not in ("", "Node"):
        problems.append(f'target.kind: Unsupported value: {quote(kind)}: supported values: "Node", "<empty>"')
    if not target.get("name"):
        problems.append("target.name: Required value")
    if problems:
        raise untyped(ValueError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"))
    for what, wanted, found in (
        ("UID", given.get("uid"), stored.uid),
        ("ResourceVersion", given.get("resourceVersion"), str(stored.revision)),
    ):
        if wanted and wanted != found:
            why = unmet(call.info.registry_path, call.key, what, wanted, found)
            raise conflict("", call.info.plural, call.name, why)
    pod = call.kind.load(stored)
    if stored.deleting:
        raise conflict("", "pods/binding", call.name, f"pod {call.name} is being deleted, cannot be assigned to a host")
    spec = pod.setdefault("spec", {})
    if spec.get("nodeName"):
        why = f'pod {call.name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict("", "pods/binding", call.name, why)
    spec["nodeName"] = target["name"]
    for name in ("labels", "annotations"):
        if given.get(name):
            pod["metadata"].setdefault(name, {}).update(given[name])
    status = pod.setdefault("status", {})
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
    entry = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": core.timestamp(),
    }
    status["conditions"] = [*conditions, entry]
    if not options.dry_run:
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
    body = bodies.read(core, call, "Namespace", options.validation, "Update")
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


def _jwt(
    core: Core, user: User, account: Stored, audiences: list[str], now: datetime, expires: datetime, credential: str
) -> str:
    """What clients read in a token without asking anybody. It is known by its text, so the signature is only noise."""
    claims = {
        "aud": audiences,
        "exp": int(expires.timestamp()),
        "iat": int(now.timestamp()),
        "iss": AUDIENCE,
        "jti": credential,
        "kubernetes.io": {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
        },
        "nbf": int(now.timestamp()),
        "sub": user.name,
    }
    header = {"alg": "ES256", "kid": "sandbox"}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    parts.append(core.rng.getrandbits(512).to_bytes(64, "big"))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _token(core: Core, auth: Auth, call: Call, stored: Stored, body: Json) -> Answer:
    """A token of a service account, good until it expires or the account goes."""
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = TOKEN_SECONDS if seconds is None else seconds
    causes = []
    given = body["metadata"].get("name") or stored.name
    if given != stored.name:
        text = f"Invalid value: {quote(given)}: must match the service account name if specified"
        causes.append(cause("Invalid", "metadata.name", text))
        raise invalid("authentication.k8s.io", "TokenRequest", stored.name, causes)
    if seconds < _SHORTEST_TOKEN:
        text = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        causes.append(cause("Invalid", "spec.expirationSeconds", text))
    if seconds > _LONGEST_TOKEN:
        text = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
        causes.append(cause("Invalid", "spec.expirationSeconds", text))
    if causes:
        raise invalid("authentication.k8s.io", "TokenRequest", "", causes)
    _check_bound(core, stored.namespace, spec.get("boundObjectRef"))
    now = core.now().astimezone(UTC)
    expires = now + timedelta(seconds=seconds)
    credential = core.uid()
    extra = {CREDENTIAL: (f"JTI={credential}",)}
    user = replace(User.service_account(stored.namespace, stored.name, stored.uid), extra=extra)
    audiences = spec.get("audiences") or [AUDIENCE]
    text = _jwt(core, user, stored, audiences, now, expires, credential)
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


def _check_bound(core: Core, namespace: str, reference: Json | None) -> None:
    """The pod or secret a token is bound to must be there."""
    plural = {"Pod": "pods", "Secret": "secrets"}.get((reference or {}).get("kind") or "")
    if reference is None or plural is None:
        return
    name = reference.get("name") or ""
    if core.store.table(plural).get(f"{namespace}/{name}") is None:
        raise not_found("", plural, name)

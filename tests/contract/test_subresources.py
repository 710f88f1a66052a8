"""Bodies of subresources are Go structs like every other: wrong types, unknown fields, other kinds, dry runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.session import Session

Json = dict[str, Any]

SCALE = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
BINDING = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def pod(api: Session) -> str:
    api.accounts()
    api.make(api.path("pods"), POD)
    return api.path("pods", "p")


def replica_set(api: Session) -> str:
    """One that its controller has nothing to do for."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = api.path("replicasets", group="apps/v1")
    api.make(path, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "d"}, "spec": spec})
    return f"{path}/d/scale"


BAD: dict[str, dict[str, Any]] = {
    "eviction": {
        "options-number": {**EVICTION, "deleteOptions": 5},
        "grace-text": {**EVICTION, "deleteOptions": {"gracePeriodSeconds": "x"}},
        "uid-number": {**EVICTION, "deleteOptions": {"preconditions": {"uid": 5}}},
        "policy": {**EVICTION, "deleteOptions": {"propagationPolicy": "Bad"}},
        "dry-run": {**EVICTION, "deleteOptions": {"dryRun": ["x"]}},
        "metadata-text": {**EVICTION, "metadata": "x"},
        "other-name": {**EVICTION, "metadata": {"name": "q"}},
        "other-namespace": {**EVICTION, "metadata": {"name": "p", "namespace": "zzz"}},
        "list": [],
        "nothing": {},
    },
    "binding": {
        "target-number": {**BINDING, "target": 5},
        "target-name-number": {**BINDING, "target": {"name": 5}},
        "target-kind": {**BINDING, "target": {"kind": "Pod", "name": "n"}},
        "target-missing": BINDING,
        "uid": {**BINDING, "metadata": {"name": "p", "uid": "wrong"}, "target": {"name": "n"}},
        "version": {**BINDING, "metadata": {"name": "p", "resourceVersion": "1"}, "target": {"name": "n"}},
        "other-name": {**BINDING, "metadata": {"name": "q"}, "target": {"name": "n"}},
        "list": [],
    },
    "token": {
        "seconds-text": {**TOKEN, "spec": {"expirationSeconds": "600"}},
        "seconds-fraction": {**TOKEN, "spec": {"expirationSeconds": 1.5}},
        "spec-text": {**TOKEN, "spec": "x"},
        "audiences-text": {**TOKEN, "spec": {"audiences": "x"}},
        "bound-to-nothing": {**TOKEN, "spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nope"}}},
        "other-name": {**TOKEN, "metadata": {"name": "other"}},
        "list": [],
    },
    "scale": {
        "spec-text": {**SCALE, "spec": "x"},
        "replicas-text": {**SCALE, "spec": {"replicas": "1"}},
        "replicas-fraction": {**SCALE, "spec": {"replicas": 1.5}},
        "replicas-large": {**SCALE, "spec": {"replicas": 2**40}},
        "replicas-negative": {**SCALE, "spec": {"replicas": -1}},
        "status-text": {**SCALE, "status": "x"},
        "other-name": {**SCALE, "metadata": {"name": "e"}},
        "other-uid": {**SCALE, "metadata": {"name": "d", "uid": "1"}},
        "other-group": {**SCALE, "apiVersion": "apps/v1"},
        "other-kind": {**SCALE, "kind": "Foo"},
        "list": [],
    },
}
CODES = {
    **dict.fromkeys(("eviction policy", "eviction dry-run", "token other-name", "scale replicas-negative"), 422),
    **dict.fromkeys(("binding target-kind", "binding target-missing"), 500),
    **dict.fromkeys(("binding uid", "binding version", "scale other-uid"), 409),
    "token bound-to-nothing": 404,
}


@pytest.mark.parametrize("what", [f"{name} {body}" for name, bodies in BAD.items() for body in bodies])
def test_bad_bodies(api: Session, what: str) -> None:
    name, _, body = what.partition(" ")
    code, given = CODES.get(what, 400), json.dumps(BAD[name][body]).encode()
    if name == "scale":
        api.put(replica_set(api), given, code)
    elif name == "token":
        api.accounts()
        api.post(f"{api.path('serviceaccounts', 'default')}/token", given, code)
    else:
        path = pod(api)
        api.post(f"{path}/{name}", given, code)
        api.get(path, keep="metadata.name metadata.deletionTimestamp spec.nodeName")


def test_dry_runs(api: Session) -> None:
    """Nothing is bound, evicted or scaled."""
    path, scale = pod(api), replica_set(api)
    bound = {**BINDING, "target": {"kind": "Node", "name": "n"}}
    api.post(f"{path}/binding", bound, dryRun="All")
    api.post(f"{path}/binding", bound, 422, dryRun="bad")
    api.post(f"{path}/eviction", EVICTION, dryRun="All")
    api.post(f"{path}/eviction", {**EVICTION, "deleteOptions": {"dryRun": ["All"]}})
    api.get(path, keep="metadata.name metadata.deletionTimestamp spec.nodeName status.phase")
    shown = "metadata.name spec"
    api.put(scale, {**SCALE, "spec": {"replicas": 2}}, dryRun="All", keep=shown)
    api.patch(scale, {"spec": {"replicas": 3}}, dryRun="All", keep=shown)
    api.get(scale, keep=shown)


def test_unknown_fields(api: Session) -> None:
    """A warning, and a refusal under strict validation."""
    path, scale = pod(api), replica_set(api)
    account = f"{api.path('serviceaccounts', 'default')}/token"
    api.put(scale, {**SCALE, "spec": {"replicas": 0, "unknown": 1}}, keep="metadata.name")
    api.put(scale, {**SCALE, "spec": {"unknown": 1}}, 400, fieldValidation="Strict")
    api.patch(scale, {"unknown": 1}, keep="metadata.name")
    api.post(account, {**TOKEN, "spec": {"unknown": 1}}, 400, fieldValidation="Strict")
    api.post(f"{path}/eviction", {**EVICTION, "unknown": 1}, 400, fieldValidation="Strict")
    api.post(f"{path}/eviction", {**EVICTION, "unknown": 1})


def test_binding_brings_labels_and_annotations(api: Session) -> None:
    path = pod(api)
    metadata = {"name": "p", "labels": {"a": "b"}, "annotations": {"x": "y"}}
    api.post(f"{path}/binding", {**BINDING, "metadata": metadata, "target": {"kind": "Node", "name": "n"}})
    api.get(path, keep="metadata.labels metadata.annotations spec.nodeName")


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("merge", {"spec": {"replicas": "x"}}, 422),
        ("merge", {"spec": "x"}, 422),
        ("merge", {"spec": {"replicas": -2}}, 422),
        ("json", [{"op": "replace", "path": "/spec/nope", "value": 0}], 200),
        ("strategic", {"spec": {"replicas": 0}}, 200),
        ("strategic", {"spec": {"replicas": "a"}}, 422),
    ],
    ids=["text", "spec-text", "negative", "json-missing", "strategic", "strategic-text"],
)
def test_scale_patches(api: Session, kind: str, body: Any, code: int) -> None:
    api.patch(replica_set(api), body, kind, code, keep="spec", show=ending)


def ending(seen: Any) -> Any:
    """Without the object that the refusal quotes."""
    return [seen["reason"], seen["message"].rpartition('": ')[2]] if "message" in seen else seen

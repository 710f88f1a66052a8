"""Takes out of a recording what differs from run to run, and nothing else. Pure.

Times become ``T``; UIDs, versions, image ids and provenance go; the namespace, the registry and generated suffixes
get fixed names. States of one object that are equal to the one before are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REQUEST = re.compile(r"bundles-[0-9a-f]{32}")
"""The name of a ResolutionRequest: a hash of what is asked for."""
_DROPPED = {"imageID", "provenance", "containerID", "uid", "resourceVersion", "observedGeneration", "artifacts"}
_TEKTON_LABELS = re.compile(r"tekton\.dev/.*")


def clean(value: Any, words: Mapping[str, str]) -> Any:
    """``words``: what to say instead of what (namespace, registry, UIDs)."""
    if isinstance(value, dict):
        return {key: clean(item, words) for key, item in value.items() if key not in _DROPPED}
    if isinstance(value, list):
        return [clean(item, words) for item in value]
    if isinstance(value, str):
        for old, new in words.items():
            value = value.replace(old, new)
        return REQUEST.sub("bundles-ID", DIGEST.sub("sha256:D", TIME.sub("T", value)))
    return value


def run(obj: Object, words: Mapping[str, str]) -> Object:
    return {"specStatus": obj["spec"].get("status", ""), "status": clean(obj.get("status", {}), words)}


def task_run(obj: Object, words: Mapping[str, str]) -> Object:
    meta = obj["metadata"]
    return {
        "labels": clean(_labels(meta.get("labels", {})), words),
        "owners": _owners(meta),
        "spec": clean(obj["spec"], words),
        "status": clean(obj.get("status", {}), words),
    }


def pod(obj: Object, words: Mapping[str, str]) -> Object:
    """Without the details of Tekton's entrypoint: what reads pods looks at labels, owners, containers and the status.

    Of the status is left out what only a node can know and nobody here reads: addresses, mounts, the resources that
    were granted, and the finalizer by which the real controller of Jobs counts its pods.
    """
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status", {})
    found = {
        "labels": clean(_labels(meta.get("labels", {})), words),
        "owners": _owners(meta),
        "deleting": "deletionTimestamp" in meta,
        "initContainers": [entry["name"] for entry in spec.get("initContainers", [])],
        "containers": [entry["name"] for entry in spec["containers"]],
        "restartPolicy": spec.get("restartPolicy", ""),
        "serviceAccountName": spec.get("serviceAccountName", ""),
        "qosClass": status.get("qosClass", ""),
        "phase": status.get("phase", ""),
        "reason": status.get("reason", ""),
        "message": clean(status.get("message", ""), words),
        "conditions": {entry["type"]: clean(_told(entry), words) for entry in status.get("conditions", [])},
        "states": {entry["name"]: clean(_state(entry), words) for entry in status.get("containerStatuses", [])},
    }
    if "initContainerStatuses" in status:
        found["initStates"] = {e["name"]: clean(_state(e), words) for e in status["initContainerStatuses"]}
    return found


def _told(condition: Object) -> str:
    said = [condition["status"], condition.get("reason", ""), condition.get("message", "")]
    return " ".join(word for word in said if word)


def _state(entry: Object) -> Object:
    """One container's: where it stands, where it stood before its restart, and what differs from the rule."""
    state: Object = {**entry["state"]}
    for kind in ("lastState",):
        if entry.get(kind):
            state[kind] = entry[kind]
    if entry.get("restartCount"):
        state["restartCount"] = entry["restartCount"]
    if had := " and ".join(name for name in ("containerID", "imageID") if entry.get(name)):
        state["had"] = had  # what proves that a container was made; values are of the place
    if entry["ready"] or entry.get("started"):
        state["is"] = " and ".join(word for word in ("ready", "started") if entry.get(word))
    return state


def sequence(states: list[Object]) -> list[Object]:
    """The states one after another, each as what is new in it.

    Left out: what a controller may or may not have written, depending on which of two events came first. These are
    the states before the first status, labels before the last ones, and a TaskRun that waits for its pod to be
    initialised (what keeps it from that for good has reasons of its own).
    """
    labels = next((state["labels"] for state in reversed(states) if "labels" in state), None)
    kept = [state if labels is None or "gone" in state else {**state, "labels": labels} for state in states]
    kept = [state for number, state in enumerate(kept) if number == len(kept) - 1 or not _passing(state)]
    return life(kept)


def _passing(state: Object) -> bool:
    if "gone" in state:
        return False
    if "phase" in state:
        return state["phase"] == "Pending" and all(_begins(entry) for entry in state["states"].values())
    conditions = state["status"].get("conditions") or [{}]
    return not state["status"] or (conditions[0].get("reason") == "Pending" and "podName" in state["status"])


def _begins(entry: Object) -> bool:
    return entry.get("waiting", {}).get("reason") in (None, "PodInitializing", "ContainerCreating")


def life(states: list[Object]) -> list[Object]:
    """``sequence`` with nothing left out but repetitions."""
    found: list[Object] = []
    before: Object = {}
    for state in states:
        if state != before:
            found.append(_news(before, state))
        before = state
    return found


def _news(before: Object, after: Object) -> Object:
    """What changed; a key that went away is named under ``-``, below ``status`` the same once more."""
    if not before or "gone" in after or "gone" in before:
        return after
    news = {key: value for key, value in after.items() if key not in before or before[key] != value}
    if "status" in news and isinstance(before.get("status"), dict):
        news["status"] = _news(before["status"], after["status"])
    gone = sorted(set(before) - set(after))
    return {**news, "-": gone} if gone else news


def _labels(labels: Mapping[str, str]) -> Object:
    return dict(sorted(labels.items()))


def _owners(meta: Object) -> list[Object]:
    return [{key: item for key, item in owner.items() if key != "uid"} for owner in meta.get("ownerReferences", [])]

"""The pod of a TaskRun: names, labels, containers and the entrypoint's arguments as Tekton makes them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from wfe_controller.kube.objects import Json, annotations_of, items, labels_of, mapping, text
from wfe_controller.sandbox.simulators.simulation import owner_reference
from wfe_controller.sandbox.simulators.tekton import terms

ENTRYPOINT = "/tekton/bin/entrypoint"
_IGNORED = ("name", "script", "onError", "timeout", "computeResources", "results", "ref", "params", "when")
"""Fields of a step that are none of a container's."""


def pod_name(task_run: Json) -> str:
    retries = len(items(mapping(task_run.get("status")).get("retriesStatus")))
    return terms.child_name(task_run["metadata"]["name"], f"-pod-retry{retries}" if retries else "-pod")


def pod(task_run: Json, spec: Mapping[str, Any], suffix: str) -> Json:
    """``spec`` is the task with everything substituted; ``suffix`` makes the names of scripts."""
    meta = task_run["metadata"]
    steps = [mapping(entry) for entry in items(spec.get("steps"))]
    template = mapping(task_run["spec"].get("podTemplate"))
    scripts = {n: f"/tekton/scripts/script-{n}-{suffix}" for n, step in enumerate(steps) if text(step.get("script"))}
    limit = terms.duration(task_run["spec"].get("timeout")) or terms.DEFAULT_TIMEOUT
    results = ",".join(text(mapping(entry).get("name")) for entry in items(spec.get("results")))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(task_run),
            "namespace": meta["namespace"],
            "annotations": {**annotations_of(task_run)},
            "labels": {
                **labels_of(task_run),
                terms.LABEL_MANAGED_BY: terms.MANAGED_BY,
                terms.LABEL_TASK_RUN: meta["name"],
                terms.LABEL_TASK_RUN_UID: meta["uid"],
            },
            "ownerReferences": [owner_reference(task_run)],
        },
        "spec": {
            **template,
            "restartPolicy": "Never",
            "serviceAccountName": text(task_run["spec"].get("serviceAccountName")) or "default",
            # Longer than the time-out: Tekton's own clock is to end the pod, this is for when Tekton is gone.
            "activeDeadlineSeconds": int(limit.total_seconds() * 1.5),
            "initContainers": _init(steps, scripts),
            "containers": [
                *(_step(n, step, scripts.get(n), results) for n, step in enumerate(steps)),
                *(_sidecar(mapping(entry)) for entry in items(spec.get("sidecars"))),
            ],
            "volumes": [{"name": "tekton-internal-bin", "emptyDir": {}}, *items(spec.get("volumes"))],
        },
    }


def container_name(step: Mapping[str, Any], number: int) -> str:
    return f"step-{text(step.get('name')) or f'unnamed-{number}'}"


def _init(steps: list[Mapping[str, Any]], scripts: Mapping[int, str]) -> list[Json]:
    names = [container_name(step, n) for n, step in enumerate(steps)]
    command = ["/ko-app/entrypoint", "init", "/ko-app/entrypoint", ENTRYPOINT, *names]
    found: list[Json] = [{"name": "prepare", "image": "entrypoint:1", "command": command, "workingDir": "/"}]
    if scripts:
        lines = [
            f"{ENTRYPOINT} decode-script {path} # {base64.b64encode(text(steps[n]['script']).encode()).decode()}"
            for n, path in scripts.items()
        ]
        found.append(
            {"name": "place-scripts", "image": "busybox:1", "command": ["sh"], "args": ["-c", "\n".join(lines)]}
        )
    return found


def _step(number: int, step: Mapping[str, Any], script: str | None, results: str) -> Json:
    arguments = ["-wait_file", "/tekton/downward/ready", "-wait_file_content"]
    if number:
        arguments = ["-wait_file", f"/tekton/run/{number - 1}/out"]
    arguments += ["-post_file", f"/tekton/run/{number}/out", "-termination_path", "/tekton/termination"]
    arguments += ["-step_metadata_dir", f"/tekton/run/{number}/status"]
    if text(step.get("onError")):
        arguments += ["-on_error", text(step["onError"])]
    if results:
        arguments += ["-results", results]
    command = [text(word) for word in items(step.get("command"))]
    rest = [*command[1:], *(text(word) for word in items(step.get("args")))]
    arguments += ["-entrypoint", script or (command[0] if command else ""), "--", *rest]
    container = {key: value for key, value in step.items() if key not in _IGNORED}
    return {
        **container,
        "name": container_name(step, number),
        "command": [ENTRYPOINT],
        "args": arguments,
        "resources": mapping(step.get("computeResources")),
        "terminationMessagePath": "/tekton/termination",
        "volumeMounts": [
            *items(step.get("volumeMounts")),
            {"name": "tekton-internal-bin", "mountPath": "/tekton/bin", "readOnly": True},
        ],
    }


def _sidecar(entry: Mapping[str, Any]) -> Json:
    container = {key: value for key, value in entry.items() if key not in _IGNORED}
    return {**container, "name": f"sidecar-{text(entry.get('name'))}"}

"""What a TaskRun's status says about its pod. Pure.

The order of the questions is Tekton's: is the pod over, did it fail and by which container, else why does it wait.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wfe_controller.kube.objects import Json, items, mapping, text
from wfe_controller.sandbox.simulators.tekton import terms

TASK_RUN_RESULT = 1
INTERNAL = 3
OOM = "OOMKilled"
_PULL = (
    "ImagePullBackOff", "ImageInspectError", "ErrImagePull", "ErrImageNeverPull", "RegistryUnavailable",
    "InvalidImageName",
)  # fmt: skip
# Waiting reasons that end a TaskRun at once, and the reason it ends with.
_HOPELESS = {
    "ImagePullBackOff": "TaskRunImagePullFailed",
    "InvalidImageName": "TaskRunImagePullFailed",
    "CreateContainerConfigError": "CreateContainerConfigError",
    "CreateContainerError": "PodCreationFailed",
}

Container = Mapping[str, Any]


def apply(status: Json, pod: Json, task_run: Json, now: str) -> None:
    """Bring ``status`` (of ``task_run``) up to the state of ``pod``."""
    steps = _steps(pod)
    if _over(pod, steps):
        if _failed(pod, steps):
            culprit, reason = _culprit(pod, steps)
            if task_run["metadata"].get("annotations", {}).get(terms.ANNOTATION_ON_ERROR) == "continue":
                reason = "FailureIgnored"
            terms.set_verdict(status, "False", reason, _message(pod, culprit), now)
        else:
            terms.set_verdict(status, "True", "Succeeded", "All Steps have completed executing", now)
        status["completionTime"] = now
    else:
        _set_waiting(status, pod, now)
    status["podName"] = pod["metadata"]["name"]
    names = [text(mapping(step).get("name")) for step in items(mapping(status.get("taskSpec")).get("steps"))]
    if steps:
        done = terms.is_done({"status": status})
        states = [_step(entry) for entry in steps]
        status["steps"] = [state for state, _ in states]
        results = {r["name"]: r for _, found in states for r in found} if done else {}
        if declared := _declared(status):
            kept = [{**found, "type": declared[name]} for name, found in results.items() if name in declared]
            if kept:
                status["results"] = kept
    elif not status.get("steps"):
        status["steps"] = [{"name": name} for name in names]
    if sidecars := [_plain(e, "sidecar-") for e in _statuses(pod) if text(e.get("name")).startswith("sidecar-")]:
        status["sidecars"] = sidecars


def hopeless(task_run: Json) -> tuple[str, str] | None:
    """(reason, message) when a step waits for something that will not come; judged by the TaskRun's own status."""
    name = task_run["metadata"]["name"]
    for kind, entries in (("step", "steps"), ("sidecar", "sidecars")):
        for entry in items(mapping(task_run.get("status")).get(entries)):
            waiting = mapping(mapping(entry).get("waiting"))
            why = text(waiting.get("reason"))
            if why not in _HOPELESS:
                continue
            subject = f'the {kind} "{entry["name"]}" in TaskRun "{name}" failed to '
            what = f'pull the image "{text(entry.get("imageID"))}"' if why in _PULL else "start"
            said = text(waiting.get("message"))
            return _HOPELESS[why], f'{subject}{what}. The pod errored with the message: "{said}."'
    return None


def end_steps(status: Json, task_run: Json, reason: str) -> None:
    """Tekton closes the steps of a TaskRun whose pod it deletes, whatever the pod does."""
    for step in items(status.get("steps")):
        state = mapping(step.get("running")) or mapping(step.get("waiting"))
        if not state:
            continue
        began = text(mapping(step.get("running")).get("startedAt")) or task_run["metadata"]["creationTimestamp"]
        step.pop("running", None)
        step.pop("waiting", None)
        step["terminated"] = {
            "exitCode": 1,
            "reason": reason,
            "message": f"Step {step['name']} terminated as pod {status['podName']} is terminated",
            "startedAt": began,
            "finishedAt": status["completionTime"],
        }
        step["terminationReason"] = reason


def failed(pod: Json) -> bool:
    return _failed(pod, _steps(pod))


def _statuses(pod: Json) -> list[Container]:
    """In the order of the spec, not in the kubelet's."""
    found = {
        text(mapping(entry).get("name")): mapping(entry)
        for entry in items(mapping(pod.get("status")).get("containerStatuses"))
    }
    return [found[entry["name"]] for entry in pod["spec"]["containers"] if entry["name"] in found]


def _steps(pod: Json) -> list[Container]:
    return [entry for entry in _statuses(pod) if text(entry.get("name")).startswith("step-")]


def _terminated(entry: Container) -> Mapping[str, Any]:
    return mapping(mapping(entry.get("state")).get("terminated"))


def _over(pod: Json, steps: list[Container]) -> bool:
    phase = text(mapping(pod.get("status")).get("phase"))
    if phase in ("Succeeded", "Failed") or any(_terminated(entry).get("reason") == OOM for entry in steps):
        return True
    return phase == "Running" and bool(steps) and all(_terminated(entry) for entry in steps)


def _failed(pod: Json, steps: list[Container]) -> bool:
    ended = [_terminated(entry) for entry in steps]
    return text(mapping(pod.get("status")).get("phase")) == "Failed" or any(
        end and (end.get("exitCode") != 0 or end.get("reason") == OOM) for end in ended
    )


def _culprit(pod: Json, steps: list[Container]) -> tuple[Container | None, str]:
    if mapping(pod.get("status")).get("reason") == "Evicted":
        return None, "PodEvicted"
    sidecars = [e for e in _statuses(pod) if text(e.get("name")).startswith("sidecar-")]
    first = [mapping(entry) for entry in items(mapping(pod.get("status")).get("initContainerStatuses"))]
    for entries, kind in ((first, "InitContainer"), (sidecars, "Sidecar"), (steps, "Step")):
        for entry in entries:
            if _terminated(entry).get("reason") == OOM:
                return entry, f"{kind}OOM"
    for entries, kind in ((first, "InitContainer"), (sidecars, "Sidecar"), (steps, "Step")):
        for entry in entries:
            if _terminated(entry).get("exitCode"):
                return entry, f"{kind}Failed"
    return None, "Failed"


def _message(pod: Json, culprit: Container | None) -> str:
    status = mapping(pod.get("status"))
    if status.get("reason") == "Evicted":
        return text(status.get("message"))
    if culprit is not None and (end := _terminated(culprit)).get("exitCode"):
        return f'"{culprit["name"]}" exited with code {end["exitCode"]}: {end.get("reason")}'
    return text(status.get("message")) or "build failed for unspecified reasons."


def _set_waiting(status: Json, pod: Json, now: str) -> None:
    phase = text(mapping(pod.get("status")).get("phase"))
    if phase == "Running":
        terms.set_verdict(status, "Unknown", "Running", "Not all Steps in the Task have finished executing", now)
    elif phase in ("", "Pending"):
        reasons = [mapping(mapping(e.get("state")).get("waiting")).get("reason") for e in _statuses(pod)]
        if _too_big(pod):
            reason, message = "ExceededNodeResources", "TaskRun Pod exceeded available resources"
        elif "CreateContainerConfigError" in reasons:
            message = "Failed to create pod due to config error"
            terms.set_verdict(status, "False", "CreateContainerConfigError", message, now)
            return
        elif any(reason in _PULL for reason in reasons):
            reason, message = "PullImageFailed", _waits_for(pod)
        else:
            reason, message = "Pending", _waits_for(pod)
        terms.set_verdict(status, "Unknown", reason, message, now)


def _too_big(pod: Json) -> bool:
    conditions = [mapping(entry) for entry in items(mapping(pod.get("status")).get("conditions"))]
    return any(c.get("reason") == "Unschedulable" and "Insufficient" in text(c.get("message")) for c in conditions)


def _waits_for(pod: Json) -> str:
    status = mapping(pod.get("status"))
    for entry in _statuses(pod):
        said = text(mapping(mapping(entry.get("state")).get("waiting")).get("message"))
        if said:
            return f'build step "{entry["name"]}" is pending with reason {json.dumps(said, ensure_ascii=False)}'
    for entry in items(status.get("conditions")):
        if mapping(entry).get("status") != "True":
            kind, value, said = (json.dumps(text(entry.get(key))) for key in ("type", "status", "message"))
            return f"pod status {kind}:{value}; message: {said}"
    return text(status.get("message")) or "Pending"


def _step(entry: Container) -> tuple[Json, list[Json]]:
    """The step's state, and the results in its termination message."""
    found = _plain(entry, "step-")
    end = found.get("terminated")
    results: list[Json] = []
    if end is None or not text(end.get("message")):
        return found, results
    try:
        written = [mapping(item) for item in items(json.loads(end["message"]))]
    except ValueError:
        return found, results
    said = {text(item.get("key")): text(item.get("value")) for item in written if item.get("type") == INTERNAL}
    kept = [dict(item) for item in written if item.get("type") != INTERNAL]
    end.pop("message")
    if kept:
        end["message"] = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
    if "StartedAt" in said:
        end["startedAt"] = said["StartedAt"].partition(".")[0].rstrip("Z") + "Z"
    if "ExitCode" in said:
        end["exitCode"] = int(said["ExitCode"])
    found["terminationReason"] = said.get("Reason") or ("Continued" if "ExitCode" in said else text(end["reason"]))
    results = [{"name": r["key"], "type": "string", "value": r["value"]} for r in kept if r["type"] == TASK_RUN_RESULT]
    return found, results


def _plain(entry: Container, prefix: str) -> Json:
    name = text(entry.get("name"))
    state = {key: dict(mapping(value)) for key, value in mapping(entry.get("state")).items()}
    image = {"imageID": entry["imageID"]} if entry.get("imageID") else {}
    return {"name": name.removeprefix(prefix), "container": name, **image, **state}


def _declared(status: Json) -> dict[str, str]:
    found = items(mapping(status.get("taskSpec")).get("results"))
    return {text(mapping(entry).get("name")): text(mapping(entry).get("type")) for entry in found}

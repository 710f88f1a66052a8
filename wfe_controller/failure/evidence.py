"""Did any step ever start? Read from TaskRuns and pods, never from messages (SPEC 2.3, T-4.4, TH11..TH14). Pure.

Neighbours: tekton asks per run. Invariants: three answers, and "not proven" is one of them; nothing that other writers
put into these objects makes it raise; an object of an earlier run under the same name proves nothing about this one.

What counts as started: a container of the pod that runs or ran (sidecars included, since they are the workflow's too).
What does not: waiting containers, Tekton's own init containers, and the terminated state that Tekton makes up for a
step that was still waiting when it ended the TaskRun: exit code 1, startedAt = the TaskRun's creation, no image.
What is left open on purpose: a step that starts in the same second in which Tekton deletes its pod, and is recorded by
nobody, cannot be seen afterwards. Callers who saw it start say so (``seen_started`` of ``classify``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from wfe_controller.api.names import TEKTON_PIPELINE_RUN_UID, TEKTON_PIPELINE_TASK, TEKTON_TASK_RUN
from wfe_controller.failure.vocabulary import MADE_BY_TEKTON, NEVER_STARTED_RUN, NEVER_STARTED_TASK
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import (
    Json,
    condition,
    items,
    labels_of,
    mapping,
    metadata,
    name_of,
    status,
    text,
    uid_of,
)

Started = bool | None
"""True: a step started. False: proven that none did. None: not known, which counts as started."""

_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
_EPOCH_YEAR = 1970  # the container runtime's startedAt of a container it could not start


def condition_status(obj: Json) -> str:
    """The status of Succeeded, "Unknown" when it is missing or odd."""
    value = condition(obj, "Succeeded").get("status")
    return value if value in ("True", "False") else "Unknown"


def condition_reason(obj: Json) -> str:
    return text(condition(obj, "Succeeded").get("reason"))


def child_references(run: Json | None) -> list[Mapping[str, Any]]:
    """The run's childReferences that are objects at all."""
    return [c for c in items(status(run or {}).get("childReferences")) if isinstance(c, Mapping)]


def is_task_run(reference: Mapping[str, Any]) -> bool:
    """True unless the child is of another kind (CustomRun, nested PipelineRun)."""
    return text(reference.get("kind")) in ("", "TaskRun")


def owned_by(obj: Json, uid: str) -> bool:
    """True when an ownerReference carries that UID."""
    return bool(uid) and any(mapping(o).get("uid") == uid for o in items(metadata(obj).get("ownerReferences")))


def own_task_runs(run: Json | None, task_runs: Iterable[Json]) -> list[Json]:
    """The TaskRuns that concern this run: owned by it, labelled with its UID, or named by it. Without a run: all."""
    candidates = [t for t in task_runs if isinstance(t, Mapping)]
    if run is None:
        return candidates
    uid = uid_of(run)
    named = {text(c.get("name")) for c in child_references(run) if is_task_run(c)}
    return [
        t
        for t in candidates
        if owned_by(t, uid) or name_of(t) in named or (uid and labels_of(t).get(TEKTON_PIPELINE_RUN_UID) == uid)
    ]


def own_pods(run: Json | None, task_runs: Iterable[Json], pods: Iterable[Json]) -> list[Json]:
    """The pods that concern this run: all that do not carry another run's UID."""
    uid = uid_of(run) if run is not None else ""
    owners = {uid_of(t) for t in task_runs} - {""}
    return [
        p
        for p in pods
        if isinstance(p, Mapping)
        and (
            not uid
            or labels_of(p).get(TEKTON_PIPELINE_RUN_UID, uid) == uid
            or any(owned_by(p, owner) for owner in owners)
        )
    ]


def _attempts(task_run: Json) -> list[Mapping[str, Any]]:
    """The TaskRun's status, then those of its earlier attempts."""
    current = status(task_run)
    return [current, *(mapping(a) for a in items(current.get("retriesStatus")))]


def _states(attempt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [s for f in ("steps", "sidecars") for s in items(attempt.get(f)) if isinstance(s, Mapping)]


def step_states(task_run: Json) -> list[Mapping[str, Any]]:
    """Steps and sidecars of a TaskRun, those of earlier attempts (retriesStatus) included."""
    return [state for attempt in _attempts(task_run) for state in _states(attempt)]


def made_up(state: Mapping[str, Any], task_run: Json) -> bool:
    """True for a terminated state that Tekton wrote for a step which was still waiting."""
    terminated = mapping(state.get("terminated"))
    created = text(metadata(task_run).get("creationTimestamp"))
    return (
        text(terminated.get("reason")) in MADE_BY_TEKTON
        and bool(created)
        and terminated.get("startedAt") == created
        and not text(state.get("imageID"))
        and not text(terminated.get("containerID"))
    )


def started_at(state: Mapping[str, Any], task_run: Json) -> datetime | None:
    """When the container of this state really started, as far as is recorded."""
    for key in ("terminated", "running"):
        value = state.get(key)
        if isinstance(value, Mapping) and not made_up(state, task_run):
            instant = parse_rfc3339(value.get("startedAt"))
            if instant is not None and instant.year > _EPOCH_YEAR:
                return instant
    return None


def _state_started(state: Mapping[str, Any], task_run: Json) -> Started:
    """One container state (step, sidecar, containerStatuses[].state)."""
    if "running" in state and state["running"] is not None:
        return True
    terminated = state.get("terminated")
    if terminated is not None:
        if started_at(state, task_run) is not None:
            return True
        if made_up(state, task_run) or text(mapping(terminated).get("reason")) in _NEVER_RAN:
            return False
        return None
    return False if isinstance(state.get("waiting"), Mapping) else None


def _any(answers: Iterable[Started], nothing: Started) -> Started:
    """True wins over unknown, unknown over False; ``nothing`` is the answer of no answers."""
    result = nothing
    first = True
    for answer in answers:
        if answer is True:
            return True
        result = answer if first else (None if result is None or answer is None else False)
        first = False
    return result


def pod_started(pod: Json) -> Started:
    """Whether any container of the pod ran; its own init containers do not count, native sidecars do."""
    current = status(pod)
    answers: list[Started] = []
    for entry in items(current.get("containerStatuses")):
        answers += [_container_started(mapping(entry))]
    for entry in items(current.get("initContainerStatuses")):
        if text(mapping(entry).get("name")).startswith("sidecar-"):
            answers += [_container_started(mapping(entry))]
    phase = text(current.get("phase"))
    if phase in ("Running", "Succeeded"):
        return True
    # A pod that failed without container statuses may have been evicted after it ran.
    started = _any(answers, False if phase in ("", "Pending") else None)
    return None if started is False and _unconfirmed(pod) else started


def _unconfirmed(pod: Json) -> bool:
    """True while the node of a pod that looks unstarted has not said the last word about it.

    A container runs before the API shows it, by a second, or for as long as the node cannot reach the API server. So a
    waiting container proves nothing when the pod was on a node and went away without its kubelet: deleted by force, or
    given its end by the pod garbage collector because the node is gone (which it says) or out of service (which it does
    not). The kubelet itself writes a terminal phase before it lets a deleted pod go (since Kubernetes 1.27), and only
    when its containers are dead.
    """
    if not text(mapping(pod.get("spec")).get("nodeName")):
        return False  # never bound: the API server deletes it at once, and no kubelet ever saw it
    collected = condition(pod, "DisruptionTarget")
    by_collector = collected.get("status") == "True" and text(collected.get("reason")) == "DeletionByPodGC"
    return by_collector or text(status(pod).get("phase")) not in ("Succeeded", "Failed") or _unfinished(status(pod))


def _unfinished(current: Mapping[str, Any]) -> bool:
    """Whether container states were left as no kubelet leaves them (its TerminatePod): it ends the first init container
    always and each one that ever moved, and once the last of them has succeeded every other container, too. Anybody
    else who writes a terminal phase leaves the states of a pod that waits."""
    inits = [mapping(entry) for entry in items(current.get("initContainerStatuses"))]
    ended = [mapping(mapping(entry.get("state")).get("terminated")) for entry in inits]
    if not any(mapping(mapping(e).get("state")).get("waiting") for e in items(current.get("containerStatuses"))):
        return False
    running = any(mapping(entry.get("state")).get("running") is not None for entry in inits)
    return not ended or not ended[0] or running or ended[-1].get("exitCode") == 0


def _container_started(entry: Mapping[str, Any]) -> Started:
    last = mapping(entry.get("lastState"))
    if last.get("terminated") or last.get("running") or entry.get("restartCount"):
        return True
    state = mapping(entry.get("state"))
    if _never_made(entry, mapping(state.get("terminated"))):
        return False
    return _state_started(state, {}) if state else (None if entry.get("started") is not False else False)


def _never_made(entry: Mapping[str, Any], terminated: Mapping[str, Any]) -> bool:
    """True for the end that the kubelet writes for a container which it never made: it looked for one in the runtime,
    found none, and has never recorded one (seen when a pod is deleted while its image cannot be pulled).

    What else could write this, and why it does not when a step did run:

    - the kubelet loses sight of a container it has seen running (removed by hand, garbage collection): it keeps
      ``lastState.terminated`` or the old containerID, imageID and ``started``, each of which is refused here;
    - the kubelet restarts, or the node reboots, between starting a container and reporting it: the runtime recorded the
      container before it started it, on disk, so the new kubelet finds it, dead or alive, and reports its containerID;
    - node lifecycle controller, taint eviction and pod garbage collection write conditions and phases, never container
      states; an end they gave a pod without its kubelet is ``_unconfirmed``.

    What is left is a node that starts a container, cannot report it, and comes back under its own name with an empty
    container runtime (a re-imaged machine), while the pod object still waits for it. Nothing in the API tells such a
    pod from one that never ran; who re-images nodes without removing them from the cluster should know.
    """
    recorded = text(entry.get("containerID")) or text(entry.get("imageID")) or text(terminated.get("containerID"))
    return (
        text(terminated.get("reason")) == "ContainerStatusUnknown"
        and not terminated.get("startedAt")
        and entry.get("started") is False
        and not recorded
    )


def task_run_started(task_run: Json, pods: Iterable[Json]) -> Started:
    """Whether a step of this TaskRun started. ``pods``: those of the run, of which its own are picked."""
    name = name_of(task_run)
    own = [p for p in pods if labels_of(p).get(TEKTON_TASK_RUN) == name or owned_by(p, uid_of(task_run))]
    pod_name = text(status(task_run).get("podName"))
    own += [p for p in pods if p not in own and pod_name and name_of(p) == pod_name]
    from_pods = _any((pod_started(p) for p in own), None)
    if from_pods is True:
        return True
    states = step_states(task_run)
    no_pod_was_made = not own and not pod_name
    if no_pod_was_made or (from_pods is False and any(name_of(p) == pod_name for p in own)):
        # Tekton lists a step without any state while its pod waits, or cannot even be made (a quota), and leaves it so
        # when the run is cancelled (seen on 1.12): then the pod itself, or its absence, is the better witness.
        states = [s for s in states if any(s.get(key) is not None for key in ("running", "terminated", "waiting"))]
    from_steps = _any((_state_started(s, task_run) for s in states), False)
    if from_steps is not False:
        return from_steps
    current, *earlier = _attempts(task_run)
    if not all(map(_never_started, earlier)):
        return None
    if own:
        return from_pods
    return False if _never_started(current) else None


def _never_started(attempt: Mapping[str, Any]) -> bool:
    """With no step on record that started: no pod was ever made, or the reason goes with a pod that never ran."""
    reason = text(condition({"status": attempt}, "Succeeded").get("reason"))
    return not text(attempt.get("podName")) or reason in NEVER_STARTED_TASK


def run_started(run: Json | None, task_runs: list[Json], pods: list[Json]) -> Started:
    """Whether a step of this run started. The lists are live LISTs, already narrowed to this run."""
    missing = {text(c.get("name")) for c in child_references(run) if is_task_run(c)} - {name_of(t) for t in task_runs}
    other_kinds = any(not is_task_run(c) for c in child_references(run))
    answers = [task_run_started(t, pods) for t in task_runs] + [pod_started(p) for p in pods]
    answers += [None] * (len(missing) + other_kinds)
    if answers:
        return _any(answers, None)
    if run is None:
        return None
    if condition_status(run) == "Unknown":
        return False  # still going, and no child so far
    current = status(run)
    resolved = isinstance(current.get("pipelineSpec"), Mapping) and bool(current["pipelineSpec"])
    return False if not resolved or condition_reason(run) in NEVER_STARTED_RUN else None


def pipeline_task(run: Json | None, task_run: Json) -> str:
    """The pipelineTaskName of a TaskRun: from the run's references, else from its label, else "" ."""
    for reference in child_references(run):
        if text(reference.get("name")) == name_of(task_run) and text(reference.get("pipelineTaskName")):
            return text(reference.get("pipelineTaskName"))
    return text(labels_of(task_run).get(TEKTON_PIPELINE_TASK))

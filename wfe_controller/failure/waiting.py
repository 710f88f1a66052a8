"""What keeps a run from going on (P:T2): pods that cannot be placed or pulled, TaskRuns that get no pod.

Neighbours: tekton asks and reports it in status; vocabulary knows the reasons that mean waiting. Invariants: pure and
total; two lists that differ in their order say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from wfe_controller.api.names import TEKTON_PIPELINE_TASK, TEKTON_TASK_RUN
from wfe_controller.failure import evidence, vocabulary
from wfe_controller.failure.evidence import condition_status
from wfe_controller.failure.model import MESSAGE_MAX
from wfe_controller.failure.redaction import redact, shorten
from wfe_controller.kube.objects import Json, condition, items, labels_of, mapping, name_of, status, text, uid_of


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """Something that keeps a pod or a TaskRun from starting. ``pod`` is "" when there is no pod yet."""

    pod: str
    task: str
    reason: str
    message: str


def has_ended(pod: Json) -> bool:
    return text(status(pod).get("phase")) in ("Succeeded", "Failed")


def pod_name(pod: Json) -> str:
    return name_of(pod) or uid_of(pod) or "(unnamed)"


def cleaned(message: str) -> str:
    """Somebody else's message, redacted, as long as fits into a status."""
    return shorten(redact(message[: 16 * MESSAGE_MAX]), MESSAGE_MAX)


def waiting_for(run: Json | None, task_runs: list[Json], pods: list[Json]) -> tuple[Waiting, ...]:
    """What keeps pods from starting (P:T2): the scheduler's word, a container's waiting reason, a TaskRun's reason."""
    out: list[Waiting] = []
    explained: set[str] = set()
    for pod in pods:
        if has_ended(pod):
            continue
        task_run, task = (text(labels_of(pod).get(key)) for key in (TEKTON_TASK_RUN, TEKTON_PIPELINE_TASK))
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False" and text(scheduled.get("reason")) == "Unschedulable":
            out.append(Waiting(pod_name(pod), task, "Unschedulable", cleaned(text(scheduled.get("message")))))
            explained.add(task_run)
        for field in ("initContainerStatuses", "containerStatuses"):
            for entry in map(mapping, items(status(pod).get(field))):
                waiting = mapping(mapping(entry.get("state")).get("waiting"))
                if text(waiting.get("reason")) in vocabulary.WAITING:
                    out.append(
                        Waiting(pod_name(pod), task, text(waiting.get("reason")), cleaned(text(waiting.get("message"))))
                    )
                    explained.add(task_run)
    for task_run_obj in task_runs:
        verdict = condition(task_run_obj, "Succeeded")
        reason = text(verdict.get("reason"))
        if (
            condition_status(task_run_obj) == "Unknown"
            and reason in vocabulary.WAITING_TASK
            and name_of(task_run_obj) not in explained
        ):
            expected = text(status(task_run_obj).get("podName"))
            task = evidence.pipeline_task(run, task_run_obj)
            out.append(Waiting(expected, task, reason, cleaned(text(verdict.get("message")))))
    return tuple(sorted(out))  # a list in another order must not look like news

"""Where a run stands: what is done, skipped, next, and which condition that makes. Pure.

One ``Facts`` per look; tasks come with the TaskRuns that were found under their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from wfe_controller.api.durations import format_duration
from wfe_controller.kube.clock import parse_rfc3339
from wfe_controller.kube.objects import Json, condition, items, mapping, text
from wfe_controller.sandbox.simulators.tekton import terms
from wfe_controller.sandbox.simulators.tekton.substitution import result_references, substitute
from wfe_controller.sandbox.simulators.tekton.terms import verdict

STOPPING = "PipelineRun was stopping"
GRACEFULLY_CANCELLED = "PipelineRun was gracefully cancelled"
GRACEFULLY_STOPPED = "PipelineRun was gracefully stopped"
WHEN = "When Expressions evaluated to false"
PARENTS = "Parent Tasks were skipped"
RESULTS = "Results were missing"
PIPELINE_TIMEOUT = "PipelineRun timeout has been reached"
TASKS_TIMEOUT = "PipelineRun Tasks timeout has been reached"
FINALLY_TIMEOUT = "PipelineRun Finally timeout has been reached"
_TIMEOUTS = (PIPELINE_TIMEOUT, TASKS_TIMEOUT, FINALLY_TIMEOUT)


@dataclass
class Member:
    """One task of the pipeline, with parameters substituted, and its TaskRun if there is one."""

    task: Json
    final: bool
    task_run: Json | None = None

    @property
    def name(self) -> str:
        return text(self.task["name"])

    @property
    def succeeded(self) -> bool:
        return verdict(self.task_run) == "True"

    @property
    def failed(self) -> bool:
        return verdict(self.task_run) == "False"

    @property
    def running(self) -> bool:
        return self.task_run is not None and not terms.is_done(self.task_run)

    @property
    def cancelled(self) -> bool:
        return self.failed and condition(self.task_run or {}, "Succeeded").get("reason") == terms.TASK_RUN_CANCELLED

    @property
    def timed_out(self) -> bool:
        return self.cancelled and mapping((self.task_run or {}).get("spec")).get("statusMessage") == terms.BY_TIMEOUT

    @property
    def may_fail(self) -> bool:
        return self.task.get("onError") == "continue"

    def results(self) -> dict[str, Any]:
        found = items(mapping((self.task_run or {}).get("status")).get("results"))
        return {text(mapping(entry).get("name")): mapping(entry).get("value") for entry in found}


@dataclass
class Facts:
    """``now`` is the wall clock; ``graph`` what each task of the main part waits for."""

    run: Json
    members: Sequence[Member]
    graph: Mapping[str, Sequence[str]]
    now: datetime
    invalid: dict[str, str] = field(default_factory=dict)
    """Tasks that refer to a result which is not there, with Tekton's words for it."""
    _skips: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name = {member.name: member for member in self.members}
        self.asked = text(self.run["spec"].get("status"))
        self.pipeline_limit, self.tasks_limit, self.finally_limit = terms.timeouts(self.run)

    # -- time

    def elapsed(self, since: str = "startTime") -> timedelta | None:
        start = parse_rfc3339(mapping(self.run.get("status")).get(since))
        return None if start is None else self.now - start

    def over(self, limit: timedelta | None, since: str = "startTime") -> bool:
        elapsed = self.elapsed(since)
        return bool(limit) and elapsed is not None and limit is not None and elapsed > limit

    # -- which

    def main(self) -> list[Member]:
        return [member for member in self.members if not member.final]

    def stopping(self) -> bool:
        return any((m.failed or m.name in self.invalid) and not m.may_fail for m in self.main())

    def done(self, member: Member) -> bool:
        return bool(self.skipped(member)) or member.succeeded or member.failed or member.name in self.invalid

    def main_done(self) -> bool:
        return all(self.done(member) for member in self.main())

    def forget_skips(self) -> None:
        self._skips.clear()

    def skipped(self, member: Member) -> str:
        """Why a task of the main part will not run; "" when it may yet."""
        if member.name not in self._skips:
            self._skips[member.name] = self._skip(member)
        return self._skips[member.name]

    def _skip(self, member: Member) -> str:
        if member.final or member.task_run is not None or member.name in self.invalid:
            return ""
        if self.stopping():
            return STOPPING
        if self.asked == terms.CANCELLED_RUN_FINALLY:
            return GRACEFULLY_CANCELLED
        if self.asked == terms.STOPPED_RUN_FINALLY:
            return GRACEFULLY_STOPPED
        ready = self._parents_done(member)
        if ready and not self._allowed(member):
            return WHEN
        parents = [self._by_name[name] for name in self.graph[member.name]]
        if any(self.skipped(parent) not in ("", WHEN) for parent in parents):
            return PARENTS
        if ready and self._lacks_result_of_skipped(member):
            return RESULTS
        if ready and self.over(self.pipeline_limit):
            return PIPELINE_TIMEOUT
        if ready and self.over(self.tasks_limit):
            return TASKS_TIMEOUT
        return ""

    def finally_skipped(self, member: Member) -> str:
        if member.task_run is not None or not member.final or not self.main_done():
            return ""
        if any(not self._result(*reference) for reference in _references(member)):
            return RESULTS
        if not self._allowed(member):
            return WHEN
        if self.over(self.pipeline_limit):
            return PIPELINE_TIMEOUT
        if self.over(self.finally_limit, "finallyStartTime"):
            return FINALLY_TIMEOUT
        return ""

    def _parents_done(self, member: Member) -> bool:
        return all(self.done(self._by_name[name]) for name in self.graph[member.name])

    def _allowed(self, member: Member) -> bool:
        for entry in items(substitute(member.task.get("when"), self.words())):
            values = [text(value) for value in items(mapping(entry).get("values"))]
            inside = text(mapping(entry).get("input")) in values
            if inside == (text(mapping(entry).get("operator")) == "notin"):
                return False
        return True

    def _lacks_result_of_skipped(self, member: Member) -> bool:
        return any(
            not self._result(task, result) and (member.may_fail or self.skipped(self._by_name[task]) == WHEN)
            for task, result in _references(member)
            if task in self._by_name
        )

    def _result(self, task: str, result: str) -> bool:
        return task in self._by_name and result in self._by_name[task].results()

    # -- what next

    def next_tasks(self) -> list[Member]:
        """Tasks of the main part whose turn it is; notes those whose references lead nowhere."""
        if self.asked in (terms.CANCELLED, terms.CANCELLED_RUN_FINALLY, terms.STOPPED_RUN_FINALLY) or self.stopping():
            return []
        turn = [
            m
            for m in self.main()
            if m.task_run is None and not self.skipped(m) and self._parents_done(m) and m.name not in self.invalid
        ]
        for member in turn:
            for task, result in _references(member):
                if not self._result(task, result):
                    why = f'invalid result reference in pipeline task "{member.name}": '
                    self.invalid[member.name] = (
                        f'{why}"{result}" is not a named result returned by pipeline task "{task}"'
                    )
        if any(member.name in self.invalid for member in turn):
            self.forget_skips()
            return []
        return turn

    def confused(self) -> bool:
        """A task counts as done (skipped) while one it waits for still runs.

        Tekton's scheduler takes that for an error and writes no status at all until the running task has ended.
        """
        if self.asked in (terms.CANCELLED, terms.CANCELLED_RUN_FINALLY):
            return False
        done = {member.name for member in self.main() if self.done(member)}
        reached = {name for name, parents in self.graph.items() if not parents}
        while more := {n for n, parents in self.graph.items() if done & reached & set(parents)} - reached:
            reached |= more
        return not done <= reached

    def next_finally(self) -> list[Member]:
        if not self.main_done():
            return []
        return [m for m in self.members if m.final and m.task_run is None and not self.finally_skipped(m)]

    def words(self) -> dict[str, str | list[str]]:
        """Results and states of tasks, for whoever refers to them."""
        found: dict[str, str | list[str]] = {}
        for member in self.members:
            for name, value in member.results().items():
                if isinstance(value, str | list):
                    found[f"tasks.{member.name}.results.{name}"] = value
            state = "Succeeded" if member.succeeded else "Failed" if member.failed else "None"
            found[f"tasks.{member.name}.status"] = state
            found[f"tasks.{member.name}.reason"] = text(condition(member.task_run or {}, "Succeeded").get("reason"))
        found["tasks.status"] = self._aggregate()
        return found

    def _aggregate(self) -> str:
        if any(not self._over(member) for member in self.main()):
            return "None"
        if any(member.failed for member in self.main()):
            return "Failed"
        return "Completed" if any(m.task_run is None for m in self.main()) else "Succeeded"

    def _over(self, member: Member) -> bool:
        return member.succeeded or member.failed or bool(self._skips.get(member.name))

    # -- what to write

    def children(self) -> list[Json]:
        return [
            {
                "apiVersion": terms.API_VERSION,
                "kind": "TaskRun",
                "name": member.task_run["metadata"]["name"],
                "pipelineTaskName": member.name,
            }
            for member in self._in_order()
            if member.task_run is not None
        ]

    def _in_order(self) -> list[Member]:
        """Those that were referred to before come first: Tekton looks at them first."""
        known = [
            text(mapping(c).get("pipelineTaskName")) for c in items(self.run.get("status", {}).get("childReferences"))
        ]
        return sorted(self.members, key=lambda member: member.name not in known)

    def skipped_tasks(self) -> list[Json]:
        found = []
        for member in self._in_order():
            why = self.skipped(member) or self.finally_skipped(member)
            if why:
                entry: Json = {"name": member.name, "reason": why}
                if items(member.task.get("when")) and (not member.final or why == WHEN):
                    entry["whenExpressions"] = member.task["when"]
                found.append(entry)
        return found

    def verdict(self) -> tuple[str, str, str]:
        """(status, reason, message) of the condition."""
        name = self.run["metadata"]["name"]
        if self.over(self.pipeline_limit):
            limit = format_duration(self.pipeline_limit)
            return "False", "PipelineRunTimeout", f'PipelineRun "{name}" failed to finish within "{limit}"'
        if self.tasks_limit is not None and self.over(self.tasks_limit):
            limit = format_duration(self.tasks_limit)
            message = f'PipelineRun "{name}" failed due to tasks failed to finish within "{limit}"'
            return "False", "PipelineRunTimeout", message
        count = self._count()
        done = count.succeeded + count.failed + count.cancelled + count.ignored
        if count.incomplete:
            message = f"Tasks Completed: {done} (Failed: {count.failed}, Cancelled {count.cancelled}), "
            message += f"Incomplete: {count.incomplete}, Skipped: {count.skipped}"
            return "Unknown", self._reason(count), message
        return self._ended(count, done)

    def _reason(self, count: Count) -> str:
        if self.asked == terms.CANCELLED_RUN_FINALLY:
            return "CancelledRunningFinally"
        if self.asked == terms.STOPPED_RUN_FINALLY:
            return "StoppedRunningFinally"
        last_done = all(m.succeeded or m.failed or self.finally_skipped(m) for m in self.members if m.final)
        return "Stopping" if count.cancelled or (count.failed and last_done) else "Running"

    def _ended(self, count: Count, done: int) -> tuple[str, str, str]:
        ignored = f" (Ignored: {count.ignored})" if count.ignored else ""
        failed = count.failed + count.ignored
        message = f"Tasks Completed: {done} (Failed: {failed}{ignored}, Cancelled {count.cancelled}), "
        message += f"Skipped: {count.skipped}"
        if count.invalid:
            why = "; ".join(self.invalid[name] for name in sorted(self.invalid))
            message += f", Failed Validation: {count.invalid} ({why})"
            return "False", "PipelineValidationFailed", message
        if count.failed or count.skipped_in_time_out:
            return "False", "Failed", message
        if self.asked in (terms.CANCELLED_RUN_FINALLY, terms.STOPPED_RUN_FINALLY):
            return "False", "Cancelled", f'PipelineRun "{self.run["metadata"]["name"]}" was cancelled'
        if count.cancelled:
            return "False", "Cancelled", message
        return "True", "Completed" if count.skipped else "Succeeded", message

    def _count(self) -> Count:
        count = Count()
        for member in self.members:
            why = self.skipped(member) or self.finally_skipped(member)
            if member.succeeded:
                count.succeeded += 1
            elif member.timed_out:
                count.failed += 1
            elif member.cancelled:
                count.cancelled += 1
            elif member.failed and member.may_fail:
                count.ignored += 1
            elif member.failed:
                count.failed += 1
            elif member.name in self.invalid:
                count.invalid += 1
            elif why:
                count.skipped += 1
                count.skipped_in_time_out += why in _TIMEOUTS
            else:
                count.incomplete += 1
        return count


@dataclass
class Count:
    """Tasks by how they stand."""

    succeeded: int = 0
    failed: int = 0
    ignored: int = 0
    cancelled: int = 0
    invalid: int = 0
    skipped: int = 0
    skipped_in_time_out: int = 0
    incomplete: int = 0


def _references(member: Member) -> list[tuple[str, str]]:
    return result_references([member.task.get("params"), member.task.get("when")])
